package aggregate

import (
	"context"
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/measures"
)

// Measured is a calculation by keys and measures.
type Measured struct {
	plan   *measures.Plan
	def    measures.Definition
	budget int64
	// portable: sketches are hashed in a way that all engines know.
	portable bool
}

// NewMeasured compiles a definition over the row type of the source. budget is how many bytes the embedded engine may take for
// sketches. portable: another engine calculates, so that sketches are not DuckDB's own.
func NewMeasured(def measures.Definition, row *batch.Type, budget int64, portable bool) (*Measured, error) {
	plan, err := measures.Compile(def, row)
	if err != nil {
		return nil, err
	}
	return &Measured{plan, def, budget, portable}, checkColumns(plan.Columns)
}

// Columns implements Calculation.
func (m *Measured) Columns() []Column { return m.plan.Columns }

// Keys are the names of the columns by which a row is found within its day.
func (m *Measured) Keys() (names []string) {
	for _, c := range m.plan.Columns[:m.plan.Keys] {
		names = append(names, c.Name)
	}
	return names
}

// Definition implements Calculation.
func (m *Measured) Definition() string {
	texts := []string{m.def.Where, m.def.Time, m.def.TimeZone}
	texts = append(texts, m.def.GroupBy...)
	for _, x := range m.def.Measures {
		texts = append(texts, x.Name+" "+x.Text)
		if strings.Contains(strings.ToLower(x.Text), "approx_distinct") {
			texts = append(texts, fmt.Sprint(m.portable)) // sketches of different hashes cannot be merged
		}
	}
	return definition(m.plan.Columns, texts...)
}

// Day implements Calculation.
func (m *Measured) Day(ctx context.Context, d Dialect, day Day, ask Ask, emit func(row []any) error) error {
	each := func(ctx context.Context, s measures.Statement, each func(row []any) error) error {
		return ask(ctx, s.SQL, s.Columns, each)
	}
	return m.plan.Assemble(ctx, d, day.Date(), m.budget, each, emit)
}
