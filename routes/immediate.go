package routes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/source"
)

// Producer sends messages to a topic without transactions.
type Producer interface {
	Send(ctx context.Context, m source.Message) error
	Flush(ctx context.Context) error
	Close()
}

// ImmediateDeps is what a route of the mode immediate works with.
type ImmediateDeps struct {
	NewProducer func(ctx context.Context) (Producer, error)
	NewSchema   func(ctx context.Context, subject, kind, text string) (id int, err error)
	Recorder    interface {
		Recorder
		// Dropped counts rows that are not sent.
		Dropped(rows int64)
	}
	Log *slog.Logger
	Now func() time.Time
	// Wait is how long a batch of the loader may be held up, in all.
	Wait time.Duration
}

// Immediate is a route of the mode immediate: it sends rows when they are read, before the commit. A round that is dropped and read again
// sends them again. Where the receiver does not keep up, the loader waits for a while, and then rows are not sent: loading goes first.
type Immediate struct {
	o     *configs.Outlet
	d     ImmediateDeps
	sel   *selection // the loader's
	queue chan Row
	ctx   context.Context // of the loader's questions to a registry
	// recent outlives senders that fail.
	recent *recent
}

const (
	// waiting is how many rows may wait.
	waiting = 10_000
	// immediateRows is how many are sent at once.
	immediateRows = 1000
)

// NewImmediate makes a route. ctx is that of the process.
func NewImmediate(ctx context.Context, o *configs.Outlet, d ImmediateDeps) *Immediate {
	m := &Immediate{o: o, d: d, queue: make(chan Row, waiting), ctx: ctx}
	m.sel = &selection{o: o, make: m.encoding}
	if o.Webhook != nil {
		m.recent = newRecent(time.Duration(o.Webhook.DedupeWindow))
	}
	return m
}

func (m *Immediate) encoding(row *batch.Type, columns []int) (encoding, error) {
	if t := m.o.Topic; t != nil && t.Format == "avro" {
		return newAvroEncoding(m.ctx, t, m.d.NewSchema, row, columns)
	}
	return newJSONEncoding(row, columns)
}

// Take takes the rows of a batch that the route is for. It is for one goroutine, and holds it up no longer than Wait.
func (m *Immediate) Take(b *batch.Batch) {
	rows, err := m.sel.take(b, nil)
	if m.sel.failed > 0 {
		err = errors.Join(err, fmt.Errorf("the condition failed for %d rows: %s", m.sel.failed, m.sel.why))
		m.sel.failed = 0
	}
	if err != nil {
		m.d.Recorder.Failing(err, time.Time{})
		m.d.Log.Error("rows are not sent", "error", err)
	}
	if len(rows) == 0 {
		return
	}
	limit := time.NewTimer(m.d.Wait)
	defer limit.Stop()
	for i := range rows {
		select {
		case m.queue <- rows[i]:
			continue
		default:
		}
		select {
		case m.queue <- rows[i]:
		case <-limit.C:
			left := int64(len(rows) - i)
			m.d.Recorder.Dropped(left)
			m.d.Log.Error("rows are not sent: the receiver does not keep up, and loading does not wait for it any longer", "rows", left, "first", rows[i].ID(), "waiting", len(m.queue))
			return
		}
	}
}

// Run sends until the context ends. stop, when it is closed, has it end when nothing waits any more.
func (m *Immediate) Run(ctx context.Context, stop <-chan struct{}) {
	pause := firstPause
	var rows []Row
	for {
		err := m.turn(ctx, stop, &rows)
		switch {
		case err == nil || ctx.Err() != nil:
			if n := len(rows) + len(m.queue); n > 0 {
				m.d.Recorder.Dropped(int64(n))
				m.d.Log.Error("rows are not sent: the daemon ends", "rows", n)
			}
			return
		case errors.Is(err, errAgain):
			pause = firstPause
			continue
		}
		m.d.Recorder.Failing(err, m.d.Now().Add(pause))
		m.d.Log.Error("the route failed and is tried again", "error", err, "next_try", pause)
		if sleep(ctx, pause) == nil {
			pause = min(2*pause, mostPause)
		}
	}
}

// errAgain: the last turn ended well.
var errAgain = errors.New("again")

// turn sends rows, those that are left of an earlier turn first, until something fails. nil: told to stop, and nothing waits.
func (m *Immediate) turn(ctx context.Context, stop <-chan struct{}, rows *[]Row) error {
	s, err := m.sender(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	for {
		if len(*rows) == 0 {
			m.d.Recorder.Delivering()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-stop:
				if len(m.queue) == 0 {
					return nil
				}
			case r := <-m.queue:
				*rows = append(*rows, r)
			}
		}
		for n := len(m.queue); n > 0 && len(*rows) < immediateRows; n-- {
			*rows = append(*rows, <-m.queue)
		}
		before := suppressed(s)
		n, refused, err := s.send(ctx, *rows)
		for _, x := range refused {
			m.d.Log.Error("the receiver refused a row, which is not sent", "row", x.Row.ID(), "answer", x.Answer)
		}
		left := suppressed(s) - before
		m.d.Recorder.Delivered(int64(n-len(refused))-left, int64(len(refused)), left)
		*rows = append([]Row(nil), (*rows)[n:]...)
		if err != nil {
			var l *later
			if errors.As(err, &l) && l.after > 0 {
				m.d.Log.Warn("the receiver asks for a pause", "pause", l.after, "error", err)
				if sleep(ctx, l.after) == nil {
					return errAgain
				}
			}
			return err
		}
	}
}

func (m *Immediate) sender(ctx context.Context) (sender, error) {
	switch {
	case m.o.Webhook != nil:
		w, err := newWebhook(m.o.Webhook, m.d.Now)
		if err != nil {
			return nil, err
		}
		w.recent = m.recent
		return w, nil
	case m.o.Search != nil:
		return newSearch(m.o.Search, m.d.Now)
	}
	p, err := m.d.NewProducer(ctx)
	if err != nil {
		return nil, err
	}
	return &plainTopic{p}, nil
}

// plainTopic sends rows to a topic, without transactions.
type plainTopic struct{ p Producer }

func (t *plainTopic) close() { t.p.Close() }

func (t *plainTopic) send(ctx context.Context, rows []Row) (int, []refusal, error) {
	for i := range rows {
		if err := t.p.Send(ctx, message(&rows[i])); err != nil {
			return 0, nil, err
		}
	}
	if err := t.p.Flush(ctx); err != nil {
		return 0, nil, err
	}
	return len(rows), nil, nil
}
