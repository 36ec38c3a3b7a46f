package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hamba/avro/v2"
	"github.com/lakeloader/lakeloader/batch"
)

// Limits of a schema. Named types used many times expand into a column each time, so a short text can describe
// millions of columns.
const (
	maxColumns = 10_000
	maxDepth   = 64
)

// ParseAvro maps an Avro schema to a row type. refs are schemas whose named types it uses, with their own references.
//
// Logical types become what they say: decimal, date, time-* (Time), timestamp-* (TimestampTZ), local-timestamp-*
// (Timestamp), all in microseconds (nanoseconds round down), uuid (of string or fixed[16]). An enum becomes String,
// duration Fixed(12). A logical type that is unknown or misused leaves the type below it, as the specification wants.
//
// A union with null makes its field optional. A union of several other types becomes a struct with one optional field
// per type, of which exactly one is present; it is named by the type: "long", "string", "array", or a named type's
// name without its namespace (with it, dots as underscores, where two would be the same).
//
// What can hold no data (null, an empty record, fixed of size 0, and what consists of these) gets no column. A schema
// that is no record gives one column "value". Recursive types are an error: no table can hold them.
func ParseAvro(text string, refs []Reference) (Schema, error) { return parseAvro(text, refs, false) }

// parseAvro is ParseAvro; connect: the types of Kafka Connect and Debezium (connect.name) count too.
func parseAvro(text string, refs []Reference, connect bool) (Schema, error) {
	parsed, err := parseAvroText(text, refs)
	if err != nil {
		return nil, err
	}
	b := avroBuilder{open: map[string]bool{}, connect: connect}
	node, err := b.node(parsed, "", 0)
	if err != nil {
		return nil, err
	}
	s := &avroSchema{root: node, row: node.typ}
	if node.kind != avro.Record {
		s.row = batch.StructOf()
		if node.typ != nil {
			s.row.Fields = []batch.Field{{Name: "value", Type: node.typ, Required: node.null < 0}}
		}
	} else if node.typ == nil {
		s.row = batch.StructOf()
	}
	return s, nil
}

type avroSchema struct {
	root *avroNode
	row  *batch.Type
}

func (s *avroSchema) Row() *batch.Type { return s.row }

// avroNode is a type as it is on the wire, with what it becomes.
type avroNode struct {
	kind    avro.Type
	logical avro.LogicalType
	typ     *batch.Type // nil: holds no data
	null    int         // of a union: the index of null; -1: none
	size    int         // of a fixed
	symbols []string    // of an enum
	// members are a record's fields, a union's types, an array's items or a map's values.
	members []avroMember
	min     int // the least number of bytes of a value
}

type avroMember struct {
	name string
	node *avroNode
}

func parseAvroText(text string, refs []Reference) (avro.Schema, error) {
	cache := &avro.SchemaCache{}
	if err := cacheReferences(refs, cache, map[string]bool{}, 0); err != nil {
		return nil, err
	}
	s, err := parseAvroWith(text, cache)
	if err != nil {
		return nil, fmt.Errorf("avro schema: %w", err)
	}
	return s, nil
}

// cacheReferences parses each reference once, what it refers to itself first.
func cacheReferences(refs []Reference, cache *avro.SchemaCache, done map[string]bool, depth int) error {
	if depth > maxDepth {
		return errors.New("avro schema: references are nested too deeply")
	}
	for _, r := range refs {
		key := r.Name + "\x00" + r.Text
		if done[key] {
			continue
		}
		done[key] = true
		if err := cacheReferences(r.Refs, cache, done, depth+1); err != nil {
			return err
		}
		if _, err := parseAvroWith(r.Text, cache); err != nil {
			return fmt.Errorf("avro schema: reference %s: %w", r.Name, err)
		}
	}
	return nil
}

// parseAvroWith parses one text. Defaults are taken out first: decoding never uses them, and one that does not suit its
// type (common, as Java's parser does not mind) must not make a topic unreadable.
func parseAvroWith(text string, cache *avro.SchemaCache) (s avro.Schema, err error) {
	var v any
	if err := json.Unmarshal(dropComments(text), &v); err != nil {
		return nil, fmt.Errorf("is no JSON: %w", err)
	}
	dropDefaults(v)
	clean, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("the parser cannot cope with it: %v", p)
		}
	}()
	s, err = avro.ParseBytesWithCache(clean, "", cache)
	if err != nil {
		return nil, errors.New(shorten(strings.TrimPrefix(err.Error(), "avro: "), 300))
	}
	return s, nil
}

// dropComments takes out // and /* */ comments, which Java's parser allows.
func dropComments(text string) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		n := 1
		switch rest := text[i:]; {
		case rest[0] == '"':
			for n < len(rest) && rest[n] != '"' {
				if rest[n] == '\\' {
					n++
				}
				n++
			}
			n = min(n+1, len(rest))
		case strings.HasPrefix(rest, "//"):
			n = len(rest)
			if k := strings.IndexByte(rest, '\n'); k >= 0 {
				n = k
			}
			i += n
			continue
		case strings.HasPrefix(rest, "/*"):
			n = len(rest)
			if k := strings.Index(rest[2:], "*/"); k >= 0 {
				n = k + 4
			}
			i += n
			continue
		}
		out = append(out, text[i:i+n]...)
		i += n
	}
	return out
}

func dropDefaults(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "default")
		for _, e := range v {
			dropDefaults(e)
		}
	case []any:
		for _, e := range v {
			dropDefaults(e)
		}
	}
}

// shorten keeps messages that quote input at a readable length.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// avroBuilder expands a parsed schema into a tree of nodes.
type avroBuilder struct {
	open    map[string]bool // the named types around the current one
	columns int
	connect bool // the types of Kafka Connect and Debezium count
}

func (b *avroBuilder) node(s avro.Schema, path string, depth int) (*avroNode, error) {
	if b.columns++; b.columns > maxColumns {
		return nil, fmt.Errorf("avro schema: more than %d columns", maxColumns)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("avro schema: field %s: nested more than %d deep", path, maxDepth)
	}
	switch s := s.(type) {
	case *avro.RefSchema:
		return b.node(s.Schema(), path, depth)
	case *avro.NullSchema:
		return &avroNode{kind: avro.Null, null: -1}, nil
	case *avro.PrimitiveSchema:
		n, err := primitiveNode(s, path)
		if err == nil && b.connect {
			n.connect(s)
		}
		return n, err
	case *avro.FixedSchema:
		return fixedNode(s, path)
	case *avro.EnumSchema:
		return &avroNode{kind: avro.Enum, null: -1, symbols: s.Symbols(), typ: batch.Prim(batch.String), min: 1}, nil
	case *avro.ArraySchema:
		return b.list(avro.Array, "element", s.Items(), path, depth)
	case *avro.MapSchema:
		return b.list(avro.Map, "value", s.Values(), path, depth)
	case *avro.UnionSchema:
		return b.union(s, path, depth)
	case *avro.RecordSchema:
		return b.record(s, path, depth)
	}
	return nil, fmt.Errorf("avro schema: field %s: type %s is not supported", pathName(path), s.Type())
}

func (b *avroBuilder) record(s *avro.RecordSchema, path string, depth int) (*avroNode, error) {
	if b.connect && isVariableDecimal(s) {
		return &avroNode{kind: avro.Record, logical: variableDecimal, typ: batch.Prim(batch.String), null: -1, min: 2}, nil
	}
	if b.open[s.FullName()] {
		return nil, fmt.Errorf("avro schema: field %s: type %s contains itself; a table cannot hold recursive types", path, s.FullName())
	}
	b.open[s.FullName()] = true
	defer delete(b.open, s.FullName())
	n := &avroNode{kind: avro.Record, null: -1}
	t := batch.StructOf()
	for _, f := range s.Fields() {
		m, err := b.node(f.Type(), join(path, f.Name()), depth+1)
		if err != nil {
			return nil, err
		}
		n.min += m.min
		n.members = append(n.members, avroMember{f.Name(), m})
		if m.typ != nil {
			t.Fields = append(t.Fields, batch.Field{Name: f.Name(), Type: m.typ, Required: m.null < 0, Doc: f.Doc()})
		}
	}
	if len(t.Fields) > 0 {
		n.typ = t
	}
	return n, nil
}

func (b *avroBuilder) list(kind avro.Type, name string, item avro.Schema, path string, depth int) (*avroNode, error) {
	m, err := b.node(item, join(path, name), depth+1)
	if err != nil {
		return nil, err
	}
	n := &avroNode{kind: kind, null: -1, members: []avroMember{{name, m}}, min: 1}
	switch {
	case m.typ == nil:
	case kind == avro.Array:
		n.typ = batch.ListOf(m.typ, m.null < 0)
	default:
		b.columns++
		n.typ = batch.MapOf(batch.Prim(batch.String), m.typ, m.null < 0)
	}
	return n, nil
}

func (b *avroBuilder) union(s *avro.UnionSchema, path string, depth int) (*avroNode, error) {
	n := &avroNode{kind: avro.Union, null: -1, min: 1}
	names := unionNames(s.Types())
	t := batch.StructOf()
	others := 0
	for i, m := range s.Types() {
		if m.Type() == avro.Null {
			n.null = i
		} else {
			others++
		}
	}
	for i, u := range s.Types() {
		p := path
		if others > 1 {
			p = join(path, names[i])
		}
		m, err := b.node(u, p, depth+1)
		if err != nil {
			return nil, err
		}
		n.members = append(n.members, avroMember{names[i], m})
		if m.typ != nil {
			t.Fields = append(t.Fields, batch.Field{Name: names[i], Type: m.typ})
		}
	}
	switch {
	case others == 1 && len(t.Fields) == 1:
		n.typ = t.Fields[0].Type
	case len(t.Fields) > 0:
		n.typ = t
	}
	return n, nil
}

// unionNames names the types of a union, each differently.
func unionNames(types avro.Schemas) []string {
	names, seen := make([]string, len(types)), map[string]int{}
	full := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t.Type())
		if r, ok := t.(*avro.RefSchema); ok {
			t = r.Schema()
		}
		full[i] = names[i]
		if n, ok := t.(avro.NamedSchema); ok {
			names[i], full[i] = n.Name(), strings.ReplaceAll(n.FullName(), ".", "_")
		}
		seen[names[i]]++
	}
	taken := map[string]bool{}
	for i := range names {
		if seen[names[i]] > 1 {
			names[i] = full[i]
		}
		if taken[names[i]] {
			names[i] = fmt.Sprintf("%s_%d", names[i], i)
		}
		taken[names[i]] = true
	}
	return names
}
