package pipeline

import (
	"context"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// Keeper keeps a pipeline's ledger, and moves it together with the rows of a round: the Committer in a lake, a Database in one
// transaction.
type Keeper interface {
	// Settle reads the ledger, after what is pending of owned partitions was finished.
	Settle(ctx context.Context, owned map[table.Key]bool) (*table.Ledger, error)
	// Start commits the first records of partitions before anything was read, once.
	Start(ctx context.Context, id string, first map[table.Key]table.Record) (*table.Ledger, error)
	// Commit moves the ledger by a round whose files are durable: see Committer.Commit for its errors.
	Commit(ctx context.Context, r *Round, owned map[table.Key]bool) (*table.Ledger, error)
	// Edit begins new epochs. Only lakes take rounds that change decisions.
	Edit(ctx context.Context, r *Round) (*table.Ledger, error)
}

// Database is the primary of a pipeline that is no lake table. The loader's files are then a spool on the local disk, which a
// commit copies into the database; Deps.Catalog and Deps.Objects are the spool's.
type Database interface {
	Keeper
	// Refuse makes dead letters of rows that the database cannot take. It comes before any table gets rows of the batch.
	Refuse(b *batch.Batch)
	// Dropped is told that the open round was dropped: its files are of no use any more.
	Dropped()
	// Watch names who is told of every outcome of a question to the database.
	Watch(tell func(error))
}

// Check makes sure that a round says something of every offset.
func (r *Round) Check() error { return r.check() }

// keep gives the loader what keeps its ledger.
func (l *Loader) keep(d Deps, s *stages, w *watched) {
	if d.Database != nil {
		w.database = true
		d.Database.Watch(w.tell)
		l.committer = d.Database
		return
	}
	c := newCommitter(l.cfg, d, w)
	c.uuid = s.primary.info.UUID
	l.committer = c
}
