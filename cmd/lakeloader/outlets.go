package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/source"
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
