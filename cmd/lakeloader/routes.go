package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

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
)

// routed is the routes of a pipeline.
type routed struct {
	all   []*routes.Route
	wakes []chan struct{}
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

// routes makes the routes of a pipeline that send what was committed.
func (d *daemon) routes(p *configs.Pipeline, rec *obs.Recorder, drain <-chan struct{}) (*routed, error) {
	r := &routed{}
	for i := range p.Outlets {
		o := &p.Outlets[i]
		if o.Mode != "committed" {
			continue
		}
		wake := make(chan struct{}, 1)
		deps, err := d.routeDeps(p, o, d.log.With("pipeline", p.Name, "route", o.Name))
		if err != nil {
			return nil, err
		}
		deps.Recorder, deps.Wake, deps.Stop = rec.Route(o.Name, o.Target(), o.Mode), wake, drain
		r.all, r.wakes = append(r.all, routes.New(o, deps)), append(r.wakes, wake)
	}
	return r, nil
}

func (d *daemon) routeDeps(p *configs.Pipeline, o *configs.Outlet, log *slog.Logger) (routes.Deps, error) {
	primary, _ := pipeline.Idents(d.cfg, p)
	id := "lakeloader-" + p.Name + "-" + o.Name
	leases := newUpkeep(d.cfg, d.lake, log).leases()
	leases.TTL, leases.Keep, leases.Outbox = routeTTL, 1, ""
	deps := routes.Deps{
		Reader: &follow.Reader{Catalog: d.lake.catalog, Objects: d.lake.objects, Root: d.lake.root, Pipeline: p.Name, Primary: primary, Missing: func(id table.Ident) {
			log.Error("a table that rows were routed to is gone, and its rows with it: those that were not sent yet never will be", "table", id)
		}},
		Cursors: &routes.Cursors{Store: d.lake.objects, Root: d.lake.root, Pipeline: p.Name, Route: o.Name},
		Info:    func(ctx context.Context) (table.Info, error) { return d.lake.catalog.Info(ctx, primary) },
		Lease: func(ctx context.Context, f func(context.Context) error) error {
			_, err := leases.Do(ctx, "route-"+p.Name, o.Name, func(ctx context.Context) (*jobs.Report, error) { return nil, f(ctx) })
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
		return source.NewTransactions(ctx, d.cfg.Kafka, o.Topic.Name, id, id, log)
	}
	if o.Topic.Format != "json" {
		client, err := schemas.NewRegistryClient(d.cfg.Registry)
		if err != nil {
			return deps, fail(exitUsage, err)
		}
		deps.NewSchema = client.Register
	}
	return deps, nil
}
