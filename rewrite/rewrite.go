// Package rewrite writes data files of a table anew, without some of their rows or with some columns of them changed
// (copy on write). Nothing that it writes is part of the table, and nothing is taken out of it: what comes back is for one
// table.Change, whose swap does both at once or fails.
//
// A file is read twice. First only the columns that say which record a row is from: where nobody wants any of its rows
// dropped or changed, that is all. Memory is bounded by one row group on each side and one byte a row.
package rewrite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// Verdict is what becomes of a row.
type Verdict uint8

// The verdicts.
const (
	Keep Verdict = iota
	Drop
	Change // it gets the values of Input.Set
)

// Keys says which records some rows of a file are from: one entry a row in every slice but Topics. It is good during a
// call only.
type Keys struct {
	Topics    []string // the names that Topic points into; it only grows within a file
	Topic     []int32
	Partition []int32
	Offset    []int64
	Epoch     []int32
}

// Choose fills in what becomes of rows. verdicts has an entry for each, which is Keep. It sees every row of a file once, in
// order, but those that delete files have removed.
type Choose func(k *Keys, verdicts []Verdict) error

// Set is the value that a column gets in the rows that are changed.
type Set struct {
	Column string // at the top level, and a long, a time, a timestamp, or a decimal of up to 18 digits
	Int64  int64  // as batch.Column stores it: microseconds, unscaled
	Null   bool   // no value
}

// Input is a file and what is to become of its rows. Info, Store, Source and Choose are required.
type Input struct {
	Info  table.Info // of the table
	Store objects.Store
	// Files are the settings of the files that are written. Prefix begins their names and must be unique for ever; empty:
	// random.
	Files  configs.Files
	Prefix string
	// Source is the file as the catalog lists it; what is written has its partition, partition spec and sort order.
	Source table.File
	// Deleted are the positions of rows that delete files have removed (see scan.PositionDeletes); nil: none. What is
	// written lacks them.
	Deleted *roaring64.Bitmap
	Choose  Choose
	Set     []Set
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Result is what became of the rows of one or more files. If Same, nothing was written and the source is to stay. Else
// Files take its place; there are none if no row is left.
type Result struct {
	Files []table.File
	// Rows that stayed as they are, were changed and were dropped, and those that delete files had removed before.
	Kept, Changed, Dropped, Deleted int64
}

// Same reports whether no row was dropped or changed.
func (r Result) Same() bool { return r.Changed == 0 && r.Dropped == 0 }

const rowsAtOnce = 4096

// File rewrites one data file. Its error names the file.
func File(ctx context.Context, in Input) (Result, error) {
	r, err := file(ctx, &in)
	if err != nil {
		return Result{}, fmt.Errorf("rewriting %s: %w", in.Source.Path, err)
	}
	return r, nil
}

func file(ctx context.Context, in *Input) (out Result, err error) {
	if in.Choose == nil || in.Info.Row == nil {
		return out, errors.New("a rewrite needs a choice and the table's row type")
	}
	columns, err := setColumns(in)
	if err != nil {
		return out, err
	}
	f, err := scan.Open(ctx, in.Store, in.Source.Path, in.Source.Size)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.Rows() != in.Source.Rows {
		return out, fmt.Errorf("the file has %d rows, the table's metadata says %d", f.Rows(), in.Source.Rows)
	}
	c := chooser{in: in, verdicts: make([]Verdict, in.Source.Rows)}
	if err := c.choose(ctx, f); err != nil {
		return out, err
	}
	if out = c.counts; out.Same() {
		return out, nil
	}
	if out.Kept+out.Changed > 0 {
		out.Files, err = copyRows(ctx, in, f, c.verdicts, columns)
	}
	return out, err
}

// setColumns gives the indexes in the row type of the columns to set.
func setColumns(in *Input) ([]int, error) {
	out := make([]int, len(in.Set))
	for i, s := range in.Set {
		if out[i] = in.Info.Row.Index(s.Column); out[i] < 0 {
			return nil, fmt.Errorf("the table has no column %s", s.Column)
		}
		f := in.Info.Row.Fields[out[i]]
		if f.Type.Store() != batch.StoreInt64 {
			return nil, fmt.Errorf("column %s is a %s, which cannot be set", s.Column, f.Type)
		}
		if s.Null && f.Required {
			return nil, fmt.Errorf("column %s is required and cannot be set to null", s.Column)
		}
	}
	return out, nil
}

// each reads all rows of a file as batches of a row type.
func each(ctx context.Context, f *scan.File, row *batch.Type, fn func(b *batch.Batch, at int64) error) error {
	return eachInto(ctx, f, batch.New(&batch.Records{}, row), 0, f.Groups(), fn)
}

// eachInto is each for some row groups, with a batch that is used again.
func eachInto(ctx context.Context, f *scan.File, b *batch.Batch, from, to int, fn func(b *batch.Batch, at int64) error) (err error) {
	r, err := f.GroupBatches(b.Root.Type, from, to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := r.Position()
		if err := r.Next(b, rowsAtOnce); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := fn(b, at); err != nil {
			return err
		}
	}
}

// copyRows writes the rows that are left. They keep their order, and so the files are sorted as the source is, unless values
// that it may be sorted by have changed.
func copyRows(ctx context.Context, in *Input, f *scan.File, verdicts []Verdict, columns []int) ([]table.File, error) {
	info := in.Info
	info.SpecID = in.Source.SpecID
	w, err := writers.New(writers.Options{Info: info, Store: in.Store, Files: in.Files, Prefix: in.Prefix, Now: in.Now})
	if err != nil {
		return nil, err
	}
	defer w.Abort() // of no effect after Finish
	part := writers.Part{Tuple: in.Source.Partition, Path: folder(info.Location, in.Source.Path), Key: "source"}
	changed := false
	err = each(ctx, f, info.Row, func(b *batch.Batch, at int64) error {
		part.Rows = part.Rows[:0]
		if at+int64(b.Rows) > int64(len(verdicts)) {
			return fmt.Errorf("the file has more than %d rows", len(verdicts))
		}
		for i, v := range verdicts[at : at+int64(b.Rows)] {
			if v == Drop {
				continue
			}
			part.Rows = append(part.Rows, int32(i))
			if v == Change {
				changed = true
				for k, s := range in.Set {
					set(b.Root.Children[columns[k]], i, s)
				}
			}
		}
		return w.Append(ctx, b, part)
	})
	if err != nil {
		return nil, err
	}
	files, err := w.Finish(ctx)
	if err != nil {
		return nil, err
	}
	for i := range files {
		if !changed {
			files[i].SortOrderID = in.Source.SortOrderID
		}
	}
	return files, nil
}

func set(c *batch.Column, row int, s Set) {
	c.Int64[row] = s.Int64
	switch {
	case s.Null:
		c.Int64[row] = 0
		c.SetNull(row)
	case c.Valid != nil:
		c.Valid[row] = true
	}
}

// folder gives the folder of a file below the table's data folder; empty: it lies elsewhere.
func folder(location, path string) string {
	below, ok := strings.CutPrefix(path, location+"/data/")
	at := strings.LastIndexByte(below, '/')
	if !ok || at < 0 {
		return ""
	}
	return below[:at]
}
