package sqlsink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// lakeloader's own tables.
const (
	tablesTable  = "lakeloader_tables"  // what tables pipelines have made
	offsetsTable = "lakeloader_offsets" // the ledger
	decidedTable = "lakeloader_decided" // offsets that are neither rows nor dead letters
)

// Columns that every table of rows has.
const (
	columnTopic     = table.ColumnTopic
	columnPartition = table.ColumnPartition
	columnOffset    = table.ColumnOffset
	columnEpoch     = table.ColumnEpoch
)

// uniqueKey is the primary key of tables of rows.
var uniqueKey = []string{columnTopic, columnPartition, columnEpoch, columnOffset}

var ownTables = []struct{ name, columns string }{
	{tablesTable, `table_name {key} NOT NULL PRIMARY KEY, pipeline {key} NOT NULL, id {key} NOT NULL, columns_json {text} NOT NULL`},
	{offsetsTable, `pipeline {key} NOT NULL, topic {key} NOT NULL, topic_partition {long} NOT NULL, epoch {long} NOT NULL, table_name {key} NOT NULL,
 cluster {name} NOT NULL, topic_id {key} NOT NULL, first_offset {long} NOT NULL, next_offset {long} NOT NULL, row_count {long} NOT NULL, filtered {long} NOT NULL,
 dead_letters {long} NOT NULL, gaps {long} NOT NULL, max_timestamp_ms {long} NOT NULL, leader_epoch {long} NOT NULL, rounds {long} NOT NULL,
 round_id {key} NOT NULL, moved_ms {long} NOT NULL, ended {long} NOT NULL, PRIMARY KEY (pipeline, topic, topic_partition, epoch)`},
	{decidedTable, `pipeline {key} NOT NULL, topic {key} NOT NULL, topic_partition {long} NOT NULL, epoch {long} NOT NULL, decision {name} NOT NULL,
 block {long} NOT NULL, offsets {bytes} NOT NULL, PRIMARY KEY (pipeline, topic, topic_partition, epoch, decision, block)`},
}

// described is what lakeloader_tables says of a table.
type described struct {
	pipeline, uuid string
	row            *batch.Type
}

// describe reads it; nil: nothing is said.
func (c *session) describe(ctx context.Context, name string) (*described, error) {
	own := c.beside(tablesTable)
	there, err := c.kind.exists(ctx, c, own)
	if err != nil || !there {
		return nil, err
	}
	var d *described
	err = c.query(ctx, func(r *sql.Rows) error {
		var columns string
		d = &described{}
		if err := r.Scan(&d.pipeline, &d.uuid, &columns); err != nil {
			return err
		}
		if d.row, err = decodeRow(columns); err != nil {
			return fmt.Errorf("%w: what %s says of table %s cannot be read: %w", pipeline.ErrStop, own, name, err)
		}
		return nil
	}, "SELECT pipeline, id, columns_json FROM "+quoted(c.kind, own)+" WHERE table_name = ?", name)
	return d, err
}

// ensure makes a table, and lakeloader's own, or adds columns.
func (c *session) ensure(ctx context.Context, def table.Def) (d *described, err error) {
	for _, f := range def.Row.Fields {
		if len(f.Name) > c.kind.maxName() {
			return nil, fmt.Errorf("%w: the name of column %s is longer than the %d bytes that the database takes: rename it in a cleanse step", pipeline.ErrStop, f.Name, c.kind.maxName())
		}
	}
	err = c.kind.exclusive(ctx, c, func() error {
		for _, t := range ownTables {
			if err := c.create(ctx, c.beside(t.name), t.columns); err != nil {
				return err
			}
		}
		d, err = c.claim(ctx, def.Ident.Name)
		if err != nil {
			return err
		}
		return c.columns(ctx, def, d)
	})
	if err != nil {
		return nil, fmt.Errorf("preparing table %s: %w", def.Ident, err)
	}
	return d, nil
}

// create makes a table that is not there.
func (c *session) create(ctx context.Context, name, columns string) error {
	there, err := c.kind.exists(ctx, c, name)
	if err != nil || there {
		return err
	}
	_, err = c.conn.ExecContext(ctx, c.kind.words().Replace("CREATE TABLE "+quoted(c.kind, name)+" ("+columns+"){end}"))
	return err
}

// claim makes sure that the table is the pipeline's. It notes so before the table is made, since not every database can do both
// at once.
func (c *session) claim(ctx context.Context, name string) (*described, error) {
	d, err := c.describe(ctx, name)
	if err != nil {
		return nil, err
	}
	there, err := c.kind.exists(ctx, c, name)
	if err != nil {
		return nil, err
	}
	mine := c.o.Pipeline.Name
	switch {
	case d == nil && there:
		return nil, fmt.Errorf("%w: table %s is there, and was not made by lakeloader: choose another name, since offsets and rows must begin together", pipeline.ErrStop, name)
	case d == nil:
		d = &described{pipeline: mine, uuid: newID(), row: &batch.Type{Kind: batch.Struct}}
		_, err = c.exec(ctx, "INSERT INTO "+quoted(c.kind, c.beside(tablesTable))+" (table_name, pipeline, id, columns_json) VALUES (?, ?, ?, '[]')", name, mine, d.uuid)
		return d, err
	case d.pipeline != mine:
		return nil, fmt.Errorf("%w: table %s belongs to pipeline %s", pipeline.ErrStop, name, d.pipeline)
	case there:
		return d, nil
	}
	l, err := c.ledger(ctx)
	if err != nil {
		return nil, err
	}
	for k, r := range l.Records {
		if name == c.rows && r.Rows > 0 || name == c.dead && r.Dead > 0 {
			return nil, fmt.Errorf("%w: table %s is gone, but %s says that rows of %s are in it: restore it, or delete the pipeline's rows from %s and %s to load all again",
				pipeline.ErrStop, name, c.beside(offsetsTable), k, c.beside(offsetsTable), c.beside(decidedTable))
		}
	}
	d.row = &batch.Type{Kind: batch.Struct}
	return d, nil
}

// columns makes the table have the columns of def.
func (c *session) columns(ctx context.Context, def table.Def, d *described) error {
	name := def.Ident.Name
	var have []string
	there, err := c.kind.exists(ctx, c, name)
	if err == nil && there {
		have, err = c.names(ctx, name)
	}
	if err != nil {
		return err
	}
	if !there {
		if err := c.createRows(ctx, name, def.Row); err != nil {
			return err
		}
	}
	for _, f := range def.Row.Fields {
		typ, err := c.kind.columnType(f)
		if err != nil {
			return fmt.Errorf("%w: %w", pipeline.ErrStop, err)
		}
		change := ""
		if there && !slices.Contains(have, f.Name) {
			change = "ALTER TABLE " + quoted(c.kind, name) + " ADD COLUMN " + c.kind.quote(f.Name) + " " + typ
		} else if i := d.row.Index(f.Name); there && i >= 0 {
			if before, err := c.kind.columnType(d.row.Fields[i]); err == nil && before != typ {
				change = c.kind.widen(name, f.Name, typ)
			}
		}
		if change == "" {
			continue
		}
		c.o.Log.Info("the table of the database is changed", "statement", change)
		if _, err := c.conn.ExecContext(ctx, change); err != nil {
			return fmt.Errorf("%s: %w", change, err)
		}
	}
	if d.row.Equal(def.Row) {
		return nil
	}
	text, err := encodeRow(def.Row)
	if err != nil {
		return err
	}
	d.row = def.Row
	_, err = c.exec(ctx, "UPDATE "+quoted(c.kind, c.beside(tablesTable))+" SET columns_json = ? WHERE table_name = ?", text, name)
	return err
}

// createRows makes a table of rows. Only the key is NOT NULL: what is required today may not be tomorrow.
func (c *session) createRows(ctx context.Context, name string, row *batch.Type) error {
	var b strings.Builder
	for _, f := range row.Fields {
		typ, err := c.kind.columnType(f)
		if err != nil {
			return fmt.Errorf("%w: %w", pipeline.ErrStop, err)
		}
		b.WriteString(c.kind.quote(f.Name) + " " + typ)
		if slices.Contains(uniqueKey, f.Name) {
			b.WriteString(" NOT NULL")
		}
		b.WriteString(", ")
	}
	b.WriteString("PRIMARY KEY (" + strings.Join(quoteAll(c.kind, uniqueKey), ", ") + ")")
	return c.create(ctx, name, b.String())
}

func quoteAll(d dialect, names []string) (out []string) {
	for _, n := range names {
		out = append(out, d.quote(n))
	}
	return out
}

// names are the columns that a table has.
func (c *session) names(ctx context.Context, name string) (names []string, err error) {
	rows, err := c.conn.QueryContext(ctx, "SELECT * FROM "+quoted(c.kind, name)+" WHERE 1 = 0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if names, err = rows.Columns(); err != nil {
		return nil, err
	}
	return names, rows.Err()
}
