package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/routes"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

const (
	// routeTTL is how long the routes of a process that died on another machine wait for one that takes them over.
	routeTTL = time.Minute
	// routeDrain is how long routes may take to send what the last commit brought, when the daemon stops.
	routeDrain = 5 * time.Second
	// routePatience is how long a fetch may be held up by routes that send before the commit.
	routePatience = time.Second
)

// routed is the routes of a pipeline.
type routed struct {
	run   []func(ctx context.Context)
	wakes []chan struct{}
	takes []func(b *batch.Batch)
}

// take passes rows on to the routes that send before the commit.
func (r *routed) take(b *batch.Batch) {
	for _, f := range r.takes {
		f(b)
	}
}

// committed wakes the routes.
func (r *routed) committed() {
	for _, w := range r.wakes {
		select {
		case w <- struct{}{}:
		default: // it is about to look
		}
	}
}

// outlets adds the routes of all pipelines to what they work with, and says what is to be run.
func (d *daemon) outlets(ctx context.Context, all []pipeline.Deps) (run []func(ctx context.Context), err error) {
	for i := range d.cfg.Pipelines {
		r, err := d.route(ctx, &d.cfg.Pipelines[i], &all[i])
		if err != nil {
			return nil, err
		}
		run = append(run, r.run...)
	}
	return run, nil
}

// route adds the routes of a pipeline to what it works with. They run until ctx ends.
func (d *daemon) route(ctx context.Context, p *configs.Pipeline, deps *pipeline.Deps) (*routed, error) {
	r := &routed{}
	for i := range p.Outlets {
		o := &p.Outlets[i]
		log, rec := d.log.With("pipeline", p.Name, "route", o.Name), deps.Recorder.Route(o.Name, o.Target(), o.Mode)
		if o.Mode == "immediate" {
			m, err := d.immediate(ctx, p, o, rec, log)
			if err != nil {
				return nil, err
			}
			r.takes = append(r.takes, m.Take)
			r.run = append(r.run, func(ctx context.Context) { m.Run(ctx, d.drain) })
			continue
		}
		wake := make(chan struct{}, 1)
		of, err := d.routeDeps(p, o, log)
		if err != nil {
			return nil, err
		}
		of.Recorder, of.Wake, of.Stop = rec, wake, d.drain
		r.run, r.wakes = append(r.run, routes.New(o, of).Run), append(r.wakes, wake)
	}
	if len(r.wakes) > 0 {
		deps.Committed = r.committed
	}
	if len(r.takes) > 0 {
		deps.Rows = r.take
	}
	return r, nil
}

func (d *daemon) immediate(ctx context.Context, p *configs.Pipeline, o *configs.Outlet, rec *obs.Route, log *slog.Logger) (*routes.Immediate, error) {
	deps := routes.ImmediateDeps{Recorder: rec, Log: log, Now: point.Now, Wait: routePatience}
	if o.Topic != nil {
		deps.NewProducer = func(ctx context.Context) (routes.Producer, error) {
			return source.NewProducer(ctx, d.cfg.Kafka, o.Topic.Name, routeGroup(p, o), log)
		}
		var err error
		if deps.NewSchema, err = d.registers(o); err != nil {
			return nil, err
		}
	}
	return routes.NewImmediate(ctx, o, deps), nil
}

// registers is nil for a topic whose messages need no schema.
func (d *daemon) registers(o *configs.Outlet) (func(ctx context.Context, subject, kind, text string) (int, error), error) {
	if o.Topic.Format == "json" {
		return nil, nil
	}
	client, err := schemas.NewRegistryClient(d.cfg.Registry)
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	return client.Register, nil
}

// routeGroup names the group and the transactional id of a topic's route. Names have no dots; the pipeline's group is what tells two lakes with such
// a pipeline apart.
func routeGroup(p *configs.Pipeline, o *configs.Outlet) string { return p.Source.Group + "." + o.Name }

// routeJob is what the leases of a pipeline's routes are for.
func routeJob(p *configs.Pipeline) string { return "route-" + p.Name }

func (d *daemon) routeLeases(log *slog.Logger) *jobs.Leases {
	l := newUpkeep(d.cfg, d.lake, log).leases()
	l.TTL, l.Keep, l.Outbox = routeTTL, 1, ""
	return l
}

func (d *daemon) routeDeps(p *configs.Pipeline, o *configs.Outlet, log *slog.Logger) (routes.Deps, error) {
	primary, _ := pipeline.Idents(d.cfg, p)
	id := routeGroup(p, o)
	leases := d.routeLeases(log)
	deps := routes.Deps{
		Reader: &follow.Reader{Catalog: d.lake.catalog, Objects: d.lake.objects, Root: d.lake.root, Pipeline: p.Name, Primary: primary, Missing: func(id table.Ident) {
			log.Error("a table that rows were routed to is gone, and its rows with it: those that were not sent yet never will be", "table", id)
		}},
		Cursors: &routes.Cursors{Store: d.lake.objects, Root: d.lake.root, Pipeline: p.Name, Route: o.Name},
		Info:    func(ctx context.Context) (table.Info, error) { return d.lake.catalog.Info(ctx, primary) },
		Lease: func(ctx context.Context, f func(context.Context) error) error {
			_, err := leases.Do(ctx, routeJob(p), o.Name, func(ctx context.Context) (*jobs.Report, error) { return nil, f(ctx) })
			if errors.Is(err, jobs.ErrHeld) {
				return errors.Join(routes.ErrHeld, err)
			}
			return err
		},
		Log: log, Now: point.Now, Poll: min(max(time.Duration(p.Commit.Interval)/2, time.Second), 10*time.Second),
	}
	if o.Topic == nil {
		return deps, nil
	}
	deps.NewTopic = func(ctx context.Context) (routes.Topic, error) {
		return source.NewTransactor(ctx, d.cfg.Kafka, o.Topic.Name, id, id, log)
	}
	var err error
	deps.NewSchema, err = d.registers(o)
	return deps, err
}
