package window

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// Sum is what is added up: sums and products of columns and numbers, such as value * quantity - discount. It is exact:
// nothing is ever rounded.
type Sum struct {
	text  string
	root  *term
	Scale int // digits behind the point
}

type term struct {
	op          byte // + - * or c (column), n (number)
	left, right *term
	column      string
	number      Amount
	scale       int
}

// ParseSum reads an expression over the columns of a row type.
func ParseSum(text string, row *batch.Type) (*Sum, error) {
	p := &sumParser{text: text, row: row}
	root, err := p.sum()
	if err == nil && p.skip() < len(text) {
		err = fmt.Errorf("unexpected %q", text[p.at:])
	}
	if err != nil {
		return nil, fmt.Errorf("%q: position %d: %w", text, p.at+1, err)
	}
	return &Sum{text: text, root: root, Scale: root.scale}, nil
}

// SumColumns are the names in an expression whose columns are not known.
func SumColumns(text string) ([]string, error) {
	p := &sumParser{text: text}
	_, err := p.sum()
	if err == nil && p.skip() < len(text) {
		err = fmt.Errorf("unexpected %q", text[p.at:])
	}
	if err != nil {
		return nil, fmt.Errorf("%q: position %d: %w", text, p.at+1, err)
	}
	return p.columns, nil
}

// Columns are the names in the expression, each once.
func (s *Sum) Columns() (names []string) {
	var walk func(t *term)
	walk = func(t *term) {
		if t == nil {
			return
		}
		if t.op == 'c' && !slices.Contains(names, t.column) {
			names = append(names, t.column)
		}
		walk(t.left)
		walk(t.right)
	}
	walk(s.root)
	return names
}

type sumParser struct {
	text    string
	at      int
	row     *batch.Type // nil: columns are not known
	columns []string
	depth   int
}

func (p *sumParser) skip() int {
	for p.at < len(p.text) && strings.IndexByte(" \t\n", p.text[p.at]) >= 0 {
		p.at++
	}
	return p.at
}

func (p *sumParser) accept(any string) byte {
	if p.skip() < len(p.text) && strings.IndexByte(any, p.text[p.at]) >= 0 {
		p.at++
		return p.text[p.at-1]
	}
	return 0
}

func (p *sumParser) sum() (*term, error) {
	if p.depth++; p.depth > 100 {
		return nil, errors.New("expressions nest deeper than 100")
	}
	defer func() { p.depth-- }()
	t, err := p.product()
	for err == nil {
		op := p.accept("+-")
		if op == 0 {
			break
		}
		var r *term
		if r, err = p.product(); err == nil {
			t = &term{op: op, left: t, right: r, scale: max(t.scale, r.scale)}
		}
	}
	return t, err
}

func (p *sumParser) product() (*term, error) {
	t, err := p.factor()
	for err == nil && p.accept("*") != 0 {
		var r *term
		if r, err = p.factor(); err == nil {
			t = &term{op: '*', left: t, right: r, scale: t.scale + r.scale}
		}
	}
	if err == nil && t.scale > 38 {
		err = fmt.Errorf("it has %d digits behind the point, and 38 at most are kept", t.scale)
	}
	return t, err
}

func (p *sumParser) factor() (*term, error) {
	if p.accept("(") != 0 {
		t, err := p.sum()
		if err == nil && p.accept(")") == 0 {
			err = errors.New(`")" expected`)
		}
		return t, err
	}
	start := p.skip()
	for p.at < len(p.text) && wordByte(p.text[p.at]) {
		p.at++
	}
	word := p.text[start:p.at]
	switch {
	case word == "":
		return nil, errors.New("a column or a number expected")
	case word[0] >= '0' && word[0] <= '9' || word[0] == '.':
		return number(word)
	}
	p.columns = append(p.columns, word)
	t := &term{op: 'c', column: word}
	if p.row == nil {
		return t, nil
	}
	i := p.row.Index(word)
	if i < 0 {
		return nil, fmt.Errorf("there is no column %s; there are %s", word, names(p.row))
	}
	switch f := p.row.Fields[i].Type; f.Kind {
	case batch.Int, batch.Long:
	case batch.Decimal:
		t.scale = f.Scale
	default:
		return nil, fmt.Errorf("column %s is a %s; only int, long and decimal are added up exactly", word, f)
	}
	return t, nil
}

func names(row *batch.Type) string {
	var all []string
	for _, f := range row.Fields {
		all = append(all, f.Name)
	}
	return strings.Join(all, ", ")
}

func wordByte(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func number(word string) (*term, error) {
	whole, fraction, _ := strings.Cut(word, ".")
	v, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s is no number of at most 18 digits", word)
	}
	return &term{op: 'n', number: small(v), scale: len(fraction)}, nil
}

// bound is a sum over the columns of a batch.
type bound struct {
	s    *Sum
	at   map[string]int
	vals []Amount
	free [][]Amount
}

func (s *Sum) bind(row *batch.Type) *bound {
	b := &bound{s: s, at: map[string]int{}}
	for _, n := range s.Columns() {
		b.at[n] = row.Index(n)
	}
	return b
}

var errProduct = errors.New("a product or sum has more than 38 digits")

// eval calculates the expression for all rows that keep says, and clears keep where a column is null. The result is good until
// the next call.
func (b *bound) eval(root *batch.Column, rec *batch.Records, keep []bool) ([]Amount, error) {
	for _, i := range b.at {
		if v := root.Children[i].Valid; v != nil {
			for row := range keep {
				keep[row] = keep[row] && v[row]
			}
		}
	}
	b.free = append(b.free, b.vals)
	var err error
	b.vals, err = b.term(b.s.root, root, rec, keep)
	return b.vals, err
}

func (b *bound) slice(n int) []Amount {
	if k := len(b.free); k > 0 {
		s := b.free[k-1]
		b.free = b.free[:k-1]
		if cap(s) >= n {
			return s[:n]
		}
	}
	return make([]Amount, n)
}

func (b *bound) term(t *term, root *batch.Column, rec *batch.Records, keep []bool) ([]Amount, error) {
	switch t.op {
	case 'n':
		out := b.slice(len(keep))
		for i := range out {
			out[i] = t.number
		}
		return out, nil
	case 'c':
		out := b.slice(len(keep))
		load(out, root.Children[b.at[t.column]], rec, keep)
		return out, nil
	}
	x, err := b.term(t.left, root, rec, keep)
	if err != nil {
		return nil, err
	}
	y, err := b.term(t.right, root, rec, keep)
	if err != nil {
		return nil, err
	}
	if t.op == '*' {
		for i, k := range keep {
			var ok bool
			if x[i], ok = x[i].times(y[i]); k && !ok {
				return nil, errProduct
			}
		}
	} else {
		add(x, y, keep, pow10(t.scale-t.left.scale), pow10(t.scale-t.right.scale), t.op == '-', &err)
	}
	b.free = append(b.free, y)
	return x, err
}

// add puts y to x, each multiplied to the same scale.
func add(x, y []Amount, keep []bool, fx, fy Amount, minus bool, err *error) {
	for i, k := range keep {
		l, ok1 := x[i].times(fx)
		r, ok2 := y[i].times(fy)
		if minus {
			r = r.neg()
		}
		s, ok3 := l.plus(r)
		if x[i] = s; k && !(ok1 && ok2 && ok3) {
			*err = errProduct
		}
	}
}

// load reads a column.
func load(out []Amount, c *batch.Column, rec *batch.Records, keep []bool) {
	switch c.Type.Store() {
	case batch.StoreInt32:
		for i := range out {
			out[i] = small(int64(c.Int32[i]))
		}
	case batch.StoreInt64:
		for i := range out {
			out[i] = small(c.Int64[i])
		}
	default:
		for i, k := range keep {
			if k {
				out[i] = wide(rec.Bytes(c.Views[i]))
			} else {
				out[i] = Amount{}
			}
		}
	}
}
