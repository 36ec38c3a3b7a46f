package sqlsink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"

	lite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lakeloader/lakeloader/batch"
)

// sqlite is for demos: one writer at a time. What it has no type for is text.
type sqlite struct{}

func (sqlite) open(url string) (*sql.DB, error) {
	_, file, _ := strings.Cut(url, ":")
	file = strings.TrimPrefix(file, "//")
	if file == "" {
		return nil, errors.New("it names no file: sqlite:FILE")
	}
	return sql.Open("sqlite", "file:"+strings.ReplaceAll(file, "?", "%3f")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
}

func (sqlite) begin() string { return "BEGIN IMMEDIATE" }

func (sqlite) snapshot() *sql.TxOptions { return nil }

func (sqlite) bind(query string) string { return query }

func (sqlite) quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (sqlite) words() *strings.Replacer {
	return strings.NewReplacer("{key}", "TEXT", "{name}", "TEXT", "{text}", "TEXT", "{bytes}", "BLOB", "{long}", "INTEGER", "{end}", " WITHOUT ROWID")
}

func (sqlite) columnType(f batch.Field) (string, error) {
	switch f.Type.Kind {
	case batch.Boolean, batch.Int, batch.Long:
		return "INTEGER", nil
	case batch.Float, batch.Double:
		return "REAL", nil
	case batch.Fixed, batch.Binary:
		return "BLOB", nil
	}
	return "TEXT", nil
}

// widen: SQLite's types hold what the widened ones do.
func (sqlite) widen(string, string, string) string { return "" }

func (sqlite) maxName() int { return 1 << 10 }

func (sqlite) exclusive(ctx context.Context, c *session, f func() error) error {
	_, err := c.transaction(ctx, f)
	return err
}

func (sqlite) exists(ctx context.Context, c *session, table string) (there bool, err error) {
	_, name := parts(table)
	err = c.query(ctx, func(*sql.Rows) error { there = true; return nil }, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name)
	return there, err
}

func (sqlite) longest(context.Context, *session) (int64, error) { return 0, nil }

func (sqlite) value(t *batch.Type) value { return asText(t) }

// unfit: it stores NaN as null.
func (sqlite) unfit(t *batch.Type) check {
	switch t.Kind {
	case batch.Float, batch.Double:
		return finite(t, "SQLite", true)
	}
	return nil
}

func (d sqlite) insert(ctx context.Context, c *session, table string, row *batch.Type, r *reader) (err error) {
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(row.Fields)), ", ")
	s, err := c.conn.PrepareContext(ctx, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", quoted(d, table), list(d, row), marks))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for {
		values, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := s.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
}

func (d sqlite) upsert(key []string, column string) string { return conflict(d, key, column) }

func (sqlite) passing(err error) bool {
	var e *lite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

func (sqlite) duplicate(err error) bool {
	var e *lite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT
}
