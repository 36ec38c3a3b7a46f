package query_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/query"
	"github.com/lakeloader/lakeloader/table"
)

const everyType = "id long required, b boolean, i int, f float, d double, m decimal(9,2), big decimal(38,10), day date, tm time, ts timestamp, tz timestamptz, " +
	"s string, u uuid, bin binary, fix fixed[3]"

var types = table.Ident{Namespace: "lake", Name: "types"}

// load loads values into a table with the real pipeline: columns, and nested ones that hold commas.
func load(t *testing.T, e *pipelinetest.Env, name, columns string, nested map[string]string, values ...string) {
	t.Helper()
	cfg := pipelinetest.Pipeline(columns, func(p *configs.Pipeline) {
		p.Name, p.Table.Name = name, name
		for _, c := range slices.Sorted(maps.Keys(nested)) {
			p.Decode.Value.Columns = append(p.Decode.Value.Columns, configs.ColumnDef{Name: c, Type: nested[c]})
		}
	}, name)
	if _, err := e.Admin.TopicIDs(t.Context(), []string{name}); err != nil {
		e.Create(t, name, 1)
	}
	e.Produce(t, name, 0, values...)
	l := e.Start(t, cfg, nil)
	l.Read(int64(len(values)))
	if err := l.Stop(); err != nil {
		t.Fatalf("%v\n%s", err, l.Log())
	}
}

func options(e *pipelinetest.Env) query.Options {
	return query.Options{Catalog: e.Catalog, Objects: e.Objects, Namespace: "lake", MaxFetch: 1 << 30, Memory: 256 << 20}
}

// ask gives the rows as JSON.
func ask(t *testing.T, o query.Options, sql string) string {
	t.Helper()
	r, err := query.Run(t.Context(), sql, o)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var b strings.Builder
	if err := r.WriteJSON(&b); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func want(t *testing.T, o query.Options, sql string, lines ...string) {
	t.Helper()
	if got := ask(t, o, sql); got != strings.Join(lines, "\n") {
		t.Errorf("%s\n%s\nwant\n%s", sql, got, strings.Join(lines, "\n"))
	}
}

func refused(t *testing.T, o query.Options, sql string, words ...string) {
	t.Helper()
	_, err := query.Run(t.Context(), sql, o)
	if err == nil {
		t.Errorf("%s: no error", sql)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v\ndoes not say %q", sql, err, w)
		}
	}
}

func TestQueryEveryType(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	load(t, e, "types", everyType, map[string]string{
		"z1_list":   "list<date>",
		"z2_map":    "map<string, decimal(5,2)>",
		"z3_struct": "struct<z: timestamptz, u: uuid, a: list<struct<n: long, t: time>>>",
	}, `{"id":1,"b":true,"i":-2147483648,"f":1.5,"d":-0.1,"m":"-1234567.80","big":"1234567890123456789012345678.0123456789","day":"2026-02-28","tm":"23:59:59.000001",
		"ts":"2026-02-28T12:00:00.5","tz":"2026-02-28T12:00:00.123456+02:00","s":"G\u00fcnther \"x\"","u":"00010203-0405-0607-0809-0a0b0c0d0e0f","bin":"AAH/","fix":"YWJj",
		"z1_list":["2026-01-01",null],"z2_map":{"b":"1.50","a":null},"z3_struct":{"z":"2026-01-01T00:00:00Z","u":"ffffffff-ffff-ffff-ffff-ffffffffffff","a":[{"n":1,"t":"00:00:00"},null,{"n":null,"t":"12:00:00"}]}}`,
		`{"id":9223372036854775807}`)
	o := options(e)
	if dead := ask(t, o, "SELECT error FROM types_dead_letters"); dead != "" {
		t.Fatal(dead)
	}
	cols := strings.Join([]string{"id", "b", "i", "f", "d", "m", "big", "day", "tm", "ts", "tz", "s", "u", "bin", "fix", "z1_list", "z2_map", "z3_struct"}, ", ")
	want(t, o, "SELECT "+cols+" FROM types ORDER BY id",
		`{"id":1,"b":true,"i":-2147483648,"f":1.5,"d":-0.1,"m":"-1234567.80","big":"1234567890123456789012345678.0123456789","day":"2026-02-28","tm":"23:59:59.000001","ts":"2026-02-28T12:00:00.5","tz":"2026-02-28T10:00:00.123456Z","s":"Günther \"x\"","u":"00010203-0405-0607-0809-0a0b0c0d0e0f","bin":"AAH/","fix":"YWJj","z1_list":["2026-01-01",null],"z2_map":{"b":"1.50","a":null},"z3_struct":{"z":"2026-01-01T00:00:00Z","u":"ffffffff-ffff-ffff-ffff-ffffffffffff","a":[{"n":1,"t":"00:00:00"},null,{"n":null,"t":"12:00:00"}]}}`,
		`{"id":9223372036854775807,"b":null,"i":null,"f":null,"d":null,"m":null,"big":null,"day":null,"tm":null,"ts":null,"tz":null,"s":null,"u":null,"bin":null,"fix":null,"z1_list":null,"z2_map":null,"z3_struct":null}`)
	// Every type can be compared, and is what it is in DuckDB.
	want(t, o, `SELECT id FROM types WHERE m = -1234567.80 AND big > 1e27 AND day = DATE '2026-02-28' AND tz < TIMESTAMPTZ '2026-02-28 10:00:01Z' AND u = '00010203-0405-0607-0809-0a0b0c0d0e0f'
		AND tm > TIME '23:00:00' AND z3_struct.a[1].n = 1 AND z2_map['b'] = 1.5 AND octet_length(bin) = 3 AND list_contains(z1_list, DATE '2026-01-01')`, `{"id":1}`)
	want(t, o, "SELECT count(*) n, sum(i) s, min(_kafka_offset) f FROM types WHERE _kafka_topic = 'types'", `{"n":2,"s":-2147483648,"f":0}`)
	r, err := query.Run(t.Context(), "SELECT "+cols+" FROM types", o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(r.Types, " "), `BIGINT BOOLEAN INTEGER FLOAT DOUBLE DECIMAL(9,2) DECIMAL(38,10) DATE TIME TIMESTAMP TIMESTAMPTZ VARCHAR UUID BLOB BLOB DATE[] MAP(VARCHAR, DECIMAL(5,2)) STRUCT("z" TIMESTAMPTZ, "u" UUID, "a" STRUCT("n" BIGINT, "t" TIME)[])`; got != want {
		t.Errorf("types\n%s\nwant\n%s", got, want)
	}
}

// However a statement names a table, it is found.
func TestQueryFindsTables(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	load(t, e, "types", "id long required, s string", nil, `{"id":1,"s":"a"}`, `{"id":2,"s":"b"}`, `{"id":3}`)
	load(t, e, "users", "id long required, name string", nil, `{"id":1,"name":"Ann"}`, `{"id":2,"name":"Bob"}`)
	o := options(e)
	for _, sql := range []string{
		"SELECT count(*) n FROM types",
		"SELECT count(*) n FROM types x",
		"SELECT count(*) n FROM types AS x WHERE x.id > 0",
		"SELECT count(*) n FROM lake.types",
		`SELECT count(*) n FROM "lake"."types" AS "a table"`,
		"SELECT count(*) n FROM TYPES",
		"SELECT count(*) n FROM Lake.Types",
		"FROM types SELECT count(*) n",
		"SELECT (SELECT count(*) FROM types) n",
		"WITH x AS (SELECT * FROM types) SELECT count(*) n FROM x",
		"WITH types AS (SELECT * FROM types) SELECT count(*) n FROM types",
		"SELECT count(*) n FROM types LEFT JOIN users USING (id)",
		"SELECT count(*) n FROM types NATURAL LEFT JOIN users",
		"WITH x AS (SELECT * FROM types) SELECT count(*) n FROM x LEFT JOIN users USING (id)",
		"SELECT count(*) n FROM types t LEFT JOIN lake.users u ON t.id = u.id",
		"SELECT count(DISTINCT a.id) n FROM types a, types b, lake.types c",
		"SELECT count(*) + 1 n FROM types WHERE id IN (SELECT id FROM users)",
		"SELECT count(*) n FROM (SELECT id FROM types UNION SELECT id FROM users)",
	} {
		want(t, o, sql, `{"n":3}`)
	}
	want(t, o, "SELECT t.s, u.name FROM types t JOIN users u ON t.id = u.id ORDER BY 1", `{"s":"a","name":"Ann"}`, `{"s":"b","name":"Bob"}`)
	if got := ask(t, o, "DESCRIBE users"); !strings.Contains(got, `{"column_name":"name","column_type":"VARCHAR"`) || !strings.Contains(got, "_kafka_offset") {
		t.Errorf("%s", got)
	}
	if got := ask(t, o, "EXPLAIN SELECT * FROM types JOIN users USING (id)"); !strings.Contains(got, "JOIN") {
		t.Errorf("%s", got)
	}
	if got := ask(t, o, "SUMMARIZE users"); !strings.Contains(got, `"max":"Bob"`) {
		t.Errorf("%s", got)
	}
	want(t, o, "SELECT 1 a, 2 a", `{"a":1,"a_2":2}`) // no table at all

	refused(t, o, "SELECT * FROM nothing", "nothing", "does not exist")
	refused(t, o, "SELECT * FROM other.types", "other")
	refused(t, o, "SELECT none FROM types", "none")
	refused(t, o, "SELEC 1", "cannot be read", "syntax error", "SELEC")
	refused(t, o, "", "cannot be read")
	o.Namespace = "other"
	refused(t, o, "SELECT * FROM types", "does not exist")
	want(t, o, "SELECT count(*) n FROM lake.types", `{"n":3}`)
}

func TestQuerySnapshots(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	o := options(e)
	load(t, e, "types", "id long required", nil, `{"id":1}`, `{"id":2}`)
	first := e.Base(t, types).Snapshot
	load(t, e, "types", "id long required, added string", nil, `{"id":3,"added":"x"}`)
	load(t, e, "users", "id long required", nil, `{"id":1}`)

	// A column that was added is null in older files.
	want(t, o, "SELECT id, added FROM types ORDER BY id", `{"id":1,"added":null}`, `{"id":2,"added":null}`, `{"id":3,"added":"x"}`)
	o.Snapshot = first
	want(t, o, "SELECT id, added FROM types ORDER BY id", `{"id":1,"added":null}`, `{"id":2,"added":null}`)
	want(t, o, "SELECT count(*) n FROM types a JOIN lake.types b USING (id)", `{"n":2}`)
	refused(t, o, "SELECT * FROM types JOIN users USING (id)", "one table only")
	o.Snapshot = 12345
	refused(t, o, "SELECT * FROM types", "lake.types", "12345")
}

func TestQueryDeadLettersAndEmptyTables(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	o := options(e)
	load(t, e, "types", everyType, map[string]string{"l": "list<struct<a: map<string, long>>>"}, "{{", `{"id":"x"}`)
	want(t, o, "SELECT stage, step, decode(value) v, _kafka_offset o, pipeline FROM types_dead_letters ORDER BY o",
		`{"stage":"decode","step":"value","v":"{{","o":0,"pipeline":"types"}`, `{"stage":"decode","step":"value","v":"{\"id\":\"x\"}","o":1,"pipeline":"types"}`)
	want(t, o, "SELECT count(*) n FROM types_dead_letters WHERE error IS NOT NULL AND failed_at > TIMESTAMPTZ '2020-01-01'", `{"n":2}`)
	// No file at all: the columns are there, with their types.
	want(t, o, "SELECT * FROM types", "")
	want(t, o, "SELECT count(*) n, sum(m) m, max(l[1].a['x']) l FROM types WHERE u IS NULL AND tz > now()", `{"n":0,"m":null,"l":null}`)
}

// Rows that another engine deleted by position are gone, in local files and in those fetched.
func TestQueryPositionDeletes(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	load(t, e, "types", "id long required", nil, `{"id":1}`, `{"id":2}`, `{"id":3}`)
	load(t, e, "types", "id long required", nil, `{"id":4}`, `{"id":5}`)
	files := e.Files(t, types)
	for _, f := range files {
		e.DeletePositions(t, types, f, 1)
	}
	o := options(e)
	want(t, o, "SELECT id FROM types ORDER BY id", `{"id":1}`, `{"id":3}`, `{"id":4}`)
	o.Catalog, o.Objects = remoteCatalog{e}, remoteStore{e.Objects}
	_, deletes, err := e.Catalog.Files(t.Context(), types, 0)
	if err != nil || len(deletes) != 2 {
		t.Fatalf("delete files %v, %v", deletes, err)
	}
	for _, uri := range deletes { // they name the files as the catalog does
		path, err := objects.LocalPath(uri)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := parquet.ReadFile[deletedRow](path)
		for i := range rows {
			rows[i].Path = remote(rows[i].Path)
		}
		if err == nil {
			err = parquet.WriteFile(path, rows)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want(t, o, "SELECT id FROM types ORDER BY id", `{"id":1}`, `{"id":3}`, `{"id":4}`)
}

type deletedRow struct {
	Path string `parquet:"file_path"`
	Pos  int64  `parquet:"pos"`
}

func remote(uri string) string { return strings.Replace(uri, "file://", "mem://bucket", 1) }

// remoteCatalog and remoteStore make a local lake look like one in an object store.
type remoteCatalog struct{ *pipelinetest.Env }

func (c remoteCatalog) Info(ctx context.Context, id table.Ident) (table.Info, error) {
	return c.Catalog.Info(ctx, id)
}

func (c remoteCatalog) Files(ctx context.Context, id table.Ident, snapshot int64) ([]table.File, []string, error) {
	files, deletes, err := c.Catalog.Files(ctx, id, snapshot)
	for i := range files {
		files[i].Path = remote(files[i].Path)
	}
	for i := range deletes {
		deletes[i] = remote(deletes[i])
	}
	return files, deletes, err
}

type remoteStore struct{ objects.Store }

func (s remoteStore) Open(ctx context.Context, uri string) (objects.Reader, error) {
	path, ok := strings.CutPrefix(uri, "mem://bucket")
	if !ok {
		return nil, fmt.Errorf("not in this store: %s", uri)
	}
	return s.Store.Open(ctx, "file://"+path)
}

func TestQueryOverAnObjectStore(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	load(t, e, "types", "id long required, s string", nil, `{"id":1,"s":"a"}`, `{"id":2}`)
	load(t, e, "types", "id long required, s string, more double", nil, `{"id":3,"more":0.5}`)
	o := options(e)
	o.Catalog, o.Objects = remoteCatalog{e}, remoteStore{e.Objects}
	want(t, o, "SELECT id, s, more FROM types ORDER BY id", `{"id":1,"s":"a","more":null}`, `{"id":2,"s":null,"more":null}`, `{"id":3,"s":null,"more":0.5}`)
	o.MaxFetch = e.Files(t, types)[0].Size + 1
	refused(t, o, "SELECT id FROM types", "more than 0 MiB", "--max-fetch")
	o = options(e)
	o.Catalog, o.Objects = remoteCatalog{e}, e.Objects // cannot read what the catalog names
	refused(t, o, "SELECT id FROM types", "mem://bucket")
	path, err := objects.LocalPath(e.Files(t, types)[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	refused(t, options(e), "SELECT id FROM types", path)
}

// failing is a catalog that cannot be reached.
type failing struct{ err error }

func (f failing) Info(context.Context, table.Ident) (table.Info, error) { return table.Info{}, f.err }
func (f failing) Files(context.Context, table.Ident, int64) ([]table.File, []string, error) {
	return nil, nil, f.err
}

func TestQueryCatalogFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the catalog is down")
	if _, err := query.Run(t.Context(), "SELECT * FROM types", query.Options{Catalog: failing{broken}, Memory: 64 << 20}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := query.Run(ctx, "SELECT 1", query.Options{Catalog: failing{table.ErrNoTable}, Memory: 64 << 20}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
