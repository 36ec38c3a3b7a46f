package jobs

import (
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// Snapshot is what the expiry needs to know of one.
type Snapshot struct {
	ID     int64
	Parent int64 // 0: none
	At     time.Time
}

// Retention says which snapshots an expiry leaves.
type Retention struct {
	// Before this time snapshots may go.
	Before time.Time
	// Last is how many of the newest ancestors of main stay in any case; main does too.
	Last int
	// Named are snapshots that branches and tags name.
	Named map[int64]bool
}

// PlanExpiry returns the snapshots of a table that may be expired, in the order of all, which are the snapshots that base
// has. It must be asked again for the base of every attempt. ErrRolledBack: nothing may be, since a person must still be
// able to roll forward. The snapshots that moved offsets or applied rounds last stay, with all that lead to them from main:
// without them a rollback could not be told from an expiry, and the whole table would have to be verified.
func PlanExpiry(base *table.Base, all []Snapshot, keep Retention) ([]int64, error) {
	stays, err := neededForRecovery(base, all)
	if err != nil {
		return nil, err
	}
	parent := parents(all)
	for at, n := base.Snapshot, 0; at != 0 && n < max(1, keep.Last); at, n = parent[at], n+1 {
		stays[at] = true
	}
	var gone []int64
	for _, s := range all {
		if !stays[s.ID] && !keep.Named[s.ID] && s.At.Before(keep.Before) {
			gone = append(gone, s.ID)
		}
	}
	return gone, nil
}

func parents(all []Snapshot) map[int64]int64 {
	m := make(map[int64]int64, len(all))
	for _, s := range all {
		m[s.ID] = s.Parent
	}
	return m
}

// neededForRecovery are the snapshots from main back to the oldest of the last moves.
func neededForRecovery(base *table.Base, all []Snapshot) (map[int64]bool, error) {
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
