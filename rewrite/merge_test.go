package rewrite

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Files from before and after a column was added become one, without the rows that delete files have removed.
func TestMerge(t *testing.T) {
	l := newLake(t)
	one := l.write("x", "a", 0, 0, 5)
	l.def.Row = batch.StructOf(append(slices.Clone(l.def.Row.Fields), field("more", batch.Prim(batch.Long), false))...)
	l.ensure()
	two := l.write("x", "b", 1, 7, 10)
	in := MergeInput{Info: l.info, Store: l.objects, Sources: []table.File{one, two}, Deleted: map[string]*roaring64.Bitmap{one.Path: roaring64.BitmapOf(1, 3)}}
	in.Info.SpecID++ // the files are of an older spec than the table's
	m, err := Merge(t.Context(), in)
	if err != nil || m.Rows != 6 || m.Deleted != 2 || len(m.Files) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	f := m.Files[0]
	if f.Rows != 6 || f.SpecID != one.SpecID || !slices.EqualFunc(f.Partition, one.Partition, slices.Equal) || !strings.HasPrefix(f.Path, l.info.Location+"/data/kind=x/") {
		t.Errorf("%+v", f)
	}
	l.swap(table.Change{Add: m.Files, Remove: []string{one.Path, two.Path}})
	l.want(l.files(), "x a-0 0 -", "x a-0 2 -", "x a-0 4 -", "x b-1 7 -", "x b-1 8 -", "x b-1 9 -")

	in.Sources, in.Deleted = m.Files, map[string]*roaring64.Bitmap{f.Path: roaring64.BitmapOf(0, 1, 2, 3, 4, 5)}
	if m, err := Merge(t.Context(), in); err != nil || len(m.Files) != 0 || m.Rows != 0 || m.Deleted != 6 {
		t.Errorf("when every row is deleted: %+v, %v", m, err)
	}
}

// damaging is a store that changes a byte of what is written, behind the writer's back.
type damaging struct {
	objects.Store
	change func(path string)
}

func (d damaging) Open(ctx context.Context, uri string) (objects.Reader, error) {
	d.change(uri)
	return d.Store.Open(ctx, uri)
}

func TestMergeRefuses(t *testing.T) {
	l := newLake(t)
	x, more, y := l.write("x", "a", 0, 0, 5), l.write("x", "a", 0, 5, 9), l.write("y", "a", 0, 9, 12)
	in := MergeInput{Info: l.info, Store: l.objects}
	refused := func(says string) {
		t.Helper()
		if m, err := Merge(t.Context(), in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v, %v, want %q", m, err, says)
		}
	}
	refused("needs sources")
	in.Sources = []table.File{x, y}
	refused("different partitions")
	in.Sources = []table.File{x, more}
	in.Sources[1].Rows++
	refused("has 4 rows, the table's metadata says 5")
	in.Sources[1].Rows--

	// What lies in the lake is not what was written: here another file of as many rows.
	known := map[string]bool{x.Path: true, more.Path: true}
	other := l.write("x", "b", 0, 0, 9)
	in.Store = damaging{l.objects, func(uri string) {
		if known[uri] {
			return
		}
		data, err := os.ReadFile(strings.TrimPrefix(other.Path, "file://"))
		if err == nil {
			err = os.WriteFile(strings.TrimPrefix(uri, "file://"), data, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}}
	refused("the 9 rows that were written are not the 9 rows of the sources")
}

// Equal rows have one hash, and any difference gives another, at whatever depth.
func TestRowSum(t *testing.T) {
	p, first := batch.Prim, newRowSum()
	row := batch.StructOf(field("b", p(batch.Boolean), false), field("i", p(batch.Int), false), field("f", p(batch.Float), false), field("d", p(batch.Double), false),
		field("s", p(batch.String), false), field("l", batch.ListOf(p(batch.String), false), false), field("t", batch.StructOf(field("n", p(batch.Long), false)), false))
	write := func(change func(c []*batch.Column, b *batch.Batch)) uint64 {
		b := batch.New(&batch.Records{}, row)
		c := b.Root.Children
		c[0].AppendBool(true)
		c[1].AppendInt32(1)
		c[2].AppendFloat32(1)
		c[3].AppendFloat64(1)
		c[4].AppendView(b.AppendString("ab"))
		for _, s := range []string{"x", "yz"} {
			c[5].Children[0].AppendView(b.AppendString(s))
		}
		c[5].AppendList()
		c[6].Children[0].AppendInt64(1)
		c[6].AppendStruct()
		b.Root.AppendStruct()
		b.AppendRow(0, 0)
		change(c, b)
		s := first.like()
		s.add(b)
		return s.sum
	}
	same := write(func([]*batch.Column, *batch.Batch) {})
	if again := write(func([]*batch.Column, *batch.Batch) {}); again != same {
		t.Error("equal rows differ")
	}
	seen := map[uint64]string{same: "the row"}
	for name, change := range map[string]func(c []*batch.Column, b *batch.Batch){
		"boolean":        func(c []*batch.Column, _ *batch.Batch) { c[0].Bools[0] = false },
		"int":            func(c []*batch.Column, _ *batch.Batch) { c[1].Int32[0] = 2 },
		"float":          func(c []*batch.Column, _ *batch.Batch) { c[2].Float32[0] = 2 },
		"double":         func(c []*batch.Column, _ *batch.Batch) { c[3].Float64[0] = 2 },
		"text":           func(c []*batch.Column, b *batch.Batch) { c[4].Views[0] = b.AppendString("ac") },
		"null":           func(c []*batch.Column, _ *batch.Batch) { c[4].SetNull(0) },
		"entry":          func(c []*batch.Column, b *batch.Batch) { c[5].Children[0].Views[1] = b.AppendString("y") },
		"a shorter list": func(c []*batch.Column, _ *batch.Batch) { c[5].Starts[1] = 1 },
		"text moved on": func(c []*batch.Column, b *batch.Batch) {
			c[5].Children[0].Views[0], c[5].Children[0].Views[1] = b.AppendString("xy"), b.AppendString("z")
		},
		"nested": func(c []*batch.Column, _ *batch.Batch) { c[6].Children[0].Int64[0] = 2 },
	} {
		sum := write(change)
		if other, twice := seen[sum]; twice {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[sum] = name
	}
}
