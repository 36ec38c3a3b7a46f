package rewrite

import (
	"context"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// Lister is what is asked of a catalog.
type Lister interface {
	Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error)
}

// Table rewrites, one after the other, the files of a snapshot that may says yes to (see MayHold; nil: all), with position
// deletes honoured. in.Source and in.Deleted are left empty. The change has Add, Remove and Seen; it is empty when there
// is nothing to drop or to change. The result is the sum over all files that were read, its Files are those of change.Add.
func Table(ctx context.Context, c Lister, in Input, snapshot int64, may func(table.File) bool) (ch table.Change, sum Result, err error) {
	if snapshot == 0 {
		return ch, sum, nil // a table that nobody has written to
	}
	files, deletes, err := c.Files(ctx, in.Info.Ident, snapshot)
	if err != nil {
		return ch, sum, fmt.Errorf("listing the files of table %s: %w", in.Info.Ident, err)
	}
	var deleted map[string]*roaring64.Bitmap // read when the first file is
	for _, f := range files {
		if may != nil && !may(f) {
			continue
		}
		if deleted == nil {
			if deleted, err = scan.PositionDeletes(ctx, in.Store, deletes); err != nil {
				return ch, sum, fmt.Errorf("table %s: %w", in.Info.Ident, err)
			}
		}
		in.Source, in.Deleted = f, deleted[f.Path]
		r, err := File(ctx, in)
		if err != nil {
			return table.Change{}, Result{}, fmt.Errorf("table %s: %w", in.Info.Ident, err)
		}
		sum.Kept, sum.Changed, sum.Dropped, sum.Deleted = sum.Kept+r.Kept, sum.Changed+r.Changed, sum.Dropped+r.Dropped, sum.Deleted+r.Deleted
		if !r.Same() {
			ch.Remove, ch.Add = append(ch.Remove, f.Path), append(ch.Add, r.Files...)
		}
	}
	if len(ch.Remove) > 0 {
		ch.Seen, sum.Files = snapshot, ch.Add
	}
	return ch, sum, nil
}
