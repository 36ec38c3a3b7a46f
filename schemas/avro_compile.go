package schemas

import (
	"fmt"

	"github.com/hamba/avro/v2"
	"github.com/lakeloader/lakeloader/batch"
)

// avroCode is what one avroOp does with the bytes at the cursor.
type avroCode uint8

const (
	opAbsent          avroCode = iota // reads nothing: the target has a field that this version lacks
	opSkip                            // reads what holds no data, appends nothing
	opBool                            // byte -> Bools
	opInt                             // varint of 32 bits -> Int32
	opIntLong                         // varint of 32 bits -> Int64
	opLong                            // varint -> Int64
	opTimes                           // varint * by -> Int64
	opDivide                          // varint / by, rounded down -> Int64
	opTimeOfDay                       // varint * by, within a day -> Int64
	opFloat                           // 4 bytes -> Float32
	opFloatWide                       // 4 bytes -> Float64
	opDouble                          // 8 bytes -> Float64
	opString                          // length, UTF-8 -> Views of the payload
	opBytes                           // length, bytes -> Views of the payload
	opFixed                           // size bytes -> Views of the payload
	opUUIDText                        // length, text -> Views
	opDecimal                         // length, unscaled -> Int64 or Views
	opDecimalFixed                    // size bytes, unscaled -> Int64 or Views
	opEnum                            // varint -> Views
	opRecord                          // sub -> the children
	opUnion                           // varint, one of sub -> one of the children
	opArray                           // blocks of sub[0] -> the child
	opMap                             // blocks of key and value (sub) -> the children
	opTimeText                        // length, ISO 8601 with a zone -> Int64
	opVariableDecimal                 // scale, length, unscaled -> Views of its text
)

// avroOp appends one slot to one column. A record's ops are in the order of its bytes; ops without bytes come last.
type avroOp struct {
	code avroCode
	// union: the value comes after the index of its type in a union, which is null for the type null, else branch.
	union  bool
	null   int64 // -1: null is not among them
	branch int64
	dst    int32 // position of the column among its siblings; opSkip: none
	size   int32 // opFixed, opDecimalFixed: bytes; opDecimal*: see digits
	digits int32 // opDecimal*: the target's precision
	by     int64 // opTimes, opDivide, opTimeOfDay (negative: the time is divided)
	min    int   // opArray, opMap: least bytes of an entry
	width  int   // opArray, opMap: slots that an entry takes at least
	name   string
	sub    []avroOp
	skip   *avroNode // opSkip
	enum   []enumSymbol
}

// enumSymbol is a symbol and where it was last put in an arena.
type enumSymbol struct {
	text string
	at   batch.View
}

// Compile makes a plan that appends to the columns of target.
func (s *avroSchema) Compile(target *batch.Type) (Plan, error) {
	if target.Kind != batch.Struct {
		return nil, fmt.Errorf("avro: the target is a %s, not a struct", target)
	}
	p := &avroPlan{}
	var err error
	if s.root.kind == avro.Record {
		p.ops, err = compileRecord(s.root, target, "")
		return p, err
	}
	value := &avroNode{kind: avro.Record, typ: s.row, null: -1, members: []avroMember{{"value", s.root}}}
	p.ops, err = compileRecord(value, target, "")
	return p, err
}

func compileRecord(n *avroNode, target *batch.Type, path string) ([]avroOp, error) {
	ops := make([]avroOp, 0, len(n.members))
	have := make([]bool, len(target.Fields))
	for _, m := range n.members {
		p := join(path, m.name)
		if m.node.typ == nil {
			ops = append(ops, avroOp{code: opSkip, dst: -1, name: m.name, skip: m.node})
			continue
		}
		i := target.Index(m.name)
		if i < 0 {
			return nil, fmt.Errorf("avro: field %s: the target has no such column", p)
		}
		have[i] = true
		f := target.Fields[i]
		if f.Required && m.node.null >= 0 {
			return nil, fmt.Errorf("avro: field %s may be null, the target's column is required", p)
		}
		o, err := compileNode(m.node, f.Type, p)
		if err != nil {
			return nil, err
		}
		o.dst, o.name = int32(i), m.name
		ops = append(ops, o)
	}
	for i, f := range target.Fields {
		if have[i] {
			continue
		}
		if f.Required {
			return nil, fmt.Errorf("avro: the target's column %s is required, this version of the schema has no such field", join(path, f.Name))
		}
		ops = append(ops, avroOp{code: opAbsent, dst: int32(i), name: f.Name})
	}
	return ops, nil
}

// compileNode compiles a node that holds data.
func compileNode(n *avroNode, t *batch.Type, path string) (avroOp, error) {
	if n.logical == variableDecimal {
		if t.Kind != batch.String {
			return avroOp{}, mismatch(n, t, path)
		}
		return avroOp{code: opVariableDecimal}, nil
	}
	switch n.kind {
	case avro.Union:
		return compileUnion(n, t, path)
	case avro.Record:
		if t.Kind != batch.Struct {
			return avroOp{}, mismatch(n, t, path)
		}
		sub, err := compileRecord(n, t, path)
		return avroOp{code: opRecord, sub: sub}, err
	case avro.Array, avro.Map:
		return compileList(n, t, path)
	}
	return compileScalar(n, t, path)
}

func mismatch(n *avroNode, t *batch.Type, path string) error {
	return fmt.Errorf("avro: field %s: %s cannot be brought to the target's %s", pathName(path), n.typ, t)
}

func compileList(n *avroNode, t *batch.Type, path string) (avroOp, error) {
	o, at := avroOp{code: opArray}, 0
	if n.kind == avro.Map {
		o, at = avroOp{code: opMap, min: 1, sub: []avroOp{{code: opString, name: "key"}}}, 1
	}
	if n.typ.Kind != t.Kind || at == 1 && t.Fields[0].Type.Kind != batch.String {
		return o, mismatch(n, t, path)
	}
	m, f := n.members[0], t.Fields[at]
	p := join(path, m.name)
	if f.Required && m.node.null >= 0 {
		return o, fmt.Errorf("avro: field %s may be null, the target's column is required", p)
	}
	e, err := compileNode(m.node, f.Type, p)
	if err != nil {
		return o, err
	}
	e.dst, e.name = int32(at), m.name
	o.sub = append(o.sub, e)
	o.min += m.node.min
	o.width = at + slots(f.Type)
	return o, nil
}

// slots is how many slots one value takes in all columns, without the entries of lists.
func slots(t *batch.Type) int {
	n := 1
	if t.Kind == batch.Struct {
		for _, f := range t.Fields {
			n += slots(f.Type)
		}
	}
	return n
}

func compileUnion(n *avroNode, t *batch.Type, path string) (avroOp, error) {
	others, only := 0, 0
	for i := range n.members {
		if i != n.null {
			others, only = others+1, i
		}
	}
	if others == 1 {
		o, err := compileNode(n.members[only].node, t, path)
		o.union, o.null, o.branch = true, int64(n.null), int64(only)
		return o, err
	}
	o := avroOp{code: opUnion, null: int64(n.null)}
	if t.Kind != batch.Struct {
		return o, mismatch(n, t, path)
	}
	for _, m := range n.members {
		p := join(path, m.name)
		if m.node.typ == nil {
			o.sub = append(o.sub, avroOp{code: opSkip, dst: -1, name: m.name, skip: m.node})
			continue
		}
		at := t.Index(m.name)
		if at < 0 {
			return o, fmt.Errorf("avro: field %s: the target has no such column", p)
		}
		e, err := compileNode(m.node, t.Fields[at].Type, p)
		if err != nil {
			return o, err
		}
		e.dst, e.name = int32(at), m.name
		o.sub = append(o.sub, e)
	}
	for _, f := range t.Fields {
		if f.Required {
			return o, fmt.Errorf("avro: the target's column %s is required, but a value of this union has one type only", join(path, f.Name))
		}
	}
	return o, nil
}

func compileScalar(n *avroNode, t *batch.Type, path string) (avroOp, error) {
	bad := func() (avroOp, error) { return avroOp{}, mismatch(n, t, path) }
	if n.typ.Kind == batch.Decimal {
		if t.Kind != batch.Decimal || t.Scale != n.typ.Scale || t.Precision < n.typ.Precision {
			return bad()
		}
		o := avroOp{code: opDecimal, digits: int32(t.Precision)}
		if n.kind == avro.Fixed {
			o.code, o.size = opDecimalFixed, int32(n.size)
		}
		return o, nil
	}
	switch {
	case n.typ.Kind == batch.Int && t.Kind == batch.Long:
		return avroOp{code: opIntLong}, nil
	case n.typ.Kind == batch.Float && t.Kind == batch.Double:
		return avroOp{code: opFloatWide}, nil
	case n.typ.Kind != t.Kind || t.Length != n.typ.Length:
		return bad()
	}
	switch n.kind {
	case avro.Boolean:
		return avroOp{code: opBool}, nil
	case avro.Int:
		if n.typ.Kind == batch.Time {
			return avroOp{code: opTimeOfDay, by: 1000}, nil
		}
		return avroOp{code: opInt}, nil
	case avro.Long:
		return longOp(n), nil
	case avro.Float:
		return avroOp{code: opFloat}, nil
	case avro.Double:
		return avroOp{code: opDouble}, nil
	case avro.String:
		if n.typ.Kind == batch.UUID {
			return avroOp{code: opUUIDText}, nil
		}
		if n.typ.Kind == batch.TimestampTZ {
			return avroOp{code: opTimeText}, nil
		}
		return avroOp{code: opString}, nil
	case avro.Bytes:
		return avroOp{code: opBytes}, nil
	case avro.Fixed:
		return avroOp{code: opFixed, size: int32(n.size)}, nil
	case avro.Enum:
		o := avroOp{code: opEnum, enum: make([]enumSymbol, len(n.symbols))}
		for i, s := range n.symbols {
			o.enum[i].text = s
		}
		return o, nil
	}
	return bad()
}

func longOp(n *avroNode) avroOp {
	switch n.logical {
	case avro.TimeMicros:
		return avroOp{code: opTimeOfDay, by: 1}
	case nanoTime:
		return avroOp{code: opTimeOfDay, by: -1000}
	case avro.TimestampMillis, avro.LocalTimestampMillis:
		return avroOp{code: opTimes, by: 1000}
	case timestampNanos, localTimestampNanos:
		return avroOp{code: opDivide, by: 1000}
	}
	return avroOp{code: opLong}
}
