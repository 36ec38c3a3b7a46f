package writers

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// shell is a Parquet writer with what belongs to it. It can write one file after the other, as long as the encodings stay
// the same: making one costs more than writing a file of few rows with it.
type shell struct {
	parquet *parquet.GenericWriter[any]
	columns []*parquet.ColumnWriter
	feeds   []feed // by leaf
	pages   int64  // bytes that the columns' page buffers may take
	coding  int    // the Writer's when it was made
}

// spareShells are kept for the next files.
const spareShells = 2

// open gives a file its Parquet writer.
func (w *Writer) open(f *file) error {
	w.opened[f] = struct{}{}
	for n := len(w.shells); n > 0; n = len(w.shells) {
		s := w.shells[n-1]
		w.shells = w.shells[:n-1]
		if s.coding == w.coding {
			s.reset(&f.out)
			f.shell, f.base = s, 0
			return nil
		}
	}
	s := &shell{feeds: make([]feed, len(w.leaves)), coding: w.coding}
	for i, l := range w.leaves {
		s.feeds[i].leaf = l
	}
	page := min(w.page, max(minPage, pageBudget/(len(w.leaves)*len(w.opened))))
	s.pages = int64(page) * int64(len(w.leaves))
	config, err := parquet.NewWriterConfig(schemaOf(w.opts.Info.Row, w.encodings, s.feeds), parquet.Compression(w.codec), parquet.PageBufferSize(page),
		parquet.ColumnPageBuffers(w.pool), parquet.DataPageVersion(map[bool]int{false: 1, true: 2}[w.pages == pages2]),
		parquet.DataPageStatistics(false), parquet.CreatedBy("lakeloader", version(), ""), parquet.BloomFilters(w.bloom...),
		&parquet.WriterConfig{DictionaryMaxBytes: min(w.largest, int64(2*page))}, w.sorting())
	if err != nil {
		return fmt.Errorf("settings of %s: %w", f.out.uri, err)
	}
	s.parquet = parquet.NewGenericWriter[any](&f.out, config)
	s.columns = s.parquet.ColumnWriters()
	f.shell = s
	return nil
}

// reset makes the shell ready for another file. parquet-go (v0.32) clears the last file's metadata for that, and with them
// the column paths that they share with the writer: the next file's chunks would have none, and Trino could not read it.
func (s *shell) reset(to io.Writer) {
	for _, g := range s.parquet.File().Metadata().RowGroups {
		for i := range g.Columns {
			g.Columns[i].MetaData.PathInSchema = nil
		}
	}
	s.parquet.Reset(to)
}

// strip takes the Parquet writer from a file that is closed and described.
func (w *Writer) strip(f *file) {
	s := f.shell
	f.shell = nil
	delete(w.opened, f)
	if s.coding != w.coding || len(w.shells) >= spareShells {
		return
	}
	for i := range s.feeds {
		s.feeds[i].nan = 0
	}
	w.shells = append(w.shells, s)
}
