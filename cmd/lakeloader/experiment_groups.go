package main

import (
	"context"
	"errors"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/source"
)

// groups are the consumers that run, and how far each of their groups is behind.
type groups struct {
	x       *experiment
	running []*consumer
}

func (g *groups) lags(ctx context.Context) (map[string]int64, error) {
	ends, err := g.x.ends(ctx)
	out := map[string]int64{}
	for _, c := range g.running {
		for _, st := range c.state.Status().Pipelines {
			out[st.Name] = lag(st, ends)
		}
	}
	return out, err
}

func (g *groups) show(ctx context.Context) {
	all, err := g.lags(ctx)
	if err != nil {
		return
	}
	for _, c := range g.running {
		for _, st := range c.state.Status().Pipelines {
			g.x.say("    %-20s loaded %8d   lag %8d", g.x.group(st.Name), st.Rows, all[st.Name])
		}
	}
}

func (g *groups) level(ctx context.Context) (bool, error) {
	all, err := g.lags(ctx)
	for _, n := range all {
		if n > 0 {
			return false, err
		}
	}
	return true, err
}

// stop stops all that run.
func (g *groups) stop() (err error) {
	all := g.running
	g.running = nil
	for _, c := range all {
		err = errors.Join(err, c.stop())
	}
	return err
}

// newGroup: half of the clicks are there before the second group is. It must get them all the same, while the rest arrives.
func (x *experiment) newGroup(ctx context.Context) (err error) {
	before := x.f.records / 2
	history := <-x.produce(ctx, before, x.f.rate)
	if history.err != nil {
		return history.err
	}
	g := &groups{x: x}
	defer func() { err = errors.Join(err, g.stop()) }()
	first, err := x.begin(ctx, nil, archiver)
	if err != nil {
		return err
	}
	g.running = append(g.running, first)
	show := func() { g.show(ctx) }
	if err := x.until(ctx, "the first group", show, func() (bool, error) { return g.level(ctx) }); err != nil {
		return err
	}
	show()
	x.say("\n  %s has all %d clicks of the topic. Now %s goes live, and clicks go on coming.", x.group(archiver), history.n, x.group(secondStore))
	live := x.produce(ctx, x.f.records-before, max(x.f.rate, int(x.f.records/10)))
	second, err := x.begin(ctx, nil, secondStore)
	if err != nil {
		return err
	}
	g.running = append(g.running, second)
	began := time.Now()
	var rest *produced
	if err := x.until(ctx, "the second group", show, func() (bool, error) {
		select {
		case p := <-live:
			rest = &p
		default:
		}
		if rest == nil {
			return false, nil
		}
		done, err := g.level(ctx)
		return done, errors.Join(err, rest.err)
	}); err != nil {
		return err
	}
	show()
	x.say("")
	took := time.Since(began)
	if err := g.stop(); err != nil {
		return err
	}
	reports, err := x.verified(ctx, history.n+rest.n)
	if err != nil {
		return err
	}
	begun := len(reports) == 2
	for _, p := range reports[len(reports)-1].Partitions {
		begun = begun && p.First == 0
	}
	x.claim(begun && len(reports[1].Partitions) > 0, "%s began at offset 0 of every partition, and has the %d clicks from before it went live; it took %.1f s to be level", x.group(secondStore), history.n, took.Seconds())
	return nil
}

// slowGroup: the second group is held to a few clicks a second.
func (x *experiment) slowGroup(ctx context.Context) (err error) {
	rate := x.f.rate
	if rate == 0 {
		rate = int(x.f.records / 10)
	}
	limit := max(1, rate/4)
	brake := make(chan struct{})
	c, err := x.begin(ctx, held(limit, brake), archiver, secondStore)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			err = errors.Join(err, c.stop())
		}
	}()
	x.say("  clicks come at %d a second; %s is held to %d a second", rate, x.group(secondStore), limit)
	status := func() (fast, second obs.PipelineStatus, lags [2]int64, err error) {
		ends, err := x.ends(ctx)
		all := c.state.Status().Pipelines
		fast, second = one(all, archiver), one(all, secondStore)
		return fast, second, [2]int64{lag(fast, ends), lag(second, ends)}, err
	}
	show := func() {
		if fast, second, lags, err := status(); err == nil {
			x.say("    %-20s loaded %8d   lag %8d      %-16s loaded %8d   lag %8d", x.group(archiver), fast.Rows, lags[0], x.group(secondStore), second.Rows, lags[1])
		}
	}
	began := time.Now()
	live := x.produce(ctx, x.f.records, rate)
	var all *produced
	level := func(which ...int) func() (bool, error) {
		return func() (bool, error) {
			if all == nil {
				select {
				case p := <-live:
					all = &p
				default:
					return false, nil
				}
			}
			_, _, lags, err := status()
			for _, i := range which {
				if lags[i] > 0 {
					return false, errors.Join(err, all.err)
				}
			}
			return true, errors.Join(err, all.err)
		}
	}
	if err := x.until(ctx, "the fast group", show, level(0)); err != nil {
		return err
	}
	show()
	took := time.Since(began)
	_, second, lags, err := status()
	if err != nil {
		return err
	}
	x.say("")
	x.claim(lags[1] > 0, "%s was level after %.1f s, while %s was %d clicks behind: the slow group did not delay the fast one", x.group(archiver), took.Seconds(), x.group(secondStore), lags[1])
	want := int64(float64(limit) * took.Seconds() / 3) // commits, and a busy machine, take their share
	x.claim(second.Records >= want, "%s had read %d clicks, at a limit of %d a second: the fast group did not delay the slow one", x.group(secondStore), second.Records, limit)
	reported := func(name string) int64 { return reportedLag(one(c.state.Status().Pipelines, name)) }
	if err := x.until(ctx, "the status to say so", nil, func() (bool, error) { return reported(archiver) == 0 && reported(secondStore) > 0, nil }); err != nil {
		return err
	}
	x.claim(true, "the status shows each group's lag: %d and %d clicks", reported(archiver), reported(secondStore))
	x.say("\n  the brake is taken off")
	close(brake)
	if err := x.until(ctx, "the slow group", show, level(0, 1)); err != nil {
		return err
	}
	show()
	x.say("")
	stopped = true
	if err := c.stop(); err != nil {
		return err
	}
	_, err = x.verified(ctx, all.n)
	return err
}

// held has the second group fetch no more than so many records a second, until off is closed.
func held(rate int, off <-chan struct{}) func(p *configs.Pipeline, d *pipeline.Deps) {
	return func(p *configs.Pipeline, d *pipeline.Deps) {
		if p.Name != secondStore {
			return
		}
		next := d.NewConsumer
		d.NewConsumer = func(h source.Handler) (pipeline.Consumer, error) {
			inner, err := next(h)
			return &limited{Consumer: inner, rate: rate, off: off}, err
		}
	}
}

// reportedLag is what the status says that a pipeline is behind.
func reportedLag(st obs.PipelineStatus) (n int64) {
	for _, p := range st.Partitions {
		n += p.LagRecords
	}
	return n
}

// limited fetches no more than so many records a second, until off is closed. It serves rebalances all the time.
type limited struct {
	pipeline.Consumer
	rate int
	off  <-chan struct{}
	owed time.Duration
}

// Poll implements pipeline.Consumer.
func (l *limited) Poll(ctx context.Context, r *batch.Records, wait time.Duration) error {
	select {
	case <-l.off:
		return l.Consumer.Poll(ctx, r, wait)
	default:
	}
	if l.owed > 0 {
		pause := min(l.owed, 100*time.Millisecond)
		l.owed -= pause
		return l.Serve(ctx, pause)
	}
	before := r.Len()
	err := l.Consumer.Poll(ctx, r, wait)
	l.owed += time.Duration(r.Len()-before) * time.Second / time.Duration(l.rate)
	return err
}
