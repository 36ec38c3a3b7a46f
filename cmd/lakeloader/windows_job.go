package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/query"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/window"
)

// auditMemory is DuckDB's when it recalculates totals; beyond it, it spills.
const auditMemory = 1 << 30

// windows are the jobs that recalculate windows.
func (u *upkeep) windows() (all []jobs.Job) {
	for i := range u.cfg.Windows {
		w := &u.cfg.Windows[i]
		run := func(ctx context.Context) (*jobs.Report, error) { return u.audit(ctx, w) }
		name := configs.WindowJob(w.Name)
		all = append(all, jobs.Job{Name: name, Schedule: schedule(w.Schedule), Heavy: true, Tasks: func(context.Context) ([]jobs.Task, error) {
			return []jobs.Task{{Job: name, Target: w.Topic, Plan: run, Run: run}}, nil // it changes nothing
		}})
	}
	return all
}

// audit recalculates a window.
func (u *upkeep) audit(ctx context.Context, w *configs.Window) (r *jobs.Report, err error) {
	o, p, err := windowOptions(u.cfg, w)
	if err != nil {
		return nil, err
	}
	rows, err := newWindowRows(u.cfg, p, u.log)
	if err != nil {
		return nil, err
	}
	admin := u.admin
	if admin == nil {
		if admin, err = source.NewAdmin(u.cfg.Kafka, u.log); err != nil {
			return nil, err
		}
		defer admin.Close()
	}
	primary, _ := pipeline.Idents(u.cfg, p)
	a := &window.Audit{Options: o, Rows: rows, Now: u.now, Totals: u.totals,
		Lake:  window.Lake{Catalog: u.lake.catalog, Objects: u.lake.objects, Pipeline: p.Name, Table: primary},
		Kafka: &windowKafka{kafka: u.cfg.Kafka, admin: admin, source: p.Source, w: w, fetch: window.Divide(int64(w.Memory)).Fetch, log: u.log}}
	found, err := a.Run(ctx)
	if err != nil {
		return nil, err
	}
	r = &jobs.Report{Summary: fmt.Sprintf("%s recalculated, %s beyond the lake, %d differ", count(found.Keys, "total"), count(found.Beyond, "row"), found.Wrong),
		Numbers: map[string]int64{"totals": int64(found.Keys), "beyond": found.Beyond, "wrong": int64(found.Wrong)}, Details: found.Examples}
	if found.Wrong > 0 {
		return r, fmt.Errorf("%s of window %s, topic %s, not as the lake says, such as: %v; if lakeloader run keeps the window and is up to date, stop it, "+
			"remove the folder %s, and start it again: then all totals are made anew, and those that differ are published",
			map[bool]string{true: "1 total is", false: fmt.Sprintf("%d totals are", found.Wrong)}[found.Wrong == 1], w.Name, w.Topic, found.Examples, w.State)
	}
	return r, nil
}

// totals answers a query of two text columns.
func (u *upkeep) totals(ctx context.Context, text string, snapshot int64, each func(key, total string) error) error {
	res, err := query.Run(ctx, text, query.Options{Catalog: u.lake.catalog, Objects: u.lake.objects, Namespace: u.cfg.Catalog.Namespace, Snapshot: snapshot,
		MaxFetch: 1 << 62, Memory: auditMemory})
	if err != nil {
		return err
	}
	for _, row := range res.Rows {
		key, ok1 := row[0].(string)
		total, ok2 := row[1].(string)
		if !ok1 || !ok2 {
			return errors.New("the query's columns are not text")
		}
		if err := each(key, total); err != nil {
			return err
		}
	}
	return nil
}
