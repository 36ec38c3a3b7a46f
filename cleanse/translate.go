package cleanse

import (
	"bytes"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/lakeloader/lakeloader/batch"
)

func runeCount(b []byte) int64 { return int64(utf8.RuneCount(b)) }

// translator makes kernels of a checked expression, as far as there are kernels for it.
type translator struct {
	root *node // the row
	ast  *ast.AST
	why  string // what has no kernel
}

// typedKernel is a kernel with its type, decimals with their scale.
type typedKernel struct {
	kernel
	typ   valueType
	scale int
	date  bool           // a column of dates
	lit   *literalKernel // if it is one
}

func (t *translator) no(format string, args ...any) (typedKernel, bool) {
	if t.why == "" {
		t.why = fmt.Sprintf(format, args...)
	}
	return typedKernel{}, false
}

func (t *translator) expr(e ast.Expr) (typedKernel, bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		return t.literal(e)
	case ast.IdentKind, ast.SelectKind:
		return t.column(e)
	case ast.CallKind:
		return t.call(e)
	case ast.ComprehensionKind:
		return t.no("a macro over a list or map")
	}
	return t.no("a list, map or struct as a value")
}

func (t *translator) literal(e ast.Expr) (typedKernel, bool) {
	k := &literalKernel{}
	switch v := e.AsLiteral().(type) {
	case types.Bool:
		k.typ, k.b = boolType, bool(v)
	case types.Int:
		k.typ, k.i = intType, int64(v)
	case types.Double:
		k.typ, k.f = floatType, float64(v)
	case types.String:
		k.typ, k.s = textType, []byte(v)
	default:
		return t.no("a literal of type %s", v.Type().TypeName())
	}
	return typedKernel{kernel: k, typ: k.typ, lit: k}, true
}

// names returns the path that a chain of selections spells, without the row variable.
func names(e ast.Expr) ([]string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return []string{e.AsIdent()}, true
	case ast.SelectKind:
		s := e.AsSelect()
		if s.IsTestOnly() {
			return nil, false
		}
		up, ok := names(s.Operand())
		return append(up, s.FieldName()), ok
	}
	return nil, false
}

// find follows names from the row on.
func (n *node) find(names []string) ([]*node, []hop) {
	if n.child(names[0]) < 0 && names[0] == rowVar {
		names = names[1:]
	}
	var chain []*node
	var hops []hop
	for _, name := range names {
		i := -1
		if n.typ.Kind == batch.Struct {
			i = n.child(name)
		}
		if i < 0 {
			return chain, nil
		}
		hops = append(hops, hop{batch.Struct, i, name})
		n = n.kids[i]
		chain = append(chain, n)
	}
	return chain, hops
}

func (t *translator) column(e ast.Expr) (typedKernel, bool) {
	chain, ok := names(e)
	if !ok && e.AsSelect().IsTestOnly() {
		return t.no("the presence test has()")
	}
	if !ok {
		return t.no("a member of something that is no column")
	}
	nodes, hops := t.root.find(chain)
	if len(hops) == 0 {
		return t.no("the row as a whole")
	}
	leaf := nodes[len(nodes)-1]
	k := typedKernel{kernel: &columnKernel{p: &path{hops: hops, leaf: leaf, typ: leaf.batchType(), chain: nodes}}}
	switch leaf.typ.Kind {
	case batch.Boolean:
		k.typ = boolType
	case batch.Int, batch.Long:
		k.typ = intType
	case batch.Float, batch.Double:
		k.typ = floatType
	case batch.Date, batch.Timestamp, batch.TimestampTZ:
		k.typ, k.date = timeType, leaf.typ.Kind == batch.Date
	case batch.String:
		k.typ = textType
	case batch.Decimal:
		k.typ, k.scale = decimal, leaf.typ.Scale
		if leaf.typ.Store() != batch.StoreInt64 {
			return t.no("a decimal of more than 18 digits")
		}
	default:
		return t.no("a column of type %s", leaf.typ.Kind)
	}
	return k, true
}

var orders = map[string]order{operators.Equals: equal, operators.NotEquals: notEqual, operators.Less: less,
	operators.LessEquals: lessEqual, operators.Greater: greater, operators.GreaterEquals: greaterEqual}

var arithmetic = map[string]byte{operators.Add: '+', operators.Subtract: '-', operators.Multiply: '*', operators.Divide: '/', operators.Modulo: '%'}

func (t *translator) call(e ast.Expr) (typedKernel, bool) {
	c := e.AsCall()
	args := c.Args()
	if c.IsMemberFunction() {
		args = append([]ast.Expr{c.Target()}, args...)
	}
	name := c.FunctionName()
	if op, ok := orders[name]; ok {
		return t.compare(op, args[0], args[1])
	}
	if op, ok := arithmetic[name]; ok {
		return t.arith(op, args[0], args[1])
	}
	switch name {
	case operators.LogicalAnd, operators.LogicalOr:
		return t.logic(name == operators.LogicalOr, args)
	case operators.LogicalNot:
		x, ok := t.expr(args[0])
		if !ok || x.typ != boolType {
			return t.no("! of this operand")
		}
		return typedKernel{kernel: &notKernel{x: x}, typ: boolType}, true
	case operators.In:
		return t.in(args[0], args[1])
	case "startsWith", "endsWith", "contains", "matches":
		return t.predicate(name, args)
	case "size":
		x, ok := t.expr(args[0])
		if !ok || x.typ != textType {
			return t.no("size of a list or map")
		}
		return typedKernel{kernel: &sizeKernel{x: x}, typ: intType}, true
	case "timestamp", "decimal":
		return t.constant(name, args)
	}
	return t.no("the function or operator %s", operatorName(name))
}

func operatorName(name string) string {
	if s, ok := operators.FindReverse(name); ok && s != "" {
		return s
	}
	if name == operators.Conditional {
		return "? :"
	}
	return name
}

func (t *translator) logic(or bool, args []ast.Expr) (typedKernel, bool) {
	var k typedKernel
	for i, a := range args {
		x, ok := t.expr(a)
		if !ok {
			return x, false
		}
		if x.typ != boolType {
			return t.no("a logical operator on this operand")
		}
		if i == 0 {
			k = x
		} else {
			k = typedKernel{kernel: &logicKernel{or: or, x: k, y: x}, typ: boolType}
		}
	}
	return k, true
}

// constant evaluates timestamp("...") and decimal("...") of literals.
func (t *translator) constant(name string, args []ast.Expr) (typedKernel, bool) {
	if len(args) != 1 || args[0].Kind() != ast.LiteralKind {
		return t.no("the function %s of something that is no literal", name)
	}
	k := &literalKernel{typ: timeType}
	text, ok := args[0].AsLiteral().(types.String)
	scale := 0
	if name == "timestamp" {
		at, err := time.Parse(time.RFC3339, string(text))
		if !ok || err != nil || at.Nanosecond()%1000 != 0 || text.ConvertToType(types.TimestampType).Type() != types.TimestampType {
			return t.no("this timestamp")
		}
		k.i = at.UnixMicro()
	} else {
		k.typ = decimal
		v := args[0].AsLiteral()
		if ok {
			v = parseDecimalVal(string(text))
		}
		d, isDecimal := asDecimal(v)
		if !isDecimal || !d.v.IsInt64() {
			return t.no("this decimal")
		}
		k.i, scale = d.v.Int64(), d.scale
	}
	return typedKernel{kernel: k, typ: k.typ, scale: scale, lit: k}, true
}

func isNull(e ast.Expr) bool {
	return e.Kind() == ast.LiteralKind && e.AsLiteral() == types.NullValue
}

func (t *translator) compare(op order, a, b ast.Expr) (typedKernel, bool) {
	if isNull(a) {
		a, b = b, a
	}
	x, ok := t.expr(a)
	if !ok {
		return x, false
	}
	if isNull(b) {
		return typedKernel{kernel: &nullKernel{x: x, notNull: op == notEqual}, typ: boolType}, true
	}
	y, ok := t.expr(b)
	if !ok {
		return y, false
	}
	if (x.date || y.date) && x.lit == nil && y.lit == nil {
		return t.no("a comparison of a date with something else than a literal")
	}
	if x.typ == boolType && op > notEqual || !unify(&x, &y) {
		return t.no("a comparison of these types")
	}
	return typedKernel{kernel: &compareKernel{op: op, x: x, y: y, typ: x.typ}, typ: boolType}, true
}

// unify brings a literal to the other side's type or scale.
func unify(x, y *typedKernel) bool {
	if x.lit == nil && y.lit != nil {
		return unify(y, x)
	}
	if x.lit != nil {
		switch {
		case x.typ == intType && y.typ == floatType && x.lit.i == int64(float64(x.lit.i)) && x.lit.i > -1<<53 && x.lit.i < 1<<53:
			k := &literalKernel{typ: floatType, f: float64(x.lit.i)}
			*x = typedKernel{kernel: k, typ: floatType, lit: k}
		case y.typ == decimal && (x.typ == decimal || x.typ == intType):
			d, exact, ok := from64(x.lit.i).rescale(x.scale, y.scale)
			v, fits := d.int64()
			if !exact || !ok || !fits {
				return false
			}
			k := &literalKernel{typ: decimal, i: v}
			*x = typedKernel{kernel: k, typ: decimal, scale: y.scale, lit: k}
		}
	}
	return x.typ == y.typ && x.scale == y.scale
}

func (t *translator) arith(op byte, a, b ast.Expr) (typedKernel, bool) {
	x, ok := t.expr(a)
	if !ok {
		return x, false
	}
	y, ok := t.expr(b)
	if !ok {
		return y, false
	}
	if x.typ != y.typ || x.typ != intType && x.typ != floatType {
		return t.no("arithmetic on these types")
	}
	return typedKernel{kernel: &arithKernel{op: op, x: x, y: y, typ: x.typ}, typ: x.typ}, true
}

func (t *translator) in(a, list ast.Expr) (typedKernel, bool) {
	x, ok := t.expr(a)
	if !ok {
		return x, false
	}
	if list.Kind() != ast.ListKind || x.typ != intType && x.typ != textType {
		return t.no("in with something else than a list of literal strings or whole numbers")
	}
	k := &inKernel{x: x, typ: x.typ, ints: map[int64]bool{}, texts: map[string]bool{}}
	for _, e := range list.AsList().Elements() {
		if e.Kind() != ast.LiteralKind {
			return t.no("in with something else than a list of literals")
		}
		switch v := e.AsLiteral().(type) {
		case types.Int:
			k.ints[int64(v)] = true
		case types.String:
			k.texts[string(v)] = true
		default:
			return t.no("in with a literal of type %s", v.Type().TypeName())
		}
	}
	return typedKernel{kernel: k, typ: boolType}, true
}

func (t *translator) predicate(name string, args []ast.Expr) (typedKernel, bool) {
	x, ok := t.expr(args[0])
	if !ok {
		return x, false
	}
	if x.typ != textType || args[1].Kind() != ast.LiteralKind {
		return t.no("%s with something else than a literal", name)
	}
	text, ok := args[1].AsLiteral().(types.String)
	if !ok {
		return t.no("%s with something else than a string", name)
	}
	lit := []byte(text)
	k := &textKernel{x: x}
	switch name {
	case "startsWith":
		k.test = func(s []byte) bool { return bytes.HasPrefix(s, lit) }
	case "endsWith":
		k.test = func(s []byte) bool { return bytes.HasSuffix(s, lit) }
	case "contains":
		k.test = func(s []byte) bool { return bytes.Contains(s, lit) }
	default:
		re, err := regexp.Compile(string(text))
		if err != nil {
			return t.no("this pattern")
		}
		k.test = re.Match
	}
	return typedKernel{kernel: k, typ: boolType}, true
}

// natural is the column type of the kernel's values.
func (k *typedKernel) natural() *batch.Type {
	switch k.typ {
	case boolType:
		return batch.Prim(batch.Boolean)
	case intType:
		return batch.Prim(batch.Long)
	case timeType:
		return batch.Prim(batch.TimestampTZ)
	case floatType:
		return batch.Prim(batch.Double)
	case decimal:
		return batch.DecimalOf(batch.MaxInt64Precision, k.scale)
	}
	return stringType
}

// get reads row i of a vector of natural type.
func (v *vec) get(typ valueType, i int, mem []byte) (s scalar) {
	switch typ {
	case boolType:
		if v.bools[i] {
			s.i = 1
		}
	case floatType:
		s.f = v.floats[i]
	case textType:
		s.b = v.at(mem, i)
	case decimal:
		s.d = from64(v.ints[i])
	default:
		s.i = v.ints[i]
	}
	return s
}
