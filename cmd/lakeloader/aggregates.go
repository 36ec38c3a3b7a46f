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

// targets are the tables of an aggregate.
func targets(cfg *configs.Config, a *configs.Aggregate) (all []table.Ident) {
	for _, name := range []string{a.Table, a.Rollups.Week, a.Rollups.Month} {
		if name != "" {
			all = append(all, named(cfg, name))
		}
	}
	return all
}

// aggregates are the jobs of all aggregates.
func (u *upkeep) aggregates() (all []jobs.Job) {
	for i := range u.cfg.Aggregates {
		a := &u.cfg.Aggregates[i]
		all = append(all, jobs.Job{Name: a.Name, Schedule: schedule(a.Schedule), Heavy: true, Tasks: func(ctx context.Context) ([]jobs.Task, error) { return u.aggregate(ctx, a) }})
	}
	return all
}

// aggregate is the task of an aggregate; none while there is no source.
func (u *upkeep) aggregate(ctx context.Context, a *configs.Aggregate) ([]jobs.Task, error) {
	source := named(u.cfg, a.Source)
	if _, err := u.lake.catalog.Info(ctx, source); errors.Is(err, table.ErrNoTable) {
		u.log.Warn("the aggregate's source does not exist (yet)", "aggregate", a.Name, "source", source.String())
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("looking for table %s: %w", source, err)
	}
	return []jobs.Task{{Job: a.Name, Target: named(u.cfg, a.Table).String(),
		Plan: func(ctx context.Context) (*jobs.Report, error) {
			return u.withAggregator(ctx, a, func(g *aggregate.Aggregator) (*jobs.Report, error) {
				r, err := g.Plan(ctx, u.days)
				return aggregateReport(g, r, false, err)
			})
		},
		Run: func(ctx context.Context) (*jobs.Report, error) {
			return u.withAggregator(ctx, a, func(g *aggregate.Aggregator) (*jobs.Report, error) {
				r, err := g.Run(ctx, u.days)
				report, err := aggregateReport(g, r, true, err)
				return u.publish(ctx, a, report, err)
			})
		}}}, nil
}

// withAggregator opens an aggregate's engine for as long as do takes.
func (u *upkeep) withAggregator(ctx context.Context, a *configs.Aggregate, do func(*aggregate.Aggregator) (*jobs.Report, error)) (r *jobs.Report, err error) {
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
	return do(&aggregate.Aggregator{Name: a.Name, Source: named(u.cfg, a.Source), Target: named(u.cfg, a.Table), Time: a.Time, Zone: zone,
		Define: func(ctx context.Context, source table.Info, clock aggregate.Clock) (aggregate.Calculation, error) {
			return calculation(ctx, a, source.Row, clock, embedded)
		},
		KeepVanished: a.OnVanished == "keep", Catalog: u.lake.catalog, Objects: u.lake.objects, Root: u.lake.root, Engine: engine, EngineName: a.Engine,
		MaxFetch: int64(a.MaxFetch), Files: a.Files, Now: u.now, Wait: table.Backoff(2 * time.Second), OrphanAge: pipeline.OrphanAge, Batch: aggregateDays})
}

// calculation is what an aggregate has of each day.
func calculation(ctx context.Context, a *configs.Aggregate, row *batch.Type, clock aggregate.Clock, r aggregate.Reader) (aggregate.Calculation, error) {
	if a.SQL == "" {
		def := measures.Definition{GroupBy: a.GroupBy, Where: a.Where, Time: a.Time, TimeZone: a.TimeZone}
		for _, m := range a.Measures {
			def.Measures = append(def.Measures, measures.Measure{Name: m.Name, Text: m.Measure})
		}
		return aggregate.NewMeasured(def, row, int64(a.Memory)/4, a.Engine != configs.Embedded)
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
	r.Summary = fmt.Sprintf("%s from %s, %d bytes", count(len(x.Changed), "day"), count(x.Files, "file"), x.Bytes)
	if x.Fetched > 0 {
		r.Summary += fmt.Sprintf(", %d of them fetched", x.Fetched)
	}
	r.Summary += ", engine " + g.EngineName
	if done {
		r.Numbers["rows"] = x.Rows
		r.Summary += ", now " + count(x.Rows, "row")
	}
	if len(x.Removed) > 0 {
		r.Summary += fmt.Sprintf("; %s removed", count(len(x.Removed), "day"))
	}
	r.Details = append(r.Details, spans("changed", x.Changed)...)
	r.Details = append(r.Details, spans("without rows", x.Removed)...)
	for _, l := range x.Left {
		r.Details = append(r.Details, "left for the removal of orphans: "+l)
	}
	return r, err
}

// spans lists days, those that follow each other as one.
func spans(what string, days []aggregate.Day) (out []string) {
	for i := 0; i < len(days); {
		j := i
		for j+1 < len(days) && days[j+1] == days[j]+1 {
			j++
		}
		text := days[i].String()
		if j > i {
			text += " to " + days[j].String()
		}
		if out = append(out, what+": "+text); len(out) == 20 && j+1 < len(days) {
			return append(out, fmt.Sprintf("%s: and %s more", what, count(len(days)-j-1, "day")))
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
