package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/engines"
	"github.com/lakeloader/lakeloader/engines/athena"
	"github.com/lakeloader/lakeloader/engines/spark"
	"github.com/lakeloader/lakeloader/engines/trino"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/table"
)

// remoteEngine is one of the configuration. Who opened it must close it.
type remoteEngine interface {
	aggregate.Engine
	Optimize(ctx context.Context, o engines.Optimize) error
	Close() error
}

// openEngine opens the engine that has a name in the configuration. It asks the engine nothing yet.
func openEngine(ctx context.Context, cfg *configs.Config, name string) (remoteEngine, error) {
	var names []string
	for i, e := range cfg.Engines {
		path := fmt.Sprintf("engines[%d]", i)
		switch {
		case e.Name != name:
			names = append(names, e.Name)
			continue
		case e.Type == "trino":
			return trino.Open(path, e)
		case e.Type == "athena":
			return athena.Open(ctx, path, e)
		case e.Type == "spark":
			return spark.Open(path, e)
		}
		return nil, fail(exitUsage, fmt.Errorf("engine %s is of the type %q, which is not known", name, e.Type))
	}
	return nil, fail(exitUsage, fmt.Errorf("there is no engine %q: choose embedded or one of %v", name, names))
}

// engineOf is the one that calculates an aggregate, and what releases it. The types of results are the embedded one's in any case.
func (u *upkeep) engineOf(ctx context.Context, a *configs.Aggregate, embedded aggregate.Engine) (aggregate.Engine, func() error, error) {
	if a.Engine == configs.Embedded {
		return embedded, func() error { return nil }, nil
	}
	e, err := openEngine(ctx, u.cfg, a.Engine)
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}

// compactsElsewhere says whether another engine is to compact.
func (u *upkeep) compactsElsewhere() bool {
	name := u.cfg.Jobs.Compact.Engine
	return name != "" && name != configs.Embedded
}

// handover is the task that has another engine compact what the compactor would.
func (u *upkeep) handover(t owned, c *jobs.Compactor) jobs.Task {
	name := u.cfg.Jobs.Compact.Engine
	h := &jobs.Handover{Tables: u.lake.catalog, Plan: c.Plan, Optimize: func(ctx context.Context, id table.Ident) (err error) {
		e, err := openEngine(ctx, u.cfg, name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.Close()) }()
		return e.Optimize(ctx, engines.Optimize{Table: id, Target: c.Target, MinFiles: c.MinFiles, SortBy: t.sortBy})
	}}
	return jobs.Task{Job: "compact", Target: t.String(),
		Plan: func(ctx context.Context) (*jobs.Report, error) {
			r, err := compactionReport(c.Plan(ctx, t.Ident))
			if r != nil {
				r.Summary += ", left to the engine " + name
			}
			return r, err
		},
		Run: func(ctx context.Context) (*jobs.Report, error) {
			began := u.now()
			x, err := h.Run(ctx, t.Ident)
			return handedReport(x, name, u.now().Sub(began), err)
		}}
}

func handedReport(x *jobs.Handed, engine string, took time.Duration, err error) (*jobs.Report, error) {
	if x == nil || x.Planned == nil {
		return nil, err
	}
	r := &jobs.Report{Numbers: map[string]int64{"planned_files": int64(x.Planned.Files), "files": int64(x.Replaced), "bytes": x.Bytes, "new_files": int64(x.Output)}}
	switch {
	case x.Planned.Merges == 0:
		r.Summary = "0 files, so the engine " + engine + " was not asked"
	case x.Replaced == 0:
		r.Summary = fmt.Sprintf("0 files: the engine %s found nothing to do after %v, where %s were to be merged", engine, took.Round(time.Millisecond), count(x.Planned.Files, "file"))
	default:
		r.Summary = fmt.Sprintf("%s by the engine %s, %d bytes, now %s, in %v", count(x.Replaced, "file"), engine, x.Bytes, count(x.Output, "file"), took.Round(time.Millisecond))
	}
	return r, err
}
