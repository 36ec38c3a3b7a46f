package aggregate

import (
	"bytes"
	"context"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Rollup is a calculation of weeks or months: its source is the table of days, whose rows it merges. Its values are those that
// would be calculated of the weeks and months themselves, but for the last digits of sums of doubles.
type Rollup struct {
	days *Measured
	by   Period
}

// NewRollup rolls days up.
func NewRollup(days *Measured, by Period) (*Rollup, error) {
	for _, c := range days.Columns() {
		if strings.EqualFold(c.Name, by.Column) {
			return nil, fmt.Errorf("the table of %ss has a column %s of its own: give the one of that name another", by.Name, c.Name)
		}
	}
	return &Rollup{days, by}, nil
}

// Columns implements Calculation.
func (r *Rollup) Columns() []Column { return r.days.plan.RollupColumns() }

// Definition implements Calculation.
func (r *Rollup) Definition() string { return definition(nil, r.by.Name, r.days.Definition()) }

// Day implements Calculation, for the period that begins with a day.
func (r *Rollup) Day(ctx context.Context, d Dialect, day Day, ask Ask, emit func(row []any) error) error {
	var names, keys []string
	for i, c := range r.Columns() {
		name := QuotePath(d, c.Name)
		if names = append(names, name); i < r.days.plan.Keys {
			keys = append(keys, name+" NULLS FIRST")
		}
	}
	at := QuotePath(d, ColumnDay)
	text := fmt.Sprintf("SELECT %s FROM source WHERE %s >= DATE '%s' AND %s < DATE '%s' ORDER BY %s", strings.Join(names, ", "), at, day, at, r.by.Next(day), strings.Join(append(keys, at), ", "))
	var group [][]any // rows of equal keys
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		row, err := r.days.plan.Merge(group)
		if err != nil {
			return err
		}
		group = group[:0]
		return emit(row)
	}
	err := ask(ctx, text, r.Columns(), func(row []any) error {
		if len(group) > 0 && !sameKeys(group[0][:r.days.plan.Keys], row) {
			if err := flush(); err != nil {
				return err
			}
		}
		group = append(group, kept(row))
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// kept copies a row, which is good during a call only.
func kept(row []any) []any {
	out := make([]any, len(row))
	for i, v := range row {
		switch v := v.(type) {
		case []byte:
			out[i] = bytes.Clone(v)
		case string:
			out[i] = strings.Clone(v)
		case *big.Int:
			out[i] = new(big.Int).Set(v)
		default:
			out[i] = v
		}
	}
	return out
}

// sameKeys compares the keys of one row with the first values of another.
func sameKeys(keys, row []any) bool {
	for i, k := range keys {
		var same bool
		switch k := k.(type) {
		case []byte:
			v, ok := row[i].([]byte)
			same = ok && bytes.Equal(k, v)
		case time.Time:
			v, ok := row[i].(time.Time)
			same = ok && k.Equal(v)
		case *big.Int:
			v, ok := row[i].(*big.Int)
			same = ok && k.Cmp(v) == 0
		default:
			same = k == row[i]
		}
		if !same {
			return false
		}
	}
	return true
}
