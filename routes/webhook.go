package routes

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/configs"
)

// Headers of a webhook's requests.
const (
	// HeaderKey is the same in every try of a row: topic, partition and offset.
	HeaderKey = "Idempotency-Key"
	// HeaderTime is when the request was made, Unix seconds, and HeaderSignature the HMAC-SHA256 over it, a dot and the body.
	HeaderTime      = "X-Lakeloader-Timestamp"
	HeaderSignature = "X-Lakeloader-Signature"
)

// Sign is the value of HeaderSignature.
func Sign(secret, timestamp string, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(timestamp + ".")) // never fails
	h.Write(body)
	return "sha256=" + hex.EncodeToString(h.Sum(nil))
}

// refusal is a row that the receiver will never take.
type refusal struct {
	Row    *Row
	Answer string
}

// later says when a receiver wants to be asked again.
type later struct {
	after time.Duration
	err   error
}

func (l *later) Error() string { return l.err.Error() }
func (l *later) Unwrap() error { return l.err }

// webhook calls a URL for every row. It is for one goroutine.
type webhook struct {
	cfg    *configs.OutletWebhook
	client *http.Client
	text   *template.Template // nil: the body is the row's
	pace   time.Duration      // between two calls
	next   time.Time
	now    func() time.Time
	recent *recent
	// suppressed counts rows that were not sent since one like them was.
	suppressed int64
}

func newWebhook(cfg *configs.OutletWebhook, now func() time.Time) (*webhook, error) {
	w := &webhook{cfg: cfg, now: now, recent: newRecent(time.Duration(cfg.DedupeWindow))}
	var err error
	if w.client, err = httpClient("webhook.ca_file", cfg.CA, time.Duration(cfg.Timeout)); err != nil {
		return nil, err
	}
	if cfg.Template != "" {
		if w.text, err = template.New("template").Option("missingkey=error").Funcs(configs.TemplateFuncs()).Parse(cfg.Template); err != nil {
			return nil, fmt.Errorf("webhook.template: %w", err)
		}
	}
	if cfg.Rate != "" {
		if w.pace, err = configs.ParseRate(cfg.Rate); err != nil {
			return nil, fmt.Errorf("webhook.rate: %w", err)
		}
	}
	return w, nil
}

// httpClient follows no redirects: a body that is sent elsewhere than said would be a leak.
func httpClient(setting, ca string, timeout time.Duration) (*http.Client, error) {
	var secure *tls.Config
	if ca != "" {
		var err error
		if secure, err = access.TLS(strings.TrimSuffix(setting, ".ca_file"), configs.TLS{CA: ca}); err != nil {
			return nil, err
		}
	}
	return &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true}}, nil
}

// send implements sender.
func (w *webhook) send(ctx context.Context, rows []Row) (dealt int, refused []refusal, err error) {
	began := w.now()
	for i := range rows {
		r := &rows[i]
		if w.recent.has(r, w.now()) {
			w.suppressed++
			continue
		}
		body, err := w.body(r)
		if err != nil { // of the template, for this row
			return i + 1, []refusal{{r, err.Error()}}, nil
		}
		if err := w.wait(ctx); err != nil {
			return i, nil, err
		}
		answer, err := w.call(ctx, r, body)
		if err != nil {
			return i, nil, err
		}
		if answer != "" {
			return i + 1, []refusal{{r, answer}}, nil
		}
		w.recent.add(r, w.now())
		if w.pace > 0 || w.now().Sub(began) > saveEvery {
			return i + 1, nil, nil // where it has come is noted before the next one
		}
	}
	return len(rows), nil, nil
}

func (w *webhook) body(r *Row) ([]byte, error) {
	if w.text == nil {
		return r.Body, nil
	}
	d := json.NewDecoder(bytes.NewReader(r.Body))
	d.UseNumber()
	var columns map[string]any
	if err := d.Decode(&columns); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := w.text.Execute(&text, columns); err != nil {
		return nil, err
	}
	if w.cfg.Format == "slack" {
		return append(appendString([]byte(`{"text":`), text.String()), '}'), nil
	}
	return text.Bytes(), nil
}

// wait keeps the rate.
func (w *webhook) wait(ctx context.Context) error {
	if w.pace == 0 {
		return nil
	}
	now := w.now()
	pause := w.next.Sub(now)
	if pause > 0 {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		now = now.Add(pause)
	}
	w.next = now.Add(w.pace)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// call posts a body. answer is not empty where the receiver refuses it for good.
func (w *webhook) call(ctx context.Context, r *Row, body []byte) (answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return "", errors.New("webhook.url cannot be read") // it is a secret
	}
	for k, v := range w.cfg.Headers {
		req.Header.Set(k, v)
	}
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set(HeaderKey, r.ID())
	if w.cfg.Secret != "" {
		at := strconv.FormatInt(w.now().Unix(), 10)
		req.Header.Set(HeaderTime, at)
		req.Header.Set(HeaderSignature, Sign(w.cfg.Secret, at, body))
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("webhook %s: %w", req.URL.Host, plain(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	what := fmt.Sprintf("%s answered %s: %s", req.URL.Host, resp.Status, shorten(string(text)))
	switch {
	case resp.StatusCode/100 == 2: // the answer's text does not matter, nor whether it can be read
		return "", nil
	case passing(resp.StatusCode):
		return "", &later{retryAfter(resp.Header, w.now()), errors.New("webhook " + what)}
	case resp.StatusCode/100 == 4:
		return what, nil
	}
	return "", errors.Join(errors.New("webhook "+what), err)
}

// plain is an error of an HTTP client without the URL, which may be a secret.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// longestPause is the longest that a receiver may ask for.
const longestPause = time.Hour

func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseInt(text, 10, 32); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, longestPause)
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return min(at.Sub(now), longestPause)
	}
	return 0
}

func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "..."
	}
	return s
}

func (w *webhook) close() { w.client.CloseIdleConnections() }
