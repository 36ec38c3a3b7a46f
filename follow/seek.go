package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// Begins is the cursor before all that a ledger has.
func Begins(uuid string, l *table.Ledger) Cursor {
	c := Cursor{UUID: uuid, Partitions: map[table.Key]Position{}}
	if l == nil {
		return c
	}
	for k, r := range l.Records {
		c.Partitions[k] = Position{TopicID: r.TopicID, Epoch: r.Epoch, Next: r.First, Seen: r.First}
	}
	for _, p := range l.Past {
		if at, known := c.Partitions[p.Key]; !known || p.Epoch < at.Epoch {
			c.Partitions[p.Key] = Position{TopicID: p.TopicID, Epoch: p.Epoch, Next: p.First, Seen: p.First}
		}
	}
	return c
}

// Lags are the numbers of offsets that a ledger has behind a cursor, by partition; one without any is not there.
func Lags(c Cursor, l *table.Ledger) map[table.Key]int64 {
	out := map[table.Key]int64{}
	if l == nil {
		return out
	}
	for _, w := range plan(c, l, false) {
		for _, s := range w.spans {
			out[w.key] += s.next - s.first
		}
	}
	return out
}

// Begin is the cursor before all that is committed.
func (s *State) Begin() Cursor {
	if s.base == nil {
		return Cursor{Partitions: map[table.Key]Position{}}
	}
	return Begins(s.base.UUID, s.Ledger)
}

// topicID is that of the topic which an epoch of a partition is of.
func (s *State) topicID(k table.Key, epoch int32) string {
	if r := s.Ledger.Records[k]; r.Epoch == epoch {
		return r.TopicID
	}
	for _, p := range s.Ledger.Past {
		if p.Key == k && p.Epoch == epoch {
			return p.TopicID
		}
	}
	return ""
}

// position is before an offset of an epoch.
func (s *State) position(k table.Key, epoch int32, offset int64) Position {
	return Position{TopicID: s.topicID(k, epoch), Epoch: epoch, Next: offset, Seen: offset}
}

// Since is the cursor before the first row of each partition whose record is not older than t, by Kafka's timestamps. Where there is none it is behind
// all that is committed. The keys of all rows are read for it.
func (r *Reader) Since(ctx context.Context, s *State, t time.Time) (Cursor, error) {
	c := s.End()
	least := t.UnixMicro()
	whole := *r
	whole.Limit = 0
	_, err := whole.ReadTo(ctx, s, s.Begin(), []string{pipeline.ColumnTimestamp}, func(b *batch.Batch) error {
		at := b.Root.Type.Index(pipeline.ColumnTimestamp)
		if at < 0 {
			return fmt.Errorf("it has no column %s", pipeline.ColumnTimestamp)
		}
		stamps, keys := b.Root.Children[at], KeysOf(b)
		for i := range b.Rows {
			if b.Fate[i] != batch.Keep || stamps.IsNull(i) || stamps.Int64[i] < least {
				continue
			}
			k, epoch, offset := keys.Key(i), keys.Epoch(i), keys.Offset(i)
			if p := c.Partitions[k]; epoch < p.Epoch || epoch == p.Epoch && offset < p.Next {
				c.Partitions[k] = s.position(k, epoch, offset)
			}
		}
		return nil
	})
	return c, err
}

// ErrNoSnapshot means that a table has no such snapshot (any more).
var ErrNoSnapshot = errors.New("the table has no such snapshot")

// Behind is the cursor behind the last row of each partition that the primary table had in a snapshot. The keys of its rows are read for it.
func (r *Reader) Behind(ctx context.Context, s *State, snapshot int64) (Cursor, error) {
	if s.base == nil || s.Ledger == nil || s.base.Has == nil || !s.base.Has(snapshot) {
		return Cursor{}, fmt.Errorf("%w: %s has no snapshot %d: it has expired, or never was there", ErrNoSnapshot, r.Primary, snapshot)
	}
	if len(s.Ledger.Tables) > 0 {
		return Cursor{}, fmt.Errorf("rows of pipeline %s are in several tables, whose snapshots are not of one moment: name a time", r.Pipeline)
	}
	c := s.Begin()
	base := *s.base
	base.Snapshot = snapshot
	// Rows of a partition's later offsets than the ledger's cannot be in it, and those of earlier ones than its first neither.
	w := wanted(plan(c, s.Ledger, true))
	err := r.table(ctx, source{id: r.Primary, base: &base}, w, []string{}, func(b *batch.Batch) error {
		keys := KeysOf(b)
		for i := range b.Rows {
			if b.Fate[i] != batch.Keep {
				continue
			}
			k, epoch, next := keys.Key(i), keys.Epoch(i), keys.Offset(i)+1
			if p := c.Partitions[k]; epoch > p.Epoch || epoch == p.Epoch && next > p.Next {
				c.Partitions[k] = s.position(k, epoch, next)
			}
		}
		return nil
	})
	if err != nil {
		return Cursor{}, fmt.Errorf("table %s, snapshot %d: %w", r.Primary, snapshot, err)
	}
	return c, nil
}
