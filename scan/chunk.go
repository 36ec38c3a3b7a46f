package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/parquet-go/parquet-go/format"

	"github.com/lakeloader/lakeloader/batch"
)

// chunk decodes a column chunk piece by piece, in the encodings that writers use mostly. The Parquet library does so too, but
// it takes twice as long, allocates for each piece, and does not tell which entry of the dictionary a value is, so that each text
// has to be looked at. What is not known here is left to it: see leaf.handOver.
type chunk struct {
	pages
	kind     parquet.Type
	length   int // of values of a fixed length
	rep, def int
	left     int64 // entries of pages that were not begun
	given    int64 // entries that were decoded
	entries  int   // of the page that were not decoded
	reps     hybrid
	defs     hybrid
	encoding format.Encoding
	plain    []byte // the rest of the page's values
	bit      uint   // of plain booleans
	codes    hybrid
	deltas   deltas
	dict     dictionary
}

// dictionary is the one of a column chunk.
type dictionary struct {
	n       int
	int32s  []int32
	int64s  []int64
	floats  []float32
	doubles []float64
	mem     []byte
	texts   []batch.View // in mem
	// Where the texts lie in the arena that is filled: those whose mark is the present one.
	views []batch.View
	marks []uint32
	mark  uint32
}

// plainDictionary is what old programs call a dictionary, and a page with numbers in it.
const plainDictionary format.Encoding = 2

// errForeign is a page in an encoding that is not decoded here.
var errForeign = errors.New("the page is left to the Parquet library")

// open begins a column chunk, if it is one to be decoded here.
func (c *chunk) open(f *File, g *file.RowGroupReader, index int) bool {
	m, err := g.MetaData().ColumnChunk(index)
	if err != nil || m.CryptoMetadata() != nil || !decompresses(m.Compression()) || f.p.MetaData().WriterVersion().LessThan(metadata.Parquet816FixedVersion) {
		return false
	}
	from, size := m.DataPageOffset(), m.TotalCompressedSize()
	if d := m.DictionaryPageOffset(); m.HasDictionaryPage() && d > 0 && d < from {
		from = d
	}
	if from < 0 || size < 0 || size > f.r.Size()-from {
		return false // the library says what is wrong
	}
	column := f.p.MetaData().Schema.Column(index)
	c.kind, c.length = column.PhysicalType(), column.TypeLength()
	c.rep, c.def = int(column.MaxRepetitionLevel()), int(column.MaxDefinitionLevel())
	c.left, c.given, c.entries, c.dict.n = m.NumValues(), 0, 0, -1
	c.pages.open(f.r, from, from+size, int(f.props.BufferSize), m.Compression())
	return c.kind != parquet.Types.Int96
}

// decode reads entries of one page into a leaf: their levels, where the column has any, and the values of those that have one. It
// returns 0 after the last.
func (c *chunk) decode(l *leaf) (entries, values int, err error) {
	for c.entries == 0 {
		if c.left <= 0 {
			return 0, 0, nil
		}
		if err := c.nextPage(); err != nil {
			return 0, 0, err
		}
	}
	n := min(valuesAtOnce, c.entries)
	if c.rep > 0 {
		if err := readHybrid(&c.reps, l.rep16[:n]); err != nil {
			return 0, 0, err
		}
	}
	values = n
	if c.def > 0 {
		if err := readHybrid(&c.defs, l.def16[:n]); err != nil {
			return 0, 0, err
		}
		values = 0
		for _, d := range l.def16[:n] {
			if int(d) == c.def {
				values++
			}
		}
	}
	if err := c.decodeValues(l, values); err != nil {
		return 0, 0, err
	}
	c.entries -= n
	c.given += int64(n)
	return n, values, nil
}

func (c *chunk) nextPage() error {
	h, b, err := c.page()
	if err != nil {
		return err
	}
	return c.enter(h, b)
}

// page reads a page, which must be there.
func (c *chunk) page() (*format.PageHeader, []byte, error) {
	h, b, err := c.next()
	if errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("%w: a column chunk ends before its values", errDamaged)
	}
	return h, b, err
}

// enter begins a page.
func (c *chunk) enter(h *format.PageHeader, b []byte) (err error) {
	switch h.Type {
	case format.DictionaryPage:
		return c.readDictionary(h.DictionaryPageHeader.V, b)
	case format.DataPage:
		d := h.DataPageHeader.V
		if c.rep > 0 && d.RepetitionLevelEncoding != format.RLE || c.def > 0 && d.DefinitionLevelEncoding != format.RLE {
			return errForeign
		}
		if b, err = c.whole(b, 0, true); err != nil {
			return err
		}
		if c.rep > 0 {
			if b, err = levels(&c.reps, b, c.rep); err != nil {
				return err
			}
		}
		if c.def > 0 {
			if b, err = levels(&c.defs, b, c.def); err != nil {
				return err
			}
		}
		return c.begin(int(d.NumValues), d.Encoding, b)
	case format.DataPageV2:
		d := h.DataPageHeaderV2.V
		rep, def := int(d.RepetitionLevelsByteLength), int(d.DefinitionLevelsByteLength)
		if rep < 0 || def < 0 {
			return fmt.Errorf("%w: a page's levels have %d and %d bytes", errDamaged, rep, def)
		}
		if b, err = c.whole(b, rep+def, !d.IsCompressed.Valid || d.IsCompressed.V); err != nil {
			return err
		}
		if rep+def > len(b) {
			return fmt.Errorf("%w: a page's levels have %d and %d bytes", errDamaged, rep, def)
		}
		if err := errors.Join(c.reps.open(b[:rep], width(c.rep)), c.defs.open(b[rep:rep+def], width(c.def))); err != nil {
			return err
		}
		return c.begin(int(d.NumValues), d.Encoding, b[rep+def:])
	}
	return nil // an index, or something of the future
}

// width is how many bits a level has.
func width(most int) uint { return uint(bits.Len(uint(most))) }

// levels cuts levels, whose length stands before them, off a page.
func levels(h *hybrid, b []byte, most int) ([]byte, error) {
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return nil, fmt.Errorf("%w: a page ends within its levels", errDamaged)
	}
	end := 4 + int(binary.LittleEndian.Uint32(b))
	return b[end:], h.open(b[4:end], width(most))
}

// begin begins the values of a page.
func (c *chunk) begin(entries int, encoding format.Encoding, b []byte) error {
	if entries < 0 {
		return fmt.Errorf("%w: a page has %d values", errDamaged, entries)
	}
	size := map[parquet.Type]uint{parquet.Types.Int32: 32, parquet.Types.Int64: 64}[c.kind]
	switch {
	case encoding == format.Plain:
		c.plain, c.bit = b, 0
	case encoding == format.RLEDictionary || encoding == plainDictionary:
		if c.dict.n < 0 {
			return fmt.Errorf("%w: a page refers to a dictionary that is not there", errDamaged)
		}
		encoding = format.RLEDictionary
		w := uint(0)
		if len(b) > 0 { // else there are only nulls
			w, b = uint(b[0]), b[1:]
		}
		if err := c.codes.open(b, w); err != nil {
			return err
		}
	case encoding == format.DeltaBinaryPacked && size > 0:
		if err := c.deltas.open(b, size); err != nil {
			return err
		}
	default:
		return errForeign
	}
	c.encoding, c.entries = encoding, entries
	c.left -= int64(entries)
	return nil
}

// decodeValues has the next n values in the leaf.
func (c *chunk) decodeValues(l *leaf, n int) (err error) {
	l.form = inSpans
	switch c.encoding {
	case format.RLEDictionary:
		codes := room(&l.codes)[:n]
		if err := readHybrid(&c.codes, codes); err != nil {
			return err
		}
		return c.dict.look(l, c.kind, codes)
	case format.DeltaBinaryPacked:
		if c.kind == parquet.Types.Int32 {
			return readDeltas(&c.deltas, room(&l.int32s)[:n])
		}
		return readDeltas(&c.deltas, room(&l.int64s)[:n])
	}
	switch c.kind {
	case parquet.Types.Boolean:
		if int(c.bit)+n > 8*len(c.plain) {
			return errShort
		}
		for i := range room(&l.bools)[:n] {
			l.bools[i] = c.plain[c.bit/8]>>(c.bit%8)&1 != 0
			c.bit++
		}
	case parquet.Types.Int32:
		c.plain, err = int32s(room(&l.int32s)[:n], c.plain)
	case parquet.Types.Int64:
		c.plain, err = int64s(room(&l.int64s)[:n], c.plain)
	case parquet.Types.Float:
		c.plain, err = floats(room(&l.floats)[:n], c.plain)
	case parquet.Types.Double:
		c.plain, err = doubles(room(&l.doubles)[:n], c.plain)
	default:
		l.spanned = c.plain
		c.plain, err = views(room(&l.spans)[:n], c.plain, c.fixed())
	}
	return err
}

// fixed is the length of each value; negative: it stands before each.
func (c *chunk) fixed() int {
	if c.kind == parquet.Types.ByteArray {
		return -1
	}
	return c.length
}

func (c *chunk) readDictionary(h format.DictionaryPageHeader, b []byte) error {
	d := &c.dict
	if d.n >= 0 || h.Encoding != format.Plain && h.Encoding != plainDictionary {
		return fmt.Errorf("%w: it has two dictionaries, or one that is encoded", errDamaged)
	}
	b, err := c.whole(b, 0, true)
	if err != nil {
		return err
	}
	n := int(h.NumValues)
	if n < 0 || n > len(b) {
		return fmt.Errorf("%w: a dictionary of %d bytes has %d values", errDamaged, len(b), n)
	}
	d.n = n
	switch c.kind {
	case parquet.Types.Int32:
		d.int32s = resize(d.int32s, n)
		_, err = int32s(d.int32s, b)
	case parquet.Types.Int64:
		d.int64s = resize(d.int64s, n)
		_, err = int64s(d.int64s, b)
	case parquet.Types.Float:
		d.floats = resize(d.floats, n)
		_, err = floats(d.floats, b)
	case parquet.Types.Double:
		d.doubles = resize(d.doubles, n)
		_, err = doubles(d.doubles, b)
	case parquet.Types.Boolean:
		return errForeign
	default:
		d.mem = append(d.mem[:0], b...)
		d.texts, d.views, d.marks = resize(d.texts, n), resize(d.views, n), resize(d.marks, n)
		clear(d.marks)
		d.mark = 1
		_, err = views(d.texts, d.mem, c.fixed())
	}
	return err
}

// forget says that an arena is filled anew.
func (d *dictionary) forget() {
	if d.mark++; d.mark == 0 {
		clear(d.marks)
		d.mark = 1
	}
}

// look looks up values by their numbers; texts are left to leaf.views.
func (d *dictionary) look(l *leaf, kind parquet.Type, codes []int32) error {
	for _, k := range codes {
		if uint(k) >= uint(d.n) {
			return fmt.Errorf("%w: a dictionary of %d values has none of number %d", errDamaged, d.n, k)
		}
	}
	switch kind {
	case parquet.Types.Int32:
		pick(room(&l.int32s), d.int32s, codes)
	case parquet.Types.Int64:
		pick(room(&l.int64s), d.int64s, codes)
	case parquet.Types.Float:
		pick(room(&l.floats), d.floats, codes)
	case parquet.Types.Double:
		pick(room(&l.doubles), d.doubles, codes)
	default:
		l.form = inDictionary
	}
	return nil
}

func pick[T any](to, from []T, codes []int32) {
	for i, k := range codes {
		to[i] = from[k]
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

var errShort = fmt.Errorf("%w: a page ends before its values", errDamaged)

func int32s(to []int32, b []byte) ([]byte, error) {
	if len(b) < 4*len(to) {
		return nil, errShort
	}
	for i := range to {
		to[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return b[4*len(to):], nil
}

func int64s(to []int64, b []byte) ([]byte, error) {
	if len(b) < 8*len(to) {
		return nil, errShort
	}
	for i := range to {
		to[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return b[8*len(to):], nil
}

func floats(to []float32, b []byte) ([]byte, error) {
	if len(b) < 4*len(to) {
		return nil, errShort
	}
	for i := range to {
		to[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return b[4*len(to):], nil
}

func doubles(to []float64, b []byte) ([]byte, error) {
	if len(b) < 8*len(to) {
		return nil, errShort
	}
	for i := range to {
		to[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return b[8*len(to):], nil
}

// views finds texts: their length stands before each unless all have the same.
func views(to []batch.View, b []byte, length int) ([]byte, error) {
	at := 0
	for i := range to {
		n := length
		if length < 0 {
			if len(b)-at < 4 {
				return nil, errShort
			}
			n = int(binary.LittleEndian.Uint32(b[at:]))
			at += 4
		}
		if n > len(b)-at {
			return nil, errShort
		}
		to[i] = batch.View{Off: uint32(at), Len: uint32(n)}
		at += n
	}
	return b[at:], nil
}
