package schemas

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lakeloader/lakeloader/batch"
)

// pbPlanNode decodes one value into a column.
type pbPlanNode struct {
	*pbNode
	sub   *pbPlanMessage
	inner *pbPlanNode
	width int                  // slots that a value takes at least
	at    map[int32]batch.View // where an enum's names stand in the arena
}

// pbPlanMessage decodes a message into the columns of a struct.
type pbPlanMessage struct {
	fields []pbPlanField
	low    []int16                  // index+1 of the fields with small numbers
	high   map[protowire.Number]int // of the others
	absent []int                    // columns that the message has no field for
}

// pbPlanField is a member with the place where its value waits until all of the message was seen: fields come in any
// order, and of a single one the last counts. A message type is in progress at most once at a time, as none contains
// itself, so the place can be here.
type pbPlanField struct {
	*pbField
	column int
	node   *pbPlanNode
	rivals []int // the other members of its oneof

	seen  int        // occurrences
	from  int        // where the first one begins that counts
	bits  uint64     // of varint and fixed
	bytes batch.View // of what has a length
}

// maxLow bounds the table of small field numbers.
const maxLow = 256

func compileFields(n *pbNode, target *batch.Type, path string) (*pbPlanMessage, error) {
	if target.Kind != batch.Struct {
		return nil, fmt.Errorf("field %s: %s cannot become %s", pathName(path), n.typ, target)
	}
	m := &pbPlanMessage{high: map[protowire.Number]int{}}
	for column, t := range target.Fields {
		i := n.typ.Index(t.Name)
		if i < 0 {
			if t.Required {
				return nil, fmt.Errorf("field %s: the schema does not have it, so it cannot be required", pathName(join(path, t.Name)))
			}
			m.absent = append(m.absent, column)
			continue
		}
		f, err := compilePBField(&n.fields[i], t, path)
		if err != nil {
			return nil, err
		}
		f.column = column
		m.fields = append(m.fields, f)
	}
	for _, f := range n.fields {
		if target.Index(f.name) < 0 {
			return nil, fmt.Errorf("field %s: there is no column for it", pathName(join(path, f.name)))
		}
	}
	m.index()
	return m, nil
}

// index fills the tables of field numbers and oneofs.
func (m *pbPlanMessage) index() {
	m.low = make([]int16, maxLow)
	for i := range m.fields {
		f := &m.fields[i]
		if f.number < maxLow && i < 1<<15-1 {
			m.low[f.number] = int16(i + 1)
		} else {
			m.high[f.number] = i
		}
		for j := range m.fields {
			if j != i && f.oneof != 0 && m.fields[j].oneof == f.oneof {
				f.rivals = append(f.rivals, j)
			}
		}
	}
}

func (m *pbPlanMessage) find(number protowire.Number) *pbPlanField {
	if number < maxLow {
		if i := m.low[number]; i > 0 {
			return &m.fields[i-1]
		}
	}
	if i, ok := m.high[number]; ok {
		return &m.fields[i]
	}
	return nil
}

func compilePBField(f *pbField, t batch.Field, path string) (pbPlanField, error) {
	path = join(path, f.name)
	p := pbPlanField{pbField: f}
	if t.Required && !f.required {
		return p, fmt.Errorf("field %s: it is optional in the schema, so its column cannot be required", pathName(path))
	}
	if !becomes(f.column(), t.Type) {
		return p, fmt.Errorf("field %s: %s cannot become %s", pathName(path), f.column(), t.Type)
	}
	target := t.Type
	switch f.form {
	case pbList:
		target = target.Fields[0].Type
	case pbMap:
		target = batch.StructOf(target.Fields...)
	}
	var err error
	p.node, err = compilePBNode(f.node, target, path)
	return p, err
}

func compilePBNode(n *pbNode, target *batch.Type, path string) (*pbPlanNode, error) {
	p := &pbPlanNode{pbNode: n, width: slots(target)}
	var err error
	switch n.kind {
	case pbMessage:
		p.sub, err = compileFields(n, target, path)
		return p, err
	case pbWrapper:
		p.inner, err = compilePBNode(n.inner, target, path)
		return p, err
	case pbEnum:
		p.at = map[int32]batch.View{}
	}
	if !becomes(n.typ, target) {
		return nil, fmt.Errorf("field %s: %s cannot become %s", pathName(path), n.typ, target)
	}
	return p, nil
}
