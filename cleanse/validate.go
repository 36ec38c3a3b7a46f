package cleanse

import (
	"math"
	"regexp"

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
