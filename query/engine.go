package query

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
)

// EngineOptions are what the embedded engine works with.
type EngineOptions struct {
	Objects objects.Store
	// MaxFetch bounds what is fetched from an object store until Close, bytes.
	MaxFetch int64
	// Memory is DuckDB's limit, bytes; beyond it it spills to the temporary folder.
	Memory int64
}

// Engine calculates aggregates with DuckDB in the process. It reads the files that a query names, and fetches each once from
// where it is not local; Close removes them.
type Engine struct {
	db   *sql.DB
	dir  string
	from *fetcher
}

var (
	_ aggregate.Engine = (*Engine)(nil)
	_ aggregate.Reader = (*Engine)(nil)
)

// NewEngine opens an engine.
func NewEngine(o EngineOptions) (*Engine, error) {
	dir, err := os.MkdirTemp("", "lakeloader-aggregate-")
	if err != nil {
		return nil, err
	}
	c, err := duckdb.NewConnector("", func(e driver.ExecerContext) error {
		for _, s := range []string{"SET TimeZone = 'UTC'", "SET autoinstall_known_extensions = false", "SET preserve_insertion_order = false",
			"SET temp_directory = " + quote(dir), fmt.Sprintf("SET memory_limit = '%dB'", o.Memory)} {
			if _, err := e.ExecContext(context.Background(), s, nil); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	full := func(max int64) error {
		return fmt.Errorf("the days need more than %d MiB from the object store: raise max_fetch, calculate fewer days at once with --from and --to, or choose an engine that reads there (trino, athena, spark)", max>>20)
	}
	return &Engine{db: sql.OpenDB(c), dir: dir, from: &fetcher{store: o.Objects, dir: dir, max: o.MaxFetch, full: full, known: map[string]*fetched{}}}, nil
}

// Close ends the engine, and removes what it has fetched.
func (e *Engine) Close() error { return errors.Join(e.db.Close(), os.RemoveAll(e.dir)) }

// Dialect implements aggregate.Engine.
func (e *Engine) Dialect() aggregate.Dialect { return aggregate.DuckDB }

// Cost implements aggregate.Engine.
func (e *Engine) Cost(_ context.Context, q aggregate.Query) (c aggregate.Cost, err error) {
	c.Files = len(q.Source.Files)
	for _, f := range q.Source.Files {
		c.Bytes += f.Size
		if !e.from.has(f.Path) {
			c.Fetched += f.Size
		}
	}
	return c, nil
}

// on runs do with a connection whose relation source is a SELECT.
func (e *Engine) on(ctx context.Context, source string, do func(c *sql.Conn) error) (err error) {
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "CREATE OR REPLACE TEMP VIEW source AS "+source); err != nil {
		return fmt.Errorf("reading the source: %w", err)
	}
	return do(conn)
}

// Tree implements aggregate.Reader.
func (e *Engine) Tree(ctx context.Context, statement string) ([]byte, error) {
	var tree string
	if err := e.db.QueryRowContext(ctx, "SELECT CAST(json_serialize_sql("+quote(statement)+") AS VARCHAR)").Scan(&tree); err != nil {
		return nil, fmt.Errorf("the statement cannot be read: %w", err)
	}
	return []byte(tree), nil
}

// Describe implements aggregate.Reader.
func (e *Engine) Describe(ctx context.Context, row *batch.Type, statement string) (out []aggregate.Column, err error) {
	empty, err := relation(ctx, row, nil, nil, e.from)
	if err != nil {
		return nil, err
	}
	err = e.on(ctx, empty, func(c *sql.Conn) (err error) {
		r, err := c.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE "+statement+")")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		for r.Next() {
			var name, typ string
			if err := r.Scan(&name, &typ); err != nil {
				return err
			}
			t, err := columnType(typ)
			if err != nil {
				return fmt.Errorf("column %s of the result: %w", name, err)
			}
			out = append(out, aggregate.Column{Name: name, Type: t})
		}
		return r.Err()
	})
	return out, err
}

// columnType is the type of a target's column for one of a result.
func columnType(name string) (*batch.Type, error) {
	switch name {
	case "BOOLEAN":
		return batch.Prim(batch.Boolean), nil
	case "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT":
		return batch.Prim(batch.Int), nil
	case "BIGINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT":
		return batch.Prim(batch.Long), nil
	case "FLOAT":
		return batch.Prim(batch.Float), nil
	case "DOUBLE":
		return batch.Prim(batch.Double), nil
	case "DATE":
		return batch.Prim(batch.Date), nil
	case "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS":
		return batch.Prim(batch.Timestamp), nil
	case "TIMESTAMP WITH TIME ZONE":
		return batch.Prim(batch.TimestampTZ), nil
	case "VARCHAR":
		return batch.Prim(batch.String), nil
	case "UUID":
		return batch.Prim(batch.UUID), nil
	case "BLOB":
		return batch.Prim(batch.Binary), nil
	}
	var p, s int
	if n, err := fmt.Sscanf(name, "DECIMAL(%d,%d)", &p, &s); n == 2 && err == nil {
		return batch.DecimalOf(p, s), nil
	}
	return nil, fmt.Errorf("a target cannot have DuckDB's type %s: cast it, for example to VARCHAR", strings.Trim(name, `"`))
}

// Select implements aggregate.Engine.
func (e *Engine) Select(ctx context.Context, q aggregate.Query, each func(row []any) error) error {
	source, err := relation(ctx, q.Source.Info.Row, q.Source.Files, q.Source.Deletes, e.from)
	if err != nil {
		return fmt.Errorf("engine embedded: %w", err)
	}
	err = e.on(ctx, source, func(c *sql.Conn) error {
		return c.Raw(func(raw any) error { return e.read(ctx, raw, q, each) })
	})
	if err != nil {
		return fmt.Errorf("engine embedded: %w", err)
	}
	return nil
}

// read asks the driver itself: database/sql would convert each value once more.
func (e *Engine) read(ctx context.Context, raw any, q aggregate.Query, each func(row []any) error) (err error) {
	ask, ok := raw.(driver.QueryerContext)
	if !ok {
		return fmt.Errorf("DuckDB's driver is a %T, which answers no queries", raw)
	}
	rows, err := ask.QueryContext(ctx, q.SQL, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if have := rows.Columns(); len(have) != len(q.Columns) {
		return fmt.Errorf("the result has %d columns, not %d", len(have), len(q.Columns))
	}
	values, row := make([]driver.Value, len(q.Columns)), make([]any, len(q.Columns))
	for {
		if err := rows.Next(values); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for i, v := range values {
			if row[i], err = convert(v, q.Columns[i].Type); err != nil {
				return fmt.Errorf("column %s (%s): %w", q.Columns[i].Name, q.Columns[i].Type, err)
			}
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

// convert makes the value of a column of what DuckDB's driver gives.
func convert(v any, t *batch.Type) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case bool, string, float64, time.Time:
		return v, nil
	case []byte:
		return v, nil
	case float32:
		return float64(v), nil
	case duckdb.UUID:
		return v[:], nil
	case duckdb.Decimal:
		return scaled(v.Value, int(v.Scale), t)
	case *big.Int:
		return scaled(v, 0, t)
	case int64:
		return whole(v, t)
	case int32:
		return whole(int64(v), t)
	case int16:
		return whole(int64(v), t)
	case int8:
		return whole(int64(v), t)
	case uint32:
		return whole(int64(v), t)
	case uint16:
		return whole(int64(v), t)
	case uint8:
		return whole(int64(v), t)
	case uint64:
		return scaled(new(big.Int).SetUint64(v), 0, t)
	}
	return nil, fmt.Errorf("DuckDB gave a %T", v)
}

func whole(v int64, t *batch.Type) (any, error) {
	if t.Kind == batch.Decimal {
		return scaled(big.NewInt(v), 0, t)
	}
	return v, nil
}

// scaled is an exact number of a scale as a whole number or a decimal.
func scaled(v *big.Int, scale int, t *batch.Type) (any, error) {
	to := 0
	if t.Kind == batch.Decimal {
		to = t.Scale
	}
	if to < scale {
		return nil, fmt.Errorf("DuckDB gave a decimal of scale %d", scale)
	}
	if to > scale {
		v = new(big.Int).Mul(v, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(to-scale)), nil))
	}
	if t.Kind == batch.Decimal {
		return v, nil
	}
	if !v.IsInt64() {
		return nil, fmt.Errorf("the value %s is beyond 64 bits: cast it to DECIMAL(38, 0)", v)
	}
	return v.Int64(), nil
}
