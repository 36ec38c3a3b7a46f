package schemas

import (
	"strconv"

	"github.com/lakeloader/lakeloader/batch"
)

// jsonPlan decodes JSON texts into columns.
type jsonPlan struct {
	root         *jsonNode
	strict, bare bool

	s   jsonScan
	r   *batch.Records
	off uint32 // of the payload
	// budget is the slots that lists and maps may still append: an element of three bytes, {}, can have thousands.
	budget int
	keys   uniqueKeys
	// scratch holds names and texts without their escapes.
	scratch []byte
}

// Append implements Plan.
func (p *jsonPlan) Append(r *batch.Records, payload batch.View, root *batch.Column) error {
	if payload.IsNull() {
		return failf("there is no value (a tombstone)")
	}
	p.r, p.off, p.s, p.budget = r, payload.Off, jsonScan{b: r.Bytes(payload)}, slotBudget(int(payload.Len))
	err := p.record(root.Children)
	p.r, p.s.b = nil, nil
	return err
}

func (p *jsonPlan) record(cols []*batch.Column) error {
	if len(p.s.b) > 0 && p.s.b[0] == 0 {
		return failf("the payload begins with a zero byte, as after a schema registry's serializer, and is no plain JSON")
	}
	var err error
	if p.bare {
		f := &p.root.fields[0]
		if err = p.value(f.node, cols[f.column]); err == nil {
			for _, i := range p.root.absent {
				cols[i].AppendNull()
			}
		}
	} else if p.s.next() != '{' {
		return p.s.unexpected("an object")
	} else {
		err = p.object(p.root, cols)
	}
	if err != nil {
		return err
	}
	return p.s.end()
}

// object decodes the object that begins at the scanner's position into one slot of each column.
func (p *jsonPlan) object(n *jsonNode, cols []*batch.Column) error {
	s := &p.s
	s.i++
	slot := cols[0].Len
	seen, last := 0, -1
	again := s.next() != '}'
	if !again {
		s.i++
	}
	for again {
		i, err := p.field(n, last)
		if err != nil {
			return err
		}
		if i < 0 {
			if err := s.skip(1); err != nil {
				return err
			}
		} else {
			f := &n.fields[i]
			c := cols[f.column]
			if c.Len != slot {
				return inField(s.failf("it is there twice"), f.name)
			}
			if err := p.value(f.node, c); err != nil {
				return inField(err, f.name)
			}
			seen++
			last = i
		}
		if again, err = s.more('}'); err != nil {
			return err
		}
	}
	if seen < len(n.fields) {
		for i := range n.fields {
			f := &n.fields[i]
			if c := cols[f.column]; c.Len == slot {
				if f.node.required {
					return inField(failf("it is required, but not there"), f.name)
				}
				c.AppendNull()
			}
		}
	}
	for _, i := range n.absent {
		cols[i].AppendNull()
	}
	return nil
}

// field reads a name with its colon and returns the index of the field, -1 if there is none. last is the field before.
func (p *jsonPlan) field(n *jsonNode, last int) (int, error) {
	s := &p.s
	if s.next() != '"' {
		return 0, s.unexpected("a field's name")
	}
	i := n.after[last+1]
	if q := n.fields[i].quoted; len(s.b)-s.i > len(q) && string(s.b[s.i:s.i+len(q)]) == q {
		s.i += len(q)
	} else {
		name, err := p.name()
		if err != nil {
			return 0, err
		}
		var known bool
		if i, known = n.byName[string(name)]; known {
			n.after[last+1] = i
		} else if i = -1; p.strict {
			return 0, inField(s.failf("there is no column for this field"), shown(name))
		}
	}
	if s.i < len(s.b) && s.b[s.i] == ':' {
		s.i++
		return i, nil
	}
	return i, s.take(':', "\":\"")
}

// name reads a string and returns its text, good until the next name or text.
func (p *jsonPlan) name() ([]byte, error) {
	from, to, escaped, err := p.s.str()
	if err != nil || !escaped {
		return p.s.b[from:to], err
	}
	p.scratch, err = unescape(p.scratch[:0], p.s.b[from:to])
	return p.scratch, err
}

// value decodes any value into one slot of c.
func (p *jsonPlan) value(n *jsonNode, c *batch.Column) error {
	first := p.s.next()
	if first == 'n' {
		if err := p.s.literal("null"); err != nil {
			return err
		}
		if n.required {
			return p.s.failf("it is required, but null")
		}
		c.AppendNull()
		return nil
	}
	switch n.kind {
	case batch.String:
		return p.text(n, c, first)
	case batch.Int, batch.Long:
		return p.integer(n, c)
	case batch.Boolean:
		return p.boolean(n, c, first)
	case batch.Float, batch.Double:
		return p.float(n, c, first)
	case batch.Decimal:
		return p.decimal(n, c, first)
	case batch.Date, batch.Time, batch.Timestamp, batch.TimestampTZ:
		return p.time(n, c, first)
	case batch.UUID, batch.Fixed, batch.Binary:
		return p.bytes(n, c, first)
	case batch.Struct:
		if first != '{' {
			return p.wrong("an object")
		}
		if err := p.object(n, c.Children); err != nil {
			return err
		}
		c.AppendStruct()
		return nil
	case batch.List:
		if first != '[' {
			return p.wrong("an array")
		}
		return p.list(n, c)
	}
	if first != '{' {
		return p.wrong("an object")
	}
	return p.entries(n, c)
}

func (p *jsonPlan) list(n *jsonNode, c *batch.Column) error {
	s := &p.s
	s.i++
	again := s.next() != ']'
	if !again {
		s.i++
	}
	for i := 0; again; i++ {
		if p.budget -= n.width; p.budget < 0 {
			return p.s.failf("%v", errExpands)
		}
		err := p.value(n.member, c.Children[0])
		if err != nil {
			return inElement(err, i)
		}
		if again, err = s.more(']'); err != nil {
			return err
		}
	}
	c.AppendList()
	return nil
}

func (p *jsonPlan) entries(n *jsonNode, c *batch.Column) error {
	s := &p.s
	s.i++
	keys, values := c.Children[0], c.Children[1]
	start := keys.Len
	again := s.next() != '}'
	if !again {
		s.i++
	}
	for again {
		if p.budget -= n.width; p.budget < 0 {
			return s.failf("%v", errExpands)
		}
		if s.next() != '"' {
			return s.unexpected("a key")
		}
		if err := p.string(keys); err != nil {
			return err
		}
		if err := s.take(':', "\":\""); err != nil {
			return err
		}
		err := p.value(n.member, values)
		if err != nil {
			return inEntry(err, string(viewed(p.r.Mem, keys.Views[keys.Len-1])))
		}
		if again, err = s.more('}'); err != nil {
			return err
		}
	}
	if i := p.keys.repeated(keys, p.r.Mem, start); i >= 0 {
		return failf("the key %s is there twice", strconv.Quote(shown(viewed(p.r.Mem, keys.Views[i]))))
	}
	c.AppendList()
	return nil
}
