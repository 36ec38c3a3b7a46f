package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/routes"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

func newRoutes() *cobra.Command {
	c := &cobra.Command{
		Use:   "routes",
		Short: "Show how far routes have come, and move them",
		Long: `routes works on the cursors of a configuration's routes of the mode committed: how far each has come in what is committed to its
pipeline's tables. See docs/routes.md.`,
		Example: `  lakeloader routes list -c lakeloader.yaml
  lakeloader routes reset -c lakeloader.yaml --pipeline ratings --route slack --to now --yes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newRoutesList(), newRoutesReset())
	return c
}

func newRoutesList() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "Show the cursors of routes, and what is behind them",
		Long: `list shows for each route and partition the cursor, where the committed offsets end, how many offsets the route has not been
over, and who sends. Daemons may be running, and need not. For routes to topics Kafka is asked for the offsets of the route's group.`,
		Example: `  lakeloader routes list -c lakeloader.yaml
  lakeloader routes list -c lakeloader.yaml --pipeline ratings -o json`,
		Args: cobra.NoArgs,
	}
	path, out := configFlag(c), outputFlag(c, "text", "json")
	only := c.Flags().String("pipeline", "", "the routes of this pipeline only")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		return withRoutes(c, *path, func(d *daemon) error {
			list, err := d.listRoutes(c.Context(), *only)
			switch {
			case err != nil:
				return err
			case *out == "json":
				return writeJSON(c.OutOrStdout(), list)
			}
			return printRouteList(c.OutOrStdout(), list)
		})
	}
	return c
}

func newRoutesReset() *cobra.Command {
	c := &cobra.Command{
		Use:   "reset",
		Short: "Move the cursor of a route on purpose",
		Long: `reset moves the cursor of one route: rows behind it are sent, also those that were sent before, and what lies before it is not.
--to says where to:

  now            behind all that is committed: nothing of it is sent
  earliest       before all that is committed: everything is sent (again)
  a day or time  before the first row of each partition whose record is not older, by Kafka's timestamps
  snapshot:ID    behind the last row of each partition that the pipeline's table had in that snapshot

It is refused while a daemon sends: stop the daemons first. For a route to a topic the offsets of its consumer group move too, and an
instance that still has a transaction open is fenced. Without --yes it only shows what would be done.`,
		Example: `  lakeloader routes reset -c lakeloader.yaml --pipeline ratings --route slack --to now --yes
  lakeloader routes reset -c lakeloader.yaml --route index --to 2026-11-20T12:00:00Z`,
		Args: cobra.NoArgs,
	}
	path, out := configFlag(c), outputFlag(c, "text", "json")
	name := c.Flags().String("pipeline", "", "the pipeline; may be left out if there is only one")
	route := c.Flags().String("route", "", "the route")
	to := c.Flags().String("to", "", "now, earliest, a day, a time, or snapshot:ID")
	yes := c.Flags().Bool("yes", false, "do it; without it only what would be done is shown")
	_, _ = c.MarkFlagRequired("route"), c.MarkFlagRequired("to") // they fail for unknown flags only
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		at, err := parsePlace(*to)
		if err != nil {
			return err
		}
		return withRoutes(c, *path, func(d *daemon) error {
			p, err := onePipeline(d.cfg, *name)
			if err != nil {
				return err
			}
			o, err := oneRoute(p, *route)
			if err != nil {
				return err
			}
			rep, err := d.resetRoute(c.Context(), p, o, at, *yes)
			switch {
			case err != nil:
				return fail(exitFailed, fmt.Errorf("pipeline %s, route %s: %w", p.Name, o.Name, err))
			case *out == "json":
				return writeJSON(c.OutOrStdout(), rep)
			}
			return printReset(c.OutOrStdout(), rep)
		})
	}
	return c
}

// withRoutes gives a command the lake of a configuration. Warnings go to standard error.
func withRoutes(c *cobra.Command, path string, do func(d *daemon) error) error {
	return withLake(c.Context(), path, func(cfg *configs.Config, l *lake) (err error) {
		log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
		d := &daemon{cfg: cfg, lake: l, log: log, state: obs.NewState(version, time.Now)}
		defer func() {
			if d.admin != nil {
				d.admin.Close()
			}
		}()
		return do(d)
	})
}

// oneRoute finds a route that has a cursor.
func oneRoute(p *configs.Pipeline, name string) (*configs.Outlet, error) {
	var names []string
	for i := range p.Outlets {
		o := &p.Outlets[i]
		switch {
		case o.Name == name && o.Mode == "immediate":
			return nil, fail(exitUsage, fmt.Errorf("route %s of pipeline %s sends before the commit (mode: immediate): it has no cursor", name, p.Name))
		case o.Name == name:
			return o, nil
		}
		names = append(names, o.Name)
	}
	return nil, fail(exitUsage, fmt.Errorf("pipeline %s has no route %q: it has %v", p.Name, name, names))
}

// place is where a route is to go on.
type place struct {
	now, earliest bool
	since         time.Time
	snapshot      int64
}

func parsePlace(text string) (at place, err error) {
	if id, is := strings.CutPrefix(text, "snapshot:"); is {
		if at.snapshot, err = strconv.ParseInt(id, 10, 64); err == nil && at.snapshot > 0 {
			return at, nil
		}
	}
	switch text {
	case "now":
		return place{now: true}, nil
	case "earliest":
		return place{earliest: true}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return place{since: t}, nil
		}
	}
	return at, fail(exitUsage, fmt.Errorf("--to %q is neither now, earliest, a day (2006-01-02, UTC), a time (2006-01-02T15:04:05Z) nor snapshot:ID", text))
}

// cursor finds the place in what is committed.
func (at place) cursor(ctx context.Context, r *follow.Reader, s *follow.State) (follow.Cursor, error) {
	switch {
	case at.now:
		return s.End(), nil
	case at.earliest:
		return s.Begin(), nil
	case at.snapshot != 0:
		return r.Behind(ctx, s, at.snapshot)
	}
	return r.Since(ctx, s, at.since)
}

// routeAt is how far a route has come.
type routeAt struct {
	Pipeline string `json:"pipeline"`
	Route    string `json:"route"`
	Target   string `json:"target"`
	Mode     string `json:"mode"`
	// Begun: it has a cursor; without one, and in the mode immediate, there are no partitions.
	Begun bool `json:"begun"`
	// Behind is how many committed offsets it has not been over.
	Behind int64 `json:"offsets_behind"`
	// Holder is who sends; empty: nobody.
	Holder     string           `json:"held_by,omitempty"`
	Partitions []routePartition `json:"partitions"`
	// Replaced: the cursor is about a table that was dropped and created again.
	Replaced bool `json:"table_replaced,omitempty"`
}

type routePartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Epoch     int32  `json:"epoch"`
	Next      int64  `json:"next"`
	Committed int64  `json:"committed"`
	Behind    int64  `json:"offsets_behind"`
}

func (d *daemon) listRoutes(ctx context.Context, only string) ([]routeAt, error) {
	list := []routeAt{}
	known := only == ""
	for i := range d.cfg.Pipelines {
		p := &d.cfg.Pipelines[i]
		if only != "" && p.Name != only {
			continue
		}
		known = true
		for j := range p.Outlets {
			r, err := d.routeAt(ctx, p, &p.Outlets[j])
			if err != nil {
				return nil, fail(exitFailed, fmt.Errorf("pipeline %s, route %s: %w", p.Name, p.Outlets[j].Name, err))
			}
			list = append(list, r)
		}
	}
	if !known {
		return nil, fail(exitUsage, fmt.Errorf("the configuration has no pipeline %q", only))
	}
	return list, nil
}

func (d *daemon) routeAt(ctx context.Context, p *configs.Pipeline, o *configs.Outlet) (r routeAt, err error) {
	r = routeAt{Pipeline: p.Name, Route: o.Name, Target: o.Target(), Mode: o.Mode, Partitions: []routePartition{}}
	if o.Mode == "immediate" {
		return r, nil
	}
	deps, err := d.routeDeps(p, o, d.log)
	if err != nil {
		return r, err
	}
	var offsets map[source.Partition]source.GroupOffset
	if o.Topic != nil {
		if d.admin == nil {
			if d.admin, err = source.NewAdmin(d.cfg.Kafka, d.log); err != nil {
				return r, err
			}
		}
		if offsets, err = d.admin.GroupOffsets(ctx, routeGroup(p, o)); err != nil {
			return r, err
		}
	}
	at, begun, err := deps.Cursors.Where(ctx, offsets)
	if err != nil {
		return r, err
	}
	s, err := deps.Reader.State(ctx)
	if err != nil {
		return r, err
	}
	if r.Holder, err = d.holder(ctx, p, o); err != nil {
		return r, err
	}
	end := s.End()
	r.Begun, r.Replaced = begun, begun && at.UUID != "" && end.UUID != at.UUID
	if begun && !r.Replaced {
		r.compare(at, s)
	}
	return r, nil
}

// compare fills in the partitions: those that are committed, and those that the cursor has.
func (r *routeAt) compare(at follow.Cursor, s *follow.State) {
	end, lags := s.End(), follow.Lags(at, s.Ledger)
	keys := end.Keys()
	for _, k := range at.Keys() {
		if _, known := end.Partitions[k]; !known {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		now, is := at.Partitions[k], end.Partitions[k]
		r.Partitions = append(r.Partitions, routePartition{k.Topic, k.Partition, now.Epoch, now.Next, is.Next, lags[k]})
		r.Behind += lags[k]
	}
}

// holder is who has the lease of a route; empty: nobody.
func (d *daemon) holder(ctx context.Context, p *configs.Pipeline, o *configs.Outlet) (string, error) {
	l := d.routeLeases(d.log)
	last, err := l.History(ctx, routeJob(p), o.Name, 1)
	if err != nil || len(last) == 0 || !last[0].Ended.IsZero() || !l.Now().Before(last[0].Until) || l.Gone(last[0].Owner) {
		return "", err
	}
	return last[0].Owner, nil
}

func printRouteList(w io.Writer, list []routeAt) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "There are no routes.")
		return err
	}
	for _, r := range list {
		fmt.Fprintf(w, "pipeline %s, route %s, %s (%s): ", r.Pipeline, r.Route, r.Target, r.Mode)
		switch {
		case r.Mode == "immediate":
			fmt.Fprintln(w, "it sends before the commit and has no cursor")
			continue
		case r.Replaced:
			fmt.Fprintln(w, "its table was dropped and created again: move the cursor with lakeloader routes reset")
			continue
		case !r.Begun:
			fmt.Fprintln(w, "it has not begun")
			continue
		}
		fmt.Fprintf(w, "%s behind", count(r.Behind, "offset"))
		if r.Holder != "" {
			fmt.Fprintf(w, ", %s sends", r.Holder)
		}
		fmt.Fprintln(w)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(tw, "topic\tpartition\tepoch\tcursor\tcommitted\tbehind\t")
		for _, p := range r.Partitions {
			fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t\n", p.Topic, p.Partition, p.Epoch, p.Next, p.Committed, p.Behind)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// resetReport is what a reset does.
type resetReport struct {
	Pipeline   string           `json:"pipeline"`
	Route      string           `json:"route"`
	Partitions []resetPartition `json:"partitions"`
	// Behind is how many committed offsets lie behind the cursor then.
	Behind int64 `json:"offsets_behind"`
	Done   bool  `json:"done"`
}

type resetPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	FromEpoch int32  `json:"from_epoch"`
	From      int64  `json:"from"`
	ToEpoch   int32  `json:"to_epoch"`
	To        int64  `json:"to"`
	Behind    int64  `json:"offsets_behind"`
}

func (d *daemon) resetRoute(ctx context.Context, p *configs.Pipeline, o *configs.Outlet, to place, yes bool) (*resetReport, error) {
	deps, err := d.routeDeps(p, o, d.log)
	if err != nil {
		return nil, err
	}
	var s *follow.State
	find := func(ctx context.Context) (follow.Cursor, error) {
		if s, err = deps.Reader.State(ctx); err != nil {
			return follow.Cursor{}, err
		}
		return to.cursor(ctx, deps.Reader, s)
	}
	var from, at follow.Cursor
	if yes {
		from, at, err = routes.New(o, deps).Reset(ctx, find)
	} else {
		from, at, err = d.foresee(ctx, p, o, find)
	}
	if errors.Is(err, routes.ErrHeld) {
		return nil, fmt.Errorf("%w: stop the daemons that run this route first", err)
	}
	if err != nil {
		return nil, err
	}
	rep := &resetReport{Pipeline: p.Name, Route: o.Name, Partitions: []resetPartition{}, Done: yes}
	lags := follow.Lags(at, s.Ledger)
	for _, k := range at.Keys() {
		was, is := from.Partitions[k], at.Partitions[k]
		rep.Partitions = append(rep.Partitions, resetPartition{k.Topic, k.Partition, was.Epoch, was.Next, is.Epoch, is.Next, lags[k]})
	}
	for _, n := range lags {
		rep.Behind += n
	}
	return rep, nil
}

// foresee finds where a route is and would be.
func (d *daemon) foresee(ctx context.Context, p *configs.Pipeline, o *configs.Outlet, find func(context.Context) (follow.Cursor, error)) (from, at follow.Cursor, err error) {
	if at, err = find(ctx); err != nil {
		return from, at, err
	}
	now, err := d.routeAt(ctx, p, o)
	if err != nil {
		return from, at, err
	}
	if now.Holder != "" {
		return from, at, fmt.Errorf("%w: %s", routes.ErrHeld, now.Holder)
	}
	from = follow.Cursor{Partitions: map[table.Key]follow.Position{}}
	for _, x := range now.Partitions {
		from.Partitions[table.Key{Topic: x.Topic, Partition: x.Partition}] = follow.Position{Epoch: x.Epoch, Next: x.Next}
	}
	return from, at, nil
}

func printReset(w io.Writer, r *resetReport) error {
	fmt.Fprintf(w, "pipeline %s, route %s\n\n", r.Pipeline, r.Route)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "topic\tpartition\tepoch\tfrom\tepoch\tto\tbehind\t")
	for _, p := range r.Partitions {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", p.Topic, p.Partition, p.FromEpoch, p.From, p.ToEpoch, p.To, p.Behind)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nThe rows of %s behind it are sent when a daemon runs.\n", count(r.Behind, "offset"))
	if r.Done {
		_, err := fmt.Fprintln(w, "Done.")
		return err
	}
	_, err := fmt.Fprintln(w, "Nothing was changed: add --yes to do it.")
	return err
}
