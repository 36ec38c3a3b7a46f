package pipeline

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

var routerTables = [2]table.Ident{{Namespace: "lake", Name: "t"}, {Namespace: "lake", Name: "t_dead_letters"}}

func testRouter(cfg configs.Route, told *[]string) *router {
	cfg.Otherwise = "primary"
	return newRouter(&cfg, routerTables[0], routerTables[1], func(why string) {
		if told != nil {
			*told = append(*told, why)
		}
	})
}

// batchOf is a batch of one column v; nil is null.
func batchOf(t testing.TB, typ *batch.Type, values ...any) *batch.Batch {
	t.Helper()
	b := batch.New(&batch.Records{}, batch.StructOf(batch.Field{Name: "v", Type: typ}))
	c := b.Root.Children[0]
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			c.AppendNull()
		case string:
			c.AppendView(b.AppendString(v))
		case bool:
			c.AppendBool(v)
		case int32:
			c.AppendInt32(v)
		case int64:
			c.AppendInt64(v)
		default:
			t.Fatalf("%T", v)
		}
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	return b
}

// said writes where rows go: each table with its rows, in the order of the tables' first rows.
func said(targets []*target) string {
	var out []string
	for _, t := range targets {
		out = append(out, fmt.Sprint(t.id.Name, t.rows))
	}
	return strings.Join(out, " ")
}

func TestRouterSplitsByTypes(t *testing.T) {
	for _, c := range []struct {
		typ    *batch.Type
		values []any
		want   string
	}{
		{batch.Prim(batch.String), []any{"a", "a", "b", nil, "a", "", "c d"}, "e_a[0 1 4] e_b[2] t[3 5] e_c_d[6]"},
		{batch.Prim(batch.Int), []any{int32(7), int32(7), int32(-1), nil, int32(7), int32(0)}, "e_7[0 1 4] e__1[2] t[3] e_0[5]"},
		{batch.Prim(batch.Long), []any{int64(1), int64(2), int64(1), int64(2), int64(1 << 40)}, "e_1[0 2] e_2[1 3] e_1099511627776[4]"},
		{batch.Prim(batch.Boolean), []any{true, false, false, nil, true}, "e_true[0 4] e_false[1 2] t[3]"},
	} {
		r := testRouter(configs.Route{By: "v", Template: "e_${value}", Allow: []string{"*"}, Limit: 9}, nil)
		b := batchOf(t, c.typ, c.values...)
		if err := r.bind(b.Root.Type); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := said(r.split(b)); got != c.want {
				t.Errorf("%s: %s, want %s", c.typ, got, c.want)
			}
		}
		b.Fate[0] = batch.Filtered
		if got := said(r.split(b)); strings.Contains(got, "[0") {
			t.Errorf("%s: a filtered row goes to %s", c.typ, got)
		}
	}
}

func TestRouterBindsColumns(t *testing.T) {
	row := batch.StructOf(batch.Field{Name: "v", Type: batch.Prim(batch.Double)}, batch.Field{Name: "s", Type: batch.StructOf(batch.Field{Name: "in", Type: batch.Prim(batch.String)})},
		batch.Field{Name: "l", Type: batch.ListOf(batch.Prim(batch.String), false)})
	for by, want := range map[string]string{"v": "v is a double", "s": "s is a struct", "s.in": "", "s.out": "no column s.out", "l": "l is a list", "topic": "the topic is in _kafka_topic", "v.x": "no column v.x"} {
		err := testRouter(configs.Route{By: by}, nil).bind(row)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", by, err, want)
		}
	}
	r := testRouter(configs.Route{By: "s.in", Tables: map[string]string{"x": "xs"}}, nil)
	b := batch.New(&batch.Records{}, batch.StructOf(row.Fields[1]))
	s := b.Root.Children[0]
	s.Children[0].AppendView(b.AppendString("x"))
	s.AppendStruct()
	s.AppendNull()
	for i := range 2 {
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	if got := said(r.split(b)); got != "xs[0] t[1]" {
		t.Errorf("nested: %s", got)
	}
}

// Who has a table has it for good, whatever the case of its name, and no table of another use is given away.
func TestRouterKeepsTablesApart(t *testing.T) {
	var told []string
	r := testRouter(configs.Route{By: "v", Tables: map[string]string{"one": "e_two", "uno": "e_two"}, Template: "E_${value}", Allow: []string{"*"}, Limit: 3}, &told)
	split := func(values ...any) string {
		t.Helper()
		b := batchOf(t, batch.Prim(batch.String), values...)
		if err := r.bind(b.Root.Type); err != nil {
			t.Fatal(err)
		}
		return said(r.split(b))
	}
	if got := split("a", "A", "one", "uno", "two", "b"); got != "E_a[0] t[1 4] e_two[2 3] E_b[5]" {
		t.Error(got)
	}
	if len(told) != 2 || !strings.Contains(told[0], `v "A" would go to table lake.E_A`[:20]) || !strings.Contains(told[1], "lake.E_two, which is not for routed rows") {
		t.Errorf("told %q", told)
	}
	// The ledger says that others were first: of another loader, or of an earlier configuration.
	r.listed([]table.Routed{{Ident: table.Ident{Namespace: "lake", Name: "e_A"}, Value: "A"}, {Ident: table.Ident{Namespace: "lake", Name: "old"}, Value: "old"}, {Ident: table.Ident{Namespace: "lake", Name: "E_x"}}})
	if got := split("a", "A", "x", "c", "old"); got != "t[0 3 4] e_A[1] E_x[2]" {
		t.Error(got)
	}
	for in, want := range map[table.Routed]bool{
		{Ident: table.Ident{Namespace: "lake", Name: "e_two"}}:             true,
		{Ident: table.Ident{Namespace: "lake", Name: "E_z"}, Value: "z"}:   true,
		{Ident: table.Ident{Namespace: "lake", Name: "old"}, Value: "old"}: false,
		{Ident: table.Ident{Namespace: "lake", Name: "E_q"}}:               false,
	} {
		if r.reaches(in) != want {
			t.Errorf("reaches %v: %v", in, !want)
		}
	}
	r = testRouter(configs.Route{By: "v", Template: "t_${value}", Allow: []string{"*"}, Limit: 3}, &told)
	if got := split("dead_letters", "live"); got != "t[0] t_live[1]" {
		t.Error(got)
	}
}

// A column of many values, by mistake, takes bounded memory, and every row goes somewhere.
func TestRouterForgetsValues(t *testing.T) {
	r := testRouter(configs.Route{By: "v", Template: "e_${value}", Allow: []string{"x*"}, Limit: 2}, nil)
	for at := 0; at < 3*maxValues; at += 1 << 14 {
		values := make([]any, 1<<14)
		for i := range values {
			values[i] = int64(at + i)
		}
		b := batchOf(t, batch.Prim(batch.Long), values...)
		if err := r.bind(b.Root.Type); err != nil {
			t.Fatal(err)
		}
		if got := r.split(b); len(got) != 1 || len(got[0].rows) != len(values) {
			t.Fatal(len(got))
		}
		if len(r.values) > maxValues {
			t.Fatalf("%d values are remembered", len(r.values))
		}
	}
}

// What a round says of its tables must agree with its files before anyone relies on it.
func TestRoundWithRoutedRowsIsChecked(t *testing.T) {
	set := func(offsets ...uint64) *Offsets {
		o := &Offsets{}
		o.AddMany(offsets)
		return o
	}
	good := func() *Round {
		return &Round{ID: "r", Moves: []Move{{To: table.Record{Next: 4, Counts: table.Counts{Rows: 4}}, Routed: map[string]*Offsets{"lake.xs": set(1, 2)}}},
			Tables: []RoundFile{{Table: routerTables[0], Files: []table.File{{Rows: 2}}}, {Table: table.Ident{Namespace: "lake", Name: "xs"}, Routed: true, Files: []table.File{{Rows: 1}, {Rows: 1}}}, {Table: routerTables[1]}}}
	}
	if err := good().check(); err != nil || !good().needsObject() {
		t.Fatal(err)
	}
	for want, harm := range map[string]func(*Round){
		"the files for table lake.xs hold 1 rows, the offsets say 2":   func(r *Round) { r.Tables[1].Files = r.Tables[1].Files[:1] },
		"2 offsets are routed to table lake.xs, which has no files":    func(r *Round) { r.Tables = append(r.Tables[:1], r.Tables[2]) },
		"the files hold 3 rows, the offsets say 4":                     func(r *Round) { r.Tables[0].Files[0].Rows = 1 },
		"the files for table lake.xs hold 2 rows, the offsets say 0":   func(r *Round) { r.Moves[0].Routed = nil },
		"the files for table lake.xs hold 2 rows, the offsets say 1":   func(r *Round) { r.Moves[0].Routed["lake.xs"] = set(1) },
		"1 offsets are routed to table lake.other, which has no files": func(r *Round) { r.Moves[0].Routed["lake.other"] = set(3) },
	} {
		r := good()
		harm(r)
		if err := r.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func BenchmarkRouter(b *testing.B) {
	const n = 4096
	types := []string{"click", "view", "buy", "login", "logout", "search", "share", "rate"}
	for name, pick := range map[string]func(i int) string{"runs": func(i int) string { return types[i/256%8] }, "mixed": func(int) string { return types[rand.Intn(8)] }} {
		b.Run(name, func(b *testing.B) {
			values := make([]any, n)
			for i := range values {
				values[i] = pick(i)
			}
			in := batchOf(b, batch.Prim(batch.String), values...)
			r := testRouter(configs.Route{By: "v", Template: "e_${value}", Allow: []string{"*"}, Limit: 9}, nil)
			if err := r.bind(in.Root.Type); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if len(r.split(in)) != 8 {
					b.Fatal("not split")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
		})
	}
}
