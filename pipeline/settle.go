package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/table"
)

// Settle finishes pending rounds of owned partitions and takes finished ones out of pending: what a loader does when
// it is given partitions, when idle, and before it stops. It returns the ledger as it is then.
func (c *Committer) Settle(ctx context.Context, owned map[table.Key]bool) (*table.Ledger, error) {
	point.Hit(point.Settle)
	l, err := c.Load(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Finish(ctx, l, owned); err != nil {
		return nil, err
	}
	primary, err := c.open(ctx, c.Primary)
	if err != nil {
		return nil, err
	}
	err = table.Commit(ctx, primary, c.Wait, func(base *table.Base) (ch table.Change, done bool, err error) {
		if l, err = c.present(ctx, base); err != nil {
			return ch, false, err
		}
		left := slices.DeleteFunc(slices.Clone(l.Pending), func(p table.Pending) bool { return c.done[p.ID] })
		if len(left) == len(l.Pending) {
			return ch, true, nil
		}
		l.Pending = left
		point.Hit(point.BeforeLeavePending)
		set, unset := l.Properties(c.Pipeline, base.Props)
		return table.Change{Unset: unset, Props: func(int64) map[string]string { return set }}, false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("taking finished rounds out of pending in %s: %w", c.Primary, err)
	}
	return l, nil
}

// Start commits the first records of partitions before anything was read: for a start at latest or at a time, which
// must be resolved only once. Partitions that the table knows already keep their record; the ledger says what holds.
func (c *Committer) Start(ctx context.Context, id string, first map[table.Key]table.Record) (*table.Ledger, error) {
	primary, err := c.open(ctx, c.Primary)
	if err != nil {
		return nil, err
	}
	var l *table.Ledger
	err = table.Commit(ctx, primary, c.Wait, func(base *table.Base) (ch table.Change, done bool, err error) {
		if l, err = c.present(ctx, base); err != nil {
			return ch, false, err
		}
		if l.Number > 0 {
			return ch, true, nil
		}
		for k, r := range first {
			l.Records[k] = r
		}
		l.Number, l.CommitID = 1, id
		return c.move(base, l), false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("committing the first offsets to %s: %w", c.Primary, err)
	}
	return l, nil
}

// Edit commits a round that changes what was decided before it, or begins new epochs, and finishes it together with all
// that is pending before it. ErrFenced: the table moved on since the round was planned: plan it again.
func (c *Committer) Edit(ctx context.Context, r *Round) (*table.Ledger, error) {
	all := map[table.Key]bool{}
	for _, e := range r.Edits {
		all[e.Key] = true
	}
	if len(r.Edits) == 0 {
		r.Seen = -1
	}
	if r.OldestMS == 0 {
		r.OldestMS = c.Now().UnixMilli()
	}
	if err := c.everyTable(ctx, r); err != nil {
		return nil, err
	}
	return c.Commit(ctx, r, all)
}

// everyTable has a round with edits name every table that rows were routed to: rows of the edited offsets may be there.
func (c *Committer) everyTable(ctx context.Context, r *Round) error {
	if len(r.Edits) == 0 {
		return nil
	}
	primary, err := c.open(ctx, c.Primary)
	if err != nil {
		return err
	}
	err = table.Commit(ctx, primary, c.Wait, func(base *table.Base) (ch table.Change, done bool, err error) {
		l, err := c.present(ctx, base)
		if err != nil {
			return ch, false, err
		}
		for _, t := range l.Tables {
			if !r.names(t.Ident) {
				r.Tables = append(r.Tables, RoundFile{Table: t.Ident, Routed: true, Value: t.Value})
			}
		}
		return ch, true, nil
	})
	if err != nil {
		return fmt.Errorf("reading from %s which tables rows were routed to: %w", c.Primary, err)
	}
	return nil
}

// applyEdits makes the changes of r to the ledger of its own number.
func applyEdits(l *table.Ledger, r *Round) error {
	for i := range r.Edits {
		e := &r.Edits[i]
		rec := epochOf(l, e.Key, e.Epoch)
		if rec == nil || rec.TopicID != e.TopicID {
			return fmt.Errorf("%w: the table has no epoch %d of %s with topic id %s", ErrFenced, e.Epoch, e.Key, e.TopicID)
		}
		if changed := e.Changed(); !changed.IsEmpty() && (int64(changed.Minimum()) < e.First || int64(changed.Maximum()) >= rec.Next) {
			return fmt.Errorf("%w: offsets %d to %d of %s are to be changed, but the table has %d to %d in epoch %d", ErrFenced, changed.Minimum(), changed.Maximum(), e.Key, rec.First, rec.Next-1, e.Epoch)
		}
		rec.First = e.First
		rec.Counts = rec.Counts.Plus(e.counts()).Minus(e.Was)
		if rec.Sum() != rec.Next-rec.First {
			return fmt.Errorf("round %s, %s epoch %d: %d offsets would be accounted for in the range %d to %d: this is a defect of lakeloader, nothing was committed", r.ID, e.Key, e.Epoch, rec.Sum(), rec.First, rec.Next)
		}
		setEpoch(l, e.Key, *rec)
		l.Edit = l.Number
	}
	for _, b := range r.Begins {
		now := l.Records[b.Key]
		if !now.Same(b.From) {
			return fmt.Errorf("%w: %s was to begin a new epoch after offset %d (epoch %d), but the table is at %d (epoch %d)", ErrFenced, b.Key, b.From.Next, b.From.Epoch, now.Next, now.Epoch)
		}
		l.Past = append(l.Past, table.PastEpoch{Key: b.Key, Record: now})
		to := b.To
		to.Epoch = now.Epoch + 1
		l.Records[b.Key] = to
	}
	return nil
}

// epochOf gives a copy of the record of an epoch; nil: there is none.
func epochOf(l *table.Ledger, k table.Key, epoch int32) *table.Record {
	if r, ok := l.Records[k]; ok && r.Epoch == epoch {
		return &r
	}
	for _, p := range l.Past {
		if p.Key == k && p.Epoch == epoch {
			return &p.Record
		}
	}
	return nil
}

func setEpoch(l *table.Ledger, k table.Key, r table.Record) {
	if l.Records[k].Epoch == r.Epoch {
		l.Records[k] = r
		return
	}
	for i, p := range l.Past {
		if p.Key == k && p.Epoch == r.Epoch {
			l.Past[i].Record = r
		}
	}
}
