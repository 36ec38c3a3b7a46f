package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// offsets is the set of offsets of one partition that rows of a table have.
type offsets struct {
	set   *roaring64.Bitmap
	dup   *roaring64.Bitmap // those that more than one row has
	files []string          // where a second row was met
}

func newOffsets() *offsets { return &offsets{set: roaring64.New(), dup: roaring64.New()} }

// add takes in rows [first, next) of a file.
func (o *offsets) add(first, next int64, file string) {
	more := roaring64.New()
	more.AddRange(uint64(first), uint64(next))
	if both := roaring64.And(o.set, more); !both.IsEmpty() {
		o.dup.Or(both)
		if !slices.Contains(o.files, file) {
			o.files = append(o.files, file)
		}
	}
	o.set.Or(more)
}

func (o *offsets) where() string {
	if len(o.files) == 0 {
		return ""
	}
	return fmt.Sprintf(" (again in %s)", o.files[0])
}

func ranges(set *roaring64.Bitmap) []Range {
	var rs []Range
	for it := set.Iterator(); it.HasNext(); {
		v := int64(it.Next())
		if n := len(rs); n > 0 && rs[n-1].Next == v {
			rs[n-1].Next++
		} else {
			rs = append(rs, Range{v, v + 1})
		}
	}
	return rs
}

// files takes in the rows of a snapshot of a table.
func (v *verifier) files(ctx context.Context, id table.Ident, snapshot int64, set func(*account) *offsets) error {
	files, deletes, err := v.in.Catalog.Files(ctx, id, snapshot)
	if err != nil {
		return fmt.Errorf("listing the files of table %s: %w", id, err)
	}
	v.report.Files += len(files)
	deleted, err := v.positionDeletes(ctx, deletes)
	if err != nil {
		return fmt.Errorf("table %s: %w", id, err)
	}
	for _, f := range files {
		err := v.file(ctx, f, deleted[f.Path], set)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, objects.ErrRetry) {
			return fmt.Errorf("reading %s: %w", f.Path, err)
		}
		if err != nil {
			v.problem(Problem{Kind: Unreadable, Table: id.String(), Message: fmt.Sprintf("%s: %v", f.Path, err)})
		}
	}
	return nil
}

// file takes in the rows of one data file, but those at deleted positions.
func (v *verifier) file(ctx context.Context, f table.File, deleted *roaring64.Bitmap, set func(*account) *offsets) (err error) {
	p, err := scan.Open(ctx, v.in.Objects, f.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if p.Rows() != f.Rows {
		return fmt.Errorf("the file has %d rows, the table's metadata says %d", p.Rows(), f.Rows)
	}
	row := int64(0)
	for g := range p.Groups() {
		topics, err := p.Strings(g, pipeline.ColumnTopic)
		if err != nil {
			return err
		}
		var nums [3][]int64
		for i, name := range []string{pipeline.ColumnPartition, pipeline.ColumnOffset, pipeline.ColumnEpoch} {
			if nums[i], err = p.Ints(g, name); err != nil {
				return err
			}
			if len(nums[i]) != len(topics) {
				return fmt.Errorf("the audit columns have %d and %d values", len(topics), len(nums[i]))
			}
		}
		v.group(f.Path, topics, nums, row, deleted, set)
		row += int64(len(topics))
	}
	return nil
}

// group takes in one row group as runs of ascending offsets of one partition.
func (v *verifier) group(path string, topics []string, nums [3][]int64, row int64, deleted *roaring64.Bitmap, set func(*account) *offsets) {
	var key accountKey
	var o *offsets
	var first, next int64
	for i := range topics {
		if deleted != nil && deleted.Contains(uint64(row+int64(i))) {
			continue
		}
		topic, part, off, epoch := topics[i], int32(nums[0][i]), nums[1][i], int32(nums[2][i])
		if o != nil && off == next && part == key.Partition && epoch == key.epoch && topic == key.Topic {
			next++
			continue
		}
		if o != nil {
			o.add(first, next, path)
		}
		key = accountKey{table.Key{Topic: topic, Partition: part}, epoch}
		o, first, next = set(v.account(key.Key, epoch)), off, off+1
	}
	if o != nil {
		o.add(first, next, path)
	}
}

// positionDeletes reads which rows of which files other engines have deleted.
func (v *verifier) positionDeletes(ctx context.Context, paths []string) (map[string]*roaring64.Bitmap, error) {
	out := map[string]*roaring64.Bitmap{}
	for _, path := range paths {
		if err := v.positionDelete(ctx, path, out); err != nil {
			return nil, fmt.Errorf("delete file %s: %w", path, err)
		}
	}
	return out, nil
}

func (v *verifier) positionDelete(ctx context.Context, path string, out map[string]*roaring64.Bitmap) (err error) {
	p, err := scan.Open(ctx, v.in.Objects, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for g := range p.Groups() {
		names, err := p.Strings(g, "file_path")
		if err != nil {
			return fmt.Errorf("this is no position delete file, and rows removed by equality deletes cannot be accounted for: compact the table first: %w", err)
		}
		at, err := p.Ints(g, "pos")
		if err != nil {
			return err
		}
		if len(at) != len(names) {
			return fmt.Errorf("%d files and %d positions", len(names), len(at))
		}
		for i, name := range names {
			if out[name] == nil {
				out[name] = roaring64.New()
			}
			out[name].Add(uint64(at[i]))
		}
	}
	return nil
}
