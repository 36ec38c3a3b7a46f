package schemas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// fakeRegistry has the two paths that we use, and faults on demand.
type fakeRegistry struct {
	mu       sync.Mutex
	byID     map[int]fakeSchema
	subjects map[string][]fakeSchema
	asked    []string
	fault    http.HandlerFunc // answers instead
}

type fakeSchema struct {
	ID         int    `json:"id"`
	Subject    string `json:"subject,omitempty"`
	Version    int    `json:"version,omitempty"`
	SchemaType string `json:"schemaType,omitempty"`
	Schema     string `json:"schema"`
	References []any  `json:"references,omitempty"`
}

func newFakeRegistry(t *testing.T) (*fakeRegistry, *RegistryClient) {
	f := &fakeRegistry{byID: map[int]fakeSchema{}, subjects: map[string][]fakeSchema{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	c, err := NewRegistryClient(configs.Registry{URL: s.URL + "/", Timeout: configs.Duration(5 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

// add registers a schema as the next version of its subject.
func (f *fakeRegistry) add(subject string, s fakeSchema) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Subject, s.Version = subject, len(f.subjects[subject])+1
	f.byID[s.ID], f.subjects[subject] = s, append(f.subjects[subject], s)
}

func (f *fakeRegistry) setFault(h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = h
}

func (f *fakeRegistry) requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.URL.Path)
	fault := f.fault
	s, code := f.find(r.URL.Path)
	f.mu.Unlock()
	switch {
	case fault != nil:
		fault(w, r)
	case code != 0:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error_code":%d,"message":"none of these"}`, code)
	default:
		if err := json.NewEncoder(w).Encode(s); err != nil {
			panic(err)
		}
	}
}

func (f *fakeRegistry) find(path string) (fakeSchema, int) {
	var id int
	if n, _ := fmt.Sscanf(path, "/schemas/ids/%d", &id); n == 1 {
		s, ok := f.byID[id]
		if !ok {
			return s, 40403
		}
		s.ID, s.Subject, s.Version = 0, "", 0 // as the real one: not in this answer
		return s, 0
	}
	parts := strings.Split(path, "/")
	versions := f.subjects[parts[2]]
	if len(versions) == 0 {
		return fakeSchema{}, 40401
	}
	for _, s := range versions {
		if parts[4] == fmt.Sprint(s.Version) {
			return s, 0
		}
	}
	if parts[4] != "latest" {
		return fakeSchema{}, 40402
	}
	return versions[len(versions)-1], 0
}

func TestRegistryAnswers(t *testing.T) {
	f, c := newFakeRegistry(t)
	ctx := context.Background()
	f.add("city", fakeSchema{ID: 1, Schema: `"city"`})
	f.add("address", fakeSchema{ID: 2, Schema: `"address"`, References: []any{map[string]any{"name": "geo.City", "subject": "city", "version": 1}}})
	f.add("users-value", fakeSchema{ID: 3, Schema: `"user"`, SchemaType: "PROTOBUF", References: []any{
		map[string]any{"name": "geo.Address", "subject": "address", "version": 1}, map[string]any{"name": "geo.City", "subject": "city", "version": 1}}})
	want := Registered{ID: 3, Type: "PROTOBUF", Text: `"user"`, Refs: []Reference{
		{"geo.Address", `"address"`, []Reference{{"geo.City", `"city"`, nil}}}, {"geo.City", `"city"`, nil}}}
	for name, get := range map[string]func() (Registered, error){
		"id":     func() (Registered, error) { return c.ByID(ctx, 3) },
		"latest": func() (Registered, error) { return c.Latest(ctx, "users-value") },
		"first":  func() (Registered, error) { return c.Version(ctx, "users-value", 1) },
	} {
		before := f.requests()
		got, err := get()
		want.Version = 1
		if name == "id" {
			want.Version = 0
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
		if n := f.requests() - before; n != 3 {
			t.Errorf("%s: %d requests, want one for each schema", name, n)
		}
	}
	if got, err := c.ByID(ctx, 1); err != nil || got.Type != "AVRO" || got.ID != 1 {
		t.Errorf("the type left out means AVRO: %v, %v", got, err)
	}
	// A new version must be seen at once.
	f.add("users-value", fakeSchema{ID: 4, Schema: `"user 2"`})
	if got, err := c.Latest(ctx, "users-value"); err != nil || got.ID != 4 || got.Version != 2 {
		t.Errorf("got %v, %v, want version 2", got, err)
	}
	if got, err := c.Version(ctx, "users-value", 1); err != nil || got.ID != 3 {
		t.Errorf("got %v, %v, want version 1", got, err)
	}
}

func TestRegistryNotFound(t *testing.T) {
	f, c := newFakeRegistry(t)
	f.add("broken", fakeSchema{ID: 5, Schema: `"x"`, References: []any{map[string]any{"name": "R", "subject": "gone", "version": 7}}})
	for want, get := range map[string]func() (Registered, error){
		"schema id 9":               func() (Registered, error) { return c.ByID(context.Background(), 9) },
		"subject a/b-value":         func() (Registered, error) { return c.Latest(context.Background(), "a/b-value") },
		"subject broken, version 2": func() (Registered, error) { return c.Version(context.Background(), "broken", 2) },
		"schema id 5: reference R (subject gone, version 7)": func() (Registered, error) { return c.ByID(context.Background(), 5) },
	} {
		_, err := get()
		if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrRegistry) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestRegistryFaults(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for _, c := range []struct {
		name  string
		fault http.HandlerFunc
		want  string
	}{
		{"server error", answer(500, `{"error_code":50001,"message":"no store"}`), "HTTP status 500"},
		{"gateway", answer(502, `<html>`), "HTTP status 502"},
		{"credentials", answer(401, `{"error_code":401,"message":"Unauthorized"}`), "check registry.username"},
		{"forbidden", answer(403, ``), "check registry.username"},
		{"wrong path, Confluent", answer(404, `{"error_code":404,"message":"HTTP 404 Not Found"}`), "check the path in registry.url"},
		{"wrong path, Apicurio", answer(404, `{"title":"Could not find resource","status":404}`), "check the path in registry.url"},
		{"wrong path, proxy", answer(404, `<html>`), "check the path in registry.url"},
		{"login page", answer(200, `<html>log in</html>`), "no JSON object"},
		{"null", answer(200, `null`), "no JSON object"},
		{"array", answer(200, `[]`), "no JSON object"},
		{"no schema", answer(200, `{"name":"some other service"}`), "without a schema"},
		{"half an object", answer(200, `{"schema":`), "unexpected end of JSON"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"schema":`)
		}, "EOF"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for chunk, i := []byte(strings.Repeat(" ", 1<<20)), 0; i < 18; i++ {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "longer than"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, client := newFakeRegistry(t)
			f.setFault(c.fault)
			for what, get := range map[string]func() (Registered, error){
				"schema id 3":     func() (Registered, error) { return client.ByID(context.Background(), 3) },
				"subject t-value": func() (Registered, error) { return client.Latest(context.Background(), "t-value") },
			} {
				_, err := get()
				if !errors.Is(err, ErrRegistry) || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), what) {
					t.Errorf("%v, want ErrRegistry with %q and %q", err, what, c.want)
				}
			}
		})
	}
}

func TestRegistryTimeoutAndCancel(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(release)
	c, err := NewRegistryClient(configs.Registry{URL: s.URL, Timeout: configs.Duration(20 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := c.ByID(context.Background(), 1); !errors.Is(err, ErrRegistry) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("timeout: %v", err)
	}
	c.timeout = time.Hour
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.ByID(ctx, 1); !errors.Is(err, ErrRegistry) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("context: %v", err)
	}
}

func TestRegistryUnreachable(t *testing.T) {
	s := httptest.NewServer(nil)
	u := s.URL
	s.Close()
	c, err := NewRegistryClient(configs.Registry{URL: u})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ByID(context.Background(), 1); !errors.Is(err, ErrRegistry) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}

func TestRegistryBasicAuth(t *testing.T) {
	for _, password := range []string{"secret", ""} {
		f, c := newFakeRegistry(t)
		c.username, c.password = "ann", password
		f.setFault(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != "ann" || p != password {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(w, `{"schema":"\"int\""}`)
		})
		if got, err := c.ByID(context.Background(), 1); err != nil || got.Text != `"int"` {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestRegistryURL(t *testing.T) {
	for _, u := range []string{"", "registry:8081", "ftp://x", "http://", "http://[::1"} {
		if _, err := NewRegistryClient(configs.Registry{URL: u}); err == nil || !strings.Contains(err.Error(), "registry.url") {
			t.Errorf("%q: %v", u, err)
		}
	}
	c, err := NewRegistryClient(configs.Registry{URL: "http://ann:secret@127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ByID(context.Background(), 1); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the password must not show: %v", err)
	}
}
