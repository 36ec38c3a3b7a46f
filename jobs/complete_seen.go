package jobs

import (
	"context"

	"github.com/lakeloader/lakeloader/table"
)

// Seen remembers what has changed in tables from one run to the next, so that a run reads the metadata of new snapshots only.
// Nothing rests on it. It is for one goroutine.
type Seen struct{ tables map[seenKey]*seen }

// seenKey is a table as it was at a snapshot; of another time field it is another one.
type seenKey struct {
	uuid  string
	since int64
	field string
}

// seen is what has changed from one snapshot to another.
type seen struct {
	until   int64
	at      map[int]int64 // by time partition: when it changed last, Unix seconds
	removed map[int]bool  // files were taken out of it
	lost    bool          // it cannot be told what has changed
}

// changes tells what has changed since a snapshot up to that of a base.
func (s *Seen) changes(ctx context.Context, tables Completable, info table.Info, at int, since int64, base *table.Base) (*seen, error) {
	key := seenKey{info.UUID, since, info.PartitionBy[at].Name}
	have := s.tables[key]
	if have == nil || !base.IsAncestor(have.until) {
		have = &seen{until: since, at: map[int]int64{}, removed: map[int]bool{}}
	}
	if have.until == base.Snapshot || have.lost {
		have.until = base.Snapshot
		return s.keep(key, have), nil
	}
	found, err := tables.Changed(ctx, info.Ident, have.until, base.Snapshot)
	if err != nil {
		return nil, err
	}
	have.until, have.lost = base.Snapshot, !found.Known
	for _, f := range found.Files {
		if f.SpecID != info.SpecID || at >= len(f.Partition) {
			have.lost = true // of another spec, or deletes rows of any partition
			continue
		}
		n, ok := table.TimeValue(f.Partition[at])
		if !ok {
			continue // rows without a time are in no time partition
		}
		have.at[n] = max(have.at[n], f.AddedMS/1000)
		have.removed[n] = have.removed[n] || f.Removed
	}
	return s.keep(key, have), nil
}

// keep forgets what was seen of the table's earlier states.
func (s *Seen) keep(key seenKey, x *seen) *seen {
	if s.tables == nil {
		s.tables = map[seenKey]*seen{}
	}
	for k := range s.tables {
		if k.uuid == key.uuid && k != key {
			delete(s.tables, k)
		}
	}
	s.tables[key] = x
	return x
}
