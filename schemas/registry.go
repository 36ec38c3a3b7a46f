package schemas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/riferrei/srclient"
)

// Registered is a schema as a registry has it.
type Registered struct {
	ID   int
	Type string // AVRO, PROTOBUF or JSON
	Text string
	Refs []Reference
	// Version is its number in the subject that was asked for, from 1; 0 when it was asked for by id.
	Version int
}

// Registry answers a Decoder's questions. An error wraps ErrNotFound if the registry is sure that there is no such
// schema; any other means that it could not be asked.
type Registry interface {
	ByID(ctx context.Context, id int) (Registered, error)
	Latest(ctx context.Context, subject string) (Registered, error)
	Version(ctx context.Context, subject string, version int) (Registered, error)
}

var (
	// ErrRegistry means that the registry cannot be asked now: down, too slow, refusing us, or no registry at all.
	// Whoever gets it waits and tries again.
	ErrRegistry = errors.New("the schema registry cannot be asked")
	// ErrNotFound is the registry's word that it has no such schema or subject.
	ErrNotFound = errors.New("not found in the schema registry")
)

// Bounds of an answer.
const (
	maxAnswer = 16 << 20
	maxRefs   = 1000
)

// RegistryClient is a Registry with the Confluent REST API. It keeps nothing: a schema id never changes its meaning, so
// whoever asks can keep the answer for ever, and "latest" must not be kept at all. It is safe for concurrent use.
type RegistryClient struct {
	url                       string
	username, password, token string
	timeout                   time.Duration
	transport                 http.RoundTripper
}

// NewRegistryClient returns a client for cfg; it connects to nothing yet.
func NewRegistryClient(cfg configs.Registry) (*RegistryClient, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("registry.url is no http:// or https:// URL") // it is not shown, since it may hold a password
	}
	secure, err := access.TLS("registry.tls", cfg.TLS)
	if err != nil {
		return nil, err
	}
	c := &RegistryClient{url: strings.TrimRight(cfg.URL, "/"), username: cfg.Username, password: cfg.Password, token: cfg.Token, timeout: time.Duration(cfg.Timeout)}
	if c.timeout <= 0 {
		c.timeout = 10 * time.Second
	}
	c.transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, MaxIdleConns: 4, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: c.timeout, ForceAttemptHTTP2: true}
	return c, nil
}

// ByID fetches a schema and everything that it refers to.
func (c *RegistryClient) ByID(ctx context.Context, id int) (Registered, error) {
	q := c.ask(ctx)
	s, err := q.client.GetSchema(id)
	if err != nil {
		return Registered{}, q.classify(fmt.Sprintf("schema id %d", id), err)
	}
	return q.registered(fmt.Sprintf("schema id %d", id), id, s)
}

// Latest fetches the latest schema of a subject.
func (c *RegistryClient) Latest(ctx context.Context, subject string) (Registered, error) {
	q := c.ask(ctx)
	s, err := q.client.GetLatestSchema(subject)
	if err != nil {
		return Registered{}, q.classify("subject "+subject, err)
	}
	r, err := q.registered("subject "+subject, s.ID(), s)
	r.Version = s.Version()
	return r, err
}

// Version fetches one version of a subject.
func (c *RegistryClient) Version(ctx context.Context, subject string, version int) (Registered, error) {
	q := c.ask(ctx)
	what := fmt.Sprintf("subject %s, version %d", subject, version)
	s, err := q.client.GetSchemaByVersion(subject, version)
	if err != nil {
		return Registered{}, q.classify(what, err)
	}
	r, err := q.registered(what, s.ID(), s)
	r.Version = version
	return r, err
}

// question is one call with the requests that it takes. It has a srclient of its own, because that knows no contexts
// and its caches would keep "latest" for ever.
type question struct {
	owner  *RegistryClient
	client *srclient.SchemaRegistryClient
	status int // of the last answer
	refs   map[srclient.Reference]Reference
}

func (c *RegistryClient) ask(ctx context.Context) *question {
	q := &question{owner: c, refs: map[srclient.Reference]Reference{}}
	q.client = srclient.NewSchemaRegistryClient(c.url,
		srclient.WithClient(&http.Client{Transport: q, Timeout: c.timeout}),
		srclient.WithPreReqFn(func(req *http.Request) error {
			*req = *req.WithContext(ctx)
			// srclient's own credentials ignore a user without a password.
			switch {
			case c.username != "":
				req.SetBasicAuth(c.username, c.password)
			case c.token != "":
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			return nil
		}))
	q.client.CachingEnabled(false)
	q.client.CodecCreationEnabled(false)
	return q
}

func (q *question) registered(what string, id int, s *srclient.Schema) (Registered, error) {
	r := Registered{ID: id, Type: "AVRO", Text: s.Schema()}
	if t := s.SchemaType(); t != nil && *t != "" {
		r.Type = string(*t)
	}
	if r.Text == "" {
		return r, fmt.Errorf("%w: %s: %s answered without a schema; is registry.url right?", ErrRegistry, what, q.owner.name())
	}
	var err error
	r.Refs, err = q.references(what, s.References(), 0)
	return r, err
}

func (q *question) references(what string, refs []srclient.Reference, depth int) ([]Reference, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: %s: references are nested more than %d deep", ErrRegistry, what, maxDepth)
	}
	var out []Reference
	for _, ref := range refs {
		r, ok := q.refs[ref]
		if !ok {
			if len(q.refs) >= maxRefs {
				return nil, fmt.Errorf("%w: %s: more than %d references", ErrRegistry, what, maxRefs)
			}
			where := fmt.Sprintf("%s: reference %s (subject %s, version %d)", what, ref.Name, ref.Subject, ref.Version)
			s, err := q.client.GetSchemaByVersion(ref.Subject, ref.Version)
			if err != nil {
				return nil, q.classify(where, err)
			}
			r = Reference{Name: ref.Name, Text: s.Schema()}
			if r.Refs, err = q.references(where, s.References(), depth+1); err != nil {
				return nil, err
			}
			q.refs[ref] = r
		}
		out = append(out, r)
	}
	return out, nil
}

// classify tells the registry's "there is none" (error codes 40401 to 40499) from everything else. A 404 without such a
// code is a wrong path or a proxy: taken for an answer, it would make a whole topic dead letters.
func (q *question) classify(what string, err error) error {
	var e srclient.Error
	if errors.As(err, &e) && e.Code/100 == 404 {
		return fmt.Errorf("%s: %w (%s): %s", what, ErrNotFound, q.owner.name(), shorten(e.Message, 200))
	}
	hint := ""
	switch q.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint = "; check registry.username and registry.password, or registry.token"
	case http.StatusNotFound:
		hint = "; check the path in registry.url"
	}
	if q.status != 0 {
		return fmt.Errorf("%w: %s: %s answered with HTTP status %d: %s%s", ErrRegistry, what, q.owner.name(), q.status, shorten(err.Error(), 300), hint)
	}
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		return fmt.Errorf("%w: %s: %s did not answer within registry.timeout (%v): %w", ErrRegistry, what, q.owner.name(), q.owner.timeout, err)
	}
	if advice := access.Advice("registry.tls", err); advice != "" {
		return fmt.Errorf("%w: %s: %w: %s", ErrRegistry, what, err, advice)
	}
	return fmt.Errorf("%w: %s: %w", ErrRegistry, what, err)
}

// name is the URL without a password.
func (c *RegistryClient) name() string {
	if u, err := url.Parse(c.url); err == nil {
		return u.Redacted()
	}
	return "the registry"
}

// RoundTrip bounds answers, and refuses a success that is no JSON object, which srclient does not survive (null) or
// takes for an empty schema.
func (q *question) RoundTrip(req *http.Request) (*http.Response, error) {
	q.status = 0
	resp, err := q.owner.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	err = errors.Join(err, resp.Body.Close())
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	case resp.StatusCode < 300 && !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")):
		return nil, fmt.Errorf("the answer is no JSON object: %q; is registry.url right?", shorten(string(body), 100))
	}
	q.status = resp.StatusCode
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
