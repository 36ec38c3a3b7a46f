package main

import (
	"context"
	"fmt"

	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/pipeline"
)

// folds are those of the pipelines that have a table.
func (u *upkeep) folds(ctx context.Context) ([]jobs.Task, error) {
	all, err := u.tables(ctx)
	if err != nil {
		return nil, err
	}
	var tasks []jobs.Task
	for i := range u.cfg.Pipelines {
		p := &u.cfg.Pipelines[i]
		deps := u.pipelineDeps(p)
		if !holds(all, deps.Primary) {
			continue
		}
		do := func(dry bool) func(context.Context) (*jobs.Report, error) {
			return func(ctx context.Context) (*jobs.Report, error) {
				return foldReport(pipeline.FoldRounds(ctx, p, deps, dry))
			}
		}
		tasks = append(tasks, jobs.Task{Job: "fold", Target: deps.Primary.String(), Plan: do(true), Run: do(false)})
	}
	return tasks, nil
}

func foldReport(r *pipeline.FoldReport, err error) (*jobs.Report, error) {
	if r == nil {
		return nil, err
	}
	return &jobs.Report{Summary: fmt.Sprintf("%s, %s deleted", count(r.Folded, "round"), count(r.Removed, "object")),
		Numbers: map[string]int64{"rounds": int64(r.Folded), "up_to": r.Number, "deleted_objects": int64(r.Removed)}}, err
}
