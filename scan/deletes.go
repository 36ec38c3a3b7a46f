package scan

import (
	"context"
	"errors"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/objects"
)

// PositionDeletes reads which rows, by their positions, of which data files other engines have deleted. Rows that equality
// deletes have removed cannot be told: an error.
func PositionDeletes(ctx context.Context, store objects.Store, paths []string) (map[string]*roaring64.Bitmap, error) {
	out := map[string]*roaring64.Bitmap{}
	for _, path := range paths {
		if err := positionDelete(ctx, store, path, out); err != nil {
			return nil, fmt.Errorf("delete file %s: %w", path, err)
		}
	}
	return out, nil
}

func positionDelete(ctx context.Context, store objects.Store, path string, out map[string]*roaring64.Bitmap) (err error) {
	f, err := Open(ctx, store, path, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.root.named("file_path") == nil {
		return errors.New("this is no position delete file, and rows removed by equality deletes cannot be accounted for: compact the table first")
	}
	for g := range f.Groups() {
		names, err := f.Strings(g, "file_path")
		if err != nil {
			return err
		}
		at, err := f.Ints(g, "pos")
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
