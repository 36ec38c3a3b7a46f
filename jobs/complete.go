package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// Completable are tables of which it can be said what is complete. A table.Catalog is.
type Completable interface {
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	Info(ctx context.Context, id table.Ident) (table.Info, error)
	Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error)
	Changed(ctx context.Context, id table.Ident, since, until int64) (*table.Changes, error)
}

// Completer says of the tables of one pipeline which time partitions are complete. The order is what makes it right: the clock
// is read, then Kafka is asked where its partitions end, then the ledger is read, then, for a table that rows are routed to,
// whether all of the ledger's rounds are in it, and then the table. What is said of it is swapped against that very state.
type Completer struct {
	Tables   Completable
	Pipeline string
	Primary  table.Ident
	// Ends asks Kafka what it has of the pipeline's topics.
	Ends func(ctx context.Context) ([]End, error)
	// Committed says whether a round of the primary table of that uuid is in all of its tables.
	Committed func(ctx context.Context, uuid string, number int64) (bool, error)
	// Receiver names who else is told, and Tell tells them: at least once, and only what the table says already. Empty: nobody.
	Receiver string
	Tell     func(ctx context.Context, info table.Info, notices []Notice) error
	// Dropped is told which partitions retention has taken rows from.
	Dropped func(ctx context.Context, info table.Info, partitions []string) error
	// Lateness, Quiet as in the configuration. Retention is how long rows are kept; 0: for ever.
	Lateness, Quiet, Retention time.Duration
	// Refresh is the age at which a table that was changed since says anew what has been looked at: snapshots expire.
	Refresh time.Duration
	Now     func() time.Time
	Wait    table.Wait
	Seen    *Seen
}

// Completion is what a run found out.
type Completion struct {
	Table    table.Ident
	State    *Complete // nil: nothing is known yet
	Held     string    // what keeps it from being further; empty: only the clock
	Changed  bool
	Notices  []Notice
	WentBack bool // Through did: offsets began anew
}

// Plan says what a run would publish now.
func (c *Completer) Plan(ctx context.Context, id table.Ident) (*Completion, error) {
	return c.do(ctx, id, true)
}

// Run publishes what is complete, if that has changed, and then tells the receivers what they do not know yet.
func (c *Completer) Run(ctx context.Context, id table.Ident) (*Completion, error) {
	return c.do(ctx, id, false)
}

func (c *Completer) do(ctx context.Context, id table.Ident, dry bool) (*Completion, error) {
	info, err := c.Tables.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	at, unit := info.TimeField()
	if at < 0 {
		return nil, fmt.Errorf("table %s has no time partitions: leave table.complete of pipeline %s out", id, c.Pipeline)
	}
	if err := c.sameTime(ctx, info, at); err != nil {
		return nil, err
	}
	n := news{now: c.Now(), asked: c.Now(), unit: unit, field: info.PartitionBy[at].Name, quiet: int64(c.Quiet / time.Second), receiver: c.Receiver}
	p, err := c.progress(ctx, id, n.asked)
	if err != nil {
		return nil, err
	}
	n.through, n.known, n.epochs = p.at.Add(-c.Lateness), p.known, p.epochs
	if c.Retention > 0 {
		n.retired = unit.Of(n.now.Add(-c.Retention))
	} else {
		n.retired = -1 << 40
	}
	done := &Completion{Table: id, Held: p.held}
	s, err := c.Tables.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := c.publish(ctx, s, info, at, n, done, dry); err != nil {
		return nil, fmt.Errorf("saying in table %s what is complete: %w", id, err)
	}
	if done.State == nil || c.Receiver == "" {
		return done, nil
	}
	return done, c.tell(ctx, s, info, at, done, dry)
}

// sameTime makes sure that a table that rows are routed to has its partitions from the column whose times the ledger keeps.
func (c *Completer) sameTime(ctx context.Context, info table.Info, at int) error {
	if info.Ident == c.Primary {
		return nil
	}
	primary, err := c.Tables.Info(ctx, c.Primary)
	if err != nil {
		return err
	}
	p, _ := primary.TimeField()
	if p < 0 || primary.PartitionBy[p].Source != info.PartitionBy[at].Source {
		return fmt.Errorf("table %s is partitioned by the time in %s, and table %s of pipeline %s is not: it cannot be said what is complete in it",
			info.Ident, info.PartitionBy[at].Source, c.Primary, c.Pipeline)
	}
	return nil
}

// progress is how far the rows are in a table of the pipeline.
func (c *Completer) progress(ctx context.Context, id table.Ident, asked time.Time) (progress, error) {
	ends, err := c.Ends(ctx)
	if err != nil {
		return progress{}, fmt.Errorf("asking Kafka where the topics of pipeline %s end: %w", c.Pipeline, err)
	}
	s, err := c.Tables.Open(ctx, c.Primary)
	if err != nil {
		return progress{}, err
	}
	base, err := s.Load(ctx)
	if err != nil {
		return progress{}, fmt.Errorf("reading table %s: %w", c.Primary, err)
	}
	l, err := table.ParseLedger(c.Pipeline, base.Props)
	switch {
	case err != nil:
		return progress{}, fmt.Errorf("table %s: %w", c.Primary, err)
	case l == nil:
		return progress{held: "nothing is loaded yet"}, nil
	}
	if err := c.truncated(ctx, ends, l); err != nil {
		return progress{}, err
	}
	p := watermark(ends, l, asked)
	if id == c.Primary {
		return p, nil
	}
	for _, r := range l.Pending {
		in, err := c.Committed(ctx, base.UUID, r.Number)
		if err != nil {
			return progress{}, fmt.Errorf("asking whether round %d of table %s is in all tables: %w", r.Number, c.Primary, err)
		}
		if !in {
			p.known, p.held = false, fmt.Sprintf("round %d is not in all tables yet", r.Number)
		}
	}
	return p, nil
}

// truncated finds partitions that end before what is loaded of them. Most that seem to have gone on since Kafka was asked, so
// it is asked once more, behind the ledger.
func (c *Completer) truncated(ctx context.Context, ends []End, l *table.Ledger) error {
	beyond := func(e End) bool {
		r, ok := l.Records[e.Key]
		return ok && r.TopicID == e.TopicID && r.Next > e.High
	}
	if !slices.ContainsFunc(ends, beyond) {
		return nil
	}
	again, err := c.Ends(ctx)
	if err != nil {
		return fmt.Errorf("asking Kafka again where the topics of pipeline %s end: %w", c.Pipeline, err)
	}
	for _, x := range again {
		for i := range ends {
			ends[i].Truncated = ends[i].Truncated || ends[i].Key == x.Key && beyond(x)
		}
	}
	return nil
}

// publish swaps the property, unless it would say the same.
func (c *Completer) publish(ctx context.Context, s table.Store, info table.Info, at int, n news, done *Completion, dry bool) error {
	var gone []string
	return table.Commit(ctx, s, c.Wait, func(base *table.Base) (ch table.Change, ended bool, err error) {
		if base.UUID != info.UUID {
			return ch, false, errors.New("it was dropped and created again meanwhile")
		}
		if err := notRolledBack(base); err != nil {
			return ch, false, err
		}
		was, err := ParseComplete(c.Pipeline, base.Props)
		if err != nil {
			return ch, false, err
		}
		m := n
		if was != nil {
			if gone, err = c.look(ctx, info, at, was, base, &m); err != nil {
				return ch, false, err
			}
		}
		next, changed := was.advance(m)
		done.State, done.Changed = next, done.Changed || changed
		if was != nil && next != nil {
			done.WentBack = done.WentBack || next.Through.Before(was.Through)
		}
		old := next != nil && was != nil && base.Snapshot != was.Snapshot && n.now.Sub(was.At) >= c.Refresh
		if !changed && !old {
			done.State = was
		}
		if dry {
			return ch, true, nil
		}
		if len(gone) > 0 {
			if err := c.Dropped(ctx, info, gone); err != nil {
				return ch, false, err
			}
		}
		return c.change(next), !changed && !old, nil
	})
}

// change is the swap that says c. Its snapshot makes loaders and other jobs that meet it look again, in any catalog.
func (c *Completer) change(next *Complete) table.Change {
	return table.Change{Snapshot: true, Summary: map[string]string{table.SummaryJob: "complete"},
		Props: func(snapshot int64) map[string]string {
			next.Snapshot = snapshot
			return next.property(c.Pipeline)
		}}
}

// look finds what has changed since a state, and which partitions retention has taken rows from.
func (c *Completer) look(ctx context.Context, info table.Info, at int, was *Complete, base *table.Base, n *news) (gone []string, err error) {
	seen, err := c.Seen.changes(ctx, c.Tables, info, at, was.Snapshot, base)
	if err != nil {
		return nil, err
	}
	n.lost = seen.lost
	for p, when := range seen.at {
		n.changes = append(n.changes, change{p, when})
		if p < n.retired && seen.removed[p] && c.Dropped != nil {
			gone = append(gone, n.unit.Label(p))
		}
	}
	slices.Sort(gone)
	if !n.lost {
		return gone, nil
	}
	rows, err := c.rows(ctx, info, at, base.Snapshot)
	if n.oldest = was.through(); len(rows) > 0 {
		n.oldest = max(rows[0], n.retired)
	}
	return gone, err
}

// rows are the time partitions that have files in a snapshot, ascending.
func (c *Completer) rows(ctx context.Context, info table.Info, at int, snapshot int64) ([]int, error) {
	files, _, err := c.Tables.Files(ctx, info.Ident, snapshot)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, f := range files {
		if f.SpecID != info.SpecID || at >= len(f.Partition) {
			continue // of an earlier spec: it is in no folder of this one
		}
		if n, ok := table.TimeValue(f.Partition[at]); ok {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// tell tells the receivers what they do not know yet, and notes in the table that they do.
func (c *Completer) tell(ctx context.Context, s table.Store, info table.Info, at int, done *Completion, dry bool) error {
	now := done.State
	var err error
	done.Notices, err = now.notices(c.Receiver, func() ([]int, error) { return c.rows(ctx, info, at, 0) })
	if err != nil || dry || now.Told != nil && now.Told.To == c.Receiver && now.Told.Revision == now.Revision {
		return err
	}
	if err := c.Tell(ctx, info, done.Notices); err != nil {
		return fmt.Errorf("telling %s what is complete in table %s; it is tried again: %w", c.Receiver, info.Ident, err)
	}
	told := now.told(c.Receiver)
	err = table.Commit(ctx, s, c.Wait, func(base *table.Base) (ch table.Change, ended bool, err error) {
		was, err := ParseComplete(c.Pipeline, base.Props)
		if err != nil || was == nil || base.UUID != info.UUID {
			return ch, true, err // it is found out anew, and everything is told again
		}
		if t := was.Told; t != nil && t.To == told.To && t.Revision >= told.Revision {
			return ch, true, nil
		}
		next := *was
		next.Told = told
		done.State = &next
		return table.Change{Snapshot: true, Summary: map[string]string{table.SummaryJob: "complete"},
			Props: func(int64) map[string]string { return next.property(c.Pipeline) }}, false, nil
	})
	if err != nil {
		return fmt.Errorf("noting in table %s that %s was told; it is told again: %w", info.Ident, c.Receiver, err)
	}
	return nil
}
