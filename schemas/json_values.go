package schemas

import (
	"math"

	"github.com/lakeloader/lakeloader/batch"
)

// wrong describes the value at the scanner's position, which is of another JSON type than the column wants.
func (p *jsonPlan) wrong(wanted string) error {
	from := p.s.i
	if err := p.s.skip(0); err != nil {
		return err
	}
	text := shown(p.s.b[from:p.s.i])
	p.s.i = from
	return p.s.failf("%s expected, not %s", wanted, text)
}

// refuse describes a value that was read, behind which the scanner stands.
func (p *jsonPlan) refuse(n *jsonNode, text []byte, err error) error {
	if err == errTooLarge || err == errNotExact {
		return failf("%s %v %s", shown(text), err, n.typ)
	}
	return failf("%q %v", shown(text), err)
}

// reserve makes sure that n more bytes fit the arena, which Views address with 32 bits.
func reserve(r *batch.Records, n int) error {
	if len(r.Mem) > math.MaxUint32-n {
		return failf("the batch's memory would exceed 4 GiB")
	}
	return nil
}

// string appends the text of the string at the scanner's position.
func (p *jsonPlan) string(c *batch.Column) error {
	from, to, escaped, err := p.s.str()
	if err != nil {
		return err
	}
	if !escaped {
		c.AppendView(batch.View{Off: p.off + uint32(from), Len: uint32(to - from)})
		return nil
	}
	if err := reserve(p.r, to-from); err != nil {
		return err
	}
	start := len(p.r.Mem)
	mem, err := unescape(p.r.Mem, p.s.b[from:to])
	if err != nil {
		return err
	}
	p.r.Mem = mem
	c.AppendView(batch.View{Off: uint32(start), Len: uint32(len(mem) - start)})
	return nil
}

func (p *jsonPlan) text(n *jsonNode, c *batch.Column, first byte) error {
	if first == '"' && !n.text {
		return p.string(c)
	}
	from := p.s.i
	if err := p.s.skip(0); err != nil {
		return err
	}
	c.AppendView(batch.View{Off: p.off + uint32(from), Len: uint32(p.s.i - from)})
	return nil
}

func (p *jsonPlan) boolean(n *jsonNode, c *batch.Column, first byte) error {
	switch first {
	case 't':
		c.AppendBool(true)
		return p.s.literal("true")
	case 'f':
		c.AppendBool(false)
		return p.s.literal("false")
	}
	return p.wrong("true or false")
}

func (p *jsonPlan) integer(n *jsonNode, c *batch.Column) error {
	v, ok := p.s.short()
	if !ok {
		if c := p.s.next(); c != '-' && c-'0' > 9 {
			return p.wrong("a whole number")
		}
		from, to, _, err := p.s.number()
		if err != nil {
			return err
		}
		if v, err = int64Text(p.s.b[from:to]); err != nil {
			return p.refuse(n, p.s.b[from:to], err)
		}
	}
	if n.kind == batch.Long {
		c.AppendInt64(v)
		return nil
	}
	if int64(int32(v)) != v {
		return failf("%d %v %s", v, errTooLarge, n.typ)
	}
	c.AppendInt32(int32(v))
	return nil
}

// short reads a whole number of at most 18 digits and no fraction or exponent; else it leaves the position.
func (s *jsonScan) short() (v int64, ok bool) {
	b, i := s.b, s.i
	negative := i < len(b) && b[i] == '-'
	if negative {
		i++
	}
	start := i
	for i < len(b) {
		d := b[i] - '0'
		if d > 9 {
			break
		}
		v = v*10 + int64(d)
		i++
	}
	if n := i - start; n == 0 || n > 18 || n > 1 && b[start] == '0' {
		return 0, false
	}
	if i < len(b) && (b[i] == '.' || b[i]|0x20 == 'e') {
		return 0, false
	}
	s.i = i
	if negative {
		v = -v
	}
	return v, true
}

// numeral reads a number, or a string that is to hold one.
func (p *jsonPlan) numeral(wanted string, first byte) ([]byte, error) {
	if first == '"' {
		return p.name()
	}
	if first != '-' && first-'0' > 9 {
		return nil, p.wrong(wanted)
	}
	from, to, _, err := p.s.number()
	return p.s.b[from:to], err
}

func (p *jsonPlan) float(n *jsonNode, c *batch.Column, first byte) error {
	b, err := p.numeral("a number", first)
	if err != nil {
		return err
	}
	var v float64
	bits := 64
	if n.kind == batch.Float {
		bits = 32
	}
	if first == '"' {
		var ok bool
		if v, ok = specialFloat(b); !ok {
			return p.refuse(n, b, errNotNumber)
		}
	} else if v, err = floatText(b, bits); err != nil {
		return p.refuse(n, b, err)
	}
	if n.kind == batch.Float {
		c.AppendFloat32(float32(v))
	} else {
		c.AppendFloat64(v)
	}
	return nil
}

func (p *jsonPlan) decimal(n *jsonNode, c *batch.Column, first byte) error {
	b, err := p.numeral("a number", first)
	if err != nil {
		return err
	}
	var v int128
	if first == '"' && n.base64 {
		// The arena's free end serves as scratch.
		start := len(p.r.Mem)
		raw, err := appendBase64(p.r.Mem, b)
		if err != nil {
			return p.refuse(n, b, err)
		}
		var ok bool
		if v, ok = int128Of(raw[start:]); !ok {
			return p.refuse(n, b, errTooLarge)
		}
		p.r.Mem = raw[:start]
	} else if v, err = decimalText(b, n.typ.Scale); err != nil {
		return p.refuse(n, b, err)
	}
	if !v.fits(n.typ.Precision) {
		return p.refuse(n, b, errTooLarge)
	}
	return appendDecimal(p.r, c, v)
}

// appendDecimal appends an unscaled value that fits the column's precision.
func appendDecimal(r *batch.Records, c *batch.Column, v int128) error {
	if c.Type.Precision <= batch.MaxInt64Precision {
		c.AppendInt64(int64(v.lo))
		return nil
	}
	if err := reserve(r, 16); err != nil {
		return err
	}
	raw := v.bytes()
	c.AppendView(r.Append(raw[:]))
	return nil
}

func (p *jsonPlan) time(n *jsonNode, c *batch.Column, first byte) error {
	if first == '"' {
		b, err := p.name()
		if err != nil {
			return err
		}
		return p.timeText(n, c, b)
	}
	b, err := p.numeral("text in ISO 8601 or a number", first)
	if err != nil {
		return err
	}
	if n.kind == batch.Date {
		days, err := int64Text(b)
		if err == nil && int64(int32(days)) != days {
			err = errTooLarge
		}
		if err != nil {
			return p.refuse(n, b, err)
		}
		c.AppendInt32(int32(days))
		return nil
	}
	micros, err := epochText(b, n.unit)
	if err == nil && n.kind == batch.Time && (micros < 0 || micros >= dayMicros) {
		err = errTooLarge
	}
	if err != nil {
		return p.refuse(n, b, err)
	}
	c.AppendInt64(micros)
	return nil
}

func (p *jsonPlan) timeText(n *jsonNode, c *batch.Column, b []byte) error {
	switch n.kind {
	case batch.Date:
		days, err := dateText(b)
		if err != nil {
			return p.refuse(n, b, err)
		}
		c.AppendInt32(days)
		return nil
	case batch.Time:
		micros, err := timeText(b)
		if err != nil {
			return p.refuse(n, b, err)
		}
		c.AppendInt64(micros)
		return nil
	}
	micros, zoned, err := timestampText(b)
	switch {
	case err != nil:
		return p.refuse(n, b, err)
	case zoned && n.kind == batch.Timestamp:
		return failf("%q has a zone, but the column is a timestamp without one: declare it timestamptz", shown(b))
	case !zoned && n.kind == batch.TimestampTZ:
		return failf("%q has no zone: declare the column string and give it a zone with a parse_timestamp step", shown(b))
	}
	c.AppendInt64(micros)
	return nil
}

func (p *jsonPlan) bytes(n *jsonNode, c *batch.Column, first byte) error {
	if first != '"' {
		return p.wrong("text for " + n.typ.String())
	}
	b, err := p.name()
	if err != nil {
		return err
	}
	if err := reserve(p.r, max(len(b), 16)); err != nil {
		return err
	}
	if n.kind == batch.UUID {
		u, ok := uuidOf(b)
		if !ok {
			return failf("%q is no UUID", shown(b))
		}
		c.AppendView(p.r.Append(u[:]))
		return nil
	}
	start := len(p.r.Mem)
	mem, err := appendBase64(p.r.Mem, b)
	if err != nil {
		return p.refuse(n, b, err)
	}
	if got := len(mem) - start; n.kind == batch.Fixed && got != n.typ.Length {
		return failf("%d bytes are no %s", got, n.typ)
	}
	p.r.Mem = mem
	c.AppendView(batch.View{Off: uint32(start), Len: uint32(len(mem) - start)})
	return nil
}
