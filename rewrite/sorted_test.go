package rewrite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// click reads files back as rows, in their order.
func (c *clicks) read(files ...table.File) (out []click) {
	c.t.Helper()
	for _, f := range files {
		p, err := scan.Open(c.t.Context(), c.store, f.Path, f.Size)
		if err != nil {
			c.t.Fatal(err)
		}
		err = each(c.t.Context(), p, c.info.Row, func(b *batch.Batch, _ int64) error {
			col := b.Root.Children
			for i := range b.Rows {
				x := click{uuid: string(b.Bytes(col[0].Views[i])), campaign: col[1].Int32[i], ts: col[2].Int64[i], ip: string(b.Bytes(col[3].Views[i])), offset: col[11].Int64[i]*4 + int64(col[10].Int32[i])}
				if !col[4].IsNull(i) {
					x.city = string(b.Bytes(col[4].Views[i]))
				}
				out = append(out, x)
			}
			return nil
		})
		if err != nil || p.Close() != nil {
			c.t.Fatal(err)
		}
	}
	return out
}

// Row groups that are sorted, files that are not, and rows that are deleted become files that are sorted throughout, in one
// pass or several, whatever order the files claim to have.
func TestMergeSorts(t *testing.T) {
	byCampaign := func(a, b click) int { return cmp.Or(cmp.Compare(a.campaign, b.campaign), cmp.Compare(a.ts, b.ts)) }
	byTime := func(a, b click) int { return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(a.campaign, b.campaign)) }
	// "" is null: last, as the order descends
	byCity := func(a, b click) int { return cmp.Or(-cmp.Compare(a.city, b.city), cmp.Compare(a.ts, b.ts)) }
	for name, o := range map[string]struct {
		by      []table.SortField
		compare func(a, b click) int
		change  func(in *MergeInput)
	}{
		"two numbers":              {[]table.SortField{{Source: "campaignId"}, {Source: "ts"}}, byCampaign, func(*MergeInput) {}},
		"a text with nulls":        {[]table.SortField{{Source: "city", Desc: true}, {Source: "ts"}}, byCity, func(*MergeInput) {}},
		"several passes":           {[]table.SortField{{Source: "campaignId"}, {Source: "ts"}}, byCampaign, func(in *MergeInput) { in.RunsBudget, in.SortBudget = 1, 200<<10 }},
		"a file that claims wrong": {[]table.SortField{{Source: "campaignId"}, {Source: "ts"}}, byCampaign, func(*MergeInput) {}},
		"files that claim wrong":   {[]table.SortField{{Source: "ts"}, {Source: "campaignId"}}, byTime, func(*MergeInput) {}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClicks(t)
			c.by = o.by
			sources := []table.File{c.write(3000)}
			c.files.RowGroupSize = 100 << 10
			sources = append(sources, c.write(9000), c.write(9000))
			if n := len(c.groups(sources[1])); n < 3 || sources[0].SortOrderID != 1 || sources[1].SortOrderID != 0 {
				t.Fatalf("%d row groups, sort orders %d and %d", n, sources[0].SortOrderID, sources[1].SortOrderID)
			}
			if c.by = nil; strings.Contains(name, "claim") {
				c.by, c.lies = o.by, true
			}
			sources = append(sources, c.write(5000))
			if c.lies = name == "files that claim wrong"; c.lies {
				sources[0] = c.write(3000)
			}
			c.by, c.lies = o.by, false
			in := c.input(sources...)
			in.Files.TargetSize = 400 << 10
			in.Deleted = map[string]*roaring64.Bitmap{sources[2].Path: roaring64.BitmapOf(0, 7, 8999), sources[3].Path: roaring64.BitmapOf(4999)}
			var want []click
			for _, f := range sources {
				for at, x := range c.read(f) {
					if d := in.Deleted[f.Path]; d == nil || !d.Contains(uint64(at)) {
						want = append(want, x)
					}
				}
			}
			o.change(&in)
			m := c.merge(in)
			if m.Rows != 25996 || m.Deleted != 4 || len(m.Files) < 2 {
				t.Fatalf("%+v", m)
			}
			got := c.read(m.Files...)
			if !slices.IsSortedFunc(got, o.compare) {
				t.Error("the rows are not sorted")
			}
			all := func(a, b click) int { return cmp.Compare(a.offset, b.offset) }
			slices.SortFunc(got, all)
			slices.SortFunc(want, all)
			if !slices.Equal(got, want) {
				t.Error("the rows are not those of the sources")
			}
			for _, f := range m.Files {
				if f.SortOrderID != 1 || !strings.HasPrefix(f.Path, c.info.Location) {
					t.Errorf("%+v", f)
				}
			}
			c.apart(m.Files)
			again := c.merge(c.input(m.Files...)) // each is one run now
			if again.Rows != 25996 || !slices.IsSortedFunc(c.read(again.Files...), o.compare) {
				t.Errorf("once more: %+v", again)
			}
		})
	}
}

// apart checks that a plan sees files that were sorted together as having ends in common at most.
func (c *clicks) apart(files []table.File) {
	c.t.Helper()
	span, err := Span(c.info, c.by)
	if err != nil {
		c.t.Fatal(err)
	}
	var spans [][2]uint64
	for _, f := range files {
		lo, hi, ok := span(f)
		if !ok && f.NullCounts[5] == f.Rows {
			continue // only nulls
		}
		if !ok || lo > hi {
			c.t.Fatalf("from %d to %d, %v", lo, hi, ok)
		}
		spans = append(spans, [2]uint64{lo, hi})
	}
	slices.SortFunc(spans, func(a, b [2]uint64) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	for i := 1; i < len(spans); i++ {
		if spans[i][0] < spans[i-1][1] {
			c.t.Errorf("%v overlaps %v", spans[i], spans[i-1])
		}
	}
}

func TestMergeSortsNothing(t *testing.T) {
	c := newClicks(t)
	c.by = []table.SortField{{Source: "ts"}}
	f := c.write(3)
	in := c.input(f)
	in.Deleted = map[string]*roaring64.Bitmap{f.Path: roaring64.BitmapOf(0, 1, 2)}
	if m := c.merge(in); m.Rows != 0 || m.Deleted != 3 || len(m.Files) != 0 {
		t.Errorf("%+v", m)
	}
	in.SortBy = []table.SortField{{Source: "nowhere"}}
	if _, err := Merge(t.Context(), in); err == nil || !strings.Contains(err.Error(), "no column nowhere") {
		t.Error(err)
	}
}

// Along a z-order, few row groups have any value of either column.
func TestMergeZOrder(t *testing.T) {
	c := newClicks(t)
	var sources []table.File
	for range 4 {
		sources = append(sources, c.write(10_000))
	}
	in := c.input(sources...)
	in.ZOrder, in.Files.RowGroupSize, in.SortBudget = []string{"ip", "ts"}, 100<<10, 1<<20
	m := c.merge(in)
	if m.Rows != 40_000 || len(m.Files) != 1 || m.Files[0].SortOrderID != 0 {
		t.Fatalf("%+v", m)
	}
	got, want := c.rowsOf(m.Files...), c.rowsOf(sources...)
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Error("the rows are not those of the sources")
	}
	p := c.open(m.Files[0])
	groups := p.Metadata().RowGroups
	for _, column := range []int{2, 3} { // ts, ip
		hits := 0
		for i := range groups {
			for j := range groups {
				a, b := groups[i].Columns[column].MetaData.Statistics, groups[j].Columns[column].MetaData.Statistics
				less := bytes.Compare
				if column == 2 {
					less = func(x, y []byte) int { return bytes.Compare(reversed(x), reversed(y)) }
				}
				if less(a.MinValue, b.MaxValue) <= 0 && less(b.MinValue, a.MaxValue) <= 0 {
					hits++
				}
			}
		}
		if share := float64(hits) / float64(len(groups)*len(groups)); len(groups) < 8 || share > 0.7 {
			t.Errorf("column %d: of %d row groups, a share of %.2f overlap", column, len(groups), share)
		}
	}
}

func reversed(b []byte) []byte {
	b = bytes.Clone(b)
	slices.Reverse(b)
	return b
}

// Keys compare as the writers sort, whatever the types.
func TestKeysAscend(t *testing.T) {
	p := batch.Prim
	types := []*batch.Type{p(batch.Boolean), p(batch.Int), p(batch.Long), p(batch.Float), p(batch.Double), p(batch.String), p(batch.Binary), p(batch.Date),
		batch.DecimalOf(9, 2), batch.DecimalOf(38, 2), p(batch.UUID)}
	id := 0
	number := func(f batch.Field) batch.Field {
		id++
		f.ID = id
		return f
	}
	var fields []batch.Field
	for i, typ := range types {
		fields = append(fields, number(field(fmt.Sprint("c", i), typ, i%3 == 0)))
	}
	inner := number(field("in", p(batch.String), true))
	fields = append(fields, number(field("s", batch.StructOf(inner), false)))
	row := batch.StructOf(fields...)
	r := rand.New(rand.NewPCG(3, 4))
	store := objects.NewLocal()
	for i := range 2 * len(fields) {
		name := row.Fields[i/2].Name
		if name == "s" {
			name = "s.in"
		}
		by := []table.SortField{{Source: name, Desc: i%2 == 1}, {Source: "c2"}}
		info := table.Info{Ident: table.Ident{Namespace: "a", Name: "b"}, Location: "file://" + t.TempDir(), Row: row, SortOrderID: 1}
		b := batch.New(&batch.Records{}, row)
		part := writers.Part{}
		for n := range 400 {
			randomRow(b, r)
			part.Rows = append(part.Rows, int32(n))
		}
		w, err := writers.New(writers.Options{Info: info, Store: store, SortBy: by})
		if err == nil {
			err = w.Append(t.Context(), b, part)
		}
		if err != nil {
			t.Fatal(err)
		}
		files, err := w.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o, err := newOrder(row, by)
		if err != nil {
			t.Fatal(err)
		}
		f, err := scan.Open(t.Context(), store, files[0].Path, files[0].Size)
		if err != nil {
			t.Fatal(err)
		}
		err = each(t.Context(), f, row, func(b *batch.Batch, _ int64) error {
			var k keys
			if o.fill(b, &k); !k.ascend(nil) || k.key(0) == nil {
				return errors.New("the keys do not ascend")
			}
			return nil
		})
		if err != nil || f.Close() != nil {
			t.Errorf("%+v: %v", by, err)
		}
		curve, err := newCurve(row, []string{name, "c2"}, files)
		if err != nil {
			t.Fatal(err)
		}
		if d := curve.curve[0]; d.lo > d.hi || len(curve.curve) != 2 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func randomRow(b *batch.Batch, r *rand.Rand) {
	for i, c := range b.Root.Children {
		if !b.Root.Type.Fields[i].Required && r.IntN(5) == 0 {
			c.AppendNull()
			continue
		}
		switch c.Type.Store() {
		case batch.StoreBool:
			c.AppendBool(r.IntN(2) == 0)
		case batch.StoreInt32:
			c.AppendInt32(r.Int32N(9) - 4)
		case batch.StoreInt64:
			c.AppendInt64(r.Int64N(2000) - 1000)
		case batch.StoreFloat32:
			c.AppendFloat32([]float32{0, float32(math.Copysign(0, -1)), float32(math.NaN()), float32(math.Inf(-1)), 1.5, -1.5}[r.IntN(6)])
		case batch.StoreFloat64:
			c.AppendFloat64([]float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), 1.5, -1.5}[r.IntN(6)])
		case batch.StoreStruct:
			c.Children[0].AppendView(b.AppendString(fmt.Sprint(r.IntN(30))))
			c.AppendStruct()
		default:
			v := []byte(strings.Repeat("a\x00", r.IntN(3)) + strings.Repeat("\x00b", r.IntN(6)))
			switch c.Type.Kind {
			case batch.Decimal, batch.UUID:
				v = append(bytes.Repeat([]byte{0xff * byte(r.IntN(2))}, 12), byte(r.IntN(256)), 1, byte(r.IntN(3)), 4)
			case batch.String:
				v = v[:len(v)/2]
			}
			c.AppendView(b.Append(v))
		}
	}
	b.Root.AppendStruct()
	b.AppendRow(b.Rows, 0)
}

// A run whose file cannot be read ends the merge with the file's name, and leaves nothing on the local disk.
func TestMergeSortedFails(t *testing.T) {
	c := newClicks(t)
	c.by = []table.SortField{{Source: "ts"}}
	c.files = configs.Files{}
	in := c.input(c.write(3000), c.write(3000))
	in.Store = failing{c.store, in.Sources[1].Path}
	t.Setenv("TMPDIR", t.TempDir())
	if _, err := Merge(t.Context(), in); err == nil || !errors.Is(err, errBroken) || !strings.Contains(err.Error(), in.Sources[1].Path) {
		t.Error(err)
	}
}

var errBroken = errors.New("the disk is broken")

// failing is a store in which the middle of one object cannot be read.
type failing struct {
	objects.Store
	uri string
}

type failingReader struct{ objects.Reader }

func (f failing) Open(ctx context.Context, uri string) (objects.Reader, error) {
	r, err := f.Store.Open(ctx, uri)
	if uri == f.uri {
		r = failingReader{r}
	}
	return r, err
}

func (f failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off < f.Size()/2 {
		return 0, errBroken
	}
	return f.Reader.ReadAt(p, off)
}
