package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// Retention says which snapshots an expiry leaves.
type Retention struct {
	// Before this time snapshots may go.
	Before time.Time
	// Last is how many of the newest ancestors of main stay in any case; main does too.
	Last int
}

// Expirable are tables whose snapshots can be expired. A table.Catalog is.
type Expirable interface {
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	Released(ctx context.Context, before, after *table.Base) ([]string, error)
}

// Expirer expires snapshots, and deletes the files that only they referred to.
type Expirer struct {
	Tables Expirable
	// Delete removes objects.
	Delete func(ctx context.Context, uris []string) error
	Now    func() time.Time
	Wait   table.Wait
	// Age is how old snapshots must be to go, Last how many of the newest ancestors of main stay in any case.
	Age  time.Duration
	Last int
	// Sizes are those of the table's objects by URI, for plans; nil: plans do not look.
	Sizes func(ctx context.Context, id table.Ident) (map[string]int64, error)
}

// Foreseeing are Expirable tables that can say what an expiry would release before it is done.
type Foreseeing interface {
	// Without is a base as it would be without some snapshots; good for Released only.
	Without(base *table.Base, snapshots []int64) (*table.Base, error)
}

// Expiry is what an expiry does, or did.
type Expiry struct {
	Table     table.Ident `json:"table"`
	Snapshots int         `json:"snapshots"` // that there were
	Expired   []int64     `json:"expired"`
	Deleted   int         `json:"deleted"` // objects; when done
	// Objects and Bytes are what a planned expiry would delete, as far as Sizes knows of them.
	Objects int   `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// Plan says what would be expired now.
func (e *Expirer) Plan(ctx context.Context, id table.Ident) (*Expiry, error) {
	s, err := e.Tables.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, err
	}
	gone, err := PlanExpiry(base, e.retention())
	return &Expiry{Table: id, Snapshots: len(base.Snapshots()), Expired: gone}, err
}

// Foresee is Plan, with what would be deleted. It reads as much as a run does.
func (e *Expirer) Foresee(ctx context.Context, id table.Ident) (*Expiry, error) {
	x, err := e.Plan(ctx, id)
	tables, ok := e.Tables.(Foreseeing)
	if err != nil || len(x.Expired) == 0 || !ok || e.Sizes == nil {
		return x, err
	}
	s, err := e.Tables.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	base, err := s.Load(ctx)
	if err != nil {
		return nil, err
	}
	if x.Expired, err = PlanExpiry(base, e.retention()); err != nil {
		return nil, err
	}
	after, err := tables.Without(base, x.Expired)
	if err != nil {
		return nil, err
	}
	gone, err := e.Tables.Released(ctx, base, after)
	if err != nil {
		return nil, err
	}
	sizes, err := e.Sizes(ctx, id)
	if err != nil {
		return nil, err
	}
	x.Objects = len(gone)
	for _, uri := range gone {
		x.Bytes += sizes[uri]
	}
	return x, nil
}

func (e *Expirer) retention() Retention { return Retention{Before: e.Now().Add(-e.Age), Last: e.Last} }

// Run expires, and then deletes what the expired snapshots alone had, whatever others commit meanwhile. A run that ends in
// between leaves orphans. Metadata files are not touched: commits remove those that leave the table's log.
func (e *Expirer) Run(ctx context.Context, id table.Ident) (*Expiry, error) {
	done, err := e.Plan(ctx, id)
	if err != nil || len(done.Expired) == 0 {
		return done, err
	}
	s, err := e.Tables.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	var before *table.Base
	err = table.Commit(ctx, s, e.Wait, func(base *table.Base) (table.Change, bool, error) {
		gone, err := PlanExpiry(base, e.retention())
		if len(gone) > 0 { // else an attempt landed whose reply was lost
			before, done.Expired = base, gone
		}
		return table.Change{Expire: gone}, len(gone) == 0, err
	})
	if err != nil {
		return nil, fmt.Errorf("expiring %d snapshots of %s: %w", len(done.Expired), id, err)
	}
	if before == nil { // others have expired them
		return &Expiry{Table: id, Snapshots: done.Snapshots}, nil
	}
	gone, err := e.released(ctx, s, before)
	if err == nil {
		err = e.Delete(ctx, gone)
	}
	if err != nil {
		return done, fmt.Errorf("%d snapshots of %s are expired; files that only they had are left for the removal of orphans: %w", len(done.Expired), id, err)
	}
	done.Deleted = len(gone)
	return done, nil
}

func (e *Expirer) released(ctx context.Context, s table.Store, before *table.Base) ([]string, error) {
	after, err := s.Load(ctx)
	if err != nil {
		return nil, err
	}
	return e.Tables.Released(ctx, before, after)
}

// PlanExpiry returns the snapshots of a table that may be expired. What branches and tags name is not among them,
// and nothing is where gc.enabled is false. It must be asked again for the base of every attempt. ErrRolledBack: nothing may be, since a person must still be
// able to roll forward. The snapshots that moved offsets or applied rounds last stay, with all that lead to them from main:
// without them a rollback could not be told from an expiry, and the whole table would have to be verified.
func PlanExpiry(base *table.Base, keep Retention) ([]int64, error) {
	all := base.Snapshots()
	if keepsAll(base) {
		return nil, nil
	}
	stays, err := neededForRecovery(base, all)
	if err != nil {
		return nil, err
	}
	if err := toBeLookedAt(base, all, stays); err != nil {
		return nil, err
	}
	parent := parents(all)
	for at, n := base.Snapshot, 0; at != 0 && n < max(1, keep.Last); at, n = parent[at], n+1 {
		stays[at] = true
	}
	var gone []int64
	for _, s := range all {
		if !stays[s.ID] && !s.Named && s.At.Before(keep.Before) {
			gone = append(gone, s.ID)
		}
	}
	return gone, nil
}

func parents(all []table.Snapshot) map[int64]int64 {
	m := make(map[int64]int64, len(all))
	for _, s := range all {
		m[s.ID] = s.Parent
	}
	return m
}

// keepsAll reports whether the table's owner has said, by Iceberg's property for it, that none of its files may be deleted:
// other tables or programs use them too.
func keepsAll(base *table.Base) bool { return base.Props["gc.enabled"] == "false" }

// neededForRecovery are the snapshots from main back to the oldest of the last moves.
func neededForRecovery(base *table.Base, all []table.Snapshot) (map[int64]bool, error) {
	if err := notRolledBack(base); err != nil {
		return nil, err
	}
	moves, err := table.Moves(base.Props)
	if err != nil {
		return nil, err
	}
	stays, parent := map[int64]bool{}, parents(all)
	for _, move := range moves {
		if !base.Has(move) {
			continue // it has expired; the next loader verifies the table
		}
		stays[move] = true // also where the way to it has expired
		for at := base.Snapshot; at != 0; at = parent[at] {
			if stays[at] = true; at == move {
				break
			}
		}
	}
	return stays, nil
}

// toBeLookedAt adds the snapshots from main back to what the job complete has looked at last, unless that is more than a day older
// than main: then the job does not run any more.
func toBeLookedAt(base *table.Base, all []table.Snapshot, stays map[int64]bool) error {
	looked, err := lookedAt(base.Props)
	if err != nil {
		return err
	}
	when, parent := map[int64]time.Time{}, parents(all)
	for _, s := range all {
		when[s.ID] = s.At
	}
	for _, id := range looked {
		if !base.IsAncestor(id) || !base.Has(id) || when[base.Snapshot].Sub(when[id]) > 24*time.Hour {
			continue
		}
		for at := base.Snapshot; at != 0; at = parent[at] {
			if stays[at] = true; at == id {
				break
			}
		}
	}
	return nil
}

// notRolledBack: every snapshot that a pipeline named last is main, an ancestor of it, or has expired.
func notRolledBack(base *table.Base) error {
	moves, err := table.Moves(base.Props)
	if err != nil {
		return err
	}
	for _, move := range moves {
		if base.LeftBehind(move) {
			return fmt.Errorf("%w: its main snapshot is %d, and snapshot %d, which moved offsets or applied a round last, is no ancestor of it; roll forward to it, or move the offsets back on purpose", ErrRolledBack, base.Snapshot, move)
		}
	}
	return nil
}
