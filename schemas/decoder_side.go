package schemas

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// side is the decoding of values or of keys.
type side struct {
	name     string // value or key
	format   configs.Format
	prefix   string
	nullable bool // a null payload is a row without these columns, not a dead letter
	// changes: the records are changes of a database's rows; nil: they are not.
	changes  *configs.Changes
	registry Registry
	fixed    *entry           // for payloads without a header: the only entry
	entries  map[int32]*entry // by schema id
	last     *entry           // of the record before
	// row is the union of the entries' row types, target what plans are compiled for: the same, but for all fields
	// being optional when the side is nullable.
	row, target *batch.Type
}

// entry is what is known of a schema id.
type entry struct {
	id     int32
	state  state
	schema Schema
	plan   Plan
	target *batch.Type // of plan
	// stage and reason say why records of this id are dead letters.
	stage, reason string
	// types has an entry for each record type seen, when the schema has several (Protobuf); last is that of the payload
	// before, which began with the index path head. Such an entry has no plan itself.
	types    map[Schema]*entry
	selector Selector
	last     *entry
	head     []byte
	// since and asked are when the registry first and last said that it does not know the id.
	since, asked time.Time
}

type state uint8

const (
	known state = iota
	missing
)

// typeOf returns the entry of the payload's record type, nil if the type was not seen before; and the type's schema.
func (e *entry) typeOf(payload []byte) (*entry, Schema, error) {
	if e.last != nil && bytes.HasPrefix(payload, e.head) {
		return e.last, e.last.schema, nil
	}
	schema, err := e.selector.Select(payload)
	if err != nil {
		return nil, nil, err
	}
	// The index path is a prefix code: payloads that begin with the same one are of the same type.
	_, n, err := messageIndex(payload, nil)
	if err != nil {
		return nil, nil, err
	}
	e.last, e.head = e.types[schema], append(e.head[:0], payload[:n]...)
	return e.last, schema, nil
}

// maxReason bounds the reason of a dead letter.
const maxReason = 500

func (e *entry) refuse(s *side, err error) {
	what := "the " + s.name + "'s schema"
	if e.id != 0 {
		what = fmt.Sprintf("schema id %d", e.id)
	}
	e.stage, e.reason = "evolve", shorten(fmt.Sprintf("%s cannot be used: %v", what, err), maxReason)
}

// wireTypes are the formats in the Confluent wire format, with the registry's name for them.
var wireTypes = map[string]string{"avro": "AVRO", "protobuf": "PROTOBUF", "json_schema": "JSON"}

func newSide(name string, f configs.Format, prefix string, reg Registry, changes *configs.Changes) (*side, error) {
	s := &side{name: name, format: f, prefix: prefix, registry: reg, changes: changes, entries: map[int32]*entry{}}
	if f.Prefix != nil {
		s.prefix = *f.Prefix
	}
	if wireTypes[f.Format] != "" {
		if reg == nil {
			return nil, fmt.Errorf("decode.%s: format %s needs a schema registry: set registry.url", name, f.Format)
		}
		return s, nil
	}
	if f.Format != "json" {
		return nil, fmt.Errorf("decode.%s: format %q is none of avro, protobuf, json_schema, json", name, f.Format)
	}
	schema, err := plainSchema(f)
	if err == nil && changes != nil {
		schema, err = connectSchema(schema, *changes)
	}
	if err != nil {
		return nil, fmt.Errorf("decode.%s: %w", name, err)
	}
	s.fixed = &entry{schema: schema}
	return s, nil
}

func plainSchema(f configs.Format) (Schema, error) {
	switch {
	case f.Schema != "":
		return ParsePlainFile(f.Schema, f.Unknown)
	case len(f.Columns) > 0:
		return ParseColumns(f.Columns, f.Unknown)
	}
	return ParseRaw(), nil
}

// parse reads a schema from the registry.
func (s *side) parse(reg Registered) (Schema, error) {
	if want := wireTypes[s.format.Format]; reg.Type != want {
		return nil, fmt.Errorf("it is of type %s, but decode.%s.format is %s", reg.Type, s.name, s.format.Format)
	}
	switch s.format.Format {
	case "protobuf":
		return ParseProtobuf(reg.Text, reg.Refs)
	case "json_schema":
		return parseJSONSchema(reg.Text, reg.Refs, s.changes != nil)
	}
	return parseAvro(reg.Text, reg.Refs, s.changes != nil)
}

// subjects are those whose latest schemas give the columns at the start.
func (s *side) subjects(topics []string) []string {
	switch {
	case s.fixed != nil:
		return nil
	case s.format.Subject != "":
		return []string{s.format.Subject}
	}
	out := make([]string, len(topics))
	for i, t := range topics {
		out[i] = t + "-" + s.name
	}
	return out
}

func (s *side) targetOf(row *batch.Type) *batch.Type {
	if !s.nullable {
		return row
	}
	t := batch.StructOf(append([]batch.Field(nil), row.Fields...)...)
	for i := range t.Fields {
		t.Fields[i].Required = false
	}
	return t
}

// planOf returns the entry's plan for the current target.
func (s *side) planOf(e *entry) (Plan, error) {
	if e.target != s.target {
		p, err := e.schema.Compile(s.target)
		if err != nil {
			return nil, err
		}
		e.plan, e.target = p, s.target
	}
	return e.plan, nil
}

// difference says in words what b, which a was merged into, has beyond a.
func difference(path string, a, b *batch.Type) string {
	var out []string
	for i, f := range b.Fields {
		p := join(path, f.Name)
		k := a.Index(f.Name)
		if b.Kind != batch.Struct {
			k = i
		}
		switch {
		case k < 0:
			out = append(out, fmt.Sprintf("%s (%s) is new", p, f.Type))
		case !f.Type.Equal(a.Fields[k].Type) && f.Type.Nested():
			out = append(out, difference(p, a.Fields[k].Type, f.Type))
		case !f.Type.Equal(a.Fields[k].Type):
			out = append(out, fmt.Sprintf("%s becomes %s from %s", p, f.Type, a.Fields[k].Type))
		}
		if k >= 0 && a.Fields[k].Required && !f.Required {
			out = append(out, p+" becomes optional")
		}
	}
	return strings.Join(out, ", ")
}
