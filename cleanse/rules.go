package cleanse

import (
	"fmt"
	"math"
	"regexp"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// lengths compiles min_length and max_length.
func (c *compiler) lengths(s *configs.ValidateStep, cc *checkedColumn) {
	if s.MinLength == nil && s.MaxLength == nil {
		return
	}
	r := &lengthRule{max: math.MaxInt}
	if s.MinLength != nil {
		r.min = *s.MinLength
	}
	if s.MaxLength != nil {
		r.max = *s.MaxLength
	}
	if r.min < 0 || r.max < 0 || r.min > r.max {
		c.problem("max_length", "", "lengths from %d to %d make no sense", r.min, r.max)
	}
	switch cc.path.typ.Kind {
	case batch.String:
		r.unit = "characters"
	case batch.Binary, batch.Fixed:
		r.unit = "bytes"
	case batch.List, batch.Map:
		r.unit = "entries"
	default:
		field := "min_length"
		if s.MinLength == nil {
			field = "max_length"
		}
		c.problem(field, "use min and max for numbers and times", "column %s is a %s, which has no length", cc.path.text, cc.path.typ)
	}
	cc.rules = append(cc.rules, r)
}

type lengthRule struct {
	min, max int
	unit     string
}

func (l *lengthRule) check(col *column, present []bool) {
	kind := col.p.typ.Kind
	for i := range col.Len {
		if present != nil && !present[i] {
			continue
		}
		var n int
		switch kind {
		case batch.String:
			v := col.Views[i]
			// Characters are at most bytes, and at least a quarter of them.
			if n = int(v.Len); n <= l.max && (n+3)/4 >= l.min {
				continue
			}
			n = utf8.RuneCount(col.r.b.Mem[v.Off : v.Off+v.Len])
		case batch.List, batch.Map:
			n = int(col.Starts[i+1] - col.Starts[i])
		default:
			n = int(col.Views[i].Len)
		}
		if n < l.min {
			col.reject(i, func() string { return fmt.Sprintf("has %d %s, fewer than %d", n, l.unit, l.min) })
		} else if n > l.max {
			col.reject(i, func() string { return fmt.Sprintf("has %d %s, more than %d", n, l.unit, l.max) })
		}
	}
}

type patternRule struct {
	re   *regexp.Regexp
	text string
	memo memo
}

func (p *patternRule) check(col *column, present []bool) {
	mem := col.r.b.Mem
	for i, v := range col.Views {
		if present != nil && !present[i] {
			continue
		}
		s := mem[v.Off : v.Off+v.Len]
		slot, ok := p.memo.slot(col.r.batch, mem, s)
		if !ok {
			*slot = memoSlot{batch: col.r.batch, from: v}
			if p.re.Match(s) {
				slot.code = 1
			}
		}
		if slot.code == 0 {
			col.reject(i, func() string { return col.value(i) + " does not match the pattern " + quoteShort([]byte(p.text)) })
		}
	}
}

// oneOf compiles the set of allowed values.
func (c *compiler) oneOf(s *configs.ValidateStep, cc *checkedColumn) {
	t := cc.path.typ
	if t.Nested() {
		c.problem("one_of", c.kindHint(cc.path, ""), "column %s is a %s", cc.path.text, t.Kind)
		return
	}
	r := &oneOfRule{ints: map[int64]bool{}, floats: map[float64]bool{}, texts: map[string]bool{}}
	for i, text := range s.OneOf {
		v, why := parseScalar(t, []byte(text), nil)
		if why != "" {
			c.problem(fmt.Sprintf("one_of[%d]", i), "write it in the column's type, "+t.String(), "%q, for column %s, %s", text, cc.path.text, why)
			continue
		}
		switch {
		case t.Store() == batch.StoreView && t.Kind == batch.Decimal:
			r.texts[string(v.d.appendBE(nil))] = true
		case t.Store() == batch.StoreView:
			r.texts[string(v.b)] = true
		case t.Kind == batch.Float || t.Kind == batch.Double:
			r.floats[v.f] = true
		case t.Kind == batch.Decimal:
			r.ints[int64(v.d.lo)] = true
		default:
			r.ints[v.i] = true
		}
	}
	cc.rules = append(cc.rules, r)
}

type oneOfRule struct {
	ints   map[int64]bool
	floats map[float64]bool
	texts  map[string]bool
	memo   memo
}

func (o *oneOfRule) check(col *column, present []bool) {
	for i := range col.Len {
		if (present == nil || present[i]) && !o.has(col, i) {
			col.reject(i, func() string { return col.value(i) + " is not one of the values allowed" })
		}
	}
}

func (o *oneOfRule) has(col *column, i int) bool {
	switch col.p.typ.Store() {
	case batch.StoreBool:
		if col.Bools[i] {
			return o.ints[1]
		}
		return o.ints[0]
	case batch.StoreInt32:
		return o.ints[int64(col.Int32[i])]
	case batch.StoreInt64:
		return o.ints[col.Int64[i]]
	case batch.StoreFloat32:
		return o.floats[float64(col.Float32[i])]
	case batch.StoreFloat64:
		return o.floats[col.Float64[i]]
	}
	v := col.Views[i]
	s := col.r.b.Mem[v.Off : v.Off+v.Len]
	slot, ok := o.memo.slot(col.r.batch, col.r.b.Mem, s)
	if !ok {
		*slot = memoSlot{batch: col.r.batch, from: v}
		if o.texts[string(s)] {
			slot.code = 1
		}
	}
	return slot.code == 1
}
