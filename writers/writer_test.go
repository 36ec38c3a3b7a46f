package writers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

func longs(values ...int64) *batch.Batch {
	var rows []any
	for _, v := range values {
		rows = append(rows, []any{v})
	}
	return batchOf(longRow, rows)
}

var longRow = number(batch.StructOf(required("n", batch.Long)))

func in(key string, rows ...int32) Part {
	return Part{Tuple: [][]byte{[]byte(key)}, Path: "k=" + key, Key: key, Rows: rows}
}

func TestPartitions(t *testing.T) {
	store := newMemory()
	w := newWriter(t, Options{Info: info(longRow), Store: store, Prefix: "p1"})
	for range 2 {
		b := longs(1, 2, 3, 4)
		for _, p := range []Part{in("a", 0, 2), in("b", 1, 3)} {
			if err := w.Append(t.Context(), b, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(store.objects) != 0 || store.open != 0 {
		t.Error("something is stored before the round ends")
	}
	files := finish(t, w)
	if len(files) != 2 || files[0].Path != "mem://lake/t/data/k=a/p1-000001.parquet" || files[1].Path != "mem://lake/t/data/k=b/p1-000002.parquet" {
		t.Fatalf("%+v", files)
	}
	for i, want := range []string{"[[1] [3] [1] [3]]", "[[2] [4] [2] [4]]"} {
		if got := text(readFile(t, store, files[i], longRow)); got != want || string(files[i].Partition[0]) != string("ab"[i]) {
			t.Errorf("%s: %s, want %s", files[i].Path, got, want)
		}
	}
	if files := finish(t, w); len(files) != 0 {
		t.Errorf("a round without rows has files: %+v", files)
	}
	if err := w.Append(t.Context(), longs(9), in("a", 0)); err != nil {
		t.Fatal(err)
	}
	if files := finish(t, w); len(files) != 1 || files[0].Path != "mem://lake/t/data/k=a/p1-000003.parquet" {
		t.Errorf("the second round: %+v", files)
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for range 5 {
		store := newMemory()
		w := newWriter(t, Options{Info: info(longRow), Store: store})
		appendAll(t, w, longs(1))
		for _, f := range finish(t, w) {
			if name := path.Base(f.Path); seen[name] {
				t.Errorf("%s twice", name)
			} else {
				seen[name] = true
			}
		}
	}
}

func TestFilesReachTheirSize(t *testing.T) {
	store := newMemory()
	row := clicksRow(false)
	w := newWriter(t, Options{Info: info(row), Store: store, Files: configs.Files{TargetSize: 600 << 10, RowGroupSize: 200 << 10}})
	w.page = 16 << 10
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 20 {
		appendAll(t, w, clicks(row, r, i*4096, 4096, 20*4096))
	}
	files := finish(t, w)
	rows := int64(0)
	for i, f := range files {
		rows += f.Rows
		if groups := len(f.SplitOffsets); i < len(files)-1 && (f.Size < 400<<10 || f.Size > 700<<10 || groups < 3) {
			t.Errorf("%s has %d bytes in %d row groups", f.Path, f.Size, groups)
		}
		for g, group := range open(t, store, f).Metadata().RowGroups {
			if i < len(files)-1 && g < len(f.SplitOffsets)-1 && (group.TotalCompressedSize < 100<<10 || group.TotalCompressedSize > 350<<10) {
				t.Errorf("%s: row group %d has %d bytes", f.Path, g, group.TotalCompressedSize)
			}
		}
	}
	if rows != 20*4096 || len(files) < 4 {
		t.Errorf("%d rows in %d files", rows, len(files))
	}
}

func TestMaxOpen(t *testing.T) {
	store := newMemory()
	w := newWriter(t, Options{Info: info(longRow), Store: store, Files: configs.Files{MaxOpen: 2}})
	for _, key := range []string{"a", "b", "a", "c", "d", "a"} {
		if err := w.Append(t.Context(), longs(1), in(key, 0)); err != nil {
			t.Fatal(err)
		}
		if len(w.files) > 2 {
			t.Fatalf("%d files are open", len(w.files))
		}
	}
	var keys []string
	for _, f := range w.done {
		keys = append(keys, string(f.Partition[0]))
	}
	if got := strings.Join(keys, ""); got != "bac" {
		t.Errorf("finished early: %s, want the least recently written ones, bac", got)
	}
	rows := int64(0)
	for _, f := range finish(t, w) {
		rows += f.Rows
	}
	if rows != 6 {
		t.Errorf("%d rows", rows)
	}
}

func TestShrink(t *testing.T) {
	store := newMemory()
	row := clicksRow(false)
	w := newWriter(t, Options{Info: info(row), Store: store})
	if err := w.Shrink(t.Context(), 0); err != nil || len(w.done) != 0 {
		t.Fatal(w.done, err)
	}
	b := clicks(row, rand.New(rand.NewPCG(1, 1)), 0, 4096, 4096)
	for key, n := range map[string]int{"small": 10, "large": 4096, "middle": 700} {
		p := in(key, all(n).Rows...)
		if err := w.Append(t.Context(), b, p); err != nil {
			t.Fatal(err)
		}
	}
	before := w.Held()
	if err := w.Shrink(t.Context(), before.Open-1); err != nil {
		t.Fatal(err)
	}
	after := w.Held()
	if before.Finished != 0 || after.Open >= before.Open || after.Finished == 0 || len(w.done) != 1 || w.done[0].Rows != 4096 {
		t.Errorf("%+v, then %+v: %+v", before, after, w.done)
	}
	for err := w.Shrink(t.Context(), 0); ; err = w.Wait(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if open, uploading := w.Pending(); open > 0 {
			t.Fatalf("%d files are open", open)
		} else if uploading == 0 {
			break
		}
	}
	if len(store.objects) != 3 {
		t.Errorf("%d objects are durable", len(store.objects))
	}
	if files := finish(t, w); len(files) != 3 {
		t.Errorf("%+v", files)
	}
	if h := w.Held(); h != (Held{}) {
		t.Errorf("after the round: %+v", h)
	}
}

func TestAbort(t *testing.T) {
	store := newMemory()
	w := newWriter(t, Options{Info: info(longRow), Store: store, Files: configs.Files{RowGroupSize: 1}})
	for _, key := range []string{"a", "b"} {
		if err := w.Append(t.Context(), longs(1), in(key, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Shrink(t.Context(), w.Held().Open-1); err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := len(store.objects)
	for _, f := range w.files { // as if much had been written: the upload has begun
		if _, err := f.out.Write(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	w.Abort()
	if store.open != 0 || store.aborted != 1 || len(store.objects) != kept {
		t.Errorf("%d open, %d aborted, %d objects of %d", store.open, store.aborted, len(store.objects), kept)
	}
	if err := w.Append(t.Context(), longs(7), in("a", 0)); err != nil {
		t.Fatal(err)
	}
	if files := finish(t, w); len(files) != 1 || files[0].Rows != 1 {
		t.Errorf("the next round: %+v", files)
	}
}

func TestFailingStore(t *testing.T) {
	broken := errors.New("disk full")
	for _, step := range []string{"create", "write", "commit"} {
		store := newMemory()
		w := newWriter(t, Options{Info: info(longRow), Store: store})
		for _, key := range []string{"a", "b", "c"} {
			if err := w.Append(t.Context(), longs(1), in(key, 0)); err != nil {
				t.Fatal(err)
			}
		}
		store.fail = func(s, uri string) error {
			if s == step && strings.Contains(uri, "k=b") {
				return broken
			}
			return nil
		}
		_, err := w.Finish(t.Context())
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "table lake.t: ") || !strings.Contains(err.Error(), "mem://lake/t/data/k=b/") {
			t.Errorf("%s: %v", step, err)
		}
		if _, again := w.Finish(t.Context()); !errors.Is(again, broken) {
			t.Errorf("%s: a broken round was finished: %v", step, again)
		}
		if again := w.Append(t.Context(), longs(1), in("a", 0)); !errors.Is(again, broken) {
			t.Errorf("%s: a broken round goes on: %v", step, again)
		}
		w.Abort()
		if store.open != 0 {
			t.Errorf("%s: %d uploads stay open", step, store.open)
		}
		store.fail = nil
		appendAll(t, w, longs(1))
		if files := finish(t, w); len(files) != 1 {
			t.Errorf("%s: the next round: %+v", step, files)
		}
	}
}

func TestCancelled(t *testing.T) {
	w := newWriter(t, Options{Info: info(longRow), Store: newMemory()})
	appendAll(t, w, longs(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Finish(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBinding(t *testing.T) {
	wideRow := number(batch.StructOf(required("a", batch.Long), batch.Field{Name: "b", Type: batch.Prim(batch.Double)},
		batch.Field{Name: "c", Type: batch.DecimalOf(38, 2)}, batch.Field{Name: "new", Type: batch.Prim(batch.String)},
		batch.Field{Name: "s", Type: batch.StructOf(batch.Field{Name: "x", Type: batch.Prim(batch.Long)}, batch.Field{Name: "y", Type: batch.Prim(batch.String)})},
		batch.Field{Name: "l", Type: batch.ListOf(batch.StructOf(batch.Field{Name: "p", Type: batch.Prim(batch.Long)}, batch.Field{Name: "q", Type: batch.Prim(batch.Int)}), false)}))
	old := batch.StructOf(batch.Field{Name: "l", Type: batch.ListOf(batch.StructOf(batch.Field{Name: "q", Type: batch.Prim(batch.Int)}), false)},
		batch.Field{Name: "dropped", Type: batch.Prim(batch.Int)}, batch.Field{Name: "s", Type: batch.StructOf(batch.Field{Name: "x", Type: batch.Prim(batch.Int)})},
		batch.Field{Name: "b", Type: batch.Prim(batch.Float)}, batch.Field{Name: "a", Type: batch.Prim(batch.Int)}, batch.Field{Name: "c", Type: batch.DecimalOf(9, 2)})
	store := newMemory()
	w := newWriter(t, Options{Info: info(wideRow), Store: store})
	appendAll(t, w, batchOf(old, []any{
		[]any{[]any{[]any{int64(5)}, nil, []any{nil}}, int64(1), []any{int64(2)}, float32(1.5), int64(-3), bigInt(-4)},
		[]any{nil, nil, nil, nil, int64(4), nil},
		[]any{[]any{}, nil, []any{nil}, nil, int64(4), nil},
	}))
	got := text(readFile(t, store, finish(t, w)[0], wideRow))
	want := text([]any{
		[]any{int64(-3), 1.5, bigInt(-4), nil, []any{int64(2), nil}, []any{[]any{nil, int64(5)}, nil, []any{nil, nil}}},
		[]any{int64(4), nil, nil, nil, nil, nil},
		[]any{int64(4), nil, nil, nil, []any{nil, nil}, []any{}},
	})
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestRefusals(t *testing.T) {
	row := number(batch.StructOf(required("n", batch.Long), batch.Field{Name: "s", Type: batch.StructOf(required("x", batch.Int))},
		batch.Field{Name: "u", Type: batch.Prim(batch.UUID)}, batch.Field{Name: "d", Type: batch.DecimalOf(9, 0)}, batch.Field{Name: "w", Type: batch.DecimalOf(20, 0)},
		batch.Field{Name: "l", Type: batch.ListOf(batch.Prim(batch.Int), true)}))
	n := required("n", batch.Long)
	with := func(name string, t *batch.Type) *batch.Type {
		return batch.StructOf(n, batch.Field{Name: name, Type: t})
	}
	for _, c := range []struct {
		row    *batch.Type
		values []any
		err    string
	}{
		{batch.StructOf(batch.Field{Name: "m", Type: batch.Prim(batch.Long)}), []any{int64(1)}, "column n is missing, but the table requires it"},
		{batch.StructOf(batch.Field{Name: "n", Type: batch.Prim(batch.Long)}), []any{nil}, "column n is null in row 0 of the batch, but the table requires it"},
		{batch.StructOf(required("n", batch.String)), []any{"1"}, "column n: a string cannot be stored as the table's long"},
		{with("s", batch.Prim(batch.Int)), []any{int64(1), nil}, "column s.x: a int cannot be stored as the table's struct<x: int required>"},
		{with("s", batch.StructOf(batch.Field{Name: "x", Type: batch.Prim(batch.Int)})), []any{int64(1), []any{nil}}, "column s.x is null, but the table requires it"},
		{with("l", batch.ListOf(batch.Prim(batch.Int), false)), []any{int64(1), []any{nil}}, "column l[] is null, but the table requires it"},
		{with("u", batch.Prim(batch.UUID)), []any{int64(1), "short"}, "column u: a value has 5 bytes, the type uuid needs 16"},
		{with("d", batch.DecimalOf(9, 0)), []any{int64(1), bigInt(1 << 40)}, "column d: a value has more digits than the type decimal(9,0)"},
		{with("d", batch.DecimalOf(10, 0)), []any{int64(1), bigInt(1)}, "column d: a decimal(10,0) cannot be stored as the table's decimal(9,0)"},
		{with("d", batch.DecimalOf(9, 1)), []any{int64(1), bigInt(1)}, "column d: a decimal(9,1) cannot be stored as the table's decimal(9,0)"},
		{with("w", batch.DecimalOf(20, 0)), []any{int64(1), bigInt(1).Lsh(bigInt(1), 100)}, "column w: a value has more digits than the type decimal(20,0)"},
	} {
		w := newWriter(t, Options{Info: info(row), Store: newMemory()})
		b := batchOf(c.row, []any{c.values})
		err := w.Append(t.Context(), b, all(1))
		if err == nil { // the row is staged
			_, err = w.Finish(t.Context())
		}
		if err == nil || !strings.HasPrefix(err.Error(), "table lake.t: ") || !strings.HasSuffix(err.Error(), c.err) {
			t.Errorf("%v\nwant %s", err, c.err)
		}
	}
}

func TestOptions(t *testing.T) {
	good := Options{Info: info(longRow), Store: newMemory()}
	for want, change := range map[string]func(*Options){
		"a writer needs an object store and the table's location":                func(o *Options) { o.Store = nil },
		`compression "brotli" is not known; use zstd, snappy, gzip, lz4 or none`: func(o *Options) { o.Files.Compression = "brotli" },
		"compression_level 40 is not a zstd level; use 1 to 9":                   func(o *Options) { o.Files.Level = 40 },
		"bloom_filters: there is no column m that holds values":                  func(o *Options) { o.Files.Bloom = []string{"m"} },
		"bloom_filters: b is a boolean, for which a filter is of no use": func(o *Options) {
			o.Files.Bloom, o.Info.Row = []string{"b"}, number(batch.StructOf(required("b", batch.Boolean)))
		},
		"sort_by m: there is no such column": func(o *Options) { o.SortBy = []table.SortField{{Source: "m"}} },
		"sort_by l: a list<int> has no order": func(o *Options) {
			o.SortBy, o.Info.Row = []table.SortField{{Source: "l"}}, number(batch.StructOf(batch.Field{Name: "l", Type: batch.ListOf(batch.Prim(batch.Int), false)}))
		},
		"column n has no field id; the row type must come from the table":          func(o *Options) { o.Info.Row = batch.StructOf(required("n", batch.Long)) },
		"column s is a struct without fields, which Parquet cannot store":          func(o *Options) { o.Info.Row = number(batch.StructOf(batch.Field{Name: "s", Type: batch.StructOf()})) },
		"the table has no columns":                                                 func(o *Options) { o.Info.Row = batch.StructOf() },
		"target_size, row_group_size and max_open must be positive":                func(o *Options) { o.Files.TargetSize = -1 },
		`the table property write.parquet.page-version is "3"; it can be v1 or v2`: func(o *Options) { o.Info.Properties = map[string]string{"write.parquet.page-version": "3"} },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || err.Error() != "table lake.t: "+want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestFooter(t *testing.T) {
	row := number(batch.StructOf(required("n", batch.Long), batch.Field{Name: "i", Type: batch.Prim(batch.Int)}, batch.Field{Name: "d", Type: batch.DecimalOf(20, 3)},
		batch.Field{Name: "l", Type: batch.ListOf(batch.Prim(batch.String), false)}, batch.Field{Name: "m", Type: batch.MapOf(batch.Prim(batch.String), batch.Prim(batch.TimestampTZ), true)}))
	store := newMemory()
	w := newWriter(t, Options{Info: info(row), Store: store})
	appendAll(t, w, batchOf(row, []any{[]any{int64(1), nil, nil, nil, nil}}))
	meta := open(t, store, finish(t, w)[0]).Metadata()
	var got []string
	for _, e := range meta.Schema {
		got = append(got, fmt.Sprintf("%s %d %v", e.Name, e.FieldID, e.LogicalType.Value != nil))
	}
	want := []string{"table 0 false", "n 1 false", "i 2 false", "d 3 true", "l 4 true", "list 0 false", "element 5 true", "m 6 true", "key_value 0 false", "key 7 true", "value 8 true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if n := meta.Schema[3].TypeLength; n.V != 9 {
		t.Errorf("a decimal of 20 digits takes %d bytes", n.V)
	}
	if !strings.HasPrefix(meta.CreatedBy, "lakeloader version ") {
		t.Errorf("created by %q", meta.CreatedBy)
	}
}

// TestCommitsRunAtOnce needs all commits to have begun before any may end.
func TestCommitsRunAtOnce(t *testing.T) {
	store := newMemory()
	var begun sync.WaitGroup
	begun.Add(uploads)
	store.fail = func(step, _ string) error {
		if step == "commit" {
			begun.Done()
			begun.Wait()
		}
		return nil
	}
	w := newWriter(t, Options{Info: info(longRow), Store: store})
	for i := range uploads {
		if err := w.Append(t.Context(), longs(1), in(fmt.Sprint(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if files := finish(t, w); len(files) != uploads {
		t.Errorf("%d files", len(files))
	}
}
