//go:build stack && engines

// Package enginestest asks a real engine for all that aggregate.Engine promises, of a table that lakeloader's own writers wrote
// into the shared REST catalog.
package enginestest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/table/iceberg"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
	"github.com/lakeloader/lakeloader/writers"
)

// Case is an engine with what its dialect writes in its own way.
type Case struct {
	Engine aggregate.Engine
	// Endless is a SELECT of one long that does not end while a test runs; empty: there is none.
	Endless string
	// ByName: columns of a result are taken by their names, whatever others there are.
	ByName bool
}

type lake struct {
	t       *testing.T
	catalog table.Catalog
	objects objects.Store
	info    table.Info
}

var columns = []aggregate.Column{
	{Name: "id", Type: batch.Prim(batch.Int)}, {Name: "truth", Type: batch.Prim(batch.Boolean)}, {Name: "big", Type: batch.Prim(batch.Long)},
	{Name: "single", Type: batch.Prim(batch.Float)}, {Name: "twice", Type: batch.Prim(batch.Double)}, {Name: "price", Type: batch.DecimalOf(12, 2)},
	{Name: "wide", Type: batch.DecimalOf(38, 10)}, {Name: "born", Type: batch.Prim(batch.Date)}, {Name: "local", Type: batch.Prim(batch.Timestamp)},
	{Name: "ts", Type: batch.Prim(batch.TimestampTZ)}, {Name: "name", Type: batch.Prim(batch.String)}, {Name: "uid", Type: batch.Prim(batch.UUID)},
	{Name: "hash", Type: batch.FixedOf(4)}, {Name: "raw", Type: batch.Prim(batch.Binary)},
}

func number(text string) *big.Int {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		panic(text) // of this file
	}
	return n
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err) // of this file
	}
	return t
}

// missing is the id of no snapshot.
const missing = 4711471147114711

var nines = strings.Repeat("9", 38)

// rows are in the order of id. Later is the fifth, of the second snapshot.
var rows = [][]any{
	{int64(1), true, int64(math.MaxInt64), 1.5, math.Pi, big.NewInt(199), number(nines), at("2026-11-21T00:00:00Z"), at("2026-11-21T10:11:12.123456Z"),
		at("2026-11-21T23:59:59.999999Z"), "Zoë 'quoted'", []byte("0123456789abcdef"), []byte{1, 2, 3, 255}, []byte{0, 255}},
	{int64(2), false, int64(math.MinInt64), -0.25, math.SmallestNonzeroFloat64, big.NewInt(-999999999999), number("-" + nines), at("1969-12-31T00:00:00Z"),
		at("1969-12-31T23:59:59.000001Z"), at("1969-12-31T23:59:59.5Z"), "", make([]byte, 16), make([]byte, 4), []byte{}},
	{int64(3), true, int64(0), math.Inf(1), math.Inf(-1), big.NewInt(0), big.NewInt(1), at("2000-02-29T00:00:00Z"), at("2000-02-29T00:00:00Z"),
		at("2026-03-29T01:30:00Z"), "a\nb\t\\", []byte("fedcba9876543210"), []byte("abcd"), []byte("text")},
	{int64(4), nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil},
	{int64(5), true, int64(7), 2.0, 1e300, big.NewInt(1), big.NewInt(5), at("2026-11-22T00:00:00Z"), at("2026-11-22T00:00:00Z"), at("2026-11-22T00:00:00Z"), "later",
		[]byte("0123456789abcdef"), []byte("abcd"), []byte("x")},
}

// newLake makes a table of a namespace of its own.
func newLake(t *testing.T, namespace string) *lake {
	t.Helper()
	access, secret := stacktest.S3Keys(t)
	path := true
	w := configs.Warehouse{Location: "s3://" + stacktest.NewBucket(t) + "/lake", S3: configs.S3{Endpoint: stacktest.S3(t), Region: "us-east-1", AccessKey: access, SecretKey: secret, PathStyle: &path, PartSize: 8 << 20}}
	store, err := objects.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := iceberg.Open(t.Context(), configs.Catalog{Type: "rest", URI: stacktest.REST(t), Warehouse: w.Location}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := catalog.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &lake{t: t, catalog: catalog, objects: store}
	def := table.Def{Ident: table.Ident{Namespace: namespace, Name: "values_of_all_types"}, Location: w.Location + "/t", Row: batch.StructOf()}
	for _, c := range columns {
		def.Row.Fields = append(def.Row.Fields, batch.Field{Name: c.Name, Type: c.Type})
	}
	if l.info, err = catalog.Ensure(t.Context(), def); err != nil {
		t.Fatal(err)
	}
	return l
}

// add commits rows, and returns the snapshot.
func (l *lake) add(rows ...[]any) int64 {
	l.t.Helper()
	ctx := l.t.Context()
	b, p := batch.New(&batch.Records{}, l.info.Row), writers.Part{}
	for _, r := range rows {
		for i, v := range r {
			put(b, b.Root.Children[i], columns[i].Type, v)
		}
		b.Root.AppendStruct()
		p.Rows = append(p.Rows, int32(b.Rows))
		b.AppendRow(b.Rows, 0)
	}
	w, err := writers.New(writers.Options{Info: l.info, Store: l.objects})
	if err == nil {
		err = w.Append(ctx, b, p)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	files, err := w.Finish(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	store, err := l.catalog.Open(ctx, l.info.Ident)
	if err != nil {
		l.t.Fatal(err)
	}
	base, err := store.Load(ctx)
	if err == nil {
		err = store.Swap(ctx, base, table.Change{Add: files})
	}
	if err == nil {
		base, err = store.Load(ctx)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return base.Snapshot
}

func put(b *batch.Batch, c *batch.Column, t *batch.Type, v any) {
	if v == nil {
		c.AppendNull()
		return
	}
	switch t.Kind {
	case batch.Boolean:
		c.AppendBool(v.(bool))
	case batch.Int:
		c.AppendInt32(int32(v.(int64)))
	case batch.Long:
		c.AppendInt64(v.(int64))
	case batch.Float:
		c.AppendFloat32(float32(v.(float64)))
	case batch.Double:
		c.AppendFloat64(v.(float64))
	case batch.Date:
		c.AppendInt32(int32(math.Floor(float64(v.(time.Time).Unix()) / 86400)))
	case batch.Timestamp, batch.TimestampTZ:
		c.AppendInt64(v.(time.Time).UnixMicro())
	case batch.String:
		c.AppendView(b.AppendString(v.(string)))
	case batch.Decimal:
		n := v.(*big.Int)
		if t.Precision <= batch.MaxInt64Precision {
			c.AppendInt64(n.Int64())
			return
		}
		bytes := make([]byte, 16)
		if n.Sign() < 0 {
			n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), 128))
		}
		c.AppendView(b.Append(n.FillBytes(bytes)))
	default:
		c.AppendView(b.Append(v.([]byte)))
	}
}

// Run asks for all of it.
func Run(t *testing.T, c Case) {
	l := newLake(t, strings.ReplaceAll(stacktest.Name("ns"), "-", "_"))
	empty := l.source(0)
	first := l.source(l.add(rows[:4]...))
	second := l.source(l.add(rows[4]))
	all := "SELECT " + names() + " FROM source"
	t.Run("every type, and time travel", func(t *testing.T) {
		same(t, rows[:4], ask(t, c, aggregate.Query{Source: first, SQL: all, Columns: columns}))
		same(t, rows, ask(t, c, aggregate.Query{Source: second, SQL: all, Columns: columns}))
		same(t, nil, ask(t, c, aggregate.Query{Source: empty, SQL: all, Columns: columns}))
	})
	t.Run("aggregates", func(t *testing.T) {
		q := aggregate.Query{Source: second, SQL: "SELECT truth, count(*) AS n, sum(id) AS s, sum(price) AS p, max(ts) AS last, min(wide) AS w FROM source WHERE id <> 1 GROUP BY truth",
			Columns: []aggregate.Column{columns[1], {Name: "n", Type: batch.Prim(batch.Long)}, {Name: "s", Type: batch.Prim(batch.Long)}, {Name: "p", Type: batch.DecimalOf(38, 2)},
				{Name: "last", Type: batch.Prim(batch.TimestampTZ)}, {Name: "w", Type: batch.DecimalOf(38, 10)}}}
		same(t, [][]any{{false, int64(1), int64(2), big.NewInt(-999999999999), at("1969-12-31T23:59:59.5Z"), number("-" + nines)}, {nil, int64(1), int64(4), nil, nil, nil},
			{true, int64(2), int64(8), big.NewInt(1), at("2026-11-22T00:00:00Z"), big.NewInt(1)}}, ask(t, c, q))
	})
	for name, x := range map[string]struct {
		q    aggregate.Query
		says []string
	}{
		"a value beyond its column":    {aggregate.Query{Source: first, SQL: "SELECT big AS small FROM source WHERE id = 1", Columns: []aggregate.Column{{Name: "small", Type: batch.Prim(batch.Int)}}}, []string{"small", "int", "9223372036854775807"}},
		"a sum beyond 64 bits":         {aggregate.Query{Source: first, SQL: "SELECT sum(big) AS total FROM source CROSS JOIN (SELECT 1 UNION ALL SELECT 2) x(y) WHERE id = 1", Columns: []aggregate.Column{{Name: "total", Type: batch.Prim(batch.Long)}}}, []string{"verflow", "sum(big)"}},
		"decimals lost":                {aggregate.Query{Source: first, SQL: "SELECT price AS price FROM source WHERE id = 1", Columns: []aggregate.Column{{Name: "price", Type: batch.DecimalOf(12, 1)}}}, []string{"column price, of type decimal(12,1): 1.99 has more than 1 decimals"}},
		"wrong SQL":                    {aggregate.Query{Source: first, SQL: "SELECT no_such_column FROM source", Columns: columns[:1]}, []string{"no_such_column", "correct the SQL"}},
		"another number of columns":    {aggregate.Query{Source: first, SQL: "SELECT id, truth FROM source", Columns: columns[:1]}, []string{"instead of 1"}},
		"a table that is not there":    {aggregate.Query{Source: aggregate.Source{Info: table.Info{Ident: table.Ident{Namespace: l.info.Ident.Namespace, Name: "gone"}}}, SQL: all, Columns: columns}, []string{"gone", "catalog"}},
		"a snapshot that is not there": {aggregate.Query{Source: l.source(missing), SQL: all, Columns: columns}, []string{"4711471147114711", "expire"}},
	} {
		if c.ByName && name == "another number of columns" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			err := c.Engine.Select(t.Context(), x.q, func([]any) error { return nil })
			if err == nil {
				t.Fatal("it does not fail")
			}
			for _, text := range append(x.says, "engine tested (", "SELECT") {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q is not in the error: %v", text, err)
				}
			}
		})
	}
	t.Run("an error of the caller", func(t *testing.T) {
		own := errors.New("enough")
		if err := c.Engine.Select(t.Context(), aggregate.Query{Source: first, SQL: all, Columns: columns}, func([]any) error { return own }); err != own {
			t.Error(err)
		}
	})
	if c.Endless != "" {
		t.Run("stopped", func(t *testing.T) { stopped(t, c, first, all) })
	}
	cost, err := c.Engine.Cost(t.Context(), aggregate.Query{Source: second})
	if err != nil || cost.Files != 2 || cost.Bytes < 1000 || cost.Fetched != 0 {
		t.Errorf("cost %+v, %v", cost, err)
	}
}

func names() string {
	var all []string
	for _, c := range columns {
		all = append(all, c.Name)
	}
	return strings.Join(all, ", ")
}

func (l *lake) source(snapshot int64) aggregate.Source {
	s := aggregate.Source{Info: l.info, Snapshot: snapshot}
	if snapshot == 0 || snapshot == missing {
		return s
	}
	var err error
	if s.Files, s.Deletes, err = l.catalog.Files(l.t.Context(), l.info.Ident, snapshot); err != nil {
		l.t.Fatal(err)
	}
	return s
}

func ask(t *testing.T, c Case, q aggregate.Query) (got [][]any) {
	t.Helper()
	if err := c.Engine.Select(t.Context(), q, func(row []any) error {
		got = append(got, append([]any(nil), row...))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func same(t *testing.T, want, got [][]any) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d rows instead of %d", len(got), len(want))
	}
	sorted := func(rows [][]any) [][]any { // an engine may give them in any order
		return slices.SortedFunc(slices.Values(rows), func(a, b []any) int {
			for i := range a {
				if c := strings.Compare(shown(a[i]), shown(b[i])); c != 0 {
					return c
				}
			}
			return 0
		})
	}
	want, got = sorted(want), sorted(got)
	for i := range want {
		for j := range want[i] {
			if w, g := shown(want[i][j]), shown(got[i][j]); w != g || reflect.TypeOf(want[i][j]) != reflect.TypeOf(got[i][j]) {
				t.Errorf("row %d, value %d: %T %v instead of %v", i, j, got[i][j], g, w)
			}
		}
	}
}

func shown(v any) string {
	switch v := v.(type) {
	case []byte:
		return fmt.Sprintf("%x", v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case float64:
		return fmt.Sprint(v, binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
	}
	return fmt.Sprint(v)
}

func stopped(t *testing.T, c Case, source aggregate.Source, all string) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errors.New("it took too long"))
	defer cancel()
	began := time.Now()
	err := c.Engine.Select(ctx, aggregate.Query{Source: source, SQL: c.Endless, Columns: []aggregate.Column{{Name: "n", Type: batch.Prim(batch.Long)}}}, func([]any) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "was stopped: it took too long") || time.Since(began) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	// what was stopped holds nobody up: the engine has but two cores
	same(t, rows[:4], ask(t, c, aggregate.Query{Source: source, SQL: all, Columns: columns}))
}
