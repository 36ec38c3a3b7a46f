package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/lookups"
	"github.com/lakeloader/lakeloader/memory"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/sqlsink"
	"github.com/lakeloader/lakeloader/verify"
	"github.com/lakeloader/lakeloader/views"
)

// daemon is the running pipelines of a configuration and what they share.
type daemon struct {
	cfg   *configs.Config
	log   *slog.Logger
	lake  *lake
	admin *source.Admin
	state *obs.State
	// lookups is what the pipelines join their rows with; nil until they are begun.
	lookups *lookups.Set
	memory  *memory.Budget
	sinks   []*sqlsink.Sink
	server  *obs.Server

	trial trial

	done chan struct{} // closed when every pipeline has ended
	mu   sync.Mutex
	errs []error
	stop context.CancelFunc // of what runs beside the pipelines
	// unjoin ends the lookups.
	unjoin context.CancelFunc
	bg     sync.WaitGroup
	// drain, when it is closed, has routes end when they have sent what is committed, or after drainFor; routing are they.
	drain    chan struct{}
	drainFor time.Duration
	routing  sync.WaitGroup
}

// startLimit is how long servers may be unreachable at start.
const startLimit = 30 * time.Second

func startDaemon(ctx context.Context, stop <-chan struct{}, cfg *configs.Config, log *slog.Logger) (*daemon, error) {
	return startTrial(ctx, stop, cfg, log, trial{endsEvery: 10 * time.Second})
}

// trial is what experiments change in a daemon.
type trial struct {
	// adapt changes what a pipeline works with; nil: nothing is changed.
	adapt func(*configs.Pipeline, *pipeline.Deps)
	// endsEvery is how often Kafka is asked where the partitions end.
	endsEvery time.Duration
}

func startTrial(ctx context.Context, stop <-chan struct{}, cfg *configs.Config, log *slog.Logger, t trial) (d *daemon, err error) {
	d = &daemon{drainFor: routeDrain, trial: t, cfg: cfg, log: log, state: obs.NewState(version, time.Now), done: make(chan struct{}), drain: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.memory, err = limitMemory(cfg); err != nil {
		return d, err
	}
	l := d.memory.Limits()
	d.state.Memory(obs.MemoryStatus{Ceiling: l.Ceiling, Fetch: l.Fetch * int64(len(cfg.Pipelines)), Go: l.Go, Work: l.Work, Windows: cfg.MemoryNeeds().Windows, Current: l.Current})
	if err := d.connect(ctx, stop); err != nil {
		return d, err
	}
	if err := d.join(ctx, cfg.Pipelines); err != nil {
		return d, err
	}
	all := make([]pipeline.Deps, len(cfg.Pipelines))
	for i := range cfg.Pipelines {
		if all[i], err = d.deps(&cfg.Pipelines[i]); err != nil {
			return d, err
		}
	}
	bg, cancel := context.WithCancel(ctx)
	d.stop = cancel
	outlets, err := d.outlets(bg, all)
	if err != nil {
		return d, err
	}
	if cfg.HTTP.Address != "off" { // after deps: the state must name the pipelines before anyone asks for it
		if err := d.listen(); err != nil {
			return d, err
		}
	}
	if _, err := memory.DropPages(); err != nil { // then they stay
		log.Debug("the executable's pages that only the start needed are still in memory", "error", err)
	}
	if *cfg.Jobs.InDaemon && d.lake != nil {
		u := newUpkeep(cfg, d.lake, log)
		u.admin, u.said, u.memory = d.admin, d.state.Complete, l.Current
		r, err := u.runner(true)
		if err != nil {
			return d, err
		}
		r.Ended = func(t jobs.Task, started time.Time, did string, err error) {
			d.state.JobEnded(t.Job, t.Target, started, did, err)
		}
		upkeep, cancel := untilStopped(bg, stop) // what it does need not be finished
		d.bg.Go(func() {
			defer cancel()
			if err := r.Run(upkeep); err != nil {
				log.Error("jobs are not run", "error", err)
			}
		})
	}
	kept, done := untilStopped(bg, stop)
	d.bg.Go(func() { <-kept.Done(); done() })
	d.windows(kept)
	for _, run := range outlets {
		d.routing.Go(func() { run(bg) })
	}
	var running sync.WaitGroup
	for i := range cfg.Pipelines {
		p, deps := &cfg.Pipelines[i], all[i]
		d.bg.Go(func() { d.watchEnds(bg, deps.Recorder) })
		d.bg.Go(func() { watchReady(bg, deps.Recorder, deps.Log) })
		running.Go(func() {
			err := pipeline.Run(ctx, stop, p, deps)
			deps.Recorder.Stopped()
			if err != nil && !errors.Is(err, context.Canceled) {
				d.mu.Lock()
				d.errs = append(d.errs, fmt.Errorf("pipeline %s: %w", p.Name, err))
				d.mu.Unlock()
			}
		})
	}
	go func() {
		running.Wait()
		close(d.done)
	}()
	return d, nil
}

// listen opens the endpoint for health, metrics and status.
func (d *daemon) listen() error {
	secure, err := obs.ServerTLS(d.cfg.HTTP.TLS)
	if err != nil {
		return fail(exitUsage, err)
	}
	h := obs.Guard(obs.NewHandler(d.state, configs.NewRedactor(d.cfg)), d.cfg.HTTP.Token)
	if d.server, err = obs.Listen(d.cfg.HTTP.Address, secure, h, d.log); err != nil {
		return fail(exitUnreachable, err)
	}
	d.log.Info("listening", "address", d.server.Addr()) // the port may have been chosen by the system
	return nil
}

func (d *daemon) errors() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.errs...)
}

func (d *daemon) close() error {
	if d.stop != nil {
		close(d.drain)
		limit := time.AfterFunc(d.drainFor, d.stop)
		d.routing.Wait()
		limit.Stop()
		d.stop()
	}
	if d.unjoin != nil {
		d.unjoin()
	}
	d.bg.Wait()
	var errs []error
	if d.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		errs = append(errs, d.server.Stop(ctx))
		cancel()
	}
	if d.admin != nil {
		d.admin.Close()
	}
	for _, s := range d.sinks {
		errs = append(errs, s.Close())
	}
	if d.lake != nil {
		errs = append(errs, d.lake.catalog.Close())
	}
	return fail(exitFailed, errors.Join(errs...))
}

// connect reaches everything once, so that a wrong address or password is said at once and with an exit code, not in
// a log that scrolls by.
func (d *daemon) connect(ctx context.Context, stop <-chan struct{}) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	if d.cfg.NeedsLake() {
		if d.lake, err = openLake(ctx, d.cfg); err != nil {
			return err
		}
		if err := writable(ctx, d.lake); err != nil {
			return fail(exitUnreachable, fmt.Errorf("the warehouse cannot be written: %w", err))
		}
	}
	if d.admin, err = source.NewAdmin(d.cfg.Kafka, d.log); err != nil {
		return fail(exitUsage, err)
	}
	if _, err := d.admin.ClusterID(ctx); err != nil {
		return fail(exitUnreachable, err)
	}
	return d.topicsThere(ctx)
}

// topicsThere makes sure that there is something to load. A pipeline whose topics are missing does not keep the others from
// starting: it fails by itself, and is tried again.
func (d *daemon) topicsThere(ctx context.Context) error {
	var missing []error
	for _, p := range d.cfg.Pipelines {
		if len(p.Source.Topics) == 0 {
			continue
		}
		if _, err := d.admin.Partitions(ctx, p.Source); err != nil {
			missing = append(missing, fmt.Errorf("pipeline %s: %w", p.Name, err))
		}
	}
	if len(missing) == len(d.cfg.Pipelines) {
		return fail(exitUnreachable, errors.Join(missing...))
	}
	for _, err := range missing {
		d.log.Error("topics are missing; the other pipelines go on", "error", err)
	}
	return nil
}

// writable puts an object and removes it.
func writable(ctx context.Context, l *lake) error {
	uri := l.root + "/_lakeloader/write-check-" + uuid.NewString()
	if err := l.objects.Put(ctx, uri, []byte("lakeloader checks at start that it may write here\n")); err != nil {
		return err
	}
	return l.objects.Delete(ctx, uri)
}

// deps wires up one pipeline.
func (d *daemon) deps(p *configs.Pipeline) (pipeline.Deps, error) {
	log := d.log.With("pipeline", p.Name)
	primary, dead := pipeline.Idents(d.cfg, p)
	rec := d.state.Pipeline(p.Name, primary.String(), time.Duration(p.Commit.Interval))
	rec.AlarmAfter(time.Duration(p.Commit.AlarmAfter))
	var rolling *views.Set
	if len(p.Views) > 0 {
		var err error
		if rolling, err = views.New(p.Views); err != nil {
			return pipeline.Deps{}, fail(exitUsage, err)
		}
		d.state.Views(p.Name, rolling)
	}
	reg, err := registry(d.cfg)
	if err != nil {
		return pipeline.Deps{}, err
	}
	var topic func(context.Context) (pipeline.LetterTopic, error)
	if name := p.DeadLetters.Topic; name != "" {
		topic = func(ctx context.Context) (pipeline.LetterTopic, error) {
			return source.NewProducer(ctx, d.cfg.Kafka, name, "lakeloader-"+p.Name, log)
		}
	}
	deps := pipeline.Deps{
		Topics: d.admin, Recorder: rec, Log: log, Now: point.Now,
		Primary: primary, DeadLetters: dead, Memory: d.memory.Share(), NewLetterTopic: topic,
		NewConsumer: func(h source.Handler) (pipeline.Consumer, error) {
			return source.New(source.Options{Kafka: d.cfg.Kafka, Source: p.Source, Pipeline: p.Name, Memory: d.memory.Limits().Fetch, Log: log}, h)
		},
		NewDecoder: func(accept func(*batch.Type) error) (*schemas.Decoder, error) {
			return schemas.NewDecoder(p.Decode, reg, schemas.Options{Clock: point.Now, UnknownIDAfter: time.Duration(d.cfg.Registry.UnknownIDAfter),
				Freeze: p.Table.Evolve != nil && !*p.Table.Evolve, Accept: accept})
		},
		Views: rolling, Lookup: d.lookups.Lookup,
	}
	if err := d.store(p, &deps); err != nil {
		return deps, err
	}
	if d.trial.adapt != nil {
		d.trial.adapt(p, &deps)
	}
	return deps, nil
}

// audit proves that a pipeline's tables hold what its ledger says.
func audit(cfg *configs.Config, p *configs.Pipeline, l *lake) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := verify.Run(ctx, verifyInput(cfg, p, l))
		if err != nil {
			return err
		}
		return r.Err()
	}
}

// watchReady looks every few seconds whether commits make progress. Nothing that it does waits for a server.
func watchReady(ctx context.Context, rec *obs.Recorder, log *slog.Logger) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			rec.Check(log)
		}
	}
}

// watchEnds asks every so often where the partitions end, for the lag.
func (d *daemon) watchEnds(ctx context.Context, rec *obs.Recorder) {
	tick := time.NewTicker(d.trial.endsEvery)
	defer tick.Stop()
	for {
		var ps []source.Partition
		for _, p := range rec.Status().Partitions {
			ps = append(ps, source.Partition{Topic: p.Topic, Partition: p.Partition})
		}
		if len(ps) > 0 {
			marks, err := d.admin.Watermarks(ctx, ps)
			if err != nil && ctx.Err() == nil {
				d.log.Warn("the ends of partitions are not known, so the lag is not either", "error", err)
			}
			for p, m := range marks {
				rec.HighWatermark(p.Topic, p.Partition, m.High)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// gcPercent is how much the heap grows before it is collected. Little of it has pointers, so a collection costs next to
// nothing, while Go's default of 100 lets a third more garbage stay in memory.
const gcPercent = 50

// limitMemory divides the ceiling, and tells the garbage collector its part. GOGC, when it is set, has its way.
func limitMemory(cfg *configs.Config) (*memory.Budget, error) {
	limits, err := memory.Divide(int64(cfg.Memory.Limit), cfg.MemoryNeeds())
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("memory.limit: %w", err))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	debug.SetMemoryLimit(limits.Go)
	return memory.NewBudget(limits), nil
}
