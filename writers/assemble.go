package writers

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/lakeloader/lakeloader/table"
)

// Assembler puts row groups of files that a Writer wrote into new files. Their pages are copied byte by byte and not looked
// at: only where they lie is written anew, in the footer and the offset indexes. It is for one goroutine.
type Assembler struct {
	w       *Writer // with the settings; it writes nothing
	expects []byte  // the schema of today's files, encoded
	orders  []format.ColumnOrder
	schema  []format.SchemaElement
	by      string
	buf     []byte
	seed    maphash.Seed
	out     *assembly
	done    []Assembled
}

// Assembled is a finished file.
type Assembled struct {
	table.File
	Pieces []Piece // one for each row group
}

// Piece is where the pages of a row group lie, with their checksum (see Assembler.Sum).
type Piece struct {
	Offset, Length int64
	Sum            uint64
	Rows           int64
}

type assembly struct {
	sink
	created int64
	meta    format.FileMetaData
	columns []format.ColumnIndex
	offsets []format.OffsetIndex
	pieces  []Piece
}

const magic = "PAR1"

// copyBlock is how much is read at once.
const copyBlock = 4 << 20

// NewAssembler needs what New does.
func NewAssembler(opts Options) (*Assembler, error) {
	w, err := New(opts)
	if err != nil {
		return nil, err
	}
	a := &Assembler{w: w, seed: maphash.MakeSeed(), buf: make([]byte, copyBlock)}
	f := &file{}
	if err := w.open(f); err != nil { // for the schema that it would write
		return nil, err
	}
	f.parquet.Reset(io.Discard)
	if err := f.parquet.Close(); err != nil {
		return nil, fmt.Errorf("describing the schema of table %s: %w", opts.Info.Ident, err)
	}
	meta := f.parquet.File().Metadata()
	a.schema, a.orders, a.by = slices.Clone(meta.Schema), slices.Clone(meta.ColumnOrders), meta.CreatedBy
	a.expects, err = encodedSchema(meta)
	return a, err
}

func encodedSchema(meta *format.FileMetaData) ([]byte, error) {
	out, err := thrift.Marshal(new(thrift.CompactProtocol), &format.FileMetaData{Schema: meta.Schema, ColumnOrders: meta.ColumnOrders})
	if err != nil {
		return nil, fmt.Errorf("encoding a schema: %w", err)
	}
	return out, nil
}

// Fits reports whether a row group can be copied: lakeloader has written it, with the columns, types, field ids and compression
// that it would have today, in encodings that readers of the table understand, and with all bloom filters that are wanted.
func (a *Assembler) Fits(s *Source, group int) bool {
	if s.sameAs == nil {
		text, err := encodedSchema(s.meta)
		same := err == nil && bytes.Equal(text, a.expects) && bytes.HasPrefix([]byte(s.meta.CreatedBy), []byte("lakeloader "))
		s.sameAs = &same
	}
	if !*s.sameAs {
		return false
	}
	g := &s.meta.RowGroups[group]
	if _, _, ok := span(g); !ok || len(g.Columns) != len(a.w.leaves) || !s.indexed(group) {
		return false
	}
	for i := range g.Columns {
		m := &g.Columns[i].MetaData
		if m.Codec != a.w.codec.CompressionCodec() || m.BloomFilterOffset > 0 && m.BloomFilterLength <= 0 || a.w.blooms[i] && m.BloomFilterOffset == 0 {
			return false
		}
		if !readable(m, a.w.pages) {
			return false
		}
	}
	return true
}

// readable reports whether a chunk's pages are of a kind that a Writer might write today.
func readable(m *format.ColumnMetaData, v pageVersion) bool {
	if len(m.EncodingStats) == 0 {
		return false
	}
	for _, s := range m.EncodingStats {
		if s.PageType == format.DictionaryPage {
			continue
		}
		if (s.PageType == format.DataPageV2) != (v == pages2) {
			return false
		}
		switch s.Encoding {
		case format.Plain, format.RLEDictionary, format.RLE:
		case format.DeltaBinaryPacked:
			if v == pages1 {
				return false
			}
		case format.DeltaLengthByteArray:
			if v != pages2 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// span is the range of a row group's pages; not ok: there is something else between them.
func span(g *format.RowGroup) (from, length int64, ok bool) {
	end := int64(0)
	for i := range g.Columns {
		m := &g.Columns[i].MetaData
		first := m.DataPageOffset
		if d := m.DictionaryPageOffset; d > 0 {
			first = min(first, d)
		}
		if i == 0 {
			from, end = first, first
		}
		if first != end || m.TotalCompressedSize <= 0 || m.IndexPageOffset != 0 {
			return 0, 0, false
		}
		end += m.TotalCompressedSize
	}
	return from, end - from, from >= int64(len(magic))
}

// Sum is the checksum of bytes.
func (a *Assembler) Sum(r io.Reader) (uint64, error) {
	var h maphash.Hash
	h.SetSeed(a.seed)
	if _, err := io.CopyBuffer(&h, struct{ io.Reader }{r}, a.buf); err != nil {
		return 0, err
	}
	return h.Sum64(), nil
}

// Add appends a row group that fits to the file of a partition; one that has reached its target size is finished before.
func (a *Assembler) Add(ctx context.Context, p Part, s *Source, group int) error {
	if a.out != nil && a.out.written >= int64(a.w.opts.Files.TargetSize) {
		if err := a.finish(ctx, p); err != nil {
			return err
		}
	}
	if a.out == nil {
		a.begin(ctx, p)
		if _, err := a.out.Write([]byte(magic)); err != nil {
			return err
		}
	}
	a.out.ctx = ctx
	if err := a.add(ctx, s, group); err != nil {
		return fmt.Errorf("copying row group %d of %s: %w", group, s.Path, err)
	}
	return nil
}

func (a *Assembler) begin(ctx context.Context, p Part) {
	a.w.named++
	a.out = &assembly{created: a.w.opts.Now().UnixMilli(), sink: sink{ctx: ctx, store: a.w.opts.Store, uri: a.w.uri(p)}}
	a.out.meta = format.FileMetaData{Version: 2, Schema: a.schema, ColumnOrders: a.orders, CreatedBy: a.by}
}

func (a *Assembler) add(ctx context.Context, s *Source, group int) error {
	out := a.out
	g, err := s.group(group)
	if err != nil {
		return err
	}
	from, length, ok := span(g)
	if !ok {
		return errors.New("its pages do not lie together")
	}
	piece := Piece{Offset: out.written, Length: length, Rows: g.NumRows}
	var h maphash.Hash
	h.SetSeed(a.seed)
	for at := from; at < from+length; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := a.buf[:min(int64(len(a.buf)), from+length-at)]
		if err := s.read(b, at); err != nil {
			return err
		}
		if _, err := h.Write(b); err != nil {
			return err
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
		at += int64(len(b))
	}
	piece.Sum = h.Sum64()
	move := piece.Offset - from
	g.FileOffset, g.Ordinal, g.SortingColumns = piece.Offset, int16(len(out.pieces)), nil
	for i := range g.Columns {
		if err := a.move(s, group, i, &g.Columns[i], move); err != nil {
			return err
		}
	}
	out.meta.RowGroups, out.pieces = append(out.meta.RowGroups, *g), append(out.pieces, piece)
	out.meta.NumRows += g.NumRows
	return nil
}

// move says where a chunk lies now, and copies its bloom filter.
func (a *Assembler) move(s *Source, group, i int, c *format.ColumnChunk, by int64) error {
	m := &c.MetaData
	c.FileOffset, c.ColumnIndexOffset, c.ColumnIndexLength, c.OffsetIndexOffset, c.OffsetIndexLength = 0, 0, 0, 0, 0
	m.DataPageOffset += by
	if m.DictionaryPageOffset > 0 {
		m.DictionaryPageOffset += by
	}
	if m.BloomFilterOffset > 0 {
		b := make([]byte, m.BloomFilterLength)
		if err := s.read(b, m.BloomFilterOffset); err != nil {
			return fmt.Errorf("bloom filter: %w", err)
		}
		m.BloomFilterOffset = a.out.written
		if _, err := a.out.Write(b); err != nil {
			return err
		}
	}
	column, offset := s.index(group, i)
	offset.PageLocations = slices.Clone(offset.PageLocations)
	for k := range offset.PageLocations {
		offset.PageLocations[k].Offset += by
	}
	a.out.columns, a.out.offsets = append(a.out.columns, column), append(a.out.offsets, offset)
	return nil
}

// Finish makes the files durable and returns them. nan are the counts of NaN, by field id, over all rows of them.
func (a *Assembler) Finish(ctx context.Context, p Part, nan map[int]int64) ([]Assembled, error) {
	if a.out != nil {
		if err := a.finish(ctx, p); err != nil {
			return nil, err
		}
	}
	done := a.done
	a.done = nil
	for i := range done {
		for id, n := range nan {
			if n == 0 || len(done) == 1 { // else nobody knows which file has them
				done[i].NaNCounts[id] = n
			}
		}
	}
	return done, nil
}

// Abort drops the file that is being written; it is of no effect after Finish.
func (a *Assembler) Abort() {
	if a.out != nil {
		a.out.abort()
		a.out = nil
	}
}

func (a *Assembler) finish(ctx context.Context, p Part) error {
	out := a.out
	out.ctx = ctx
	if err := out.footer(); err != nil {
		return fmt.Errorf("ending %s: %w", out.uri, err)
	}
	if err := out.upload.Commit(ctx); err != nil {
		return fmt.Errorf("making %s durable: %w", out.uri, err)
	}
	f := Assembled{Pieces: out.pieces, File: table.File{Path: out.uri, Size: out.written, Rows: out.meta.NumRows, SpecID: a.w.opts.Info.SpecID, Partition: p.Tuple, CreatedMS: out.created}}
	addMetrics(&f.File, a.w.leaves, nil, &out.meta)
	a.done, a.out = append(a.done, f), nil
	return nil
}

// footer writes the indexes of pages, and what ends a file.
func (o *assembly) footer() error {
	n := len(o.columns) / max(1, len(o.pieces)) // columns
	chunk := func(i int) *format.ColumnChunk { return &o.meta.RowGroups[i/n].Columns[i%n] }
	for i := range o.columns {
		c := chunk(i)
		c.ColumnIndexOffset = o.written
		size, err := o.encode(&o.columns[i])
		if err != nil {
			return err
		}
		c.ColumnIndexLength = int32(size)
	}
	for i := range o.offsets {
		c := chunk(i)
		c.OffsetIndexOffset = o.written
		size, err := o.encode(&o.offsets[i])
		if err != nil {
			return err
		}
		c.OffsetIndexLength = int32(size)
	}
	size, err := o.encode(&o.meta)
	if err != nil {
		return err
	}
	_, err = o.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(size)), magic...))
	return err
}

func (o *assembly) encode(v any) (int, error) {
	b, err := thrift.Marshal(new(thrift.CompactProtocol), v)
	if err != nil {
		return 0, err
	}
	return o.Write(b)
}
