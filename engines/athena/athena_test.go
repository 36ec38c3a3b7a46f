package athena

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/engines"
	"github.com/lakeloader/lakeloader/table"
)

// fake is Athena's protocol. It checks what every request must have, and gives rows in pages.
type fake struct {
	t        *testing.T
	mu       sync.Mutex
	states   []string // of a query, as they are asked for; the last one stays
	reason   string
	rows     [][]*string // with the names
	page     int
	refuse   string // the code of an error that starting is answered with
	asked    []string
	queries  []string
	started  map[string]any
	onState  func()
	answered int // questions for the state
	answer   func(statement string) (rows [][]*string, reason string)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	in := map[string]any{}
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	action, isAthena := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonAthena.")
	if err != nil || !isAthena || r.Method != http.MethodPost || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/athena/aws4_request") {
		f.t.Errorf("a strange request: %v %s %s %v", err, r.Method, r.Header, string(body))
	}
	f.asked = append(f.asked, action)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	switch {
	case action == "StartQueryExecution" && f.refuse != "":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"Message":"it is refused"}`, f.refuse)
		return
	case action == "StartQueryExecution":
		f.started = in
		f.queries = append(f.queries, in["QueryString"].(string))
		if token, _ := in["ClientRequestToken"].(string); len(token) < 32 {
			f.t.Errorf("starting cannot be repeated: %v", in)
		}
		if f.answer != nil {
			f.rows, f.reason = f.answer(in["QueryString"].(string))
			if f.states = []string{"SUCCEEDED"}; f.reason != "" {
				f.states = []string{"FAILED"}
			}
		}
		f.answered = 0
		fmt.Fprintf(w, `{"QueryExecutionId":"q-%d"}`, len(f.queries))
		return
	}
	if id := in["QueryExecutionId"]; id != fmt.Sprintf("q-%d", len(f.queries)) {
		f.t.Errorf("%s of %v", action, id)
	}
	switch action {
	case "GetQueryExecution":
		state := f.states[min(f.answered, len(f.states)-1)]
		f.answered++
		if f.onState != nil {
			f.onState()
		}
		fmt.Fprintf(w, `{"QueryExecution":{"QueryExecutionId":"q","Status":{"State":%q,"StateChangeReason":%q}}}`, state, f.reason)
	case "GetQueryResults":
		first := 0
		if token, _ := in["NextToken"].(string); token != "" {
			if _, err := fmt.Sscanf(token, "from-%d", &first); err != nil {
				f.t.Errorf("a strange token: %q", token)
			}
		}
		last := min(first+f.page, len(f.rows))
		out := map[string]any{}
		var rows []any
		for _, r := range f.rows[first:last] {
			var data []any
			for _, v := range r {
				if v == nil {
					data = append(data, map[string]any{})
				} else {
					data = append(data, map[string]any{"VarCharValue": *v})
				}
			}
			rows = append(rows, map[string]any{"Data": data})
		}
		out["ResultSet"] = map[string]any{"Rows": rows}
		if last < len(f.rows) {
			out["NextToken"] = fmt.Sprintf("from-%d", last)
		}
		if err := json.NewEncoder(w).Encode(out); err != nil {
			f.t.Error(err)
		}
	case "StopQueryExecution":
		fmt.Fprint(w, `{}`)
	default:
		f.t.Errorf("%s is asked for", action)
	}
}

func row(values ...string) (out []*string) {
	for _, v := range values {
		if v == "NULL" {
			out = append(out, nil)
		} else {
			out = append(out, &v)
		}
	}
	return out
}

func open(t *testing.T, f *fake) *Engine {
	t.Helper()
	f.t = t
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	e, err := Open(t.Context(), "engines[0]", configs.Engine{Name: "tested", Type: "athena", URL: srv.URL, Catalog: "lake", Workgroup: "jobs", OutputLocation: "s3://results/x/",
		AWS: &configs.Identity{Region: "eu-west-1"}})
	if err != nil {
		t.Fatal(err)
	}
	e.poll = time.Millisecond
	return e
}

var query = aggregate.Query{SQL: "SELECT a, b, c, d, e FROM source", Source: aggregate.Source{Info: table.Info{Ident: table.Ident{Namespace: "ns", Name: "t"}}, Snapshot: 42},
	Columns: []aggregate.Column{{Name: "a", Type: batch.Prim(batch.Long)}, {Name: "b", Type: batch.DecimalOf(12, 2)}, {Name: "c", Type: batch.Prim(batch.Binary)},
		{Name: "d", Type: batch.Prim(batch.TimestampTZ)}, {Name: "e", Type: batch.Prim(batch.String)}}}

// TestAQuery: it is started once, its states are waited for, and its pages are read, the first of which begins with the names.
func TestAQuery(t *testing.T) {
	f := &fake{states: []string{"QUEUED", "RUNNING", "RUNNING", "SUCCEEDED"}, page: 2, rows: [][]*string{row("a", "b", "c", "d", "e"),
		row("1", "1.50", "00FF", "2026-11-21 10:11:12.123456 UTC", "x"), row("NULL", "NULL", "NULL", "NULL", "NULL"), row("3", "-0.01", "", "1969-12-31 00:00:00.000000 UTC", "")}}
	e := open(t, f)
	var got []string
	err := e.Select(t.Context(), query, func(row []any) error {
		got = append(got, fmt.Sprintln(row...))
		if n, ok := row[1].(*big.Int); row[1] != nil && (!ok || n == nil) {
			t.Errorf("a decimal is %T", row[1])
		}
		return nil
	})
	want := []string{"1 150 [0 255] 2026-11-21 10:11:12.123456 +0000 UTC x", "<nil> <nil> <nil> <nil> <nil>", "3 -1 [] 1969-12-31 00:00:00 +0000 UTC "}
	if err != nil || !slices.Equal(trim(got), trim(want)) {
		t.Errorf("%v\n%q", err, got)
	}
	if asked := strings.Join(f.asked, " "); asked != "StartQueryExecution GetQueryExecution GetQueryExecution GetQueryExecution GetQueryExecution GetQueryResults GetQueryResults" {
		t.Error(asked)
	}
	if s := fmt.Sprintln(f.started["WorkGroup"], f.started["QueryExecutionContext"], f.started["ResultConfiguration"]); strings.TrimSpace(s) != "jobs map[Catalog:lake Database:ns] map[OutputLocation:s3://results/x/]" {
		t.Error(s)
	}
	sql := `WITH source AS (SELECT * FROM "lake"."ns"."t" FOR VERSION AS OF 42) SELECT CAST("a" AS varchar) AS "a", CAST("b" AS varchar) AS "b", to_hex("c") AS "c", ` +
		`CAST("d" AT TIME ZONE 'UTC' AS varchar) AS "d", CAST("e" AS varchar) AS "e" FROM (SELECT a, b, c, d, e FROM source) AS result`
	if f.queries[0] != sql {
		t.Errorf("%s\n%s", f.queries[0], sql)
	}
}

func trim(lines []string) (out []string) {
	for _, l := range lines {
		out = append(out, strings.Join(strings.Fields(l), " "))
	}
	return out
}

// TestTrouble: what goes wrong is said with what to do.
func TestTrouble(t *testing.T) {
	header := row("a", "b", "c", "d", "e")
	for name, x := range map[string]struct {
		fake *fake
		says []string
	}{
		"failed":         {&fake{states: []string{"RUNNING", "FAILED"}, reason: "SYNTAX_ERROR: line 1:8: mismatched input"}, []string{"q-1 ended as FAILED", "mismatched input", "correct the SQL"}},
		"no table":       {&fake{states: []string{"FAILED"}, reason: "TABLE_NOT_FOUND: line 1:30"}, []string{"setting catalog"}},
		"cancelled":      {&fake{states: []string{"CANCELLED"}, reason: "Bytes scanned limit was exceeded"}, []string{"CANCELLED", "limit on scanned bytes"}},
		"refused":        {&fake{refuse: "InvalidRequestException"}, []string{"it is refused", "output_location"}},
		"not allowed":    {&fake{refuse: "AccessDeniedException"}, []string{"athena:StartQueryExecution"}},
		"beyond":         {&fake{states: []string{"SUCCEEDED"}, page: 9, rows: [][]*string{header, row("9223372036854775808", "1", "", "", "")}}, []string{"column a, of type long", "9223372036854775808"}},
		"no hexadecimal": {&fake{states: []string{"SUCCEEDED"}, page: 9, rows: [][]*string{header, row("1", "1", "xyz", "", "")}}, []string{"column c", "not hexadecimal"}},
		"no names":       {&fake{states: []string{"SUCCEEDED"}, page: 9, rows: [][]*string{row("1", "1", "", "", "")}}, []string{"do not begin with the names"}},
		"fewer columns":  {&fake{states: []string{"SUCCEEDED"}, page: 9, rows: [][]*string{header[:4]}}, []string{"4 values instead of 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := open(t, x.fake).Select(t.Context(), query, func([]any) error { return nil })
			if err == nil {
				t.Fatal("it does not fail")
			}
			for _, s := range append(x.says, "engine tested (athena at http://127.0.0.1", "SELECT a, b") {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q is not in: %v", s, err)
				}
			}
		})
	}
}

// TestStopped: a query whose caller is gone is stopped there too.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	f := &fake{states: []string{"RUNNING"}, onState: func() { cancel(errors.New("the lease was lost")) }}
	err := open(t, f).Select(ctx, query, func([]any) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "was stopped: the lease was lost") || f.asked[len(f.asked)-1] != "StopQueryExecution" {
		t.Error(err, f.asked)
	}
}

// TestOptimize: one that needs more runs has done its part.
func TestOptimize(t *testing.T) {
	f := &fake{states: []string{"FAILED"}, reason: "ICEBERG_OPTIMIZE_MORE_RUNS_NEEDED: more"}
	e := open(t, f)
	o := engines.Optimize{Table: table.Ident{Namespace: "ns", Name: "t"}}
	if err := e.Optimize(t.Context(), o); err != nil || f.queries[0] != "OPTIMIZE ns.t REWRITE DATA USING BIN_PACK" {
		t.Error(err, f.queries)
	}
	f.reason = "GENERIC_INTERNAL_ERROR: no"
	o.Table.Name = "T-1"
	if err := e.Optimize(t.Context(), o); err == nil || f.queries[1] != `OPTIMIZE ns."T-1" REWRITE DATA USING BIN_PACK` {
		t.Error(err, f.queries)
	}
}

func TestNoRegion(t *testing.T) {
	open(t, &fake{}) // takes the machine's settings away
	if _, err := Open(t.Context(), "engines[3]", configs.Engine{Type: "athena"}); err == nil || !strings.Contains(err.Error(), "engines[3].aws.region") {
		t.Error(err)
	}
}
