package sqlsink

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// dialect is what differs from one database to the other.
type dialect interface {
	// open makes a pool from the URL of the configuration; it need not connect.
	open(url string) (*sql.DB, error)
	// begin starts a transaction in which a row that is updated stays locked until its end.
	begin() string
	// snapshot are the options of a transaction that sees the database as it is at its first question.
	snapshot() *sql.TxOptions
	// bind writes the placeholders ? as the database wants them.
	bind(query string) string
	quote(name string) string
	// words are the types of lakeloader's own tables: key (of topics), name (of steps), text, bytes, long, and what ends a CREATE TABLE.
	words() *strings.Replacer
	// columnType is the type of a column of rows.
	columnType(f batch.Field) (string, error)
	// widen changes the type of a column; empty: there is nothing to change.
	widen(table, column, typ string) string
	// maxName is how many bytes the name of a column may have.
	maxName() int
	// exclusive runs f, which changes tables, while no other loader does.
	exclusive(ctx context.Context, c *session, f func() error) error
	exists(ctx context.Context, c *session, table string) (bool, error)
	// value takes values of a column out of a batch, for insert.
	value(t *batch.Type) value
	// unfit says why the database cannot take a value of a type; nil: it takes all.
	unfit(t *batch.Type) check
	// longest is how many bytes a value may have, as this session says; 0: nothing bounds it that a record could reach.
	longest(ctx context.Context, c *session) (int64, error)
	// insert adds rows to a table.
	insert(ctx context.Context, c *session, table string, row *batch.Type, r *reader) error
	// upsert changes the end of an INSERT, so that a row with the same key gets the value of a column.
	upsert(key []string, column string) string
	passing(err error) bool
	// duplicate: a row with that key is there already.
	duplicate(err error) bool
}

// value takes the value of slot i out of a column.
type value func(c *batch.Column, mem []byte, i int) any

// check says what is wrong with the value of slot i; empty: nothing.
type check func(c *batch.Column, mem []byte, i int) string

// parts splits a table's name into that of the schema, which may be missing, and its own.
func parts(table string) (schema, name string) {
	if s, n, ok := strings.Cut(table, "."); ok {
		return s, n
	}
	return "", table
}

// quoted is a table's name for a statement.
func quoted(d dialect, table string) string {
	schema, name := parts(table)
	if schema == "" {
		return d.quote(name)
	}
	return d.quote(schema) + "." + d.quote(name)
}

// beside names one of lakeloader's own tables, which is in the schema of the rows.
func (s *Sink) beside(name string) string {
	if schema, _ := parts(s.rows); schema != "" {
		return schema + "." + name
	}
	return name
}

// numberedBind writes $1, $2 and so on.
func numberedBind(query string) string {
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, ok := strings.Cut(query, "?")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

// list quotes the columns of a row type.
func list(d dialect, row *batch.Type) string {
	var names []string
	for _, f := range row.Fields {
		names = append(names, d.quote(f.Name))
	}
	return strings.Join(names, ", ")
}
