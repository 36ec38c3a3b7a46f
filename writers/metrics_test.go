package writers

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

var (
	nan32 = float32(math.NaN())
	nan64 = math.NaN()
)

// checkBounds reads Iceberg's bounds of a column back, by the specification, and compares a value with them.
func checkBounds(t tb, f table.File, fl batch.Field, v any) {
	lo, hasLo := f.LowerBounds[fl.ID]
	hi, hasHi := f.UpperBounds[fl.ID]
	if !hasLo && fl.Type.Kind != batch.Float && fl.Type.Kind != batch.Double {
		t.Fatalf("column %s, a %s, has no lower bound", fl.Name, fl.Type)
	}
	if hasLo && order(fl.Type, lo, v) > 0 || hasHi && order(fl.Type, hi, v) < 0 {
		t.Fatalf("column %s, a %s: %s is not within %x and %x", fl.Name, fl.Type, text(v), lo, hi)
	}
}

// order compares a bound in single-value serialization with a value.
func order(t *batch.Type, b []byte, v any) int {
	switch v := v.(type) {
	case bool:
		return int(b[0]) - map[bool]int{true: 1}[v]
	case int64:
		if t.Store() == batch.StoreInt32 {
			return big.NewInt(int64(int32(binary.LittleEndian.Uint32(b)))).Cmp(big.NewInt(v))
		}
		return big.NewInt(int64(binary.LittleEndian.Uint64(b))).Cmp(big.NewInt(v))
	case float32:
		return orderFloats(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), float64(v))
	case float64:
		return orderFloats(math.Float64frombits(binary.LittleEndian.Uint64(b)), v)
	case *big.Int:
		return fromTwosComplement(b).Cmp(v)
	}
	return strings.Compare(string(b), v.(string))
}

// orderFloats has -0.0 before 0.0.
func orderFloats(a, b float64) int {
	switch {
	case a < b || a == b && math.Signbit(a) && !math.Signbit(b):
		return -1
	case a > b || a == b && math.Signbit(b) && !math.Signbit(a):
		return 1
	}
	return 0
}

func bigInt(v int64) *big.Int { return big.NewInt(v) }

func TestTextBounds(t *testing.T) {
	str, bin := batch.Prim(batch.String), batch.Prim(batch.Binary)
	long := strings.Repeat("é", 20)
	for _, c := range []struct {
		typ    *batch.Type
		in     string
		lo, hi string
	}{
		{str, "abc", "abc", "abc"}, {str, "", "", ""},
		{str, strings.Repeat("a", 16), strings.Repeat("a", 16), strings.Repeat("a", 16)},
		{str, strings.Repeat("a", 17), strings.Repeat("a", 16), strings.Repeat("a", 15) + "b"},
		{str, long, strings.Repeat("é", 16), strings.Repeat("é", 15) + "ê"},
		{str, strings.Repeat("a", 15) + "\U0010ffffz", strings.Repeat("a", 15) + "\U0010ffff", strings.Repeat("a", 14) + "b"},
		{str, strings.Repeat("a", 15) + "\ud7ffz", strings.Repeat("a", 15) + "\ud7ff", strings.Repeat("a", 15) + "\ue000"},
		{str, strings.Repeat("\U0010ffff", 17), strings.Repeat("\U0010ffff", 16), "none"},
		{bin, strings.Repeat("a", 17), strings.Repeat("a", 16), strings.Repeat("a", 15) + "b"},
		{bin, "aa" + strings.Repeat("\xff", 20), "aa" + strings.Repeat("\xff", 14), "ab"},
		{bin, strings.Repeat("\xff", 17), strings.Repeat("\xff", 16), "none"},
		{bin, strings.Repeat("\xff", 16), strings.Repeat("\xff", 16), strings.Repeat("\xff", 16)},
	} {
		lo, hi := lowerBound(c.typ, []byte(c.in)), upperBound(c.typ, []byte(c.in))
		if hi == nil {
			hi = []byte("none")
		}
		if string(lo) != c.lo || string(hi) != c.hi {
			t.Errorf("bounds of %q: %q, %q; want %q, %q", c.in, lo, hi, c.lo, c.hi)
		}
	}
}

func TestSerializedBounds(t *testing.T) {
	row := number(batch.StructOf(required("i", batch.Int), required("d", batch.Double),
		batch.Field{Name: "small", Type: batch.DecimalOf(9, 2), Required: true}, batch.Field{Name: "big", Type: batch.DecimalOf(38, 2), Required: true},
		required("u", batch.UUID), batch.Field{Name: "list", Type: batch.ListOf(batch.Prim(batch.Int), true), Required: true}))
	store := newMemory()
	w := newWriter(t, Options{Info: info(row), Store: store})
	uuid := strings.Repeat("\x01", 16)
	appendAll(t, w, batchOf(row, []any{
		[]any{int64(-2), 0.0, big.NewInt(-1), big.NewInt(-300), uuid, []any{int64(5)}},
		[]any{int64(7), nan64, big.NewInt(128), big.NewInt(2), uuid, []any{}},
	}))
	f := finish(t, w)[0]
	le := func(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
	wantLo := map[int][]byte{1: {0xfe, 0xff, 0xff, 0xff}, 2: le(1 << 63), 3: {0xff}, 4: {0xfe, 0xd4}, 5: []byte(uuid)}
	wantHi := map[int][]byte{1: {7, 0, 0, 0}, 2: le(0), 3: {0, 0x80}, 4: {2}, 5: []byte(uuid)}
	for id := range 8 {
		if !bytes.Equal(f.LowerBounds[id], wantLo[id]) || !bytes.Equal(f.UpperBounds[id], wantHi[id]) {
			t.Errorf("field %d: %x, %x; want %x, %x", id, f.LowerBounds[id], f.UpperBounds[id], wantLo[id], wantHi[id])
		}
	}
	if f.NaNCounts[2] != 1 || f.ValueCounts[7] != 2 || f.NullCounts[7] != 1 {
		t.Errorf("counts: %v %v %v", f.NaNCounts, f.ValueCounts, f.NullCounts)
	}
	if f.SpecID != 3 || f.SortOrderID != 0 || f.CreatedMS != fixedClock().UnixMilli() || !slices.Equal(f.SplitOffsets, []int64{4}) {
		t.Errorf("%+v", f)
	}
}
