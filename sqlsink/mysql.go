package sqlsink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/pipeline"
)

// mysqlDB is MySQL and MariaDB. It inserts many rows with each statement.
type mysqlDB struct{}

func (mysqlDB) open(text string) (*sql.DB, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil, errors.New("it is no URL of a MySQL database: mysql://user:password@host:3306/database") // the parser's message has the URL
	}
	cfg, err := mysql.ParseDSN("/?" + u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("its parameters are not those of go-sql-driver/mysql: %w", err)
	}
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	cfg.Net, cfg.Addr, cfg.DBName = "tcp", u.Host, strings.Trim(u.Path, "/")
	if u.Port() == "" {
		cfg.Addr += ":3306"
	}
	cfg.InterpolateParams, cfg.RejectReadOnly = true, true
	// The client asks the server: one that sends more than that is cut off, which looks like a connection that broke.
	cfg.MaxAllowedPacket = 0
	cfg.ClientFoundRows = true // an UPDATE counts the rows that it found, as elsewhere
	if cfg.Timeout == 0 {
		cfg.Timeout = connectTimeout
	}
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	// What does not fit is an error and not cut; a transaction locks what it changes and no more.
	cfg.Params["sql_mode"] = "'TRADITIONAL'"
	cfg.Params["time_zone"] = "'+00:00'"
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func (mysqlDB) begin() string { return "START TRANSACTION" }

func (mysqlDB) snapshot() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

func (mysqlDB) bind(query string) string { return query }

func (mysqlDB) quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func (mysqlDB) words() *strings.Replacer {
	return strings.NewReplacer("{key}", "VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin", "{name}", "VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
		"{text}", "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "{bytes}", "LONGBLOB", "{long}", "BIGINT", "{end}", " ENGINE=InnoDB")
}

func (d mysqlDB) columnType(f batch.Field) (string, error) {
	switch t := f.Type; t.Kind {
	case batch.Boolean:
		return "BOOLEAN", nil
	case batch.Int:
		return "INT", nil
	case batch.Long:
		return "BIGINT", nil
	case batch.Float:
		return "FLOAT", nil
	case batch.Double:
		return "DOUBLE", nil
	case batch.Decimal:
		if t.Scale > 30 {
			return "", fmt.Errorf("column %s is a %s, and MySQL has at most 30 digits behind the point: cast it", f.Name, t)
		}
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale), nil
	case batch.Date:
		return "DATE", nil
	case batch.Time:
		return "TIME(6)", nil
	case batch.Timestamp, batch.TimestampTZ: // a TIMESTAMP ends in 2038
		return "DATETIME(6)", nil
	case batch.String:
		if f.Name == columnTopic {
			return d.words().Replace("{key}"), nil
		}
		return d.words().Replace("{text}"), nil
	case batch.UUID:
		return "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin", nil
	case batch.Fixed, batch.Binary:
		return "LONGBLOB", nil
	}
	return "JSON", nil
}

func (d mysqlDB) widen(table, column, typ string) string {
	return fmt.Sprintf("ALTER TABLE %s MODIFY COLUMN %s %s", quoted(d, table), d.quote(column), typ)
}

func (mysqlDB) maxName() int { return 64 }

// exclusive takes a lock by name, since changes of tables end transactions here.
func (mysqlDB) exclusive(ctx context.Context, c *session, f func() error) (err error) {
	var got sql.NullInt64
	if err := c.query(ctx, func(r *sql.Rows) error { return r.Scan(&got) }, "SELECT GET_LOCK('lakeloader.tables', 60)"); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return errors.New("another loader has been changing tables for a minute (lock lakeloader.tables)")
	}
	defer func() {
		_, rerr := c.conn.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK('lakeloader.tables')")
		err = errors.Join(err, rerr)
	}()
	return f()
}

func (mysqlDB) exists(ctx context.Context, c *session, table string) (there bool, err error) {
	schema, name := parts(table)
	err = c.query(ctx, func(r *sql.Rows) error { return r.Scan(&there) },
		"SELECT count(*) > 0 FROM information_schema.tables WHERE table_schema = coalesce(nullif(?, ''), database()) AND table_name = ?", schema, name)
	return there, err
}

func (mysqlDB) value(t *batch.Type) value { return asText(t) }

func (mysqlDB) unfit(t *batch.Type) check {
	switch t.Kind {
	case batch.Float, batch.Double:
		return finite(t, "MySQL", false)
	case batch.Date, batch.Timestamp, batch.TimestampTZ:
		return years(t, 1000, 9999, "MySQL")
	}
	return nil
}

// maxStatement and maxRows bound one INSERT.
const (
	maxStatement = 1 << 20
	maxRows      = 1000
)

// longest is what the server takes as one packet, with a little around it. A row may be longer: its values are sent one by one then.
func (mysqlDB) longest(ctx context.Context, c *session) (n int64, err error) {
	err = c.query(ctx, func(r *sql.Rows) error { return r.Scan(&n) }, "SELECT @@max_allowed_packet")
	return n - 64, err
}

func (d mysqlDB) insert(ctx context.Context, c *session, table string, row *batch.Type, r *reader) error {
	longest, err := d.longest(ctx, c)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("INSERT INTO %s (%s) VALUES ", quoted(d, table), list(d, row))
	one := "(" + strings.TrimSuffix(strings.Repeat("?,", len(row.Fields)), ",") + "),"
	most, limit := max(1, min(maxRows, 65_535/len(row.Fields))), int(min(maxStatement, longest))
	var args []any
	rows, size := 0, len(head)
	flush := func() error {
		if rows == 0 {
			return nil
		}
		_, err := c.conn.ExecContext(ctx, head+strings.TrimSuffix(strings.Repeat(one, rows), ","), args...)
		if tooLong(err) {
			err = fmt.Errorf("%w: the row of %s, or one of the %d after it, has a value that is longer than the server takes: raise max_allowed_packet above %d bytes, at the server: %w",
				pipeline.ErrStop, recordOf(row, args), rows-1, longest, err)
		}
		args, rows, size = args[:0], 0, len(head)
		return err
	}
	for {
		values, err := r.next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err
		}
		n := written(values)
		if rows == most || size+n > limit {
			if err := flush(); err != nil {
				return err
			}
		}
		args = append(args, values...)
		rows, size = rows+1, size+n
	}
}

// written is how long the text of a row in a statement is at most.
func written(values []any) int {
	n := len("(),")
	for _, v := range values {
		switch v := v.(type) {
		case string:
			n += 2*len(v) + len("'',")
		case []byte:
			n += 2*len(v) + len("_binary'',")
		default:
			n += 32
		}
	}
	return n
}

// recordOf names the record of the first row of values.
func recordOf(row *batch.Type, values []any) string {
	return fmt.Sprintf("%v-%v offset %v", values[row.Index(columnTopic)], values[row.Index(columnPartition)], values[row.Index(columnOffset)])
}

// tooLong: the server, or the client on its behalf, takes no value of that length.
func tooLong(err error) bool {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number == 1153 || e.Number == 1162 || e.Number == 1301 || e.Number == 1105 && strings.Contains(e.Message, "max_")
	}
	return errors.Is(err, mysql.ErrPktTooLarge)
}

func (mysqlDB) upsert(_ []string, column string) string {
	return fmt.Sprintf(" ON DUPLICATE KEY UPDATE %s = VALUES(%s)", column, column)
}

// passing: connections that ended, deadlocks, lock timeouts, servers that start, stop or only read.
func (mysqlDB) passing(err error) bool {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		switch e.Number {
		case 1040, 1053, 1077, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1290, 1792, 1836, 3100:
			return true
		}
		return false
	}
	return errors.Is(err, mysql.ErrInvalidConn)
}

func (mysqlDB) duplicate(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && e.Number == 1062
}
