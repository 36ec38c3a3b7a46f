package current

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/table"
)

// window is some changes behind the cursor, and the last one of each key.
type window struct {
	*batch.Batch // rows are copies, of the source's row type
	to           follow.Cursor
	winners      map[string]*change
	keys         int64  // what winners take, bytes
	truncated    string // the greatest position of a truncate
	changes      int64
	// keyless changes have no key; the first of them is named.
	keyless int64
	first   string
}

// change is a change of a row.
type change struct {
	place
	op  byte
	row int   // in the window
	at  int64 // Kafka's timestamp, Unix milliseconds
}

// winnerBytes is what a key takes beside its bytes and its position, about: the change, and the place in the map.
const winnerBytes = 160

// errWindow: fewer offsets at once are needed.
var errWindow = errors.New("the window is full")

func (c *change) isDelete() bool { return c.op == changes.Delete }

// size is what the window takes, bytes, about.
func (w *window) size() int64 {
	const row = 9 // beside its columns
	return int64(cap(w.Mem)) + w.Root.Bytes() + row*int64(w.Rows) + w.keys
}

// release lets go of rows and keys that were written.
func (w *window) release() { w.Batch, w.winners = nil, nil }

// read brings changes behind the cursor into memory: fewer where they are large.
func (a *Applier) read(ctx context.Context, from follow.Cursor, row *batch.Type) (*window, error) {
	limit := a.limit()
	if a.fits > 0 {
		limit = min(limit, a.fits)
	}
	for {
		w := &window{Batch: batch.New(&batch.Records{}, row), winners: map[string]*change{}}
		r := a.reader()
		r.Limit, r.Blocks = limit, a.share().part()
		most := a.share().window()
		if limit == 1 {
			most = math.MaxInt64 // one change is applied in any case
		}
		var err error
		w.to, err = r.Read(ctx, from, nil, func(b *batch.Batch) error { return w.add(b, a.Key, most) })
		if errors.Is(err, errWindow) {
			limit = max(1, min(limit/2, w.changes*7/8)) // rows are fewer than offsets, if anything
			continue
		}
		if limit < a.limit() {
			a.fits = limit + limit/8 + 1 // those that follow may be smaller
		}
		return w, err
	}
}

// checkRows is after how many rows a window's size is looked at.
const checkRows = 64

// sources are the columns of a batch of changes.
type sources struct {
	op, position, times *batch.Column
	row                 []*batch.Column // by column of the window; nil: there is none
}

func (w *window) sources(b *batch.Batch, key []string) (s sources, err error) {
	for _, c := range []struct {
		name string
		to   **batch.Column
	}{{changes.ColumnOp, &s.op}, {changes.ColumnPosition, &s.position}, {"_kafka_timestamp", &s.times}} {
		at := b.Root.Type.Index(c.name)
		if at < 0 {
			return s, noColumn(c.name)
		}
		*c.to = b.Root.Children[at]
	}
	for _, name := range key {
		if b.Root.Type.Index(name) < 0 {
			return s, noColumn(name)
		}
	}
	s.row = make([]*batch.Column, len(w.Root.Children))
	for i, f := range w.Root.Type.Fields {
		if at := b.Root.Type.Index(f.Name); at >= 0 && b.Root.Type.Fields[at].Type.Equal(f.Type) {
			s.row[i] = b.Root.Children[at]
		} else if at >= 0 {
			return s, fmt.Errorf("column %s is %s in one table and %s in another", f.Name, b.Root.Type.Fields[at].Type, f.Type)
		}
	}
	return s, nil
}

func noColumn(name string) error {
	return fmt.Errorf("the table has no column %s: were its changes loaded with decode.changes from the beginning?", name)
}

// add copies the rows that are asked for. It fails where the window takes more than most then.
func (w *window) add(b *batch.Batch, key []string, most int64) error {
	from, err := w.sources(b, key)
	if err != nil {
		return err
	}
	k, audit, scratch := keysOf(b, key), follow.KeysOf(b), []byte(nil)
	for i := range b.Rows {
		if b.Fate[i] != batch.Keep {
			continue
		}
		if w.changes++; w.changes%checkRows == 0 && w.size() > most {
			return errWindow
		}
		if from.op.IsNull(i) || from.position.IsNull(i) {
			return fmt.Errorf("%s, offset %d: the row has no %s: it was loaded before decode.changes was set", audit.Key(i), audit.Offset(i), changes.ColumnOp)
		}
		pos, what := string(b.Bytes(from.position.Views[i])), b.Bytes(from.op.Views[i])[0]
		if what == changes.Truncate {
			w.truncated = max(w.truncated, pos)
			continue
		}
		var ok bool
		if scratch, ok = k.append(scratch[:0], i); !ok {
			if w.keyless++; w.first == "" {
				w.first = fmt.Sprintf("%s, offset %d", audit.Key(i), audit.Offset(i))
			}
			continue
		}
		c := &change{place: place{pos, audit.Epoch(i), audit.Offset(i)}, op: what}
		have := w.winners[string(scratch)]
		if have != nil && have.compare(c.place) >= 0 {
			continue
		}
		if have == nil {
			w.keys += winnerBytes + int64(len(scratch)+len(pos))
		}
		if !from.times.IsNull(i) {
			c.at = from.times.Int64[i] / 1000
		}
		if !c.isDelete() {
			c.row = w.Rows
			w.copy(b, from.row, i)
		}
		w.winners[string(scratch)] = c
	}
	if w.size() > most {
		return errWindow
	}
	return nil
}

// copy appends a row.
func (w *window) copy(b *batch.Batch, from []*batch.Column, i int) {
	own := func(v batch.View) batch.View { return w.Records.Append(b.Records.Bytes(v)) }
	for c, to := range w.Root.Children {
		if from[c] == nil {
			to.AppendNull()
		} else {
			to.AppendFrom(from[c], i, own)
		}
	}
	w.Root.AppendStruct()
	w.AppendRow(w.Rows, 0)
}

// rewound names a partition whose offsets begin anew, in the same topic, between two cursors: a rewind or a backfill.
func rewound(from, to follow.Cursor) (table.Key, bool) {
	for k, was := range from.Partitions {
		if now, ok := to.Partitions[k]; ok && now.TopicID == was.TopicID && now.Epoch > was.Epoch {
			return k, true
		}
	}
	return table.Key{}, false
}
