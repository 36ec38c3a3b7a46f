package writers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

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
	w.coding++
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

// Held is the memory that a round takes, bytes, somewhat overestimated.
type Held struct {
	Open     int64 // rows and pages of open files
	Uploads  int64 // finished files on their way to the object store
	Finished int64 // what is known of finished files, with what a commit makes of it
}

// Held says what the round holds.
func (w *Writer) Held() Held {
	h := Held{Open: w.staged.memory() + int64(len(w.files))*fileBytes, Finished: int64(len(w.done)) * (doneBytes + doneLeafBytes*int64(len(w.leaves)))}
	for f := range w.opened { // the others hold nothing else
		h.Open += f.buffered()
	}
	for _, s := range w.shells {
		h.Open += s.pages / 2
	}
	_, h.Uploads, _ = w.up.state()
	return h
}

// Size says how long the files of this round are: those that are finished, and open ones as if they ended now (rather
// too long than too short).
func (w *Writer) Size() int64 {
	size := w.bytes + w.staged.waiting
	for f := range w.opened {
		size += f.size() - f.stagedBytes
	}
	return size
}

// Shrink finishes open files, those that hold most first, until the open ones hold at most that many bytes or as much is on
// its way to the object store as may be at once. It does not wait for the store. The files are part of the round.
func (w *Writer) Shrink(ctx context.Context, bytes int64) error {
	if w.err != nil {
		return w.err
	}
	if _, _, err := w.up.state(); err != nil {
		return w.broken(err)
	}
	excess := w.Held().Open - bytes
	if excess <= 0 {
		return nil
	}
	files := slices.Collect(maps.Values(w.files))
	if bytes > 0 { // else all of them, and their order does not matter
		slices.SortFunc(files, func(a, b *file) int { return cmp.Compare(b.frees(), a.frees()) })
	}
	for _, f := range files {
		if n, held, _ := w.up.state(); excess <= 0 || n >= uploads || held >= uploadBytes {
			break
		}
		excess -= f.frees()
		if err := w.finish(ctx, f); err != nil {
			return w.broken(err)
		}
	}
	w.spare()
	return nil
}

// spare lets go of what is kept for files to come.
func (w *Writer) spare() {
	w.shells, w.staged.spare = nil, nil
	if len(w.files) == 0 {
		w.staged = newStaging()
	}
}

// broken ends the round: nothing of it may be committed.
func (w *Writer) broken(err error) error {
	w.err = fmt.Errorf("table %s: %w", w.opts.Info.Ident, err)
	return w.err
}

// Pending tells how many files of the round are open, and how many on their way to the object store.
func (w *Writer) Pending() (open, uploading int) {
	n, _, _ := w.up.state()
	return len(w.files), n
}

// Wait returns when half of what is on its way to the object store is durable, or the context ends; the error is that of a
// file that could not be made durable.
func (w *Writer) Wait(ctx context.Context) error {
	if n, _, _ := w.up.state(); n > 0 && w.err == nil {
		if err := w.up.wait(ctx, n/2, math.MaxInt64); err != nil && ctx.Err() == nil {
			return w.broken(err)
		}
	}
	return w.err
}

// Finish ends the round: it finishes all open files and returns all files of the round, each durable, in the order of
// their paths. After an error nothing of the round may be committed: call Abort.
func (w *Writer) Finish(ctx context.Context) ([]table.File, error) {
	if w.err == nil {
		if err := w.finishAll(ctx); err != nil {
			return nil, w.broken(err)
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	done := w.done
	w.spare() // a pause may follow, in which others need the memory
	slices.SortFunc(done, func(a, b table.File) int { return strings.Compare(a.Path, b.Path) })
	w.done, w.bytes = nil, 0
	return done, nil
}

// finishAll writes the rest of files one after the other, while the object store makes those before durable.
func (w *Writer) finishAll(ctx context.Context) error {
	for _, f := range slices.SortedFunc(maps.Values(w.files), func(a, b *file) int { return int(a.created - b.created) }) {
		if err := w.up.wait(ctx, uploads-1, uploadBytes); err != nil {
			return err
		}
		if err := w.finish(ctx, f); err != nil {
			return err
		}
	}
	return w.up.wait(ctx, 0, 0)
}

// Abort ends the round without files: open uploads are dropped. Files that were finished early stay behind as orphans,
// which the cleaning of orphans removes. The Writer can be used again.
func (w *Writer) Abort() {
	w.up.abort()
	for _, f := range w.files {
		f.out.abort()
	}
	clear(w.files)
	clear(w.opened)
	w.up, w.staged, w.shells = newUploading(), newStaging(), nil
	w.done, w.bytes, w.err = nil, 0, nil
}

// finish ends a file and begins to make it durable.
func (w *Writer) finish(ctx context.Context, f *file) error {
	f.out.ctx = ctx
	if err := w.close(f); err != nil {
		return err
	}
	for _, i := range outgrown(w.leaves, f.parquet.File().Metadata()) {
		if isDictionary(w.encodings[i]) {
			w.encodings[i] = &parquet.Plain
			w.coding++
		}
	}
	w.done = append(w.done, f.describe(w))
	w.bytes += f.out.written
	delete(w.files, f.part.Key)
	w.strip(f)
	f.sort, f.staged = nil, nil
	w.up.start(ctx, f)
	return nil
}

func (w *Writer) close(f *file) error {
	if err := w.unstage(f); err != nil {
		return err
	}
	if err := w.sorted(f); err != nil {
		return err
	}
	w.scratch.release()
	return f.close()
}
