package measures

import (
	"fmt"
	"math/big"
)

// Merge makes one row of rows with equal keys, those of several days: what Assemble would have given for all of them at
// once, but for sums of doubles, whose last digits depend on the order. Rows are of Columns, and at least one.
func (p *Plan) Merge(rows [][]any) ([]any, error) {
	if len(rows) == 0 {
		return nil, fmt.Errorf("there are no rows to merge")
	}
	out := make([]any, len(p.Columns))
	for i := range p.Keys {
		out[i] = keep(rows[0][i])
	}
	for _, row := range rows {
		if len(row) != len(p.Columns) {
			return nil, fmt.Errorf("a row to merge has %d values, and there are %d columns", len(row), len(p.Columns))
		}
		if !sameKeys(row[:p.Keys], out[:p.Keys]) {
			return nil, fmt.Errorf("rows of the groups %v and %v cannot be merged", out[:p.Keys], row[:p.Keys])
		}
	}
	for _, o := range p.outs {
		if err := o.merge(out, rows); err != nil {
			return nil, fmt.Errorf("measure %s, group %v: %w", o.name, out[:p.Keys], err)
		}
	}
	return out, nil
}

func (o *out) merge(out []any, rows [][]any) (err error) {
	c := o.cols[0]
	switch o.fn {
	case fnCount, fnSum:
		out[c], err = o.total(rows, c)
	case fnMin, fnMax:
		best := extreme(rows, c, c, o.fn == fnMax)
		if best != nil {
			out[c] = keep(best[c])
		}
	case fnAvg:
		if out[o.sum], err = o.total(rows, o.sum); err != nil {
			return err
		}
		if out[o.count], err = o.total(rows, o.count); err != nil {
			return err
		}
		out[c] = o.average(out[o.sum], out[o.count])
	case fnFirst, fnLast:
		if best := extreme(rows, o.at, c, o.fn == fnLast); best != nil {
			out[c], out[o.at] = keep(best[c]), best[o.at]
		}
	case fnDistinct:
		return o.mergeDistinct(out, rows)
	case fnPercentile:
		return o.mergeQuantiles(out, rows)
	}
	return err
}

// total adds up a column, nil where all are nil.
func (o *out) total(rows [][]any, c int) (any, error) {
	var sum any
	for _, row := range rows {
		switch v := row[c].(type) {
		case nil:
		case int64:
			before, _ := sum.(int64)
			after := before + v
			if (after > before) != (v > 0) && v != 0 {
				return nil, fmt.Errorf("the sum is beyond 64 bits: write sum(CAST(... AS DECIMAL(38,0)))")
			}
			sum = after
		case float64:
			before, _ := sum.(float64)
			sum = before + v
		case *big.Int:
			if sum == nil {
				sum = new(big.Int)
			}
			s := sum.(*big.Int)
			if s.Add(s, v).CmpAbs(tooBig) >= 0 {
				return nil, fmt.Errorf("the sum is beyond 38 digits")
			}
		default:
			return nil, fmt.Errorf("a %T cannot be added up", v)
		}
	}
	return sum, nil
}

// tooBig is the least number of 39 digits.
var tooBig = new(big.Int).Exp(big.NewInt(10), big.NewInt(38), nil)

// extreme is the row with the least or greatest value in column by, of those that have one in column c; of equal ones the
// first.
func extreme(rows [][]any, by, c int, greatest bool) []any {
	var best []any
	for _, row := range rows {
		if row[c] == nil || row[by] == nil {
			continue
		}
		if best == nil {
			best = row
			continue
		}
		if n := compare(row[by], best[by]); greatest && n == 1 || !greatest && n == -1 {
			best = row
		}
	}
	return best
}

func (o *out) mergeDistinct(out []any, rows [][]any) error {
	var all *Distinct
	for _, row := range rows {
		b, ok := row[o.sk].([]byte)
		if !ok {
			return fmt.Errorf("the sketch in %s__sketch is missing", o.name)
		}
		s, err := ReadDistinct(b)
		if err != nil {
			return err
		}
		if all == nil {
			all = s
		} else if err := all.Merge(s); err != nil {
			return err
		}
	}
	return o.put(out, all.Bytes())
}

func (o *out) mergeQuantiles(out []any, rows [][]any) error {
	all := &Quantiles{}
	for _, row := range rows {
		b, ok := row[o.sk].([]byte)
		if !ok {
			return fmt.Errorf("the sketch in %s__sketch is missing", o.name)
		}
		s, err := ReadQuantiles(b)
		if err != nil {
			return err
		}
		all.Merge(s)
	}
	return o.put(out, all.Bytes())
}
