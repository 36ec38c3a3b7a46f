package configs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// Hidden stands in output where a secret would.
const Hidden = "***"

// leastSecret is the length from which a secret is looked for in output. A shorter one would be found in the middle of
// words; that none is printed rests on those who write messages alone.
const leastSecret = 6

// Redactor takes a configuration's secrets out of text. It is the second line: no message is written with a secret in it,
// but those of other programs and libraries may repeat what they were sent. The zero value changes nothing.
type Redactor struct {
	secrets  []string
	replacer *strings.Replacer
}

// NewRedactor knows the secrets of a configuration: settings with the rule "secret", passwords within URLs, and properties
// whose names say that they are secret; each also in the forms that it has within URLs, JSON and basic authentication.
// c may be one that could not be read fully.
func NewRedactor(c *Config) *Redactor {
	r := &Redactor{}
	eachSetting(reflect.ValueOf(c).Elem(), "", func(_ string, s setting.Setting, v reflect.Value) { r.setting(s, v) })
	if c.Registry.Username != "" && c.Registry.Password != "" {
		r.add(base64.StdEncoding.EncodeToString([]byte(c.Registry.Username + ":" + c.Registry.Password)))
	}
	for _, p := range c.Pipelines {
		for _, o := range p.Outlets {
			if s := o.Search; s != nil && s.Password != "" {
				r.add(base64.StdEncoding.EncodeToString([]byte(s.Username + ":" + s.Password)))
			}
		}
	}
	for _, e := range c.Engines {
		if e.Password != "" {
			r.add(base64.StdEncoding.EncodeToString([]byte(e.User + ":" + e.Password)))
		}
	}
	if _, secret, ok := strings.Cut(c.Catalog.Credential, ":"); ok {
		r.add(secret)
	}
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) }) // the longest first: one may hold another
	r.secrets = slices.Compact(r.secrets)
	var pairs []string
	for _, s := range r.secrets {
		pairs = append(pairs, s, Hidden)
	}
	r.replacer = strings.NewReplacer(pairs...)
	return r
}

func (r *Redactor) setting(s setting.Setting, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if sensitive(it.Key().String()) {
				r.add(it.Value().String())
			} else {
				r.url(it.Value().String())
			}
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String:
		for i := range v.Len() {
			r.url(v.Index(i).String())
		}
	case v.Kind() != reflect.String:
	case s.Secret && !s.URL:
		r.add(v.String())
		if u, err := url.Parse(v.String()); err == nil && u.Host != "" { // servers repeat what comes behind their name
			r.add(strings.TrimPrefix(u.RequestURI(), "/"))
		}
	default:
		r.url(v.String())
	}
}

// url takes passwords up that a URL holds, before its host or among its parameters.
func (r *Redactor) url(text string) {
	_, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return
	}
	if u, err := url.Parse(text); err == nil {
		if password, has := u.User.Password(); has {
			r.add(password)
		}
		for name, values := range u.Query() {
			for _, value := range values {
				if sensitive(name) {
					r.add(value)
				}
			}
		}
	}
	// As it is written, also where the URL cannot be parsed.
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if _, password, ok := strings.Cut(rest[:i], ":"); ok {
			r.add(password)
		}
	}
}

func (r *Redactor) add(secret string) {
	if len(secret) < leastSecret {
		return
	}
	quoted, err := json.Marshal(secret)
	if err == nil {
		r.secrets = append(r.secrets, string(quoted[1:len(quoted)-1]))
	}
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(secret); err == nil {
		r.secrets = append(r.secrets, strings.Trim(strings.TrimSpace(plain.String()), `"`))
	}
	r.secrets = append(r.secrets, secret, url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)))
	for line := range strings.SplitSeq(secret, "\n") { // of a PEM block, or of what wraps
		if line = strings.TrimSpace(line); len(line) >= 4*leastSecret && line != secret {
			r.secrets = append(r.secrets, line)
		}
	}
}

// Text returns text without secrets.
func (r *Redactor) Text(text string) string {
	if r == nil || r.replacer == nil {
		return text
	}
	return r.replacer.Replace(text)
}

// Error returns err with a message without secrets; errors.Is and As find in it what they found before.
func (r *Redactor) Error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if clean := r.Text(text); clean != text {
		return &redacted{clean, err}
	}
	return err
}

type redacted struct {
	text string
	err  error
}

func (e *redacted) Error() string { return e.text }
func (e *redacted) Unwrap() error { return e.err }

// Writer passes lines on without secrets. What follows the last newline waits for more, or for Flush.
func (r *Redactor) Writer(w io.Writer) *RedactedWriter { return &RedactedWriter{r: r, w: w} }

// RedactedWriter is for one goroutine at a time.
type RedactedWriter struct {
	r    *Redactor
	w    io.Writer
	held []byte
}

// longestLine bounds what is held back of a line.
const longestLine = 1 << 20

// Write holds back what may be a part of a secret; its error is that of the writer below.
func (w *RedactedWriter) Write(p []byte) (int, error) {
	w.held = append(w.held, p...)
	end := bytes.LastIndexByte(w.held, '\n') + 1
	if len(w.held) > longestLine {
		end = len(w.held)
	}
	if end == 0 {
		return len(p), nil
	}
	_, err := io.WriteString(w.w, w.r.Text(string(w.held[:end])))
	w.held = append(w.held[:0], w.held[end:]...)
	return len(p), err
}

// Flush writes what was held back.
func (w *RedactedWriter) Flush() error {
	if len(w.held) == 0 {
		return nil
	}
	_, err := io.WriteString(w.w, w.r.Text(string(w.held)))
	w.held = nil
	return err
}

var (
	secretName = regexp.MustCompile(`(?i)passw|secret|token|credential|passphrase|jaas|api[._-]?key|private|\.pem$|access-key|authorization`)
	publicName = regexp.MustCompile(`(?i)(url|uri|location|enabled?|endpoint|file|path|ms|seconds|method|name|alias|type|provider|scope|id)$`)
)

// sensitive tells from the name of a property, or of a URL's parameter, that its value is a secret.
func sensitive(name string) bool {
	return secretName.MatchString(name) && !publicName.MatchString(name)
}
