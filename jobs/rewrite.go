// Package jobs is what is done to tables beside loading them: rewriting files, removing orphans, expiring snapshots. It
// holds the halves of these jobs that exactly-once rests on; loaders go on meanwhile, and nothing here moves offsets.
//
// What a job must never do: bring rows back that were removed, refer to a file that is gone, delete a file that a table or a
// round on its way needs, or take away the snapshot by which a rollback is told from an expiry.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// ErrStale means that the table is no longer what a job has planned from. Nothing was changed; what the job has written is
// left for the removal of orphans, and it plans again.
var ErrStale = errors.New("the table is no longer what the job was planned from")

// ErrRolledBack means that the snapshot in which a pipeline moved its offsets last is there, but is no ancestor of main. A
// person has to roll forward, or to move the offsets back on purpose, before jobs may go on.
var ErrRolledBack = errors.New("the table was rolled back")

// Tables opens tables and lists their files. A table.Catalog does.
type Tables interface {
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	// Files lists the data files of a snapshot (0: main), with the paths of its delete files.
	Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error)
}

// Rewrite replaces data files of a table by others that hold the same rows, such as a compaction makes.
type Rewrite struct {
	Table table.Ident
	UUID  string // of the table that the inputs were read from
	// Snapshot is the one that the inputs were read in, with all of its delete files.
	Snapshot int64
	Inputs   []string // paths of data files
	Deletes  []string // paths of the delete files that were taken into account
	// Output is durable, under names that no one has used.
	Output []table.File
	// Summary is added to the snapshot's summary, for people.
	Summary map[string]string
}

// Rewriter commits rewrites. It is safe for concurrent use.
type Rewriter struct {
	Tables Tables
	Now    func() time.Time
	Wait   table.Wait
	// OrphanAge is the age at which a file that no table knows may be deleted.
	OrphanAge time.Duration
}

// Commit swaps the outputs in for the inputs. Against the base of every attempt: the table is still the same, its inputs
// are live, no rows of it were deleted since, and no output is so old that it may be gone as an orphan. nil: it landed.
// ErrStale, ErrRolledBack: it did not. table.ErrUnknown: it may have, now or later; it is not tried again, since the outputs may by then
// have been rewritten themselves, and be gone. In no case may the outputs be deleted but as orphans.
func (r *Rewriter) Commit(ctx context.Context, rw *Rewrite) error {
	if len(rw.Inputs) == 0 {
		return fmt.Errorf("rewriting files of %s: no inputs", rw.Table)
	}
	s, err := r.Tables.Open(ctx, rw.Table)
	if err != nil {
		return fmt.Errorf("opening table %s: %w", rw.Table, err)
	}
	unknown := &unknownStops{Store: s}
	err = table.Commit(ctx, unknown, r.Wait, func(base *table.Base) (table.Change, bool, error) {
		if err := r.check(ctx, rw, base); err != nil {
			return table.Change{}, false, err
		}
		return table.Change{Add: rw.Output, Remove: rw.Inputs, Snapshot: true, Summary: rw.Summary}, false, nil
	})
	switch {
	case unknown.err != nil:
		return fmt.Errorf("rewriting %d files of %s: the job ends without knowing whether it landed, and leaves its output: %w", len(rw.Inputs), rw.Table, unknown.err)
	case err != nil:
		return fmt.Errorf("rewriting %d files of %s: %w", len(rw.Inputs), rw.Table, err)
	}
	return nil
}

// check compares the table with what the rewrite was made from.
func (r *Rewriter) check(ctx context.Context, rw *Rewrite, base *table.Base) error {
	if base.UUID != rw.UUID {
		return fmt.Errorf("%w: it was dropped and created again", ErrStale)
	}
	for _, f := range rw.Output {
		if age := r.Now().Sub(time.UnixMilli(f.CreatedMS)); age > r.OrphanAge/2 {
			return fmt.Errorf("%w: the output %s is %v old, more than half the orphan age %v", ErrStale, f.Path, age.Round(time.Second), r.OrphanAge)
		}
	}
	if err := notRolledBack(base); err != nil {
		return err
	}
	if base.Snapshot == 0 {
		return fmt.Errorf("%w: it has no snapshot", ErrStale)
	}
	files, deletes, err := r.Tables.Files(ctx, rw.Table, base.Snapshot)
	if err != nil {
		return fmt.Errorf("listing the files of snapshot %d: %w", base.Snapshot, err)
	}
	live := make(map[string]bool, len(files))
	for _, f := range files {
		live[f.Path] = true
	}
	for _, in := range rw.Inputs {
		if !live[in] {
			return fmt.Errorf("%w: the input %s was removed or rewritten by another", ErrStale, in)
		}
	}
	for _, d := range deletes {
		if !slices.Contains(rw.Deletes, d) {
			return fmt.Errorf("%w: rows were deleted from it since (%s)", ErrStale, d)
		}
	}
	return nil
}

// unknownStops is a store whose swaps of unknown outcome are not tried again.
type unknownStops struct {
	table.Store
	err error
}

// Swap implements table.Store.
func (s *unknownStops) Swap(ctx context.Context, base *table.Base, ch table.Change) error {
	err := s.Store.Swap(ctx, base, ch)
	if errors.Is(err, table.ErrUnknown) {
		s.err = err
		return errEnd
	}
	return err
}

// errEnd ends table.Commit.
var errEnd = errors.New("the outcome of the commit is unknown, and it is not tried again")
