package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// maker makes types with field ids, and rows of them.
type maker struct {
	*rand.Rand
	id int
}

var leafTypes = []*batch.Type{batch.Prim(batch.Boolean), batch.Prim(batch.Int), batch.Prim(batch.Long), batch.Prim(batch.Float), batch.Prim(batch.Double),
	batch.DecimalOf(9, 2), batch.DecimalOf(18, 3), batch.DecimalOf(19, 2), batch.DecimalOf(38, 10), batch.Prim(batch.Date), batch.Prim(batch.Time),
	batch.Prim(batch.Timestamp), batch.Prim(batch.TimestampTZ), batch.Prim(batch.String), batch.Prim(batch.UUID), batch.FixedOf(3), batch.Prim(batch.Binary)}

func (m *maker) field(name string, t *batch.Type, required bool) batch.Field {
	m.id++
	return batch.Field{Name: name, Type: t, Required: required, ID: m.id}
}

func (m *maker) typ(depth int) *batch.Type {
	if depth == 0 || m.IntN(3) > 0 {
		return leafTypes[m.IntN(len(leafTypes))]
	}
	switch m.IntN(3) {
	case 0:
		return m.structType(depth-1, 1+m.IntN(3))
	case 1:
		return &batch.Type{Kind: batch.List, Fields: []batch.Field{m.field("element", m.typ(depth-1), m.IntN(2) == 0)}}
	}
	return &batch.Type{Kind: batch.Map, Fields: []batch.Field{m.field("key", batch.Prim(batch.String), true), m.field("value", m.typ(depth-1), m.IntN(2) == 0)}}
}

func (m *maker) structType(depth, n int) *batch.Type {
	t := batch.StructOf()
	for i := range n {
		t.Fields = append(t.Fields, m.field(fmt.Sprint("f", i), m.typ(depth), m.IntN(2) == 0))
	}
	return t
}

// put appends a random slot.
func (m *maker) put(c *batch.Column, rec *batch.Records, required bool) {
	if !required && m.IntN(4) == 0 {
		c.AppendNull()
		return
	}
	t := c.Type
	switch t.Store() {
	case batch.StoreBool:
		c.AppendBool(m.IntN(2) == 0)
	case batch.StoreInt32:
		c.AppendInt32(int32(m.Uint64() >> m.IntN(64)))
	case batch.StoreInt64:
		n := int64(m.Uint64() >> m.IntN(64))
		if t.Kind == batch.Decimal {
			n %= 1e9
		}
		c.AppendInt64(n)
	case batch.StoreFloat32:
		c.AppendFloat32(float32(m.NormFloat64()))
	case batch.StoreFloat64:
		c.AppendFloat64(m.NormFloat64())
	case batch.StoreView:
		c.AppendView(rec.Append(m.bytes(t)))
	case batch.StoreStruct:
		for i, f := range t.Fields {
			m.put(c.Children[i], rec, f.Required)
		}
		c.AppendStruct()
	case batch.StoreList:
		for range m.IntN(4) {
			for i, f := range t.Fields {
				m.put(c.Children[i], rec, f.Required)
			}
		}
		c.AppendList()
	}
}

func (m *maker) bytes(t *batch.Type) []byte {
	n := m.IntN(30)
	switch t.Kind {
	case batch.String:
		return []byte(strings.Repeat([]string{"a", "é", "日"}[m.IntN(3)], n/2))
	case batch.UUID, batch.Decimal:
		n = 16
	case batch.Fixed:
		n = t.Length
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	if t.Kind == batch.Decimal {
		for i := range 10 {
			b[i] = byte(int8(b[10]) >> 7)
		}
	}
	return b
}

func (m *maker) batch(row *batch.Type, n int) *batch.Batch {
	b := batch.New(&batch.Records{}, row)
	for i := range n {
		m.put(b.Root, b.Records, true)
		b.AppendRow(i, 0)
	}
	return b
}

// text writes slot i, the same for the same value.
func text(c *batch.Column, mem []byte, i int) string {
	if c.IsNull(i) {
		return "null"
	}
	switch c.Type.Store() {
	case batch.StoreBool:
		return fmt.Sprint(c.Bools[i])
	case batch.StoreInt32:
		return fmt.Sprint(c.Int32[i])
	case batch.StoreInt64:
		return fmt.Sprint(c.Int64[i])
	case batch.StoreFloat32:
		return fmt.Sprint(c.Float32[i])
	case batch.StoreFloat64:
		return fmt.Sprint(c.Float64[i])
	case batch.StoreView:
		return fmt.Sprintf("%q", mem[c.Views[i].Off:c.Views[i].Off+c.Views[i].Len])
	}
	from, to := i, i+1
	if c.Type.Store() == batch.StoreList {
		from, to = int(c.Starts[i]), int(c.Starts[i+1])
	}
	var s []string
	for k := from; k < to; k++ {
		for j, ch := range c.Children {
			s = append(s, c.Type.Fields[j].Name+":"+text(ch, mem, k))
		}
	}
	return c.Type.Kind.String() + "(" + strings.Join(s, " ") + ")"
}

func texts(b *batch.Batch) []string {
	var out []string
	for i := range b.Rows {
		out = append(out, text(b.Root, b.Mem, i))
	}
	return out
}

// readAll reads all rows of a file, n at a time, and checks what every batch promises.
func readAll(t testing.TB, f *File, row *batch.Type, n int) ([]string, error) {
	t.Helper()
	r, err := f.Batches(row)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	var got []string
	b := batch.New(&batch.Records{}, row)
	for {
		if r.Position() != int64(len(got)) {
			t.Errorf("position %d after %d rows", r.Position(), len(got))
		}
		err := r.Next(b, n)
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return nil, err
		}
		if b.Rows == 0 || b.Rows > n || len(b.Record) != b.Rows || len(b.Fate) != b.Rows {
			t.Fatalf("%d rows of %d asked for", b.Rows, n)
		}
		whole(t, b.Root, b.Rows, len(b.Mem))
		got = append(got, texts(b)...)
	}
}

// whole checks the invariants of a column.
func whole(t testing.TB, c *batch.Column, n, mem int) {
	t.Helper()
	if c.Len != n || c.Valid != nil && len(c.Valid) != n {
		t.Fatalf("%s: %d slots, %d of %d validities", c.Type, c.Len, len(c.Valid), n)
	}
	values := len(c.Bools) + len(c.Int32) + len(c.Int64) + len(c.Float32) + len(c.Float64) + len(c.Views)
	if c.Type.Nested() {
		if c.Type.Store() == batch.StoreList {
			if len(c.Starts) != n+1 || c.Starts[0] != 0 || !slices.IsSorted(c.Starts) {
				t.Fatalf("%s: starts %v of %d slots", c.Type, c.Starts, n)
			}
			n = int(c.Starts[n])
		}
		for i, ch := range c.Children {
			if c.Type.Fields[i].Required && ch.Valid != nil {
				t.Fatalf("%s: the required %s has nulls", c.Type, c.Type.Fields[i].Name)
			}
			whole(t, ch, n, mem)
		}
	} else if values != n {
		t.Fatalf("%s: %d values of %d", c.Type, values, n)
	}
	for _, v := range c.Views {
		if int(v.Off)+int(v.Len) > mem {
			t.Fatalf("%s: a view beyond the arena", c.Type)
		}
	}
}

// written writes batches with the real writer and opens the only file.
func written(t testing.TB, dir string, row *batch.Type, files configs.Files, pages string, batches ...*batch.Batch) (*File, table.File) {
	t.Helper()
	w, err := writers.New(writers.Options{Info: table.Info{Location: "file://" + dir, Row: row, Properties: map[string]string{"write.parquet.page-version": pages}},
		Store: objects.NewLocal(), Files: files})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		p := writers.Part{}
		for i := range b.Rows {
			p.Rows = append(p.Rows, int32(i))
		}
		if err := w.Append(t.Context(), b, p); err != nil {
			t.Fatal(err)
		}
	}
	done, err := w.Finish(t.Context())
	if err != nil || len(done) != 1 {
		t.Fatalf("%d files, %v", len(done), err)
	}
	f, err := Open(t.Context(), objects.NewLocal(), done[0].Path, done[0].Size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, done[0]
}

// Random rows of random types come back as they were written, in batches of any size.
func TestBatchesComeBack(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		m := &maker{Rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))}
		row := m.structType(rapid.IntRange(0, 3).Draw(rt, "depth"), rapid.IntRange(1, 5).Draw(rt, "columns"))
		files := configs.Files{RowGroupSize: rapid.SampledFrom([]configs.Bytes{1, 5000, 0}).Draw(rt, "group"),
			Compression: rapid.SampledFrom([]string{"zstd", "snappy", "gzip", "lz4", "none"}).Draw(rt, "codec")}
		var batches []*batch.Batch
		var want []string
		for range rapid.IntRange(1, 3).Draw(rt, "batches") {
			b := m.batch(row, rapid.SampledFrom([]int{1, 7, 60, 1500}).Draw(rt, "rows"))
			batches, want = append(batches, b), append(want, texts(b)...)
		}
		f, _ := written(t, dir, row, files, rapid.SampledFrom([]string{"", "v1"}).Draw(rt, "pages"), batches...)
		got, err := readAll(t, f, row, rapid.SampledFrom([]int{1, 10, 1000, 4096}).Draw(rt, "size"))
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("%s: %d rows, want %d; the first %s, want %s", row, len(got), len(want), got[0], want[0])
		}
	})
}

// What the table has become since a file was written: columns added, dropped, renamed and widened, at any depth.
func TestBatchesAfterEvolution(t *testing.T) {
	f := func(id int, name string, t *batch.Type, required bool) batch.Field {
		return batch.Field{ID: id, Name: name, Type: t, Required: required}
	}
	list := func(id int, t *batch.Type) *batch.Type {
		return &batch.Type{Kind: batch.List, Fields: []batch.Field{f(id, "element", t, true)}}
	}
	p := batch.Prim
	old := batch.StructOf(f(1, "a", p(batch.Int), true), f(2, "gone", p(batch.String), true), f(3, "f", p(batch.Float), false), f(4, "d", batch.DecimalOf(9, 2), false),
		f(5, "s", batch.StructOf(f(6, "x", p(batch.Int), true), f(7, "y", p(batch.String), false)), false),
		f(8, "l", list(9, batch.StructOf(f(10, "u", p(batch.Int), true))), false), f(11, "e", batch.DecimalOf(18, 2), true))
	now := batch.StructOf(f(20, "new", p(batch.String), false), f(1, "renamed", p(batch.Long), false), f(3, "f", p(batch.Double), false), f(4, "d", batch.DecimalOf(18, 2), false),
		f(5, "s", batch.StructOf(f(21, "z", list(22, p(batch.Int)), false), f(6, "x2", p(batch.Long), false)), false),
		f(8, "l", list(9, batch.StructOf(f(23, "v", p(batch.Date), false))), false), f(11, "e", batch.DecimalOf(30, 2), false), f(24, "gone", p(batch.Int), false))
	b := batch.New(&batch.Records{}, old)
	for i := range 3 {
		c := b.Root.Children
		c[0].AppendInt32(int32(-i))
		c[1].AppendView(b.AppendString("x"))
		if i == 1 {
			for _, k := range []int{2, 3, 4, 5} {
				c[k].AppendNull()
			}
		} else {
			c[2].AppendFloat32(1.5)
			c[3].AppendInt64(-250)
			c[4].Children[0].AppendInt32(7)
			c[4].Children[1].AppendNull()
			c[4].AppendStruct()
			for range i {
				c[5].Children[0].Children[0].AppendInt32(9)
				c[5].Children[0].AppendStruct()
			}
			c[5].AppendList()
		}
		c[6].AppendInt64(int64(-i))
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	file, _ := written(t, t.TempDir(), old, configs.Files{}, "", b)
	got, err := readAll(t, file, now, 2)
	if err != nil {
		t.Fatal(err)
	}
	minus := func(n byte) string { return fmt.Sprintf("%q", append(bytes.Repeat([]byte{0xff}, 15), -n)) }
	want := []string{
		"struct(new:null renamed:0 f:1.5 d:-250 s:struct(z:null x2:7) l:list() e:" + fmt.Sprintf("%q", make([]byte, 16)) + " gone:null)",
		"struct(new:null renamed:-1 f:null d:null s:null l:null e:" + minus(1) + " gone:null)",
		"struct(new:null renamed:-2 f:1.5 d:-250 s:struct(z:null x2:7) l:list(element:struct(v:null) element:struct(v:null)) e:" + minus(2) + " gone:null)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("read\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for says, bad := range map[string]*batch.Type{
		"the file has no column n (field id 20)": batch.StructOf(f(20, "n", p(batch.Long), true)),
		"cannot be read as string":               batch.StructOf(f(1, "a", p(batch.String), true)),
		"cannot be read as int":                  batch.StructOf(f(11, "a", p(batch.Int), true)),
		"cannot be read as list":                 batch.StructOf(f(5, "s", list(9, p(batch.Int)), false)),
		"cannot be read as long":                 batch.StructOf(f(8, "l", p(batch.Long), false)),
		"cannot be read as struct":               batch.StructOf(f(1, "a", batch.StructOf(f(2, "b", p(batch.Int), false)), false)),
		"cannot be read as decimal(9,3)":         batch.StructOf(f(4, "d", batch.DecimalOf(9, 3), false)),
		"the table requires a value":             batch.StructOf(f(3, "f", p(batch.Float), true)),
	} {
		if _, err := readAll(t, file, bad, 10); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v does not say %q", bad, err, says)
		}
	}
}

// Long rows end a batch early, so that its memory is bounded.
func TestBatchesAreBounded(t *testing.T) {
	row := batch.StructOf(batch.Field{ID: 1, Name: "v", Type: batch.Prim(batch.Binary)})
	m := &maker{Rand: rand.New(rand.NewPCG(1, 1))}
	b := batch.New(&batch.Records{}, row)
	long := make([]byte, 256<<10)
	for i := range 300 {
		long[0], long[1] = byte(i), byte(m.Uint32())
		if i < 100 {
			b.Root.Children[0].AppendView(b.Append(long[:2]))
		} else {
			b.Root.Children[0].AppendView(b.Append(long))
		}
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	f, _ := written(t, t.TempDir(), row, configs.Files{}, "", b)
	r, err := f.Batches(row)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, rows := batch.New(&batch.Records{}, row), 0
	for {
		err := r.Next(got, 4096)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Rows {
			if v := got.Bytes(got.Root.Children[0].Views[i]); v[0] != byte(rows) {
				t.Fatalf("row %d is row %d", rows, v[0])
			}
			rows++
		}
		if len(got.Mem) > 48<<20 {
			t.Errorf("%d bytes in a batch", len(got.Mem))
		}
	}
	if rows != 300 {
		t.Errorf("%d rows", rows)
	}
}

// A file with any byte changed gives rows or an error.
func TestBatchesOfDamagedFiles(t *testing.T) {
	for _, codec := range []string{"zstd", "none", "gzip"} {
		t.Run(codec, func(t *testing.T) { testDamagedFiles(t, codec) })
	}
}

func testDamagedFiles(t *testing.T, codec string) {
	dir := t.TempDir()
	m := &maker{Rand: rand.New(rand.NewPCG(3, 3))}
	row := m.structType(3, 8)
	_, file := written(t, dir, row, configs.Files{RowGroupSize: 3000, Compression: codec}, "", m.batch(row, 300))
	path := strings.TrimPrefix(file.Path, "file://")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read, failed := 0, 0
	for range 600 {
		data := bytes.Clone(whole)
		for range 1 + m.IntN(3) {
			data[m.IntN(len(data))] ^= byte(1 + m.IntN(255))
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(t.Context(), objects.NewLocal(), file.Path, file.Size)
		if err != nil {
			failed++
			continue
		}
		if _, err := readAll(t, f, row, 100); err != nil {
			failed++
		} else {
			read++
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if read == 0 || failed == 0 {
		t.Errorf("%d files were read, %d failed", read, failed)
	}
}
