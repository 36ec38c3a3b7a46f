package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/current"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

// currents bring the tables with present rows up to date; none while there are no changes.
func (u *upkeep) currents(ctx context.Context) (tasks []jobs.Task, err error) {
	for i := range u.cfg.Pipelines {
		p := &u.cfg.Pipelines[i]
		if p.Table.Current == nil {
			continue
		}
		a := u.applier(p)
		if _, err := u.lake.catalog.Info(ctx, a.Source); errors.Is(err, table.ErrNoTable) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("looking for table %s: %w", a.Source, err)
		}
		tasks = append(tasks, jobs.Task{Job: "current", Target: a.Target.String(),
			Plan: func(ctx context.Context) (*jobs.Report, error) {
				r, err := a.Plan(ctx)
				return &jobs.Report{Summary: count(r.Lag, "offset") + " to apply", Numbers: map[string]int64{"offsets": r.Lag}}, err
			},
			Run: func(ctx context.Context) (*jobs.Report, error) { return currentReport(a.Run(ctx, u.rebuild)) }})
	}
	return tasks, nil
}

func (u *upkeep) applier(p *configs.Pipeline) *current.Applier {
	source, _ := pipeline.Idents(u.cfg, p)
	k := p.Table.Current
	return &current.Applier{Pipeline: p.Name, Source: source, Target: named(u.cfg, k.Table), Key: k.Key, DeletedFor: time.Duration(k.DeletedFor), Catalog: u.lake.catalog,
		Objects: u.lake.objects, Root: u.lake.root, Files: p.Files, Now: u.now, Wait: table.Backoff(2 * time.Second), OrphanAge: pipeline.OrphanAge, Memory: u.memory}
}

func currentReport(x *current.Report, err error) (*jobs.Report, error) {
	return &jobs.Report{Summary: x.Summary(), Details: x.Details(), Idle: x.Swaps == 0, Numbers: map[string]int64{"swaps": int64(x.Swaps), "changes": x.Changes,
		"written": x.Written, "removed": x.Removed, "late": x.Late, "files": int64(x.Files), "bytes": x.Bytes, "keyless": x.Keyless}}, err
}

// states are those of aggregates and of tables with present rows.
func (u *upkeep) states(ctx context.Context) (found []objects.Info, live []string, err error) {
	if found, live, err = u.aggregateStates(ctx); err != nil {
		return nil, nil, err
	}
	all, err := current.StateObjects(ctx, u.lake.objects, u.lake.root)
	if err != nil {
		return nil, nil, err
	}
	for i := range u.cfg.Pipelines {
		p := &u.cfg.Pipelines[i]
		if p.Table.Current == nil {
			continue
		}
		ids, err := u.namedCurrent(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		for _, o := range all { // those of other configurations' pipelines are left alone
			if o.Pipeline != p.Name {
				continue
			}
			if found = append(found, o.Info); slices.Contains(ids, o.ID) {
				live = append(live, o.URI)
			}
		}
	}
	return found, live, nil
}

// namedCurrent are the objects that the properties of a pipeline's table with present rows lead to.
func (u *upkeep) namedCurrent(ctx context.Context, p *configs.Pipeline) ([]string, error) {
	s, err := u.lake.catalog.Open(ctx, named(u.cfg, p.Table.Current.Table))
	if errors.Is(err, table.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, err
	}
	return current.Named(ctx, u.lake.objects, u.lake.root, p.Name, base.Props)
}
