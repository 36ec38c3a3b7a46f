package cleanse_test

import (
	"errors"
	"math/big"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// ratVal is the interpreter's decimal: an exact fraction.
type ratVal struct{ *big.Rat }

var ratType = types.NewObjectType("rat", traits.ComparerType|traits.AdderType|traits.SubtractorType|traits.MultiplierType|traits.NegatorType)

func (r ratVal) ConvertToNative(reflect.Type) (any, error) { return nil, errors.New("no native form") }
func (r ratVal) ConvertToType(ref.Type) ref.Val            { return types.NoSuchOverloadErr() }
func (r ratVal) Type() ref.Type                            { return ratType }
func (r ratVal) Value() any                                { return r }

func (r ratVal) with(v ref.Val, f func(o *big.Rat) ref.Val) ref.Val {
	switch o := v.(type) {
	case ratVal:
		return f(o.Rat)
	case types.Int:
		return f(new(big.Rat).SetInt64(int64(o)))
	}
	return types.NoSuchOverloadErr()
}

func (r ratVal) Equal(v ref.Val) ref.Val {
	o, ok := v.(ratVal)
	return types.Bool(ok && o.Cmp(r.Rat) == 0)
}

func (r ratVal) Compare(v ref.Val) ref.Val {
	return r.with(v, func(o *big.Rat) ref.Val { return types.Int(r.Cmp(o)) })
}

func (r ratVal) Add(v ref.Val) ref.Val {
	return r.with(v, func(o *big.Rat) ref.Val { return ratVal{new(big.Rat).Add(r.Rat, o)} })
}

func (r ratVal) Subtract(v ref.Val) ref.Val {
	return r.with(v, func(o *big.Rat) ref.Val { return ratVal{new(big.Rat).Sub(r.Rat, o)} })
}

func (r ratVal) Multiply(v ref.Val) ref.Val {
	return r.with(v, func(o *big.Rat) ref.Val { return ratVal{new(big.Rat).Mul(r.Rat, o)} })
}

func (r ratVal) Negate() ref.Val { return ratVal{new(big.Rat).Neg(r.Rat)} }

// addedFunctions are those that the package adds to CEL, but for dynamic types.
func addedFunctions() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Function("decimal", cel.Overload("any_to_rat", []*cel.Type{cel.DynType}, cel.DynType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			switch x := v.(type) {
			case types.String:
				if r, ok := new(big.Rat).SetString(string(x)); ok {
					return ratVal{r}
				}
				return types.NewErr("not a decimal")
			case types.Int:
				return ratVal{new(big.Rat).SetInt64(int64(x))}
			}
			return types.NoSuchOverloadErr()
		}))),
		cel.Function("isNull", cel.Overload("dyn_is_null", []*cel.Type{cel.DynType}, cel.BoolType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			return types.Bool(v.Type() == types.NullType)
		}))),
		cel.Function("coalesce", cel.Overload("dyn_coalesce", []*cel.Type{cel.DynType, cel.DynType}, cel.DynType, cel.BinaryBinding(func(x, y ref.Val) ref.Val {
			if x.Type() == types.NullType {
				return y
			}
			return x
		}))),
	}
}
