package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/partitioner"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// historyTable is where ended runs go; false: nowhere.
func (u *upkeep) historyTable() (table.Ident, bool) {
	name := u.cfg.Jobs.History.Table
	if ns, n, ok := strings.Cut(name, "."); ok {
		return table.Ident{Namespace: ns, Name: n}, true
	}
	return table.Ident{Namespace: u.cfg.Catalog.Namespace, Name: name}, name != configs.Off
}

// outbox is where ended runs wait for their table; empty: they are not wanted.
func (u *upkeep) outbox() string {
	if _, ok := u.historyTable(); !ok {
		return ""
	}
	return u.lake.root + "/_lakeloader/_jobs/_ended"
}

// fileDefaults are the settings of files that belong to no pipeline.
func fileDefaults() *configs.Pipeline {
	cfg := configs.Config{Pipelines: make([]configs.Pipeline, 1)}
	configs.ApplyDefaults(&cfg)
	return &cfg.Pipelines[0]
}

func (u *upkeep) histories(context.Context) ([]jobs.Task, error) {
	id, _ := u.historyTable()
	h := &jobs.History{Tables: u.lake.catalog, Table: id, Store: u.lake.objects, Outbox: u.outbox(), Write: u.writeRuns, Now: u.now,
		Wait: table.Backoff(2 * time.Second), Keep: time.Duration(u.cfg.Jobs.History.Retention), OrphanAge: pipeline.OrphanAge}
	return []jobs.Task{{Job: "history", Target: id.String(),
		Plan: func(ctx context.Context) (*jobs.Report, error) { return historyReport(h.Plan(ctx)) },
		Run:  func(ctx context.Context) (*jobs.Report, error) { return historyReport(h.Run(ctx)) }}}, nil
}

// writeRuns makes data files of runs, one a month.
func (u *upkeep) writeRuns(ctx context.Context, info table.Info, runs []jobs.Ended) ([]table.File, error) {
	b := jobs.HistoryRows(runs)
	split, err := partitioner.New(info.PartitionBy, b.Root.Type)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", info.Ident, err)
	}
	w, err := writers.New(writers.Options{Info: info, Store: u.lake.objects, Files: fileDefaults().Files, Now: u.now})
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", info.Ident, err)
	}
	defer w.Abort() // of no effect after Finish
	parts, err := split.Split(b)
	for i := 0; err == nil && i < len(parts); i++ {
		err = w.Append(ctx, b, writers.Part(parts[i]))
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", info.Ident, err)
	}
	return w.Finish(ctx)
}

func historyReport(m *jobs.HistoryMove, err error) (*jobs.Report, error) {
	if m == nil {
		return nil, err
	}
	r := &jobs.Report{Summary: count(m.Runs, "run"), Numbers: map[string]int64{"runs": int64(m.Runs), "dropped_files": int64(m.Dropped)}}
	if m.Dropped > 0 {
		r.Summary += fmt.Sprintf(", %s of old ones dropped", count(m.Dropped, "file"))
	}
	return r, err
}
