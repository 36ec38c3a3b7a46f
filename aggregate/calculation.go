package aggregate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/measures"
)

// Ask has an engine answer a statement over the source, as of the snapshot and with the files of the day that is calculated.
type Ask func(ctx context.Context, sql string, columns []Column, each func(row []any) error) error

// Calculation is what an aggregate has of each day. It is safe for concurrent use.
type Calculation interface {
	// Columns are those of the target beside the ones that lakeloader adds.
	Columns() []Column
	// Definition is the same as long as the result is, for the same rows.
	Definition() string
	// Day calculates a day: it asks what it needs, and emits the rows, which are good during the call.
	Day(ctx context.Context, d Dialect, day Day, ask Ask, emit func(row []any) error) error
}

// Reader understands SQL without running it. The embedded engine does: so the columns of a target do not depend on the engine
// that calculates.
type Reader interface {
	// Tree is the syntax tree of a statement, as DuckDB's json_serialize_sql gives it.
	Tree(ctx context.Context, sql string) ([]byte, error)
	// Describe knows the columns of a statement's result over a relation source with columns of a row type.
	Describe(ctx context.Context, row *batch.Type, sql string) ([]Column, error)
}

// Statement is a calculation by one SELECT that somebody wrote, with {{day}} in it.
type Statement struct {
	text    string
	parsed  *measures.SQL
	clock   Clock
	column  string
	columns []Column
}

// NewStatement checks that all engines understand a statement alike, and finds out the columns of its result. column is the one
// whose day counts.
func NewStatement(ctx context.Context, sql, column string, row *batch.Type, clock Clock, r Reader) (*Statement, error) {
	s := &Statement{text: strings.TrimRight(strings.TrimSpace(sql), "; \n\t"), clock: clock, column: column}
	marked, err := measures.Mark(s.text)
	if err != nil {
		return nil, err
	}
	tree, err := r.Tree(ctx, marked)
	if err != nil {
		return nil, err
	}
	if s.parsed, err = measures.ParseSQL(tree, row); err != nil {
		return nil, err
	}
	text, err := s.sql(DuckDB, 0)
	if err != nil {
		return nil, err
	}
	if s.columns, err = r.Describe(ctx, row, text); err != nil {
		return nil, err
	}
	return s, checkColumns(s.columns)
}

// checkColumns refuses names that a table cannot have, or that lakeloader adds.
func checkColumns(columns []Column) error {
	seen := map[string]bool{ColumnDay: true, ColumnSnapshot: true}
	for i, c := range columns {
		switch name := strings.ToLower(c.Name); {
		case c.Name == "":
			return fmt.Errorf("column %d of the result has no name: write AS name behind it", i+1)
		case name == ColumnDay || name == ColumnSnapshot:
			return fmt.Errorf("the result has a column %s, which lakeloader adds itself: leave it out, or give it another name", c.Name)
		case seen[name]:
			return fmt.Errorf("the result has two columns %s: give one of them another name", c.Name)
		case !plainName.MatchString(c.Name):
			return fmt.Errorf("column %d of the result is named %q: write AS name behind it, with letters, digits and _", i+1, c.Name)
		default:
			seen[name] = true
		}
	}
	if len(columns) == 0 {
		return errors.New("the result has no column")
	}
	return nil
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (s *Statement) sql(d Dialect, day Day) (string, error) {
	condition, err := measures.DayCondition(d, batch.Prim(s.clock.kind), strings.Split(s.column, "."), s.clock.zone, day.Date())
	if err != nil {
		return "", err
	}
	return s.parsed.Render(d, condition)
}

// QuotePath writes a column's path as a dialect quotes it.
func QuotePath(d Dialect, path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		parts[i] = d.Ident(p)
	}
	return strings.Join(parts, ".")
}

// Columns implements Calculation.
func (s *Statement) Columns() []Column { return s.columns }

// Definition implements Calculation.
func (s *Statement) Definition() string {
	return definition(s.columns, s.text, s.column, s.clock.zone.String())
}

// definition is a hash of texts and columns.
func definition(columns []Column, texts ...string) string {
	for _, c := range columns {
		texts = append(texts, c.Name+" "+c.Type.String())
	}
	sum := sha256.Sum256([]byte(strings.Join(texts, "\n")))
	return hex.EncodeToString(sum[:12])
}

// Day implements Calculation.
func (s *Statement) Day(ctx context.Context, d Dialect, day Day, ask Ask, emit func(row []any) error) error {
	text, err := s.sql(d, day)
	if err != nil {
		return err
	}
	return ask(ctx, text, s.columns, emit)
}
