package schemas

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
)

// slot is the value of slot i for comparing: nil, a number, text or bytes as string, a list as []any, a map as
// [][2]any, a struct as map[string]any; a wide decimal as int128.
func slot(r *batch.Records, c *batch.Column, i int) any {
	if c.IsNull(i) {
		return nil
	}
	switch c.Type.Store() {
	case batch.StoreBool:
		return c.Bools[i]
	case batch.StoreInt32:
		return c.Int32[i]
	case batch.StoreInt64:
		return c.Int64[i]
	case batch.StoreFloat32:
		return c.Float32[i]
	case batch.StoreFloat64:
		return c.Float64[i]
	case batch.StoreView:
		b := r.Bytes(c.Views[i])
		if c.Type.Kind == batch.Decimal {
			return int128{int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])}
		}
		return string(b)
	case batch.StoreStruct:
		m := map[string]any{}
		for k, f := range c.Type.Fields {
			m[f.Name] = slot(r, c.Children[k], i)
		}
		return m
	}
	if c.Type.Kind == batch.Map {
		m := [][2]any{}
		for k := c.Starts[i]; k < c.Starts[i+1]; k++ {
			m = append(m, [2]any{slot(r, c.Children[0], int(k)), slot(r, c.Children[1], int(k))})
		}
		return m
	}
	l := []any{}
	for k := c.Starts[i]; k < c.Starts[i+1]; k++ {
		l = append(l, slot(r, c.Children[0], int(k)))
	}
	return l
}

// checkColumn verifies the invariants of a column of n slots.
func checkColumn(c *batch.Column, required bool, n int) error {
	if c.Len != n {
		return fmt.Errorf("%s: Len %d, want %d", c.Type, c.Len, n)
	}
	if c.Valid != nil && len(c.Valid) != n {
		return fmt.Errorf("%s: %d Valid, want %d", c.Type, len(c.Valid), n)
	}
	if required {
		for i, ok := range c.Valid {
			if !ok {
				return fmt.Errorf("%s: slot %d of a required column is null", c.Type, i)
			}
		}
	}
	got := map[batch.Store]int{batch.StoreBool: len(c.Bools), batch.StoreInt32: len(c.Int32), batch.StoreInt64: len(c.Int64),
		batch.StoreFloat32: len(c.Float32), batch.StoreFloat64: len(c.Float64), batch.StoreView: len(c.Views)}
	for s, k := range got {
		if want := map[bool]int{true: n}[s == c.Type.Store()]; k != want {
			return fmt.Errorf("%s: store %d has %d values, want %d", c.Type, s, k, want)
		}
	}
	if c.Type.Store() == batch.StoreList {
		if len(c.Starts) != n+1 || c.Starts[0] != 0 {
			return fmt.Errorf("%s: starts %v for %d slots", c.Type, c.Starts, n)
		}
		n = int(c.Starts[n])
	}
	for i, f := range c.Type.Fields {
		// Below a null struct a required child holds present zeros, so it has no nulls either.
		if err := checkColumn(c.Children[i], f.Required, n); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

// newRoot returns an empty row column.
func newRoot(row *batch.Type) *batch.Column { return batch.NewColumn(row, 8) }

// appendRow decodes one payload into root, or truncates it on an error as a decoder does.
func appendRow(p Plan, r *batch.Records, root *batch.Column, payload []byte) error {
	n := root.Len
	if err := p.Append(r, r.Append(payload), root); err != nil {
		root.Truncate(n)
		return err
	}
	root.AppendStruct()
	return nil
}

func mustParseAvro(t testing.TB, text string, refs ...Reference) Schema {
	t.Helper()
	s, err := ParseAvro(text, refs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustCompile(t testing.TB, s Schema, target *batch.Type) Plan {
	t.Helper()
	p, err := s.Compile(target)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
