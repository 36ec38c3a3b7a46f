// Package scan reads columns of data files back: what verify and the deduplication state are built from.
package scan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
)

// File is an open Parquet file. Columns are read a row group at a time.
type File struct {
	p *parquet.File
	r objects.Reader
}

// Open opens an object; the caller must Close it.
func Open(ctx context.Context, store objects.Store, uri string) (*File, error) {
	r, err := store.Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	var p *parquet.File
	if err = sound(func() (err error) {
		p, err = parquet.OpenFile(r, r.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		return err
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no readable Parquet file: %w", uri, err), r.Close())
	}
	return &File{p, r}, nil
}

var errDamaged = errors.New("the file is damaged")

// sound calls into the Parquet library, which panics on some damaged files. That is no reason for the process to end.
func sound(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return f()
}

// Close releases the file.
func (f *File) Close() error { return f.r.Close() }

// Rows is the number of rows of the file.
func (f *File) Rows() int64 { return f.p.NumRows() }

// Groups is the number of row groups.
func (f *File) Groups() int { return len(f.p.RowGroups()) }

// each calls fn with the values of a top-level column, which are good during the call only.
func (f *File) each(group int, column string, fn func(parquet.Value)) error {
	leaf, ok := f.p.Schema().Lookup(column)
	if !ok {
		return fmt.Errorf("the file has no column %s", column)
	}
	err := sound(func() (err error) {
		r := parquet.NewColumnChunkValueReader(f.p.RowGroups()[group].ColumnChunks()[leaf.ColumnIndex])
		defer func() { err = errors.Join(err, r.Close()) }()
		var buf [1024]parquet.Value
		for {
			n, err := r.ReadValues(buf[:])
			for _, v := range buf[:n] {
				fn(v)
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("column %s: %w", column, err)
	}
	return nil
}

// Ints reads an int or long column without nulls.
func (f *File) Ints(group int, column string) (vals []int64, err error) {
	err = f.each(group, column, func(v parquet.Value) {
		if v.Kind() == parquet.Int32 {
			vals = append(vals, int64(v.Int32()))
		} else {
			vals = append(vals, v.Int64())
		}
	})
	return vals, err
}

// Strings reads a string column without nulls; equal neighbours share their memory.
func (f *File) Strings(group int, column string) (vals []string, err error) {
	last := ""
	err = f.each(group, column, func(v parquet.Value) {
		if b := v.ByteArray(); string(b) != last {
			last = string(b)
		}
		vals = append(vals, last)
	})
	return vals, err
}

// Values reads a column of a type that is not nested, as batch.Column stores it: nil, bool, int32, int64, float32, float64,
// string, or []byte (decimals wider than 18 digits: 16 big-endian bytes). A column that was added to the table after the
// file was written is null in all rows.
func (f *File) Values(group int, column string, t *batch.Type) (vals []any, err error) {
	if _, ok := f.p.Schema().Lookup(column); !ok {
		return make([]any, f.p.RowGroups()[group].NumRows()), nil
	}
	err = f.each(group, column, func(v parquet.Value) { vals = append(vals, value(v, t)) })
	return vals, err
}

func value(v parquet.Value, t *batch.Type) any {
	if v.IsNull() {
		return nil
	}
	switch t.Store() {
	case batch.StoreBool:
		return v.Boolean()
	case batch.StoreInt32:
		return v.Int32()
	case batch.StoreInt64:
		switch v.Kind() {
		case parquet.Int32: // a decimal of up to 9 digits, or an int that became a long
			return int64(v.Int32())
		case parquet.ByteArray, parquet.FixedLenByteArray: // a decimal as some other programs write it
			return int64(binary.BigEndian.Uint64(widen(v.ByteArray())[8:]))
		}
		return v.Int64()
	case batch.StoreFloat32:
		return v.Float()
	case batch.StoreFloat64:
		if v.Kind() == parquet.Float {
			return float64(v.Float())
		}
		return v.Double()
	}
	if t.Kind == batch.String {
		return string(v.ByteArray())
	}
	b := append([]byte(nil), v.ByteArray()...)
	if t.Kind == batch.Decimal {
		return widen(b)
	}
	return b
}

// widen extends a two's-complement big-endian number to 16 bytes.
func widen(b []byte) []byte {
	out := make([]byte, 16)
	if len(b) > 0 && b[0]&0x80 != 0 {
		for i := range out {
			out[i] = 0xff
		}
	}
	copy(out[max(0, 16-len(b)):], b[max(0, len(b)-16):])
	return out
}
