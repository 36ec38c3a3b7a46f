package cleanse

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/lakeloader/lakeloader/batch"
)

// celRow gives cel-go the columns of one row, each only when the expression asks for it. It is used again for every
// row of every batch.
type celRow struct {
	typ  *batch.Type // of the row
	cols []*batch.Column
	mem  []byte
	row  int
	// sawNull: a null list, map or struct was read, whose members then seem to be missing.
	sawNull bool
	whole   structVal
}

func (a *celRow) bind(r *run) {
	a.cols, a.mem = r.root.Children, r.b.Mem
	a.whole = structVal{row: a, t: a.typ, c: r.root, object: types.NewObjectType(rowVar)}
}

// ResolveName is part of cel.Activation, and so is Parent.
func (a *celRow) ResolveName(name string) (any, bool) {
	if i := a.typ.Index(name); i >= 0 {
		return a.value(a.typ.Fields[i].Type, a.cols[i], a.row), true
	}
	if name == rowVar {
		a.whole.slot = a.row
		return &a.whole, true
	}
	return nil, false
}

func (a *celRow) Parent() cel.Activation { return nil }

// value makes a CEL value of slot i.
func (a *celRow) value(t *batch.Type, c *batch.Column, i int) ref.Val {
	if c.IsNull(i) {
		if t.Nested() {
			a.sawNull = true
		}
		return types.NullValue
	}
	switch t.Kind {
	case batch.Struct:
		return &structVal{row: a, t: t, c: c, slot: i, object: types.NewObjectType("struct")}
	case batch.List:
		vals := make([]ref.Val, 0, c.Starts[i+1]-c.Starts[i])
		for j := c.Starts[i]; j < c.Starts[i+1]; j++ {
			vals = append(vals, a.value(t.Fields[0].Type, c.Children[0], int(j)))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, vals)
	case batch.Map:
		vals := make(map[ref.Val]ref.Val, c.Starts[i+1]-c.Starts[i])
		for j := c.Starts[i]; j < c.Starts[i+1]; j++ {
			vals[a.value(t.Fields[0].Type, c.Children[0], int(j))] = a.value(t.Fields[1].Type, c.Children[1], int(j))
		}
		return types.NewRefValMap(types.DefaultTypeAdapter, vals)
	}
	s := getScalar(t, c, i, a.mem)
	return celScalar(t, &s)
}

func celScalar(t *batch.Type, s *scalar) ref.Val {
	switch t.Kind {
	case batch.Boolean:
		return types.Bool(s.i != 0)
	case batch.Int, batch.Long:
		return types.Int(s.i)
	case batch.Float, batch.Double:
		return types.Double(s.f)
	case batch.String:
		return types.String(s.b)
	case batch.UUID:
		return types.String(appendUUID(nil, s.b))
	case batch.Date:
		return types.Timestamp{Time: time.Unix(s.i*86400, 0).UTC()}
	case batch.Timestamp, batch.TimestampTZ:
		return types.Timestamp{Time: time.UnixMicro(s.i).UTC()}
	case batch.Time:
		return types.Duration{Duration: time.Duration(s.i) * time.Microsecond}
	case batch.Decimal:
		v := new(big.Int).SetBytes(s.d.abs().appendBE(nil))
		if s.d.negative() {
			v.Neg(v)
		}
		return &decimalVal{v, t.Scale}
	}
	// Copied, as the arena moves.
	return types.Bytes(append([]byte(nil), s.b...))
}

// fromCEL turns a result into a scalar of the natural type; false: not one of that type.
func fromCEL(v ref.Val, natural *batch.Type, buf []byte) (s scalar, why string) {
	switch v := v.(type) {
	case types.Bool:
		if v {
			s.i = 1
		}
	case types.Int:
		s.i = int64(v)
	case types.Double:
		s.f = float64(v)
	case types.String:
		s.b = append(buf[:0], v...)
	case types.Bytes:
		s.b = v
	case types.Timestamp:
		s.i = v.UnixMicro()
	case types.Duration:
		if s.i = v.Microseconds(); s.i < 0 || s.i >= dayMicros {
			return s, "is no time of day"
		}
	case *decimalVal:
		return v.scalar(natural)
	default:
		return s, fmt.Sprintf("is a %s, which no column holds", v.Type().TypeName())
	}
	return s, ""
}

// structVal is a struct, read lazily.
type structVal struct {
	row    *celRow
	t      *batch.Type
	c      *batch.Column
	slot   int
	object *types.Type
}

func (v *structVal) field(i int) ref.Val {
	return v.row.value(v.t.Fields[i].Type, v.c.Children[i], v.slot)
}

// ConvertToNative and the following make a ref.Val.
func (v *structVal) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("a struct has no native form")
}

func (v *structVal) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return v.object
	}
	return types.NoSuchOverloadErr()
}

func (v *structVal) Equal(other ref.Val) ref.Val {
	o, ok := other.(*structVal)
	if !ok || len(o.t.Fields) != len(v.t.Fields) {
		return types.False
	}
	for i := range v.t.Fields {
		if types.Equal(v.field(i), o.field(i)) != types.True {
			return types.False
		}
	}
	return types.True
}

func (v *structVal) Type() ref.Type { return v.object }
func (v *structVal) Value() any     { return v }

var _ traits.Indexer = (*structVal)(nil)

// Get gives a field where the checker does not know it as one.
func (v *structVal) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.NoSuchOverloadErr()
	}
	i := v.t.Index(string(name))
	if i < 0 {
		return types.NewErr("no such field: %s", name)
	}
	return v.field(i)
}

// decimalType is the CEL type of decimals: exact, without division.
var decimalType = types.NewObjectType("decimal", traits.ComparerType|traits.AdderType|traits.SubtractorType|traits.MultiplierType|traits.NegatorType)

type decimalVal struct {
	v     *big.Int
	scale int
}

// maxDecimalDigits stops expressions from growing decimals without bound; no column holds more than 38.
const maxDecimalDigits = 200

func (d *decimalVal) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("a decimal has no native form")
}

func (d *decimalVal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.StringType:
		return types.String(d.String())
	case types.TypeType:
		return decimalType
	}
	return types.NoSuchOverloadErr()
}

func (d *decimalVal) String() string {
	s := new(big.Int).Abs(d.v).String()
	for len(s) <= d.scale {
		s = "0" + s
	}
	if d.scale > 0 {
		s = s[:len(s)-d.scale] + "." + s[len(s)-d.scale:]
	}
	if d.v.Sign() < 0 {
		s = "-" + s
	}
	return s
}

func (d *decimalVal) Equal(other ref.Val) ref.Val {
	o, ok := other.(*decimalVal)
	if !ok {
		return types.False
	}
	return types.Bool(d.cmp(o) == 0)
}

func (d *decimalVal) Type() ref.Type { return decimalType }
func (d *decimalVal) Value() any     { return d }

// aligned gives both unscaled values at the greater scale.
func (d *decimalVal) aligned(o *decimalVal) (x, y *big.Int, scale int) {
	scale = max(d.scale, o.scale)
	return d.at(scale), o.at(scale), scale
}

func (d *decimalVal) at(scale int) *big.Int {
	f := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale-d.scale)), nil)
	return f.Mul(f, d.v)
}

func (d *decimalVal) cmp(o *decimalVal) int {
	x, y, _ := d.aligned(o)
	return x.Cmp(y)
}

// asDecimal takes decimals and whole numbers.
func asDecimal(v ref.Val) (*decimalVal, bool) {
	switch v := v.(type) {
	case *decimalVal:
		return v, true
	case types.Int:
		return &decimalVal{big.NewInt(int64(v)), 0}, true
	}
	return nil, false
}

// Compare implements < <= > >=, the following + - * and negation.
func (d *decimalVal) Compare(other ref.Val) ref.Val {
	o, ok := asDecimal(other)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Int(d.cmp(o))
}

func (d *decimalVal) Add(other ref.Val) ref.Val {
	return d.arith(other, func(x, y *big.Int) { x.Add(x, y) })
}

func (d *decimalVal) Subtract(other ref.Val) ref.Val {
	return d.arith(other, func(x, y *big.Int) { x.Sub(x, y) })
}

func (d *decimalVal) arith(other ref.Val, f func(x, y *big.Int)) ref.Val {
	o, ok := asDecimal(other)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	x, y, scale := d.aligned(o)
	f(x, y)
	return newDecimal(x, scale)
}

func (d *decimalVal) Multiply(other ref.Val) ref.Val {
	o, ok := asDecimal(other)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return newDecimal(new(big.Int).Mul(d.v, o.v), d.scale+o.scale)
}

func (d *decimalVal) Negate() ref.Val { return &decimalVal{new(big.Int).Neg(d.v), d.scale} }

func newDecimal(v *big.Int, scale int) ref.Val {
	if scale > maxDecimalDigits || v.BitLen() > maxDecimalDigits*4 {
		return types.NewErr("decimal overflow")
	}
	return &decimalVal{v, scale}
}

// scalar brings the value to a column's type; digits that do not fit are an error.
func (d *decimalVal) scalar(t *batch.Type) (s scalar, why string) {
	s.d, why = parseDecimal([]byte(d.String()), t.Scale)
	if why != "" {
		return s, why + " for " + t.String()
	}
	return checkRange(t, s)
}

func parseDecimalVal(text string) ref.Val {
	_, frac, _ := strings.Cut(text, ".")
	for scale := min(len(frac), 38); scale <= 38; scale++ {
		if d, why := parseDecimal([]byte(text), scale); why == "" {
			return celScalar(batch.DecimalOf(38, scale), &scalar{d: d})
		}
	}
	return types.NewErr("%s is not a decimal number of at most 38 digits", quoteShort([]byte(text)))
}

// decimalFunctions declares the operators for the checker; the standard functions reach the methods by themselves.
func decimalFunctions() []cel.EnvOption {
	d := decimalType
	var opts []cel.EnvOption
	binary := func(op, id string, result *types.Type) {
		opts = append(opts, cel.Function(op,
			cel.Overload(id+"_decimal", []*cel.Type{d, d}, result), cel.Overload(id+"_decimal_int", []*cel.Type{d, types.IntType}, result)))
	}
	binary(operators.Less, "less", types.BoolType)
	binary(operators.LessEquals, "less_equals", types.BoolType)
	binary(operators.Greater, "greater", types.BoolType)
	binary(operators.GreaterEquals, "greater_equals", types.BoolType)
	binary(operators.Add, "add", d)
	binary(operators.Subtract, "subtract", d)
	binary(operators.Multiply, "multiply", d)
	return append(opts,
		cel.Function(operators.Negate, cel.Overload("negate_decimal", []*cel.Type{d}, d)),
		cel.Function("decimal",
			cel.Overload("string_to_decimal", []*cel.Type{types.StringType}, d, cel.UnaryBinding(func(v ref.Val) ref.Val {
				if s, ok := v.(types.String); ok {
					return parseDecimalVal(string(s))
				}
				return types.MaybeNoSuchOverloadErr(v)
			})),
			cel.Overload("int_to_decimal", []*cel.Type{types.IntType}, d, cel.UnaryBinding(func(v ref.Val) ref.Val {
				if x, ok := asDecimal(v); ok {
					return x
				}
				return types.MaybeNoSuchOverloadErr(v)
			}))),
		cel.Function("string", cel.Overload("decimal_to_string", []*cel.Type{d}, types.StringType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			if x, ok := v.(*decimalVal); ok {
				return types.String(x.String())
			}
			return types.MaybeNoSuchOverloadErr(v)
		}))),
	)
}
