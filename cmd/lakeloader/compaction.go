package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/rewrite"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

const (
	// mergePercent is how much the heap of a merge grows before it is collected, up to the limit; that leaves room below 512 MiB for
	// what is not on the heap.
	mergePercent = 300
	mergeLimit   = 384 << 20
)

func (u *upkeep) compactions(ctx context.Context) ([]jobs.Task, error) {
	all, err := u.tables(ctx)
	if err != nil {
		return nil, err
	}
	set := &u.cfg.Jobs.Compact
	commit := &jobs.Rewriter{Tables: u.lake.catalog, Now: u.now, Wait: table.Backoff(2 * time.Second), OrphanAge: pipeline.OrphanAge}
	var tasks []jobs.Task
	for _, t := range all {
		c := &jobs.Compactor{Tables: u.lake.catalog, Merge: u.merger(t), Span: u.spans(t), Commit: commit.Commit, Now: u.now, Target: int64(t.pipeline.Files.TargetSize),
			MinFiles: set.MinFiles, Quiet: time.Duration(set.Quiet), MaxBytes: int64(set.MaxSize)}
		if len(t.sortBy)+len(t.zOrder) == 0 {
			c.LeastCopied = rewrite.LeastCopied
		}
		if u.compactsElsewhere() {
			tasks = append(tasks, u.handover(t, c))
			continue
		}
		tasks = append(tasks, jobs.Task{Job: "compact", Target: t.String(),
			Plan: func(ctx context.Context) (*jobs.Report, error) {
				r, err := compactionReport(c.Plan(ctx, t.Ident))
				return u.compactionCost(ctx, t, r, err)
			},
			Run: func(ctx context.Context) (*jobs.Report, error) {
				defer collectLess()() // planning and commits read manifests, which leave much garbage
				return compactionReport(c.Run(ctx, t.Ident))
			}})
	}
	return tasks, nil
}

// merger writes files as the pipeline of a table does, but sorted across each file.
func (u *upkeep) merger(t owned) func(context.Context, table.Ident, []table.File, []string) (jobs.Merged, error) {
	return func(ctx context.Context, id table.Ident, sources []table.File, deletes []string) (jobs.Merged, error) {
		info, err := u.lake.catalog.Info(ctx, id)
		if err != nil {
			return jobs.Merged{}, err
		}
		deleted, err := scan.PositionDeletes(ctx, u.lake.objects, deletes)
		if err != nil {
			return jobs.Merged{}, err
		}
		m, err := rewrite.Merge(ctx, rewrite.MergeInput{Info: info, Store: u.lake.objects, Files: t.pipeline.Files, SortBy: t.sortBy, ZOrder: t.zOrder,
			Sources: sources, Deleted: deleted, Now: u.now})
		return jobs.Merged{Files: m.Files, Copied: m.Copied}, err
	}
}

// collectLess lets the heap grow as far as a compaction may take memory, until the function that it returns is called: garbage is
// collected half as often. GOGC and GOMEMLIMIT, when they are set, have their way.
func collectLess() func() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	percent, limit := debug.SetGCPercent(mergePercent), debug.SetMemoryLimit(mergeLimit)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// spans tells which files of a table overlap in what it is sorted by. Along a z-order ranges say too little.
func (u *upkeep) spans(t owned) func(context.Context, table.Ident) (jobs.Span, error) {
	if len(t.sortBy) == 0 || len(t.zOrder) > 0 {
		return nil
	}
	return func(ctx context.Context, id table.Ident) (jobs.Span, error) {
		info, err := u.lake.catalog.Info(ctx, id)
		if err != nil {
			return nil, err
		}
		return rewrite.Span(info, t.sortBy)
	}
}

func compactionReport(c *jobs.Compaction, err error) (*jobs.Report, error) {
	if c == nil {
		return nil, err
	}
	r := &jobs.Report{Numbers: map[string]int64{"merges": int64(c.Merges), "files": int64(c.Files), "bytes": c.Bytes, "copied_bytes": c.Copied, "new_files": int64(c.Output),
		"later": int64(c.Later), "stale": int64(c.Stale), "too_large": int64(c.TooLarge)}}
	r.Summary = fmt.Sprintf("%s in %s, %d bytes", count(c.Files, "file"), count(c.Merges, "merge"), c.Bytes)
	if c.Copied > 0 {
		r.Summary += fmt.Sprintf(" of which %d are copied without decoding", c.Copied)
	}
	if c.Output > 0 {
		r.Summary += fmt.Sprintf(", now %s", count(c.Output, "file"))
	}
	if c.Later > 0 {
		r.Summary += fmt.Sprintf("; %s left for the next run", count(c.Later, "merge"))
	}
	if c.Stale > 0 {
		r.Summary += fmt.Sprintf("; %s overtaken by others", count(c.Stale, "merge"))
	}
	if c.TooLarge > 0 {
		r.Summary += fmt.Sprintf("; %s of files that overlap left out, as max_size is smaller", count(c.TooLarge, "merge"))
	}
	return r, err
}
