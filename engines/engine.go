// Package engines is what the engines beside the embedded one share: how a statement reads one snapshot of a table, how their
// values become those of a result's columns, and what their errors say. Each engine is a package below.
package engines

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/table"
)

// Select has ask call a function with the rows of a query, which makes them what an engine gives. An error of each comes back as it
// is; failed says what to do about all others.
func Select(q aggregate.Query, ask func(row func([]any) error) error, each func(row []any) error, failed func(error) error) error {
	var own error // of each: it is not the engine's
	err := ask(func(row []any) error {
		if err := Row(row, q.Columns); err != nil {
			return err
		}
		own = each(row)
		return own
	})
	if own != nil {
		return own
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// Over puts the relation source, one snapshot of a table, before a SELECT. snapshot is how the engine travels to one, with %d
// where its id belongs. A table without a snapshot has no rows.
func Over(q aggregate.Query, name, snapshot string) string {
	at := "WHERE false" // it may have got rows since
	if q.Source.Snapshot != 0 {
		at = fmt.Sprintf(snapshot, q.Source.Snapshot)
	}
	return "WITH source AS (SELECT * FROM " + name + " " + at + ") " + q.SQL
}

// Cost is that of a query which an engine answers by itself: what its files hold, and nothing that comes here.
func Cost(q aggregate.Query) aggregate.Cost {
	c := aggregate.Cost{Files: len(q.Source.Files)}
	for _, f := range q.Source.Files {
		c.Bytes += f.Size
	}
	return c
}

// Optimize is what an engine is asked to do to a table: to put its small files into larger ones.
type Optimize struct {
	Table table.Ident
	// Target is the size of files that are large enough; smaller than three quarters of it is small.
	Target int64
	// MinFiles of a partition are worth it.
	MinFiles int
	SortBy   []table.SortField
}

// Named is what an engine calls itself in errors.
type Named struct {
	Name  string // in the configuration
	Type  string
	Where string // its address, without secrets
}

// headLength is how much of a statement errors show, in characters.
const headLength = 120

// Failed says which engine could not do what, and passes on why. hint is what to do about it.
func (n Named) Failed(ctx context.Context, statement string, err error, hint string) error {
	head := strings.Join(strings.Fields(statement), " ")
	if utf8.RuneCountInString(head) > headLength {
		head = string([]rune(head)[:headLength]) + "..."
	}
	if ctx.Err() != nil {
		return fmt.Errorf("engine %s (%s at %s) was stopped: %w: %s", n.Name, n.Type, n.Where, context.Cause(ctx), head)
	}
	var own *ValueError
	if errors.As(err, &own) {
		return fmt.Errorf("engine %s (%s at %s): %w, of: %s", n.Name, n.Type, n.Where, err, head)
	}
	return fmt.Errorf("engine %s (%s at %s): %w; %s; the statement: %s", n.Name, n.Type, n.Where, err, hint, head)
}
