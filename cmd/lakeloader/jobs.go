package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

const (
	// leaseTTL is how long a job of a process that died keeps others from running it.
	leaseTTL = 2 * time.Minute
	// keptRuns is how many runs of a job on a table are remembered.
	keptRuns = 100
	// wholeLake is the target of jobs that need all tables at once.
	wholeLake = "all-tables"
)

// upkeep makes the jobs of a configuration.
type upkeep struct {
	cfg  *configs.Config
	lake *lake
	log  *slog.Logger
	now  func() time.Time
	// admin asks Kafka; nil: a connection is made when there is something to ask.
	admin *source.Admin
	// said is told what tables say is complete; nil: nobody is.
	said func(pipeline string, s obs.CompleteStatus, ran bool)
	seen jobs.Seen
	// days are what aggregates are asked for; nil: those that changed.
	days *aggregate.Range
	// rebuild: tables with the present rows are made anew.
	rebuild bool
	// memory is what the job current may take, bytes; 0: its default.
	memory int64
}

func newUpkeep(cfg *configs.Config, l *lake, log *slog.Logger) *upkeep {
	return &upkeep{cfg: cfg.Lake(), lake: l, log: log, now: point.Now}
}

// owned is a table with the pipeline whose settings its files have; an aggregate's has none but those.
type owned struct {
	table.Ident
	pipeline *configs.Pipeline
	sortBy   []table.SortField
	zOrder   []string
}

// tables are those of all pipelines that exist, dead letters and tables that rows are routed to included, those of aggregates, and
// that of the runs of jobs.
func (u *upkeep) tables(ctx context.Context) ([]owned, error) {
	var all []owned
	add := func(t owned) error {
		if slices.ContainsFunc(all, func(o owned) bool { return o.Ident == t.Ident }) {
			return nil
		}
		_, err := u.lake.catalog.Info(ctx, t.Ident)
		switch {
		case errors.Is(err, table.ErrNoTable): // such as dead letters that there have never been
			return nil
		case err != nil:
			return fmt.Errorf("looking for table %s: %w", t.Ident, err)
		}
		all = append(all, t)
		return nil
	}
	for i := range u.cfg.Pipelines {
		p := &u.cfg.Pipelines[i]
		primary, dead := pipeline.Idents(u.cfg, p)
		ids, err := u.rowTables(ctx, p.Name, primary)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if err := add(owned{id, p, pipeline.SortFields(p.Table.SortBy), p.Table.ZOrder}); err != nil {
				return nil, err
			}
		}
		if err := add(owned{Ident: dead, pipeline: p}); err != nil {
			return nil, err
		}
		if k := p.Table.Current; k != nil {
			if err := add(owned{named(u.cfg, k.Table), p, pipeline.SortFields(k.Key), nil}); err != nil {
				return nil, err
			}
		}
	}
	if id, ok := u.historyTable(); ok {
		if err := add(owned{Ident: id, pipeline: fileDefaults()}); err != nil {
			return nil, err
		}
	}
	for i := range u.cfg.Aggregates {
		a := &u.cfg.Aggregates[i]
		for _, p := range parts(u.cfg, a) {
			if err := add(owned{Ident: p.target, pipeline: &configs.Pipeline{Files: a.Files}}); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// rowTables are the primary of a pipeline, and the tables that its rows were ever routed to.
func (u *upkeep) rowTables(ctx context.Context, name string, primary table.Ident) ([]table.Ident, error) {
	ledger, err := pipeline.LedgerOf(ctx, u.lake.catalog, name, primary)
	if err != nil {
		return nil, err
	}
	ids := []table.Ident{primary}
	if ledger != nil {
		for _, t := range ledger.Tables {
			ids = append(ids, t.Ident)
		}
	}
	return ids, nil
}

func holds(all []owned, id table.Ident) bool {
	return slices.ContainsFunc(all, func(t owned) bool { return t.Ident == id })
}

// schedule is as jobs wants it.
func schedule(text string) string {
	if text == configs.Off {
		return ""
	}
	return text
}

// jobs are all of the configuration.
func (u *upkeep) jobs() []jobs.Job {
	c := &u.cfg.Jobs
	all := []jobs.Job{
		{Name: "complete", Schedule: schedule(c.Complete.Schedule), Tasks: u.completions}, // before what it looks at expires
		{Name: "current", Schedule: schedule(c.Current.Schedule), Tasks: u.currents},
		{Name: "expire", Schedule: schedule(c.Expire.Schedule), Tasks: u.expiries},
		{Name: "compact", Schedule: schedule(c.Compact.Schedule), Heavy: !u.compactsElsewhere(), Tasks: u.compactions},
		{Name: "retention", Schedule: schedule(c.Retention.Schedule), Heavy: true, Tasks: u.retentions},
		{Name: "fold", Schedule: schedule(c.Fold.Schedule), Tasks: u.folds},
		{Name: "orphans", Schedule: schedule(c.Orphans.Schedule), Tasks: u.orphans},
	}
	if _, ok := u.historyTable(); ok {
		all = append(all, jobs.Job{Name: "history", Schedule: schedule(c.History.Schedule), Tasks: u.histories})
	}
	return slices.Concat(all, u.aggregates(), u.windows())
}

// remove deletes objects of the warehouse.
func (u *upkeep) remove(ctx context.Context, uris []string) error {
	return objects.DeleteAll(ctx, u.lake.objects, uris)
}

func (u *upkeep) expiries(ctx context.Context) ([]jobs.Task, error) {
	all, err := u.tables(ctx)
	if err != nil {
		return nil, err
	}
	c := &u.cfg.Jobs.Expire
	e := &jobs.Expirer{Tables: u.lake.catalog, Delete: u.remove, Now: u.now, Wait: table.Backoff(2 * time.Second), Age: time.Duration(c.Age), Last: c.KeepLast, Sizes: u.sizes}
	var tasks []jobs.Task
	for _, t := range all {
		tasks = append(tasks, jobs.Task{Job: "expire", Target: t.String(),
			Plan: func(ctx context.Context) (*jobs.Report, error) {
				return u.expiryCost(expiryReport(e.Foresee(ctx, t.Ident)))
			},
			Run: func(ctx context.Context) (*jobs.Report, error) { return expiryReport(e.Run(ctx, t.Ident)) }})
	}
	return tasks, nil
}

func expiryReport(x *jobs.Expiry, err error) (*jobs.Report, error) {
	if x == nil {
		return nil, err
	}
	r := &jobs.Report{Numbers: map[string]int64{"snapshots": int64(x.Snapshots), "expired": int64(len(x.Expired)), "deleted_objects": int64(x.Deleted)}}
	r.Summary = fmt.Sprintf("%d of %s", len(x.Expired), count(x.Snapshots, "snapshot"))
	if x.Deleted > 0 {
		r.Summary += fmt.Sprintf(", %s deleted", count(x.Deleted, "object"))
	}
	if x.Objects > 0 {
		r.Numbers["objects"], r.Numbers["bytes"] = int64(x.Objects), x.Bytes
		r.Summary += fmt.Sprintf(", %s, %d bytes", count(x.Objects, "object"), x.Bytes)
	}
	return r, err
}

// retentions are those of the pipelines that have a table and say how long something is kept.
func (u *upkeep) retentions(ctx context.Context) ([]jobs.Task, error) {
	all, err := u.tables(ctx)
	if err != nil {
		return nil, err
	}
	var tasks []jobs.Task
	for i := range u.cfg.Pipelines {
		p := &u.cfg.Pipelines[i]
		deps := u.pipelineDeps(p)
		if p.Table.Retention > 0 && holds(all, deps.Primary) {
			rows := func(ctx context.Context, dry bool) (*jobs.Report, error) {
				return rowsReport(pipeline.Retain(ctx, p, deps, pipeline.RetainOptions{Before: u.now().Add(-time.Duration(p.Table.Retention)), DryRun: dry}))
			}
			tasks = append(tasks, u.rowsTask(deps.Primary, p, rows))
		}
		if p.DeadLetters.Retention > 0 && holds(all, deps.Primary) && holds(all, deps.DeadLetters) {
			letters := func(ctx context.Context, dry bool) (*jobs.Report, error) {
				o := pipeline.PurgeOptions{Filter: pipeline.AnyLetter(), DryRun: dry}
				o.Filter.Until = u.now().Add(-time.Duration(p.DeadLetters.Retention))
				return lettersReport(pipeline.Purge(ctx, p, deps, o))
			}
			tasks = append(tasks, retentionTask(deps.DeadLetters, letters))
		}
	}
	return tasks, nil
}

func retentionTask(id table.Ident, do func(ctx context.Context, dry bool) (*jobs.Report, error)) jobs.Task {
	return jobs.Task{Job: "retention", Target: id.String(),
		Plan: func(ctx context.Context) (*jobs.Report, error) { return do(ctx, true) },
		Run:  func(ctx context.Context) (*jobs.Report, error) { return do(ctx, false) }}
}

// pipelineDeps are what rounds of a pipeline need that read no topics.
func (u *upkeep) pipelineDeps(p *configs.Pipeline) pipeline.Deps {
	primary, dead := pipeline.Idents(u.cfg, p)
	return pipeline.Deps{Catalog: u.lake.catalog, Objects: u.lake.objects, Root: u.lake.root, Log: u.log.With("pipeline", p.Name), Now: u.now,
		Primary: primary, DeadLetters: dead, Audit: audit(u.cfg, p, u.lake)}
}

func rowsReport(x *pipeline.RetainReport, err error) (*jobs.Report, error) {
	if x == nil {
		return nil, err
	}
	return &jobs.Report{Summary: fmt.Sprintf("%s of %s, %d bytes", count(x.Rows, "row"), count(x.Files, "file"), x.Bytes),
		Numbers: map[string]int64{"rows": x.Rows, "files": x.Files, "bytes": x.Bytes}, Details: x.Whole}, err
}

func lettersReport(x *pipeline.PurgeReport, err error) (*jobs.Report, error) {
	if x == nil {
		return nil, err
	}
	return &jobs.Report{Summary: count(x.Letters, "dead letter"), Numbers: map[string]int64{"dead_letters": x.Letters, "replayed": x.Replayed}}, err
}

func (u *upkeep) orphans(ctx context.Context) ([]jobs.Task, error) {
	all, err := u.tables(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]table.Ident, len(all))
	for i, t := range all {
		ids[i] = t.Ident
	}
	o := &jobs.Orphans{Lake: folders{u.lake}, Tables: ids, Age: time.Duration(u.cfg.Jobs.Orphans.Age), Now: u.now, Wait: table.Backoff(2 * time.Second), Delete: u.remove, Folders: u.uploadFolders, States: u.states}
	o.Uploads, _ = u.lake.objects.(jobs.Uploads)
	for i := range u.cfg.Pipelines {
		p := &u.cfg.Pipelines[i]
		primary, _ := pipeline.Idents(u.cfg, p)
		if slices.Contains(ids, primary) {
			o.Writers = append(o.Writers, jobs.Writer{Pipeline: p.Name, Primary: primary,
				Rounds: &pipeline.RoundObjects{Store: u.lake.objects, Root: u.lake.root, Pipeline: p.Name}})
		}
	}
	if len(o.Writers) == 0 {
		return nil, nil
	}
	return []jobs.Task{{Job: "orphans", Target: wholeLake,
		Plan: func(ctx context.Context) (*jobs.Report, error) {
			r, err := orphansReport(o.Plan(ctx))
			return u.orphansCost(len(ids), r, err)
		},
		Run: func(ctx context.Context) (*jobs.Report, error) { return orphansReport(o.Run(ctx)) }}}, nil
}

func orphansReport(p *jobs.OrphanPlan, err error) (*jobs.Report, error) {
	if p == nil {
		return nil, err
	}
	r := &jobs.Report{Numbers: map[string]int64{"listed_objects": int64(p.Listed), "orphans": int64(len(p.Orphans)), "bytes": p.Bytes()}}
	r.Summary = fmt.Sprintf("%s of %s, %d bytes", count(len(p.Orphans), "orphan"), count(p.Listed, "object"), p.Bytes())
	for i, x := range p.Orphans {
		if i == 10 {
			r.Details = append(r.Details, fmt.Sprintf("and %d more", len(p.Orphans)-i))
			break
		}
		r.Details = append(r.Details, x.URI+": "+x.Why)
	}
	uploadsReport(r, p.Uploads)
	return r, err
}

// folders lists what lies where lakeloader and Iceberg put a table's files. What else is in the table's folder, such as a
// table inside of it, is left alone.
type folders struct{ *lake }

// Open implements jobs.Lake.
func (f folders) Open(ctx context.Context, id table.Ident) (table.Store, error) {
	return f.catalog.Open(ctx, id)
}

// References implements jobs.Lake.
func (f folders) References(ctx context.Context, id table.Ident) (*table.References, error) {
	return f.catalog.References(ctx, id)
}

// List implements jobs.Lake.
func (f folders) List(ctx context.Context, id table.Ident) ([]objects.Info, error) {
	dirs, err := tableFolders(ctx, f.lake, id)
	if err != nil {
		return nil, err
	}
	var all []objects.Info
	for _, dir := range dirs {
		list, err := f.objects.List(ctx, dir)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func tableFolders(ctx context.Context, l *lake, id table.Ident) ([]string, error) {
	info, err := l.catalog.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	at := strings.TrimRight(info.Location, "/")
	return []string{at + "/data/", at + "/metadata/"}, nil
}

// leases are those of this process.
func (u *upkeep) leases() *jobs.Leases {
	return &jobs.Leases{Store: u.lake.objects, Root: u.lake.root + "/_lakeloader/_jobs", Owner: thisProcess().String() + "/" + uuid.NewString(), Gone: gone,
		Now: u.now, TTL: leaseTTL, Keep: keptRuns, Outbox: u.outbox(), Hide: configs.NewRedactor(u.cfg).Text}
}

// runner runs all jobs, or, beside loaders, those that need little memory.
func (u *upkeep) runner(besideLoaders bool) (*jobs.Runner, error) {
	zone, err := time.LoadLocation(u.cfg.Jobs.TimeZone)
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("jobs.time_zone: %w", err))
	}
	all := u.jobs()
	if besideLoaders {
		all = slices.DeleteFunc(all, func(j jobs.Job) bool { return j.Heavy })
	}
	return &jobs.Runner{Jobs: all, Leases: u.leases(), Log: u.log, Zone: zone, Tries: 3, Pause: 10 * time.Second,
		Deadline: time.Duration(u.cfg.Jobs.Deadline), CatchUp: *u.cfg.Jobs.CatchUp}, nil
}
