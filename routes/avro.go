package routes

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// avroEncoding writes rows in Avro's binary form.
type avroEncoding struct {
	columns []int
	header  []byte
}

func newAvroEncoding(ctx context.Context, t *configs.OutletTopic, reg register, row *batch.Type, columns []int) (encoding, error) {
	of := part(row, columns)
	if err := named(of); err != nil {
		return nil, err
	}
	text, err := avroSchema(typeName(t.Name), of)
	if err != nil {
		return nil, err
	}
	id, err := reg(ctx, t.Subject, "AVRO", text)
	if err != nil {
		return nil, err
	}
	return &avroEncoding{columns, header(id)}, nil
}

// avroSchema is the schema of a row type.
func avroSchema(name string, row *batch.Type) (string, error) {
	b, err := json.Marshal(avroRecord(name, row))
	return string(b), err
}

func avroRecord(name string, t *batch.Type) map[string]any {
	fields := []any{}
	for _, f := range t.Fields {
		x := map[string]any{"name": f.Name, "type": avroOptional(name+"_"+f.Name, f)}
		if f.Doc != "" {
			x["doc"] = f.Doc
		}
		if !f.Required {
			x["default"] = nil
		}
		fields = append(fields, x)
	}
	return map[string]any{"type": "record", "name": name, "fields": fields}
}

func avroOptional(name string, f batch.Field) any {
	if f.Required {
		return avroType(name, f.Type)
	}
	return []any{"null", avroType(name, f.Type)}
}

func avroType(name string, t *batch.Type) any {
	logical := func(of, what string) any { return map[string]any{"type": of, "logicalType": what} }
	switch t.Kind {
	case batch.Decimal:
		return map[string]any{"type": "bytes", "logicalType": "decimal", "precision": t.Precision, "scale": t.Scale}
	case batch.Date:
		return logical("int", "date")
	case batch.Time:
		return logical("long", "time-micros")
	case batch.Timestamp:
		return logical("long", "local-timestamp-micros")
	case batch.TimestampTZ:
		return logical("long", "timestamp-micros")
	case batch.UUID:
		return logical("string", "uuid")
	case batch.Fixed:
		return map[string]any{"type": "fixed", "name": name, "size": t.Length}
	case batch.Binary:
		return "bytes"
	case batch.Struct:
		return avroRecord(name, t)
	case batch.List:
		return map[string]any{"type": "array", "items": avroOptional(name+"_element", t.Fields[0])}
	case batch.Map:
		if t.Fields[0].Type.Kind == batch.String {
			return map[string]any{"type": "map", "values": avroOptional(name+"_value", t.Fields[1])}
		}
		return map[string]any{"type": "array", "items": avroRecord(name+"_entry", t)}
	}
	return t.Kind.String() // boolean, int, long, float, double, string
}

func (e *avroEncoding) encode(out []byte, b *batch.Batch, i int) ([]byte, error) {
	out = append(out, e.header...)
	var err error
	for _, at := range e.columns {
		f := &b.Root.Type.Fields[at]
		if out, err = appendAvro(out, b, b.Root.Children[at], f.Required, i); err != nil {
			return out, fmt.Errorf("column %s: %w", f.Name, err)
		}
	}
	return out, nil
}

// appendAvro writes a slot of a column; one that is not required is a union with null first.
func appendAvro(out []byte, b *batch.Batch, c *batch.Column, required bool, i int) (_ []byte, err error) {
	switch {
	case c.IsNull(i) && required:
		return out, fmt.Errorf("it is null, and required")
	case c.IsNull(i):
		return append(out, 0), nil
	case !required:
		out = append(out, 2)
	}
	switch c.Type.Kind {
	case batch.Boolean:
		if c.Bools[i] {
			return append(out, 1), nil
		}
		return append(out, 0), nil
	case batch.Int, batch.Date:
		return binary.AppendVarint(out, int64(c.Int32[i])), nil
	case batch.Long, batch.Time, batch.Timestamp, batch.TimestampTZ:
		return binary.AppendVarint(out, c.Int64[i]), nil
	case batch.Float:
		return binary.LittleEndian.AppendUint32(out, math.Float32bits(c.Float32[i])), nil
	case batch.Double:
		return binary.LittleEndian.AppendUint64(out, math.Float64bits(c.Float64[i])), nil
	case batch.Decimal:
		return appendCounted(out, twosComplement(b, c, i)), nil
	case batch.UUID:
		return appendCounted(out, appendUUID(nil, b.Bytes(c.Views[i]))), nil
	case batch.Fixed:
		return append(out, b.Bytes(c.Views[i])...), nil
	case batch.Struct:
		for n, f := range c.Type.Fields {
			if out, err = appendAvro(out, b, c.Children[n], f.Required, i); err != nil {
				return out, fmt.Errorf("%s: %w", f.Name, err)
			}
		}
		return out, nil
	case batch.List, batch.Map:
		return appendAvroBlock(out, b, c, i)
	}
	return appendCounted(out, b.Bytes(c.Views[i])), nil // string and binary
}

// appendAvroBlock writes a list, or a map, whose keys have no unions, as one block.
func appendAvroBlock(out []byte, b *batch.Batch, c *batch.Column, i int) (_ []byte, err error) {
	first, end := c.Starts[i], c.Starts[i+1]
	if first < end {
		out = binary.AppendVarint(out, int64(end-first))
	}
	for j := first; j < end; j++ {
		for n, f := range c.Type.Fields {
			if out, err = appendAvro(out, b, c.Children[n], f.Required, int(j)); err != nil {
				return out, fmt.Errorf("%s: %w", f.Name, err)
			}
		}
	}
	return append(out, 0), nil
}

func appendCounted(out, data []byte) []byte {
	return append(binary.AppendVarint(out, int64(len(data))), data...)
}

// twosComplement is a decimal's number in as few bytes as it takes, big-endian.
func twosComplement(b *batch.Batch, c *batch.Column, i int) []byte {
	var raw []byte
	if c.Type.Store() == batch.StoreInt64 {
		raw = binary.BigEndian.AppendUint64(nil, uint64(c.Int64[i]))
	} else {
		raw = b.Bytes(c.Views[i])
	}
	for len(raw) > 1 && (raw[0] == 0 && int8(raw[1]) >= 0 || raw[0] == 0xff && int8(raw[1]) < 0) {
		raw = raw[1:]
	}
	return raw
}
