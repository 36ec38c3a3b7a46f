package pipeline

import (
	"context"
	"fmt"

	"github.com/lakeloader/lakeloader/table"
)

// list notes in the ledger which tables a round routes rows to: who looks for the pipeline's rows finds them there. The first
// value that a table is named after has it for good.
func (c *Committer) list(l *table.Ledger, r *Round) error {
	for _, t := range l.Tables {
		if len(r.Edits) > 0 && !r.names(t.Ident) {
			return fmt.Errorf("%w: rows were routed to table %s, which a round with edits must name", ErrFenced, t.Ident)
		}
	}
	for _, t := range r.Tables[1:] {
		if !t.Routed {
			continue
		}
		known := l.Routed(t.Table)
		switch {
		case known == nil:
			if made := madeTables(l.Tables); t.Value != "" && made >= c.MadeTables {
				return fmt.Errorf("%w: table %s would be one more than the %d that may be made from values", ErrFenced, t.Table, c.MadeTables)
			}
			l.Tables = append(l.Tables, table.Routed{Ident: t.Table, Value: t.Value})
		case known.Value == "":
			known.Value = t.Value
		case t.Value != "" && t.Value != known.Value:
			return fmt.Errorf("%w: table %s was made for the value %q by another loader, and not for %q", ErrFenced, t.Table, known.Value, t.Value)
		}
	}
	return nil
}

func madeTables(tables []table.Routed) (n int) {
	for _, t := range tables {
		if t.Value != "" {
			n++
		}
	}
	return n
}

// ready looks at the other tables that get rows of a round before step 3 decides: what would keep step 4 from ever being done
// must not become pending.
func (c *Committer) ready(ctx context.Context, r *Round) error {
	for _, t := range r.Tables[1:] {
		if len(t.Files) == 0 {
			continue
		}
		s, err := c.open(ctx, t.Table)
		if err != nil {
			return err
		}
		err = table.Commit(ctx, s, c.Wait, func(base *table.Base) (ch table.Change, done bool, err error) {
			if t.replaced(base) {
				return ch, false, fmt.Errorf("it was dropped and created again (its uuid was %s and is %s) after files were written for it", t.UUID, base.UUID)
			}
			_, err = c.applied(ctx, t, base)
			return ch, true, err
		})
		if err != nil {
			return fmt.Errorf("reading table %s, which gets rows of round %s: %w", t.Table, r.ID, err)
		}
	}
	return nil
}
