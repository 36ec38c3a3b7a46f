package iceberg

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// fakeREST is a REST catalog with one table, kept in a sqlite catalog. It knows the requirements of the standard only.
type fakeREST struct {
	*lake
	mu    sync.Mutex
	fault func(http.ResponseWriter) bool // true: answered; called instead of a commit
	after func(http.ResponseWriter) bool // the same, once the commit was made
	seen  []string                       // the requirements and updates of the last commit
}

func (f *fakeREST) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/config" {
		fmt.Fprint(w, `{"defaults":{},"overrides":{}}`)
		return
	}
	if r.Header.Get("Authorization") != "Bearer good" {
		restError(w, 401)
		return
	}
	id := icetable.Identifier{"n", "t"}
	if r.URL.Path != "/v1/namespaces/n/tables/t" {
		restError(w, 404)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodPost {
		var in struct {
			Requirements icetable.Requirements `json:"requirements"`
			Updates      icetable.Updates      `json:"updates"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			restError(w, 400)
			return
		}
		f.seen = nil
		for _, q := range in.Requirements {
			b, _ := json.Marshal(q)
			f.seen = append(f.seen, string(b))
		}
		for _, u := range in.Updates {
			b, _ := json.Marshal(u)
			f.seen = append(f.seen, string(b))
		}
		if f.fault != nil && f.fault(w) {
			return
		}
		if _, _, err := f.backend.CommitTable(r.Context(), id, in.Requirements, in.Updates); err != nil {
			restError(w, 409)
			return
		}
		if f.after != nil && f.after(w) {
			return
		}
	}
	tbl, err := f.backend.LoadTable(r.Context(), id)
	if err != nil {
		restError(w, 500)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"metadata-location": tbl.MetadataLocation(), "metadata": tbl.Metadata(), "config": map[string]string{}})
}

func (f *fakeREST) set(fault, after func(http.ResponseWriter) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.after = fault, after
}

func restError(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"message":"fake","type":"Fake","code":%d}}`, status)
}

func status(code int) func(http.ResponseWriter) bool {
	return func(w http.ResponseWriter) bool { restError(w, code); return true }
}

func hangUp(http.ResponseWriter) bool { panic(http.ErrAbortHandler) }

func cut(w http.ResponseWriter) bool {
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, `{"metadata-location":"file:///x`)
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestRESTOutcomes(t *testing.T) {
	wh := configs.Warehouse{Location: t.TempDir()}
	under, err := Open(t.Context(), configs.Catalog{}, wh)
	if err != nil {
		t.Fatal(err)
	}
	defer under.Close()
	id := table.Ident{Namespace: "n", Name: "t"}
	if _, err := under.Ensure(t.Context(), table.Def{Ident: id, Row: smallRow()}); err != nil {
		t.Fatal(err)
	}
	f := &fakeREST{lake: under.(*lake)}
	srv := httptest.NewServer(f)
	defer srv.Close()
	c, err := Open(t.Context(), configs.Catalog{Type: "rest", URI: srv.URL, Token: "good"}, wh)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]struct {
		fault, after func(http.ResponseWriter) bool
		want         error
		lands        bool
	}{
		"fine":               {nil, nil, nil, true},
		"409":                {status(409), nil, table.ErrConflict, false},
		"404":                {status(404), nil, table.ErrNoTable, false},
		"429":                {status(429), nil, table.ErrRetry, false},
		"token expired":      {status(419), nil, table.ErrRetry, false},
		"500":                {status(500), nil, table.ErrUnknown, false},
		"502 after the deed": {nil, status(502), table.ErrUnknown, true},
		"503":                {status(503), nil, table.ErrUnknown, false},
		"504 after the deed": {nil, status(504), table.ErrUnknown, true},
		"no answer":          {hangUp, nil, table.ErrUnknown, false},
		"lost answer":        {nil, hangUp, table.ErrUnknown, true},
		"answer cut":         {nil, cut, table.ErrUnknown, true},
		"400":                {status(400), nil, nil, false},
		"403":                {status(403), nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := s.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.set(k.fault, k.after)
			err = s.Swap(t.Context(), base, table.Change{Snapshot: true, Props: func(id int64) map[string]string { return map[string]string{table.Prefix + "move": fmt.Sprint(id)} }})
			f.set(nil, nil)
			now, lerr := s.Load(t.Context())
			if lerr != nil {
				t.Fatal(lerr)
			}
			if landed := now.Snapshot != base.Snapshot; landed != k.lands || landed && now.Props[table.Prefix+"move"] != fmt.Sprint(now.Snapshot) {
				t.Fatalf("landed: %t, %v", landed, err)
			}
			if (err == nil) != (k.want == nil && k.lands) || table.Passing(err) && k.want == nil || k.want != nil && !errors.Is(err, k.want) || err != nil && !strings.Contains(err.Error(), srv.URL) {
				t.Fatalf("got %v, want %v", err, k.want)
			}
			if name == "fine" {
				all := strings.Join(f.seen, "\n")
				for _, want := range []string{`"assert-table-uuid"`, `"ref":"main"`, `"ref":"lakeloader-move","snapshot-id":`, `"type":"tag"`} {
					if !strings.Contains(all, want) {
						t.Errorf("the commit has no %s:\n%s", want, all)
					}
				}
			}
		})
	}

	srv.Close()
	base, err := under.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := base.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A connection that was kept open may take the request before it shows that the server is gone.
	for range 5 {
		if err = s.Swap(t.Context(), b, table.Change{Snapshot: true}); !errors.Is(err, table.ErrUnknown) {
			break
		}
	}
	if !errors.Is(err, table.ErrRetry) || errors.Is(err, table.ErrUnknown) {
		t.Errorf("refused connection: nothing was sent: %v", err)
	}
}

func TestRESTCredentials(t *testing.T) {
	srv := httptest.NewServer(&fakeREST{})
	defer srv.Close()
	c, err := Open(t.Context(), configs.Catalog{Type: "rest", URI: srv.URL, Token: "bad"}, configs.Warehouse{Location: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Info(t.Context(), table.Ident{Namespace: "n", Name: "t"})
	if err == nil || table.Passing(err) || !strings.Contains(err.Error(), "credentials") || !strings.Contains(err.Error(), srv.URL) {
		t.Errorf("wrong token: %v", err)
	}
}
