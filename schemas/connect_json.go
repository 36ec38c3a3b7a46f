package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// connectJSON is the schema of JSON as Kafka Connect's JsonConverter writes it, with declared columns: the value alone, or
// {"schema": ..., "payload": ...}. Of a schema within a record it takes in what units numbers are, and how decimals are written; without
// one the configuration says so. The row is that of Debezium's envelope, where there is one around the declared columns.
type connectJSON struct{ *jsonSchema }

// connectSchema makes a connectJSON of declared columns.
func connectSchema(s Schema, c configs.Changes) (Schema, error) {
	declared, ok := s.(*jsonSchema)
	if !ok || declared.bare {
		return nil, errors.New("changes in plain JSON need the row's columns, by columns or schema: they must be known before the first record")
	}
	if declared.strict {
		return nil, errors.New("unknown_fields: dead_letter does not go with changes, whose records have more fields than the row")
	}
	unit := map[string]timeUnit{"milliseconds": unitMillis, "nanoseconds": unitNanos}[c.TimeUnit]
	if unit == unitDefault {
		unit = unitMicros
	}
	row := batch.StructOf(append([]batch.Field(nil), declared.row.Fields...)...)
	for i := range row.Fields {
		row.Fields[i].Required = false // a before may have the key only
	}
	shape := withUnits(row, declared.shape, unit, c.Decimals != "string")
	if c.Form == "debezium" {
		row, shape = envelopeRow(row), shapeOf(jsonShape{fields: []*jsonShape{shape, shape}})
	}
	out := &jsonSchema{row: row, shape: shape}
	if _, err := checked(out); err != nil {
		return nil, err
	}
	return connectJSON{out}, nil
}

// withUnits gives times and decimals that have no unit of their own the configured one.
func withUnits(t *batch.Type, s *jsonShape, unit timeUnit, base64 bool) *jsonShape {
	var out jsonShape
	if s != nil {
		out = *s
	}
	switch t.Kind {
	case batch.Time, batch.Timestamp, batch.TimestampTZ:
		if out.unit == unitDefault {
			out.unit = unit
		}
	case batch.Decimal:
		out.base64 = base64
	}
	if len(t.Fields) > 0 {
		out.fields = make([]*jsonShape, len(t.Fields))
		for i, f := range t.Fields {
			out.fields[i] = withUnits(f.Type, s.at(i), unit, base64)
		}
	}
	return shapeOf(out)
}

// envelopeRow is Debezium's envelope around a row: what of it is used.
func envelopeRow(row *batch.Type) *batch.Type {
	field := func(name string, k batch.Kind) batch.Field { return batch.Field{Name: name, Type: batch.Prim(k)} }
	source := batch.StructOf(field("ts_us", batch.Long), field("ts_ms", batch.Long), field("lsn", batch.Long), field("file", batch.String), field("pos", batch.Long),
		field("row", batch.Long), field("commit_lsn", batch.String), field("change_lsn", batch.String), field("event_serial_no", batch.Long), field("scn", batch.String))
	return batch.StructOf(batch.Field{Name: "before", Type: row}, batch.Field{Name: "after", Type: row}, batch.Field{Name: "source", Type: source},
		field("op", batch.String), field("ts_ms", batch.Long))
}

// Compile implements Schema.
func (s connectJSON) Compile(target *batch.Type) (Plan, error) {
	plain, err := s.jsonSchema.Compile(target)
	if err != nil {
		return nil, err
	}
	return &connectPlan{schema: s.jsonSchema, target: target, plain: plain, plans: map[string]connectEntry{}}, nil
}

// connectPlan has a plan for each schema that records carried.
type connectPlan struct {
	schema *jsonSchema
	target *batch.Type
	plain  Plan
	plans  map[string]connectEntry
	last   []byte // the schema of the record before
	entry  connectEntry
	scan   jsonScan
}

type connectEntry struct {
	plan Plan
	err  error
}

// maxConnectPlans bounds what is kept; a topic has few schemas.
const maxConnectPlans = 64

// Append implements Plan.
func (p *connectPlan) Append(r *batch.Records, payload batch.View, root *batch.Column) error {
	text := r.Bytes(payload)
	schema, from, to, err := p.parts(text)
	if err != nil {
		return err
	}
	if schema == nil {
		return p.plain.Append(r, payload, root)
	}
	if p.last == nil || !bytes.Equal(schema, p.last) {
		p.entry = p.planFor(schema)
		p.last = append(p.last[:0], schema...)
	}
	if p.entry.err != nil {
		return p.entry.err
	}
	if string(text[from:to]) == "null" {
		return failf("the payload is null")
	}
	return p.entry.plan.Append(r, batch.View{Off: payload.Off + uint32(from), Len: uint32(to - from)}, root)
}

// parts finds the schema, and where the payload is; no schema: the text is the value itself.
func (p *connectPlan) parts(text []byte) (schema []byte, from, to int, err error) {
	s := &p.scan
	s.b, s.i = text, 0
	if s.next() != '{' {
		return nil, 0, 0, nil
	}
	s.i++
	const name = `"schema"`
	if s.next() != '"' || len(text)-s.i < len(name) || string(text[s.i:s.i+len(name)]) != name {
		return nil, 0, 0, nil
	}
	s.i += len(name)
	if err := s.take(':', "\":\""); err != nil {
		return nil, 0, 0, err
	}
	s.next()
	start := s.i
	if n := start + len(p.last); p.last != nil && n < len(text) && bytes.Equal(text[start:n], p.last) {
		s.i = n
	} else if err := s.skip(1); err != nil {
		return nil, 0, 0, err
	}
	schema = text[start:s.i]
	if s.next() != ',' {
		return nil, 0, 0, nil // a row whose first column is named schema
	}
	s.i++
	const second = `"payload"`
	if s.next() != '"' || len(text)-s.i < len(second) || string(text[s.i:s.i+len(second)]) != second {
		return nil, 0, 0, nil
	}
	s.i += len(second)
	if err := s.take(':', "\":\""); err != nil {
		return nil, 0, 0, err
	}
	s.next()
	from = s.i
	if end := bytes.TrimRight(text, " \t\r\n"); len(end) > from && end[len(end)-1] == '}' {
		return schema, from, len(end) - 1, nil // the payload's own plan looks whether it ends there
	}
	return nil, 0, 0, s.unexpected("the end of the object")
}

func (p *connectPlan) planFor(text []byte) connectEntry {
	if e, ok := p.plans[string(text)]; ok {
		return e
	}
	var e connectEntry
	if string(text) == "null" {
		e.plan = p.plain
	} else {
		var c connectField
		if err := json.Unmarshal(text, &c); err != nil {
			e.err = failf("the record's schema cannot be read: %v", err)
		} else {
			shape, err := c.shape(p.schema.row, p.schema.shape, "")
			if err == nil {
				e.plan, err = (&jsonSchema{row: p.schema.row, shape: shape}).Compile(p.target)
			}
			e.err = err
		}
	}
	if len(p.plans) >= maxConnectPlans {
		clear(p.plans)
	}
	p.plans[string(text)] = e
	return e
}

// connectField is a type in a schema of the JsonConverter.
type connectField struct {
	Type       string            `json:"type"`
	Name       string            `json:"name"`
	Field      string            `json:"field"`
	Parameters map[string]string `json:"parameters"`
	Fields     []connectField    `json:"fields"`
	Items      *connectField     `json:"items"`
	Values     *connectField     `json:"values"`
}

// shape is base with what the schema says of a column of type t.
func (c *connectField) shape(t *batch.Type, base *jsonShape, path string) (*jsonShape, error) {
	var out jsonShape
	if base != nil {
		out = *base
	}
	member := func(i int, f *connectField) error {
		if len(out.fields) != len(t.Fields) {
			out.fields = append(make([]*jsonShape, 0, len(t.Fields)), out.fields...)[:len(t.Fields)]
		}
		s, err := f.shape(t.Fields[i].Type, base.at(i), join(path, t.Fields[i].Name))
		out.fields[i] = s
		return err
	}
	out.fields = append([]*jsonShape(nil), out.fields...)
	switch t.Kind {
	case batch.Struct:
		for i := range c.Fields {
			if at := t.Index(c.Fields[i].Field); at >= 0 {
				if err := member(at, &c.Fields[i]); err != nil {
					return nil, err
				}
			}
		}
	case batch.List:
		if c.Items != nil {
			if err := member(0, c.Items); err != nil {
				return nil, err
			}
		}
	case batch.Map:
		if c.Values != nil {
			if err := member(1, c.Values); err != nil {
				return nil, err
			}
		}
	case batch.Decimal:
		out.base64 = c.Type == "bytes"
		if scale, err := strconv.Atoi(c.Parameters["scale"]); c.Name == connectDecimal && (err != nil || scale != t.Scale) {
			return nil, failf("field %s: the record's schema has the scale %q, the column is %s", pathName(path), c.Parameters["scale"], t)
		}
	case batch.Date, batch.Time, batch.Timestamp, batch.TimestampTZ:
		if is := debeziumTypes[c.Name]; is.unit != unitDefault {
			out.unit = is.unit
		}
	}
	return shapeOf(out), nil
}
