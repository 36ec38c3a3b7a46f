package writers

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/lakeloader/lakeloader/objects"
)

// Source is a Parquet file whose row groups may be copied. The caller must Close it.
type Source struct {
	Path   string
	r      objects.Reader
	file   *parquet.File
	meta   *format.FileMetaData
	sameAs *bool // whether its schema is the Assembler's
}

// OpenSource reads the footer and the indexes of pages of a file.
func OpenSource(ctx context.Context, store objects.Store, uri string) (*Source, error) {
	r, err := store.Open(ctx, uri)
	if err != nil {
		return nil, err
	}
	s := &Source{Path: uri, r: r}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no readable Parquet file: %w", uri, err), r.Close())
	}
	return s, nil
}

// open calls into the Parquet library, which may panic on a damaged file. That is no reason for the process to end.
func (s *Source) open() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	if s.file, err = parquet.OpenFile(s.r, s.r.Size(), parquet.SkipBloomFilters(true)); err != nil {
		return err
	}
	s.meta = s.file.Metadata()
	return nil
}

// Close releases the file.
func (s *Source) Close() error { return s.r.Close() }

// Groups is the number of row groups.
func (s *Source) Groups() int { return len(s.meta.RowGroups) }

// Group gives the rows of a row group, and the size of its pages as they lie in the file.
func (s *Source) Group(i int) (rows, size int64) {
	g := &s.meta.RowGroups[i]
	for k := range g.Columns {
		size += g.Columns[k].MetaData.TotalCompressedSize
	}
	return g.NumRows, size
}

// Section reads a range of the file.
func (s *Source) Section(offset, length int64) io.Reader {
	return io.NewSectionReader(s.r, offset, length)
}

// group gives a copy of a row group's metadata.
func (s *Source) group(i int) (*format.RowGroup, error) {
	b, err := thrift.Marshal(new(thrift.CompactProtocol), &s.meta.RowGroups[i])
	if err != nil {
		return nil, err
	}
	g := &format.RowGroup{}
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), b, g); err != nil {
		return nil, err
	}
	return g, nil
}

// indexed reports whether all columns of a row group have an index of their pages.
func (s *Source) indexed(group int) bool {
	g := &s.meta.RowGroups[group]
	for i := range g.Columns {
		if g.Columns[i].ColumnIndexOffset == 0 || g.Columns[i].OffsetIndexOffset == 0 {
			return false
		}
	}
	return (group+1)*len(g.Columns) <= len(s.file.ColumnIndexes()) && len(s.file.OffsetIndexes()) == len(s.file.ColumnIndexes())
}

func (s *Source) index(group, column int) (format.ColumnIndex, format.OffsetIndex) {
	at := group*len(s.meta.RowGroups[group].Columns) + column
	return s.file.ColumnIndexes()[at], s.file.OffsetIndexes()[at]
}

func (s *Source) read(b []byte, at int64) error {
	if n, err := s.r.ReadAt(b, at); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("reading %d bytes at %d: %w", len(b), at, err)
	}
	return nil
}
