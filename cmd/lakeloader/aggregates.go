package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/measures"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/query"
	"github.com/lakeloader/lakeloader/table"
)

// aggregateDays is how many days an aggregate replaces in one swap.
const aggregateDays = 100

// named is a table as settings name it.
func named(cfg *configs.Config, name string) table.Ident {
	namespace, name, _ := strings.Cut(configs.Qualified(cfg.Catalog.Namespace, name), ".")
	return table.Ident{Namespace: namespace, Name: name}
}

// part is a table of an aggregate: its days, or a roll-up of them.
type part struct {
	of     *configs.Aggregate
	name   string // of what was calculated, in the table's properties
	period aggregate.Period
	source table.Ident
	target table.Ident
}

// parts are the tables of an aggregate, the days first.
func parts(cfg *configs.Config, a *configs.Aggregate) []part {
	days := part{a, a.Name, aggregate.Daily(), named(cfg, a.Source), named(cfg, a.Table)}
	all := []part{days}
	for _, r := range []struct {
		table  string
		period aggregate.Period
	}{{a.Rollups.Week, aggregate.Weekly()}, {a.Rollups.Month, aggregate.Monthly()}} {
		if r.table != "" {
			all = append(all, part{a, a.Name + "." + r.period.Name, r.period, days.target, named(cfg, r.table)})
		}
	}
	return all
}

func (p part) rollup() bool { return p.period.Name != aggregate.ColumnDay }

// aggregates are the jobs of all aggregates.
func (u *upkeep) aggregates() (all []jobs.Job) {
	for i := range u.cfg.Aggregates {
		a := &u.cfg.Aggregates[i]
		all = append(all, jobs.Job{Name: a.Name, Schedule: schedule(a.Schedule), Heavy: true, Tasks: func(ctx context.Context) ([]jobs.Task, error) { return u.aggregate(ctx, a) }})
	}
	return all
}

// aggregate are the tasks of an aggregate, its days and then what is made of them; none while there is no source.
func (u *upkeep) aggregate(ctx context.Context, a *configs.Aggregate) (tasks []jobs.Task, err error) {
	source := named(u.cfg, a.Source)
	if _, err := u.lake.catalog.Info(ctx, source); errors.Is(err, table.ErrNoTable) {
		u.log.Warn("the aggregate's source does not exist (yet)", "aggregate", a.Name, "source", source.String())
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("looking for table %s: %w", source, err)
	}
	for _, p := range parts(u.cfg, a) {
		tasks = append(tasks, jobs.Task{Job: a.Name, Target: p.target.String(),
			Plan: func(ctx context.Context) (*jobs.Report, error) { return u.part(ctx, p, false) },
			Run:  func(ctx context.Context) (*jobs.Report, error) { return u.part(ctx, p, true) }})
	}
	return tasks, nil
}

// part plans or runs a part of an aggregate, with an engine that is open for as long.
func (u *upkeep) part(ctx context.Context, p part, run bool) (r *jobs.Report, err error) {
	a := p.of
	embedded, err := query.NewEngine(query.EngineOptions{Objects: u.lake.objects, MaxFetch: int64(a.MaxFetch), Memory: int64(a.Memory)})
	if err != nil {
		return nil, fmt.Errorf("opening the embedded engine: %w", err)
	}
	defer func() { err = errors.Join(err, embedded.Close()) }()
	engine, release, err := u.engineOf(ctx, a, embedded)
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: %w", a.Name, err)
	}
	defer func() { err = errors.Join(err, release()) }()
	zone, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: time_zone: %w", a.Name, err)
	}
	g := &aggregate.Aggregator{Name: p.name, Source: p.source, Target: p.target, Period: p.period, Time: a.Time, Zone: zone,
		Define: func(ctx context.Context, source table.Info, clock aggregate.Clock) (aggregate.Calculation, error) {
			return calculation(ctx, a, source.Row, clock, embedded)
		},
		KeepVanished: a.OnVanished == "keep", Catalog: u.lake.catalog, Objects: u.lake.objects, Root: u.lake.root, Engine: engine, EngineName: a.Engine,
		MaxFetch: int64(a.MaxFetch), Files: a.Files, Now: u.now, Wait: table.Backoff(2 * time.Second), OrphanAge: pipeline.OrphanAge, Batch: aggregateDays}
	days := u.days
	if p.rollup() {
		g.Time, g.Zone, g.KeepVanished, days = aggregate.ColumnDay, time.UTC, false, nil
		g.Engine, g.EngineName = embedded, configs.Embedded // the days are few, and their sketches are merged here
		g.Define = func(ctx context.Context, _ table.Info, _ aggregate.Clock) (aggregate.Calculation, error) {
			return u.rollup(ctx, p)
		}
	}
	do := g.Plan
	if run {
		do = g.Run
	}
	x, err := do(ctx, days)
	if p.rollup() && errors.Is(err, table.ErrNoTable) {
		return &jobs.Report{Summary: fmt.Sprintf("its days (%s) are not there yet", p.source)}, nil
	}
	r, err = aggregateReport(g, x, run, err)
	if run && !p.rollup() {
		return u.publish(ctx, a, r, err)
	}
	return r, err
}

// rollup is what is made of the days, which are defined over their own source.
func (u *upkeep) rollup(ctx context.Context, p part) (aggregate.Calculation, error) {
	info, err := u.lake.catalog.Info(ctx, named(u.cfg, p.of.Source))
	if err != nil {
		return nil, fmt.Errorf("looking for table %s: %w", named(u.cfg, p.of.Source), err)
	}
	days, err := measured(p.of, info.Row)
	if err != nil {
		return nil, err
	}
	return aggregate.NewRollup(days, p.period)
}

// measured is the short form of an aggregate.
func measured(a *configs.Aggregate, row *batch.Type) (*aggregate.Measured, error) {
	def := measures.Definition{GroupBy: a.GroupBy, Where: a.Where, Time: a.Time, TimeZone: a.TimeZone}
	for _, m := range a.Measures {
		def.Measures = append(def.Measures, measures.Measure{Name: m.Name, Text: m.Measure})
	}
	return aggregate.NewMeasured(def, row, int64(a.Memory)/4, a.Engine != configs.Embedded)
}

// aggregateStates are the states of the aggregates of the configuration, and those that their tables name.
func (u *upkeep) aggregateStates(ctx context.Context) (found []objects.Info, live []string, err error) {
	all, err := aggregate.StateObjects(ctx, u.lake.objects, u.lake.root)
	if err != nil {
		return nil, nil, err
	}
	for i := range u.cfg.Aggregates {
		for _, p := range parts(u.cfg, &u.cfg.Aggregates[i]) {
			id, err := u.namedState(ctx, p)
			if err != nil {
				return nil, nil, err
			}
			for _, o := range all { // those of other configurations' aggregates are left alone
				if o.Aggregate == p.name {
					found = append(found, o.Info)
				}
				if o.Aggregate == p.name && o.ID == id {
					live = append(live, o.URI)
				}
			}
		}
	}
	return found, live, nil
}

// namedState is the state that a table names; empty: none.
func (u *upkeep) namedState(ctx context.Context, p part) (string, error) {
	s, err := u.lake.catalog.Open(ctx, p.target)
	if errors.Is(err, table.ErrNoTable) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("opening table %s: %w", p.target, err)
	}
	base, err := s.Load(ctx)
	if err != nil {
		return "", fmt.Errorf("reading table %s: %w", p.target, err)
	}
	return aggregate.NamedState(p.name, base.Props)
}

// calculation is what an aggregate has of each day.
func calculation(ctx context.Context, a *configs.Aggregate, row *batch.Type, clock aggregate.Clock, r aggregate.Reader) (aggregate.Calculation, error) {
	if a.SQL == "" {
		return measured(a, row)
	}
	s, err := aggregate.NewStatement(ctx, a.SQL, a.Time, row, clock, r)
	if err != nil {
		return nil, fmt.Errorf("sql: %w", err)
	}
	for _, k := range a.Keys {
		if !slices.ContainsFunc(s.Columns(), func(c aggregate.Column) bool { return c.Name == k }) {
			return nil, fmt.Errorf("keys: the result of sql has no column %s", k)
		}
	}
	return s, nil
}

// aggregateReport is what an aggregate did, or would do.
func aggregateReport(g *aggregate.Aggregator, x *aggregate.Report, done bool, err error) (*jobs.Report, error) {
	if x == nil {
		return nil, err
	}
	r := &jobs.Report{Numbers: map[string]int64{"days": int64(len(x.Changed)), "removed_days": int64(len(x.Removed)), "files": int64(x.Files), "bytes": x.Bytes, "fetched_bytes": x.Fetched}}
	r.Summary = fmt.Sprintf("%s from %s, %d bytes", count(len(x.Changed), g.Period.Name), count(x.Files, "file"), x.Bytes)
	if x.Fetched > 0 {
		r.Summary += fmt.Sprintf(", %d of them fetched", x.Fetched)
	}
	r.Summary += ", engine " + g.EngineName
	if done {
		r.Numbers["rows"] = x.Rows
		r.Summary += ", now " + count(x.Rows, "row")
	}
	if len(x.Removed) > 0 {
		r.Summary += fmt.Sprintf("; %s removed", count(len(x.Removed), g.Period.Name))
	}
	r.Details = append(r.Details, spans(g.Period, "changed", x.Changed)...)
	r.Details = append(r.Details, spans(g.Period, "without rows", x.Removed)...)
	for _, l := range x.Left {
		r.Details = append(r.Details, "left for the removal of orphans: "+l)
	}
	return r, err
}

// spans lists periods, those that follow each other as one.
func spans(by aggregate.Period, what string, days []aggregate.Day) (out []string) {
	for i := 0; i < len(days); {
		j := i
		for j+1 < len(days) && days[j+1] == by.Next(days[j]) {
			j++
		}
		text := days[i].String()
		if j > i {
			text += " to " + days[j].String()
		}
		if out = append(out, what+": "+text); len(out) == 20 && j+1 < len(days) {
			return append(out, fmt.Sprintf("%s: and %s more", what, count(len(days)-j-1, by.Name)))
		}
		i = j + 1
	}
	return out
}

// rangeOf reads --from and --to.
func rangeOf(from, to string) (*aggregate.Range, error) {
	if from == "" && to == "" {
		return nil, nil
	}
	if from == "" || to == "" {
		return nil, fail(exitUsage, errors.New("give both --from and --to; the days are both included"))
	}
	f, err := aggregate.ParseDay(from)
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("--from: %w", err))
	}
	t, err := aggregate.ParseDay(to)
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("--to: %w", err))
	}
	if t < f {
		return nil, fail(exitUsage, fmt.Errorf("--to %s is before --from %s", to, from))
	}
	return &aggregate.Range{From: f, To: t}, nil
}

// daysFlags adds --from and --to; the function that it returns reads them for a job.
func daysFlags(c *cobra.Command) func(u *upkeep, job string) error {
	from := c.Flags().String("from", "", "of an aggregate: the first day, such as 2026-11-01, changed or not")
	to := c.Flags().String("to", "", "of an aggregate: the last day")
	return func(u *upkeep, job string) (err error) {
		if u.days, err = rangeOf(*from, *to); err != nil || u.days == nil {
			return err
		}
		if !slices.ContainsFunc(u.cfg.Aggregates, func(a configs.Aggregate) bool { return a.Name == job }) {
			return fail(exitUsage, fmt.Errorf("--from and --to are for aggregates, and %s is none", job))
		}
		return nil
	}
}
