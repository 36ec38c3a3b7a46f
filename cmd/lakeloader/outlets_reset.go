package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/routes"
	"github.com/lakeloader/lakeloader/table"
)

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
