package cleanse_test

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

func derive(s *configs.DeriveStep, t, after *batch.Type, row any) any {
	to := after.Fields[after.Index(s.Column)].Type
	v, failed := evaluateWith(s.Expression, t, row, func() {
		if s.OnError != "null" {
			panic(rejected{})
		}
	})
	out := fields{}
	for k, x := range row.(fields) {
		out[k] = x
	}
	out[s.Column] = nil
	if !failed && v != nil {
		out[s.Column] = fromExpression(v, to, s.OnError)
	}
	return out
}

// fromExpression brings a CEL value to a column type.
func fromExpression(v any, to *batch.Type, onError string) any {
	switch x := v.(type) {
	case bool:
		return convert(batch.Prim(batch.Boolean), to, x, onError)
	case int64:
		return convert(batch.Prim(batch.Long), to, x, onError)
	case float64:
		return convert(batch.Prim(batch.Double), to, x, onError)
	case string:
		return convert(batch.Prim(batch.String), to, x, onError)
	case []byte:
		return convert(batch.Prim(batch.Binary), to, x, onError)
	case ratVal:
		out, ok := castNumber(to, x.Rat, false)
		if !ok && onError != "null" {
			panic(rejected{})
		}
		return out
	case time.Duration:
		return x.Microseconds()
	case time.Time:
		return convert(batch.Prim(batch.TimestampTZ), to, x.UnixMicro(), onError)
	case []any:
		out := []any{}
		for _, e := range x {
			if e != nil {
				e = fromExpression(e, to.Fields[0].Type, onError)
			}
			out = append(out, e)
		}
		return out
	}
	panic(fmt.Sprintf("a result of type %T", v))
}

// evaluate gives the value of an expression; a failure that is not due to null rejects the row.
func evaluate(text string, t *batch.Type, row any) (v any, failed bool) {
	return evaluateWith(text, t, row, func() { panic(rejected{}) })
}

var hasField = regexp.MustCompile(`has\((\w+)\.(\w+)\)`)

func evaluateWith(text string, t *batch.Type, row any, fail func()) (v any, failed bool) {
	vars := toCEL(t, row).(map[string]any)
	vars["row"] = vars
	opts := append(addedFunctions(), ext.Strings(), cel.CrossTypeNumericComparisons(true), cel.EnableIdentifierEscapeSyntax())
	for name := range vars {
		if strings.ContainsAny(name, "-.") || name == "import" {
			continue
		}
		opts = append(opts, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		panic(err)
	}
	// Maps have null fields where structs have none.
	ast, issues := env.Compile(hasField.ReplaceAllString(text, "($1 != null && $1.$2 != null)"))
	if issues.Err() != nil {
		panic(issues.Err())
	}
	prog, err := env.Program(ast)
	if err != nil {
		panic(err)
	}
	out, _, err := prog.Eval(vars)
	if err != nil {
		if strings.Contains(err.Error(), "no such overload") || strings.Contains(err.Error(), "expected iterable type") {
			return nil, true
		}
		for _, f := range t.Fields {
			if strings.Contains(err.Error(), "no such key") && nestedNull(f.Type, row.(fields)[f.Name]) && strings.Contains(text, f.Name) {
				return nil, true // the member of a null list, map or struct
			}
		}
		fail()
		return nil, true
	}
	return fromCELValue(out), false
}

// nestedNull says whether there is a null list, map or struct in v.
func nestedNull(t *batch.Type, v any) bool {
	if !t.Nested() {
		return false
	}
	found := v == nil
	switch x := v.(type) {
	case fields:
		for _, f := range t.Fields {
			found = found || nestedNull(f.Type, x[f.Name])
		}
	case []any:
		for _, e := range x {
			found = found || nestedNull(t.Fields[0].Type, e)
		}
	case entries:
		for _, e := range x {
			found = found || nestedNull(t.Fields[1].Type, e.value)
		}
	}
	return found
}

func fromCELValue(v ref.Val) any {
	if v == types.NullValue {
		return nil
	}
	if list, ok := v.(traits.Lister); ok {
		out := []any{}
		for it := list.Iterator(); it.HasNext() == types.True; {
			out = append(out, fromCELValue(it.Next()))
		}
		return out
	}
	return v.Value()
}

// toCEL gives a value in the forms that cel-go adapts by itself.
func toCEL(t *batch.Type, v any) any {
	if v == nil {
		return nil
	}
	switch t.Kind {
	case batch.Struct:
		out := map[string]any{}
		for _, f := range t.Fields {
			out[f.Name] = toCEL(f.Type, v.(fields)[f.Name])
		}
		return out
	case batch.List:
		out := []any{}
		for _, e := range v.([]any) {
			out = append(out, toCEL(t.Fields[0].Type, e))
		}
		return out
	case batch.Map:
		out := map[any]any{}
		for _, e := range v.(entries) {
			out[toCEL(t.Fields[0].Type, e.key)] = toCEL(t.Fields[1].Type, e.value)
		}
		return out
	case batch.Date:
		return time.Unix(v.(int64)*86400, 0).UTC()
	case batch.Timestamp, batch.TimestampTZ:
		return time.UnixMicro(v.(int64)).UTC()
	case batch.Time:
		return time.Duration(v.(int64)) * time.Microsecond
	case batch.UUID:
		return uuidText(v.([]byte))
	case batch.Decimal:
		return ratVal{decimalRat(v.(*big.Int), t.Scale)}
	}
	return v
}

func uuidText(b []byte) string {
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
