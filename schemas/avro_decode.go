package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// avroPlan runs the ops of a schema version over payloads.
//
// The cursor is a position in buf that the functions take and return; a negative one means that err says why the
// payload is broken, which keeps the error out of the registers of the good path. No count or length is believed
// before it was compared with the bytes that are left, and every entry of a list takes at least one byte, so work and
// memory are bounded by the payload's length; budget bounds what wide structs can make of it.
type avroPlan struct {
	ops    []avroOp
	rec    *batch.Records
	buf    []byte
	base   uint32 // of buf in the arena
	budget int    // slots that lists may still append
	err    error
	path   []string // of err, innermost first
}

// Append decodes one payload.
func (p *avroPlan) Append(r *batch.Records, payload batch.View, root *batch.Column) error {
	p.rec, p.buf, p.base = r, r.Bytes(payload), payload.Off
	p.budget = slotBudget(len(p.buf))
	at := p.run(p.ops, root.Children, 0, 1)
	if at == len(p.buf) {
		return nil
	}
	if at >= 0 {
		return fmt.Errorf("avro: %d bytes are left after the record of %d bytes: it was written with another schema", len(p.buf)-at, at)
	}
	err := p.err
	if len(p.path) > 0 {
		var b strings.Builder
		for i := len(p.path) - 1; i >= 0; i-- {
			b.WriteString(p.path[i])
			if i > 0 {
				b.WriteByte('.')
			}
		}
		err = fmt.Errorf("avro: field %s: %w", b.String(), p.err)
	}
	p.err, p.path = nil, p.path[:0]
	return err
}

// slotBudget is how many slots the lists and maps of a payload may append: few bytes can stand for many of them, where an
// element is a struct of many columns.
func slotBudget(payload int) int { return 1<<20 + 8*payload }

// Errors of payloads.
var (
	errEnds     = errors.New("the payload ends within it")
	errVarint   = errors.New("a variable-length number is too long")
	errInt      = errors.New("the number does not fit an int")
	errUTF8     = errors.New("the text is not valid UTF-8")
	errMicros   = errors.New("the time is out of range in microseconds")
	errDay      = errors.New("the time of day is not within a day")
	errUUID     = errors.New("the text is not a UUID")
	errDecimal  = errors.New("the decimal has no bytes")
	errArena    = errors.New("the batch is full (4 GiB)")
	errTooMany  = errors.New("too many entries for one batch")
	errExpands  = errors.New("the record expands to too many values")
	errNegative = errors.New("a length is negative")
)

func (p *avroPlan) fail(err error) int {
	p.err = err
	return -1
}

// varint reads a zigzag number at pos.
func (p *avroPlan) varint(pos int) (int64, int) {
	buf := p.buf
	if pos+8 <= len(buf) {
		// The bytes up to the first without the top bit, seven bits of each, pushed together in three steps.
		w := binary.LittleEndian.Uint64(buf[pos:])
		if end := bits.TrailingZeros64(^w & highBits); end < 64 {
			w &= 1<<(end+1) - 1
			w = w&0x007f007f007f007f | w&0x7f007f007f007f00>>1
			w = w&0x00003fff00003fff | w&0x3fff00003fff0000>>2
			w = w&0x000000000fffffff | w&0x0fffffff00000000>>4
			return int64(w>>1) ^ -int64(w&1), pos + (end+1)>>3
		}
	}
	u, n := binary.Uvarint(buf[pos:])
	if n <= 0 {
		if n < 0 {
			return 0, p.fail(errVarint)
		}
		return 0, p.fail(errEnds)
	}
	return int64(u>>1) ^ -int64(u&1), pos + n
}

// length reads the length of text or bytes, and checks that they are there.
func (p *avroPlan) length(pos int) (int, int) {
	n, pos := p.varint(pos)
	switch {
	case pos < 0:
		return 0, pos
	case n < 0:
		return 0, p.fail(errNegative)
	case n > int64(len(p.buf)-pos):
		return 0, p.fail(errEnds)
	}
	return int(n), pos
}

// run executes ops times over on the columns of one struct (or list, or map).
func (p *avroPlan) run(ops []avroOp, cols []*batch.Column, pos, times int) int {
	buf, base := p.buf, p.base
	for ; times > 0; times-- {
		for i := range ops {
			o := &ops[i]
			if o.code <= opSkip {
				if o.code == opAbsent {
					cols[o.dst].AppendNull()
				} else if pos = p.skip(o.skip, pos); pos < 0 {
					return p.in(o)
				}
				continue
			}
			c := cols[o.dst]
			if o.union {
				var k int64
				if k, pos = p.varint(pos); pos < 0 {
					return p.in(o)
				}
				if k == o.null && o.null >= 0 {
					c.AppendNull()
					continue
				}
				if k != o.branch {
					p.err = fmt.Errorf("the union has no type %d", k)
					return p.in(o)
				}
			}
			switch o.code {
			case opString:
				var n int
				if pos < len(buf) && buf[pos] < 0x80 && buf[pos]&1 == 0 && int(buf[pos]>>1) < len(buf)-pos {
					n, pos = int(buf[pos]>>1), pos+1
				} else if n, pos = p.length(pos); pos < 0 {
					return p.in(o)
				}
				short := n <= 8 && pos+8 <= len(buf) && binary.LittleEndian.Uint64(buf[pos:])&(highBits>>(64-8*uint(n))) == 0
				if !short && !validText(buf[pos:pos+n]) {
					p.err = errUTF8
					return p.in(o)
				}
				c.Views = append(c.Views, batch.View{Off: base + uint32(pos), Len: uint32(n)})
				pos += n
			case opInt:
				var v int64
				if v, pos = p.varint(pos); pos < 0 {
					return p.in(o)
				}
				if v != int64(int32(v)) {
					p.err = errInt
					return p.in(o)
				}
				c.Int32 = append(c.Int32, int32(v))
			case opLong:
				var v int64
				if v, pos = p.varint(pos); pos < 0 {
					return p.in(o)
				}
				c.Int64 = append(c.Int64, v)
			case opRecord, opUnion, opArray, opMap:
				if pos = p.nested(o, c, pos); pos < 0 {
					return p.in(o)
				}
				continue
			default:
				if pos = p.scalar(o, c, pos); pos < 0 {
					return p.in(o)
				}
			}
			if c.Len++; c.Valid != nil {
				c.Valid = append(c.Valid, true)
			}
		}
	}
	return pos
}

// in notes the field that an error is in.
func (p *avroPlan) in(o *avroOp) int {
	p.path = append(p.path, o.name)
	return -1
}

// scalar appends a value to the column's slice of values; the caller counts it.
func (p *avroPlan) scalar(o *avroOp, c *batch.Column, pos int) int {
	switch o.code {
	case opIntLong:
		v, pos := p.varint(pos)
		if pos < 0 {
			return pos
		}
		if v != int64(int32(v)) {
			return p.fail(errInt)
		}
		c.Int64 = append(c.Int64, v)
		return pos
	case opTimes, opDivide, opTimeOfDay:
		v, pos := p.varint(pos)
		if pos < 0 {
			return pos
		}
		if v, err := micros(o, v); err != nil {
			return p.fail(err)
		} else {
			c.Int64 = append(c.Int64, v)
		}
		return pos
	case opBytes:
		n, pos := p.length(pos)
		if pos < 0 {
			return pos
		}
		c.Views = append(c.Views, batch.View{Off: p.base + uint32(pos), Len: uint32(n)})
		return pos + n
	case opUUIDText, opDecimal:
		n, pos := p.length(pos)
		if pos < 0 {
			return pos
		}
		if o.code == opDecimal {
			return p.decimal(o, c, pos, n)
		}
		return p.uuid(c, pos, n)
	case opEnum:
		return p.enum(o, c, pos)
	case opTimeText:
		return p.timeText(c, pos)
	case opVariableDecimal:
		return p.variableDecimal(c, pos)
	}
	return p.sized(o, c, pos)
}

// sized appends a value whose number of bytes the schema says.
func (p *avroPlan) sized(o *avroOp, c *batch.Column, pos int) int {
	n := int(o.size)
	switch o.code {
	case opBool:
		n = 1
	case opFloat, opFloatWide:
		n = 4
	case opDouble:
		n = 8
	}
	if n > len(p.buf)-pos {
		return p.fail(errEnds)
	}
	b := p.buf[pos : pos+n]
	switch o.code {
	case opBool:
		if b[0] > 1 {
			return p.fail(fmt.Errorf("byte %d is no boolean", b[0]))
		}
		c.Bools = append(c.Bools, b[0] == 1)
	case opFloat:
		c.Float32 = append(c.Float32, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case opFloatWide:
		c.Float64 = append(c.Float64, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
	case opDouble:
		c.Float64 = append(c.Float64, math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case opFixed:
		c.Views = append(c.Views, batch.View{Off: p.base + uint32(pos), Len: uint32(n)})
	default:
		return p.decimal(o, c, pos, n)
	}
	return pos + n
}

const microsADay = 24 * 3600 * 1_000_000

// micros converts a time to microseconds as the op says.
func micros(o *avroOp, v int64) (int64, error) {
	if o.code == opDivide {
		q := v / o.by
		if v%o.by < 0 {
			q--
		}
		return q, nil
	}
	if o.by < 0 {
		v = floorDiv(v, -o.by)
	} else {
		if v > math.MaxInt64/o.by || v < math.MinInt64/o.by {
			return 0, errMicros
		}
		v *= o.by
	}
	if o.code == opTimeOfDay && (v < 0 || v >= microsADay) {
		return 0, errDay
	}
	return v, nil
}

// own puts a decoded value into the arena.
func (p *avroPlan) own(c *batch.Column, b []byte) bool {
	if len(p.rec.Mem) > math.MaxUint32-len(b) {
		p.err = errArena
		return false
	}
	c.Views = append(c.Views, p.rec.Append(b))
	return true
}

func (p *avroPlan) decimal(o *avroOp, c *batch.Column, pos, n int) int {
	if n == 0 {
		return p.fail(errDecimal)
	}
	v, ok := int128Of(p.buf[pos : pos+n])
	if !ok || !v.fits(int(o.digits)) {
		return p.fail(fmt.Errorf("the decimal of %d bytes has more than %d digits", n, o.digits))
	}
	if o.digits <= batch.MaxInt64Precision {
		c.Int64 = append(c.Int64, int64(v.lo))
		return pos + n
	}
	b := v.bytes()
	if !p.own(c, b[:]) {
		return -1
	}
	return pos + n
}

func (p *avroPlan) uuid(c *batch.Column, pos, n int) int {
	u, ok := uuidOf(p.buf[pos : pos+n])
	if !ok {
		return p.fail(errUUID)
	}
	if !p.own(c, u[:]) {
		return -1
	}
	return pos + n
}

// enum appends a view of the symbol's text. It is put into the arena once; whether a view from an earlier record still
// shows it is told by looking, so batches need not be told apart.
func (p *avroPlan) enum(o *avroOp, c *batch.Column, pos int) int {
	k, pos := p.varint(pos)
	if pos < 0 {
		return pos
	}
	if k < 0 || k >= int64(len(o.enum)) {
		return p.fail(fmt.Errorf("the enum has no symbol %d", k))
	}
	s := &o.enum[k]
	if end := uint64(s.at.Off) + uint64(s.at.Len); end > uint64(len(p.rec.Mem)) || string(p.rec.Mem[s.at.Off:end]) != s.text {
		if len(p.rec.Mem) > math.MaxUint32-len(s.text) {
			return p.fail(errArena)
		}
		s.at = p.rec.AppendString(s.text)
	}
	c.Views = append(c.Views, s.at)
	return pos
}
