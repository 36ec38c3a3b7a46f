package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/parquet-go/parquet-go"

	"github.com/lakeloader/lakeloader/batch"
)

// leaf is a Parquet column that is read, with the values of the open row group that were not taken yet.
type leaf struct {
	index, rep, def int
	name            string
	conv            conversion
	node            *node // whose values it holds; nil: only its levels are wanted
	keep            bool  // its levels are kept

	r    parquet.ColumnChunkValueReader
	buf  [512]parquet.Value
	next []parquet.Value // of buf, not taken yet

	// Of the rows that were taken last.
	reps, defs []uint8
	last       batch.View // of the value before, whose bytes equal ones share
}

func (l *leaf) open(chunk parquet.ColumnChunk, r io.ReaderAt) error {
	pages := chunk
	if c, ok := chunk.(*parquet.FileColumnChunk); ok {
		pages = chunkFrom{c, r}
	}
	l.next = nil
	return sound(func() error {
		l.r = parquet.NewColumnChunkValueReader(pages)
		return nil
	})
}

func (l *leaf) close() error {
	if l.r == nil {
		return nil
	}
	r := l.r
	l.r, l.next = nil, nil
	return sound(r.Close)
}

// more makes next hold values; io.EOF when there are none.
func (l *leaf) more() error {
	for len(l.next) == 0 {
		n, err := l.r.ReadValues(l.buf[:])
		l.next = l.buf[:n]
		if n == 0 && err != nil {
			return err
		}
	}
	return nil
}

// take reads n rows and appends their values to a column.
func (l *leaf) take(n int, c *batch.Column, rec *batch.Records) error {
	l.reps, l.defs = l.reps[:0], l.defs[:0]
	rows := 0
	for l.rep > 0 || rows < n {
		if err := l.more(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		taken := len(l.next)
		if l.rep == 0 {
			taken = min(taken, n-rows)
			rows += taken
		} else {
			for i := range l.next {
				if l.next[i].RepetitionLevel() > 0 {
					if rows == 0 {
						return fmt.Errorf("%w: a row begins within a list", errDamaged)
					}
				} else if rows == n {
					taken = i
					break
				} else {
					rows++
				}
			}
		}
		values := l.next[:taken]
		done := taken < len(l.next)
		l.next = l.next[taken:]
		if l.keep {
			for i := range values {
				l.reps, l.defs = append(l.reps, uint8(values[i].RepetitionLevel())), append(l.defs, uint8(values[i].DefinitionLevel()))
			}
		}
		if l.node != nil {
			if err := l.put(values, c, rec); err != nil {
				return err
			}
		}
		if done {
			break
		}
	}
	if rows < n {
		return fmt.Errorf("%w: there are fewer rows than its metadata says", errDamaged)
	}
	return nil
}

// put appends a slot for each value, and for each null that has one.
func (l *leaf) put(values []parquet.Value, c *batch.Column, rec *batch.Records) error {
	for i := range values {
		v := &values[i]
		def := v.DefinitionLevel()
		if def == l.def && !v.IsNull() {
			if err := l.value(v, c, rec); err != nil {
				return err
			}
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

func (l *leaf) value(v *parquet.Value, c *batch.Column, rec *batch.Records) error {
	switch l.conv {
	case toBool:
		c.AppendBool(v.Boolean())
	case toInt32:
		c.AppendInt32(v.Int32())
	case toInt64:
		c.AppendInt64(int64Of(v))
	case millis:
		ms := int64Of(v)
		if ms > math.MaxInt64/1000 || ms < math.MinInt64/1000 {
			return fmt.Errorf("%d milliseconds are too many for microseconds", ms)
		}
		c.AppendInt64(ms * 1000)
	case toFloat:
		c.AppendFloat32(v.Float())
	case toDouble:
		if v.Kind() == parquet.Float {
			c.AppendFloat64(float64(v.Float()))
		} else {
			c.AppendFloat64(v.Double())
		}
	case toFixed:
		if b := v.ByteArray(); len(b) != c.Type.Length && (c.Type.Kind != batch.UUID || len(b) != 16) {
			return fmt.Errorf("a value has %d bytes, which is no %s", len(b), c.Type)
		}
		return l.bytes(v.ByteArray(), c, rec)
	case toBytes:
		return l.bytes(v.ByteArray(), c, rec)
	default:
		return l.decimal(v, c, rec)
	}
	return nil
}

func int64Of(v *parquet.Value) int64 {
	if v.Kind() == parquet.Int32 {
		return int64(v.Int32())
	}
	return v.Int64()
}

// bytes copies a value into the arena, unless it is the same as the one before.
func (l *leaf) bytes(b []byte, c *batch.Column, rec *batch.Records) error {
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
func (l *leaf) decimal(v *parquet.Value, c *batch.Column, rec *batch.Records) error {
	var wide [16]byte
	if kind := v.Kind(); kind == parquet.Int32 || kind == parquet.Int64 {
		n := int64Of(v)
		if l.conv == toDecimal {
			c.AppendInt64(n)
			return nil
		}
		binary.BigEndian.PutUint64(wide[:], uint64(n>>63))
		binary.BigEndian.PutUint64(wide[8:], uint64(n))
		return l.bytes(wide[:], c, rec)
	}
	b := v.ByteArray()
	var sign byte
	if len(b) > 0 && b[0]&0x80 != 0 {
		sign = 0xff
	}
	for ; len(b) > 16; b = b[1:] {
		if b[0] != sign || (b[1]^sign)&0x80 != 0 {
			return fmt.Errorf("a number has more digits than %s", c.Type)
		}
	}
	for i := range 16 - len(b) {
		wide[i] = sign
	}
	copy(wide[16-len(b):], b)
	if l.conv == toWide {
		return l.bytes(wide[:], c, rec)
	}
	n := int64(binary.BigEndian.Uint64(wide[8:]))
	if binary.BigEndian.Uint64(wide[:]) != uint64(n>>63) {
		return fmt.Errorf("a number has more digits than %s", c.Type)
	}
	c.AppendInt64(n)
	return nil
}

// chunkFrom is a column chunk that is read through a reader of its own.
type chunkFrom struct {
	*parquet.FileColumnChunk
	r io.ReaderAt
}

func (c chunkFrom) Pages() parquet.Pages { return c.PagesFrom(c.r) }

// blocks reads an object in blocks, since the library asks for a few kilobytes at a time and an object store answers each
// request in tens of milliseconds.
type blocks struct {
	r    io.ReaderAt
	size int // of the block
	end  int64
	buf  []byte
	at   int64 // of buf in the object
}

func (b *blocks) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		if at >= b.at && at < b.at+int64(len(b.buf)) {
			n += copy(p[n:], b.buf[at-b.at:])
			continue
		}
		if at < 0 || at >= b.end {
			return n, io.EOF
		}
		size := min(int64(b.size), b.end-at)
		if int64(len(p)-n) >= size {
			m, err := b.r.ReadAt(p[n:], at)
			return n + m, err
		}
		if cap(b.buf) < b.size {
			b.buf = make([]byte, 0, b.size)
		}
		m, err := b.r.ReadAt(b.buf[:size], at)
		b.at, b.buf = at, b.buf[:m]
		if m == 0 {
			return n, err
		}
	}
	return n, nil
}
