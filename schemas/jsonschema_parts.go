package schemas

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lakeloader/lakeloader/batch"
)

// jsonParts is a schema with all that holds beside it: what it refers to, and allOf. Of each keyword the first counts.
type jsonParts struct {
	schemas []*jsonschema.Schema
	docs    []*jsonDoc
	connect bool
}

func (m *jsonMapper) together(s *jsonschema.Schema) jsonParts {
	p := jsonParts{connect: m.docs.connect}
	seen := map[*jsonschema.Schema]bool{}
	var add func(*jsonschema.Schema)
	add = func(s *jsonschema.Schema) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		p.schemas = append(p.schemas, s)
		p.docs = append(p.docs, m.docs.find(s.Location))
		add(s.Ref)
		add(s.RecursiveRef)
		if s.DynamicRef != nil {
			add(s.DynamicRef.Ref)
		}
		for _, a := range s.AllOf {
			add(a)
		}
	}
	add(s)
	return p
}

func (p jsonParts) has(what func(*jsonschema.Schema) bool) bool {
	for _, s := range p.schemas {
		if what(s) {
			return true
		}
	}
	return false
}

// text returns an extension keyword's value, "" if there is none.
func (p jsonParts) text(name string) string {
	for _, d := range p.docs {
		if t := d.text(name); t != "" {
			return t
		}
	}
	return ""
}

// types returns the JSON types without null, and whether null is one.
func (p jsonParts) types() (kinds []string, nullable bool) {
	for _, s := range p.schemas {
		if s.Types == nil || s.Types.IsEmpty() {
			continue
		}
		for _, k := range s.Types.ToStrings() {
			if k == "null" {
				nullable = true
			} else {
				kinds = append(kinds, k)
			}
		}
		break
	}
	// "nullable" is OpenAPI's way to say it.
	for _, d := range p.docs {
		if n := d.get("nullable"); n != nil && n.value == true {
			nullable = true
		}
	}
	return kinds, nullable
}

func (p jsonParts) choice() []*jsonschema.Schema {
	for _, s := range p.schemas {
		if len(s.OneOf) > 0 {
			return s.OneOf
		}
		if len(s.AnyOf) > 0 {
			return s.AnyOf
		}
	}
	return nil
}

// values returns those of enum or const.
func (p jsonParts) values() []any {
	for _, s := range p.schemas {
		if s.Enum != nil {
			return s.Enum.Values
		}
		if s.Const != nil {
			return []any{*s.Const}
		}
	}
	return nil
}

func typesOf(values []any) (kinds []string, nullable bool) {
	seen := map[string]bool{}
	for _, v := range values {
		k := "object"
		switch v := v.(type) {
		case nil:
			nullable = true
			continue
		case string:
			k = "string"
		case bool:
			k = "boolean"
		case []any:
			k = "array"
		case json.Number:
			if k = "number"; digits([]byte(v)) == len(v) || v[0] == '-' && digits([]byte(v[1:])) == len(v)-1 {
				k = "integer"
			}
		}
		if !seen[k] {
			seen[k] = true
			kinds = append(kinds, k)
		}
	}
	if len(kinds) == 1 && kinds[0] == "object" {
		kinds = nil // no schema says what is in it
	}
	return kinds, nullable
}

// properties returns those that an object may have in the order of the text, or of Kafka Connect's index where all have one.
func (p jsonParts) properties() (names []string, schemas []*jsonschema.Schema, required map[string]bool) {
	required = map[string]bool{}
	seen := map[string]bool{}
	var order []int
	for i, s := range p.schemas {
		for _, name := range s.Required {
			required[name] = true
		}
		d := p.docs[i].get("properties")
		if d == nil {
			continue
		}
		for j, name := range d.names {
			prop := s.Properties[name]
			if prop == nil || prop.Bool != nil && !*prop.Bool {
				continue
			}
			if !seen[name] {
				seen[name] = true
				names, schemas = append(names, name), append(schemas, prop)
				if at, err := strconv.Atoi(d.members[j].text("connect.index")); err == nil {
					order = append(order, at)
				}
			}
		}
	}
	if len(order) == len(names) {
		sort.Stable(byIndex{order, names, schemas})
	}
	return names, schemas, required
}

type byIndex struct {
	order   []int
	names   []string
	schemas []*jsonschema.Schema
}

func (b byIndex) Len() int           { return len(b.order) }
func (b byIndex) Less(i, j int) bool { return b.order[i] < b.order[j] }
func (b byIndex) Swap(i, j int) {
	b.order[i], b.order[j] = b.order[j], b.order[i]
	b.names[i], b.names[j] = b.names[j], b.names[i]
	b.schemas[i], b.schemas[j] = b.schemas[j], b.schemas[i]
}

// additional returns the schema of the values of an object whose names are free; nil: none is given.
func (p jsonParts) additional() *jsonschema.Schema {
	for _, s := range p.schemas {
		if v, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
			return v
		}
	}
	for _, s := range p.schemas {
		if len(s.PatternProperties) == 1 {
			for _, v := range s.PatternProperties {
				return v
			}
		}
	}
	return nil
}

// items returns the schema of an array's elements; tuple: the elements have different ones.
func (p jsonParts) items() (items *jsonschema.Schema, tuple bool) {
	for _, s := range p.schemas {
		if _, ok := s.Items.([]*jsonschema.Schema); ok || len(s.PrefixItems) > 0 {
			return nil, true
		}
		if v, ok := s.Items.(*jsonschema.Schema); ok {
			return v, false
		}
		if s.Items2020 != nil {
			return s.Items2020, false
		}
	}
	return nil, false
}

// The names of Kafka Connect's logical types.
const (
	connectDecimal   = "org.apache.kafka.connect.data.Decimal"
	connectDate      = "org.apache.kafka.connect.data.Date"
	connectTime      = "org.apache.kafka.connect.data.Time"
	connectTimestamp = "org.apache.kafka.connect.data.Timestamp"
)

func (p jsonParts) scalar(kind, path string) (jsonMember, error) {
	format, connect, title := p.text("format"), p.text("connect.type"), p.text("title")
	prim := func(k batch.Kind) (jsonMember, error) { return jsonMember{typ: batch.Prim(k)}, nil }
	if kind != "boolean" && (title == connectDecimal || format == "decimal") {
		return p.decimal(title == connectDecimal, kind, path)
	}
	if t := debeziumTypes[title]; p.connect && t.json == kind {
		return jsonMember{typ: batch.Prim(t.kind), shape: shapeOf(jsonShape{unit: t.unit})}, nil
	}
	switch kind {
	case "boolean":
		return prim(batch.Boolean)
	case "integer":
		switch {
		case title == connectDate:
			return prim(batch.Date)
		case title == connectTime:
			return prim(batch.Time)
		case title == connectTimestamp:
			return prim(batch.TimestampTZ)
		case format == "int32", connect == "int8", connect == "int16", connect == "int32":
			return prim(batch.Int)
		}
		return prim(batch.Long)
	case "number":
		if format == "float" || connect == "float32" {
			return prim(batch.Float)
		}
		return prim(batch.Double)
	}
	switch {
	case p.text("contentEncoding") == "base64", connect == "bytes":
		return prim(batch.Binary)
	case format == "date":
		return prim(batch.Date)
	case format == "date-time":
		return prim(batch.TimestampTZ)
	case format == "time":
		return prim(batch.Time)
	case format == "uuid":
		return prim(batch.UUID)
	}
	return prim(batch.String)
}

// decimal reads precision and scale. Kafka Connect's converter writes a decimal as a number or as base64 of its bytes,
// whatever the schema's type.
func (p jsonParts) decimal(connect bool, kind, path string) (jsonMember, error) {
	precision, scale := p.text("precision"), p.text("scale")
	if connect {
		precision, scale = strconv.Itoa(maxPrecision), ""
		for _, d := range p.docs {
			if params := d.get("connect.parameters"); params != nil {
				scale = params.text("scale")
				if given := params.text("connect.decimal.precision"); given != "" {
					precision = given
				}
			}
		}
	} else if precision == "" {
		if kind == "string" {
			return jsonMember{typ: batch.Prim(batch.String)}, nil
		}
		return jsonMember{typ: batch.Prim(batch.Double)}, nil
	}
	if scale == "" {
		scale = "0"
	}
	t, err := batch.ParseType("decimal(" + precision + "," + scale + ")")
	if err != nil {
		return jsonMember{}, fmt.Errorf("JSON schema: field %s: %w", pathName(path), err)
	}
	return jsonMember{typ: t, shape: shapeOf(jsonShape{base64: connect})}, nil
}
