package batch

import "testing"

// The first null of a column may come late, whatever the column's type.
func TestLateNull(t *testing.T) {
	for _, typ := range []*Type{Prim(Boolean), Prim(Int), Prim(Long), Prim(Float), Prim(Double), Prim(String), StructOf(Field{Name: "a", Type: Prim(Int)}), ListOf(Prim(Int), false)} {
		c := NewColumn(typ, 0)
		for range 1000 {
			c.AppendZero()
		}
		c.AppendNull()
		if c.Len != 1001 || c.IsNull(999) || !c.IsNull(1000) {
			t.Errorf("%s: %d slots", typ, c.Len)
		}
	}
}
