package sqlsink

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lakeloader/lakeloader/batch"
)

// postgres inserts by COPY.
type postgres struct{}

func (postgres) open(url string) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("it is no URL of a PostgreSQL database: postgres://user:password@host:5432/database") // pgx's message has the URL
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "lakeloader"
	}
	return stdlib.OpenDB(*cfg), nil
}

// connectTimeout bounds one attempt to connect.
const connectTimeout = 10 * time.Second

func (postgres) begin() string { return "BEGIN ISOLATION LEVEL READ COMMITTED" }

func (postgres) snapshot() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

func (postgres) bind(query string) string { return numberedBind(query) }

func (postgres) quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func (postgres) words() *strings.Replacer {
	return strings.NewReplacer("{key}", "text", "{name}", "text", "{text}", "text", "{bytes}", "bytea", "{long}", "bigint", "{end}", "")
}

func (postgres) columnType(f batch.Field) (string, error) {
	switch t := f.Type; t.Kind {
	case batch.Boolean:
		return "boolean", nil
	case batch.Int:
		return "integer", nil
	case batch.Long:
		return "bigint", nil
	case batch.Float:
		return "real", nil
	case batch.Double:
		return "double precision", nil
	case batch.Decimal:
		return fmt.Sprintf("numeric(%d,%d)", t.Precision, t.Scale), nil
	case batch.Date:
		return "date", nil
	case batch.Time:
		return "time", nil
	case batch.Timestamp:
		return "timestamp", nil
	case batch.TimestampTZ:
		return "timestamptz", nil
	case batch.String:
		return "text", nil
	case batch.UUID:
		return "uuid", nil
	case batch.Fixed, batch.Binary:
		return "bytea", nil
	}
	return "jsonb", nil
}

func (d postgres) widen(table, column, typ string) string {
	return fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s", quoted(d, table), d.quote(column), typ)
}

func (postgres) maxName() int { return 63 }

// exclusive takes a lock that ends with the transaction, in which PostgreSQL changes tables too.
func (postgres) exclusive(ctx context.Context, c *session, f func() error) error {
	_, err := c.transaction(ctx, func() error {
		if _, err := c.conn.ExecContext(ctx, "SELECT pg_advisory_xact_lock(7810763)"); err != nil {
			return err
		}
		return f()
	})
	return err
}

func (d postgres) exists(ctx context.Context, c *session, table string) (there bool, err error) {
	err = c.query(ctx, func(r *sql.Rows) error { return r.Scan(&there) }, "SELECT to_regclass(?) IS NOT NULL", quoted(d, table))
	return there, err
}

func (postgres) longest(context.Context, *session) (int64, error) { return 0, nil }

func (postgres) value(t *batch.Type) value {
	switch t.Kind {
	case batch.Boolean:
		return func(c *batch.Column, _ []byte, i int) any { return c.Bools[i] }
	case batch.Int:
		return func(c *batch.Column, _ []byte, i int) any { return c.Int32[i] }
	case batch.Float:
		return func(c *batch.Column, _ []byte, i int) any { return c.Float32[i] }
	case batch.Decimal:
		return func(c *batch.Column, mem []byte, i int) any {
			return pgtype.Numeric{Int: unscaled(c, mem, i), Exp: int32(-c.Type.Scale), Valid: true}
		}
	case batch.Date:
		return func(c *batch.Column, _ []byte, i int) any { return day(c, i) }
	case batch.Time:
		return func(c *batch.Column, _ []byte, i int) any {
			return pgtype.Time{Microseconds: c.Int64[i], Valid: true}
		}
	case batch.Timestamp, batch.TimestampTZ:
		return func(c *batch.Column, _ []byte, i int) any { return instant(c, i) }
	case batch.UUID:
		return func(c *batch.Column, mem []byte, i int) any { return [16]byte(bytesOf(c, mem, i)) }
	case batch.Long, batch.Double, batch.String:
		return asText(t)
	case batch.Struct, batch.List, batch.Map:
		return func(c *batch.Column, mem []byte, i int) any { return appendJSON(nil, c, mem, i) }
	}
	return func(c *batch.Column, mem []byte, i int) any { return bytesOf(c, mem, i) }
}

// unfit: text has no zero byte, and time begins in the year 4713 BC.
func (postgres) unfit(t *batch.Type) check {
	switch t.Kind {
	case batch.String:
		return func(c *batch.Column, mem []byte, i int) string {
			if bytes.IndexByte(bytesOf(c, mem, i), 0) >= 0 {
				return "the text has a zero byte, which PostgreSQL cannot store"
			}
			return ""
		}
	case batch.Date, batch.Timestamp, batch.TimestampTZ:
		return years(t, -4712, 294_275, "PostgreSQL")
	}
	return nil
}

// insert copies, with the values in PostgreSQL's binary form.
func (postgres) insert(ctx context.Context, c *session, table string, row *batch.Type, r *reader) error {
	var names []string
	for _, f := range row.Fields {
		names = append(names, f.Name)
	}
	id := pgx.Identifier{table}
	if schema, name := parts(table); schema != "" {
		id = pgx.Identifier{schema, name}
	}
	return c.conn.Raw(func(dc any) error {
		_, err := dc.(*stdlib.Conn).Conn().CopyFrom(ctx, id, names, pgx.CopyFromFunc(func() ([]any, error) {
			values, err := r.next()
			if errors.Is(err, io.EOF) {
				return nil, nil
			}
			return values, err
		}))
		return err
	})
}

func (d postgres) upsert(key []string, column string) string {
	return conflict(d, key, column)
}

// conflict is the end of an INSERT in PostgreSQL and SQLite.
func conflict(d dialect, key []string, column string) string {
	return fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s = excluded.%s", strings.Join(key, ", "), column, column)
}

// passing: connections and transactions that were ended, and shortages.
func (postgres) passing(err error) bool {
	var connect *pgconn.ConnectError
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch e.Code[:2] {
		case "08", "40", "53", "57", "58":
			return true
		}
		return e.Code == "55P03"
	}
	return errors.As(err, &connect) || pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

func (postgres) duplicate(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505"
}
