package lookups

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// lakeTable is a lookup in a table of the lake.
type lakeTable struct {
	k     *keeper
	ident table.Ident
}

// version is the id of the snapshot; a table without one has no rows.
func (l *lakeTable) version(ctx context.Context) (string, error) {
	store, err := l.k.d.Catalog.Open(ctx, l.ident)
	if err != nil {
		return "", fmt.Errorf("table %s: %w", l.ident, err)
	}
	base, err := store.Load(ctx)
	if err != nil {
		return "", fmt.Errorf("table %s: %w", l.ident, err)
	}
	return strconv.FormatInt(base.Snapshot, 10), nil
}

func (l *lakeTable) load(ctx context.Context, version string, into *filler) (string, error) {
	err := l.read(ctx, version, into)
	if err != nil {
		err = fmt.Errorf("table %s, snapshot %s: %w", l.ident, version, err)
	}
	return version, err
}

func (l *lakeTable) read(ctx context.Context, version string, into *filler) error {
	info, err := l.k.d.Catalog.Info(ctx, l.ident)
	if err != nil {
		return err
	}
	row, err := needed(l.k.Config(), info.Row)
	if err != nil {
		return err
	}
	if err := into.rows(row); err != nil {
		return err
	}
	snapshot, err := strconv.ParseInt(version, 10, 64)
	if err != nil || snapshot == 0 {
		return err
	}
	files, deletes, err := l.k.d.Catalog.Files(ctx, l.ident, snapshot)
	if err != nil {
		return err
	}
	slices.SortStableFunc(files, func(a, b table.File) int { return cmp.Compare(a.Sequence, b.Sequence) }) // of rows with one key the newest counts
	gone, err := scan.PositionDeletes(ctx, l.k.d.Objects, deletes)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := l.file(ctx, f.Path, f.Size, row, into, gone[f.Path]); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// Rows that are added at once are put while nobody can join: there must not be too many of them.
const (
	mostAdded      = 200_000
	mostAddedBytes = 32 << 20
)

// more reads the files that were added since a snapshot, if there were only such.
func (l *lakeTable) more(ctx context.Context, last, version string, into *filler) (rows []staged, ok bool, err error) {
	since, err := strconv.ParseInt(last, 10, 64)
	if err != nil || since == 0 {
		return nil, false, err
	}
	until, err := strconv.ParseInt(version, 10, 64)
	if err != nil || until == 0 {
		return nil, false, err
	}
	changed, err := l.k.d.Catalog.Changed(ctx, l.ident, since, until)
	if err != nil {
		return nil, false, fmt.Errorf("table %s: what was changed from snapshot %s to %s: %w", l.ident, last, version, err)
	}
	added, size := int64(0), int64(0)
	for _, f := range changed.Files {
		if f.Removed || f.Deletes {
			return nil, false, nil
		}
		added, size = added+f.Rows, size+f.Size
	}
	if !changed.Known || added > mostAdded || size > mostAddedBytes {
		return nil, false, nil
	}
	info, err := l.k.d.Catalog.Info(ctx, l.ident)
	if err != nil {
		return nil, false, err
	}
	row, err := needed(l.k.Config(), info.Row)
	if err != nil {
		return nil, false, err
	}
	if err := into.rows(row); err != nil {
		return nil, false, err
	}
	for _, f := range slices.Backward(changed.Files) { // the oldest first
		if rows, err = l.added(ctx, f.File, row, rows); err != nil {
			return nil, false, fmt.Errorf("table %s, snapshot %s: %s: %w", l.ident, version, f.Path, err)
		}
	}
	return rows, true, nil
}

// added appends the rows of a file.
func (l *lakeTable) added(ctx context.Context, f table.File, row *batch.Type, rows []staged) (_ []staged, err error) {
	file, err := scan.Open(ctx, l.k.d.Objects, f.Path, f.Size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	next := func() *batch.Batch { return batch.New(&batch.Records{}, row) }
	err = eachBatch(file, row, next, nil, func(b *batch.Batch, where func(int32) string) error {
		_, own, err := cleansed(l.k.Config(), row) // the columns that steps make belong to a program
		if err != nil {
			return err
		}
		rows = append(rows, staged{b, func(record int32) string { return f.Path + ": " + where(record) }})
		return cleanseAll(own, b, where)
	})
	return rows, err
}

func (l *lakeTable) file(ctx context.Context, path string, size int64, row *batch.Type, into *filler, gone *roaring64.Bitmap) (err error) {
	f, err := scan.Open(ctx, l.k.d.Objects, path, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readParquet(f, row, into, gone)
}

// readParquet reads the rows of a file, but for those that are gone.
func readParquet(f *scan.File, row *batch.Type, into *filler, gone *roaring64.Bitmap) error {
	b := batch.New(&batch.Records{}, row)
	root := b.Root
	again := func() *batch.Batch {
		b.Root = root
		return b
	}
	return eachBatch(f, row, again, gone, into.add)
}

// eachBatch reads a file into batches that next gives it.
func eachBatch(f *scan.File, row *batch.Type, next func() *batch.Batch, gone *roaring64.Bitmap, do func(b *batch.Batch, where func(record int32) string) error) (err error) {
	rows, err := f.Batches(row)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		b, first := next(), rows.Position()
		err := rows.Next(b, rowsAtOnce)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := 0; gone != nil && i < b.Rows; i++ {
			if gone.Contains(uint64(first) + uint64(i)) {
				b.Fate[i] = batch.Filtered
			}
		}
		if err := do(b, func(record int32) string { return fmt.Sprintf("row %d", first+int64(record)) }); err != nil {
			return err
		}
	}
}
