package sqlsink

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

const (
	// readRows of a file of the spool are decoded at once.
	readRows = 2048
	// readBudget is what the blocks of all its columns may take, bytes.
	readBudget = 8 << 20
)

// reader gives the rows of a file, one after the other. What next returns is good until it is called again.
type reader struct {
	in     *scan.Batches
	b      *batch.Batch
	values []value
	row    []any
	at     int
	rows   int64
}

// copy inserts a file of the spool.
func (c *session) copy(ctx context.Context, name string, f table.File) (err error) {
	row := c.rowType(name)
	if row == nil {
		return fmt.Errorf("table %s was not prepared: this is a defect of lakeloader", name)
	}
	file, err := scan.Open(ctx, c.store, f.Path, f.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	file.Budget(readBudget)
	in, err := file.Batches(row)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r := &reader{in: in, b: batch.New(&batch.Records{}, row), row: make([]any, len(row.Fields))}
	for _, f := range row.Fields {
		v := c.kind.value(f.Type)
		if name == c.dead && f.Type.Kind == batch.String {
			v = legible(v)
		}
		r.values = append(r.values, orNull(v))
	}
	if err := c.kind.insert(ctx, c, name, row, r); err != nil {
		return err
	}
	if r.rows != f.Rows {
		return fmt.Errorf("%s should have %d rows, and %d were inserted: this is a defect of lakeloader, nothing was committed", f.Path, f.Rows, r.rows)
	}
	return nil
}

// next is io.EOF at the end.
func (r *reader) next() ([]any, error) {
	for r.at == r.b.Rows {
		if err := r.in.Next(r.b, readRows); err != nil {
			if errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			return nil, err
		}
		r.at = 0
	}
	for j, v := range r.values {
		r.row[j] = v(r.b.Root.Children[j], r.b.Mem, r.at)
	}
	r.at++
	r.rows++
	return r.row, nil
}
