package cleanse_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// Tests handle rows as plain Go values: nil, bool, int64 (whole numbers; days; microseconds), float64, *big.Int
// (unscaled decimals), string, []byte (uuid, fixed, binary), []any, entries of a map in order, and fields of a struct.

type fields map[string]any

type pair struct{ key, value any }

type entries []pair

// appendValue appends v to a column, as a decoder would.
func appendValue(r *batch.Records, c *batch.Column, v any) {
	if v == nil {
		c.AppendNull()
		return
	}
	switch c.Type.Kind {
	case batch.Boolean:
		c.AppendBool(v.(bool))
	case batch.Int, batch.Date:
		c.AppendInt32(int32(v.(int64)))
	case batch.Long, batch.Time, batch.Timestamp, batch.TimestampTZ:
		c.AppendInt64(v.(int64))
	case batch.Float:
		c.AppendFloat32(float32(v.(float64)))
	case batch.Double:
		c.AppendFloat64(v.(float64))
	case batch.Decimal:
		d := v.(*big.Int)
		if c.Type.Store() == batch.StoreInt64 {
			c.AppendInt64(d.Int64())
			return
		}
		two128 := new(big.Int).Lsh(big.NewInt(1), 128)
		c.AppendView(r.Append(new(big.Int).Mod(d, two128).FillBytes(make([]byte, 16))))
	case batch.String:
		c.AppendView(r.AppendString(v.(string)))
	case batch.UUID, batch.Fixed, batch.Binary:
		c.AppendView(r.Append(v.([]byte)))
	case batch.Struct:
		for i, f := range c.Type.Fields {
			appendValue(r, c.Children[i], v.(fields)[f.Name])
		}
		c.AppendStruct()
	case batch.List:
		for _, e := range v.([]any) {
			appendValue(r, c.Children[0], e)
		}
		c.AppendList()
	case batch.Map:
		for _, e := range v.(entries) {
			appendValue(r, c.Children[0], e.key)
			appendValue(r, c.Children[1], e.value)
		}
		c.AppendList()
	}
}

// readValue is the inverse of appendValue.
func readValue(r *batch.Records, t *batch.Type, c *batch.Column, i int) any {
	if c.IsNull(i) {
		return nil
	}
	switch t.Kind {
	case batch.Boolean:
		return c.Bools[i]
	case batch.Int, batch.Date:
		return int64(c.Int32[i])
	case batch.Long, batch.Time, batch.Timestamp, batch.TimestampTZ:
		return c.Int64[i]
	case batch.Float:
		return float64(c.Float32[i])
	case batch.Double:
		return c.Float64[i]
	case batch.Decimal:
		if t.Store() == batch.StoreInt64 {
			return big.NewInt(c.Int64[i])
		}
		b := r.Bytes(c.Views[i])
		d := new(big.Int).SetBytes(b)
		if b[0] >= 0x80 {
			d.Sub(d, new(big.Int).Lsh(big.NewInt(1), 128))
		}
		return d
	case batch.String:
		return string(r.Bytes(c.Views[i]))
	case batch.UUID, batch.Fixed, batch.Binary:
		return append([]byte{}, r.Bytes(c.Views[i])...)
	case batch.Struct:
		out := fields{}
		for k, f := range t.Fields {
			out[f.Name] = readValue(r, f.Type, c.Children[k], i)
		}
		return out
	case batch.List:
		out := []any{}
		for j := c.Starts[i]; j < c.Starts[i+1]; j++ {
			out = append(out, readValue(r, t.Fields[0].Type, c.Children[0], int(j)))
		}
		return out
	case batch.Map:
		out := entries{}
		for j := c.Starts[i]; j < c.Starts[i+1]; j++ {
			out = append(out, pair{readValue(r, t.Fields[0].Type, c.Children[0], int(j)), readValue(r, t.Fields[1].Type, c.Children[1], int(j))})
		}
		return out
	}
	panic("no such kind")
}

// origin is where a row came from.
type origin struct {
	partition  int32
	offset, ts int64
}

// newBatch makes a batch of rows of topic "t"; without origins they are offsets 0, 1, ... of partition 0, a second apart.
func newBatch(row *batch.Type, rows []any, from []origin) *batch.Batch {
	r := &batch.Records{Topics: []string{"t"}}
	b := batch.New(r, row)
	b.Root = batch.NewColumn(row, 0)
	for i, v := range rows {
		o := origin{0, int64(i), int64(i) * 1000}
		if from != nil {
			o = from[i]
		}
		r.Topic = append(r.Topic, 0)
		r.Partition = append(r.Partition, o.partition)
		r.Offset = append(r.Offset, o.offset)
		r.Timestamp = append(r.Timestamp, o.ts)
		r.Key = append(r.Key, batch.Null)
		r.Value = append(r.Value, batch.Null)
		appendValue(r, b.Root, v)
		b.AppendRow(i, 0)
	}
	return b
}

// checkColumn fails if a column breaks what batch.Column promises.
func checkColumn(t tester, path string, want *batch.Type, c *batch.Column, required bool, n int, mem int) {
	t.Helper()
	if !c.Type.Equal(want) {
		t.Fatalf("%s: column has type %s, not %s", path, c.Type, want)
	}
	if c.Len != n {
		t.Fatalf("%s: %d slots, not %d", path, c.Len, n)
	}
	if required && c.Valid != nil {
		t.Fatalf("%s is required and has a validity", path)
	}
	if c.Valid != nil && len(c.Valid) != n {
		t.Fatalf("%s: %d validities, not %d", path, len(c.Valid), n)
	}
	lens := map[batch.Store]int{batch.StoreBool: len(c.Bools), batch.StoreInt32: len(c.Int32), batch.StoreInt64: len(c.Int64),
		batch.StoreFloat32: len(c.Float32), batch.StoreFloat64: len(c.Float64), batch.StoreView: len(c.Views)}
	for store, l := range lens {
		if store == want.Store() && l != n || store != want.Store() && l != 0 {
			t.Fatalf("%s: store %d has %d values for %d slots", path, store, l, n)
		}
	}
	for i := range n {
		if c.Views != nil && int(c.Views[i].Off)+int(c.Views[i].Len) > mem {
			t.Fatalf("%s: view %d is outside of the arena", path, i)
		}
		if c.IsNull(i) && (c.Bools != nil && c.Bools[i] || c.Int32 != nil && c.Int32[i] != 0 || c.Int64 != nil && c.Int64[i] != 0 ||
			c.Float32 != nil && c.Float32[i] != 0 || c.Float64 != nil && c.Float64[i] != 0 || c.Views != nil && c.Views[i].Len != 0) {
			t.Fatalf("%s: null slot %d has a value", path, i)
		}
	}
	if want.Kind == batch.List || want.Kind == batch.Map {
		if len(c.Starts) != n+1 || c.Starts[0] != 0 {
			t.Fatalf("%s: starts are %v", path, c.Starts)
		}
		n = int(c.Starts[n])
	}
	if len(c.Children) != len(want.Fields) {
		t.Fatalf("%s: %d children for %s", path, len(c.Children), want)
	}
	for i, f := range want.Fields {
		checkColumn(t, path+"."+f.Name, f.Type, c.Children[i], f.Required, n, mem)
	}
}

// fromJSON makes a row value of what encoding/json gives (with numbers as json.Number).
func fromJSON(t *batch.Type, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	text := fmt.Sprint(v)
	switch t.Kind {
	case batch.Boolean:
		return strconv.ParseBool(text)
	case batch.Int, batch.Long:
		return strconv.ParseInt(text, 10, 64)
	case batch.Float, batch.Double:
		return strconv.ParseFloat(text, 64)
	case batch.Decimal:
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			return nil, fmt.Errorf("no decimal: %s", text)
		}
		r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)))
		return r.Num(), nil
	case batch.Date:
		at, err := time.Parse(time.DateOnly, text)
		return at.Unix() / 86400, err
	case batch.Time:
		at, err := time.Parse("15:04:05.999999", text)
		return at.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds(), err
	case batch.Timestamp, batch.TimestampTZ:
		at, err := time.Parse("2006-01-02T15:04:05.999999", strings.TrimSuffix(text, "Z"))
		return at.UnixMicro(), err
	case batch.UUID, batch.Fixed, batch.Binary:
		return hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	case batch.Struct:
		out := fields{}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%v is no object", v)
		}
		for name, x := range m {
			i := t.Index(name)
			if i < 0 {
				return nil, fmt.Errorf("there is no column %s", name)
			}
			var err error
			if out[name], err = fromJSON(t.Fields[i].Type, x); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		return out, nil
	case batch.List:
		out := []any{}
		for _, x := range v.([]any) {
			e, err := fromJSON(t.Fields[0].Type, x)
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
		return out, nil
	case batch.Map:
		out := entries{}
		m := v.(map[string]any)
		var keys []string
		for k := range m {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			key, err := fromJSON(t.Fields[0].Type, k)
			if err != nil {
				return nil, err
			}
			value, err := fromJSON(t.Fields[1].Type, m[k])
			if err != nil {
				return nil, err
			}
			out = append(out, pair{key, value})
		}
		return out, nil
	}
	return text, nil
}

// toJSON writes a row value as one line.
func toJSON(t *batch.Type, v any) string {
	if v == nil {
		return "null"
	}
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	micros := func(us any, layout string) string { return quote(time.UnixMicro(us.(int64)).UTC().Format(layout)) }
	switch t.Kind {
	case batch.Float, batch.Double:
		f := v.(float64)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return quote(fmt.Sprint(f))
		}
		size := 64
		if t.Kind == batch.Float {
			size = 32
		}
		return strconv.FormatFloat(f, 'g', -1, size)
	case batch.Decimal:
		return quote(new(big.Rat).SetFrac(v.(*big.Int), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)).FloatString(t.Scale))
	case batch.Date:
		return quote(time.Unix(v.(int64)*86400, 0).UTC().Format(time.DateOnly))
	case batch.Time:
		return micros(v, "15:04:05.999999")
	case batch.Timestamp:
		return micros(v, "2006-01-02T15:04:05.999999")
	case batch.TimestampTZ:
		return micros(v, "2006-01-02T15:04:05.999999Z")
	case batch.String:
		return quote(v.(string))
	case batch.UUID, batch.Fixed, batch.Binary:
		return quote(hex.EncodeToString(v.([]byte)))
	case batch.Struct:
		var parts []string
		for _, f := range t.Fields {
			parts = append(parts, quote(f.Name)+": "+toJSON(f.Type, v.(fields)[f.Name]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case batch.List:
		var parts []string
		for _, e := range v.([]any) {
			parts = append(parts, toJSON(t.Fields[0].Type, e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case batch.Map:
		var parts []string
		for _, e := range v.(entries) {
			key := toJSON(t.Fields[0].Type, e.key)
			if !strings.HasPrefix(key, `"`) {
				key = quote(key)
			}
			parts = append(parts, key+": "+toJSON(t.Fields[1].Type, e.value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// tester is what testing and rapid have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}
