package measures

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// op is what a node of an expression does.
type op uint8

const (
	opColumn  op = iota // path
	opLiteral           // text: digits, or the value of a string, date or timestamp
	opAnd
	opOr
	opNot
	opCompare // text: the operator
	opIsNull
	opNotNull
	opIn
	opLike
	opArith // text: + - * /
	opNeg
	opConcat
	opCase // pairs of condition and value, perhaps one more: ELSE
	opCast
	opCall // text: the function in lower case
)

// expr is a typed expression. Its type follows the same rules for every engine; render casts where an engine's own differ.
type expr struct {
	op   op
	text string
	path []string
	args []*expr
	typ  *batch.Type
}

// fraction is the value of a literal from 0 to 1.
func (e *expr) fraction() (float64, bool) {
	if e.op != opLiteral || !numeric(e.typ) {
		return 0, false
	}
	f, err := strconv.ParseFloat(e.text, 64)
	return f, err == nil && f >= 0 && f <= 1
}

// maxDepth is how deeply expressions nest.
const maxDepth = 100

// parser reads expressions over a row type.
type parser struct {
	tokens []token
	at     int
	row    *batch.Type
	depth  int
}

func newParser(text string, row *batch.Type) (*parser, error) {
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	return &parser{tokens: tokens, row: row}, nil
}

// parseExpr reads a whole text as one expression.
func parseExpr(text string, row *batch.Type) (*expr, error) {
	p, err := newParser(text, row)
	if err != nil {
		return nil, err
	}
	e, err := p.expression()
	if err != nil {
		return nil, err
	}
	return e, p.end()
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokEnd {
		p.at++
	}
	return t
}

func (p *parser) accept(s string) bool {
	if p.peek().is(s) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(s string) error {
	if p.accept(s) {
		return nil
	}
	return p.errorf("%q expected, and not %s", s, p.peek())
}

// finish expects s and the end.
func (p *parser) finish(s string) error {
	if err := p.expect(s); err != nil {
		return err
	}
	return p.end()
}

func (p *parser) end() error {
	if t := p.peek(); t.kind != tokEnd {
		return p.errorf("unexpected %s", t)
	}
	return nil
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("position %d: %s", p.peek().pos+1, fmt.Sprintf(format, args...))
}

func (p *parser) expression() (*expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf("expressions nest deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	return p.chain(opOr, "OR", func() (*expr, error) { return p.chain(opAnd, "AND", p.not) })
}

// chain reads conditions joined by AND or OR.
func (p *parser) chain(o op, word string, part func() (*expr, error)) (*expr, error) {
	e, err := part()
	for err == nil && p.accept(word) {
		var r *expr
		if r, err = part(); err == nil {
			e, err = p.typed(&expr{op: o, args: []*expr{e, r}})
		}
	}
	return e, err
}

func (p *parser) not() (*expr, error) {
	nots := 0
	for p.accept("NOT") {
		nots++
	}
	e, err := p.predicate()
	if err == nil && nots%2 == 1 {
		return p.typed(&expr{op: opNot, args: []*expr{e}})
	}
	return e, err
}

func (p *parser) predicate() (*expr, error) {
	e, err := p.sum()
	if err != nil {
		return nil, err
	}
	if p.accept("IS") {
		o := opIsNull
		if p.accept("NOT") {
			o = opNotNull
		}
		if err := p.expect("NULL"); err != nil {
			return nil, err
		}
		return p.typed(&expr{op: o, args: []*expr{e}})
	}
	for _, o := range []string{"=", "<>", "!=", "<=", ">=", "<", ">"} {
		if p.peek().kind == tokSymbol && p.accept(o) {
			r, err := p.sum()
			if err != nil {
				return nil, err
			}
			if o == "!=" {
				o = "<>"
			}
			return p.typed(&expr{op: opCompare, text: o, args: []*expr{e, r}})
		}
	}
	not := p.peek().is("NOT")
	if not {
		p.next()
	}
	var out *expr
	switch {
	case p.accept("BETWEEN"):
		out, err = p.between(e)
	case p.accept("IN"):
		out, err = p.list(&expr{op: opIn, args: []*expr{e}})
	case p.accept("LIKE"):
		out, err = p.like(e)
	case not:
		return nil, p.errorf("BETWEEN, IN or LIKE expected after NOT")
	default:
		return e, nil
	}
	if err == nil && not {
		return p.typed(&expr{op: opNot, args: []*expr{out}})
	}
	return out, err
}

func (p *parser) between(e *expr) (*expr, error) {
	lo, err := p.sum()
	if err != nil {
		return nil, err
	}
	if err := p.expect("AND"); err != nil {
		return nil, err
	}
	hi, err := p.sum()
	if err != nil {
		return nil, err
	}
	a, err := p.typed(&expr{op: opCompare, text: ">=", args: []*expr{e, lo}})
	if err != nil {
		return nil, err
	}
	b, err := p.typed(&expr{op: opCompare, text: "<=", args: []*expr{e, hi}})
	if err != nil {
		return nil, err
	}
	return p.typed(&expr{op: opAnd, args: []*expr{a, b}})
}

// list reads expressions in brackets behind what e has already.
func (p *parser) list(e *expr) (*expr, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	if p.peek().is("SELECT") {
		return nil, p.errorf("a subquery: only the SQL form takes one")
	}
	for {
		a, err := p.expression()
		if err != nil {
			return nil, err
		}
		e.args = append(e.args, a)
		if !p.accept(",") {
			break
		}
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	return p.typed(e)
}

func (p *parser) like(e *expr) (*expr, error) {
	t := p.next()
	if t.kind != tokString {
		return nil, p.errorf("a text in single quotes expected after LIKE")
	}
	if strings.Contains(t.text, `\`) {
		return nil, p.errorf("a backslash in the pattern of LIKE escapes in some engines only: use substr(...) = '...'")
	}
	if p.peek().is("ESCAPE") {
		return nil, p.errorf("ESCAPE is not supported: use substr(...) = '...'")
	}
	return p.typed(&expr{op: opLike, args: []*expr{e, {op: opLiteral, text: t.text, typ: batch.Prim(batch.String)}}})
}

func (p *parser) sum() (*expr, error) { return p.binary([]string{"+", "-", "||"}, p.product) }

func (p *parser) product() (*expr, error) { return p.binary([]string{"*", "/", "%"}, p.unary) }

func (p *parser) binary(ops []string, part func() (*expr, error)) (*expr, error) {
	e, err := part()
	for err == nil {
		i := 0
		for i < len(ops) && !(p.peek().kind == tokSymbol && p.peek().text == ops[i]) {
			i++
		}
		if i == len(ops) {
			return e, nil
		}
		p.next()
		var r *expr
		if r, err = part(); err != nil {
			break
		}
		switch ops[i] {
		case "||":
			e, err = p.typed(&expr{op: opConcat, args: []*expr{e, r}})
		case "%":
			err = p.errorf("%% is not supported: engines disagree on negative numbers")
		default:
			e, err = p.typed(&expr{op: opArith, text: ops[i], args: []*expr{e, r}})
		}
	}
	return nil, err
}

func (p *parser) unary() (*expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf("expressions nest deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	if !p.accept("-") {
		return p.primary()
	}
	e, err := p.unary()
	if err != nil {
		return nil, err
	}
	return p.typed(&expr{op: opNeg, args: []*expr{e}})
}

// typed gives a node its type, or says what is wrong with it.
func (p *parser) typed(e *expr) (*expr, error) {
	t, err := typeOf(e)
	if err != nil {
		return nil, fmt.Errorf("position %d: before this: %w", p.peek().pos+1, err)
	}
	e.typ = t
	return e, nil
}
