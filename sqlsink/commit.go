package sqlsink

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// errLanded: the round is in the database already.
var errLanded = errors.New("landed")

// Settle implements pipeline.Keeper: in a database nothing is ever pending.
func (s *Sink) Settle(ctx context.Context, _ map[table.Key]bool) (l *table.Ledger, err error) {
	err = s.retry(ctx, func() error {
		return s.session(ctx, func(c *session) error {
			l, err = c.present(ctx)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the offsets of pipeline %s: %w", s.o.Pipeline.Name, err)
	}
	return l, nil
}

// Start implements pipeline.Keeper.
func (s *Sink) Start(ctx context.Context, id string, first map[table.Key]table.Record) (l *table.Ledger, err error) {
	err = s.retry(ctx, func() error {
		return s.session(ctx, func(c *session) error {
			if l, err = c.present(ctx); err != nil || len(l.Records) > 0 {
				return err
			}
			_, err = c.transaction(ctx, func() error {
				for _, k := range sortedKeys(first) {
					if err := c.first(ctx, k, first[k], 1, id); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil && !s.kind.duplicate(err) { // another loader was first: what it has resolved holds
				return err
			}
			l, err = c.present(ctx)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("committing the first offsets of pipeline %s: %w", s.o.Pipeline.Name, err)
	}
	return l, nil
}

func sortedKeys(m map[table.Key]table.Record) (keys []table.Key) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func compareKeys(a, b table.Key) int {
	if a.Topic != b.Topic {
		if a.Topic < b.Topic {
			return -1
		}
		return 1
	}
	return int(a.Partition) - int(b.Partition)
}

// Commit implements pipeline.Keeper.
func (s *Sink) Commit(ctx context.Context, r *pipeline.Round, _ map[table.Key]bool) (*table.Ledger, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	l, err := s.commit(ctx, r, func(c *session) error { return c.round(ctx, r) })
	if err == nil {
		for _, t := range r.Tables {
			for _, f := range t.Files {
				if derr := s.store.Delete(ctx, f.Path); derr != nil {
					s.o.Log.Warn("a file that was committed stays in the spool", "file", f.Path, "error", derr)
				}
			}
		}
	}
	return l, err
}

// Edit implements pipeline.Keeper: new epochs begin, in one transaction.
func (s *Sink) Edit(ctx context.Context, r *pipeline.Round) (*table.Ledger, error) {
	if len(r.Edits) > 0 {
		return nil, fmt.Errorf("%w: rows of a database are not edited by lakeloader", pipeline.ErrStop)
	}
	return s.commit(ctx, r, func(c *session) error {
		for _, b := range r.Begins {
			if err := c.beginEpoch(ctx, b, r.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// commit runs a transaction until its outcome is known, and reads the ledger behind it.
func (s *Sink) commit(ctx context.Context, r *pipeline.Round, do func(*session) error) (l *table.Ledger, err error) {
	err = s.retry(ctx, func() error {
		return s.session(ctx, func(c *session) error {
			point.Hit(point.BeforeSwap)
			_, err := c.transaction(ctx, func() error { return do(c) })
			switch {
			case errors.Is(err, errLanded):
			case s.kind.duplicate(err):
				// The first record of a partition, or rows: whoever has them moved the offsets with them.
				return c.overtaken(ctx, r, err)
			case err != nil:
				return err
			}
			point.Hit(point.AfterSwap)
			l, err = c.ledger(ctx)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("committing round %s to table %s: %w", r.ID, s.rows, err)
	}
	return l, nil
}

// overtaken sorts out a row that was there already.
func (c *session) overtaken(ctx context.Context, r *pipeline.Round, duplicate error) error {
	l, err := c.ledger(ctx)
	if err != nil {
		return err
	}
	for _, m := range r.Moves {
		if now, known := l.Records[m.Key]; known != m.Known || known && !now.Same(m.From) {
			return fmt.Errorf("%w: %s was read from offset %d (epoch %d), but the table is at %d (epoch %d)", pipeline.ErrFenced, m.Key, m.From.Next, m.From.Epoch, now.Next, now.Epoch)
		}
	}
	for _, b := range r.Begins {
		if now := l.Records[b.Key]; !now.Same(b.From) {
			return fmt.Errorf("%w: %s is in epoch %d now", pipeline.ErrFenced, b.Key, now.Epoch)
		}
	}
	return fmt.Errorf("%w: table %s has rows beyond what %s says was loaded: somebody else has written them, or has changed the offsets: %w", pipeline.ErrStop, c.rows, c.beside(offsetsTable), duplicate)
}

// round is what a transaction does for a round.
func (c *session) round(ctx context.Context, r *pipeline.Round) error {
	moves := slices.Clone(r.Moves)
	slices.SortFunc(moves, func(a, b pipeline.Move) int { return compareKeys(a.Key, b.Key) })
	for _, m := range moves {
		if err := c.fence(ctx, m, r.ID); err != nil {
			return err
		}
	}
	for _, t := range r.Tables {
		for _, f := range t.Files {
			if err := c.copy(ctx, t.Table.Name, f); err != nil {
				return fmt.Errorf("inserting into %s: %w", t.Table.Name, err)
			}
		}
	}
	for _, m := range moves {
		if err := c.decide(ctx, m); err != nil {
			return fmt.Errorf("noting what was filtered in %s: %w", c.beside(decidedTable), err)
		}
	}
	return nil
}

// fence moves one partition, or says that it is not where the round began.
func (c *session) fence(ctx context.Context, m pipeline.Move, id string) error {
	if !m.Known {
		// A reply that was lost leaves the row, which looks like another loader's.
		by, err := c.movedBy(ctx, m.Key, m.To.Epoch)
		if err != nil {
			return err
		}
		if by == id {
			return errLanded
		}
		return c.first(ctx, m.Key, m.To, 1, id)
	}
	moved, err := c.move(ctx, m, id)
	if err != nil || moved {
		return err
	}
	by, err := c.movedBy(ctx, m.Key, m.From.Epoch)
	switch {
	case err != nil:
		return err
	case by == id:
		return errLanded
	}
	return fmt.Errorf("%w: %s was read from offset %d (epoch %d), and the table is elsewhere by now", pipeline.ErrFenced, m.Key, m.From.Next, m.From.Epoch)
}

// beginEpoch ends the epoch of a partition and begins the next one.
func (c *session) beginEpoch(ctx context.Context, b pipeline.Begin, id string) error {
	to := b.To
	to.Epoch = b.From.Epoch + 1
	by, err := c.movedBy(ctx, b.Key, to.Epoch)
	if err != nil {
		return err
	}
	if by == id {
		return errLanded
	}
	n, err := c.exec(ctx, "UPDATE "+quoted(c.kind, c.beside(offsetsTable))+` SET ended = 1, moved_ms = ? WHERE pipeline = ? AND topic = ? AND topic_partition = ?
 AND epoch = ? AND cluster = ? AND topic_id = ? AND next_offset = ? AND ended = 0`,
		c.o.Now().UnixMilli(), c.o.Pipeline.Name, b.Key.Topic, int64(b.Key.Partition), int64(b.From.Epoch), b.From.Cluster, b.From.TopicID, b.From.Next)
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("%w: %s was to begin a new epoch after offset %d (epoch %d), and the table is elsewhere by now", pipeline.ErrFenced, b.Key, b.From.Next, b.From.Epoch)
	}
	return c.first(ctx, b.Key, to, 1, id)
}
