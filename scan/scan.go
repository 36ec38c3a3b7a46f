// Package scan reads data files back: some columns of a row group at once, for verify and the deduplication state, or all
// rows as batches, for what rewrites them or sends them through a pipeline again.
package scan

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
)

// File is an open Parquet file. It is for one goroutine.
type File struct {
	r     *source
	p     *file.Reader
	props *parquet.ReaderProperties
	root  *column
	// budget is what blocks may take together.
	budget int
}

// source keeps the error of the object store, which the Parquet library may describe without passing it on.
type source struct {
	objects.Reader
	err error
}

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.Reader.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Open opens an object; the caller must Close it. size is what metadata say of it, bytes; 0: they do not. A small object is read whole,
// with one request.
func Open(ctx context.Context, store objects.Store, uri string, size int64) (*File, error) {
	r, err := objects.OpenSized(ctx, store, uri, size)
	if err != nil {
		return nil, err
	}
	f := &File{r: &source{Reader: r}, budget: blockBudget, props: parquet.NewReaderProperties(memory.NewGoAllocator())}
	f.props.BufferedStreamEnabled = true
	err = f.sound(func() (err error) {
		if f.p, err = file.NewParquetReader(io.NewSectionReader(f.r, 0, r.Size()), file.WithReadProps(f.props)); err != nil {
			return err
		}
		f.root = columnsOf(f.p.MetaData().Schema)
		for g := range f.p.NumRowGroups() {
			if n := f.p.RowGroup(g).NumRows(); n < 0 {
				return fmt.Errorf("%w: row group %d has %d rows", errDamaged, g, n)
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no readable Parquet file: %w", uri, err), r.Close())
	}
	return f, nil
}

var errDamaged = errors.New("the file is damaged")

// sound calls into the Parquet library, which panics on some damaged files. That is no reason for the process to end.
func (f *File) sound(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
		if err != nil && f.r.err != nil && !errors.Is(err, f.r.err) {
			err = fmt.Errorf("%w: %w", err, f.r.err)
		}
		f.r.err = nil
	}()
	return call()
}

// Close releases the file.
func (f *File) Close() error { return f.r.Close() }

// Rows is the number of rows of the file.
func (f *File) Rows() int64 { return f.p.NumRows() }

// Groups is the number of row groups.
func (f *File) Groups() int { return f.p.NumRowGroups() }

// blocks makes the blocks in which columns are read as large as n columns at once allow: an object store answers each
// request in tens of milliseconds.
func (f *File) blocks(n int) {
	f.props.BufferSize = int64(min(maxBlock, max(minBlock, f.budget/max(1, n))))
}

// read reads a top-level column of a row group, as a column of type t over the arena of rec.
func (f *File) read(group int, name string, t *batch.Type, rec *batch.Records) (*batch.Column, error) {
	col := batch.NewColumn(t, 0)
	err := f.sound(func() (err error) {
		c := f.root.named(name)
		if c == nil || c.leaf == nil {
			return errors.New("the file has no such column that holds values")
		}
		n := &node{field: batch.Field{Name: name, Type: t}, path: name}
		b := &binder{leaves: map[int]*leaf{}}
		if err := b.bind(n, c); err != nil {
			return err
		}
		f.blocks(1)
		g := f.p.RowGroup(group)
		if err := n.value.open(f, g); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, n.value.close()) }()
		return n.value.take(int(g.NumRows()), col, rec)
	})
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", name, err)
	}
	return col, nil
}

func (f *File) full(group int, name string, t *batch.Type, rec *batch.Records) (*batch.Column, error) {
	c, err := f.read(group, name, t, rec)
	if err == nil && c.Valid != nil {
		return nil, fmt.Errorf("column %s has rows without a value", name)
	}
	return c, err
}

// Ints reads an int or long column without nulls.
func (f *File) Ints(group int, column string) ([]int64, error) {
	c, err := f.full(group, column, batch.Prim(batch.Long), nil)
	if err != nil {
		return nil, err
	}
	return c.Int64, nil
}

// Strings reads a string column without nulls; equal neighbours share their memory.
func (f *File) Strings(group int, column string) ([]string, error) {
	rec := &batch.Records{}
	c, err := f.full(group, column, batch.Prim(batch.String), rec)
	if err != nil {
		return nil, err
	}
	vals := make([]string, len(c.Views))
	for i, v := range c.Views {
		if i > 0 && v == c.Views[i-1] {
			vals[i] = vals[i-1]
		} else {
			vals[i] = string(rec.Bytes(v))
		}
	}
	return vals, nil
}

// Values reads a column of a type that is not nested, as batch.Column stores it: nil, bool, int32, int64, float32, float64,
// string, or []byte (decimals wider than 18 digits: 16 big-endian bytes). A column that was added to the table after the
// file was written is null in all rows.
func (f *File) Values(group int, column string, t *batch.Type) ([]any, error) {
	if f.root.named(column) == nil {
		return make([]any, f.p.RowGroup(group).NumRows()), nil
	}
	rec := &batch.Records{}
	c, err := f.read(group, column, t, rec)
	if err != nil {
		return nil, err
	}
	vals := make([]any, c.Len)
	for i := range vals {
		if !c.IsNull(i) {
			vals[i] = value(c, rec, i)
		}
	}
	return vals, nil
}

func value(c *batch.Column, rec *batch.Records, i int) any {
	switch c.Type.Store() {
	case batch.StoreBool:
		return c.Bools[i]
	case batch.StoreInt32:
		return c.Int32[i]
	case batch.StoreInt64:
		return c.Int64[i]
	case batch.StoreFloat32:
		return c.Float32[i]
	case batch.StoreFloat64:
		return c.Float64[i]
	}
	if c.Type.Kind == batch.String {
		return string(rec.Bytes(c.Views[i]))
	}
	return append([]byte{}, rec.Bytes(c.Views[i])...)
}

// SortColumn is one by which rows are sorted, by its path in the file.
type SortColumn struct {
	Path       string
	Desc       bool
	NullsFirst bool
}

// Sorted says how the file claims the rows of a row group to be sorted; nil: not at all.
func (f *File) Sorted(group int) (by []SortColumn) {
	s := f.p.MetaData().Schema
	for _, c := range f.p.RowGroup(group).MetaData().SortingColumns() {
		if c.ColumnIdx < 0 || int(c.ColumnIdx) >= s.NumColumns() {
			return nil
		}
		by = append(by, SortColumn{s.Column(int(c.ColumnIdx)).Path(), c.Descending, c.NullsFirst})
	}
	return by
}

// Weight is about how much memory reading a row group takes, bytes, with blocks of the least size: of each column some values,
// and a page or two with its dictionary, but no more than there is.
func (f *File) Weight(group int) (n int64) {
	const pages, values = 384 << 10, 32 << 10
	g := f.p.RowGroup(group).MetaData()
	for i := range g.NumColumns() {
		c, err := g.ColumnChunk(i)
		if err != nil {
			n += pages
			continue
		}
		n += values + min(pages, c.TotalUncompressedSize()) + min(2*minBlock, c.TotalCompressedSize())
	}
	return n
}

// Budget says what the blocks of all columns that are read at once may take together, bytes; 32 MiB unless it is called. A batch ends
// with as many bytes of values, if that is less than 16 MiB.
func (f *File) Budget(bytes int64) { f.budget = int(bytes) }

// arena is how many bytes of values end a batch.
func (f *File) arena() int { return min(arenaGoal, max(leastArena, f.budget)) }
