package batch

// View is a range of a batch's arena. The arena may move when it grows, so code keeps Views, never slices.
type View struct{ Off, Len uint32 }

// Column is a vector of values of one type, one slot per row (or per element of the enclosing list).
//
// Invariants:
//   - exactly one of the value slices is used, the one that Kind names; it has Len entries. A slot
//     that is not valid holds the zero value there, and an empty list or map.
//   - Valid is nil when every slot is valid (always so for a required column); else it has Len entries.
//   - Struct: every child has Len slots; where the struct is null its children are null or zero.
//   - List, Map: Starts has Len+1 entries, ascending, Starts[0] == 0; slot i owns the child slots
//     [Starts[i], Starts[i+1]).
//   - Views point into the Mem of the batch that the column belongs to.
type Column struct {
	Type     *Type
	Len      int
	Valid    []bool
	Bools    []bool
	Int32    []int32
	Int64    []int64
	Float32  []float32
	Float64  []float64
	Views    []View
	Starts   []int32
	Children []*Column
}

// NewColumn returns an empty column with room for n slots.
func NewColumn(t *Type, n int) *Column {
	c := &Column{Type: t}
	switch t.Store() {
	case StoreBool:
		c.Bools = make([]bool, 0, n)
	case StoreInt32:
		c.Int32 = make([]int32, 0, n)
	case StoreInt64:
		c.Int64 = make([]int64, 0, n)
	case StoreFloat32:
		c.Float32 = make([]float32, 0, n)
	case StoreFloat64:
		c.Float64 = make([]float64, 0, n)
	case StoreView:
		c.Views = make([]View, 0, n)
	case StoreList:
		c.Starts = append(make([]int32, 0, n+1), 0)
	}
	for _, f := range t.Fields {
		c.Children = append(c.Children, NewColumn(f.Type, n))
	}
	return c
}

// Store names the slice of Column that holds a type's values.
type Store uint8

// The stores.
const (
	StoreBool Store = iota + 1
	StoreInt32
	StoreInt64
	StoreFloat32
	StoreFloat64
	StoreView
	StoreStruct
	StoreList // lists and maps
)

// Store returns where a column of this type keeps its values.
func (t *Type) Store() Store {
	switch t.Kind {
	case Boolean:
		return StoreBool
	case Int, Date:
		return StoreInt32
	case Long, Time, Timestamp, TimestampTZ:
		return StoreInt64
	case Decimal:
		if t.Precision <= MaxInt64Precision {
			return StoreInt64
		}
		return StoreView
	case Float:
		return StoreFloat32
	case Double:
		return StoreFloat64
	case Struct:
		return StoreStruct
	case List, Map:
		return StoreList
	}
	return StoreView
}

// Reset empties the column and keeps its memory.
func (c *Column) Reset() { c.Truncate(0) }

// Truncate drops all slots from n on: how a decoder takes back a record that turned out to be broken.
// A slot being built may be half written (a struct's first children appended, the struct itself not
// yet counted), so every slice is cut on its own.
func (c *Column) Truncate(n int) {
	if c.Valid != nil {
		if n == 0 {
			c.Valid = nil
		} else if len(c.Valid) > n {
			c.Valid = c.Valid[:n]
		}
	}
	c.Len = min(c.Len, n)
	c.Bools = cut(c.Bools, n)
	c.Int32 = cut(c.Int32, n)
	c.Int64 = cut(c.Int64, n)
	c.Float32 = cut(c.Float32, n)
	c.Float64 = cut(c.Float64, n)
	c.Views = cut(c.Views, n)
	if c.Type.Store() == StoreList {
		if len(c.Starts) > n+1 {
			c.Starts = c.Starts[:n+1]
		}
		n = int(c.Starts[len(c.Starts)-1])
	}
	for _, ch := range c.Children {
		ch.Truncate(n)
	}
}

func cut[T any](s []T, n int) []T {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// valid notes that one more slot was appended, present or not.
func (c *Column) valid(ok bool) {
	if !ok && c.Valid == nil {
		c.Valid = make([]bool, c.Len, max(c.Len+1, 64, cap(c.Bools), cap(c.Int32), cap(c.Int64), cap(c.Float32), cap(c.Float64), cap(c.Views)))
		for i := range c.Valid {
			c.Valid[i] = true
		}
	}
	if c.Valid != nil {
		c.Valid = append(c.Valid, ok)
	}
	c.Len++
}

// AppendBool appends a present value to a column whose store is Bools.
func (c *Column) AppendBool(v bool) { c.Bools = append(c.Bools, v); c.valid(true) }

// AppendInt32 appends a present value to a column whose store is Int32.
func (c *Column) AppendInt32(v int32) { c.Int32 = append(c.Int32, v); c.valid(true) }

// AppendInt64 appends a present value to a column whose store is Int64.
func (c *Column) AppendInt64(v int64) { c.Int64 = append(c.Int64, v); c.valid(true) }

// AppendFloat32 appends a present value to a column whose store is Float32.
func (c *Column) AppendFloat32(v float32) { c.Float32 = append(c.Float32, v); c.valid(true) }

// AppendFloat64 appends a present value to a column whose store is Float64.
func (c *Column) AppendFloat64(v float64) { c.Float64 = append(c.Float64, v); c.valid(true) }

// AppendView appends a present value to a column whose store is Views.
func (c *Column) AppendView(v View) { c.Views = append(c.Views, v); c.valid(true) }

// AppendStruct closes a present struct slot after its children were appended.
func (c *Column) AppendStruct() { c.valid(true) }

// AppendList closes a present list or map slot: its elements are those appended to the children
// since the slot before.
func (c *Column) AppendList() {
	c.Starts = append(c.Starts, int32(c.Children[0].Len))
	c.valid(true)
}

// AppendNull appends a slot without a value, and to a struct's children too.
func (c *Column) AppendNull() { c.appendZero(false) }

// AppendZero appends a present zero value; it fills required children below a null struct.
func (c *Column) AppendZero() { c.appendZero(true) }

func (c *Column) appendZero(ok bool) {
	switch c.Type.Store() {
	case StoreBool:
		c.Bools = append(c.Bools, false)
	case StoreInt32:
		c.Int32 = append(c.Int32, 0)
	case StoreInt64:
		c.Int64 = append(c.Int64, 0)
	case StoreFloat32:
		c.Float32 = append(c.Float32, 0)
	case StoreFloat64:
		c.Float64 = append(c.Float64, 0)
	case StoreView:
		c.Views = append(c.Views, View{})
	case StoreStruct:
		for i, ch := range c.Children {
			ch.appendZero(c.Type.Fields[i].Required)
		}
	case StoreList:
		c.Starts = append(c.Starts, c.Starts[len(c.Starts)-1])
	}
	c.valid(ok)
}

// AppendFrom appends slot i of a column of the same type. view gives the view of the same bytes in the memory of c's batch; nil: both
// columns belong to the same batch.
func (c *Column) AppendFrom(from *Column, i int, view func(View) View) {
	if from.IsNull(i) {
		c.AppendNull()
		return
	}
	switch c.Type.Store() {
	case StoreBool:
		c.AppendBool(from.Bools[i])
	case StoreInt32:
		c.AppendInt32(from.Int32[i])
	case StoreInt64:
		c.AppendInt64(from.Int64[i])
	case StoreFloat32:
		c.AppendFloat32(from.Float32[i])
	case StoreFloat64:
		c.AppendFloat64(from.Float64[i])
	case StoreView:
		v := from.Views[i]
		if view != nil {
			v = view(v)
		}
		c.AppendView(v)
	case StoreStruct:
		for k, ch := range c.Children {
			ch.AppendFrom(from.Children[k], i, view)
		}
		c.AppendStruct()
	case StoreList:
		for e := from.Starts[i]; e < from.Starts[i+1]; e++ {
			for k, ch := range c.Children {
				ch.AppendFrom(from.Children[k], int(e), view)
			}
		}
		c.AppendList()
	}
}

// Bytes is the memory that the column's slices take, with their spare room and without what Views point to.
func (c *Column) Bytes() int64 {
	n := cap(c.Valid) + cap(c.Bools) + 4*(cap(c.Int32)+cap(c.Float32)+cap(c.Starts)) + 8*(cap(c.Int64)+cap(c.Float64)+cap(c.Views))
	total := int64(n)
	for _, ch := range c.Children {
		total += ch.Bytes()
	}
	return total
}

// IsNull reports whether slot i has no value.
func (c *Column) IsNull(i int) bool { return c.Valid != nil && !c.Valid[i] }

// SetNull takes the value of slot i away (not of nested columns' children, which stay as they are
// and are not read below a null).
func (c *Column) SetNull(i int) {
	if c.Valid == nil {
		c.Valid = make([]bool, c.Len, max(c.Len, 64))
		for j := range c.Valid {
			c.Valid[j] = true
		}
	}
	c.Valid[i] = false
}
