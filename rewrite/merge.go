package rewrite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// MergeInput is files whose rows are to lie in fewer ones. Info, Store and Sources are required.
type MergeInput struct {
	Info  table.Info // of the table
	Store objects.Store
	Files configs.Files // settings of the files that are written
	// SortBy sorts rows within each row group.
	SortBy []table.SortField
	// Sources are of one partition spec and partition. Their rows are written in the order of the sources.
	Sources []table.File
	// Deleted are the positions of rows that delete files have removed, by data file (see scan.PositionDeletes).
	Deleted map[string]*roaring64.Bitmap
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Merged are the files that take the place of the sources; none if no row is left.
type Merged struct {
	Files         []table.File
	Rows, Deleted int64
}

// Merge writes the rows of data files into as few files as their target size allows. What it wrote it reads again: unless
// the rows are those of the sources, value by value, it fails, and the files are for the removal of orphans. The rows are
// compared as a set, by a hash of 64 bits with a random seed; the columns of Kafka's offsets are among the values. Memory is
// bounded by one row group on each side.
func Merge(ctx context.Context, in MergeInput) (out Merged, err error) {
	if len(in.Sources) == 0 {
		return out, errors.New("a merge needs sources")
	}
	first := in.Sources[0]
	for _, f := range in.Sources {
		if f.SpecID != first.SpecID || !slices.EqualFunc(f.Partition, first.Partition, slices.Equal) {
			return out, fmt.Errorf("%s and %s are of different partitions", first.Path, f.Path)
		}
	}
	info := in.Info
	info.SpecID = first.SpecID
	w, err := writers.New(writers.Options{Info: info, Store: in.Store, Files: in.Files, SortBy: in.SortBy, Now: in.Now})
	if err != nil {
		return out, err
	}
	defer w.Abort() // of no effect after Finish
	read := newRowSum()
	wrote := read.like()
	part := writers.Part{Tuple: first.Partition, Path: folder(info.Location, first.Path), Key: "sources"}
	b := batch.New(&batch.Records{}, info.Row)
	for _, f := range in.Sources {
		deleted := in.Deleted[f.Path]
		err := eachOf(ctx, in.Store, f, b, func(b *batch.Batch, at int64) error {
			part.Rows = part.Rows[:0]
			for i := range b.Rows {
				if deleted != nil && deleted.Contains(uint64(at)+uint64(i)) {
					out.Deleted++
					continue
				}
				part.Rows = append(part.Rows, int32(i))
			}
			read.some(b, part.Rows)
			return w.Append(ctx, b, part)
		})
		if err != nil {
			return out, err
		}
	}
	if out.Files, err = w.Finish(ctx); err != nil {
		return out, err
	}
	for _, f := range out.Files {
		err := eachOf(ctx, in.Store, f, b, func(b *batch.Batch, _ int64) error {
			wrote.add(b)
			return nil
		})
		if err != nil {
			return out, fmt.Errorf("reading again what was written: %w", err)
		}
	}
	if !wrote.same(read) {
		return out, fmt.Errorf("the %d rows that were written are not the %d rows of the sources: this is a defect of lakeloader, the table is as it was", wrote.rows, read.rows)
	}
	out.Rows = read.rows
	return out, nil
}

// eachOf reads all rows of a data file into a batch, piece by piece.
func eachOf(ctx context.Context, store objects.Store, source table.File, b *batch.Batch, fn func(b *batch.Batch, at int64) error) (err error) {
	f, err := scan.Open(ctx, store, source.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.Rows() != source.Rows {
		return fmt.Errorf("%s has %d rows, the table's metadata says %d", source.Path, f.Rows(), source.Rows)
	}
	if err := eachInto(ctx, f, b, fn); err != nil {
		return fmt.Errorf("%s: %w", source.Path, err)
	}
	return nil
}
