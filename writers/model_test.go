package writers

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/parquet-go/parquet-go"
)

// A model value is nil, or: bool; int64 (all integers, dates and times); float32, float64; string (text, and the bytes
// of uuid, fixed and binary); *big.Int (unscaled decimals); []any (struct fields, list elements); [][2]any (map entries).

var prims = []*batch.Type{batch.Prim(batch.Boolean), batch.Prim(batch.Int), batch.Prim(batch.Long), batch.Prim(batch.Float),
	batch.Prim(batch.Double), batch.DecimalOf(1, 0), batch.DecimalOf(9, 2), batch.DecimalOf(10, 5), batch.DecimalOf(18, 18), batch.DecimalOf(19, 2),
	batch.DecimalOf(38, 10), batch.Prim(batch.Date), batch.Prim(batch.Time), batch.Prim(batch.Timestamp), batch.Prim(batch.TimestampTZ),
	batch.Prim(batch.String), batch.Prim(batch.UUID), batch.FixedOf(1), batch.FixedOf(5), batch.FixedOf(20), batch.Prim(batch.Binary)}

// gen makes types and values. few limits the distinct values of leaves, so that dictionaries are chosen.
type gen struct {
	*rand.Rand
	few bool
}

func (g *gen) typ(depth int) *batch.Type {
	if depth > 0 && g.IntN(3) == 0 {
		switch g.IntN(3) {
		case 0:
			return g.structType(depth-1, 1+g.IntN(3))
		case 1:
			return batch.ListOf(g.typ(depth-1), g.IntN(2) == 0)
		default:
			return batch.MapOf(prims[15-g.IntN(2)*13], g.typ(depth-1), g.IntN(2) == 0)
		}
	}
	return prims[g.IntN(len(prims))]
}

func (g *gen) structType(depth, n int) *batch.Type {
	t := batch.StructOf()
	for i := range n {
		t.Fields = append(t.Fields, batch.Field{Name: fmt.Sprintf("f%d", i), Type: g.typ(depth), Required: g.IntN(2) == 0})
	}
	return t
}

// rows makes n rows, and a part with most of them.
func (g *gen) rows(row *batch.Type, n int) ([]any, Part) {
	var rows []any
	part := Part{}
	for i := range n {
		if rows = append(rows, g.value(row, true)); g.IntN(8) > 0 {
			part.Rows = append(part.Rows, int32(i))
		}
	}
	return rows, part
}

func (g *gen) value(t *batch.Type, required bool) any {
	if !required && g.IntN(4) == 0 {
		return nil
	}
	switch t.Kind {
	case batch.Struct:
		out := []any{}
		for _, f := range t.Fields {
			out = append(out, g.value(f.Type, f.Required))
		}
		return out
	case batch.List:
		out := []any{}
		for range g.IntN(4) {
			out = append(out, g.value(t.Fields[0].Type, t.Fields[0].Required))
		}
		return out
	case batch.Map:
		out, seen := [][2]any{}, map[any]bool{}
		for range g.IntN(4) {
			k := g.value(t.Fields[0].Type, true)
			if !seen[k] {
				seen[k] = true
				out = append(out, [2]any{k, g.value(t.Fields[1].Type, t.Fields[1].Required)})
			}
		}
		return out
	}
	return g.leaf(t)
}

func (g *gen) leaf(t *batch.Type) any {
	if g.few {
		g = &gen{Rand: rand.New(rand.NewPCG(uint64(g.IntN(5)), 1))}
	}
	switch t.Kind {
	case batch.Boolean:
		return g.IntN(2) == 0
	case batch.Int:
		return int64(int32(g.Uint64() >> g.IntN(64)))
	case batch.Long:
		return int64(g.Uint64() >> g.IntN(64))
	case batch.Float:
		return float32(g.float())
	case batch.Double:
		return g.float()
	case batch.Decimal:
		v := new(big.Int).SetUint64(g.Uint64())
		v.Mul(v, new(big.Int).SetUint64(g.Uint64()))
		v.Mod(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(1+g.IntN(t.Precision))), nil))
		if g.IntN(2) == 0 {
			v.Neg(v)
		}
		return v
	case batch.Date:
		return int64(g.IntN(40000) - 20000)
	case batch.Time:
		return g.Int64N(86400e6)
	case batch.Timestamp, batch.TimestampTZ:
		return g.Int64N(4e15) - 2e15
	case batch.String:
		return []string{"", "a", "München", "日本語", strings.Repeat("\U0001F600", g.IntN(30)), strings.Repeat("z", g.IntN(200)), fmt.Sprint(g.Uint64())}[g.IntN(7)]
	case batch.UUID:
		return g.raw(16)
	case batch.Fixed:
		return g.raw(t.Length)
	}
	return g.raw(g.IntN(120))
}

func (g *gen) float() float64 {
	return []float64{0, math.Copysign(0, -1), 1.5, -1e30, math.Inf(1), math.Inf(-1), math.NaN(), g.NormFloat64(), g.NormFloat64()}[g.IntN(9)]
}

func (g *gen) raw(n int) string {
	b := make([]byte, n)
	fill := g.IntN(3)
	for i := range b {
		switch fill {
		case 0:
			b[i] = 0xff
		default:
			b[i] = byte(g.Uint32())
		}
	}
	return string(b)
}

// put appends a model value to a batch column.
func put(r *batch.Records, c *batch.Column, v any) {
	if v == nil {
		c.AppendNull()
		return
	}
	switch c.Type.Kind {
	case batch.Struct:
		for i, x := range v.([]any) {
			put(r, c.Children[i], x)
		}
		c.AppendStruct()
	case batch.List:
		for _, x := range v.([]any) {
			put(r, c.Children[0], x)
		}
		c.AppendList()
	case batch.Map:
		for _, x := range v.([][2]any) {
			put(r, c.Children[0], x[0])
			put(r, c.Children[1], x[1])
		}
		c.AppendList()
	case batch.Decimal:
		if d := v.(*big.Int); c.Type.Store() == batch.StoreInt64 {
			c.AppendInt64(d.Int64())
		} else {
			c.AppendView(r.Append(twosComplement(d, 16)))
		}
	default:
		putLeaf(r, c, v)
	}
}

func putLeaf(r *batch.Records, c *batch.Column, v any) {
	switch v := v.(type) {
	case bool:
		c.AppendBool(v)
	case int64:
		if c.Type.Store() == batch.StoreInt32 {
			c.AppendInt32(int32(v))
		} else {
			c.AppendInt64(v)
		}
	case float32:
		c.AppendFloat32(v)
	case float64:
		c.AppendFloat64(v)
	case string:
		c.AppendView(r.AppendString(v))
	}
}

func twosComplement(v *big.Int, n int) []byte {
	if v.Sign() < 0 {
		v = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	return v.FillBytes(make([]byte, n))
}

func fromTwosComplement(b []byte) *big.Int {
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

// batchOf makes a batch of rows, which are values of the struct type.
func batchOf(row *batch.Type, rows []any) *batch.Batch {
	r := &batch.Records{}
	b := batch.New(r, row)
	for i, v := range rows {
		put(r, b.Root, v)
		b.AppendRow(i, 0)
	}
	return b
}

// text writes a value so that equal ones have the same text; NaN equals NaN, and the zeros differ.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case float32:
		return fmt.Sprintf("f%08x", math.Float32bits(v))
	case float64:
		return fmt.Sprintf("d%016x", math.Float64bits(v))
	case string:
		return fmt.Sprintf("%q", v)
	case []any:
		var s []string
		for _, x := range v {
			s = append(s, text(x))
		}
		return "[" + strings.Join(s, " ") + "]"
	case [][2]any:
		var s []string
		for _, x := range v {
			s = append(s, text(x[0])+":"+text(x[1]))
		}
		return "{" + strings.Join(s, " ") + "}"
	}
	return fmt.Sprint(v)
}

// assembler puts rows together again from Parquet's levels, by the book: independently of how they were taken apart.
type assembler struct {
	leaf []*batch.Type
}

func leafTypes(t *batch.Type) []*batch.Type {
	if !t.Nested() {
		return []*batch.Type{t}
	}
	var out []*batch.Type
	for _, f := range t.Fields {
		out = append(out, leafTypes(f.Type)...)
	}
	return out
}

// row reads the struct type from a row's values.
func (a *assembler) row(t *batch.Type, r parquet.Row) any {
	columns := make([][]parquet.Value, len(a.leaf))
	for _, v := range r {
		columns[v.Column()] = append(columns[v.Column()], v)
	}
	return a.fields(t, columns, 0, 0, 0)
}

func (a *assembler) fields(t *batch.Type, columns [][]parquet.Value, first, rep, def int) []any {
	out := []any{}
	for _, f := range t.Fields {
		n := len(leafTypes(f.Type))
		out = append(out, a.read(f, columns[:n], first, rep, def))
		columns, first = columns[n:], first+n
	}
	return out
}

func (a *assembler) read(f batch.Field, columns [][]parquet.Value, first, rep, def int) any {
	at := columns[0][0]
	if !f.Required {
		if def++; at.DefinitionLevel() < def {
			return nil
		}
	}
	switch f.Type.Kind {
	case batch.Struct:
		return a.fields(f.Type, columns, first, rep, def)
	case batch.List, batch.Map:
		rep, def = rep+1, def+1
		list, entries := []any{}, [][2]any{}
		if at.DefinitionLevel() >= def {
			for _, part := range splitAt(columns, rep) {
				e := a.fields(f.Type, part, first, rep, def)
				if list = append(list, e[0]); f.Type.Kind == batch.Map {
					entries = append(entries, [2]any{e[0], e[1]})
				}
			}
		}
		if f.Type.Kind == batch.Map {
			return entries
		}
		return list
	}
	return modelValue(a.leaf[first], at)
}

// splitAt divides columns into elements: a new one starts at each value with the repetition level rep.
func splitAt(columns [][]parquet.Value, rep int) [][][]parquet.Value {
	var out [][][]parquet.Value
	for c, values := range columns {
		n := -1
		for i, v := range values {
			if i == 0 || v.RepetitionLevel() == rep {
				if n++; n == len(out) {
					out = append(out, make([][]parquet.Value, len(columns)))
				}
			}
			out[n][c] = append(out[n][c], v)
		}
	}
	return out
}

func modelValue(t *batch.Type, v parquet.Value) any {
	switch v.Kind() {
	case parquet.Boolean:
		return v.Boolean()
	case parquet.Int32, parquet.Int64:
		n := v.Int64()
		if v.Kind() == parquet.Int32 {
			n = int64(v.Int32())
		}
		if t.Kind == batch.Decimal {
			return big.NewInt(n)
		}
		return n
	case parquet.Float:
		return v.Float()
	case parquet.Double:
		return v.Double()
	}
	if t.Kind == batch.Decimal {
		return fromTwosComplement(v.ByteArray())
	}
	return string(v.ByteArray())
}

// plainBytes is the plain encoding of a value, as in Parquet's statistics.
func plainBytes(v parquet.Value) []byte {
	switch v.Kind() {
	case parquet.Boolean:
		if v.Boolean() {
			return []byte{1}
		}
		return []byte{0}
	case parquet.Int32:
		return binary.LittleEndian.AppendUint32(nil, uint32(v.Int32()))
	case parquet.Int64:
		return binary.LittleEndian.AppendUint64(nil, uint64(v.Int64()))
	case parquet.Float:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(v.Float()))
	case parquet.Double:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v.Double()))
	}
	return v.ByteArray()
}
