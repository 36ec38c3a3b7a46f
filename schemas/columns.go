package schemas

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hamba/avro/v2"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// ParseColumns makes the schema of plain JSON objects from declared columns. unknown is what happens to a field without
// a column, at any depth: ignore (also "") or dead_letter.
func ParseColumns(defs []configs.ColumnDef, unknown string) (Schema, error) {
	strict, err := isStrict(unknown)
	if err != nil {
		return nil, err
	}
	if len(defs) == 0 {
		return nil, fmt.Errorf("columns: none declared")
	}
	row := batch.StructOf()
	for i, d := range defs {
		where := fmt.Sprintf("columns[%d]", i)
		if d.Name == "" {
			return nil, fmt.Errorf("%s: it has no name", where)
		}
		if row.Index(d.Name) >= 0 {
			return nil, fmt.Errorf("%s: the name %q is there twice", where, d.Name)
		}
		t, required, err := batch.ParseColumn(d.Type)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", where, d.Name, err)
		}
		row.Fields = append(row.Fields, batch.Field{Name: d.Name, Type: t, Required: required, Doc: d.Doc})
	}
	return checked(&jsonSchema{row: row, strict: strict})
}

// checked reports now what Compile would only later: types that JSON cannot give.
func checked(s *jsonSchema) (Schema, error) {
	if _, err := s.Compile(s.row); err != nil {
		return nil, err
	}
	return s, nil
}

func isStrict(unknown string) (bool, error) {
	switch unknown {
	case "", "ignore":
		return false, nil
	case "dead_letter":
		return true, nil
	}
	return false, fmt.Errorf("unknown_fields: ignore or dead_letter expected, not %q", unknown)
}

// ParsePlainFile makes the schema of plain JSON from a file: an Avro schema if its name ends in .avsc, else a JSON
// Schema, which may refer to files beside it. unknown is as in ParseColumns.
//
// An Avro schema gives the types; the JSON is plain: an optional value stands there by itself (but one of a union of
// several types as {"long": 1}), bytes and fixed are base64, a number of a logical time type is in that type's unit;
// text in ISO 8601 does as well.
func ParsePlainFile(path string, unknown string) (Schema, error) {
	strict, err := isStrict(unknown)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("schema file: %w", err)
	}
	var s *jsonSchema
	if strings.EqualFold(filepath.Ext(path), ".avsc") {
		s, err = parsePlainAvro(string(text))
	} else {
		s, err = parseJSONSchemaFile(path, string(text))
	}
	if err == nil {
		s.strict = strict
		_, err = checked(s)
	}
	if err != nil {
		return nil, fmt.Errorf("schema file %s: %w", path, err)
	}
	return s, nil
}

func parsePlainAvro(text string) (*jsonSchema, error) {
	parsed, err := ParseAvro(text, nil)
	if err != nil {
		return nil, err
	}
	a, ok := parsed.(*avroSchema)
	if !ok || a.root.kind != avro.Record {
		return nil, fmt.Errorf("the Avro schema of plain JSON must be a record")
	}
	return &jsonSchema{row: a.row, shape: avroShape(a.root)}, nil
}

// avroShape finds the units of logical types.
func avroShape(n *avroNode) *jsonShape {
	var members []*jsonShape
	for _, m := range n.members {
		if m.node.typ == nil {
			continue
		}
		shape := avroShape(m.node)
		if n.kind == avro.Union && m.node.typ == n.typ {
			return shape
		}
		members = append(members, shape)
	}
	s := jsonShape{fields: members}
	if n.kind == avro.Map {
		s.fields = append([]*jsonShape{nil}, members...)
	}
	switch n.logical {
	case avro.TimeMillis, avro.TimestampMillis, avro.LocalTimestampMillis:
		s.unit = unitMillis
	case avro.TimeMicros, avro.TimestampMicros, avro.LocalTimestampMicros:
		s.unit = unitMicros
	case timestampNanos, localTimestampNanos:
		s.unit = unitNanos
	}
	return shapeOf(s)
}
