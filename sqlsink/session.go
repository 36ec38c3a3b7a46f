package sqlsink

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// session is one connection to the database.
type session struct {
	*Sink
	conn *sql.Conn
}

// session runs f with a connection. What passes by itself (a server that is away, a lock that was lost) is table.ErrRetry.
func (s *Sink) session(ctx context.Context, f func(*session) error) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return s.passing(ctx, fmt.Errorf("connecting to the database: %w", err))
	}
	err = f(&session{s, conn})
	if cerr := conn.Close(); cerr != nil && !errors.Is(cerr, sql.ErrConnDone) && !errors.Is(cerr, driver.ErrBadConn) {
		err = errors.Join(err, cerr)
	}
	return s.passing(ctx, err)
}

// passing marks errors that another attempt may not meet.
func (s *Sink) passing(ctx context.Context, err error) error {
	if err == nil || table.Passing(err) || ctx.Err() != nil {
		return err
	}
	var network net.Error
	var op *net.OpError
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &network) || errors.As(err, &op) || s.kind.passing(err) {
		return fmt.Errorf("%w: %w", table.ErrRetry, err)
	}
	return err
}

// transaction runs f between BEGIN and COMMIT. sent: COMMIT was sent and not answered, so the outcome is unknown if there is an error.
func (c *session) transaction(ctx context.Context, f func() error) (sent bool, err error) {
	if _, err := c.conn.ExecContext(ctx, c.kind.begin()); err != nil {
		return false, err
	}
	if err = f(); err == nil {
		if _, err = c.conn.ExecContext(ctx, "COMMIT"); err == nil {
			return true, nil
		}
		sent = true
	}
	// The connection must not go back with an open transaction; where it cannot be undone, the connection is closed.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, rerr := c.conn.ExecContext(undo, "ROLLBACK"); rerr != nil {
		_ = c.conn.Raw(func(any) error { return driver.ErrBadConn }) // always this error: it has database/sql drop the connection
	}
	return sent, err
}

// exec runs a statement written with ? for its arguments, and says how many rows it changed.
func (c *session) exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := c.conn.ExecContext(ctx, c.kind.bind(query), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls scan for each row.
func (c *session) query(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) (err error) {
	rows, err := c.conn.QueryContext(ctx, c.kind.bind(query), args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
