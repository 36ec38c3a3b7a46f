package lookups

import (
	"context"
	"errors"
	"fmt"
	"io"
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

func (l *lakeTable) file(ctx context.Context, path string, size int64, row *batch.Type, into *filler, gone *roaring64.Bitmap) (err error) {
	f, err := scan.Open(ctx, l.k.d.Objects, path, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readParquet(f, row, into, gone)
}

// readParquet reads the rows of a file, but for those that are gone.
func readParquet(f *scan.File, row *batch.Type, into *filler, gone *roaring64.Bitmap) (err error) {
	rows, err := f.Batches(row)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	b := batch.New(&batch.Records{}, row)
	for {
		root, first := b.Root, rows.Position()
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
		if err := into.add(b, func(record int32) string { return fmt.Sprintf("row %d", first+int64(record)) }); err != nil {
			return err
		}
		b.Root = root
	}
}
