package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/views"
)

// Version of the program; it is written into files and round objects.
var Version = "dev"

// Deps is what a pipeline works with.
type Deps struct {
	Catalog     table.Catalog
	Objects     objects.Store
	Root        string // of the warehouse, no trailing slash
	Topics      Topics
	NewConsumer func(h source.Handler) (Consumer, error)
	// NewLetterTopic opens the topic that gets dead letters too; nil: there is none.
	NewLetterTopic func(ctx context.Context) (LetterTopic, error)
	// NewDecoder makes a decoder that asks accept before its row type changes.
	NewDecoder func(accept func(row *batch.Type) error) (*schemas.Decoder, error)
	// Registry has the schemas of dead letters; nil: there is none.
	Registry schemas.Registry
	Recorder *obs.Recorder
	// Primary and DeadLetters are the pipeline's tables (Idents).
	Primary, DeadLetters table.Ident
	Log                  *slog.Logger
	Now                  func() time.Time
	// Memory is the account of what the pipeline holds.
	Memory Memory
	// Views take in the rows of the pipeline; nil: there are none.
	Views *views.Set
	// Audit proves that the table holds what its ledger says (lakeloader verify).
	Audit func(ctx context.Context) error
	// Database is the primary instead of a lake table; nil: it is one.
	Database Database

	// Lookup finds what rows are joined with, by its name; nil for one that is not configured.
	Lookup func(name string) *enrich.Lookup
	// Rows is given every batch whose rows have gone to files, which is good during the call and must be left as it is; nil: nobody is.
	Rows func(b *batch.Batch)
	// Committed is told of every round that was committed, and must not block; nil: nobody is.
	Committed func()

	// limit outlives loaders that fail; nil: none.
	limit *threshold
	// replay is set while dead letters are replayed.
	replay *replayMode
}

// OrphanAge is the age at which a file that no table knows may be deleted.
const OrphanAge = 72 * time.Hour

// errClient: the loader goes on with a new Kafka client. The old one remembers the epochs of the leaders of a topic that was deleted, and takes
// what brokers say of the new one, whose epochs begin at zero again, for outdated (librdkafka 2.14).
var errClient = errors.New("a new Kafka client is needed")

// Run keeps a pipeline going until stop is closed: a loader that fails is thrown away, and after a pause a new one
// starts from what the table says. It returns nil after a clean stop, an error that wraps ErrStop when a person is
// needed, and the last error when stopping itself failed.
func Run(ctx context.Context, stop <-chan struct{}, cfg *configs.Pipeline, d Deps) error {
	const first, most = time.Second, time.Minute
	d.limit = &threshold{cfg: cfg.DeadLetters}
	pause := first
	for {
		progressed, err := runOnce(ctx, stop, cfg, d)
		select {
		case <-stop:
			return err
		default:
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrStop):
			d.Recorder.Failing(err, time.Time{})
			d.Log.Error("the pipeline is stopped", "error", err)
			return err
		case errors.Is(err, errClient):
			d.Log.Warn("the pipeline starts again from what the table says", "reason", err)
			continue
		}
		if progressed { // this is another trouble than the last
			pause = first
		}
		d.Recorder.Failing(err, d.Now().Add(pause))
		d.Log.Error("the pipeline failed and starts again from what the table says", "error", err, "next_try", pause)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-stop:
		case <-t.C:
		}
		t.Stop()
		pause = min(2*pause, most)
	}
}

// runOnce runs one loader, with a watchdog beside it. progressed: it has committed a round.
func runOnce(ctx context.Context, stop <-chan struct{}, cfg *configs.Pipeline, d Deps) (progressed bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l, err := open(ctx, stop, cfg, d)
	if errors.Is(err, errStopped) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() {
		l.reseek = true // what Close hands over is not committed any more
		err = errors.Join(err, l.close())
	}()
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		l.watchdog(ctx, cancel)
	}()
	err = l.Run(ctx, stop)
	cause := context.Cause(ctx)
	cancel(nil)
	<-watch
	if errors.Is(cause, errStalled) {
		return l.progressed, cause
	}
	return l.progressed, err
}

// close leaves the group, and drops what is on its way to the topic of dead letters.
func (l *Loader) close() (err error) {
	if l.consumer != nil {
		err = l.consumer.Close()
	}
	if l.letters != nil {
		l.letters.Close()
	}
	return err
}

var errStalled = errors.New("stalled")

// watchdog gives the partitions up when records wait and no round ends: any call resets Kafka's own max.poll.interval.
func (l *Loader) watchdog(ctx context.Context, cancel context.CancelCauseFunc) {
	limit := time.Duration(l.cfg.Commit.StallTimeout) + time.Duration(l.cfg.Commit.Interval)
	tick := time.NewTicker(max(limit/20, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if since := l.waiting.Load(); since != 0 && l.now().Sub(time.Unix(0, since)) > limit {
				cancel(fmt.Errorf("%w: records have waited for a commit since %v", errStalled, time.Unix(0, since).Format(time.RFC3339)))
				return
			}
		}
	}
}

// open makes a loader: the row type as far as it is known, the tables, and a place in the consumer group.
func open(ctx context.Context, stop <-chan struct{}, cfg *configs.Pipeline, d Deps) (*Loader, error) {
	d.limit.dropped() // what the loader before this one left open
	s, err := newStages(ctx, stop, cfg, d)
	if err != nil {
		return nil, err
	}
	catalog := &watched{tables: d.Catalog, rec: d.Recorder, log: d.Log, now: d.Now}
	l := &Loader{cfg: cfg, read: map[string]string{}, log: d.Log, now: d.Now, rec: d.Recorder, topics: d.Topics, stages: s, memory: d.Memory, catalog: catalog, primary: d.Primary, committed: d.Committed}
	s.hold = l.hold
	l.keep(d, s, catalog)
	if d.NewLetterTopic != nil {
		if s.topic, err = d.NewLetterTopic(ctx); err != nil {
			return nil, fmt.Errorf("dead_letters.topic: %w", err)
		}
		l.letters = s.topic
	}
	if l.consumer, err = d.NewConsumer(l); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func newCommitter(cfg *configs.Pipeline, d Deps, tables Tables) *Committer {
	c := &Committer{Pipeline: cfg.Name, Primary: d.Primary, Tables: tables, Now: d.Now, Wait: table.Backoff(2 * time.Second),
		Rounds: &RoundObjects{Store: d.Objects, Root: d.Root, Pipeline: cfg.Name}, OrphanAge: OrphanAge, Audit: d.Audit, Rewriter: newRewriter(cfg, d),
		Lost: func(what string) { d.Log.Error("rows are lost", "reason", what) }}
	if r := cfg.Table.Route; r != nil {
		c.MadeTables = r.Limit
	}
	return c
}
