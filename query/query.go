// Package query answers SQL over lake tables with DuckDB in the process: over exactly the data files of a snapshot, by
// field id, less the rows that delete files remove. Files in S3 are fetched whole first, up to a limit.
package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"

	_ "github.com/duckdb/duckdb-go/v2" // registers the driver

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// Catalog is what a query asks of a catalog.
type Catalog interface {
	Info(ctx context.Context, id table.Ident) (table.Info, error)
	Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error)
}

// Options says over what to query.
type Options struct {
	Catalog Catalog
	Objects objects.Store
	// Namespace of tables that are named without one.
	Namespace string
	// Snapshot to read; 0: the current one. It holds for the only table of a query.
	Snapshot int64
	// MaxFetch bounds what is fetched from an object store, bytes.
	MaxFetch int64
	// Memory is DuckDB's limit, bytes; beyond it it spills to the temporary folder.
	Memory int64
}

// Result is the outcome of a query. Values are what DuckDB's driver gives (int64, string, time.Time, duckdb.Decimal,
// []byte, map[string]any, ...); UUIDs are 16 bytes with the column's type UUID.
type Result struct {
	Columns []string
	Types   []string // DuckDB's names
	Rows    [][]any
}

// Run answers one statement.
func Run(ctx context.Context, statement string, o Options) (res *Result, err error) {
	dir, err := os.MkdirTemp("", "lakeloader-query-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, s := range []string{"SET TimeZone = 'UTC'", "SET autoinstall_known_extensions = false", "SET temp_directory = " + quote(dir), fmt.Sprintf("SET memory_limit = '%dB'", o.Memory)} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
	}
	tables, err := names(ctx, conn, statement)
	if err != nil {
		return nil, err
	}
	full := func(max int64) error {
		return fmt.Errorf("the query needs more than %d MiB from the object store: raise --max-fetch, or use Athena, Trino or Spark", max>>20)
	}
	v := &views{o: o, conn: conn, from: &fetcher{store: o.Objects, dir: dir, max: o.MaxFetch, full: full, known: map[string]*fetched{}}}
	if err := v.make(ctx, tables); err != nil {
		return nil, err
	}
	return rows(ctx, conn, statement)
}

func rows(ctx context.Context, conn *sql.Conn, statement string) (res *Result, err error) {
	r, err := conn.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	types, err := r.ColumnTypes()
	if err != nil {
		return nil, err
	}
	res = &Result{Rows: [][]any{}}
	for _, t := range types {
		res.Columns = append(res.Columns, t.Name())
		res.Types = append(res.Types, t.DatabaseTypeName())
	}
	for r.Next() {
		vals, ptrs := make([]any, len(types)), make([]any, len(types))
		for i := range vals {
			ptrs[i] = &vals[i]
		}
		if err := r.Scan(ptrs...); err != nil {
			return nil, err
		}
		res.Rows = append(res.Rows, vals)
	}
	return res, r.Err()
}

// views makes a view for each lake table that a statement names.
type views struct {
	o    Options
	conn *sql.Conn
	from *fetcher
}

func (v *views) make(ctx context.Context, tables []name) error {
	infos := map[name]table.Info{}
	read := map[table.Ident]bool{}
	for _, n := range tables {
		info, err := v.find(ctx, n)
		if errors.Is(err, table.ErrNoTable) {
			continue // a DuckDB table or function; if not, DuckDB says so
		}
		if err != nil {
			return err
		}
		infos[n], read[info.Ident] = info, true
	}
	if len(read) > 1 && v.o.Snapshot != 0 {
		return errors.New("a snapshot can be chosen for a query over one table only")
	}
	for n, info := range infos {
		text, err := v.view(ctx, info)
		if err != nil {
			return err
		}
		target := ident(n.table)
		if n.schema != "" {
			if _, err := v.conn.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+ident(n.schema)); err != nil {
				return err
			}
			target = ident(n.schema) + "." + target
		}
		// SQL's names are the same in any case.
		if _, err := v.conn.ExecContext(ctx, "CREATE VIEW IF NOT EXISTS "+target+" AS "+text); err != nil {
			return fmt.Errorf("table %s: %w", info.Ident, err)
		}
	}
	return nil
}

// find looks a table up as it is written, then in lower case.
func (v *views) find(ctx context.Context, n name) (table.Info, error) {
	id := table.Ident{Namespace: n.schema, Name: n.table}
	if n.schema == "" {
		id.Namespace = v.o.Namespace
	}
	info, err := v.o.Catalog.Info(ctx, id)
	if lower := (table.Ident{Namespace: strings.ToLower(id.Namespace), Name: strings.ToLower(id.Name)}); errors.Is(err, table.ErrNoTable) && lower != id {
		return v.o.Catalog.Info(ctx, lower)
	}
	return info, err
}

// view is the SELECT that reads a table.
func (v *views) view(ctx context.Context, info table.Info) (string, error) {
	files, deletes, err := v.o.Catalog.Files(ctx, info.Ident, v.o.Snapshot)
	if err != nil {
		return "", fmt.Errorf("listing the files of table %s: %w", info.Ident, err)
	}
	return relation(ctx, info.Row, files, deletes, v.from)
}

// relation is the SELECT that reads files of a row type, less the rows that delete files remove.
func relation(ctx context.Context, row *batch.Type, files []table.File, deletes []string, from *fetcher) (string, error) {
	if len(files) == 0 {
		var cols []string
		for _, f := range row.Fields {
			cols = append(cols, fmt.Sprintf("NULL::%s AS %s", typeName(f.Type), ident(f.Name)))
		}
		return "SELECT " + strings.Join(cols, ", ") + " WHERE false", nil
	}
	var all []remote
	for _, f := range files {
		all = append(all, remote{f.Path, f.Size})
	}
	for _, d := range deletes {
		all = append(all, remote{d, 0})
	}
	local, err := from.fetch(ctx, all)
	if err != nil {
		return "", err
	}
	var cols, schema []string
	for _, f := range row.Fields {
		cols = append(cols, "d."+ident(f.Name))
		schema = append(schema, fmt.Sprintf("%d: {name: %s, type: %s, default_value: NULL}", f.ID, quote(f.Name), quote(typeName(f.Type))))
	}
	text := fmt.Sprintf("SELECT %s FROM read_parquet([%s], schema = MAP {%s}, hive_partitioning = false, filename = true, file_row_number = true) d",
		strings.Join(cols, ", "), quoted(local[:len(files)]), strings.Join(schema, ", "))
	if len(deletes) == 0 {
		return text, nil
	}
	var pairs []string
	for i, f := range files {
		pairs = append(pairs, fmt.Sprintf("(%s, %s)", quote(f.Path), quote(local[i])))
	}
	return text + fmt.Sprintf(" ANTI JOIN (SELECT m.path, x.pos FROM read_parquet([%s]) x JOIN (VALUES %s) m(uri, path) ON x.file_path = m.uri) g ON d.filename = g.path AND d.file_row_number = g.pos",
		quoted(local[len(files):]), strings.Join(pairs, ", ")), nil
}

func quoted(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = quote(t)
	}
	return strings.Join(out, ", ")
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
func ident(s string) string { return aggregate.DuckDB.Ident(s) }

// typeName is DuckDB's name of a type.
func typeName(t *batch.Type) string {
	switch t.Kind {
	case batch.Boolean:
		return "BOOLEAN"
	case batch.Int:
		return "INTEGER"
	case batch.Long:
		return "BIGINT"
	case batch.Float:
		return "FLOAT"
	case batch.Double:
		return "DOUBLE"
	case batch.Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case batch.Date:
		return "DATE"
	case batch.Time:
		return "TIME"
	case batch.Timestamp:
		return "TIMESTAMP"
	case batch.TimestampTZ:
		return "TIMESTAMPTZ"
	case batch.UUID:
		return "UUID"
	case batch.Fixed, batch.Binary:
		return "BLOB"
	case batch.List:
		return typeName(t.Fields[0].Type) + "[]"
	case batch.Map:
		return "MAP(" + typeName(t.Fields[0].Type) + ", " + typeName(t.Fields[1].Type) + ")"
	case batch.Struct:
		var fs []string
		for _, f := range t.Fields {
			fs = append(fs, ident(f.Name)+" "+typeName(f.Type))
		}
		return "STRUCT(" + strings.Join(fs, ", ") + ")"
	}
	return "VARCHAR"
}
