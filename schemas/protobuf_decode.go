package schemas

import (
	"encoding/binary"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lakeloader/lakeloader/batch"
)

// pbPlan decodes messages of one type, behind their index path, into columns.
type pbPlan struct {
	schema *protobufSchema
	target *batch.Type
	root   *pbPlanMessage
	others map[string]pbOther

	r *batch.Records
	// budget is the slots that lists and maps may still append, and the work that goes beyond one pass over the bytes.
	budget int
	keys   uniqueKeys
	path   []int
	key    []byte
}

// pbOther decodes another message type of the same file, or says why not.
type pbOther struct {
	root *pbPlanMessage
	err  error
}

// Append implements Plan.
func (p *pbPlan) Append(r *batch.Records, payload batch.View, root *batch.Column) error {
	if payload.IsNull() {
		return failf("there is no value (a tombstone)")
	}
	p.r, p.budget = r, slotBudget(int(payload.Len))
	defer func() { p.r = nil }()
	var n int
	var err error
	if p.path, n, err = messageIndex(r.Bytes(payload), p.path[:0]); err != nil {
		return err
	}
	m := p.root
	if !slices.Equal(p.path, p.schema.path) {
		if m, err = p.other(); err != nil {
			return err
		}
	}
	return p.message(m, batch.View{Off: payload.Off + uint32(n), Len: payload.Len - uint32(n)}, root.Children)
}

// other finds the plan for a payload whose message is not the one that the plan was made for: its fields may have
// columns all the same.
func (p *pbPlan) other() (*pbPlanMessage, error) {
	p.key = p.key[:0]
	for _, i := range p.path {
		p.key = binary.AppendUvarint(p.key, uint64(i))
	}
	if o, ok := p.others[string(p.key)]; ok {
		return o.root, o.err
	}
	var o pbOther
	var s *protobufSchema
	if s, o.err = p.schema.file.message(p.path); o.err == nil {
		if o.root, o.err = compileFields(s.root, p.target, ""); o.err != nil {
			o.err = failf("the payload is a message %s, not %s as the columns are: %v", s.name, p.schema.name, o.err)
		}
	}
	if p.others == nil {
		p.others = map[string]pbOther{}
	}
	if len(p.others) < maxOthers { // payloads choose the path
		p.others[string(p.key)] = o
	}
	return o.root, o.err
}

const maxOthers = 1000

// message decodes one message into one slot of each column.
func (p *pbPlan) message(m *pbPlanMessage, v batch.View, cols []*batch.Column) error {
	b := viewed(p.r.Mem, v)
	for i := range m.fields {
		m.fields[i].seen = 0
	}
	for pos := 0; pos < len(b); {
		start := pos
		tag, next := uvarint(b, pos)
		number := protowire.Number(tag >> 3)
		if next < 0 || tag>>3 > uint64(protowire.MaxValidNumber) || number < protowire.MinValidNumber {
			return failf("bad Protobuf: there is no field tag at byte %d of the message", start)
		}
		pos = next
		wire := protowire.Type(tag & 7)
		f := m.find(number)
		if f == nil {
			n := protowire.ConsumeFieldValue(number, wire, b[pos:])
			if n < 0 {
				return failf("bad Protobuf: field number %d at byte %d of the message: %v", number, start, protowire.ParseError(n))
			}
			pos += n
			continue
		}
		bits, bytes, pos2 := wireValue(b, pos, wire)
		if pos2 < 0 {
			return inField(failf("bad Protobuf: the value has no end, or is of a wire type that there is not (%d)", wire), f.name)
		}
		pos = pos2
		bytes.Off += v.Off
		if f.form != pbSingle {
			if err := p.element(f, wire, bits, bytes, cols[f.column]); err != nil {
				return inField(err, f.name)
			}
			continue
		}
		if wire != f.node.wire {
			return inField(failf("wire type %d, not %d as the schema says", wire, f.node.wire), f.name)
		}
		if f.seen == 0 {
			f.from = start
			for _, i := range f.rivals {
				m.fields[i].seen = 0
			}
			if p.budget -= len(f.rivals) / 8; p.budget < 0 {
				return inField(errExpands, f.name)
			}
		}
		f.seen++
		f.bits, f.bytes = bits, bytes
	}
	return p.close(m, b, cols)
}

// wireValue reads a value; pos2 < 0: there is none. bytes is relative to b.
func wireValue(b []byte, pos int, wire protowire.Type) (bits uint64, bytes batch.View, pos2 int) {
	switch wire {
	case protowire.VarintType:
		bits, pos2 = uvarint(b, pos)
		return bits, bytes, pos2
	case protowire.Fixed32Type:
		if len(b)-pos < 4 {
			return 0, bytes, -1
		}
		return uint64(binary.LittleEndian.Uint32(b[pos:])), bytes, pos + 4
	case protowire.Fixed64Type:
		if len(b)-pos < 8 {
			return 0, bytes, -1
		}
		return binary.LittleEndian.Uint64(b[pos:]), bytes, pos + 8
	case protowire.BytesType:
		n, at := uvarint(b, pos)
		if at < 0 || n > uint64(len(b)-at) {
			return 0, bytes, -1
		}
		return 0, batch.View{Off: uint32(at), Len: uint32(n)}, at + int(n)
	}
	return 0, bytes, -1
}

// close appends the values that waited, and what stands for those that did not come.
func (p *pbPlan) close(m *pbPlanMessage, b []byte, cols []*batch.Column) error {
	for i := range m.fields {
		f := &m.fields[i]
		c := cols[f.column]
		var err error
		switch {
		case f.form == pbMap:
			start := int(c.Starts[len(c.Starts)-1])
			if at := p.keys.repeated(c.Children[0], p.r.Mem, start); at >= 0 {
				err = failf("the key %s is there twice", p.shownKey(c.Children[0], at))
			}
			c.AppendList()
		case f.form == pbList:
			c.AppendList()
		case f.seen > 1 && f.node.merges():
			var whole batch.View
			if whole, err = p.joined(f, b); err == nil {
				err = p.value(f.node, 0, whole, c)
			}
		case f.seen > 0:
			err = p.value(f.node, f.bits, f.bytes, c)
		case f.must:
			err = failf("it is required, but not there")
		case f.def.has:
			if f.def.text != "" {
				if err = reserve(p.r, len(f.def.text)); err != nil {
					break
				}
				if p.budget -= len(f.def.text) / 8; p.budget < 0 {
					err = errExpands
					break
				}
				f.bytes = p.r.AppendString(f.def.text)
			} else {
				f.bytes = batch.View{}
			}
			err = p.value(f.node, f.def.bits, f.bytes, c)
		default:
			c.AppendNull()
		}
		if err != nil {
			return inField(err, f.name)
		}
	}
	for _, i := range m.absent {
		cols[i].AppendNull()
	}
	return nil
}

// merges reports whether several occurrences count together.
func (n *pbNode) merges() bool { return n.kind >= pbMessage }

// joined puts the occurrences of a message that came in pieces behind each other, which means the same.
func (p *pbPlan) joined(f *pbPlanField, b []byte) (batch.View, error) {
	start := len(p.r.Mem)
	if p.budget -= (len(b) - f.from) / 8; p.budget < 0 {
		return batch.View{}, errExpands
	}
	for pos := f.from; pos < len(b); {
		tag, at := uvarint(b, pos)
		number, wire := protowire.Number(tag>>3), protowire.Type(tag&7)
		_, bytes, end := wireValue(b, at, wire)
		if end < 0 { // a group: message has seen that it is whole
			n := protowire.ConsumeFieldValue(number, wire, b[at:])
			if n < 0 {
				return batch.View{}, failf("bad Protobuf: %v", protowire.ParseError(n))
			}
			end = at + n
		} else if number == f.number {
			if err := reserve(p.r, int(bytes.Len)); err != nil {
				return batch.View{}, err
			}
			p.r.Mem = append(p.r.Mem, viewed(b, bytes)...)
		}
		pos = end
	}
	return batch.View{Off: uint32(start), Len: uint32(len(p.r.Mem) - start)}, nil
}

// element appends one occurrence of a list or map: an element, an entry, or packed elements.
func (p *pbPlan) element(f *pbPlanField, wire protowire.Type, bits uint64, v batch.View, c *batch.Column) error {
	if f.form == pbMap {
		if wire != protowire.BytesType {
			return failf("wire type %d, not %d as the schema says", wire, protowire.BytesType)
		}
		if p.budget -= 1 + f.node.width; p.budget < 0 {
			return errExpands
		}
		return p.message(f.node.sub, v, c.Children)
	}
	elements := c.Children[0]
	index := func() int { return elements.Len - int(c.Starts[len(c.Starts)-1]) }
	if wire == f.node.wire {
		if p.budget -= f.node.width; p.budget < 0 {
			return errExpands
		}
		if err := p.value(f.node, bits, v, elements); err != nil {
			return inElement(err, index())
		}
		return nil
	}
	if wire != protowire.BytesType {
		return failf("wire type %d, not %d as the schema says", wire, f.node.wire)
	}
	b := viewed(p.r.Mem, v)
	for pos := 0; pos < len(b); {
		bits, _, end := wireValue(b, pos, f.node.wire)
		if end < 0 {
			return inElement(failf("bad Protobuf: the packed values end within one"), index())
		}
		pos = end
		if err := p.value(f.node, bits, batch.View{}, elements); err != nil {
			return inElement(err, index())
		}
	}
	return nil
}

func (p *pbPlan) shownKey(c *batch.Column, i int) string {
	switch c.Type.Store() {
	case batch.StoreBool:
		return strconv.FormatBool(c.Bools[i])
	case batch.StoreInt32:
		return strconv.Itoa(int(c.Int32[i]))
	case batch.StoreInt64:
		return strconv.FormatInt(c.Int64[i], 10)
	}
	b := viewed(p.r.Mem, c.Views[i])
	if c.Type.Kind == batch.Decimal {
		return "0x" + strconv.FormatUint(binary.BigEndian.Uint64(b[8:]), 16)
	}
	return strconv.Quote(shown(b))
}
