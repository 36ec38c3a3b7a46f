package rewrite

import (
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// rowsOf gives the offsets and cities of files in their order, and reads every page.
func (c *clicks) rowsOf(files ...table.File) (out []string) {
	c.t.Helper()
	for _, f := range files {
		p, err := scan.Open(c.t.Context(), c.store, f.Path, f.Size)
		if err != nil {
			c.t.Fatal(err)
		}
		err = each(c.t.Context(), p, c.info.Row, func(b *batch.Batch, _ int64) error {
			for i := range b.Rows {
				col := b.Root.Children
				out = append(out, fmt.Sprintf("%d-%d %s %s %d", col[10].Int32[i], col[11].Int64[i], b.Bytes(col[0].Views[i]), b.Bytes(col[4].Views[i]), col[2].Int64[i]))
			}
			return nil
		})
		if err != nil || p.Close() != nil {
			c.t.Fatal(err)
		}
	}
	return out
}

func (c *clicks) merge(in MergeInput) Merged {
	c.t.Helper()
	m, err := Merge(c.t.Context(), in)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *clicks) groups(f table.File) (sizes []int64) {
	c.t.Helper()
	for _, g := range c.open(f).Metadata().RowGroups {
		sizes = append(sizes, g.TotalCompressedSize)
	}
	return sizes
}

func (c *clicks) open(f table.File) *parquet.File {
	c.t.Helper()
	file, err := os.Open(strings.TrimPrefix(f.Path, "file://"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = file.Close() }) // it was only read
	p, err := parquet.OpenFile(file, f.Size)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// Row groups that are large enough are copied, the others decoded, into one file whose metrics are those of its rows.
func TestMergeCopies(t *testing.T) {
	c := newClicks(t)
	c.files = configs.Files{RowGroupSize: 100 << 10, Bloom: []string{"city", "campaignId"}}
	var sources []table.File
	for range 3 {
		sources = append(sources, c.write(9000))
	}
	want := c.rowsOf(sources...)
	slices.Sort(want)
	sizes := c.groups(sources[0])
	if len(sizes) < 3 || sizes[len(sizes)-1] > 90<<10 {
		t.Fatalf("row groups of %v bytes", sizes)
	}
	decoded := c.merge(c.input(sources...))
	if decoded.Copied != 0 {
		t.Fatalf("small row groups were copied: %+v", decoded)
	}
	for name, least := range map[string]int64{"all": 1, "some": 90 << 10} {
		in := c.input(sources...)
		in.LeastCopied, in.Files.RowGroupSize = least, 1<<20
		m := c.merge(in)
		if m.Copied == 0 || m.Rows != 27000 || len(m.Files) != 1 {
			t.Fatalf("%s: %+v", name, m)
		}
		f, same := m.Files[0], decoded.Files[0]
		got := c.rowsOf(f)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: other rows", name)
		}
		if !reflect.DeepEqual(f.ValueCounts, same.ValueCounts) || !reflect.DeepEqual(f.NullCounts, same.NullCounts) || !reflect.DeepEqual(f.NaNCounts, same.NaNCounts) ||
			!reflect.DeepEqual(f.LowerBounds, same.LowerBounds) || !reflect.DeepEqual(f.UpperBounds, same.UpperBounds) || len(f.ColumnSizes) != len(same.ColumnSizes) {
			t.Errorf("%s: metrics\n%+v\ninstead of\n%+v", name, f, same)
		}
		p := c.open(f)
		if len(f.SplitOffsets) != len(p.RowGroups()) || f.Size != p.Size() || len(p.RowGroups()) != map[string]int{"all": 9, "some": 7}[name] {
			t.Errorf("%s: %d row groups of %v, size %d of %d", name, len(p.RowGroups()), f.SplitOffsets, f.Size, p.Size())
		}
		c.indexes(p)
	}
}

// indexes checks that what a footer says of pages and bloom filters leads there.
func (c *clicks) indexes(p *parquet.File) {
	c.t.Helper()
	for i, g := range p.RowGroups() {
		city := g.ColumnChunks()[4]
		for _, name := range cities[:7] {
			if ok, err := city.BloomFilter().Check(parquet.ByteArrayValue([]byte(name))); err != nil || !ok {
				c.t.Errorf("row group %d: the bloom filter has no %s, %v", i, name, err)
			}
		}
		if ok, err := city.BloomFilter().Check(parquet.ByteArrayValue([]byte("Atlantis"))); err != nil || ok {
			c.t.Errorf("row group %d: the bloom filter has Atlantis, %v", i, err)
		}
		offsets, err := g.ColumnChunks()[0].OffsetIndex()
		if err != nil {
			c.t.Fatal(err)
		}
		last := offsets.NumPages() - 1
		rows := g.Rows()
		if err := rows.SeekToRow(offsets.FirstRowIndex(last)); err != nil {
			c.t.Fatal(err)
		}
		row := make([]parquet.Row, 1)
		if n, err := rows.ReadRows(row); n != 1 || len(row[0][0].ByteArray()) != 36 {
			c.t.Errorf("row group %d: no row on its last page: %v, %v", i, row[0], err)
		}
		if err := rows.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// What cannot be copied is decoded: files with deleted rows, of another schema, in another compression, without bloom filters.
func TestMergeDecodesWhatIsUnlike(t *testing.T) {
	for name, change := range map[string]func(c *clicks, in *MergeInput){
		"nothing": func(*clicks, *MergeInput) {},
		"deleted": func(_ *clicks, in *MergeInput) {
			in.Deleted = map[string]*roaring64.Bitmap{in.Sources[0].Path: roaring64.BitmapOf(3, 5)}
		},
		"a column was added": func(c *clicks, in *MergeInput) {
			f := field("more", batch.Prim(batch.Long), false)
			f.ID = 99
			in.Info.Row = batch.StructOf(append(slices.Clone(c.info.Row.Fields), f)...)
		},
		"compression":   func(_ *clicks, in *MergeInput) { in.Files.Compression = "snappy" },
		"bloom filters": func(_ *clicks, in *MergeInput) { in.Files.Bloom = []string{"city"} },
		"page version": func(_ *clicks, in *MergeInput) {
			in.Info.Properties = map[string]string{"write.parquet.page-version": "v2"}
		},
		"another type": func(c *clicks, in *MergeInput) {
			in.Info.Row = batch.StructOf(slices.Clone(c.info.Row.Fields)...)
			in.Info.Row.Fields[1].Type = batch.Prim(batch.Long)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClicks(t)
			in := c.input(c.write(3000), c.write(3000))
			in.LeastCopied = 1
			change(c, &in)
			m := c.merge(in)
			if all := c.write(1).Size; m.Rows+m.Deleted != 6000 || (m.Copied > 0) != (name == "nothing" || name == "deleted") || m.Copied > 2*in.Sources[0].Size || all == 0 {
				t.Errorf("%+v", m)
			}
			if name == "deleted" && (m.Deleted != 2 || m.Copied > in.Sources[1].Size || len(m.Files) != 1) {
				t.Errorf("%+v", m)
			}
		})
	}
}

// A file that is as large as wanted is followed by the next one, and what is known of NaN stays right.
func TestMergeCopiesIntoSeveralFiles(t *testing.T) {
	c := newClicks(t)
	c.files.RowGroupSize = 100 << 10
	in := c.input(c.write(8000), c.write(8000))
	in.LeastCopied, in.Files.TargetSize = 1, 300<<10
	const price = 9
	in.Sources[1].NaNCounts = maps.Clone(in.Sources[1].NaNCounts)
	in.Sources[1].NaNCounts[price] = 4
	m := c.merge(in)
	if len(m.Files) < 2 || m.Rows != 16000 {
		t.Fatalf("%+v", m)
	}
	for _, f := range m.Files {
		if n, known := f.NaNCounts[price]; known {
			t.Errorf("%d NaN in %s", n, f.Path)
		}
	}
	in.Files.TargetSize = math.MaxInt32
	if m = c.merge(in); len(m.Files) != 1 || m.Files[0].NaNCounts[price] != 4 {
		t.Errorf("%+v", m)
	}
}

// Pages that are not what was copied keep a merge from ending well.
func TestMergeComparesPages(t *testing.T) {
	c := newClicks(t)
	in := c.input(c.write(3000), c.write(3000))
	in.LeastCopied = 1
	known := map[string]bool{in.Sources[0].Path: true, in.Sources[1].Path: true}
	in.Store = damaging{c.store, func(uri string) {
		if known[uri] {
			return
		}
		path := strings.TrimPrefix(uri, "file://")
		data, err := os.ReadFile(path)
		if err == nil {
			data[len(data)/3] ^= 1
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}}
	if m, err := Merge(t.Context(), in); err == nil || !strings.Contains(err.Error(), "is not the one that was copied") {
		t.Errorf("%+v, %v", m, err)
	}
}
