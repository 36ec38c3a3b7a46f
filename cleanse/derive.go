package cleanse

import (
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

func (c *compiler) filter(s *configs.FilterStep) {
	if e := c.condition(s.Expression); e != nil {
		c.add(&filterStep{cond: e, drop: s.Drop})
	}
}

// deriveStep computes a top-level column.
type deriveStep struct {
	expr    *expression
	at      int // the child that it becomes
	natural *batch.Type
	to      *batch.Type
	convert converter
	name    string
	toNull  bool
	// required: a null would break the column's type.
	required bool
	made     batch.Column
}

func (c *compiler) derive(s *configs.DeriveStep) {
	d := &deriveStep{name: s.Column, toNull: c.onError(s.OnError)}
	if s.Column == "" {
		c.problem("column", "", "a column is required")
		return
	}
	before := len(c.problems)
	if s.Type != "" {
		var err error
		if d.to, err = batch.ParseType(s.Type); err != nil {
			c.problem("type", "", "%s", err)
		}
	}
	ch, ok := c.checkExpression(s.Expression)
	if ok {
		d.expr, _ = c.compileExpression(s.Expression, ch)
	}
	if d.expr != nil {
		c.deriveType(d, s)
	}
	if d.expr == nil || d.natural == nil || len(c.problems) > before {
		if c.root.child(s.Column) < 0 {
			c.missing[s.Column] = true
		}
		return
	}
	d.required = !d.expr.nullable && !d.toNull
	n := newTree(d.to)
	n.name, n.required, n.from = s.Column, d.required, d.expr.from
	c.derived = append(c.derived, n)
	if d.at = c.root.child(s.Column); d.at >= 0 {
		c.root.kids = slices.Clone(c.root.kids)
		c.root.kids[d.at] = n
	} else {
		d.at = len(c.root.kids)
		c.root.kids = append(slices.Clone(c.root.kids), n)
	}
	c.add(d)
}

// deriveType finds the column type of the expression and the way to the type asked for.
func (c *compiler) deriveType(d *deriveStep, s *configs.DeriveStep) {
	d.natural = naturalType(d.expr, d.to)
	if d.natural == nil {
		hint := "convert it: int(x), double(x), string(x), timestamp(x)"
		switch {
		case d.expr.output.IsExactType(decimalType):
			hint = "say how many digits it has: type: decimal(18,2)"
		case d.expr.output.Kind() == types.DurationKind:
			hint = "take a part of it, like x.getSeconds(), or write type: time"
		}
		c.problem("expression", hint, "the expression is a %s, for which the column's type is not known", typeName(d.expr.output))
		return
	}
	if d.to == nil {
		d.to = d.natural
	}
	if d.to.Equal(d.natural) {
		return
	}
	if d.convert = newConverter(d.natural, d.to); d.convert == nil {
		c.problem("type", "", "the expression is a %s, which cannot be cast to %s", d.natural, d.to)
	}
}

// naturalType gives the column type that holds the values of an expression. A plain column keeps its own.
func naturalType(e *expression, to *batch.Type) *batch.Type {
	if e.kernel != nil {
		if col, ok := e.kernel.kernel.(*columnKernel); ok {
			return col.p.typ
		}
		return e.kernel.natural()
	}
	return naturalOf(e.output, to)
}

func naturalOf(t *types.Type, to *batch.Type) *batch.Type {
	switch t.Kind() {
	case types.BoolKind:
		return batch.Prim(batch.Boolean)
	case types.IntKind:
		return batch.Prim(batch.Long)
	case types.DoubleKind:
		return batch.Prim(batch.Double)
	case types.StringKind:
		return stringType
	case types.BytesKind:
		return batch.Prim(batch.Binary)
	case types.TimestampKind:
		return batch.Prim(batch.TimestampTZ)
	case types.DurationKind:
		if to != nil && to.Kind == batch.Time {
			return to
		}
		return nil
	case types.ListKind:
		if elem := naturalOf(t.Parameters()[0], nil); elem != nil && !elem.Nested() {
			return batch.ListOf(elem, false)
		}
		return nil
	case types.StructKind:
		if t.IsExactType(decimalType) && to != nil && to.Kind == batch.Decimal {
			return to
		}
		return nil
	}
	for _, wrapped := range []*types.Type{types.BoolType, types.IntType, types.DoubleType, types.StringType, types.BytesType} {
		if t.IsExactType(types.NewNullableType(wrapped)) {
			return naturalOf(wrapped, to)
		}
	}
	return nil
}

func (d *deriveStep) apply(r *run) error {
	var out *batch.Column
	switch {
	case d.natural.Kind == batch.List:
		out = d.lists(r)
	case d.expr.kernel != nil:
		out = d.kernels(r)
	default:
		out = d.rows(r)
	}
	if d.required {
		out.Valid = nil
	}
	if d.at == len(r.root.Children) {
		r.root.Children = append(r.root.Children, out)
	} else {
		r.root.Children[d.at] = out
	}
	return nil
}

func (d *deriveStep) newColumn(r *run) *batch.Column {
	out := newSlots(d.to, r.b.Rows, &d.made)
	d.made = *out
	return out
}

// kernels computes the column at once.
func (d *deriveStep) kernels(r *run) *batch.Column {
	v := d.expr.kernel.eval(r)
	out := d.newColumn(r)
	var copied *batch.Column // a plain column, in its own type
	if col, ok := d.expr.kernel.kernel.(*columnKernel); ok {
		c := r.column(col.p, &col.scratch)
		copied = c.Column
	}
	for row := range r.b.Rows {
		if v.states != nil && v.states[row] != stOK {
			d.fail(r, out, row, v.states[row])
			continue
		}
		if copied != nil && d.convert == nil && copied.Views != nil {
			out.Views[row] = copied.Views[row]
			continue
		}
		if lit := d.expr.kernel.lit; lit != nil && lit.typ == textType && d.convert == nil && row > 0 {
			out.Views[row] = out.Views[0] // a literal is never null, so row 0 has stored it
			continue
		}
		var s scalar
		if copied != nil {
			s = getScalar(d.natural, copied, row, r.b.Mem)
		} else {
			s = v.get(d.expr.kernel.typ, row, r.b.Mem)
		}
		d.store(r, out, row, s)
	}
	return out
}

// rows computes row by row in cel-go.
func (d *deriveStep) rows(r *run) *batch.Column {
	d.expr.row.bind(r)
	out := d.newColumn(r)
	var buf []byte
	for row := range r.b.Rows {
		if r.b.Fate[row] != batch.Keep {
			setZero(out, row)
			continue
		}
		v, st := d.expr.evalCEL(row)
		if st != stOK {
			d.fail(r, out, row, st)
			continue
		}
		s, why := fromCEL(v, d.natural, buf)
		if why != "" {
			d.reject(r, out, row, "the result "+why)
			continue
		}
		if d.natural.Kind == batch.String {
			buf = s.b
		}
		d.store(r, out, row, s)
	}
	return out
}

// store converts a value and puts it into the column.
func (d *deriveStep) store(r *run, out *batch.Column, row int, s scalar) {
	if d.convert != nil {
		from := s
		var why string
		if s, why = d.convert(s, r.text[:]); why != "" {
			shown := "the result (not shown)"
			if !d.expr.secret() {
				shown = "the result " + show(d.natural, &from)
			}
			d.reject(r, out, row, shown+" "+why)
			return
		}
	}
	r.b.Mem = setScalar(d.to, out, row, s, r.b.Mem)
}

// fail makes a null of a state, or a dead letter.
func (d *deriveStep) fail(r *run, out *batch.Column, row int, st state) {
	if st < stError && !d.required {
		setZero(out, row)
		out.SetNull(row)
		return
	}
	if st < stError {
		// The type checker rules it out as far as it can: no optional column is read.
		d.reject(r, out, row, "the expression "+quoteExpression(d.expr.text)+" is null, and the column is required")
		return
	}
	if d.toNull || r.b.Fate[row] != batch.Keep {
		d.reject(r, out, row, "")
		return
	}
	d.reject(r, out, row, d.expr.message(st))
}

func (d *deriveStep) reject(r *run, out *batch.Column, row int, reason string) {
	setZero(out, row)
	if d.toNull {
		out.SetNull(row)
		return
	}
	r.b.Reject(row, stage, r.step, d.name+": "+reason)
}

// lists computes a column of lists of scalars.
func (d *deriveStep) lists(r *run) *batch.Column {
	d.expr.row.bind(r)
	out := batch.NewColumn(d.to, r.b.Rows)
	elem, items := d.to.Fields[0].Type, out.Children[0]
	for row := range r.b.Rows {
		if r.b.Fate[row] != batch.Keep {
			out.AppendZero()
			continue
		}
		v, st := d.expr.evalCEL(row)
		list, ok := v.(traits.Lister)
		if st != stOK || !ok {
			d.failList(r, out, row, st)
			continue
		}
		why := ""
		before := items.Len
		for it := list.Iterator(); why == "" && it.HasNext() == types.True; {
			why = appendElement(r, items, elem, it.Next())
		}
		if why != "" {
			items.Truncate(before)
			out.AppendZero()
			d.rejectList(r, out, row, "an element "+why)
			continue
		}
		out.AppendList()
	}
	return out
}

func appendElement(r *run, items *batch.Column, elem *batch.Type, v ref.Val) string {
	if v == types.NullValue {
		items.AppendNull()
		return ""
	}
	s, why := fromCEL(v, elem, nil)
	if why != "" {
		return why
	}
	items.AppendZero()
	r.b.Mem = setScalar(elem, items, items.Len-1, s, r.b.Mem)
	return ""
}

func (d *deriveStep) failList(r *run, out *batch.Column, row int, st state) {
	out.AppendZero()
	if st < stError && !d.required {
		out.SetNull(row)
		return
	}
	d.rejectList(r, out, row, d.expr.message(st))
}

func (d *deriveStep) rejectList(r *run, out *batch.Column, row int, reason string) {
	if d.toNull {
		out.SetNull(row)
		return
	}
	r.b.Reject(row, stage, r.step, d.name+": "+reason)
}
