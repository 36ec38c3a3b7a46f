package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// commitLimit bounds a commit with its retries, well below Kafka's max.poll.interval. Beyond it the loader gives up, and
// a new one starts from what the table says.
const commitLimit = 2 * time.Minute

// commit ends the open round: files durable, then the protocol.
func (l *Loader) commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitLimit)
	defer cancel()
	start := l.now()
	point.Hit(point.BeforeFiles)
	r, err := l.round(ctx)
	if err != nil || r == nil {
		return err
	}
	point.Hit(point.AfterFiles)
	ledger, err := l.committer.Commit(ctx, r, l.tracks.owned())
	if ledger != nil {
		l.ledger = ledger
		l.reseek = l.reseek || l.tracks.elsewhere(ledger)
		l.begin(ledger)
		l.stages.committed()
		l.advise(r)
		point.Hit(point.Committed)
		l.reportCommit(r, ledger.Number, l.now().Sub(start))
		l.log.Info("committed", "round", ledger.Number, "id", r.ID, "rows", rowsOf(r), "files", filesOf(r),
			"partitions", len(r.Moves), "seconds", l.now().Sub(start).Round(time.Millisecond).Seconds())
	}
	switch {
	case err == nil:
		l.progressed = true
		return nil
	case errors.Is(err, ErrFenced):
		point.Hit(point.Dropped)
		l.log.Warn("the round is dropped and its offsets are read again", "id", r.ID, "reason", err)
		l.rec.Dropped(true)
		l.reseek = true
		return nil
	}
	return err
}

// round finishes the files and closes the books of the open round; nil: there is nothing to commit.
func (l *Loader) round(ctx context.Context) (*Round, error) {
	tables, err := l.stages.finish(ctx)
	if err != nil {
		return nil, err
	}
	r := &Round{ID: uuid.Must(uuid.NewV7()).String(), Pipeline: l.cfg.Name, Version: Version, Seen: -1, Tables: tables}
	if l.stages.remembers() {
		r.Seen = l.seen
	}
	for _, k := range slices.SortedFunc(maps.Keys(l.tracks.m), func(a, b table.Key) int {
		return cmpKey(a, b)
	}) {
		if t := l.tracks.m[k]; t.stopped == nil && t.next > t.from.Next {
			t.leader = l.consumer.LeaderEpoch(source.Partition(k), t.next)
			r.Moves = append(r.Moves, t.move())
		}
	}
	if len(r.Moves) == 0 {
		return nil, nil
	}
	r.OldestMS = l.now().UnixMilli() // the round's object may be taken for an orphan too
	for _, t := range tables {
		for _, f := range t.Files {
			r.OldestMS = min(r.OldestMS, f.CreatedMS)
		}
	}
	return r, l.sameTopics(ctx, r)
}

// sameTopics asks for the topics' ids after the last fetch: ids never return, so an id equal to the one that the
// offsets belong to means that every row is of that topic.
func (l *Loader) sameTopics(ctx context.Context, r *Round) error {
	names := map[string]bool{}
	for _, m := range r.Moves {
		names[m.Key.Topic] = true
	}
	ids, err := l.topics.TopicIDs(ctx, slices.Sorted(maps.Keys(names)))
	if err != nil {
		return fmt.Errorf("asking Kafka for topic ids before the commit: %w", err)
	}
	for _, m := range r.Moves {
		if ids[m.Key.Topic] != m.From.TopicID {
			return fmt.Errorf("topic %s was deleted and created again while it was being read (its id was %s and is now %q): the round is dropped", m.Key.Topic, m.From.TopicID, ids[m.Key.Topic])
		}
	}
	return nil
}

// begin opens the next round at what the table says.
func (l *Loader) begin(ledger *table.Ledger) {
	l.tracks.begin(ledger)
	l.stages.begin(ledger)
	l.began, l.moved, l.looked = time.Time{}, time.Time{}, l.now()
	l.waiting.Store(0)
}

// drop gives the open round up. What was fetched is fetched again from where the table is.
func (l *Loader) drop() {
	point.Hit(point.Dropped)
	l.stages.abort()
	l.reseek = true
	l.rec.Dropped(false)
}

// reload reads the table after a dropped round and seeks every partition to what it says.
func (l *Loader) reload(ctx context.Context) error {
	point.Hit(point.Reload)
	l.stages.abort()
	ledger, err := l.committer.Settle(ctx, l.tracks.owned())
	if err != nil {
		return err
	}
	if k, freed := l.tracks.freed(ledger); freed {
		return fmt.Errorf("%w: the topic of %s is stopped, but its offsets were moved to %d since", errClient, k, ledger.Records[k].Next)
	}
	l.ledger = ledger
	l.begin(ledger)
	to := map[source.Partition]int64{}
	for k, t := range l.tracks.m {
		to[source.Partition(k)] = t.from.Next
	}
	if err := l.consumer.Seek(to); err != nil {
		return fmt.Errorf("seeking to the offsets of the table: %w", err)
	}
	if err := l.stages.seed(ctx, l.tracks.owned(), ledger); err != nil {
		return err
	}
	l.seen = ledger.Edit
	l.reseek = false
	return nil
}

// advise tells Kafka's group where the table is.
func (l *Loader) advise(r *Round) {
	to := map[source.Partition]int64{}
	for _, m := range r.Moves {
		to[source.Partition(m.Key)] = m.To.Next
	}
	l.consumer.CommitOffsets(to)
}

// drain ends the last round, and finishes what is pending.
func (l *Loader) drain(ctx context.Context) error {
	if records, _ := l.tracks.records(); records > 0 && !l.reseek {
		if err := l.commit(ctx); err != nil {
			return fmt.Errorf("committing the last round before stopping: %w", err)
		}
	}
	if len(l.tracks.m) > 0 && l.ledger != nil && len(l.ledger.Pending) > 0 {
		if _, err := l.committer.Settle(ctx, l.tracks.owned()); err != nil {
			return err
		}
	}
	return nil
}

func rowsOf(r *Round) (n int64) {
	for _, m := range r.Moves {
		n += m.To.Rows - m.From.Rows
	}
	return n
}

func filesOf(r *Round) (n int) {
	for _, t := range r.Tables {
		n += len(t.Files)
	}
	return n
}
