package measures

import (
	"bytes"
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Select runs one statement and calls each with its rows, which are good during the call. The values are of the columns'
// types: nil, bool, int64 (int and long), float64 (float and double), string, []byte (binary and UUIDs), time.Time (date,
// timestamp, timestamptz), *big.Int (the unscaled value of a decimal).
type Select func(ctx context.Context, s Statement, each func(row []any) error) error

// Assemble calculates one day and calls emit with its rows, of Plan.Columns, in the order of the keys as the engine sorts
// them. A row belongs to whoever gets it. The exact measures of all groups are kept in memory; sketches are not, but for
// those of a few groups. Budget is as in Statements.
func (p *Plan) Assemble(ctx context.Context, d Dialect, day time.Time, budget int64, sel Select, emit func(row []any) error) error {
	statements, err := p.Statements(d, day, 0, 0)
	if err != nil {
		return err
	}
	if len(statements) == 1 {
		return sel(ctx, statements[0], func(row []any) error {
			final, err := p.final(row)
			if err != nil {
				return err
			}
			return emit(final)
		})
	}
	var groups [][]any
	err = sel(ctx, statements[0], func(row []any) error {
		final, err := p.final(row)
		groups = append(groups, final)
		return err
	})
	if err != nil || len(groups) == 0 {
		return err
	}
	if statements, err = p.Statements(d, day, int64(len(groups)), budget); err != nil {
		return err
	}
	return p.zip(ctx, p.hash(d), groups, statements[1:], sel, emit)
}

// block is how many rows of a sketch's statement wait for the others at most.
const block = 64

// zip puts the sketches into the rows of the groups. All statements have the same groups in the same order.
func (p *Plan) zip(ctx context.Context, h hash, groups [][]any, statements []Statement, sel Select, emit func(row []any) error) error {
	g, ctx := errgroup.WithContext(ctx)
	streams := make([]chan []any, len(statements))
	for i, s := range statements {
		rows := make(chan []any, block)
		streams[i] = rows
		g.Go(func() error {
			err := sel(ctx, s, func(row []any) error {
				sketched, err := s.decode(row, p.Keys, h)
				if err != nil {
					return err
				}
				select {
				case rows <- sketched:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			})
			if err == nil {
				close(rows) // after an error the context ends the others, so that the error is the one that is told
			}
			return err
		})
	}
	next := func(i int) (row []any, ok bool, err error) {
		select {
		case row, ok = <-streams[i]:
			return row, ok, nil
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
	g.Go(func() error {
		for n, final := range groups {
			for i, s := range statements {
				row, ok, err := next(i)
				if err != nil {
					return err
				}
				if !ok {
					return fmt.Errorf("measure %s: the engine gave the sketches of %d groups, and %d groups of the other measures: does the source hold still?", s.out.name, n, len(groups))
				}
				if !sameKeys(row[:p.Keys], final[:p.Keys]) {
					return fmt.Errorf("measure %s: the engine gave the sketch of the group %v where that of %v was due: does the source hold still?", s.out.name, row[:p.Keys], final[:p.Keys])
				}
				if err := s.out.put(final, row[p.Keys].([]byte)); err != nil {
					return err
				}
			}
			if err := emit(final); err != nil {
				return err
			}
			groups[n] = nil
		}
		for i, s := range statements {
			row, ok, err := next(i)
			if err != nil {
				return err
			}
			if ok {
				return fmt.Errorf("measure %s: the engine gave a sketch for the group %v, which the other measures lack: does the source hold still?", s.out.name, row[:p.Keys])
			}
		}
		return nil
	})
	return g.Wait()
}

// put stores a sketch and what it estimates.
func (o *out) put(final []any, sketch []byte) error {
	final[o.sk] = sketch
	if o.fn == fnDistinct {
		s, err := ReadDistinct(sketch)
		if err != nil {
			return fmt.Errorf("measure %s: %w", o.name, err)
		}
		final[o.cols[0]] = s.Estimate()
		return nil
	}
	s, err := ReadQuantiles(sketch)
	if err != nil {
		return fmt.Errorf("measure %s: %w", o.name, err)
	}
	for i, q := range o.ps {
		final[o.cols[i]] = nil
		if v, ok := s.Quantile(q); ok {
			final[o.cols[i]] = v
		}
	}
	return nil
}

// final makes a row of the result of one of the exact statement's, but for the sketches.
func (p *Plan) final(row []any) ([]any, error) {
	out := make([]any, len(p.Columns))
	for i := range p.keys {
		out[i] = keep(row[i])
	}
	at := p.Keys
	next := func() any {
		at++
		return keep(row[at-1])
	}
	for _, o := range p.outs {
		switch o.fn {
		case fnCount, fnMin, fnMax:
			out[o.cols[0]] = next()
		case fnSum:
			v, err := o.narrow(next())
			if err != nil {
				return nil, err
			}
			out[o.cols[0]] = v
		case fnAvg:
			out[o.sum], out[o.count] = next(), next()
			out[o.cols[0]] = o.average(out[o.sum], out[o.count])
		case fnFirst, fnLast:
			out[o.cols[0]], out[o.at] = next(), next()
		}
	}
	return out, nil
}

// narrow gives a sum of whole numbers as a long.
func (o *out) narrow(v any) (any, error) {
	n, ok := v.(*big.Int)
	if !ok || !whole(o.typ) {
		return v, nil
	}
	if !n.IsInt64() {
		return nil, fmt.Errorf("measure %s: the sum %s is beyond 64 bits: write sum(CAST(... AS DECIMAL(38,0)))", o.name, n)
	}
	return n.Int64(), nil
}

// average of decimals is rounded to the digits of its type, half away from zero.
func (o *out) average(sum, count any) any {
	n, _ := count.(int64)
	if sum == nil || n == 0 {
		return nil
	}
	if f, ok := sum.(float64); ok {
		return f / float64(n)
	}
	up := o.typ.Scale - o.args[0].typ.Scale
	num := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(up)), nil)
	num.Mul(num, sum.(*big.Int))
	q, r := new(big.Int).QuoRem(num, big.NewInt(n), new(big.Int))
	if r.Abs(r).Lsh(r, 1).Cmp(big.NewInt(n)) >= 0 {
		q.Add(q, big.NewInt(int64(num.Sign())))
	}
	return q
}

// keep copies what is good during a call only.
func keep(v any) any {
	switch x := v.(type) {
	case []byte:
		return slices.Clone(x)
	case string:
		return strings.Clone(x)
	case *big.Int:
		return new(big.Int).Set(x)
	}
	return v
}

func sameKeys(a, b []any) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil {
			if a[i] != b[i] {
				return false
			}
		} else if compare(a[i], b[i]) != 0 {
			return false
		}
	}
	return true
}

// compare orders values of one type, neither nil. Values of different types are equal to nothing.
func compare(a, b any) int {
	switch x := a.(type) {
	case bool:
		if y, ok := b.(bool); ok {
			return order(rank(x), rank(y))
		}
	case int64:
		if y, ok := b.(int64); ok {
			return order(x, y)
		}
	case float64:
		if y, ok := b.(float64); ok {
			return floats(x, y)
		}
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y)
		}
	case []byte:
		if y, ok := b.([]byte); ok {
			return bytes.Compare(x, y)
		}
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Compare(y)
		}
	case *big.Int:
		if y, ok := b.(*big.Int); ok {
			return x.Cmp(y)
		}
	}
	return -2
}

func order(x, y int64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func rank(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// floats orders NaN behind all others, as engines do.
func floats(x, y float64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	case x == y || x != x && y != y:
		return 0
	case x != x:
		return 1
	}
	return -1
}
