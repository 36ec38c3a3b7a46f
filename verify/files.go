package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// offsets is the set of offsets of one partition that rows of a table have.
type offsets struct {
	set   *roaring64.Bitmap
	dup   *roaring64.Bitmap // those that more than one row has
	files []string          // with such rows
}

func newOffsets() *offsets { return &offsets{set: roaring64.New(), dup: roaring64.New()} }

// add takes in rows [first, next).
func (o *offsets) add(first, next int64) {
	more := roaring64.New()
	more.AddRange(uint64(first), uint64(next))
	if both := roaring64.And(o.set, more); !both.IsEmpty() {
		o.dup.Or(both)
	}
	o.set.Or(more)
}

// namedFiles bounds how many files a message names.
const namedFiles = 10

// find notes a file that has rows [first, next) if some of them are duplicated.
func (o *offsets) find(first, next int64, file string) {
	if len(o.files) == namedFiles || slices.Contains(o.files, file) {
		return
	}
	these := roaring64.New()
	these.AddRange(uint64(first), uint64(next))
	if o.dup.Intersects(these) {
		o.files = append(o.files, file)
	}
}

func (o *offsets) where() string {
	slices.Sort(o.files)
	return " (in " + strings.Join(o.files, ", ") + ")"
}

// Ranges are the runs of a set of offsets.
func Ranges(set *roaring64.Bitmap) []Range {
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

// rowsOf is told of rows [first, next) of a partition in a file.
type rowsOf func(k accountKey, first, next int64, file string)

// files takes in the rows of a snapshot of a table; of gives the set that they belong to. Rows with a value in the column
// marked, if one is named, do not count.
func (v *verifier) files(ctx context.Context, id table.Ident, snapshot int64, marked string, of func(*account) *offsets) error {
	files, deletes, err := v.in.Catalog.Files(ctx, id, snapshot)
	if err != nil {
		return fmt.Errorf("listing the files of table %s: %w", id, err)
	}
	v.report.Files += len(files)
	deleted, err := scan.PositionDeletes(ctx, v.in.Objects, deletes)
	if err != nil {
		return fmt.Errorf("table %s: %w", id, err)
	}
	broken, err := v.each(ctx, files, deleted, marked, func(k accountKey, first, next int64, _ string) { of(v.account(k.Key, k.Epoch)).add(first, next) })
	if err != nil {
		return err
	}
	for _, e := range broken {
		v.problem(Problem{Kind: Unreadable, Table: id.String(), Message: e.Error()})
	}
	for _, a := range v.accounts {
		if of(a).dup.IsEmpty() {
			continue
		}
		// Both places of a duplicated row are known only now: they are looked for once more.
		_, err := v.each(ctx, files, deleted, marked, func(k accountKey, first, next int64, file string) {
			of(v.account(k.Key, k.Epoch)).find(first, next, file)
		})
		return err
	}
	return nil
}

// each passes the rows of files on. broken says which files cannot be read, and why.
func (v *verifier) each(ctx context.Context, files []table.File, deleted map[string]*roaring64.Bitmap, marked string, rows rowsOf) (broken []error, err error) {
	for _, f := range files {
		err := v.file(ctx, f, deleted[f.Path], marked, rows)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, objects.ErrRetry):
			return nil, fmt.Errorf("reading %s: %w", f.Path, err)
		case err != nil:
			broken = append(broken, fmt.Errorf("%s: %w", f.Path, err))
		}
	}
	return broken, nil
}

// file passes on the rows of one data file, but those at deleted positions and marked ones.
func (v *verifier) file(ctx context.Context, f table.File, deleted *roaring64.Bitmap, marked string, rows rowsOf) (err error) {
	p, err := scan.Open(ctx, v.in.Objects, f.Path, f.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
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
		if i := slices.IndexFunc(nums[1], func(off int64) bool { return off < 0 || off == math.MaxInt64 }); i >= 0 {
			return fmt.Errorf("row %d has the offset %d", row+int64(i), nums[1][i])
		}
		left := deleted
		if marked != "" {
			if left, err = withMarked(p, g, marked, row, deleted); err != nil {
				return err
			}
		}
		group(topics, nums, row, left, func(k accountKey, first, next int64) { rows(k, first, next, f.Path) })
		row += int64(len(topics))
	}
	if row != f.Rows {
		return fmt.Errorf("the file has %d rows, the table's metadata says %d", row, f.Rows)
	}
	return nil
}

// withMarked adds the positions of rows that have a value in a column to deleted; row is the position of the group's first.
func withMarked(p *scan.File, g int, column string, row int64, deleted *roaring64.Bitmap) (*roaring64.Bitmap, error) {
	values, err := p.Values(g, column, batch.Prim(batch.Long))
	if err != nil {
		return nil, err
	}
	left := roaring64.New()
	if deleted != nil {
		left.Or(deleted)
	}
	for i, v := range values {
		if v != nil {
			left.Add(uint64(row) + uint64(i))
		}
	}
	return left, nil
}

// group passes on one row group as runs of ascending offsets of one partition. row is the position of its first row.
func group(topics []string, nums [3][]int64, row int64, deleted *roaring64.Bitmap, rows func(k accountKey, first, next int64)) {
	var k accountKey
	var first, next int64
	for i := range topics {
		if deleted != nil && deleted.Contains(uint64(row+int64(i))) {
			continue
		}
		topic, part, off, epoch := topics[i], int32(nums[0][i]), nums[1][i], int32(nums[2][i])
		if off == next && first < next && part == k.Partition && epoch == k.Epoch && topic == k.Topic {
			next++
			continue
		}
		if first < next {
			rows(k, first, next)
		}
		k, first, next = accountKey{Key: table.Key{Topic: topic, Partition: part}, Epoch: epoch}, off, off+1
	}
	if first < next {
		rows(k, first, next)
	}
}
