package scan

import (
	"context"
	"errors"
	"io"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
)

// rowsAtOnce is how many rows a batch has at most.
const rowsAtOnce = 4096

// Each opens an object (see Open) and gives all its rows to f, in order, as batches of a row type (see Batches) that are good during the call,
// each with the position of its first row. budget is that of File.Budget; 0: its default.
func Each(ctx context.Context, store objects.Store, uri string, size int64, row *batch.Type, budget int64, f func(b *batch.Batch, at int64) error) (err error) {
	in, err := Open(ctx, store, uri, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if budget > 0 {
		in.Budget(budget)
	}
	rows, err := in.Batches(row)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	b := batch.New(&batch.Records{}, row)
	for ctx.Err() == nil {
		at := rows.Position()
		if err := rows.Next(b, rowsAtOnce); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := f(b, at); err != nil {
			return err
		}
	}
	return ctx.Err()
}
