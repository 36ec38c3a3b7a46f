package writers

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"pgregory.net/rapid"
)

// finished ends the files and reads them; their metrics and statistics must be those of the rows. each is called for every file.
func finished(t *rapid.T, w *Writer, store *memory, row *batch.Type, each func(f table.File, rows []any)) (all []any) {
	t.Helper()
	files, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		rows := readFile(t, store, f, row)
		checkMetrics(t, f, row, rows)
		checkStatistics(t, store, f, row)
		each(f, rows)
		all = append(all, rows...)
	}
	return all
}

// TestRowsComeBack writes random rows of random types, in any selection and order, under random settings, and compares
// every file with what went in: the rows, the metrics, and the statistics of every page.
func TestRowsComeBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		g := &gen{Rand: rand.New(rand.NewPCG(seed, 7)), few: rapid.Bool().Draw(rt, "few")}
		row := number(g.structType(rapid.IntRange(0, 3).Draw(rt, "depth"), rapid.IntRange(1, 4).Draw(rt, "columns")))
		store := newMemory()
		opts := Options{Info: info(row), Store: store, Now: fixedClock}
		opts.Info.Properties = map[string]string{"write.parquet.page-version": rapid.SampledFrom([]string{"", "v1", "v2"}).Draw(rt, "pages")}
		// lz4 is left to the readers that are not ours: the library cannot read what it wrote (see lz4Codec).
		opts.Files.Compression = rapid.SampledFrom([]string{"zstd", "snappy", "gzip", "none"}).Draw(rt, "codec")
		opts.Files.RowGroupSize = rapid.SampledFrom([]configs.Bytes{1, 5000, 0}).Draw(rt, "group")
		opts.Files.TargetSize = rapid.SampledFrom([]configs.Bytes{1, 20000, 0}).Draw(rt, "target")
		w, err := New(opts)
		if err != nil {
			rt.Fatal(err)
		}
		w.page = rapid.SampledFrom([]int{100, 2000, maxPage}).Draw(rt, "page")
		w.largest = rapid.SampledFrom([]int64{20, 500, maxDictionary}).Draw(rt, "dictionary")
		var want []any
		for range rapid.IntRange(1, 3).Draw(rt, "batches") {
			rows, part := g.rows(row, rapid.SampledFrom([]int{1, 5, 60, 1500}).Draw(rt, "rows"))
			if g.IntN(2) == 0 {
				g.Shuffle(len(part.Rows), func(i, j int) { part.Rows[i], part.Rows[j] = part.Rows[j], part.Rows[i] })
			}
			for _, i := range part.Rows {
				want = append(want, rows[i])
			}
			if err := w.Append(rt.Context(), batchOf(row, rows), part); err != nil {
				rt.Fatal(err)
			}
		}
		got := finished(rt, w, store, row, func(table.File, []any) {})
		if len(got) != len(want) {
			rt.Fatalf("%d rows came back of %d", len(got), len(want))
		}
		for i := range got {
			if a, b := text(got[i]), text(want[i]); a != b {
				rt.Fatalf("row %d of type %s:\n%s\nwant\n%s", i, row, a, b)
			}
		}
		if store.open != 0 || store.aborted != 0 {
			rt.Fatalf("%d uploads open, %d aborted", store.open, store.aborted)
		}
	})
}

// tb is what rapid.T and testing.T share.
type tb interface {
	Fatal(...any)
	Fatalf(string, ...any)
}

func open(t tb, store *memory, f table.File) *parquet.File {
	data := store.objects[f.Path]
	p, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("%s: %v", f.Path, err)
	}
	if int64(len(data)) != f.Size || p.NumRows() != f.Rows {
		t.Fatalf("%s: %d bytes and %d rows are described as %+v", f.Path, len(data), p.NumRows(), f)
	}
	// Trino finds a chunk's column by its path; the other readers take it by its place.
	paths := p.Schema().Columns()
	for _, g := range p.Metadata().RowGroups {
		for c := range g.Columns {
			if at := g.Columns[c].MetaData.PathInSchema; !slices.Equal([]string(at), paths[c]) {
				t.Fatalf("%s: the chunk of column %q has the path %q", f.Path, paths[c], at)
			}
		}
	}
	return p
}

func readFile(t tb, store *memory, f table.File, row *batch.Type) []any {
	p := open(t, store, f)
	a := &assembler{leaf: leafTypes(row)}
	var out []any
	for i, g := range p.RowGroups() {
		if at := f.SplitOffsets[i]; at != p.Metadata().RowGroups[i].Columns[0].MetaData.DataPageOffset &&
			at != p.Metadata().RowGroups[i].Columns[0].MetaData.DictionaryPageOffset {
			t.Fatalf("%s: row group %d does not start at %d", f.Path, i, at)
		}
		rows := g.Rows()
		buf := make([]parquet.Row, 64)
		for {
			n, err := rows.ReadRows(buf)
			for _, r := range buf[:n] {
				out = append(out, a.row(row, r))
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// checkMetrics counts values from the rows and compares bounds with every value.
func checkMetrics(t tb, f table.File, row *batch.Type, rows []any) {
	for _, fl := range row.Fields {
		if fl.Type.Nested() {
			continue
		}
		at := row.Index(fl.Name)
		nulls, nans := int64(0), int64(0)
		for _, r := range rows {
			v := r.([]any)[at]
			if v == nil {
				nulls++
				continue
			}
			if text(v) == text(nan32) || text(v) == text(nan64) {
				nans++
				continue
			}
			checkBounds(t, f, fl, v)
		}
		if f.ValueCounts[fl.ID] != int64(len(rows)) || f.NullCounts[fl.ID] != nulls || f.ColumnSizes[fl.ID] <= 0 {
			t.Fatalf("column %s: %d values, %d nulls, %d bytes; want %d and %d", fl.Name, f.ValueCounts[fl.ID], f.NullCounts[fl.ID], f.ColumnSizes[fl.ID], len(rows), nulls)
		}
		if got, ok := f.NaNCounts[fl.ID]; ok != (fl.Type.Kind == batch.Float || fl.Type.Kind == batch.Double) || got != nans {
			t.Fatalf("column %s: %d NaN (%v), want %d", fl.Name, got, ok, nans)
		}
		if _, ok := f.LowerBounds[fl.ID]; ok && nulls == int64(len(rows)) {
			t.Fatalf("column %s has bounds without a value", fl.Name)
		}
	}
}

// checkStatistics holds the bounds in the footer and in the column index against every value of the page.
func checkStatistics(t tb, store *memory, f table.File, row *batch.Type) {
	p := open(t, store, f)
	leaf := leafTypes(row)
	for g, group := range p.RowGroups() {
		for c, chunk := range group.ColumnChunks() {
			meta := &p.Metadata().RowGroups[g].Columns[c].MetaData
			index := p.ColumnIndexes()[g*len(leaf)+c]
			pages := chunk.Pages()
			for n := 0; ; n++ {
				page, err := pages.ReadPage()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				values := make([]parquet.Value, page.NumValues())
				if _, err := page.Values().ReadValues(values); err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				for _, v := range values {
					if v.IsNull() || isNaN(leaf[c], plainBytes(v)) {
						continue
					}
					inRange(t, leaf[c], "page", index.MinValues[n], plainBytes(v), index.MaxValues[n])
					inRange(t, leaf[c], "footer", meta.Statistics.MinValue, plainBytes(v), meta.Statistics.MaxValue)
				}
				parquet.Release(page)
			}
			if err := pages.Close(); err != nil {
				t.Fatal(err)
			}
			checkOrder(t, leaf[c], index)
		}
	}
}

func inRange(t tb, typ *batch.Type, where string, lo, v, hi []byte) {
	if lo == nil || hi == nil {
		t.Fatalf("%s of a %s has no bounds", where, typ)
	}
	if isNaN(typ, lo) || isNaN(typ, hi) {
		return // readers ignore such bounds
	}
	if compareValues(typ, lo, v) > 0 || compareValues(typ, v, hi) > 0 {
		t.Fatalf("%s of a %s: %x is not within %x and %x", where, typ, v, lo, hi)
	}
}

// checkOrder checks what the index says of the order of pages, which readers search by bisection.
func checkOrder(t tb, typ *batch.Type, index format.ColumnIndex) {
	if index.BoundaryOrder == format.Unordered {
		return
	}
	last := -1
	for i := range index.MinValues {
		if index.NullPages[i] {
			continue
		}
		if last >= 0 && !isNaN(typ, index.MinValues[i]) && !isNaN(typ, index.MinValues[last]) {
			a, b := compareValues(typ, index.MinValues[last], index.MinValues[i]), compareValues(typ, index.MaxValues[last], index.MaxValues[i])
			if index.BoundaryOrder == format.Ascending && (a > 0 || b > 0) || index.BoundaryOrder == format.Descending && (a < 0 || b < 0) {
				t.Fatalf("the pages of a %s are not in the order %v: %x %x, %x %x", typ, index.BoundaryOrder,
					index.MinValues[last], index.MaxValues[last], index.MinValues[i], index.MaxValues[i])
			}
		}
		last = i
	}
}
