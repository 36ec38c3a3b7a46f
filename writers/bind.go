package writers

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// conversion says how a batch column's values become Parquet values.
type conversion uint8

const (
	toBool conversion = iota + 1
	toInt32
	toInt64
	int32ToInt64
	toFloat
	toDouble
	floatToDouble
	toBytes
	toFixed      // views of exactly size bytes
	int64ToInt32 // decimals up to 9 digits
	int64ToFixed // decimals, sign-extended to size bytes
	wideToFixed  // decimals of 16 bytes, cut to the last size
	noColumn     // the batch has none: null
)

// bound is a leaf's place in batches of one row type.
type bound struct {
	conv conversion
	size int
	// child are the indexes in the batch's columns along leaf.steps, as far as the batch has them.
	child []int
}

// bind matches the leaves with a batch's row type by name. Columns that the table lacks are left out; columns that the
// batch lacks are null. It refuses what would lose or invent data.
func bind(leaves []*leaf, row, table *batch.Type) ([]bound, error) {
	out := make([]bound, len(leaves))
	for i, l := range leaves {
		b := &out[i]
		have, want := row, table
		for _, s := range l.steps {
			at := s.child
			if s.repeated == 0 {
				at = have.Index(s.name)
			}
			want = want.Fields[s.child].Type
			if at < 0 {
				if !s.optional {
					return nil, fmt.Errorf("column %s is missing, but the table requires it", l.name())
				}
				b.conv = noColumn
				break
			}
			have = have.Fields[at].Type
			if want.Nested() && have.Kind != want.Kind {
				return nil, fmt.Errorf("column %s: a %s cannot be stored as the table's %s", l.name(), have, want)
			}
			b.child = append(b.child, at)
		}
		if b.conv == noColumn {
			continue
		}
		if b.conv, b.size = convert(have, l.typ); b.conv == 0 {
			return nil, fmt.Errorf("column %s: a %s cannot be stored as the table's %s", l.name(), have, l.typ)
		}
	}
	return out, nil
}

// convert allows what Iceberg's schema evolution allows: the same type, or one that the table has widened since.
func convert(have, want *batch.Type) (conversion, int) {
	switch {
	case have.Kind == batch.Int && want.Kind == batch.Long:
		return int32ToInt64, 0
	case have.Kind == batch.Float && want.Kind == batch.Double:
		return floatToDouble, 0
	case have.Kind != want.Kind || have.Length != want.Length:
		return 0, 0
	case have.Kind == batch.Decimal:
		return convertDecimal(have, want)
	case have.Kind == batch.UUID:
		return toFixed, 16
	case have.Kind == batch.Fixed:
		return toFixed, want.Length
	}
	switch have.Store() {
	case batch.StoreBool:
		return toBool, 0
	case batch.StoreInt32:
		return toInt32, 0
	case batch.StoreInt64:
		return toInt64, 0
	case batch.StoreFloat32:
		return toFloat, 0
	case batch.StoreFloat64:
		return toDouble, 0
	case batch.StoreView:
		return toBytes, 0
	}
	return 0, 0
}

func convertDecimal(have, want *batch.Type) (conversion, int) {
	if have.Scale != want.Scale || have.Precision > want.Precision {
		return 0, 0
	}
	switch {
	case want.Precision <= 9:
		return int64ToInt32, 4
	case want.Precision <= batch.MaxInt64Precision:
		return toInt64, 8
	case have.Store() == batch.StoreView:
		return wideToFixed, decimalBytes(want.Precision)
	}
	return int64ToFixed, decimalBytes(want.Precision)
}
