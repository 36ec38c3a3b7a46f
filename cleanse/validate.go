package cleanse

import (
	"fmt"
	"math"
	"regexp"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// validateStep checks rules column by column; a row is rejected for the first that it breaks.
type validateStep struct {
	columns  []checkedColumn
	required bool
}

type checkedColumn struct {
	path    *path
	scratch colScratch
	rules   []rule
}

// rule looks at all values of a column.
type rule interface {
	check(col *column, present []bool)
}

func (c *compiler) validate(s *configs.ValidateStep) {
	v := &validateStep{required: s.Required}
	perColumn := s.Required || s.Min != nil || s.Max != nil || s.MinLength != nil || s.MaxLength != nil || s.Pattern != "" || len(s.OneOf) > 0
	if len(s.Columns) == 0 && !perColumn && s.Expression == "" {
		c.problem("", "use required, min, max, min_length, max_length, pattern, one_of or expression", "there is no rule")
		return
	}
	if !perColumn && len(s.Columns) > 0 {
		c.problem("columns", "an expression names its columns itself", "no rule is given for the columns")
		return
	}
	var re *regexp.Regexp
	if s.Pattern != "" {
		var err error
		if re, err = regexp.Compile(`\A(?:` + s.Pattern + `)\z`); err != nil {
			// The error shall show the pattern as it was written.
			if _, plain := regexp.Compile(s.Pattern); plain != nil {
				err = plain
			}
			c.problem("pattern", "the syntax is RE2's", "%s", err)
		}
	}
	if perColumn {
		for _, p := range c.paths(s.Columns) {
			cc := checkedColumn{path: p}
			c.bounds(s, &cc)
			c.lengths(s, &cc)
			if re != nil {
				if p.typ.Kind != batch.String {
					c.problem("pattern", "cast it to string first", "column %s is a %s, a pattern is for strings", p.text, p.typ)
				}
				cc.rules = append(cc.rules, &patternRule{re: re, text: s.Pattern})
			}
			if len(s.OneOf) > 0 {
				c.oneOf(s, &cc)
			}
			if s.Required {
				p.leaf.required = true
			}
			v.columns = append(v.columns, cc)
		}
		c.add(v)
	}
	if s.Expression != "" {
		c.validateExpression(s.Expression)
	}
}

func (v *validateStep) apply(r *run) error {
	for k := range v.columns {
		cc := &v.columns[k]
		col := r.column(cc.path, &cc.scratch)
		if v.required && col.Valid != nil {
			for i, ok := range col.Valid {
				if !ok && (col.live == nil || col.live[i]) {
					col.reject(i, func() string { return "is null, and required" })
				}
			}
		}
		present := col.present(&cc.scratch)
		for _, rule := range cc.rules {
			rule.check(&col, present)
		}
		if v.required {
			col.Valid = nil
		}
	}
	return nil
}

// bounds compiles min and max.
func (c *compiler) bounds(s *configs.ValidateStep, cc *checkedColumn) {
	if s.Min == nil && s.Max == nil {
		return
	}
	t := cc.path.typ
	lo, okLo := c.bound("min", s.Min, cc.path)
	hi, okHi := c.bound("max", s.Max, cc.path)
	if !okLo || !okHi {
		return
	}
	r := &boundsRule{}
	if s.Min != nil {
		r.min, r.minText = lo, *s.Min
	}
	if s.Max != nil {
		r.max, r.maxText = hi, *s.Max
	}
	switch t.Store() {
	case batch.StoreFloat32, batch.StoreFloat64:
		r.lo, r.hi = math.Inf(-1), math.Inf(1)
		if s.Min != nil {
			r.lo = lo.f
		}
		if s.Max != nil {
			r.hi = hi.f
		}
	case batch.StoreView:
	default:
		r.from, r.to = math.MinInt64, math.MaxInt64
		if s.Min != nil {
			r.from = lo.i
		}
		if s.Max != nil {
			r.to = hi.i
		}
	}
	cc.rules = append(cc.rules, r)
}

// bound parses a bound in the column's type. A decimal bound with more digits than the column has becomes the
// next value inside.
func (c *compiler) bound(field string, text *string, p *path) (s scalar, ok bool) {
	if text == nil {
		return s, true
	}
	var why string
	switch p.typ.Kind {
	case batch.Int, batch.Long, batch.Float, batch.Double, batch.Date, batch.Time, batch.Timestamp, batch.TimestampTZ:
		s, why = parseScalar(p.typ, []byte(*text), nil)
		if math.IsNaN(s.f) {
			why = "is not a bound"
		}
	case batch.Decimal:
		s, why = decimalBound(p.typ, *text, field == "min")
	default:
		c.problem(field, "for text use min_length, pattern, one_of or an expression", "column %s is a %s, which has no %s", p.text, p.typ, field)
		return s, false
	}
	if why != "" {
		c.problem(field, "write it in the column's type, "+p.typ.String(), "%q, for column %s, %s", *text, p.text, why)
	}
	return s, why == ""
}

func decimalBound(t *batch.Type, text string, lower bool) (s scalar, why string) {
	scale := t.Scale
	var d int128
	for d, why = parseDecimal([]byte(text), scale); why != "" && scale < 38; d, why = parseDecimal([]byte(text), scale) {
		scale++
	}
	if why != "" {
		return s, why
	}
	r, exact, _ := d.rescale(scale, t.Scale)
	if !exact && lower != d.negative() {
		if r = r.addSmall(1); !lower {
			r = r.addSmall(-2)
		}
	}
	s.d = r
	if t.Store() == batch.StoreInt64 {
		var fits bool
		if s.i, fits = r.int64(); !fits {
			return s, "is out of the range of " + t.String()
		}
	}
	return s, ""
}

type boundsRule struct {
	from, to         int64
	lo, hi           float64
	min, max         scalar
	minText, maxText string
}

func (b *boundsRule) check(col *column, present []bool) {
	switch t := col.p.typ; t.Store() {
	case batch.StoreInt32:
		for i, v := range col.Int32 {
			if int64(v) < b.from || int64(v) > b.to {
				b.fail(col, present, i, int64(v) < b.from)
			}
		}
	case batch.StoreInt64:
		for i, v := range col.Int64 {
			if v < b.from || v > b.to {
				b.fail(col, present, i, v < b.from)
			}
		}
	case batch.StoreFloat32:
		for i, v := range col.Float32 {
			if f := float64(v); !(f >= b.lo && f <= b.hi) { // NaN is in no range
				b.fail(col, present, i, b.maxText == "" || b.minText != "" && !(f >= b.lo))
			}
		}
	case batch.StoreFloat64:
		for i, f := range col.Float64 {
			if !(f >= b.lo && f <= b.hi) {
				b.fail(col, present, i, b.maxText == "" || b.minText != "" && !(f >= b.lo))
			}
		}
	case batch.StoreView:
		for i, v := range col.Views {
			if v.Len != 16 {
				continue // null
			}
			d := be16(col.r.b.Mem[v.Off:])
			if low := b.minText != "" && d.cmp(b.min.d) < 0; low || b.maxText != "" && d.cmp(b.max.d) > 0 {
				b.fail(col, present, i, low)
			}
		}
	}
}

func (b *boundsRule) fail(col *column, present []bool, i int, low bool) {
	if present != nil && !present[i] {
		return
	}
	col.reject(i, func() string {
		if low {
			return col.value(i) + " is below the minimum " + b.minText
		}
		return col.value(i) + " is above the maximum " + b.maxText
	})
}

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
