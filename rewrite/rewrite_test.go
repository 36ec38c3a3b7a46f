package rewrite

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/table/iceberg"
	"github.com/lakeloader/lakeloader/writers"
)

// lake is a table in a folder, partitioned by kind, whose rows are records of the topics a and b.
type lake struct {
	t       testing.TB
	catalog table.Catalog
	store   table.Store
	objects objects.Store
	info    table.Info
	def     table.Def
}

func field(name string, t *batch.Type, required bool) batch.Field {
	return batch.Field{Name: name, Type: t, Required: required}
}

func newLake(t testing.TB, fields ...batch.Field) *lake {
	t.Helper()
	return newLakeIn(t, configs.Catalog{}, configs.Warehouse{Location: t.TempDir()}, "lake", fields...)
}

func newLakeIn(t testing.TB, in configs.Catalog, at configs.Warehouse, namespace string, fields ...batch.Field) *lake {
	t.Helper()
	catalog, err := iceberg.Open(t.Context(), in, at)
	if err != nil {
		t.Fatal(err)
	}
	store, err := objects.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := catalog.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &lake{t: t, catalog: catalog, objects: store}
	p := batch.Prim
	l.def = table.Def{Ident: table.Ident{Namespace: namespace, Name: "t"}, PartitionBy: []table.PartitionField{{Source: "kind", Transform: "identity", Name: "kind"}},
		Row: batch.StructOf(append([]batch.Field{field("kind", p(batch.String), false), field("tags", batch.ListOf(p(batch.String), true), false),
			field(table.ColumnTopic, p(batch.String), true), field(table.ColumnPartition, p(batch.Int), true), field(table.ColumnOffset, p(batch.Long), true),
			field(table.ColumnEpoch, p(batch.Int), true)}, fields...)...)}
	l.ensure()
	if l.store, err = catalog.Open(t.Context(), l.def.Ident); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lake) ensure() {
	l.t.Helper()
	var err error
	if l.info, err = l.catalog.Ensure(l.t.Context(), l.def); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lake) load() *table.Base {
	l.t.Helper()
	b, err := l.store.Load(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func (l *lake) swap(ch table.Change) {
	l.t.Helper()
	if err := l.store.Swap(l.t.Context(), l.load(), ch); err != nil {
		l.t.Fatal(err)
	}
}

// write adds a file of one kind, with records of a partition.
func (l *lake) write(kind, topic string, part int32, first, next int64) table.File {
	l.t.Helper()
	b := batch.New(&batch.Records{}, l.info.Row)
	p := writers.Part{Tuple: [][]byte{[]byte(kind)}, Path: "kind=" + kind, Key: kind}
	for off := first; off < next; off++ {
		c := b.Root.Children
		c[0].AppendView(b.AppendString(kind))
		for n := range off % 3 {
			c[1].Children[0].AppendView(b.AppendString(fmt.Sprint("tag", n)))
		}
		c[1].AppendList()
		c[2].AppendView(b.AppendString(topic))
		c[3].AppendInt32(part)
		c[4].AppendInt64(off)
		c[5].AppendInt32(0)
		for _, more := range c[6:] {
			more.AppendNull()
		}
		b.Root.AppendStruct()
		p.Rows = append(p.Rows, int32(b.Rows))
		b.AppendRow(b.Rows, 0)
	}
	w, err := writers.New(writers.Options{Info: l.info, Store: l.objects})
	if err == nil {
		err = w.Append(l.t.Context(), b, p)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	files, err := w.Finish(l.t.Context())
	if err != nil || len(files) != 1 {
		l.t.Fatalf("%d files, %v", len(files), err)
	}
	l.swap(table.Change{Add: files})
	return files[0]
}

func (l *lake) files() []table.File {
	l.t.Helper()
	files, _, err := l.catalog.Files(l.t.Context(), l.info.Ident, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	return files
}

// rows lists the records of files: kind topic-partition offset and the columns behind the audit columns.
func (l *lake) rows(files []table.File) []string {
	l.t.Helper()
	var out []string
	for _, f := range files {
		p, err := scan.Open(l.t.Context(), l.objects, f.Path, f.Size)
		if err != nil {
			l.t.Fatal(err)
		}
		err = each(l.t.Context(), p, l.info.Row, func(b *batch.Batch, _ int64) error {
			c := b.Root.Children
			for i := range b.Rows {
				s := fmt.Sprintf("%s %s-%d %d", b.Bytes(c[0].Views[i]), b.Bytes(c[2].Views[i]), c[3].Int32[i], c[4].Int64[i])
				if tags := c[1].Starts[i+1] - c[1].Starts[i]; int64(tags) != c[4].Int64[i]%3 {
					return fmt.Errorf("%s: %d tags", s, tags)
				}
				for _, more := range c[6:] {
					if more.IsNull(i) {
						s += " -"
					} else {
						s += fmt.Sprint(" ", more.Int64[i])
					}
				}
				out = append(out, s)
			}
			return nil
		})
		if err != nil {
			l.t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			l.t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

func (l *lake) want(files []table.File, want ...string) {
	l.t.Helper()
	slices.Sort(want)
	if got := l.rows(files); !slices.Equal(got, want) {
		l.t.Errorf("rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (l *lake) input(choose Choose) Input {
	return Input{Info: l.info, Store: l.objects, Choose: choose, Now: func() time.Time { return time.UnixMilli(1700000000000) }}
}

// offsets says what becomes of the rows of a topic partition by their offsets.
func offsets(topic string, part int32, verdicts map[int64]Verdict) Choose {
	return func(k *Keys, out []Verdict) error {
		for i := range out {
			if k.Topics[k.Topic[i]] == topic && k.Partition[i] == part && k.Epoch[i] == 0 {
				out[i] = verdicts[k.Offset[i]]
			}
		}
		return nil
	}
}

// A table whose rows are dropped and changed in one swap, after columns were added to it and its partition spec has changed.
func TestTable(t *testing.T) {
	l := newLake(t)
	old := l.write("x", "a", 0, 0, 5)
	other := l.write("y", "b", 1, 0, 3)
	l.def.Row = batch.StructOf(append(slices.Clone(l.def.Row.Fields), field("replayed_at", batch.Prim(batch.TimestampTZ), false), field("replayed_round", batch.Prim(batch.Long), false))...)
	l.ensure()
	mixed := l.write("x", "b", 1, 3, 5)

	choose := offsets("a", 0, map[int64]Verdict{1: Drop, 3: Change, 4: Drop})
	in := l.input(func(k *Keys, v []Verdict) error {
		if err := choose(k, v); err != nil {
			return err
		}
		return offsets("b", 1, map[int64]Verdict{3: Drop, 4: Drop})(k, v)
	})
	in.Info.SpecID++ // the files are of an older spec than the table's
	in.Set = []Set{{Column: "replayed_at", Int64: 1700000000000001}, {Column: "replayed_round", Int64: 7}}
	base := l.load()
	ch, sum, err := Table(t.Context(), l.catalog, in, base.Snapshot, func(f table.File) bool {
		return MayHold(l.info.Row, f, batch.Span{Topic: "a", First: 1, Next: 5}, batch.Span{Topic: "b", Partition: 1, First: 3, Next: 5})
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Kept != 2 || sum.Changed != 1 || sum.Dropped != 4 || sum.Deleted != 0 || ch.Seen != base.Snapshot || len(ch.Add) != 1 {
		t.Fatalf("%+v, %+v", sum, ch)
	}
	if slices.Sort(ch.Remove); !slices.Equal(ch.Remove, sortedPaths(old, mixed)) {
		t.Errorf("to be removed: %q", ch.Remove)
	}
	f := ch.Add[0]
	if f.SpecID != old.SpecID || !slices.EqualFunc(f.Partition, old.Partition, bytes.Equal) || !strings.HasPrefix(f.Path, l.info.Location+"/data/kind=x/") || f.CreatedMS != 1700000000000 {
		t.Errorf("written: %+v", f)
	}
	id := l.info.Row.Fields[l.info.Row.Index(table.ColumnOffset)].ID
	if lo, hi := f.LowerBounds[id], f.UpperBounds[id]; f.Rows != 3 || binary.LittleEndian.Uint64(lo) != 0 || binary.LittleEndian.Uint64(hi) != 3 {
		t.Errorf("metrics: %d rows, offsets %x to %x", f.Rows, lo, hi)
	}
	l.swap(ch)
	l.want(l.files(), "x a-0 0 - -", "x a-0 2 - -", "x a-0 3 1700000000000001 7", "y b-1 0 - -", "y b-1 1 - -", "y b-1 2 - -")
	if b := l.load(); b.Rows != 6 {
		t.Errorf("%d rows", b.Rows)
	}

	// A value that is there is replaced, or taken away; the files of others are never touched.
	in.Choose = offsets("a", 0, map[int64]Verdict{2: Change, 3: Change})
	in.Set = []Set{{Column: "replayed_at", Null: true}, {Column: "replayed_round", Int64: 8}}
	if ch, sum, err = Table(t.Context(), l.catalog, in, l.load().Snapshot, nil); err != nil || sum.Changed != 2 || sum.Kept != 4 {
		t.Fatalf("%+v, %v", sum, err)
	}
	l.swap(ch)
	l.want(l.files(), "x a-0 0 - -", "x a-0 2 - 8", "x a-0 3 - 8", "y b-1 0 - -", "y b-1 1 - -", "y b-1 2 - -")
	if !slices.ContainsFunc(l.files(), func(f table.File) bool { return f.Path == other.Path }) {
		t.Errorf("%s was rewritten for nothing", other.Path)
	}
}

func sortedPaths(files ...table.File) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.Path)
	}
	slices.Sort(out)
	return out
}

func TestNothingToDo(t *testing.T) {
	l := newLake(t)
	in := l.input(offsets("a", 0, nil))
	if ch, sum, err := Table(t.Context(), l.catalog, in, 0, nil); err != nil || !sum.Same() || len(ch.Remove) != 0 {
		t.Errorf("an empty table: %+v, %+v, %v", ch, sum, err)
	}
	f := l.write("x", "a", 0, 0, 5)
	ch, sum, err := Table(t.Context(), l.catalog, in, l.load().Snapshot, nil)
	if err != nil || !sum.Same() || sum.Kept != 5 || len(ch.Add)+len(ch.Remove) != 0 || ch.Seen != 0 || sum.Files != nil {
		t.Errorf("%+v, %+v, %v", ch, sum, err)
	}
	found, err := l.objects.List(t.Context(), l.info.Location+"/data/")
	if err != nil || len(found) != 1 || found[0].URI != f.Path {
		t.Errorf("objects: %v, %v", found, err)
	}
	// Every row goes: a file is removed, and none is added.
	in.Choose = func(_ *Keys, v []Verdict) error {
		for i := range v {
			v[i] = Drop
		}
		return nil
	}
	if ch, sum, err = Table(t.Context(), l.catalog, in, l.load().Snapshot, nil); err != nil || sum.Dropped != 5 || len(ch.Add) != 0 || !slices.Equal(ch.Remove, []string{f.Path}) {
		t.Fatalf("%+v, %+v, %v", ch, sum, err)
	}
	l.swap(ch)
	l.want(l.files())
}

// Large files are read and written in parts, stay in order, and keep the claim of their sort order.
func TestManyRows(t *testing.T) {
	l := newLake(t)
	const n = 30_000
	f := l.write("x", "a", 0, 0, n)
	f.SortOrderID = 3
	in := l.input(func(k *Keys, v []Verdict) error {
		for i := range v {
			if k.Offset[i]%10 == 0 {
				v[i] = Drop
			}
		}
		return nil
	})
	in.Source, in.Files = f, configs.Files{RowGroupSize: 1000, TargetSize: 2000}
	r, err := File(t.Context(), in)
	if err != nil || r.Dropped != n/10 || r.Kept != n-n/10 || len(r.Files) < 2 {
		t.Fatalf("%d files, %v", len(r.Files), err)
	}
	next := int64(1)
	for _, f := range r.Files {
		if f.SortOrderID != 3 {
			t.Errorf("sort order %d", f.SortOrderID)
		}
		p, err := scan.Open(t.Context(), l.objects, f.Path, f.Size)
		if err != nil {
			t.Fatal(err)
		}
		err = each(t.Context(), p, l.info.Row, func(b *batch.Batch, _ int64) error {
			for _, off := range b.Root.Children[4].Int64 {
				if off != next {
					return fmt.Errorf("offset %d, want %d", off, next)
				}
				if next++; next%10 == 0 {
					next++
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	if next != n+1 {
		t.Errorf("rows end before %d", next)
	}
}

// deletePositions writes a position delete file as other engines do.
func (l *lake) deletePositions(f table.File, at ...int64) string {
	l.t.Helper()
	type row struct {
		Path string `parquet:"file_path"`
		Pos  int64  `parquet:"pos"`
	}
	var buf bytes.Buffer
	w := parquet.NewGenericWriter[row](&buf)
	for _, p := range at {
		if _, err := w.Write([]row{{f.Path, p}}); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		l.t.Fatal(err)
	}
	path := f.Path + ".deletes.parquet"
	if err := l.objects.Put(l.t.Context(), path, buf.Bytes()); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// lister adds delete files to a catalog's answers.
type lister struct {
	table.Catalog
	deletes []string
}

func (l lister) Files(ctx context.Context, id table.Ident, snapshot int64) ([]table.File, []string, error) {
	files, _, err := l.Catalog.Files(ctx, id, snapshot)
	return files, l.deletes, err
}

func TestDeleteFiles(t *testing.T) {
	l := newLake(t)
	f := l.write("x", "a", 0, 10, 20)
	l.write("y", "a", 0, 20, 22)
	with := lister{l.catalog, []string{l.deletePositions(f, 0, 3, 9)}}
	seen := 0
	in := l.input(func(k *Keys, v []Verdict) error {
		seen += len(v)
		for i := range v {
			if len(v) != len(k.Offset) || len(v) != len(k.Topic) || len(v) != len(k.Partition) || len(v) != len(k.Epoch) || k.Offset[i] == 13 {
				t.Errorf("%d rows, keys %+v", len(v), k)
			}
			if k.Offset[i] == 12 {
				v[i] = Drop
			}
		}
		return nil
	})
	snapshot := l.load().Snapshot
	ch, sum, err := Table(t.Context(), with, in, snapshot, nil)
	if err != nil || sum.Deleted != 3 || sum.Dropped != 1 || sum.Kept != 8 || seen != 9 {
		t.Fatalf("%+v, %d seen, %v", sum, seen, err)
	}
	l.want(ch.Add, "x a-0 11", "x a-0 14", "x a-0 15", "x a-0 16", "x a-0 17", "x a-0 18")
	// Rows that were deleted before are no reason to write a file.
	in.Choose = offsets("none", 0, nil)
	if _, sum, err = Table(t.Context(), with, in, snapshot, nil); err != nil || !sum.Same() || sum.Deleted != 3 {
		t.Errorf("%+v, %v", sum, err)
	}
	with.deletes = []string{f.Path} // it has no file_path, as equality deletes have none
	if _, _, err = Table(t.Context(), with, in, snapshot, nil); err == nil || !strings.Contains(err.Error(), "equality deletes") || !strings.Contains(err.Error(), f.Path) {
		t.Errorf("equality deletes: %v", err)
	}
}

func TestErrors(t *testing.T) {
	l := newLake(t, field("replayed_round", batch.Prim(batch.Long), false))
	f := l.write("x", "a", 0, 0, 5)
	drop := offsets("a", 0, map[int64]Verdict{1: Drop})
	for says, change := range map[string]func(*Input){
		"no column replayed":           func(in *Input) { in.Set = []Set{{Column: "replayed"}} },
		"kind is a string":             func(in *Input) { in.Set = []Set{{Column: "kind"}} },
		"_kafka_offset is required":    func(in *Input) { in.Set = []Set{{Column: table.ColumnOffset, Null: true}} },
		"5 rows":                       func(in *Input) { in.Source.Rows = 4 },
		"not found":                    func(in *Input) { in.Source.Path += "x" },
		"a choice":                     func(in *Input) { in.Choose = nil },
		"went wrong":                   func(in *Input) { in.Choose = func(*Keys, []Verdict) error { return fmt.Errorf("it went wrong") } },
		"no column is to be set":       func(in *Input) { in.Choose = offsets("a", 0, map[int64]Verdict{1: Change}) },
		"no verdict 9":                 func(in *Input) { in.Choose = offsets("a", 0, map[int64]Verdict{1: 9}) },
		"no column _kafka_topic":       func(in *Input) { in.Info.Row = batch.StructOf(in.Info.Row.Fields[:2]...) },
		"compression":                  func(in *Input) { in.Files.Compression = "none such" },
		"context canceled":             nil,
		"no readable Parquet file":     func(in *Input) { in.Source.Path = l.info.Location + "/broken" },
		"rewriting " + f.Path + "gone": func(in *Input) { in.Source.Path += "gone" },
	} {
		in := l.input(drop)
		in.Source = f
		ctx, cancel := context.WithCancel(t.Context())
		if change == nil {
			cancel()
		} else {
			change(&in)
		}
		if strings.HasSuffix(in.Source.Path, "/broken") {
			if err := os.WriteFile(strings.TrimPrefix(in.Source.Path, "file://"), []byte("no Parquet at all"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r, err := File(ctx, in)
		cancel()
		if err == nil || !strings.Contains(err.Error(), says) || len(r.Files) != 0 {
			t.Errorf("%+v, %v does not say %q", r, err, says)
		}
	}
}
