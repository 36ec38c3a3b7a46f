package scan

import (
	"fmt"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/lakeloader/lakeloader/batch"
)

// Row gives the columns at the top of a file that hold single values, as the file describes them: for files that belong to no table.
// Groups (structs, lists, maps) are left out. A column whose values cannot be read is an error.
func (f *File) Row() (*batch.Type, error) {
	row := batch.StructOf()
	for _, c := range f.root.kids {
		if c.leaf == nil || c.repeated {
			continue
		}
		t, err := typeOf(c.leaf)
		if err == nil {
			_, err = conversionOf(t, c)
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
		row.Fields = append(row.Fields, batch.Field{Name: c.name, Type: t, Required: c.def == 0})
	}
	return row, nil
}

// typeOf is the type that a column's annotations say, or else how its values are stored.
func typeOf(n *schema.PrimitiveNode) (*batch.Type, error) {
	switch l := n.LogicalType().(type) {
	case schema.StringLogicalType, schema.EnumLogicalType, schema.JSONLogicalType:
		return batch.Prim(batch.String), nil
	case schema.DateLogicalType:
		return batch.Prim(batch.Date), nil
	case schema.UUIDLogicalType:
		return batch.Prim(batch.UUID), nil
	case schema.TimeLogicalType, *schema.TimeLogicalType:
		return batch.Prim(batch.Time), nil
	case schema.TimestampLogicalType, *schema.TimestampLogicalType:
		if utc, ok := l.(interface{ IsAdjustedToUTC() bool }); ok && utc.IsAdjustedToUTC() {
			return batch.Prim(batch.TimestampTZ), nil
		}
		return batch.Prim(batch.Timestamp), nil
	case interface{ Precision() int32 }:
		_, scale := annotation(n)
		if l.Precision() > 38 {
			return nil, fmt.Errorf("a decimal of %d digits is too wide; 38 is the most", l.Precision())
		}
		return batch.DecimalOf(int(l.Precision()), scale), nil
	case interface{ IsSigned() bool }:
		if !l.IsSigned() {
			return nil, fmt.Errorf("whole numbers without a sign (%s) are not read: cast the column to a signed type", n.LogicalType())
		}
	}
	switch n.PhysicalType() {
	case parquet.Types.Boolean:
		return batch.Prim(batch.Boolean), nil
	case parquet.Types.Int32:
		return batch.Prim(batch.Int), nil
	case parquet.Types.Int64:
		return batch.Prim(batch.Long), nil
	case parquet.Types.Float:
		return batch.Prim(batch.Float), nil
	case parquet.Types.Double:
		return batch.Prim(batch.Double), nil
	case parquet.Types.ByteArray:
		return batch.Prim(batch.Binary), nil
	case parquet.Types.FixedLenByteArray:
		return batch.FixedOf(n.TypeLength()), nil
	}
	return nil, fmt.Errorf("values of the type %s are not read", n.PhysicalType())
}
