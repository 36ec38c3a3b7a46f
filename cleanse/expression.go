package cleanse

import (
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/lakeloader/lakeloader/batch"
)

// expression is a compiled expression: kernels if there are some for all of it, else a cel-go program.
type expression struct {
	text   string
	output *types.Type
	from   []*node // columns that it reads
	// nullable: it can give null, or fail because of one.
	nullable bool

	kernel  *typedKernel
	prog    cel.Program
	row     celRow
	failure string // of the last cel-go evaluation
}

// compileExpression turns a checked expression into what runs, and notes which way for Explain.
func (c *compiler) compileExpression(text string, ch *checked) (*expression, bool) {
	native := ch.ast.NativeRep()
	e := &expression{text: text, output: ch.ast.OutputType()}
	e.reads(c.root, native.Expr())
	t := &translator{root: c.root, ast: native}
	k, ok := t.expr(native.Expr())
	if ok {
		e.kernel = &k
	} else {
		var err error
		if e.prog, err = ch.env.Program(ch.ast, programOptions(ch)...); err != nil {
			c.problem("expression", "", "%s", err)
			return nil, false
		}
		e.row.typ = c.root.batchType()
	}
	c.prog.explain = append(c.prog.explain, Explained{Step: c.name, Expression: text, Kernels: ok, Why: t.why})
	return e, true
}

// reads collects the columns that an expression names.
func (e *expression) reads(root *node, x ast.Expr) {
	if chain, ok := names(x); ok {
		if nodes, _ := root.find(chain); len(nodes) > 0 {
			for _, n := range nodes[:len(nodes)-1] {
				e.nullable = e.nullable || !n.required
			}
			e.read(nodes[len(nodes)-1])
		} else if chain[0] == rowVar {
			e.readAll(root)
		}
		return
	}
	var below []ast.Expr
	switch x.Kind() {
	case ast.CallKind:
		below = x.AsCall().Args()
		if x.AsCall().IsMemberFunction() {
			below = append(slices.Clone(below), x.AsCall().Target())
		}
	case ast.SelectKind:
		below = []ast.Expr{x.AsSelect().Operand()}
	case ast.ListKind:
		below = x.AsList().Elements()
	case ast.MapKind:
		for _, e := range x.AsMap().Entries() {
			below = append(below, e.AsMapEntry().Key(), e.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		c := x.AsComprehension()
		below = []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()}
	}
	for _, b := range below {
		e.reads(root, b)
	}
}

func (e *expression) read(n *node) {
	if slices.Contains(e.from, n) {
		return
	}
	e.from = append(e.from, n)
	e.nullable = e.nullable || !n.required
	e.readAll(n)
}

func (e *expression) readAll(n *node) {
	for _, k := range n.kids {
		e.read(k)
	}
}

func (e *expression) secret() bool {
	return slices.ContainsFunc(e.from, func(n *node) bool { return n.secret })
}

// evalCEL evaluates one row in cel-go; the state says whether there is a value.
func (e *expression) evalCEL(row int) (ref.Val, state) {
	e.row.row, e.row.sawNull = row, false
	v, _, err := e.prog.Eval(&e.row)
	if err == nil {
		if v == types.NullValue {
			return v, stNull
		}
		return v, stOK
	}
	text := err.Error()
	if strings.Contains(text, "no such overload") ||
		e.row.sawNull && (strings.Contains(text, "no such key") || strings.Contains(text, "expected iterable type")) {
		return nil, stNullError
	}
	e.failure = text
	return nil, stError
}

// message words the failure of a row for a reason.
func (e *expression) message(st state) string {
	shown := quoteExpression(e.text)
	switch {
	case e.secret():
		return "the expression " + shown + " failed"
	case e.kernel != nil:
		return "the expression " + shown + " failed: " + kernelErrors[st]
	}
	return "the expression " + shown + " failed: " + short(e.failure, 120)
}

func quoteExpression(text string) string {
	return "`" + short(strings.Join(strings.Fields(text), " "), 120) + "`"
}

func short(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "..."
}

// truths evaluates a boolean expression for every row that is still kept, and calls f with the outcome: true; or
// false, null or failed (stOK and the others).
func (e *expression) truths(r *run, f func(row int, truth bool, st state)) {
	if e.kernel != nil {
		v := e.kernel.eval(r)
		for row := range r.b.Rows {
			st := stOK
			if v.states != nil {
				st = v.states[row]
			}
			f(row, st == stOK && v.bools[row], st)
		}
		return
	}
	e.row.bind(r)
	for row := range r.b.Rows {
		if r.b.Fate[row] == batch.Keep {
			v, st := e.evalCEL(row)
			f(row, st == stOK && v == types.True, st)
		}
	}
}

// condition compiles an expression that must be boolean.
func (c *compiler) condition(text string) *expression {
	ch, ok := c.checkExpression(text)
	if !ok {
		return nil
	}
	if t := ch.ast.OutputType(); t.Kind() != types.BoolKind && !t.IsExactType(types.NewNullableType(types.BoolType)) {
		c.problem("expression", "compare it with something", "the expression is a %s, not true or false", typeName(t))
		return nil
	}
	e, _ := c.compileExpression(text, ch)
	return e
}

// filterStep drops rows.
type filterStep struct {
	cond *expression
	drop bool
}

func (f *filterStep) apply(r *run) error {
	f.cond.truths(r, func(row int, truth bool, st state) {
		switch {
		case st >= stError:
			if r.b.Fate[row] == batch.Keep {
				r.b.Reject(row, stage, r.step, f.cond.message(st))
			}
		case truth == f.drop:
			r.b.Filter(row, r.step)
		}
	})
	return nil
}

// conditionStep is validate with an expression.
type conditionStep struct{ cond *expression }

func (c *conditionStep) apply(r *run) error {
	c.cond.truths(r, func(row int, truth bool, st state) {
		if truth || r.b.Fate[row] != batch.Keep {
			return
		}
		switch st {
		case stOK:
			r.b.Reject(row, stage, r.step, "the expression "+quoteExpression(c.cond.text)+" is false")
		case stNull, stNullError:
			r.b.Reject(row, stage, r.step, "the expression "+quoteExpression(c.cond.text)+" is null, which counts as false")
		default:
			r.b.Reject(row, stage, r.step, c.cond.message(st))
		}
	})
	return nil
}

func (c *compiler) validateExpression(text string) {
	if e := c.condition(text); e != nil {
		c.add(&conditionStep{e})
	}
}
