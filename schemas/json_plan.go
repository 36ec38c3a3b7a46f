package schemas

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// jsonSchema describes JSON texts by the row type that they become. All front ends (declared columns, JSON Schema, an
// Avro schema for plain JSON) end here, and so mean the same by a type:
//
//   - int, long: a number without a fraction; 1.0 and 1e3 are such
//   - decimal: a number, or text that holds one, exactly; more places than the scale are an error unless zero
//   - float, double: a number, or the text NaN, Infinity, -Infinity
//   - date, time, timestamp, timestamptz: ISO 8601 text, or a number in the shape's unit: days for a date, otherwise
//     milliseconds where nothing else was said. Text for timestamptz has a zone, for timestamp none
//   - string: text, or any other value's JSON text
//   - uuid: 32 hexadecimal digits, with dashes or without; binary, fixed: base64
//   - struct and map: an object; list: an array
//
// null, and a field left out, is null; for a required field it is an error. So are a name or key that is there twice,
// and text that is no UTF-8.
type jsonSchema struct {
	row    *batch.Type
	shape  *jsonShape
	strict bool // a field without a column is an error
	bare   bool // the text is the value of the only column, not an object of columns
}

// jsonShape says how JSON stands for a type where that has more than one way. It has the type's own structure; nil
// means the usual way for all below.
type jsonShape struct {
	unit   timeUnit
	text   bool // a string column: JSON text of any value, with a string's quotes
	base64 bool // a decimal's text is base64 of its big-endian bytes
	fields []*jsonShape
}

func (s *jsonShape) at(i int) *jsonShape {
	if s == nil || i >= len(s.fields) {
		return nil
	}
	return s.fields[i]
}

// shapeOf returns s, or nil if it says nothing.
func shapeOf(s jsonShape) *jsonShape {
	useful := s.unit != unitDefault || s.text || s.base64
	for _, f := range s.fields {
		useful = useful || f != nil
	}
	if !useful {
		return nil
	}
	return &s
}

func (s *jsonSchema) Row() *batch.Type { return s.row }

func (s *jsonSchema) Compile(target *batch.Type) (Plan, error) {
	root, err := compileJSON(s.row, target, s.shape, "")
	if err != nil {
		return nil, err
	}
	return &jsonPlan{root: root, strict: s.strict, bare: s.bare}, nil
}

// jsonNode decodes the values of one column.
type jsonNode struct {
	kind     batch.Kind // of the column
	typ      *batch.Type
	required bool
	unit     timeUnit
	text     bool
	base64   bool
	member   *jsonNode // a list's elements or a map's values
	width    int       // of a list or map: slots that an entry takes at least

	fields []jsonField // of a struct, those that the schema has
	byName map[string]int
	absent []int // the other columns of the struct, which get null
	// after predicts the next field: after[i+1] is the one that last followed field i, after[0] the first. Producers
	// keep an order, whatever it is.
	after []int
}

type jsonField struct {
	name   string
	quoted string // as it stands in most texts; a zero byte, which never does, if it always holds escapes
	column int
	node   *jsonNode
}

func compileJSON(row, target *batch.Type, shape *jsonShape, path string) (*jsonNode, error) {
	if !becomes(row, target) {
		return nil, fmt.Errorf("field %s: %s cannot become %s", pathName(path), row, target)
	}
	n := &jsonNode{kind: target.Kind, typ: target}
	if shape != nil {
		n.unit, n.text, n.base64 = shape.unit, shape.text, shape.base64
	}
	var err error
	switch target.Kind {
	case batch.Struct:
		err = n.compileFields(row, target, shape, path)
	case batch.List:
		n.member, err = compileMember(row.Fields[0], target.Fields[0], shape.at(0), path)
		n.width = slots(target.Fields[0].Type)
	case batch.Map:
		if row.Fields[0].Type.Kind != batch.String || target.Fields[0].Type.Kind != batch.String {
			return nil, fmt.Errorf("field %s: the keys of a JSON object are text, so a map's key must be string, not %s", pathName(path), row.Fields[0].Type)
		}
		n.member, err = compileMember(row.Fields[1], target.Fields[1], shape.at(1), path)
		n.width = 1 + slots(target.Fields[1].Type)
	}
	return n, err
}

func (n *jsonNode) compileFields(row, target *batch.Type, shape *jsonShape, path string) error {
	n.byName = make(map[string]int, len(row.Fields))
	for column, t := range target.Fields {
		at := row.Index(t.Name)
		if at < 0 {
			if t.Required {
				return fmt.Errorf("field %s: the schema does not have it, so it cannot be required", pathName(join(path, t.Name)))
			}
			n.absent = append(n.absent, column)
			continue
		}
		m, err := compileMember(row.Fields[at], t, shape.at(at), path)
		if err != nil {
			return err
		}
		n.byName[t.Name] = len(n.fields)
		n.fields = append(n.fields, jsonField{name: t.Name, quoted: quotedName(t.Name), column: column, node: m})
	}
	for _, f := range row.Fields {
		if target.Index(f.Name) < 0 {
			return fmt.Errorf("field %s: there is no column for it", pathName(join(path, f.Name)))
		}
	}
	if len(n.fields) == 0 {
		return fmt.Errorf("field %s: a struct without fields", pathName(path))
	}
	n.after = make([]int, len(n.fields)+1)
	for i := range n.after {
		n.after[i] = min(i, len(n.fields)-1)
	}
	return nil
}

func quotedName(name string) string {
	if at, _ := stop([]byte(name), 0); at < len(name) {
		return "\x00"
	}
	return `"` + name + `"`
}

func compileMember(row, target batch.Field, shape *jsonShape, path string) (*jsonNode, error) {
	path = join(path, target.Name)
	if target.Required && !row.Required {
		return nil, fmt.Errorf("field %s: it is optional in the schema, so its column cannot be required", pathName(path))
	}
	n, err := compileJSON(row.Type, target.Type, shape, path)
	if err == nil {
		n.required = row.Required
	}
	return n, err
}

// becomes reports whether a column of type to takes every value of from, members aside.
func becomes(from, to *batch.Type) bool {
	if from.Kind != to.Kind {
		return widens(from.Kind, to.Kind)
	}
	switch from.Kind {
	case batch.Decimal:
		return from.Scale == to.Scale && from.Precision <= to.Precision
	case batch.Fixed:
		return from.Length == to.Length
	}
	return true
}
