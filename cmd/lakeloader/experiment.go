package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/verify"
)

// The pipelines of the clicks, and their consumer groups.
const (
	archiver    = "clicks"
	secondStore = "clicks-mysql"
)

// experiments of the clicks, by name.
var experiments = map[string]struct {
	what    string
	records int64 // without --records
	run     func(*experiment, context.Context) error
}{
	"new-group":  {"a new consumer group goes live on a topic that already has history", 100_000, (*experiment).newGroup},
	"kill-one":   {"one consumer of each group is killed (kill -9), and its partitions move", 100_000, (*experiment).killOne},
	"slow-group": {"one group is fast and the other slow, and neither delays the other", 60_000, (*experiment).slowGroup},
}

func experimentNames() string { return "new-group, kill-one or slow-group" }

// experiment is a running experiment. What it claims is checked, and printed with its outcome.
type experiment struct {
	w      io.Writer
	d      *demo.Demo
	f      demoFlags
	cfg    *configs.Config
	path   string
	log    *slog.Logger
	admin  *source.Admin
	failed int
}

func runExperiment(w io.Writer, system string, f demoFlags) (err error) {
	e, ok := experiments[f.experiment]
	if !ok || system != "clicks" {
		return fail(exitUsage, fmt.Errorf("there is no experiment %q of %s: demo clicks has %s", f.experiment, system, experimentNames()))
	}
	if f.records == 0 {
		f.records = e.records
	}
	if f.rate < 0 {
		f.rate = 0
	}
	d, cfg, path, err := prepareDemo(system, &f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	x := &experiment{w: w, d: d, f: f, cfg: cfg, path: path, log: slog.New(slog.DiscardHandler)}
	if f.verbose {
		x.log = obs.NewLogger(cfg.Log, os.Stderr, configs.NewRedactor(cfg))
	}
	if x.admin, err = source.NewAdmin(cfg.Kafka, x.log); err != nil {
		return fail(exitFailed, err)
	}
	defer x.admin.Close()
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	x.say("%s: %s\n", f.experiment, e.what)
	if err := e.run(x, ctx); err != nil {
		return fail(exitFailed, fmt.Errorf("experiment %s: %w", f.experiment, err))
	}
	if x.failed > 0 {
		return fail(exitFailed, fmt.Errorf("experiment %s: %s did not hold", f.experiment, count(x.failed, "claim")))
	}
	x.say("\nLook at it yourself:\n  lakeloader verify -c %s", path)
	return nil
}

func (x *experiment) say(format string, args ...any) { fmt.Fprintf(x.w, format+"\n", args...) }

// claim prints whether something is as it should be.
func (x *experiment) claim(holds bool, format string, args ...any) {
	outcome := "PASSED"
	if !holds {
		outcome = "FAILED"
		x.failed++
	}
	x.say("  %s  %s", outcome, fmt.Sprintf(format, args...))
}

// consumer is a daemon of this process that runs some of the pipelines.
type consumer struct {
	*daemon
	hard  context.Context
	ended chan struct{}
}

// begin starts a consumer. adapt may change what a pipeline works with.
func (x *experiment) begin(ctx context.Context, adapt func(*configs.Pipeline, *pipeline.Deps), names ...string) (*consumer, error) {
	cfg := *x.cfg
	cfg.Pipelines = nil
	for _, p := range x.cfg.Pipelines {
		if slices.Contains(names, p.Name) {
			cfg.Pipelines = append(cfg.Pipelines, p)
		}
	}
	quiet := false
	cfg.Jobs.InDaemon = &quiet
	c := &consumer{hard: context.WithoutCancel(ctx), ended: make(chan struct{})}
	var err error
	c.daemon, err = startTrial(c.hard, c.ended, &cfg, x.log, trial{adapt: adapt, endsEvery: time.Second})
	return c, err
}

// stop has a consumer commit what it has read.
func (c *consumer) stop() error {
	close(c.ended)
	return errors.Join(c.wait(c.hard, c.ended), c.close())
}

// group is the name of a pipeline's consumer group.
func (x *experiment) group(name string) string {
	for _, p := range x.cfg.Pipelines {
		if p.Name == name {
			return p.Source.Group
		}
	}
	return name
}

// ends are where the partitions end.
func (x *experiment) ends(ctx context.Context) (map[int32]int64, error) {
	ps, err := x.admin.Partitions(ctx, configs.Source{Topics: []string{x.d.Topics()[0].Name}})
	if err != nil {
		return nil, err
	}
	marks, err := x.admin.Watermarks(ctx, ps)
	ends := map[int32]int64{}
	for p, m := range marks {
		ends[p.Partition] = m.High
	}
	return ends, err
}

// lag is how many records a pipeline has not committed, of those up to the ends.
func lag(st obs.PipelineStatus, ends map[int32]int64) int64 {
	n := int64(0)
	for _, end := range ends {
		n += end
	}
	for _, p := range st.Partitions {
		n -= max(0, min(p.Committed, ends[p.Partition]))
	}
	return n
}

// one is the status of a pipeline among others.
func one(all []obs.PipelineStatus, name string) obs.PipelineStatus {
	for _, st := range all {
		if st.Name == name {
			return st
		}
	}
	return obs.PipelineStatus{Name: name}
}

// experimentLimit bounds each wait.
const experimentLimit = 5 * time.Minute

// until asks every so often, and shows once a second how it is.
func (x *experiment) until(ctx context.Context, what string, show func(), cond func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, experimentLimit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		if done, err := cond(); done || err != nil {
			return err
		}
		if show != nil && n%10 == 0 {
			show()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// produced is what a generator has done, once it has ended.
type produced struct {
	n   int64
	err error
}

// produce sends clicks in the background.
func (x *experiment) produce(ctx context.Context, n int64, rate int) <-chan produced {
	done := make(chan produced, 1)
	go func() {
		sent, err := x.d.Produce(ctx, n, rate)
		done <- produced{sent[x.d.Topics()[0].Name], err}
	}()
	return done
}

// verified proves for both stores that all clicks are in them once, and that they are the same ones.
func (x *experiment) verified(ctx context.Context, total int64) (reports []*verify.Report, err error) {
	l, err := openLake(ctx, x.cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.catalog.Close()) }()
	for i := range x.cfg.Pipelines {
		p := &x.cfg.Pipelines[i]
		r, err := verifyOne(ctx, x.cfg, p, l)
		if err != nil {
			return nil, fmt.Errorf("verifying pipeline %s: %w", p.Name, err)
		}
		rows := int64(0)
		for _, part := range r.Partitions {
			rows += part.Rows
		}
		x.claim(r.OK() && rows == total, "verify: table %s of group %s has %d of %d clicks, each once, with nothing lost (%s)", r.Table, p.Source.Group, rows, total, count(len(r.Problems), "problem"))
		for _, problem := range r.Problems {
			x.say("          %s", problem)
		}
		reports = append(reports, r)
	}
	same := len(reports) == 2 && slices.Equal(reports[0].Partitions, reports[1].Partitions)
	x.claim(same, "both stores have the same offsets of every partition")
	return reports, nil
}

// partitionList writes numbers of partitions.
func partitionList(ps []int32) string {
	slices.Sort(ps)
	var out []string
	for _, p := range ps {
		out = append(out, fmt.Sprint(p))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}
