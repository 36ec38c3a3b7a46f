package writers

import (
	"context"
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"
)

// file is a Parquet file being written.
type file struct {
	part    Part // without Rows
	out     sink
	*shell  // nil: all its rows are staged
	staged  []place
	base    int64 // size without the row group being written
	rows    int64 // without staged ones
	touched uint64
	created int64 // Unix milliseconds
	sort    *run  // nil: rows are written as they come
	runs    int

	stagedBytes int64 // in the segments
}

// What a file costs, about, beside what its rows take: by itself, and what its Parquet writer costs for each column.
const (
	fileBytes  = 500
	leafBytes  = 4 << 10
	shellBytes = 40 << 10
	// A finished file is kept until the commit, which makes a manifest's entry of it.
	doneBytes     = 1000
	doneLeafBytes = 600
)

// sink passes bytes on to the object store, which it asks for an upload with the first of them: a file that holds
// little is open only in memory.
type sink struct {
	ctx     context.Context // of the call that writes
	store   objects.Store
	uri     string
	upload  objects.Upload
	written int64
}

func (s *sink) Write(p []byte) (int, error) {
	if s.upload == nil {
		up, err := s.store.Create(s.ctx, s.uri)
		if err != nil {
			return 0, fmt.Errorf("starting %s: %w", s.uri, err)
		}
		s.upload = up
	}
	n, err := s.upload.Write(p)
	s.written += int64(n)
	if err != nil {
		err = fmt.Errorf("writing %s: %w", s.uri, err)
	}
	return n, err
}

// held is how much of what was written is still in memory.
func (s *sink) held() int64 {
	if b, ok := s.upload.(interface{ Buffered() int64 }); ok {
		return b.Buffered()
	}
	return 0
}

func (s *sink) abort() {
	if s.upload != nil {
		s.upload.Abort()
	}
}

// append writes rows of a batch to the columns.
func (f *file) append(w *Writer, b *batch.Batch, rows []int32) error {
	for len(rows) > 0 {
		n := min(len(rows), chunk)
		for i, l := range w.leaves {
			feed := &f.feeds[i]
			feed.bound = w.bound[i]
			marks, err := w.scratch.leaf(feed, b.Root, b.Mem, rows[:n])
			if err != nil {
				return err
			}
			got, err := f.columns[i].WriteRowValues(marks)
			if err != nil {
				return fmt.Errorf("column %s of %s: %w", l.name(), f.out.uri, err)
			}
			if got != n || len(feed.slots) > 0 {
				return fmt.Errorf("column %s of %s: %d of %d rows were taken, %d values left", l.name(), f.out.uri, got, n, len(feed.slots))
			}
			feed.col, feed.mem, feed.slots = nil, nil, nil
		}
		f.rows += int64(n)
		rows = rows[n:]
	}
	return nil
}

// size is how long the file would be if it ended now, rather too large than too small.
func (f *file) size() int64 {
	if f.shell == nil {
		return f.stagedBytes
	}
	size := f.parquet.Size() + f.stagedBytes
	if f.sort != nil {
		if raw := f.sort.bytes(); f.rows > 0 {
			size += min(raw, int64(f.sort.batch.Rows)*(size/f.rows+1))
		} else {
			size += raw
		}
	}
	return size
}

// buffered is the memory that the file takes beside fileBytes and staged rows: what is in it, and half of its page buffers,
// which grow in steps and keep their memory.
func (f *file) buffered() int64 {
	n := f.out.held()
	if f.shell != nil {
		n += f.parquet.Size() - f.out.written + f.pages/2 + shellBytes + leafBytes*int64(len(f.columns))
	}
	if f.sort != nil {
		n += f.sort.bytes()
	}
	return n
}

// frees is how much finishing the file would free.
func (f *file) frees() int64 { return fileBytes + f.buffered() + f.stagedBytes }

// flush ends the row group.
func (f *file) flush() error {
	if err := f.parquet.Flush(); err != nil {
		return fmt.Errorf("ending a row group: %w", err)
	}
	f.base = f.parquet.Size()
	return nil
}

// close writes the footer.
func (f *file) close() error {
	if err := f.parquet.Close(); err != nil {
		return fmt.Errorf("ending %s: %w", f.out.uri, err)
	}
	if f.out.upload == nil {
		return errors.New("a Parquet file without a byte")
	}
	return nil
}

// describe gives what a commit needs to know, from the footer.
func (f *file) describe(w *Writer) table.File {
	meta := f.parquet.File().Metadata()
	out := table.File{
		Path: f.out.uri, Size: f.out.written, Rows: f.rows, SpecID: w.opts.Info.SpecID,
		Partition: f.part.Tuple, CreatedMS: f.created,
	}
	if f.sort != nil && f.runs <= 1 || w.opts.Sorted && len(w.opts.SortBy) > 0 {
		out.SortOrderID = w.opts.Info.SortOrderID
	}
	addMetrics(&out, w.leaves, f.feeds, meta)
	return out
}

// outgrown lists the leaves whose dictionary grew too large in this file.
func outgrown(leaves []*leaf, meta *format.FileMetaData) []int {
	var out []int
	for i := range leaves {
		for _, g := range meta.RowGroups {
			if fellBack(g.Columns[i].MetaData.EncodingStats) {
				out = append(out, i)
				break
			}
		}
	}
	return out
}

// fellBack reports whether a column chunk has both pages with a dictionary and without.
func fellBack(stats []format.PageEncodingStats) bool {
	dict, plain := false, false
	for _, s := range stats {
		if s.PageType == format.DataPage || s.PageType == format.DataPageV2 {
			dict = dict || s.Encoding == format.RLEDictionary
			plain = plain || s.Encoding == format.Plain
		}
	}
	return dict && plain
}

// isDictionary reports whether an encoding is the dictionary encoding.
func isDictionary(e encoding.Encoding) bool { return e.Encoding() == format.RLEDictionary }
