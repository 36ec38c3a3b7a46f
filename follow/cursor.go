// Package follow reads the rows of a pipeline that were committed after a cursor: what leaves the lake again (routes, windows,
// current-state tables) follows it with a cursor of Kafka offsets, not of snapshots. Rows are read from the tables as they
// are now, by _kafka_offset, which compaction keeps and expiry cannot take away.
package follow

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/table"
)

// ErrReplaced means that the primary table is another one than the cursor is about; its offsets say nothing of it.
var ErrReplaced = errors.New("the table was dropped and created again")

// Position is how far a partition was followed.
type Position struct {
	// TopicID names the topic: one that was created again begins anew.
	TopicID string `json:"topic_id"`
	// Epoch is that of the offsets which were read last, and Next the first of them that was not.
	Epoch int32 `json:"epoch"`
	Next  int64 `json:"next"`
	// Seen is the offset below which rows of later epochs are no news: a rewind or backfill loads them a second time.
	Seen int64 `json:"seen,omitempty"`
}

// Cursor is how far the partitions of a pipeline were followed. A partition that it does not have is read from its beginning.
type Cursor struct {
	UUID       string // of the primary table; empty: of whichever is met first
	Partitions map[table.Key]Position
}

// Clone returns a copy that shares nothing with c.
func (c Cursor) Clone() Cursor {
	c.Partitions = maps.Clone(c.Partitions)
	if c.Partitions == nil {
		c.Partitions = map[table.Key]Position{}
	}
	return c
}

// Equal reports whether two cursors are at the same place.
func (c Cursor) Equal(o Cursor) bool {
	return c.UUID == o.UUID && maps.Equal(c.Partitions, o.Partitions)
}

// Keys are the partitions in order.
func (c Cursor) Keys() []table.Key {
	return slices.SortedFunc(maps.Keys(c.Partitions), compareKeys)
}

func compareKeys(a, b table.Key) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

type cursorPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Position
}

type cursorText struct {
	UUID       string            `json:"table_uuid"`
	Partitions []cursorPartition `json:"partitions"`
}

// MarshalJSON implements json.Marshaler.
func (c Cursor) MarshalJSON() ([]byte, error) {
	t := cursorText{UUID: c.UUID, Partitions: []cursorPartition{}}
	for _, k := range c.Keys() {
		t.Partitions = append(t.Partitions, cursorPartition{k.Topic, k.Partition, c.Partitions[k]})
	}
	return json.Marshal(t)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Cursor) UnmarshalJSON(text []byte) error {
	var t cursorText
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	*c = Cursor{UUID: t.UUID, Partitions: map[table.Key]Position{}}
	for _, p := range t.Partitions {
		k := table.Key{Topic: p.Topic, Partition: p.Partition}
		if _, twice := c.Partitions[k]; twice || p.Next < 0 || p.Epoch < 0 || p.Seen < 0 {
			return fmt.Errorf("the cursor's position of %s is there twice, or negative", k)
		}
		c.Partitions[k] = p.Position
	}
	return nil
}

// Partway is the position of a partition when rows up to one of an epoch were dealt with, on the way from c to another cursor that Read
// has made. ok: it can be told, and is no step back.
func (c Cursor) Partway(to Cursor, k table.Key, epoch int32, offset int64) (p Position, ok bool) {
	at, known := c.Partitions[k]
	end := to.Partitions[k]
	switch {
	case epoch == end.Epoch:
		seen := offset + 1
		if known && at.TopicID == end.TopicID {
			seen = max(seen, at.Seen)
		}
		p = Position{TopicID: end.TopicID, Epoch: epoch, Next: offset + 1, Seen: seen}
	case known && epoch == at.Epoch:
		p = Position{TopicID: at.TopicID, Epoch: epoch, Next: offset + 1, Seen: at.Seen}
	default:
		return at, false
	}
	return p, !known || p.Epoch > at.Epoch || p.Next > at.Next
}

// Ends is the cursor behind all that a ledger has.
func Ends(uuid string, l *table.Ledger) Cursor {
	c := Cursor{UUID: uuid, Partitions: map[table.Key]Position{}}
	if l == nil {
		return c
	}
	for k, r := range l.Records {
		c.Partitions[k] = Position{TopicID: r.TopicID, Epoch: r.Epoch, Next: r.Next, Seen: r.Next}
	}
	return c
}

// Lag is the number of offsets that a ledger has behind a cursor. Not all of them are rows.
func Lag(c Cursor, l *table.Ledger) (n int64) {
	if l == nil {
		return 0
	}
	for _, w := range plan(c, l, false) {
		for _, s := range w.spans {
			n += s.next - s.first
		}
	}
	return n
}

// span is offsets [first, next) of an epoch to be read.
type span struct {
	epoch       int32
	topicID     string
	first, next int64
	// past: the epoch has ended. What is read of it does not keep the same offsets of the next one from being read: a rewind that
	// ended it may have taken its rows away.
	past bool
}

// work is what there is to read of a partition.
type work struct {
	key   table.Key
	at    Position // before
	spans []span   // ascending by epoch; none is empty
	end   Position // after all of them
}

// plan says what a ledger has behind a cursor, by partition. again: offsets that later epochs load a second time are read a
// second time.
func plan(c Cursor, l *table.Ledger, again bool) []work {
	epochs := map[table.Key][]table.PastEpoch{}
	for _, p := range l.Past {
		epochs[p.Key] = append(epochs[p.Key], p)
	}
	var all []work
	for _, k := range slices.SortedFunc(maps.Keys(l.Records), compareKeys) {
		now := l.Records[k]
		past := epochs[k]
		slices.SortFunc(past, func(a, b table.PastEpoch) int { return cmp.Compare(a.Epoch, b.Epoch) })
		w := work{key: k}
		at, known := c.Partitions[k]
		w.at = at
		for _, e := range append(past, table.PastEpoch{Key: k, Record: now}) {
			if known && e.Epoch < at.Epoch {
				continue
			}
			first := e.First
			switch {
			case known && e.Epoch == at.Epoch:
				first = at.Next
			case known && e.TopicID != at.TopicID: // offsets of another topic say nothing of these
				at.Seen = 0
			}
			if !again {
				first = max(first, at.Seen)
			}
			s := span{epoch: e.Epoch, topicID: e.TopicID, first: first, next: e.Next, past: e.Epoch != now.Epoch}
			at = s.until(at, max(first, e.Next))
			if s.first < s.next {
				w.spans = append(w.spans, s)
			}
			known = true
		}
		if w.end = at; known && (len(w.spans) > 0 || w.end != w.at) {
			all = append(all, w)
		}
	}
	return all
}

// until is the position after the offsets of s below next were read.
func (s span) until(at Position, next int64) Position {
	p := Position{TopicID: s.topicID, Epoch: s.epoch, Next: next, Seen: at.Seen}
	if at.TopicID != s.topicID {
		p.Seen = 0
	}
	if !s.past {
		p.Seen = max(p.Seen, next)
	}
	return p
}

// limit cuts what is read of a partition down to n offsets.
func (w *work) limit(n int64) {
	at := w.at
	for i, s := range w.spans {
		if size := s.next - s.first; size >= n {
			if n < size || i+1 < len(w.spans) {
				w.end = s.until(at, s.first+n)
			}
			w.spans = w.spans[:i+1]
			w.spans[i].next = s.first + n
			return
		}
		n -= s.next - s.first
		at = s.until(at, s.next)
	}
}

// stop cuts what is read of a partition so that nothing of an epoch from an offset on is, nor of later ones.
func (w *work) stop(epoch int32, from int64) {
	at := w.at
	for i, s := range w.spans {
		switch {
		case s.epoch < epoch, s.epoch == epoch && s.next <= from:
			at = s.until(at, s.next)
			continue
		case s.epoch == epoch && s.first < from:
			w.spans[i].next = from
			w.spans, w.end = w.spans[:i+1], s.until(at, from)
			return
		}
		w.spans, w.end = w.spans[:i], at
		return
	}
}
