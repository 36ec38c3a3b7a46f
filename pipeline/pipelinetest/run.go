package pipelinetest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/memory"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// Env is what pipelines of a test work with.
type Env struct {
	*Kafka
	*Lake
	// Registry is the URL of a schema registry; empty: none.
	Registry string
}

// StartRegistry starts a schema registry that ends with the test.
func StartRegistry(t testing.TB) *demo.Registry {
	t.Helper()
	r, err := demo.StartRegistry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// New starts an embedded Kafka and makes an empty lake.
func New(t testing.TB) *Env { return &Env{Kafka: NewKafka(t), Lake: NewLake(t)} }

// Pipeline gives a pipeline of plain JSON with its defaults. It commits when it stops, or as change says.
func Pipeline(columns string, change func(*configs.Pipeline), topics ...string) *configs.Config {
	p := configs.Pipeline{Name: "p", Source: configs.Source{Topics: topics}, Table: configs.Table{Name: "t", PartitionBy: []string{}},
		Commit: configs.Commit{Interval: configs.Duration(time.Hour)}, Decode: configs.Decode{Value: configs.Format{Format: "json"}}}
	for _, c := range strings.Split(columns, ", ") {
		name, typ, _ := strings.Cut(c, " ")
		p.Decode.Value.Columns = append(p.Decode.Value.Columns, configs.ColumnDef{Name: name, Type: typ})
	}
	if change != nil {
		change(&p)
	}
	cfg := &configs.Config{Pipelines: []configs.Pipeline{p}}
	configs.ApplyDefaults(cfg)
	return cfg
}

// Loader is a running pipeline.
type Loader struct {
	t      testing.TB
	env    *Env
	cfg    *configs.Config
	State  *obs.State
	stop   chan struct{}
	kill   context.CancelFunc
	ended  chan struct{}
	err    error
	logs   *logs
	onStop sync.Once
}

// Start runs the first pipeline of cfg until Stop, Kill or the end of the test. change may replace what it works with.
func (e *Env) Start(t testing.TB, cfg *configs.Config, change func(*pipeline.Deps)) *Loader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &Loader{t: t, env: e, cfg: cfg, stop: make(chan struct{}), kill: cancel, ended: make(chan struct{}), logs: &logs{changed: make(chan struct{}, 1), positions: map[table.Key]int64{}},
		State: obs.NewState("test", time.Now)}
	p := &cfg.Pipelines[0]
	d := e.deps(t, cfg, slog.New(l.logs), l.State, p.Source)
	if change != nil {
		change(&d)
	}
	d.Catalog = &noisyCatalog{d.Catalog, l.logs}
	consumer := d.NewConsumer
	d.NewConsumer = func(h source.Handler) (pipeline.Consumer, error) {
		c, err := consumer(h)
		return &noisyConsumer{Consumer: c, logs: l.logs}, err
	}
	go func() {
		defer close(l.ended)
		l.err = pipeline.Run(ctx, l.stop, p, d)
	}()
	t.Cleanup(func() { _ = l.Kill() }) // its error is of interest to who calls it
	return l
}

// deps is what the first pipeline of cfg works with.
func (e *Env) deps(t testing.TB, cfg *configs.Config, log *slog.Logger, state *obs.State, from configs.Source) pipeline.Deps {
	p := &cfg.Pipelines[0]
	primary, dead := pipeline.Idents(cfg, p)
	d := pipeline.Deps{Catalog: e.Catalog, Objects: e.Objects, Root: e.Root, Topics: e.Admin, Log: log, Now: time.Now, Primary: primary, DeadLetters: dead,
		Recorder: state.Pipeline(p.Name, primary.String(), time.Duration(p.Commit.Interval)), Memory: memory.NewBudget(memory.Limits{Work: 64 << 20}).Share(),
		NewConsumer: func(h source.Handler) (pipeline.Consumer, error) {
			return source.New(source.Options{Kafka: e.Config, Source: from, Pipeline: p.Name, Log: log}, h)
		},
		Audit: func(context.Context) error { return e.Verify(t, cfg, p).Err() },
	}
	if name := p.DeadLetters.Topic; name != "" {
		d.NewLetterTopic = func(ctx context.Context) (pipeline.LetterTopic, error) {
			return source.NewProducer(ctx, e.Config, name, "lakeloader-"+p.Name, log)
		}
	}
	if len(cfg.Lookups) > 0 {
		d.Lookup = e.lookups(t, cfg, log, state)
	}
	if e.Registry != "" {
		client, err := schemas.NewRegistryClient(configs.Registry{URL: e.Registry, Timeout: configs.Duration(5 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		d.Registry = client
	}
	d.NewDecoder = func(accept func(*batch.Type) error) (*schemas.Decoder, error) {
		return schemas.NewDecoder(p.Decode, d.Registry, schemas.Options{Clock: time.Now, Accept: accept, Freeze: p.Table.Evolve != nil && !*p.Table.Evolve})
	}
	return d
}

// Deps is what commands work with that change what was decided, beside the loaders of a pipeline.
func (e *Env) Deps(t testing.TB, cfg *configs.Config) pipeline.Deps {
	own := cfg.Pipelines[0].Source
	own.Group = "own-" + uuid.NewString()
	return e.deps(t, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)), obs.NewState("test", time.Now), own)
}

// Load has a loader read n records, and stops it, so that all are committed.
func (e *Env) Load(t testing.TB, cfg *configs.Config, n int64) {
	t.Helper()
	l := e.Start(t, cfg, nil)
	l.Read(n)
	if err := l.Stop(); err != nil {
		t.Fatalf("stopping: %v\n%s", err, l.Log())
	}
}

// Stop tells the loader to drain and returns what it ended with.
func (l *Loader) Stop() error {
	l.t.Helper()
	l.onStop.Do(func() { close(l.stop) })
	return l.Ended()
}

// Kill ends the loader at once, as a crash would: nothing more is committed.
func (l *Loader) Kill() error {
	l.kill()
	return l.Ended()
}

// Ended waits for the loader's end.
func (l *Loader) Ended() error {
	l.t.Helper()
	select {
	case <-l.ended:
		return l.err
	case <-time.After(Patience):
		l.t.Fatalf("the loader did not end; it said\n%s", l.Log())
		return nil
	}
}

// Log is what the loader said so far.
func (l *Loader) Log() string { return l.logs.String() }

// Said waits until the loader has said something that contains all of the words.
func (l *Loader) Said(words ...string) {
	l.t.Helper()
	l.Until("the loader to say "+strings.Join(words, " ... "), func() bool {
		return slices.ContainsFunc(strings.Split(l.Log(), "\n"), func(line string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
		})
	})
}

// Owns waits until the loader was given a partition, n times.
func (l *Loader) Owns(n int) {
	l.t.Helper()
	l.Until("partitions", func() bool {
		return strings.Count(l.Log(), "partitions assigned partitions=") > strings.Count(l.Log(), "assigned partitions=\n")+n-1
	})
}

// Until waits until cond holds. It is asked whenever the loader says something, fetches, or has
// swapped a table.
func (l *Loader) Until(what string, cond func() bool) {
	l.t.Helper()
	end := time.NewTimer(Patience)
	defer end.Stop()
	for !cond() {
		select {
		case <-l.logs.changed:
		case <-l.ended:
			if !cond() {
				l.t.Fatalf("the loader ended while waiting for %s: %v\n%s", what, l.err, l.Log())
			}
			return
		case <-end.C:
			l.t.Fatalf("gave up waiting for %s; the loader said\n%s", what, l.Log())
		}
	}
}

// Loaded waits until the table has all offsets of the partition below next.
func (l *Loader) Loaded(topic string, partition int32, next int64) {
	l.t.Helper()
	p := &l.cfg.Pipelines[0]
	primary, _ := pipeline.Idents(l.cfg, p)
	l.Until(fmt.Sprintf("%s-%d to be loaded up to %d", topic, partition, next), func() bool {
		led := l.env.Ledger(l.t, p.Name, primary)
		return led != nil && led.Records[table.Key{Topic: topic, Partition: partition}].Next >= next
	})
}

// Read waits until the loader has read n records in all.
func (l *Loader) Read(n int64) {
	l.t.Helper()
	l.Until(fmt.Sprintf("%d records to be read", n), func() bool { return l.State.Status().Pipelines[0].Records >= n })
}

// Pipeline is the pipeline that runs.
func (l *Loader) Pipeline() *configs.Pipeline { return &l.cfg.Pipelines[0] }

// logs is a handler that keeps what was logged, and tells that there is something new.
type logs struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
	// positions are how far the partitions were read.
	positions map[table.Key]int64
}

func (h *logs) notify() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Enabled implements slog.Handler.
func (h *logs) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle implements slog.Handler.
func (h *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	h.mu.Lock()
	fmt.Fprintln(&h.text, line)
	h.mu.Unlock()
	if os.Getenv("LAKELOADER_TEST_LOG") != "" {
		fmt.Fprintln(os.Stderr, time.Now().Format("15:04:05.000"), line)
	}
	h.notify()
	return nil
}

// WithAttrs implements slog.Handler.
func (h *logs) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h *logs) WithGroup(string) slog.Handler { return h }

func (h *logs) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// noisyCatalog tells of every swap.
type noisyCatalog struct {
	table.Catalog
	logs *logs
}

type noisyStore struct {
	table.Store
	logs *logs
}

// Open implements table.Catalog.
func (c *noisyCatalog) Open(ctx context.Context, id table.Ident) (table.Store, error) {
	s, err := c.Catalog.Open(ctx, id)
	return noisyStore{s, c.logs}, err
}

// Swap implements table.Store.
func (s noisyStore) Swap(ctx context.Context, b *table.Base, ch table.Change) error {
	defer s.logs.notify()
	return s.Store.Swap(ctx, b, ch)
}

// noisyConsumer tells of every fetch, when what came before has been dealt with, and how far that was.
type noisyConsumer struct {
	pipeline.Consumer
	logs  *logs
	spans []batch.Span // of the last fetch
}

// Poll implements pipeline.Consumer.
func (c *noisyConsumer) Poll(ctx context.Context, r *batch.Records, wait time.Duration) error {
	c.logs.fetched(c.spans)
	err := c.Consumer.Poll(ctx, r, min(wait, 50*time.Millisecond)) // so that a test's end is noticed soon
	c.spans = append(c.spans[:0], r.Spans...)
	return err
}

// fetched notes positions.
func (h *logs) fetched(spans []batch.Span) {
	h.mu.Lock()
	for _, s := range spans {
		h.positions[table.Key{Topic: s.Topic, Partition: s.Partition}] = s.Next
	}
	h.mu.Unlock()
	h.notify()
}

// Position waits until the loader has dealt with all offsets of the partition below next, committed or not.
func (l *Loader) Position(topic string, partition int32, next int64) {
	l.t.Helper()
	l.Until(fmt.Sprintf("%s-%d to be read up to %d", topic, partition, next), func() bool {
		l.logs.mu.Lock()
		defer l.logs.mu.Unlock()
		return l.logs.positions[table.Key{Topic: topic, Partition: partition}] >= next
	})
}
