package schemas

import (
	"fmt"

	"github.com/hamba/avro/v2"
	"github.com/lakeloader/lakeloader/batch"
)

// Logical types that hamba's parser leaves among the properties.
const (
	timestampNanos      avro.LogicalType = "timestamp-nanos"
	localTimestampNanos avro.LogicalType = "local-timestamp-nanos"
)

func primitiveNode(s *avro.PrimitiveSchema, path string) (*avroNode, error) {
	n := &avroNode{kind: s.Type(), null: -1, min: 1}
	if l := s.Logical(); l != nil {
		n.logical = l.Type()
	} else if p, ok := s.Prop("logicalType").(string); ok {
		n.logical = avro.LogicalType(p)
	}
	var k batch.Kind
	switch s.Type() {
	case avro.Boolean:
		k = batch.Boolean
	case avro.Int:
		k = intKind(n)
	case avro.Long:
		k = longKind(n)
	case avro.Float:
		k, n.min = batch.Float, 4
	case avro.Double:
		k, n.min = batch.Double, 8
	case avro.String:
		if k = batch.String; n.logical == avro.UUID {
			k = batch.UUID
		}
	case avro.Bytes:
		return n, n.decimalOr(batch.Prim(batch.Binary), s.Logical(), path)
	default:
		return nil, fmt.Errorf("avro schema: field %s: type %s is not supported", pathName(path), s.Type())
	}
	n.typ = batch.Prim(k)
	return n, nil
}

func intKind(n *avroNode) batch.Kind {
	switch n.logical {
	case avro.Date:
		return batch.Date
	case avro.TimeMillis:
		return batch.Time
	}
	return batch.Int
}

func longKind(n *avroNode) batch.Kind {
	switch n.logical {
	case avro.TimeMicros:
		return batch.Time
	case avro.TimestampMillis, avro.TimestampMicros, timestampNanos:
		return batch.TimestampTZ
	case avro.LocalTimestampMillis, avro.LocalTimestampMicros, localTimestampNanos:
		return batch.Timestamp
	}
	return batch.Long
}

func fixedNode(s *avro.FixedSchema, path string) (*avroNode, error) {
	n := &avroNode{kind: avro.Fixed, null: -1, size: s.Size(), min: s.Size()}
	switch {
	case s.Size() < 0:
		return nil, fmt.Errorf("avro schema: field %s: fixed of size %d", pathName(path), s.Size())
	case s.Size() == 0:
		return n, nil
	case s.Size() == 16 && s.Prop("logicalType") == string(avro.UUID):
		n.logical, n.typ = avro.UUID, batch.Prim(batch.UUID)
		return n, nil
	}
	return n, n.decimalOr(batch.FixedOf(s.Size()), s.Logical(), path)
}

// decimalOr makes the node a decimal if its logical type says so.
func (n *avroNode) decimalOr(t *batch.Type, l avro.LogicalSchema, path string) error {
	n.logical, n.typ = "", t
	d, ok := l.(*avro.DecimalLogicalSchema)
	if !ok {
		return nil
	}
	if d.Precision() > maxPrecision {
		return fmt.Errorf("avro schema: field %s: decimal(%d,%d) has more than the %d digits that a table can hold", pathName(path), d.Precision(), d.Scale(), maxPrecision)
	}
	n.logical, n.typ = avro.Decimal, batch.DecimalOf(d.Precision(), d.Scale())
	return nil
}
