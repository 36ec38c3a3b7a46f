package rewrite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
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
	read, wrote := newRowSum(), rowSum{}
	wrote.seed = read.seed
	part := writers.Part{Tuple: first.Partition, Path: folder(info.Location, first.Path), Key: "sources"}
	for _, f := range in.Sources {
		deleted := in.Deleted[f.Path]
		err := eachOf(ctx, in.Store, f, info.Row, func(b *batch.Batch, at int64) error {
			part.Rows = part.Rows[:0]
			for i := range b.Rows {
				if deleted != nil && deleted.Contains(uint64(at)+uint64(i)) {
					out.Deleted++
					continue
				}
				part.Rows = append(part.Rows, int32(i))
				read.add(b, i)
			}
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
		err := eachOf(ctx, in.Store, f, info.Row, func(b *batch.Batch, _ int64) error {
			for i := range b.Rows {
				wrote.add(b, i)
			}
			return nil
		})
		if err != nil {
			return out, fmt.Errorf("reading again what was written: %w", err)
		}
	}
	if wrote.rows != read.rows || wrote.sum != read.sum {
		return out, fmt.Errorf("the %d rows that were written are not the %d rows of the sources: this is a defect of lakeloader, the table is as it was", wrote.rows, read.rows)
	}
	out.Rows = read.rows
	return out, nil
}

// eachOf reads all rows of a data file as batches of a row type.
func eachOf(ctx context.Context, store objects.Store, source table.File, row *batch.Type, fn func(b *batch.Batch, at int64) error) (err error) {
	f, err := scan.Open(ctx, store, source.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.Rows() != source.Rows {
		return fmt.Errorf("%s has %d rows, the table's metadata says %d", source.Path, f.Rows(), source.Rows)
	}
	if err := each(ctx, f, row, fn); err != nil {
		return fmt.Errorf("%s: %w", source.Path, err)
	}
	return nil
}

// rowSum is a hash of a set of rows, in which equal rows count as often as they are there.
type rowSum struct {
	seed maphash.Seed
	rows int64
	sum  uint64
	text []byte
}

func newRowSum() rowSum { return rowSum{seed: maphash.MakeSeed()} }

func (s *rowSum) add(b *batch.Batch, row int) {
	s.text = appendValue(s.text[:0], b, b.Root, row)
	s.rows++
	s.sum += maphash.Bytes(s.seed, s.text)
}

// appendValue appends a value so that different ones differ, whatever stands behind them.
func appendValue(to []byte, b *batch.Batch, c *batch.Column, i int) []byte {
	if c.Valid != nil && !c.Valid[i] {
		return append(to, 0)
	}
	to = append(to, 1)
	switch c.Type.Store() {
	case batch.StoreBool:
		if c.Bools[i] {
			return append(to, 1)
		}
		return append(to, 0)
	case batch.StoreInt32:
		return binary.LittleEndian.AppendUint32(to, uint32(c.Int32[i]))
	case batch.StoreInt64:
		return binary.LittleEndian.AppendUint64(to, uint64(c.Int64[i]))
	case batch.StoreFloat32:
		return binary.LittleEndian.AppendUint32(to, math.Float32bits(c.Float32[i]))
	case batch.StoreFloat64:
		return binary.LittleEndian.AppendUint64(to, math.Float64bits(c.Float64[i]))
	case batch.StoreView:
		v := b.Bytes(c.Views[i])
		return append(binary.AppendUvarint(to, uint64(len(v))), v...)
	case batch.StoreList:
		from, next := c.Starts[i], c.Starts[i+1]
		to = binary.AppendUvarint(to, uint64(next-from))
		for j := from; j < next; j++ {
			for _, child := range c.Children {
				to = appendValue(to, b, child, int(j))
			}
		}
		return to
	}
	for _, child := range c.Children {
		to = appendValue(to, b, child, i)
	}
	return to
}
