package routes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/table"
)

// Recorder is told what becomes of a route. Its methods are safe for concurrent use and do not block.
type Recorder interface {
	// Delivering says that the route goes on; standby: that another instance sends.
	Delivering()
	Standby()
	// Delivered counts rows that the receiver has, that it refused for good, and that were left out as repetitions.
	Delivered(rows, refused, suppressed int64)
	// Lag is how many committed offsets the route has not been over.
	Lag(offsets int64)
	// Failing says that something failed, and when it is tried again.
	Failing(err error, next time.Time)
}

// ErrHeld means that another instance has the lease.
var ErrHeld = errors.New("another instance sends")

// Deps is what a route works with.
type Deps struct {
	Reader  *follow.Reader
	Cursors *Cursors
	// Info describes the pipeline's own table.
	Info func(ctx context.Context) (table.Info, error)
	// Lease runs f while this instance has the right to send; ErrHeld: another has it.
	Lease func(ctx context.Context, f func(ctx context.Context) error) error
	// NewTopic opens the topic of a route that has one.
	NewTopic func(ctx context.Context) (Topic, error)
	// NewSchema registers the schema of a topic's values.
	NewSchema func(ctx context.Context, subject, kind, text string) (id int, err error)
	Recorder  Recorder
	Log       *slog.Logger
	Now       func() time.Time
	// Poll is how long commits of other instances may go unnoticed.
	Poll time.Duration
	// Wake says that this instance has committed.
	Wake <-chan struct{}
	// Stop, when it is closed, has the route end when it has sent what is committed.
	Stop <-chan struct{}
}

// Route is one route of a pipeline.
type Route struct {
	o *configs.Outlet
	d Deps
	// pause is how long to wait after a failure.
	pause time.Duration
}

// New makes a route of the mode committed.
func New(o *configs.Outlet, d Deps) *Route {
	return &Route{o: o, d: d}
}

const (
	firstPause = time.Second
	mostPause  = time.Minute
	// firstOffsets, leastOffsets and mostOffsets bound how many offsets are gone over at once: the rows that are chosen of them are in memory together,
	// and should take about so much.
	firstOffsets = 4_000
	leastOffsets = 20
	mostOffsets  = 2_000_000
	aimedBytes   = 16 << 20
	// saveEvery bounds how often a cursor is moved while rows are sent, and how long where nothing is.
	saveEvery = time.Second
	idleSave  = 10 * time.Second
)

// Run sends until it is told to stop, or the context ends. Whatever fails is tried again.
func (r *Route) Run(ctx context.Context) {
	r.pause = firstPause
	for {
		err := r.d.Lease(ctx, r.deliver)
		if ctx.Err() != nil || err == nil && r.stopping() {
			return
		}
		pause := r.pause
		switch {
		case errors.Is(err, ErrHeld):
			r.d.Recorder.Standby()
			pause = max(r.d.Poll, firstPause)
		case err == nil:
			pause = firstPause
		default:
			var l *later
			if errors.As(err, &l) {
				pause = max(pause, l.after)
			}
			if errors.Is(err, errRefused) {
				pause = mostPause
			}
			r.pause = min(2*r.pause, mostPause)
			r.d.Recorder.Failing(err, r.d.Now().Add(pause))
			r.d.Log.Error("the route failed and is tried again", "error", err, "next_try", pause)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-r.d.Stop:
		case <-t.C:
		}
		if t.Stop(); ctx.Err() != nil || r.stopping() {
			return
		}
	}
}

func (r *Route) stopping() bool {
	select {
	case <-r.d.Stop:
		return true
	default:
		return false
	}
}

// errRefused: the receiver refuses a row for good, and the route is to stop then.
var errRefused = errors.New("the receiver refuses a row")

// deliver is a turn as the instance that sends.
func (r *Route) deliver(ctx context.Context) error {
	saved, err := r.begin(ctx)
	if err != nil {
		return err
	}
	out, err := r.receiver(ctx, saved)
	if err != nil {
		return err
	}
	defer out.close()
	d := &delivery{r: r, out: out, at: out.cursor(), limit: firstOffsets, sel: &selection{o: r.o, make: out.encoding(ctx)}}
	tick := time.NewTicker(r.d.Poll)
	defer tick.Stop()
	for {
		last := r.stopping() // then this pass is
		err := d.pass(ctx)
		if err == nil {
			err = out.settle(ctx)
		}
		if err != nil {
			return d.failed(ctx, err)
		}
		r.pause = firstPause
		r.d.Recorder.Delivering()
		if last {
			return out.rest(ctx)
		}
		select {
		case <-ctx.Done():
			return out.rest(context.WithoutCancel(ctx))
		case <-tick.C:
		case <-r.d.Wake:
		case <-r.d.Stop:
		}
	}
}

// failed notes what was sent, also when told to stop.
func (d *delivery) failed(ctx context.Context, err error) error {
	if d.r.o.Topic != nil { // its transactions note it, and the producer is of no use
		return err
	}
	return errors.Join(err, d.out.rest(context.WithoutCancel(ctx)))
}

// begin reads the cursor, or makes the first one.
func (r *Route) begin(ctx context.Context) (*Saved, error) {
	saved, err := r.d.Cursors.Load(ctx)
	if err != nil || saved != nil {
		return saved, err
	}
	saved = &Saved{Cursor: follow.Cursor{Partitions: map[table.Key]follow.Position{}}}
	if r.o.Start == "now" {
		state, err := r.d.Reader.State(ctx)
		if err != nil {
			return nil, err
		}
		saved.Cursor = state.End()
	}
	r.d.Log.Info("the route begins", "start", r.o.Start, "partitions", len(saved.Cursor.Partitions))
	return saved, r.d.Cursors.Save(ctx, saved)
}

// receiver is where rows go, with the cursor.
type receiver interface {
	// cursor is where the route has come.
	cursor() follow.Cursor
	encoding(ctx context.Context) newEncoding
	// deliver sends rows, in order, and moves the cursor to.
	deliver(ctx context.Context, rows []Row, to follow.Cursor) error
	// settle is called when all that is committed was gone over, and rest at the end: they note what has not been noted yet.
	settle(ctx context.Context) error
	rest(ctx context.Context) error
	close()
}

func (r *Route) receiver(ctx context.Context, saved *Saved) (receiver, error) {
	switch {
	case r.o.Topic != nil:
		return newTopicReceiver(ctx, r, saved)
	case r.o.Webhook != nil:
		w, err := newWebhook(r.o.Webhook, r.d.Now)
		if err != nil {
			return nil, err
		}
		w.recent.restore(saved.Recent)
		return newCalls(r, w, saved, r.o.Webhook.OnRefused == "keep"), nil
	case r.o.Search != nil:
		s, err := newSearch(r.o.Search, r.d.Now)
		if err != nil {
			return nil, err
		}
		return newCalls(r, s, saved, r.o.Search.OnRefused == "keep"), nil
	}
	return nil, errors.New("the route has no receiver")
}

// delivery goes over what was committed.
type delivery struct {
	r    *Route
	out  receiver
	at   follow.Cursor
	sel  *selection
	rows []Row
	// limit is how many offsets are gone over next.
	limit int64
}

// adapt aims at rows that take a certain memory: a route that few rows are for goes over many offsets at once.
func (d *delivery) adapt(gone int64) {
	size := int64(1)
	for i := range d.rows {
		size += d.rows[i].size()
	}
	if size < aimedBytes && gone < d.limit { // there was no more
		return
	}
	next := float64(d.limit) * aimedBytes / float64(size)
	d.limit = int64(max(leastOffsets, float64(d.limit)/16, min(next, 4*float64(d.limit), mostOffsets)))
}

// pass sends all that is committed.
func (d *delivery) pass(ctx context.Context) error {
	for ctx.Err() == nil {
		state, err := d.r.d.Reader.State(ctx)
		if err != nil {
			return err
		}
		if state.Ledger == nil { // nothing was committed yet
			return nil
		}
		d.r.d.Recorder.Lag(follow.Lag(d.at, state.Ledger))
		if end := state.End(); end.UUID == d.at.UUID && follow.Lag(d.at, state.Ledger) == 0 {
			return nil
		}
		moved, err := d.some(ctx, state)
		if err != nil || !moved {
			return err
		}
	}
	return ctx.Err()
}

// some goes over a number of offsets. moved: there may be more.
func (d *delivery) some(ctx context.Context, state *follow.State) (moved bool, err error) {
	info, err := d.r.d.Info(ctx)
	if err != nil {
		return false, err
	}
	columns, err := columns(d.r.o, info.Row)
	if err != nil {
		return false, fmt.Errorf("table %s: %w", info.Ident, err)
	}
	d.rows = d.sel.reuse(d.rows)
	d.r.d.Reader.Limit = d.limit
	to, err := d.r.d.Reader.ReadTo(ctx, state, d.at, columns, func(b *batch.Batch) error {
		d.rows, err = d.sel.take(b, d.rows)
		return err
	})
	if err != nil {
		return false, explain(err)
	}
	if to.Equal(d.at) {
		return false, nil
	}
	if d.sel.failed > 0 {
		d.r.d.Log.Error("the route's condition failed for some rows, which are not sent", "rows", d.sel.failed, "reason", d.sel.why)
		d.sel.failed = 0
	}
	before := follow.Lag(d.at, state.Ledger)
	d.adapt(before - follow.Lag(to, state.Ledger))
	d.rows = order(d.rows)
	if err := d.out.deliver(ctx, d.rows, to); err != nil {
		return false, err
	}
	d.at = to
	return true, nil
}

func explain(err error) error {
	if errors.Is(err, follow.ErrReplaced) {
		return fmt.Errorf("%w: how far the route has come says nothing of the new table; say where it begins with lakeloader routes reset, or give the route another name", err)
	}
	return err
}
