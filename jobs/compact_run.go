package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// commitShare is how many times as long as the last commit merges must have taken before the next commit.
const commitShare = 2

// compacting is a run of a Compactor. A commit reads and writes manifests of the whole table, whatever it changes, so several
// merges share one if they take less time than it does. No commit waits for more than twice its own time, or for one merge, and what
// was committed stays when a later merge fails or the process is killed.
type compacting struct {
	*Compactor
	plan *compactionPlan
	done *Compaction
	held []merged
	// worked is how long the merges took that are held, took the last commit.
	worked, took time.Duration
}

type merged struct {
	Merge
	Merged
}

// Run merges what Plan says, and commits.
func (c *Compactor) Run(ctx context.Context, id table.Ident) (*Compaction, error) {
	p, err := c.plan(ctx, id)
	if err != nil {
		return nil, err
	}
	r := &compacting{Compactor: c, plan: p, done: &Compaction{Table: id, Later: p.later, TooLarge: p.tooLarge}}
	for _, m := range p.merges {
		if err := r.merge(ctx, m); err != nil {
			return r.done, errors.Join(err, r.flush(ctx))
		}
		if r.worked < commitShare*r.took {
			continue
		}
		if err := r.flush(ctx); err != nil {
			return r.done, err
		}
	}
	return r.done, r.flush(ctx)
}

func (r *compacting) merge(ctx context.Context, m Merge) error {
	began := r.Now()
	out, err := r.Merge(ctx, r.done.Table, m.Sources, r.plan.deletes)
	if err != nil {
		return fmt.Errorf("merging %d files of table %s: %w", len(m.Sources), r.done.Table, err)
	}
	r.held = append(r.held, merged{m, out})
	r.worked += r.Now().Sub(began)
	return nil
}

// flush commits what is held: at once, or, where others have changed some of it, each merge by itself.
func (r *compacting) flush(ctx context.Context) error {
	held := r.held
	r.held, r.worked = nil, 0
	if len(held) == 0 {
		return nil
	}
	began := r.Now()
	err := r.commit(ctx, held)
	if errors.Is(err, ErrStale) && len(held) > 1 {
		for _, m := range held {
			if err = r.commit(ctx, []merged{m}); err != nil && !errors.Is(err, ErrStale) {
				break
			}
		}
	}
	r.took = r.Now().Sub(began)
	if errors.Is(err, ErrStale) {
		return nil
	}
	return err
}

func (r *compacting) commit(ctx context.Context, merges []merged) error {
	rw := &Rewrite{Table: r.done.Table, UUID: r.plan.uuid, Snapshot: r.plan.snapshot, Deletes: r.plan.deletes, Summary: map[string]string{table.SummaryJob: table.JobCompact}}
	for _, m := range merges {
		for _, f := range m.Sources {
			rw.Inputs = append(rw.Inputs, f.Path)
		}
		rw.Output = append(rw.Output, m.Files...)
	}
	err := r.Commit(ctx, rw)
	if err != nil {
		if errors.Is(err, ErrStale) && len(merges) == 1 {
			r.done.Stale++
		}
		return err
	}
	for _, m := range merges {
		r.done.Merges, r.done.Files, r.done.Bytes = r.done.Merges+1, r.done.Files+len(m.Sources), r.done.Bytes+m.Bytes
		r.done.Output, r.done.Copied = r.done.Output+len(m.Files), r.done.Copied+m.Copied
	}
	return nil
}
