package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/lakeloader/lakeloader/batch"
)

// valuesAtOnce is how many values of a column are decoded at once.
const valuesAtOnce = 512

// leaf is a Parquet column that is read, with the values of the open row group that were not taken yet.
type leaf struct {
	index, rep, def int
	name            string
	conv            conversion
	node            *node // whose values it holds; nil: only its levels are wanted
	keep            bool  // its levels are kept

	chunk chunk
	own   bool // the open chunk is decoded by chunk, not by r
	form  form // of texts

	r         file.ColumnChunkReader
	group     *file.RowGroupReader
	rep16     [valuesAtOnce]int16 // of the entries from next to end, which were not taken yet
	def16     [valuesAtOnce]int16
	next, end int
	value     int // of the next entry that has one, in one of:
	bools     []bool
	int32s    []int32
	int64s    []int64
	floats    []float32
	doubles   []float64
	bytes     []parquet.ByteArray
	fixed     []parquet.FixedLenByteArray
	spanned   []byte       // what spans are of
	spans     []batch.View // ascending
	codes     []int32      // in the chunk's dictionary

	// Of the rows that were taken last.
	reps, defs []uint8
	last       batch.View // of the value before, whose bytes equal ones share
	recent     batch.Recent
}

// form says where the texts or bytes of a leaf are.
type form uint8

const (
	inSlices     form = iota // in bytes or fixed
	inSpans                  // in spanned
	inDictionary             // in the chunk's dictionary
)

func (l *leaf) open(f *File, group *file.RowGroupReader) (err error) {
	l.next, l.end, l.form, l.group = 0, 0, inSlices, group
	if l.own = l.chunk.open(f, group, l.index); l.own {
		return nil
	}
	l.r, err = group.Column(l.index)
	return err
}

// handOver has the Parquet library read the rest of a chunk.
func (l *leaf) handOver() (err error) {
	l.own, l.form = false, inSlices
	if l.r, err = l.group.Column(l.index); err != nil {
		return err
	}
	for skip := l.chunk.given; skip > 0; {
		l.next, l.end = 0, 0
		if err := l.more(); err != nil {
			return err
		}
		skip -= int64(l.end)
	}
	l.next, l.end = 0, 0
	return nil
}

func (l *leaf) close() error {
	l.next, l.end, l.own, l.group = 0, 0, false, nil
	if l.r == nil {
		return nil
	}
	r := l.r
	l.r = nil
	return r.Close()
}

// more makes next an entry; io.EOF when there is none.
func (l *leaf) more() error {
	for l.next == l.end {
		if l.own {
			n, _, err := l.chunk.decode(l)
			switch {
			case errors.Is(err, errForeign):
				if err := l.handOver(); err != nil {
					return err
				}
				continue
			case err != nil:
				return err
			case n == 0:
				return io.EOF
			}
			l.next, l.end, l.value = 0, n, 0
			return nil
		}
		if !l.r.HasNext() {
			if err := l.r.Err(); err != nil {
				return err
			}
			return io.EOF
		}
		n, values, err := l.decode()
		if err != nil {
			return err
		}
		if n == 0 || l.def == 0 && int64(values) != n {
			return fmt.Errorf("%w: a page ends before its values", errDamaged)
		}
		present := 0
		for _, d := range l.def16[:n] {
			if int(d) == l.def {
				present++
			}
		}
		if l.def > 0 && present != values {
			return fmt.Errorf("%w: a page has %d values of %d", errDamaged, values, present)
		}
		l.next, l.end, l.value = 0, int(n), 0
	}
	return nil
}

// decode reads entries of one page: their levels, where the column has any, and the values of those that have one.
func (l *leaf) decode() (entries int64, values int, err error) {
	d, r := l.def16[:], l.rep16[:]
	switch c := l.r.(type) {
	case *file.BooleanColumnChunkReader:
		return c.ReadBatchInPage(valuesAtOnce, room(&l.bools), d, r)
	case *file.Int32ColumnChunkReader:
		return c.ReadBatchInPage(valuesAtOnce, room(&l.int32s), d, r)
	case *file.Int64ColumnChunkReader:
		return c.ReadBatchInPage(valuesAtOnce, room(&l.int64s), d, r)
	case *file.Float32ColumnChunkReader:
		return c.ReadBatchInPage(valuesAtOnce, room(&l.floats), d, r)
	case *file.Float64ColumnChunkReader:
		return c.ReadBatchInPage(valuesAtOnce, room(&l.doubles), d, r)
	case *file.ByteArrayColumnChunkReader:
		return c.ReadBatchInPage(valuesAtOnce, room(&l.bytes), d, r)
	case *file.FixedLenByteArrayColumnChunkReader:
		return c.ReadBatchInPage(valuesAtOnce, room(&l.fixed), d, r)
	}
	return 0, 0, fmt.Errorf("values of the type %s are not read", l.r.Type())
}

func room[T any](s *[]T) []T {
	if *s == nil {
		*s = make([]T, valuesAtOnce)
	}
	return *s
}

// take reads n rows and appends their values to a column.
func (l *leaf) take(n int, c *batch.Column, rec *batch.Records) error {
	l.reps, l.defs = l.reps[:0], l.defs[:0]
	for rows := 0; l.rep > 0 || rows < n; {
		if err := l.more(); errors.Is(err, io.EOF) {
			if rows < n {
				return fmt.Errorf("%w: there are fewer rows than its metadata says", errDamaged)
			}
			return nil
		} else if err != nil {
			return err
		}
		taken, begun, err := l.upTo(n-rows, rows > 0)
		if err != nil {
			return err
		}
		rows += begun
		if l.keep {
			for i := l.next; i < l.next+taken; i++ {
				l.reps, l.defs = append(l.reps, uint8(l.repetition(i))), append(l.defs, uint8(l.definition(i)))
			}
		}
		if l.node != nil {
			if err := l.put(taken, c, rec); err != nil {
				return err
			}
		} else {
			l.next += taken
		}
		if l.next < l.end {
			return nil
		}
	}
	return nil
}

// upTo counts the entries at hand that belong to the next rows, and the rows that begin with them.
func (l *leaf) upTo(rows int, within bool) (entries, begun int, err error) {
	if l.rep == 0 {
		n := min(rows, l.end-l.next)
		return n, n, nil
	}
	for i := l.next; i < l.end; i++ {
		if l.rep16[i] > 0 {
			if !within {
				return 0, 0, fmt.Errorf("%w: a row begins within a list", errDamaged)
			}
			continue
		}
		if begun == rows {
			return i - l.next, begun, nil
		}
		begun, within = begun+1, true
	}
	return l.end - l.next, begun, nil
}

func (l *leaf) repetition(i int) int {
	if l.rep == 0 {
		return 0
	}
	return int(l.rep16[i])
}

func (l *leaf) definition(i int) int {
	if l.def == 0 {
		return 0
	}
	return int(l.def16[i])
}

// put appends a slot for each of the next entries that has one, with its value or without.
func (l *leaf) put(entries int, c *batch.Column, rec *batch.Records) error {
	if l.rep == 0 {
		if done, err := l.putFlat(entries, c, rec); done || err != nil {
			return err
		}
	}
	for end := l.next + entries; l.next < end; l.next++ {
		def := l.definition(l.next)
		if def == l.def {
			if err := l.append(l.value, c, rec); err != nil {
				return err
			}
			l.value++
			continue
		}
		if def < l.node.slot {
			continue // a list without an element
		}
		if err := l.node.absent(def, c.AppendNull, c.AppendZero); err != nil {
			return err
		}
	}
	return nil
}

// absent appends a null, or a zero for a required column below a null.
func (n *node) absent(def int, null, zero func()) error {
	switch {
	case !n.field.Required:
		null()
	case def < n.above:
		zero()
	default:
		return errors.New("the table requires a value, and the file has a row without one")
	}
	return nil
}

// append appends value i of those at hand.
func (l *leaf) append(i int, c *batch.Column, rec *batch.Records) error {
	switch l.conv {
	case toBool:
		c.AppendBool(l.bools[i])
	case toInt32:
		c.AppendInt32(l.int32s[i])
	case toInt64:
		c.AppendInt64(l.int64(i))
	case millis:
		ms := l.int64(i)
		if ms > math.MaxInt64/1000 || ms < math.MinInt64/1000 {
			return fmt.Errorf("%d milliseconds are too many for microseconds", ms)
		}
		c.AppendInt64(ms * 1000)
	case toFloat:
		c.AppendFloat32(l.floats[i])
	case toDouble:
		if l.floats != nil {
			c.AppendFloat64(float64(l.floats[i]))
		} else {
			c.AppendFloat64(l.doubles[i])
		}
	case toFixed:
		if b := l.raw(i); len(b) != c.Type.Length && (c.Type.Kind != batch.UUID || len(b) != 16) {
			return fmt.Errorf("a value has %d bytes, which is no %s", len(b), c.Type)
		}
		return l.view(l.raw(i), c, rec)
	case toBytes:
		return l.view(l.raw(i), c, rec)
	default:
		return l.decimal(i, c, rec)
	}
	return nil
}

func (l *leaf) int64(i int) int64 {
	if l.int32s != nil {
		return int64(l.int32s[i])
	}
	return l.int64s[i]
}

func (l *leaf) raw(i int) []byte {
	switch {
	case l.form == inSpans:
		v := l.spans[i]
		return l.spanned[v.Off : v.Off+v.Len]
	case l.form == inDictionary:
		v := l.chunk.dict.texts[l.codes[i]]
		return l.chunk.dict.mem[v.Off : v.Off+v.Len]
	case l.fixed != nil:
		return l.fixed[i]
	}
	return l.bytes[i]
}

// view copies a value into the arena, unless it is the same as the one before.
func (l *leaf) view(b []byte, c *batch.Column, rec *batch.Records) error {
	if int(l.last.Len) != len(b) || string(rec.Mem[l.last.Off:l.last.Off+l.last.Len]) != string(b) {
		if uint64(len(rec.Mem))+uint64(len(b)) > math.MaxUint32 {
			return errors.New("the values of a few rows have more than 4 GiB")
		}
		l.last = rec.Append(b)
	}
	c.AppendView(l.last)
	return nil
}

// decimal reads an unscaled number of any form.
func (l *leaf) decimal(i int, c *batch.Column, rec *batch.Records) error {
	var wide [16]byte
	if l.int32s != nil || l.int64s != nil {
		n := l.int64(i)
		if l.conv == toDecimal {
			c.AppendInt64(n)
			return nil
		}
		binary.BigEndian.PutUint64(wide[:], uint64(n>>63))
		binary.BigEndian.PutUint64(wide[8:], uint64(n))
		return l.view(wide[:], c, rec)
	}
	b := l.raw(i)
	var sign byte
	if len(b) > 0 && b[0]&0x80 != 0 {
		sign = 0xff
	}
	for ; len(b) > 16; b = b[1:] {
		if b[0] != sign || (b[1]^sign)&0x80 != 0 {
			return fmt.Errorf("a number has more digits than %s", c.Type)
		}
	}
	for k := range 16 - len(b) {
		wide[k] = sign
	}
	copy(wide[16-len(b):], b)
	if l.conv == toWide {
		return l.view(wide[:], c, rec)
	}
	n := int64(binary.BigEndian.Uint64(wide[8:]))
	if binary.BigEndian.Uint64(wide[:]) != uint64(n>>63) {
		return fmt.Errorf("a number has more digits than %s", c.Type)
	}
	c.AppendInt64(n)
	return nil
}
