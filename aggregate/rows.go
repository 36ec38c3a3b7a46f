package aggregate

import (
	"fmt"
	"math"
	"math/big"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// rowBatch gathers rows of an engine as a batch for a writer.
type rowBatch struct {
	*batch.Batch
	columns []Column
}

// targetRow is the row type of a target.
func targetRow(by Period, columns []Column) *batch.Type {
	fields := []batch.Field{{Name: by.Column, Type: batch.Prim(batch.Date), Required: true, Doc: "the " + by.Name + " that the row is about, by its first day"}}
	if by.Name == ColumnDay {
		fields[0].Doc = "the day that the row is about"
	}
	for _, c := range columns {
		fields = append(fields, batch.Field{Name: c.Name, Type: c.Type})
	}
	fields = append(fields, batch.Field{Name: ColumnSnapshot, Type: batch.Prim(batch.Long), Required: true, Doc: "the snapshot of the source that the row was made from"})
	return batch.StructOf(fields...)
}

func newRowBatch(by Period, columns []Column) *rowBatch {
	return &rowBatch{batch.New(&batch.Records{}, targetRow(by, columns)), columns}
}

// add appends a row. It may leave a broken batch behind an error.
func (b *rowBatch) add(day Day, snapshot int64, row []any) error {
	if len(row) != len(b.columns) {
		return fmt.Errorf("the engine gave a row of %d columns, not %d", len(row), len(b.columns))
	}
	b.Root.Children[0].AppendInt32(int32(day))
	for i, v := range row {
		if err := b.value(b.Root.Children[i+1], v); err != nil {
			return fmt.Errorf("column %s (%s): %w", b.columns[i].Name, b.columns[i].Type, err)
		}
	}
	b.Root.Children[len(row)+1].AppendInt64(snapshot)
	b.Root.AppendStruct()
	b.AppendRow(0, 0)
	return nil
}

// value appends a value in the form that Engine documents.
func (b *rowBatch) value(c *batch.Column, v any) error {
	switch v := v.(type) {
	case nil:
		c.AppendNull()
		return nil
	case bool:
		if c.Type.Kind == batch.Boolean {
			c.AppendBool(v)
			return nil
		}
	case int64:
		return appendInt(c, v)
	case float64:
		switch c.Type.Kind {
		case batch.Float:
			c.AppendFloat32(float32(v))
			return nil
		case batch.Double:
			c.AppendFloat64(v)
			return nil
		}
	case string:
		if c.Type.Kind == batch.String {
			c.AppendView(b.AppendString(v))
			return nil
		}
	case []byte:
		switch k := c.Type.Kind; {
		case k == batch.Binary, k == batch.Fixed && len(v) == c.Type.Length, k == batch.UUID && len(v) == 16:
			c.AppendView(b.Append(v))
			return nil
		}
	case time.Time:
		return appendTime(c, v)
	case *big.Int:
		return b.decimal(c, v)
	}
	return fmt.Errorf("the engine gave a %T", v)
}

func appendInt(c *batch.Column, v int64) error {
	switch c.Type.Kind {
	case batch.Long:
		c.AppendInt64(v)
		return nil
	case batch.Int:
		if v < math.MinInt32 || v > math.MaxInt32 {
			return fmt.Errorf("%d does not fit", v)
		}
		c.AppendInt32(int32(v))
		return nil
	}
	return fmt.Errorf("the engine gave a whole number")
}

func appendTime(c *batch.Column, v time.Time) error {
	switch c.Type.Kind {
	case batch.Date:
		c.AppendInt32(int32(dayOf(v)))
	case batch.Timestamp, batch.TimestampTZ:
		c.AppendInt64(v.UnixMicro())
	default:
		return fmt.Errorf("the engine gave a time")
	}
	return nil
}

// decimal appends an unscaled value.
func (b *rowBatch) decimal(c *batch.Column, v *big.Int) error {
	if c.Type.Kind != batch.Decimal {
		return fmt.Errorf("the engine gave a decimal")
	}
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Type.Precision)), nil)
	if v.CmpAbs(limit) >= 0 {
		return fmt.Errorf("a value of %d digits does not fit", len(new(big.Int).Abs(v).String()))
	}
	if c.Type.Store() == batch.StoreInt64 {
		c.AppendInt64(v.Int64())
		return nil
	}
	var raw [16]byte
	if v.Sign() < 0 {
		new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), 128)).FillBytes(raw[:])
	} else {
		v.FillBytes(raw[:])
	}
	c.AppendView(b.Append(raw[:]))
	return nil
}

// reset empties the batch and keeps its memory.
func (b *rowBatch) reset() {
	b.Records.Reset()
	b.Reset(b.Records)
}
