package rewrite

import (
	"cmp"
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
	// SortBy sorts rows across each file: what is written is sorted from the first file to the last.
	SortBy []table.SortField
	// ZOrder are columns whose values, interleaved, rows are sorted by instead of SortBy. Iceberg has no name for that order.
	ZOrder []string
	// Sources are of one partition spec and partition.
	Sources []table.File
	// Deleted are the positions of rows that delete files have removed, by data file (see scan.PositionDeletes).
	Deleted map[string]*roaring64.Bitmap
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// LeastCopied is the size from which on row groups are copied and not decoded, bytes; 0: 16 MiB.
	LeastCopied int64
	// RunsBudget is what reading sorted runs may take at once, SortBudget what rows take that are sorted at once, BlocksBudget what is
	// read ahead of files, bytes; 0: 128, 64 and 32 MiB.
	RunsBudget, SortBudget, BlocksBudget int64
}

// Merged are the files that take the place of the sources; none if no row is left.
type Merged struct {
	Files         []table.File
	Rows, Deleted int64
	// Copied are the bytes of pages that were copied and not decoded.
	Copied int64
}

// LeastCopied is the size from which on a row group is copied and not decoded: smaller ones are better made larger.
const LeastCopied = 16 << 20

// Merge writes the rows of data files into as few files as their target size allows. Row groups of 16 MiB or more are copied
// page by page where that is possible (see writers.Assembler.Fits) and none of their file's rows are deleted; all others are
// decoded.
//
// What it wrote it reads again. Rows that were decoded have to be those of the sources, value by value: they are compared as a
// set, by a hash of 64 bits with a random seed. Pages that were copied have to be the same bytes, by a checksum, and the
// columns of Kafka's offsets are compared as rows are. If anything differs it fails, and the files are for the removal of
// orphans. Memory is bounded by one row group on each side.
func Merge(ctx context.Context, in MergeInput) (Merged, error) {
	if len(in.Sources) == 0 {
		return Merged{}, errors.New("a merge needs sources")
	}
	first := in.Sources[0]
	for _, f := range in.Sources {
		if f.SpecID != first.SpecID || !slices.EqualFunc(f.Partition, first.Partition, slices.Equal) {
			return Merged{}, fmt.Errorf("%s and %s are of different partitions", first.Path, f.Path)
		}
	}
	in.Info.SpecID = first.SpecID
	in.LeastCopied, in.BlocksBudget = cmp.Or(in.LeastCopied, LeastCopied), cmp.Or(in.BlocksBudget, blocksBudget)
	m := &merger{MergeInput: in, part: writers.Part{Tuple: first.Partition, Path: folder(in.Info.Location, first.Path), Key: "sources"}}
	m.options = writers.Options{Info: in.Info, Store: in.Store, Files: in.Files, SortBy: in.SortBy, Now: in.Now}
	if len(in.ZOrder) > 0 {
		m.SortBy, m.options.SortBy = nil, nil
	}
	do := m.join
	if len(m.SortBy)+len(m.ZOrder) > 0 {
		do = m.sort
	}
	if err := do(ctx); err != nil {
		return m.out, err
	}
	return m.out, nil
}

type merger struct {
	MergeInput
	options writers.Options // of what is written
	part    writers.Part
	out     Merged
}

// groups are some row groups, one after the other, of a file.
type groups struct {
	table.File
	from, to int // to: the first that is not meant; -1: all
}

func whole(files []table.File) []groups {
	out := make([]groups, len(files))
	for i, f := range files {
		out[i] = groups{f, 0, -1}
	}
	return out
}

func sized(all []groups) []objects.Sized {
	out := make([]objects.Sized, len(all))
	for i, g := range all {
		out[i] = objects.Sized{URI: g.Path, Size: g.Size}
	}
	return out
}

// decode writes rows anew, reads them again, and compares.
func (m *merger) decode(ctx context.Context, sources []groups, o writers.Options) ([]table.File, error) {
	w, err := writers.New(o)
	if err != nil {
		return nil, err
	}
	defer w.Abort() // of no effect after Finish
	read, b := newRowSum(), batch.New(&batch.Records{}, m.Info.Row)
	part := m.part
	ahead := objects.NewAheadWithin(ctx, m.Store, sized(sources), m.BlocksBudget)
	defer ahead.Stop()
	for _, g := range sources {
		err := m.eachOf(ctx, ahead, g, b, func(b *batch.Batch, at int64) error {
			part.Rows = m.left(part.Rows[:0], m.Deleted[g.Path], b, at)
			read.some(b, part.Rows)
			return w.Append(ctx, b, part)
		})
		if err != nil {
			return nil, err
		}
	}
	files, err := w.Finish(ctx)
	if err != nil {
		return nil, err
	}
	return files, m.compare(ctx, o.Store, read, files)
}

// left lists the rows of a batch that delete files have not removed.
func (m *merger) left(rows []int32, deleted *roaring64.Bitmap, b *batch.Batch, at int64) []int32 {
	for i := range b.Rows {
		if deleted != nil && deleted.Contains(uint64(at)+uint64(i)) {
			m.out.Deleted++
			continue
		}
		rows = append(rows, int32(i))
	}
	return rows
}

// compare reads files again and compares their rows with those that were read.
func (m *merger) compare(ctx context.Context, store objects.Store, read *rowSum, files []table.File) error {
	wrote, b := read.like(), batch.New(&batch.Records{}, m.Info.Row)
	for _, g := range whole(files) {
		err := m.eachOf(ctx, store, g, b, func(b *batch.Batch, _ int64) error {
			wrote.add(b)
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading again what was written: %w", err)
		}
	}
	return m.same(read, wrote)
}

func (m *merger) same(read, wrote *rowSum) error {
	if !wrote.same(read) {
		return fmt.Errorf("the %d rows that were written are not the %d rows of the sources: this is a defect of lakeloader, the table is as it was", wrote.rows, read.rows)
	}
	return nil
}

// eachOf reads rows of a data file into a batch, piece by piece.
func (m *merger) eachOf(ctx context.Context, store objects.Store, source groups, b *batch.Batch, fn func(b *batch.Batch, at int64) error) (err error) {
	f, err := scan.Open(ctx, store, source.Path, source.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	f.Budget(m.BlocksBudget)
	if f.Rows() != source.Rows {
		return fmt.Errorf("%s has %d rows, the table's metadata says %d", source.Path, f.Rows(), source.Rows)
	}
	if source.to < 0 {
		source.to = f.Groups()
	}
	if err := eachInto(ctx, f, b, source.from, source.to, fn); err != nil {
		return fmt.Errorf("%s: %w", source.Path, err)
	}
	return nil
}
