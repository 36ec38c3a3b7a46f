package writers

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
	"pgregory.net/rapid"
)

// compareModel orders model values as Iceberg's sort order does, apart from nulls.
func compareModel(a, b any) int {
	switch a := a.(type) {
	case bool:
		return map[bool]int{true: 1}[a] - map[bool]int{true: 1}[b.(bool)]
	case int64:
		return big.NewInt(a).Cmp(big.NewInt(b.(int64)))
	case float32:
		return compareModel(float64(a), float64(b.(float32)))
	case float64:
		b := b.(float64)
		switch {
		case math.IsNaN(a) && math.IsNaN(b):
			return 0
		case math.IsNaN(a):
			return 1
		case math.IsNaN(b):
			return -1
		}
		return orderFloats(a, b)
	case *big.Int:
		return a.Cmp(b.(*big.Int))
	}
	return strings.Compare(a.(string), b.(string))
}

// inOrder compares two rows by the sort fields, which name top-level columns.
func inOrder(row *batch.Type, by []table.SortField, a, b any) int {
	for _, s := range by {
		at := row.Index(s.Source)
		x, y := a.([]any)[at], b.([]any)[at]
		d := 0
		switch {
		case x == nil && y == nil:
		case x == nil:
			d = -1
		case y == nil:
			d = 1
		default:
			d = compareModel(x, y)
		}
		if s.Desc {
			d = -d
		}
		if d != 0 {
			return d
		}
	}
	return 0
}

func TestSorted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := &gen{Rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 3)), few: rapid.Bool().Draw(rt, "few")}
		row := number(g.structType(2, rapid.IntRange(1, 5).Draw(rt, "columns")))
		var by []table.SortField
		for _, f := range row.Fields {
			if !f.Type.Nested() {
				by = append(by, table.SortField{Source: f.Name, Desc: g.IntN(2) == 0})
			}
		}
		if len(by) == 0 {
			return
		}
		store := newMemory()
		opts := Options{Info: info(row), Store: store, SortBy: by, Now: fixedClock}
		opts.Files.RowGroupSize = rapid.SampledFrom([]configs.Bytes{500, 10000, 0}).Draw(rt, "group")
		w, err := New(opts)
		if err != nil {
			rt.Fatal(err)
		}
		var want []any
		for range rapid.IntRange(1, 3).Draw(rt, "batches") {
			rows, part := g.rows(row, rapid.IntRange(1, 200).Draw(rt, "rows"))
			for _, i := range part.Rows {
				want = append(want, rows[i])
			}
			if err := w.Append(rt.Context(), batchOf(row, rows), part); err != nil {
				rt.Fatal(err)
			}
		}
		got := finished(rt, w, store, row, func(f table.File, rows []any) { checkSorted(rt, store, f, row, by, rows) })
		texts := func(rows []any) []string {
			var out []string
			for _, r := range rows {
				out = append(out, text(r))
			}
			slices.Sort(out)
			return out
		}
		if !slices.Equal(texts(got), texts(want)) {
			rt.Fatalf("%d rows came back of %d, or others", len(got), len(want))
		}
	})
}

func checkSorted(t tb, store *memory, f table.File, row *batch.Type, by []table.SortField, rows []any) {
	sorted := func(rows []any) bool {
		return slices.IsSortedFunc(rows, func(a, b any) int { return inOrder(row, by, a, b) })
	}
	if whole := len(f.SplitOffsets) == 1; (f.SortOrderID == 5) != whole || whole && !sorted(rows) {
		t.Fatalf("%d row groups, sort order %d", len(f.SplitOffsets), f.SortOrderID)
	}
	at := 0
	for i, group := range open(t, store, f).Metadata().RowGroups {
		part := rows[at : at+int(group.NumRows)]
		at += int(group.NumRows)
		if !sorted(part) {
			t.Fatalf("row group %d is not sorted by %+v", i, by)
		}
		if len(group.SortingColumns) != len(by) || group.SortingColumns[0].Descending != by[0].Desc || group.SortingColumns[0].NullsFirst == by[0].Desc {
			t.Fatalf("%+v declared for %+v", group.SortingColumns, by)
		}
	}
}

func TestSortIsStable(t *testing.T) {
	row := number(batch.StructOf(batch.Field{Name: "k", Type: batch.StructOf(batch.Field{Name: "x", Type: batch.Prim(batch.String)})}, required("n", batch.Long)))
	store := newMemory()
	w := newWriter(t, Options{Info: info(row), Store: store, SortBy: []table.SortField{{Source: "k.x", Desc: true}}})
	var rows []any
	for i := range 40 {
		k := any([]any{[]any{"same long prefix b", "same long prefix a", nil}[i%3]})
		if i%4 == 3 {
			k = nil
		}
		rows = append(rows, []any{k, int64(i)})
	}
	appendAll(t, w, batchOf(row, rows))
	rank := func(r any) string {
		k, ok := r.([]any)[0].([]any)
		if !ok || k[0] == nil {
			return ""
		}
		return k[0].(string)
	}
	slices.SortStableFunc(rows, func(a, b any) int { return strings.Compare(rank(b), rank(a)) })
	if got, want := text(readFile(t, store, finish(t, w)[0], row)), text(rows); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestSortAcrossSchemas gets a batch of another row type in the middle of a run.
func TestSortAcrossSchemas(t *testing.T) {
	row := number(batch.StructOf(required("n", batch.Long), batch.Field{Name: "s", Type: batch.Prim(batch.String)}))
	store := newMemory()
	w := newWriter(t, Options{Info: info(row), Store: store, SortBy: []table.SortField{{Source: "s"}, {Source: "n"}}})
	appendAll(t, w, longs(3, 1))
	appendAll(t, w, batchOf(row, []any{[]any{int64(2), "b"}, []any{int64(9), "a"}}))
	f := finish(t, w)[0]
	if got := text(readFile(t, store, f, row)); got != `[[1 null] [3 null] [9 "a"] [2 "b"]]` || f.SortOrderID != 0 {
		t.Errorf("%s, sort order %d", got, f.SortOrderID)
	}
}
