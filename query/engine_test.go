package query_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/query"
	"github.com/lakeloader/lakeloader/table"
)

// far is a store whose objects are local files under the names of others.
type far struct {
	objects.Store
	mu     sync.Mutex
	opened map[string]int
}

func (f *far) Open(ctx context.Context, uri string) (objects.Reader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened[uri]++
	return f.Store.Open(ctx, strings.Replace(uri, "s3://bucket/", "file:///", 1))
}

func engine(t *testing.T, store objects.Store, fetch int64) *query.Engine {
	t.Helper()
	e, err := query.NewEngine(query.EngineOptions{Objects: store, MaxFetch: fetch, Memory: 128 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// snapshot is what an engine reads of a table.
func snapshot(t *testing.T, e *pipelinetest.Env, id table.Ident, rename func(string) string) aggregate.Source {
	t.Helper()
	info, err := e.Catalog.Info(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	s := aggregate.Source{Info: info, Snapshot: e.Base(t, id).Snapshot}
	if s.Files, s.Deletes, err = e.Catalog.Files(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	for i := range s.Files {
		s.Files[i].Path = rename(s.Files[i].Path)
	}
	for i := range s.Deletes {
		s.Deletes[i] = rename(s.Deletes[i])
	}
	return s
}

func selected(t *testing.T, e *query.Engine, s aggregate.Source, sql string) (string, error) {
	t.Helper()
	cols, err := e.Describe(t.Context(), s.Info.Row, sql)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = e.Select(t.Context(), aggregate.Query{Source: s, SQL: sql, Columns: cols}, func(row []any) error {
		for i, v := range row {
			if at, ok := v.(time.Time); ok {
				v = at.Format(time.RFC3339Nano)
			}
			fmt.Fprintf(&b, "%s=%v:%s ", cols[i].Name, v, cols[i].Type)
		}
		return nil
	})
	return strings.TrimSpace(b.String()), err
}

// Every type comes through, as what a target keeps it in.
func TestEngineTypes(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	load(t, e, "types", everyType, map[string]string{"z": "struct<a: long>"}, `{"id":1,"b":true,"i":-2147483648,"f":1.5,"d":-0.1,"m":"-1234567.80","big":"1234567890123456789012345678.0123456789","day":"2026-02-28","tm":"23:59:59.000001",
		"ts":"2026-02-28T12:00:00.5","tz":"2026-02-28T12:00:00.123456+02:00","s":"Günther","u":"00010203-0405-0607-0809-0a0b0c0d0e0f","bin":"AAH/","fix":"YWJj","z":{"a":7}}`, `{"id":9223372036854775807}`)
	g, s := engine(t, e.Objects, 0), snapshot(t, e, types, func(p string) string { return p })
	for sql, want := range map[string]string{
		"SELECT b, i, f, d, m, big FROM source WHERE id = 1": "b=true:boolean i=-2147483648:int f=1.5:float d=-0.1:double m=-123456780:decimal(9,2) big=12345678901234567890123456780123456789:decimal(38,10)",
		"SELECT day, ts, tz, s, u, bin, fix FROM source WHERE id = 1": "day=2026-02-28T00:00:00Z:date ts=2026-02-28T12:00:00.5Z:timestamp tz=2026-02-28T10:00:00.123456Z:timestamptz s=Günther:string " +
			"u=[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15]:uuid bin=[0 1 255]:binary fix=[97 98 99]:binary",
		"SELECT z.a AS a, b, s, m, u FROM source WHERE id <> 1":                             "a=<nil>:long b=<nil>:boolean s=<nil>:string m=<nil>:decimal(9,2) u=<nil>:uuid",
		"SELECT sum(i) AS s, count(*) AS n, sum(m) AS m, avg(d) AS d FROM source":           "s=-2147483648:long n=2:long m=-123456780:decimal(38,2) d=-0.1:double",
		"SELECT CAST(sum(id) AS DECIMAL(38,0)) AS s, min(id) AS m FROM source":              "s=9223372036854775808:decimal(38,0) m=1:long",
		"SELECT CAST(1 AS TINYINT) AS t, CAST(2 AS UTINYINT) AS u FROM source WHERE id = 1": "t=1:int u=2:int",
	} {
		if got, err := selected(t, g, s, sql); err != nil || got != want {
			t.Errorf("%s\n%s, %v\nwant\n%s", sql, got, err, want)
		}
	}
	for sql, want := range map[string]string{
		"SELECT sum(id) AS total FROM source":   "column total (long): the value 9223372036854775808 is beyond 64 bits",
		"SELECT z FROM source":                  "column z of the result: a target cannot have DuckDB's type STRUCT",
		"SELECT tm FROM source":                 "column tm of the result: a target cannot have DuckDB's type TIME",
		"SELECT cost FROM source":               "cost",
		"SELECT CAST(s AS INTEGER) FROM source": "Günther",
	} {
		if _, err := selected(t, g, s, sql); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// Files in an object store are fetched once in the life of an engine, and no more than is allowed; deleted rows are left out.
func TestEngineFetches(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	for i := range 6 {
		load(t, e, "types", everyType, nil, fmt.Sprintf(`{"id":%d}`, 2*i), fmt.Sprintf(`{"id":%d}`, 2*i+1))
	}
	e.DeletePositions(t, types, e.Files(t, types)[0], 1)
	store := &far{Store: e.Objects, opened: map[string]int{}}
	rename := func(p string) string { return strings.Replace(p, "file:///", "s3://bucket/", 1) }
	s := snapshot(t, e, types, rename)
	// The delete file names the data file by its path in the table.
	local := snapshot(t, e, types, func(p string) string { return p })
	mixed := local
	mixed.Deletes = s.Deletes
	bytes := int64(0)
	for _, f := range s.Files {
		bytes += f.Size
	}
	g := engine(t, store, bytes)
	if c, err := g.Cost(t.Context(), aggregate.Query{Source: s}); err != nil || c != (aggregate.Cost{Files: 6, Bytes: bytes, Fetched: bytes}) {
		t.Errorf("%+v, %v", c, err)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for sql, want := range map[string]string{"SELECT count(*) AS n FROM source": "n=12:long", "SELECT count(*) AS n FROM source WHERE id < 5": "n=5:long"} {
				some := s
				some.Deletes = nil
				if got, err := selected(t, g, some, sql); err != nil || got != want {
					t.Errorf("%s: %s, %v", sql, got, err)
				}
			}
		})
	}
	wait.Wait()
	if got, err := selected(t, g, mixed, "SELECT count(*) AS n FROM source"); err != nil || got != "n=11:long" {
		t.Errorf("with deletes: %s, %v", got, err)
	}
	for uri, n := range store.opened {
		if n != 1 {
			t.Errorf("%s was fetched %d times", uri, n)
		}
	}
	if c, err := g.Cost(t.Context(), aggregate.Query{Source: s}); err != nil || c.Fetched != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	small := engine(t, store, bytes-1)
	if _, err := selected(t, small, s, "SELECT count(*) AS n FROM source"); err == nil || !strings.Contains(err.Error(), "max_fetch") || !strings.Contains(err.Error(), "trino") {
		t.Errorf("%v", err)
	}
	gone := s
	gone.Files = append(gone.Files, table.File{Path: "s3://bucket/none", Size: 0})
	if _, err := selected(t, g, gone, "SELECT count(*) AS n FROM source"); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// A result in a column that is not its own is an error, and ends with the context.
func TestEngineRefuses(t *testing.T) {
	t.Parallel()
	e := engine(t, nil, 0)
	s := aggregate.Source{Info: table.Info{Row: batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)})}}
	ask := func(ctx context.Context, sql string, cols ...aggregate.Column) error {
		return e.Select(ctx, aggregate.Query{Source: s, SQL: sql, Columns: cols}, func([]any) error { return nil })
	}
	one := aggregate.Column{Name: "n", Type: batch.Prim(batch.Long)}
	if err := ask(t.Context(), "SELECT 1 AS n", one, one); err == nil || !strings.Contains(err.Error(), "has 1 columns, not 2") {
		t.Errorf("%v", err)
	}
	if err := ask(t.Context(), "SELECT 1.5 AS n", one); err == nil || !strings.Contains(err.Error(), "column n (long)") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ask(ctx, "SELECT 1 AS n", one); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
