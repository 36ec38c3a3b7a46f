package routes

import (
	"context"
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// protobufEncoding writes rows as messages of a proto3 schema. A field's number is the column's id in the table, which never changes
// its meaning, so schemas of a subject stay compatible as columns come.
type protobufEncoding struct {
	columns []int
	header  []byte
}

func newProtobufEncoding(ctx context.Context, t *configs.OutletTopic, reg register, row *batch.Type, columns []int) (encoding, error) {
	of := part(row, columns)
	if err := named(of); err != nil {
		return nil, err
	}
	text, err := protobufSchema(typeName(t.Name), of)
	if err != nil {
		return nil, err
	}
	id, err := reg(ctx, t.Subject, "PROTOBUF", text)
	if err != nil {
		return nil, err
	}
	return &protobufEncoding{columns, append(header(id), 0)}, nil // 0: the first message of the schema
}

func protobufSchema(name string, row *batch.Type) (string, error) {
	var b strings.Builder
	b.WriteString("syntax = \"proto3\";\n\nimport \"google/protobuf/timestamp.proto\";\n\n")
	if err := protobufMessage(&b, name, row, ""); err != nil {
		return "", err
	}
	return b.String(), nil
}

func protobufMessage(b *strings.Builder, name string, t *batch.Type, indent string) error {
	fmt.Fprintf(b, "%smessage %s {\n", indent, name)
	for _, f := range t.Fields {
		if err := protobufField(b, f, indent+"  "); err != nil {
			return fmt.Errorf("column %s: %w", f.Name, err)
		}
	}
	fmt.Fprintf(b, "%s}\n", indent)
	return nil
}

func protobufField(b *strings.Builder, f batch.Field, indent string) error {
	if f.ID < 1 || f.ID >= 19_000 {
		return fmt.Errorf("its id in the table is %d, which Protobuf has no field number for", f.ID)
	}
	label, of := "", f.Type
	switch f.Type.Kind {
	case batch.List:
		label, of = "repeated ", f.Type.Fields[0].Type
	case batch.Map:
		return protobufMap(b, f, indent)
	case batch.Struct:
	default:
		if !f.Required {
			label = "optional "
		}
	}
	kind, err := protobufType(b, f.Name, of, indent)
	if err == nil {
		fmt.Fprintf(b, "%s%s%s %s = %d;\n", indent, label, kind, f.Name, f.ID)
	}
	return err
}

func protobufMap(b *strings.Builder, f batch.Field, indent string) error {
	k := f.Type.Fields[0].Type
	switch k.Kind {
	case batch.Boolean, batch.Int, batch.Long, batch.String:
	default:
		return fmt.Errorf("a map with keys of %s has no form in Protobuf", k)
	}
	key, err := protobufType(b, f.Name, k, indent)
	if err != nil {
		return err
	}
	value, err := protobufType(b, f.Name, f.Type.Fields[1].Type, indent)
	if err == nil {
		fmt.Fprintf(b, "%smap<%s, %s> %s = %d;\n", indent, key, value, f.Name, f.ID)
	}
	return err
}

// protobufType names a type, after it has written the message that a struct is.
func protobufType(b *strings.Builder, name string, t *batch.Type, indent string) (string, error) {
	switch t.Kind {
	case batch.Boolean:
		return "bool", nil
	case batch.Int:
		return "int32", nil
	case batch.Long:
		return "int64", nil
	case batch.Float, batch.Double:
		return t.Kind.String(), nil
	case batch.TimestampTZ:
		return "google.protobuf.Timestamp", nil
	case batch.Fixed, batch.Binary:
		return "bytes", nil
	case batch.Struct:
		name += "_message"
		return name, protobufMessage(b, name, t, indent)
	case batch.List, batch.Map:
		return "", fmt.Errorf("a %s within a list or map has no form in Protobuf", t)
	}
	return "string", nil // decimals, dates, times without a zone, uuids
}

func (e *protobufEncoding) encode(out []byte, b *batch.Batch, i int) ([]byte, error) {
	out = append(out, e.header...)
	for _, at := range e.columns {
		out = appendField(out, b, b.Root.Children[at], protowire.Number(b.Root.Type.Fields[at].ID), i)
	}
	return out, nil
}

// appendField writes a slot of a column as a field; null, and null elements of a list, are left out.
func appendField(out []byte, b *batch.Batch, c *batch.Column, n protowire.Number, i int) []byte {
	if c.IsNull(i) {
		return out
	}
	switch c.Type.Kind {
	case batch.List:
		return appendElements(out, b, c, n, i)
	case batch.Map:
		for j := int(c.Starts[i]); j < int(c.Starts[i+1]); j++ {
			entry := appendField(nil, b, c.Children[0], 1, j)
			out = protowire.AppendBytes(protowire.AppendTag(out, n, protowire.BytesType), appendField(entry, b, c.Children[1], 2, j))
		}
		return out
	}
	kind := wireType(c.Type)
	return appendValue(protowire.AppendTag(out, n, kind), b, c, i)
}

// appendElements writes a list: numbers packed, as proto3 has it.
func appendElements(out []byte, b *batch.Batch, c *batch.Column, n protowire.Number, i int) []byte {
	e := c.Children[0]
	packed := wireType(e.Type) != protowire.BytesType
	var all []byte
	for j := int(c.Starts[i]); j < int(c.Starts[i+1]); j++ {
		switch {
		case e.IsNull(j):
		case packed:
			all = appendValue(all, b, e, j)
		default:
			out = appendValue(protowire.AppendTag(out, n, protowire.BytesType), b, e, j)
		}
	}
	if len(all) > 0 {
		out = protowire.AppendBytes(protowire.AppendTag(out, n, protowire.BytesType), all)
	}
	return out
}

func wireType(t *batch.Type) protowire.Type {
	switch t.Kind {
	case batch.Boolean, batch.Int, batch.Long:
		return protowire.VarintType
	case batch.Float:
		return protowire.Fixed32Type
	case batch.Double:
		return protowire.Fixed64Type
	}
	return protowire.BytesType
}

func appendValue(out []byte, b *batch.Batch, c *batch.Column, i int) []byte {
	switch c.Type.Kind {
	case batch.Boolean:
		return protowire.AppendVarint(out, protowire.EncodeBool(c.Bools[i]))
	case batch.Int:
		return protowire.AppendVarint(out, uint64(int64(c.Int32[i])))
	case batch.Long:
		return protowire.AppendVarint(out, uint64(c.Int64[i]))
	case batch.Float:
		return protowire.AppendFixed32(out, math.Float32bits(c.Float32[i]))
	case batch.Double:
		return protowire.AppendFixed64(out, math.Float64bits(c.Float64[i]))
	case batch.TimestampTZ:
		return protowire.AppendBytes(out, timestamp(c.Int64[i]))
	case batch.Fixed, batch.Binary, batch.String:
		return protowire.AppendBytes(out, b.Bytes(c.Views[i]))
	case batch.Struct:
		var m []byte
		for n, f := range c.Type.Fields {
			m = appendField(m, b, c.Children[n], protowire.Number(f.ID), i)
		}
		return protowire.AppendBytes(out, m)
	}
	return protowire.AppendBytes(out, appendText(nil, b, c, i))
}

// timestamp is a google.protobuf.Timestamp.
func timestamp(micros int64) (m []byte) {
	seconds, rest := micros/1_000_000, micros%1_000_000
	if rest < 0 {
		seconds, rest = seconds-1, rest+1_000_000
	}
	if seconds != 0 {
		m = protowire.AppendVarint(protowire.AppendTag(m, 1, protowire.VarintType), uint64(seconds))
	}
	if rest != 0 {
		m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), uint64(rest*1000))
	}
	return m
}
