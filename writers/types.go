package writers

import (
	"bytes"
	"math/big"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"
)

// baseType gives the Parquet type that Iceberg prescribes for a primitive type.
func baseType(t *batch.Type) parquet.Type {
	switch t.Kind {
	case batch.Boolean:
		return parquet.BooleanType
	case batch.Int:
		return parquet.Int32Type
	case batch.Long:
		return parquet.Int64Type
	case batch.Float:
		return parquet.FloatType
	case batch.Double:
		return parquet.DoubleType
	case batch.Decimal:
		switch {
		case t.Precision <= 9:
			return parquet.Decimal(t.Scale, t.Precision, parquet.Int32Type).Type()
		case !wide(t):
			return parquet.Decimal(t.Scale, t.Precision, parquet.Int64Type).Type()
		}
		return parquet.Decimal(t.Scale, t.Precision, parquet.FixedLenByteArrayType(decimalBytes(t.Precision))).Type()
	case batch.Date:
		return parquet.Date().Type()
	case batch.Time:
		return parquet.TimeAdjusted(parquet.Microsecond, false).Type()
	case batch.Timestamp:
		return parquet.TimestampAdjusted(parquet.Microsecond, false).Type()
	case batch.TimestampTZ:
		return parquet.TimestampAdjusted(parquet.Microsecond, true).Type()
	case batch.String:
		return parquet.String().Type()
	case batch.UUID:
		return parquet.UUID().Type()
	case batch.Fixed:
		return parquet.FixedLenByteArrayType(t.Length)
	}
	return parquet.ByteArrayType
}

// wide reports whether a type is a decimal that is stored in bytes.
func wide(t *batch.Type) bool {
	return t.Kind == batch.Decimal && t.Precision > batch.MaxInt64Precision
}

// decimalBytes is the least number of bytes that hold every unscaled value of a precision.
func decimalBytes(precision int) int {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision)), nil)
	return limit.BitLen()/8 + 1
}

// compareSigned compares big-endian two's-complement numbers of the same length.
func compareSigned(a, b []byte) int {
	if len(a) > 0 && len(b) > 0 && (a[0]^b[0])&0x80 != 0 {
		return int(b[0]>>7) - int(a[0]>>7)
	}
	return bytes.Compare(a, b)
}

// leafType is the type of one leaf in one file. It makes parquet-go use our buffers and dictionaries (see buffer), and
// mends statistics that are wrong or too long: the library orders decimals in bytes as if they were unsigned, so that
// readers would skip pages that have matches; it keeps bounds of any length; and it shortens a maximum of 0xff bytes
// to something less than the maximum.
type leafType struct {
	parquet.Type
	feed   *feed
	signed bool
	bare   bool
}

func newLeafType(t *batch.Type, feed *feed) *leafType {
	return &leafType{Type: baseType(t), feed: feed, signed: wide(t), bare: t.Kind == batch.Int || t.Kind == batch.Long}
}

// LogicalType has no annotation for int and long, as Iceberg prescribes; the library has one.
func (t *leafType) LogicalType() *format.LogicalType {
	if t.bare {
		return nil
	}
	return t.Type.LogicalType()
}

func (t *leafType) ConvertedType() *deprecated.ConvertedType {
	if t.bare {
		return nil
	}
	return t.Type.ConvertedType()
}

func (t *leafType) Compare(a, b parquet.Value) int {
	if t.signed {
		return compareSigned(a.ByteArray(), b.ByteArray())
	}
	return t.Type.Compare(a, b)
}

func (t *leafType) NewColumnBuffer(_, _ int) parquet.ColumnBuffer {
	return &buffer{typ: t, feed: t.feed, values: newValues(t)}
}

// NewColumnIndexer ignores the limit of bounds, as ours are short already (maxBound).
func (t *leafType) NewColumnIndexer(int) parquet.ColumnIndexer {
	return &indexer{ColumnIndexer: t.Type.NewColumnIndexer(0), signed: t.signed}
}

func (t *leafType) NewDictionary(_, _ int, _ encoding.Values) parquet.Dictionary {
	return newDictionary(t)
}

// indexer says nothing of the order of pages where the library would derive it from unsigned bytes.
type indexer struct {
	parquet.ColumnIndexer
	signed bool
}

func (i *indexer) ColumnIndex() format.ColumnIndex {
	index := i.ColumnIndexer.ColumnIndex()
	if i.signed {
		index.BoundaryOrder = format.Unordered
	}
	return index
}
