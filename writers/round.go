package writers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
	"github.com/parquet-go/parquet-go"
)

// try chooses the encodings, for this and all later files, from the rows of a batch if they are enough.
func (w *Writer) try(b *batch.Batch) error {
	var rows []int32
	for i := 0; i < b.Rows && len(rows) < sampleRows; i++ {
		if b.Fate[i] == batch.Keep {
			rows = append(rows, int32(i))
		}
	}
	if len(rows) < enoughRows {
		return nil
	}
	for i, l := range w.leaves {
		options := candidates(l, w.pages, w.blooms[i])
		if len(options) == 1 {
			continue
		}
		f := feed{bound: w.bound[i], leaf: l}
		if _, err := w.scratch.leaf(&f, b.Root, b.Mem, rows); err != nil {
			return err
		}
		best, err := trial(f, options, w.codec)
		if err != nil {
			return err
		}
		w.encodings[i] = best
	}
	w.tried = true
	return nil
}

// sorting declares in the footer how each row group is sorted.
func (w *Writer) sorting() parquet.WriterOption {
	var columns []parquet.SortingColumn
	for _, s := range w.opts.SortBy {
		for _, l := range w.leaves {
			if l.name() != s.Source {
				continue
			}
			if s.Desc {
				columns = append(columns, parquet.Descending(l.path...))
			} else {
				columns = append(columns, parquet.NullsFirst(parquet.Ascending(l.path...)))
			}
		}
	}
	return parquet.SortingWriterConfig(parquet.SortingColumns(columns...))
}

// pick gives the file with the greatest rank, nil when there is none.
func pick(files map[string]*file, rank func(*file) int64) *file {
	var best *file
	for _, f := range files {
		if best == nil || rank(f) > rank(best) {
			best = f
		}
	}
	return best
}

// Bytes says how much memory the open files hold (somewhat overestimated), and how many bytes of Parquet went to the
// object store in this round.
func (w *Writer) Bytes() (buffered, written int64) {
	written = w.bytes
	for _, f := range w.files {
		buffered += f.buffered()
		written += f.out.written
	}
	return buffered, written
}

// Size says how long the files of this round are: those that are finished, and open ones as if they ended now (rather
// too long than too short).
func (w *Writer) Size() int64 {
	size := w.bytes
	for _, f := range w.files {
		size += f.size()
	}
	return size
}

// FinishLargest finishes the open file that holds most memory and tells how much it held; 0 when no file is open. The
// file is part of the round.
func (w *Writer) FinishLargest(ctx context.Context) (int64, error) {
	if w.err != nil {
		return 0, w.err
	}
	f := pick(w.files, (*file).buffered)
	if f == nil {
		return 0, nil
	}
	held := f.buffered()
	if err := w.finish(ctx, f); err != nil {
		w.err = fmt.Errorf("table %s: %w", w.opts.Info.Ident, err)
		return 0, w.err
	}
	return held, nil
}

// Finish ends the round: it finishes all open files and returns all files of the round, each durable, in the order of
// their paths. After an error nothing of the round may be committed: call Abort.
func (w *Writer) Finish(ctx context.Context) ([]table.File, error) {
	if w.err == nil {
		if err := w.finish(ctx, slices.Collect(maps.Values(w.files))...); err != nil {
			w.err = fmt.Errorf("table %s: %w", w.opts.Info.Ident, err)
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	done := w.done
	slices.SortFunc(done, func(a, b table.File) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	w.done, w.bytes = nil, 0
	return done, nil
}

// Abort ends the round without files: open uploads are dropped. Files that were finished early stay behind as orphans,
// which the cleaning of orphans removes. The Writer can be used again.
func (w *Writer) Abort() {
	for _, f := range w.files {
		f.out.abort()
	}
	clear(w.files)
	w.done, w.bytes, w.err = nil, 0, nil
}

// finish writes the rest of files one after the other, while the object store makes those before durable.
func (w *Writer) finish(ctx context.Context, files ...*file) error {
	slices.SortFunc(files, func(a, b *file) int { return int(a.created - b.created) })
	failed := make([]error, len(files))
	slots := make(chan struct{}, closers)
	var group sync.WaitGroup
	for i, f := range files {
		f.out.ctx = ctx
		if failed[i] = w.close(f); failed[i] != nil {
			break
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := f.out.upload.Commit(ctx); err != nil {
				failed[i] = fmt.Errorf("making %s durable: %w", f.out.uri, err)
			}
		})
	}
	group.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	for _, f := range files {
		meta := f.parquet.File().Metadata()
		for _, i := range outgrown(w.leaves, meta) {
			if isDictionary(w.encodings[i]) {
				w.encodings[i] = &parquet.Plain
			}
		}
		w.done = append(w.done, f.describe(w))
		w.bytes += f.out.written
		delete(w.files, f.part.Key)
	}
	return nil
}

func (w *Writer) close(f *file) error {
	if err := w.sorted(f); err != nil {
		return err
	}
	w.scratch.release()
	return f.close()
}
