package schemas

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lakeloader/lakeloader/batch"
)

// value appends a value that is there: bits of a varint or fixed one, v of one with a length.
func (p *pbPlan) value(n *pbPlanNode, bits uint64, v batch.View, c *batch.Column) error {
	switch n.kind {
	case pbBool:
		c.AppendBool(bits != 0)
	case pbInt:
		c.AppendInt64(int64(bits))
	case pbZigzag64:
		c.AppendInt64(unzigzag(bits))
	case pbInt32:
		appendInt32(c, int32(bits))
	case pbZigzag32:
		appendInt32(c, int32(unzigzag(bits&math.MaxUint32)))
	case pbUint32:
		c.AppendInt64(int64(uint32(bits)))
	case pbUint64:
		return appendDecimal(p.r, c, int128{0, bits})
	case pbFloat:
		f := math.Float32frombits(uint32(bits))
		if c.Type.Kind == batch.Double {
			c.AppendFloat64(float64(f))
		} else {
			c.AppendFloat32(f)
		}
	case pbDouble:
		c.AppendFloat64(math.Float64frombits(bits))
	case pbString:
		if b := viewed(p.r.Mem, v); !validText(b) {
			return failf("the text is not valid UTF-8: %q", shown(b))
		}
		c.AppendView(v)
	case pbBytes:
		c.AppendView(v)
	case pbEnum:
		return p.enum(n, int32(bits), c)
	case pbMessage:
		if err := p.message(n.sub, v, c.Children); err != nil {
			return err
		}
		c.AppendStruct()
	default:
		return p.known(n, v, c)
	}
	return nil
}

func appendInt32(c *batch.Column, v int32) {
	if c.Type.Kind == batch.Long {
		c.AppendInt64(int64(v))
	} else {
		c.AppendInt32(v)
	}
}

// enum appends a value's name. It stands in the arena once, if the place where it was put still holds it: the arena may
// be another one by now.
func (p *pbPlan) enum(n *pbPlanNode, number int32, c *batch.Column) error {
	name, ok := n.names[number]
	if !ok {
		if err := reserve(p.r, 11); err != nil {
			return err
		}
		start := len(p.r.Mem)
		p.r.Mem = strconv.AppendInt(p.r.Mem, int64(number), 10)
		c.AppendView(batch.View{Off: uint32(start), Len: uint32(len(p.r.Mem) - start)})
		return nil
	}
	v, ok := n.at[number]
	if end := uint64(v.Off) + uint64(v.Len); !ok || end > uint64(len(p.r.Mem)) || string(p.r.Mem[v.Off:end]) != name {
		if err := reserve(p.r, len(name)); err != nil {
			return err
		}
		v = p.r.AppendString(name)
		n.at[number] = v
	}
	c.AppendView(v)
	return nil
}

// known appends a message that stands for a value of its own.
func (p *pbPlan) known(n *pbPlanNode, v batch.View, c *batch.Column) error {
	b := viewed(p.r.Mem, v)
	if n.kind == pbJSON {
		return p.json(n, b, c)
	}
	// The members have the numbers from 1; what else there is is passed.
	members := n.members()
	var m [5]struct {
		bits  uint64
		bytes batch.View
	}
	for pos := 0; pos < len(b); {
		tag, at := uvarint(b, pos)
		number, wire := protowire.Number(tag>>3), protowire.Type(tag&7)
		if at < 0 || tag>>3 > uint64(protowire.MaxValidNumber) || number < 1 {
			return failf("bad Protobuf: there is no field tag at byte %d of the message", pos)
		}
		size := protowire.ConsumeFieldValue(number, wire, b[at:])
		if size < 0 {
			return failf("bad Protobuf: %v", protowire.ParseError(size))
		}
		if int(number) <= members {
			if want := n.memberWire(int(number)); wire != want {
				return failf("field number %d: wire type %d, not %d as the schema says", number, wire, want)
			}
			m[number].bits, m[number].bytes, _ = wireValue(b, at, wire)
			m[number].bytes.Off += v.Off
		}
		pos = at + size
	}
	num := func(i int) int64 { return int64(m[i].bits) }
	switch n.kind {
	case pbEmpty:
		c.AppendBool(true)
		return nil
	case pbWrapper:
		return p.value(n.inner, m[1].bits, m[1].bytes, c)
	case pbTimestamp:
		if s, ns := num(1), int64(int32(num(2))); s < -62135596800 || s > 253402300799 || ns < 0 || ns > 999999999 {
			return failf("%d seconds and %d nanoseconds are no Timestamp: years 1 to 9999, 0 to 999999999 nanoseconds", s, ns)
		} else {
			c.AppendInt64(s*microsPerSecond + ns/1000)
		}
		return nil
	case pbDuration:
		if s, ns := num(1), int64(int32(num(2))); s < -315576000000 || s > 315576000000 || ns < -999999999 || ns > 999999999 || s > 0 && ns < 0 || s < 0 && ns > 0 {
			return failf("%d seconds and %d nanoseconds are no Duration: 10000 years, less than a second of nanoseconds, the same sign", s, ns)
		} else {
			c.AppendInt64(s*microsPerSecond + ns/1000)
		}
		return nil
	case pbDate:
		days, err := dateOf(int(int32(num(1))), int(int32(num(2))), int(int32(num(3))))
		if err != nil {
			return failf("year %d, month %d, day %d is no whole date", int32(num(1)), int32(num(2)), int32(num(3)))
		}
		c.AppendInt32(days)
		return nil
	case pbTimeOfDay:
		h, min, s, ns := int64(int32(num(1))), int64(int32(num(2))), int64(int32(num(3))), int64(int32(num(4)))
		if h < 0 || h > 23 || min < 0 || min > 59 || s < 0 || s > 59 || ns < 0 || ns > 999999999 {
			return failf("hour %d, minute %d, second %d, nanosecond %d is no time of day", h, min, s, ns)
		}
		c.AppendInt64((h*3600+min*60+s)*microsPerSecond + ns/1000)
		return nil
	}
	return p.decimal(n, viewed(p.r.Mem, m[1].bytes), int32(num(3)), c)
}

// members is how many members a known message has.
func (n *pbPlanNode) members() int {
	switch n.kind {
	case pbWrapper:
		return 1
	case pbTimestamp, pbDuration:
		return 2
	case pbDate, pbDecimal:
		return 3
	case pbTimeOfDay:
		return 4
	}
	return 0
}

// memberWire is the wire type that a member of a known message has.
func (n *pbPlanNode) memberWire(number int) protowire.Type {
	switch {
	case number == 1 && n.kind == pbWrapper:
		return n.inner.wire
	case number == 1 && n.kind == pbDecimal:
		return protowire.BytesType
	}
	return protowire.VarintType
}

// decimal brings an unscaled value to the column's scale.
func (p *pbPlan) decimal(n *pbPlanNode, unscaled []byte, scale int32, c *batch.Column) error {
	v, ok := int128Of(unscaled)
	if !ok || !v.fits(maxPrecision) {
		return failf("the decimal has more than %d digits", maxPrecision)
	}
	for ; scale < int32(c.Type.Scale) && v != (int128{}); scale++ {
		if !v.fits(maxPrecision - 1) {
			return failf("the decimal %v %s", errTooLarge, c.Type)
		}
		if v.hi < 0 {
			v = v.negated().shiftIn(0).negated()
		} else {
			v = v.shiftIn(0)
		}
	}
	if scale > int32(c.Type.Scale) && v != (int128{}) {
		return failf("the decimal has the scale %d, which is more than the column's %s", scale, c.Type)
	}
	if !v.fits(c.Type.Precision) {
		return failf("the decimal %v %s", errTooLarge, c.Type)
	}
	return appendDecimal(p.r, c, v)
}

// json appends the JSON text of a Struct, Value or ListValue.
func (p *pbPlan) json(n *pbPlanNode, b []byte, c *batch.Column) error {
	var m proto.Message
	switch n.json.Name() {
	case "Struct":
		m = &structpb.Struct{}
	case "ListValue":
		m = &structpb.ListValue{}
	default:
		m = &structpb.Value{}
	}
	if err := (proto.UnmarshalOptions{RecursionLimit: maxJSONDepth}).Unmarshal(b, m); err != nil {
		return failf("bad Protobuf: %v", err)
	}
	var plain any
	switch m := m.(type) {
	case *structpb.Struct:
		plain = m.AsMap()
	case *structpb.ListValue:
		plain = m.AsSlice()
	case *structpb.Value:
		plain = m.AsInterface()
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(plain); err != nil {
		return failf("it has no JSON text: %v", err)
	}
	text := bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	if err := reserve(p.r, len(text)); err != nil {
		return err
	}
	c.AppendView(p.r.Append(text))
	return nil
}
