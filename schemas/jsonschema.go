package schemas

import (
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lakeloader/lakeloader/batch"
)

// ParseJSONSchema maps a JSON Schema (drafts 4 to 2020-12, 7 where it does not say) to a row type. refs are the schemas
// that it may refer to; nothing is fetched from elsewhere.
//
//	integer                 long; int with "format": "int32", or connect.type int8, int16, int32
//	number                  double; float with "format": "float" or connect.type float32; decimal(P,S) with
//	                        "format": "decimal", "precision": P, "scale": S, or Kafka Connect's title for decimals
//	string                  string; date, timestamptz, time, uuid by "format" date, date-time, time, uuid; binary with
//	                        "contentEncoding": "base64" or connect.type bytes
//	enum, const             the type of their values
//	object                  struct of its properties; without any, map<string, T> by additionalProperties
//	array                   list of its items
//	anything else           string, with the value's JSON text: no type or several, tuples, objects with neither
//	                        properties nor additionalProperties, what contains itself
//
// A property is required if the schema lists it so and it cannot be null. Kafka Connect's titles for Date, Time and
// Timestamp on an integer give those types. allOf is taken together; oneOf and anyOf count where null stands beside one
// other, or all are the same. The types and the structure are enforced for each record; rules on values (minimum,
// pattern, additionalProperties: false ...) are not. A schema of anything but an object with properties gives one
// column "value".
func ParseJSONSchema(text string, refs []Reference) (Schema, error) {
	return parseJSONSchema(text, refs, false)
}

// parseJSONSchema is ParseJSONSchema; connect: the titles of Debezium's types count too.
func parseJSONSchema(text string, refs []Reference, connect bool) (Schema, error) {
	docs := newJSONDocs(refs)
	docs.connect = connect
	s, err := parseJSONSchemaAt(jsonSchemaURL, text, docs)
	if err != nil {
		return nil, err
	}
	return checked(s)
}

// parseJSONSchemaFile is ParseJSONSchema for a local file, which may refer to other files.
func parseJSONSchemaFile(path, text string) (*jsonSchema, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	docs := newJSONDocs(nil)
	docs.files = true
	return parseJSONSchemaAt((&url.URL{Scheme: "file", Path: filepath.ToSlash(full)}).String(), text, docs)
}

func parseJSONSchemaAt(at, text string, docs *jsonDocs) (*jsonSchema, error) {
	compiled, err := compileJSONSchema(at, text, docs)
	if err != nil {
		return nil, err
	}
	m := jsonMapper{docs: docs, open: map[*jsonschema.Schema]bool{}}
	root, err := m.member(compiled, "", 0)
	if err != nil {
		return nil, err
	}
	if root.typ.Kind == batch.Struct {
		return &jsonSchema{row: root.typ, shape: root.shape}, nil
	}
	row := batch.StructOf(batch.Field{Name: "value", Type: root.typ, Required: !root.nullable, Doc: root.doc})
	return &jsonSchema{row: row, shape: shapeOf(jsonShape{fields: []*jsonShape{root.shape}}), bare: true}, nil
}

// jsonMember is what a schema becomes.
type jsonMember struct {
	typ      *batch.Type
	shape    *jsonShape
	nullable bool
	doc      string
}

func (m jsonMember) same(o jsonMember) bool {
	return m.typ.Equal(o.typ) && m.shape == nil && o.shape == nil
}

// jsonText is the member for whatever has no type of its own.
func jsonText() jsonMember {
	return jsonMember{typ: batch.Prim(batch.String), shape: &jsonShape{text: true}, nullable: true}
}

type jsonMapper struct {
	docs    *jsonDocs
	open    map[*jsonschema.Schema]bool // the schemas around the current one
	columns int
}

// member maps a schema, taken together with what it refers to.
func (m *jsonMapper) member(s *jsonschema.Schema, path string, depth int) (jsonMember, error) {
	if m.columns++; m.columns > maxColumns {
		return jsonMember{}, fmt.Errorf("JSON schema: more than %d columns", maxColumns)
	}
	if depth > maxDepth {
		return jsonMember{}, fmt.Errorf("JSON schema: field %s: nested more than %d deep", pathName(path), maxDepth)
	}
	p := m.together(s)
	for _, part := range p.schemas {
		if m.open[part] {
			return jsonText(), nil
		}
	}
	for _, part := range p.schemas {
		m.open[part] = true
		defer delete(m.open, part)
	}
	got, err := m.typed(p, path, depth)
	if got.doc = p.text("description"); got.doc == "" {
		got.doc = p.text("connect.doc")
	}
	return got, err
}

func (m *jsonMapper) typed(p jsonParts, path string, depth int) (jsonMember, error) {
	kinds, nullable := p.types()
	if len(kinds) == 0 {
		switch {
		case p.has(func(s *jsonschema.Schema) bool { return len(s.Properties) > 0 }):
			kinds = []string{"object"}
		case p.choice() != nil:
			return m.oneOf(p.choice(), nullable, path, depth)
		case p.values() != nil:
			kinds, nullable = typesOf(p.values())
		}
	}
	if len(kinds) == 2 && (kinds[0] == "integer" && kinds[1] == "number" || kinds[0] == "number" && kinds[1] == "integer") {
		kinds = []string{"number"}
	}
	if len(kinds) != 1 {
		return jsonText(), nil
	}
	var got jsonMember
	var err error
	switch kinds[0] {
	case "object":
		got, err = m.object(p, path, depth)
	case "array":
		got, err = m.array(p, path, depth)
	default:
		got, err = p.scalar(kinds[0], path)
	}
	got.nullable = got.nullable || nullable
	return got, err
}

func (m *jsonMapper) oneOf(choice []*jsonschema.Schema, nullable bool, path string, depth int) (jsonMember, error) {
	var first jsonMember
	for _, s := range choice {
		if kinds, null := m.together(s).types(); null && len(kinds) == 0 {
			nullable = true
			continue
		}
		got, err := m.member(s, path, depth+1)
		if err != nil {
			return got, err
		}
		if first.typ == nil {
			first = got
		} else if !first.same(got) {
			return jsonText(), nil
		}
		nullable = nullable || got.nullable
	}
	if first.typ == nil {
		return jsonText(), nil
	}
	first.nullable = nullable
	return first, nil
}

func (m *jsonMapper) object(p jsonParts, path string, depth int) (jsonMember, error) {
	names, properties, required := p.properties()
	t, shape := batch.StructOf(), jsonShape{}
	for i, name := range names {
		got, err := m.member(properties[i], join(path, name), depth+1)
		if err != nil {
			return got, err
		}
		t.Fields = append(t.Fields, batch.Field{Name: name, Type: got.typ, Required: required[name] && !got.nullable, Doc: got.doc})
		shape.fields = append(shape.fields, got.shape)
	}
	if len(t.Fields) > 0 {
		return jsonMember{typ: t, shape: shapeOf(shape)}, nil
	}
	values := p.additional()
	if values == nil {
		text := jsonText()
		text.nullable = false
		return text, nil
	}
	got, err := m.member(values, join(path, "value"), depth+1)
	if err != nil {
		return got, err
	}
	return jsonMember{typ: batch.MapOf(batch.Prim(batch.String), got.typ, !got.nullable),
		shape: shapeOf(jsonShape{fields: []*jsonShape{nil, got.shape}})}, nil
}

func (m *jsonMapper) array(p jsonParts, path string, depth int) (jsonMember, error) {
	items, tuple := p.items()
	switch {
	case tuple:
		text := jsonText()
		text.nullable = false
		return text, nil
	case items == nil:
		any := jsonText()
		return jsonMember{typ: batch.ListOf(any.typ, false), shape: &jsonShape{fields: []*jsonShape{any.shape}}}, nil
	}
	got, err := m.member(items, join(path, "element"), depth+1)
	if err != nil {
		return got, err
	}
	return jsonMember{typ: batch.ListOf(got.typ, !got.nullable), shape: shapeOf(jsonShape{fields: []*jsonShape{got.shape}})}, nil
}
