package cleanse

import (
	"errors"
	"slices"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// Condition is a filter step by itself: it says which rows of a batch an expression is true for. It keeps memory between batches, so
// it belongs to one goroutine.
type Condition struct {
	program *Program
	columns []string
}

// NewCondition compiles an expression over a row type.
func NewCondition(row *batch.Type, expression string) (*Condition, error) {
	c := &compiler{root: newTree(row), missing: map[string]bool{}, prog: &Program{in: row}}
	c.step(0, &configs.Step{Name: "when", Filter: &configs.FilterStep{Expression: expression}})
	if len(c.problems) > 0 {
		return nil, errors.New(c.problems[0].Message + hinted(c.problems[0].Hint))
	}
	c.prog.row = c.root.batchType()
	k := &Condition{program: c.prog}
	if f, ok := c.prog.steps[0].op.(*filterStep); ok {
		for _, n := range c.root.kids {
			if n.readBy(f.cond) {
				k.columns = append(k.columns, n.name)
			}
		}
	}
	return k, nil
}

func hinted(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + hint + ")"
}

// readBy reports whether an expression reads the column or a part of it.
func (n *node) readBy(e *expression) bool {
	return slices.Contains(e.from, n) || slices.ContainsFunc(n.kids, func(k *node) bool { return k.readBy(e) })
}

// Columns are those of the row type that the expression reads.
func (c *Condition) Columns() []string { return c.columns }

// Explain says how the expression runs.
func (c *Condition) Explain() Explained { return c.program.explain[0] }

// Apply filters the rows of a batch that the expression is false or null for, and rejects those that it fails for. The batch has
// the row type that the condition was made for.
func (c *Condition) Apply(b *batch.Batch) error { return c.program.Apply(b) }
