package routes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/objects"
)

// sender sends rows to a receiver that knows no transactions.
type sender interface {
	// send sends rows in order. dealt is how many of the first were sent, or refused for good; it may be fewer than all without an
	// error.
	send(ctx context.Context, rows []Row) (dealt int, refused []refusal, err error)
	close()
}

// calls delivers through a sender. The cursor is an object, which moves behind what was sent.
type calls struct {
	r     *Route
	s     sender
	keep  bool // rows that are refused, and go on
	saved *Saved
	at    time.Time // when it was saved last
	// moved and sent: since then the cursor has moved, behind rows that were sent.
	moved, sent bool
}

func newCalls(r *Route, s sender, saved *Saved, keep bool) *calls {
	return &calls{r: r, s: s, keep: keep, saved: saved, at: r.d.Now()}
}

func (c *calls) cursor() follow.Cursor { return c.saved.Cursor }

func (c *calls) encoding(context.Context) newEncoding { return newJSONEncoding }

func (c *calls) close() { c.s.close() }

func (c *calls) deliver(ctx context.Context, rows []Row, to follow.Cursor) error {
	from := c.saved.Cursor
	for len(rows) > 0 {
		before := suppressed(c.s)
		n, refused, err := c.s.send(ctx, rows)
		if len(refused) > 0 && !c.keep {
			x := refused[0]
			for i := range rows[:n] {
				if &rows[i] == x.Row {
					n = i
				}
			}
			err = fmt.Errorf("%w (%s offset %d): %s; mend the receiver or the route, or set on_refused to keep", errRefused, x.Row.Key, x.Row.Offset, x.Answer)
			refused = nil
		}
		if kerr := c.refuse(ctx, refused); kerr != nil {
			return errors.Join(kerr, err)
		}
		left := suppressed(c.s) - before
		c.r.d.Recorder.Delivered(int64(n-len(refused))-left, int64(len(refused)), left)
		c.partway(from, to, rows[:n])
		if err != nil {
			return err
		}
		rows = rows[n:]
		if c.r.d.Now().Sub(c.at) > saveEvery {
			if err := c.rest(ctx); err != nil {
				return err
			}
		}
	}
	c.saved.Cursor, c.moved = to, true
	return nil
}

// settle implements receiver.
func (c *calls) settle(ctx context.Context) error {
	if c.sent || c.r.d.Now().Sub(c.at) > idleSave {
		return c.rest(ctx)
	}
	return nil
}

// suppressed counts the rows that were left out as repetitions.
func suppressed(s sender) int64 {
	if w, ok := s.(*webhook); ok {
		return w.suppressed
	}
	return 0
}

// partway moves the cursor behind rows that were dealt with.
func (c *calls) partway(from, to follow.Cursor, rows []Row) {
	if len(rows) == 0 {
		return
	}
	at := c.saved.Cursor.Clone()
	at.UUID = to.UUID
	for i := range rows { // the last one of a partition holds
		if p, ok := from.Partway(to, rows[i].Key, rows[i].Epoch, rows[i].Offset); ok {
			at.Partitions[rows[i].Key] = p
		}
	}
	c.saved.Cursor, c.moved, c.sent = at, true, true
}

// rest implements receiver.
func (c *calls) rest(ctx context.Context) error {
	if !c.moved {
		return nil
	}
	if w, ok := c.s.(*webhook); ok {
		c.saved.Recent = maps.Clone(w.recent.at)
	}
	if err := c.r.d.Cursors.Save(ctx, c.saved); err != nil {
		return err
	}
	c.at, c.moved, c.sent = c.r.d.Now(), false, false
	return nil
}

// kept row, as an object.
type refusedRow struct {
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Time      time.Time       `json:"time"`
	Answer    string          `json:"answer"`
	Row       json.RawMessage `json:"row"`
}

// refuse keeps rows that the receiver refused, with its answers, below <root>/_lakeloader/<pipeline>/routes/refused/<route>/.
func (c *calls) refuse(ctx context.Context, refused []refusal) error {
	for _, x := range refused {
		data, err := json.Marshal(refusedRow{x.Row.Topic, x.Row.Partition, x.Row.Offset, c.r.d.Now().UTC(), x.Answer, x.Row.Body})
		if err != nil {
			return err
		}
		cs := c.r.d.Cursors
		uri := cs.Root + "/_lakeloader/" + cs.Pipeline + "/routes/refused/" + cs.Route + "/" + x.Row.ID() + ".json"
		if err := cs.Store.Put(ctx, uri, data); err != nil && !errors.Is(err, objects.ErrExists) { // before a crash
			return fmt.Errorf("keeping a refused row: %w", err)
		}
		c.r.d.Log.Error("the receiver refused a row, which is kept", "row", x.Row.ID(), "answer", x.Answer, "object", uri)
	}
	return nil
}
