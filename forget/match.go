// Package forget finds the rows of persons who want to be forgotten: by the values that some columns have in all of their rows, in
// the files of tables, and in whatever else lies in a table's folder.
package forget

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/rewrite"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// Value is what a column has, as text.
type Value struct{ Column, Text string }

// Key are the values that all rows of a person have: all of them together.
type Key []Value

// Parse makes values of text: a batch with one row.
type Parse func(fields []batch.Field, texts []string) (*batch.Batch, error)

// ErrNoColumn says that a table lacks a column of a key, so that its rows cannot be told by it.
var ErrNoColumn = errors.New("the table has no such column")

// Matcher tells the rows of some keys in the files of one table. Errors never tell the values of keys: they would get into logs.
type Matcher struct {
	table  *batch.Type   // the table's row type
	groups []*matchGroup // keys with the same columns
}

// matchGroup are keys with the same columns.
type matchGroup struct {
	fields []batch.Field
	keys   map[string]bool // see appendPart
	values [][][]byte      // of each column, ascending
}

// Bind makes a matcher for a table with a row type. Every key must have a column.
func Bind(keys []Key, row *batch.Type, parse Parse) (*Matcher, error) {
	m := &Matcher{table: row}
	byColumns := map[string]*matchGroup{}
	for n, key := range keys {
		if len(key) == 0 {
			return nil, fmt.Errorf("key %d has no column: it would be every row's", n+1)
		}
		key = slices.Clone(key)
		slices.SortFunc(key, func(a, b Value) int { return cmp.Compare(a.Column, b.Column) })
		var names, texts []string
		for i, v := range key {
			if i > 0 && v.Column == names[i-1] {
				return nil, fmt.Errorf("key %d has column %s twice", n+1, v.Column)
			}
			names, texts = append(names, v.Column), append(texts, v.Text)
		}
		id := strings.Join(names, "\x00")
		g := byColumns[id]
		if g == nil {
			var err error
			if g, err = groupOf(row, names); err != nil {
				return nil, err
			}
			byColumns[id], m.groups = g, append(m.groups, g)
		}
		if err := g.add(texts, parse); err != nil {
			return nil, fmt.Errorf("key %d: %w", n+1, err)
		}
	}
	for _, g := range m.groups {
		for _, list := range g.values {
			slices.SortFunc(list, bytes.Compare)
		}
	}
	return m, nil
}

func groupOf(row *batch.Type, names []string) (*matchGroup, error) {
	g := &matchGroup{keys: map[string]bool{}, values: make([][][]byte, len(names))}
	for _, name := range names {
		at := row.Index(name)
		if at < 0 {
			return nil, fmt.Errorf("%w: %s; fields of structs cannot be keys", ErrNoColumn, name)
		}
		f := row.Fields[at]
		if !f.Type.KeyType() {
			return nil, fmt.Errorf("column %s is a %s, which cannot be a key", name, f.Type)
		}
		g.fields = append(g.fields, f)
	}
	return g, nil
}

// add takes in the values of a key.
func (g *matchGroup) add(texts []string, parse Parse) error {
	fields := slices.Clone(g.fields)
	for i := range fields {
		fields[i].Required = false
	}
	b, err := parse(fields, texts)
	if err != nil || b.Rows != 1 || len(b.Rejects) > 0 {
		return fmt.Errorf("its values do not fit the columns %s", g)
	}
	var whole []byte
	for i, c := range b.Root.Children {
		if c.IsNull(0) {
			return fmt.Errorf("it has no value for the column %s", fields[i].Name)
		}
		part := c.AppendKey(nil, b.Records, 0)
		g.values[i] = append(g.values[i], part)
		whole = appendPart(whole, part)
	}
	g.keys[string(whole)] = true
	return nil
}

func (g *matchGroup) String() string {
	var list []string
	for _, f := range g.fields {
		list = append(list, fmt.Sprintf("%s (%s)", f.Name, f.Type))
	}
	return strings.Join(list, ", ")
}

// appendPart appends one value of a key, so that no two keys are the same bytes.
func appendPart(to, part []byte) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(len(part)))
	return append(to, part...)
}

// MayHold reports whether a file may have rows of the keys, by the bounds in the table's metadata.
func (m *Matcher) MayHold(f *table.File) bool {
	return f.Rows > 0 && slices.ContainsFunc(m.groups, func(g *matchGroup) bool {
		for i, x := range g.fields {
			if !mayHave(x, g.values[i], f) {
				return false
			}
		}
		return true
	})
}

// mayHave looks for a value between the bounds. An upper bound of text that was cut may be a prefix of what it bounds.
func mayHave(x batch.Field, values [][]byte, f *table.File) bool {
	lo, okLo := x.Type.KeyBound(f.LowerBounds[x.ID])
	hi, okHi := x.Type.KeyBound(f.UpperBounds[x.ID])
	if !okLo || !okHi {
		return true
	}
	at := sort.Search(len(values), func(i int) bool { return bytes.Compare(values[i], lo) >= 0 })
	return at < len(values) && (bytes.Compare(values[at], hi) <= 0 || bytes.HasPrefix(values[at], hi))
}

// Row is where a row is, and which record it is from.
type Row struct {
	Position  int64 // in the file
	Topic     string
	Partition int32
	Offset    int64
	Epoch     int32
}

// Rows calls each with the rows of a file that are of one of the keys, but those at positions that were deleted (nil: none). The file may
// be of any time: columns that it lacks are null, and match nothing.
func (m *Matcher) Rows(ctx context.Context, store objects.Store, path string, size int64, deleted *roaring64.Bitmap, each func(r Row) error) error {
	row, err := m.columns()
	if err != nil {
		return err
	}
	return scan.Each(ctx, store, path, size, row, 0, func(b *batch.Batch, at int64) error {
		groups := m.bind(b)
		for i := range b.Rows {
			if !groups.match(i) || deleted != nil && deleted.Contains(uint64(at)+uint64(i)) {
				continue
			}
			if err := each(recordOf(b, i, at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// columns are those that are read: four of the audit first, which a file that is no table's may lack.
func (m *Matcher) columns() (*batch.Type, error) {
	out := batch.StructOf()
	for _, c := range []struct {
		name string
		kind batch.Kind
	}{{table.ColumnTopic, batch.String}, {table.ColumnPartition, batch.Int}, {table.ColumnOffset, batch.Long}, {table.ColumnEpoch, batch.Int}} {
		at := m.table.Index(c.name)
		if at < 0 || m.table.Fields[at].Type.Kind != c.kind {
			return nil, fmt.Errorf("%w: %s of the type %s, so nobody can tell which records its rows are from", ErrNoColumn, c.name, c.kind)
		}
		f := m.table.Fields[at]
		f.Required = false
		out.Fields = append(out.Fields, f)
	}
	for _, g := range m.groups {
		for _, f := range g.fields {
			if f.Required = false; out.Index(f.Name) < 0 {
				out.Fields = append(out.Fields, f)
			}
		}
	}
	return out, nil
}

func recordOf(b *batch.Batch, i int, at int64) Row {
	r := Row{Position: at + int64(i)}
	if c := b.Root.Children[0]; !c.IsNull(i) {
		r.Topic = string(b.Bytes(c.Views[i]))
	}
	if c := b.Root.Children[1]; !c.IsNull(i) {
		r.Partition = c.Int32[i]
	}
	if c := b.Root.Children[2]; !c.IsNull(i) {
		r.Offset = c.Int64[i]
	}
	if c := b.Root.Children[3]; !c.IsNull(i) {
		r.Epoch = c.Int32[i]
	}
	return r
}

// bound are the groups of a matcher with their columns in a batch.
type bound struct {
	b       *batch.Batch
	groups  []*matchGroup
	columns [][]*batch.Column
	scratch []byte
}

func (m *Matcher) bind(b *batch.Batch) *bound {
	out := &bound{b: b, groups: m.groups}
	for _, g := range m.groups {
		var columns []*batch.Column
		for _, f := range g.fields {
			columns = append(columns, b.Root.Children[b.Root.Type.Index(f.Name)])
		}
		out.columns = append(out.columns, columns)
	}
	return out
}

func (x *bound) match(row int) bool {
next:
	for n, g := range x.groups {
		x.scratch = x.scratch[:0]
		for _, c := range x.columns[n] {
			if c.IsNull(row) {
				continue next
			}
			at := len(x.scratch)
			x.scratch = c.AppendKey(append(x.scratch, 0, 0, 0, 0), x.b.Records, row)
			binary.BigEndian.PutUint32(x.scratch[at:], uint32(len(x.scratch)-at-4))
		}
		if g.keys[string(x.scratch)] {
			return true
		}
	}
	return false
}

// Catalog is what finding rows asks of a catalog.
type Catalog interface {
	rewrite.Lister
	Info(ctx context.Context, id table.Ident) (table.Info, error)
}

// Found is what a table has of the keys.
type Found struct {
	Files []table.File
	Rows  int64
	Bytes int64 // of the files
	// Positions are those of the rows, and of rows that delete files have removed before, by file.
	Positions map[string]*roaring64.Bitmap
}

// Table looks for the rows of keys in a snapshot of a table. The files that may have some, as its metadata say, are read. each is told
// of every row; nil: nobody is.
func (m *Matcher) Table(ctx context.Context, c Catalog, store objects.Store, id table.Ident, snapshot int64, each func(r Row)) (*Found, error) {
	out := &Found{Positions: map[string]*roaring64.Bitmap{}}
	files, deletes, err := c.Files(ctx, id, snapshot)
	if err != nil {
		return nil, fmt.Errorf("listing the files of table %s: %w", id, err)
	}
	deleted, err := scan.PositionDeletes(ctx, store, deletes)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", id, err)
	}
	for _, f := range files {
		if !m.MayHold(&f) {
			continue
		}
		found := roaring64.New()
		err := m.Rows(ctx, store, f.Path, f.Size, deleted[f.Path], func(r Row) error {
			found.Add(uint64(r.Position))
			if each != nil {
				each(r)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("table %s: %s: %w", id, f.Path, err)
		}
		if n := found.GetCardinality(); n > 0 {
			if gone := deleted[f.Path]; gone != nil {
				found.Or(gone)
			}
			out.Files, out.Rows, out.Bytes, out.Positions[f.Path] = append(out.Files, f), out.Rows+int64(n), out.Bytes+f.Size, found
		}
	}
	return out, nil
}

// Hidden are the files in which delete files hide rows of keys.
func (m *Matcher) Hidden(ctx context.Context, store objects.Store, files []table.File, deletes []string) (out []table.File, err error) {
	deleted, err := scan.PositionDeletes(ctx, store, deletes)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		gone := deleted[f.Path]
		if gone == nil || !m.MayHold(&f) {
			continue
		}
		hidden := false
		err := m.Rows(ctx, store, f.Path, f.Size, nil, func(r Row) error {
			hidden = hidden || gone.Contains(uint64(r.Position))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		if hidden {
			out = append(out, f)
		}
	}
	return out, nil
}
