package iceberg

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/table/tabletest"
)

// fakeGlue is the part of AWS Glue's API that a catalog uses, over maps. It honours version ids as Glue does: an update
// that names another version than the current one is refused.
type fakeGlue struct {
	t   *testing.T
	url string

	mu        sync.Mutex
	databases map[string]bool
	tables    map[string]glueTable
	calls     map[string]int
	// fault, when set, may answer (or lose) a request in the server's stead.
	fault func(op string) glueFault
}

type glueTable struct {
	input   map[string]any
	version int
}

type glueFault int

const (
	glueNone     glueFault = iota
	glueLoseDone           // do it, then close the connection
	glueLoseUndone
	glue500
	glue500Done // do it, then answer 500
	glueThrottle
	glueDenied
)

func newFakeGlue(t *testing.T) *fakeGlue {
	f := &fakeGlue{t: t, databases: map[string]bool{}, tables: map[string]glueTable{}, calls: map[string]int{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func (f *fakeGlue) config() configs.Catalog {
	return configs.Catalog{Type: "glue", URI: f.url, Properties: map[string]string{"glue.access-key-id": "a", "glue.secret-access-key": "b", "glue.region": "eu-west-1", "glue.max-retries": "3"}}
}

func (f *fakeGlue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AWSGlue.")
	if !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/glue/aws4_request") {
		f.t.Errorf("%s is signed %q", op, r.Header.Get("Authorization"))
	}
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		f.t.Errorf("%s: %v", op, err)
	}
	f.mu.Lock()
	f.calls[op]++
	fault := glueNone
	if f.fault != nil {
		fault = f.fault(op)
	}
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	switch fault {
	case glueLoseDone:
		f.serve(httptest.NewRecorder(), op, in)
		panic(http.ErrAbortHandler)
	case glueLoseUndone:
		panic(http.ErrAbortHandler)
	case glue500Done:
		f.serve(httptest.NewRecorder(), op, in)
		glueError(w, 500, "InternalServiceException")
	case glue500:
		glueError(w, 500, "InternalServiceException")
	case glueThrottle:
		glueError(w, 400, "ThrottlingException")
	case glueDenied:
		glueError(w, 400, "UnrecognizedClientException")
	default:
		f.serve(w, op, in)
	}
}

func glueError(w http.ResponseWriter, status int, kind string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"__type":%q,"Message":"fake"}`, kind)
}

func text(in map[string]any, path ...string) string {
	var v any = in
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

func (f *fakeGlue) serve(w http.ResponseWriter, op string, in map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	db, name := text(in, "DatabaseName"), text(in, "Name")
	if n := text(in, "TableInput", "Name"); n != "" {
		name = n
	}
	key := db + "." + name
	tbl, exists := f.tables[key]
	switch op {
	case "GetDatabase":
		if !f.databases[name] {
			glueError(w, 400, "EntityNotFoundException")
			return
		}
		fmt.Fprintf(w, `{"Database":{"Name":%q}}`, name)
	case "CreateDatabase":
		if db = text(in, "DatabaseInput", "Name"); f.databases[db] {
			glueError(w, 400, "AlreadyExistsException")
			return
		}
		f.databases[db] = true
		fmt.Fprint(w, `{}`)
	case "CreateTable":
		if exists {
			glueError(w, 400, "AlreadyExistsException")
			return
		}
		f.checkInput(in)
		f.tables[key] = glueTable{input: in["TableInput"].(map[string]any)}
		fmt.Fprint(w, `{}`)
	case "GetTable", "DeleteTable", "UpdateTable":
		if !exists {
			glueError(w, 400, "EntityNotFoundException")
			return
		}
		switch op {
		case "DeleteTable":
			delete(f.tables, key)
			fmt.Fprint(w, `{}`)
		case "UpdateTable":
			f.checkInput(in)
			if text(in, "VersionId") != strconv.Itoa(tbl.version) {
				glueError(w, 400, "ConcurrentModificationException")
				return
			}
			f.tables[key] = glueTable{input: in["TableInput"].(map[string]any), version: tbl.version + 1}
			fmt.Fprint(w, `{}`)
		default:
			out := maps.Clone(tbl.input)
			out["DatabaseName"], out["VersionId"] = db, strconv.Itoa(tbl.version)
			_ = json.NewEncoder(w).Encode(map[string]any{"Table": out})
		}
	default:
		f.t.Errorf("unexpected operation %s", op)
	}
}

// checkInput looks at what other engines need to find in Glue.
func (f *fakeGlue) checkInput(in map[string]any) {
	if text(in, "TableInput", "TableType") != "EXTERNAL_TABLE" || text(in, "TableInput", "Parameters", "table_type") != "ICEBERG" ||
		!strings.HasSuffix(text(in, "TableInput", "Parameters", "metadata_location"), ".metadata.json") {
		f.t.Errorf("table input %v", in["TableInput"])
	}
}

// times sets a fault for the first n calls of an operation.
func (f *fakeGlue) times(op string, n int, what glueFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = func(got string) glueFault {
		if got == op && n > 0 {
			n--
			return what
		}
		return glueNone
	}
}

func TestGlue(t *testing.T) {
	f := newFakeGlue(t)
	wh := configs.Warehouse{Location: t.TempDir()}
	h := harness(f.config(), wh)
	h.Metadata = localMetadata
	h.Commits = 50
	h.Lossy = func(t *testing.T, lands bool) table.Catalog {
		f.times("UpdateTable", 1, map[bool]glueFault{true: glueLoseDone, false: glueLoseUndone}[lands])
		return h.Catalog(t)
	}
	tabletest.Run(t, h)
}

func TestGlueOutcomes(t *testing.T) {
	f := newFakeGlue(t)
	c, err := Open(t.Context(), f.config(), configs.Warehouse{Location: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	id := table.Ident{Namespace: "db", Name: "t"}
	if _, err := c.Ensure(t.Context(), table.Def{Ident: id, Row: smallRow()}); err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]struct {
		op    string
		times int
		fault glueFault
		want  error // nil: landed
	}{
		"500 after the deed":    {"UpdateTable", 1, glue500Done, table.ErrUnknown},
		"500":                   {"UpdateTable", 1, glue500, table.ErrUnknown},
		"throttled":             {"UpdateTable", 1, glueThrottle, table.ErrRetry},
		"a read that was lost":  {"GetTable", 1, glueLoseUndone, nil},
		"reads that never work": {"GetTable", 100, glueThrottle, table.ErrRetry},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := s.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.mu.Lock()
			f.calls = map[string]int{}
			f.mu.Unlock()
			f.times(k.op, k.times, k.fault)
			err = s.Swap(t.Context(), base, table.Change{Snapshot: true})
			f.times("", 0, glueNone)
			if !errors.Is(err, k.want) || k.want != nil && !strings.Contains(err.Error(), f.url) {
				t.Fatalf("got %v, want %v", err, k.want)
			}
			if f.calls["UpdateTable"] > 1 {
				t.Errorf("the deciding request was sent %d times", f.calls["UpdateTable"])
			}
		})
	}
	f.times("UpdateTable", 1, glueDenied)
	base, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Swap(t.Context(), base, table.Change{Snapshot: true}); err == nil || table.Passing(err) || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("refused credentials: %v", err)
	}
}

func TestGlueOpenErrors(t *testing.T) {
	f := newFakeGlue(t)
	f.times("GetDatabase", 1, glueDenied)
	wh := configs.Warehouse{Location: t.TempDir()}
	if _, err := Open(t.Context(), f.config(), wh); err == nil || table.Passing(err) || !strings.Contains(err.Error(), "credentials") || !strings.Contains(err.Error(), f.url) {
		t.Errorf("wrong credentials: %v", err)
	}
}
