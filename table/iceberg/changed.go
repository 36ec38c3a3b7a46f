package iceberg

import (
	"context"
	"fmt"

	icebergo "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/table"
)

// Changed implements table.Catalog. It goes from until back to since, and of each snapshot between reads the manifests
// that it has written itself: a merge of manifests keeps who added which file.
func (l *lake) Changed(ctx context.Context, id table.Ident, since, until int64) (*table.Changes, error) {
	tbl, err := l.load(ctx, id)
	if err != nil {
		return nil, err
	}
	meta := tbl.Metadata()
	snap := currentSnapshot(meta)
	if until != 0 {
		if snap = meta.SnapshotByID(until); snap == nil {
			return nil, fmt.Errorf("table %s has no snapshot %d: it has expired or never was", id, until)
		}
	}
	out := &table.Changes{}
	if snap == nil {
		out.Known = since == 0
		return out, nil
	}
	out.Until = snap.SnapshotID
	specs := partitionings{meta, map[int]*partitioning{}}
	for snap.SnapshotID != since {
		if !rewrite(snap) {
			if out.Files, err = l.changedBy(ctx, tbl, snap, specs, out.Files); err != nil {
				return nil, fmt.Errorf("table %s, snapshot %d: %w", id, snap.SnapshotID, err)
			}
		}
		if snap.ParentSnapshotID == nil {
			out.Known = since == 0
			return out, nil
		}
		if snap = meta.SnapshotByID(*snap.ParentSnapshotID); snap == nil {
			return out, nil
		}
	}
	out.Known = true
	return out, nil
}

// rewrite: the snapshot has the rows that its parent has. Engines say so by its operation, jobs in its summary.
func rewrite(s *icetable.Snapshot) bool {
	return s.Summary != nil && (s.Summary.Operation == icetable.OpReplace || s.Summary.Properties[table.SummaryJob] == table.JobCompact)
}

// changedBy appends what one snapshot has changed.
func (l *lake) changedBy(ctx context.Context, tbl *icetable.Table, snap *icetable.Snapshot, specs partitionings, to []table.FileChange) ([]table.FileChange, error) {
	ms, err := l.manifests(ctx, tbl, snap)
	if err != nil {
		return nil, err
	}
	io, err := tbl.FS(l.context(ctx))
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		if m.SnapshotID() != snap.SnapshotID {
			continue
		}
		for e, err := range m.Entries(io, false) {
			if err != nil {
				return nil, l.readError("read manifest "+m.FilePath(), err)
			}
			if e.Status() == icebergo.EntryStatusEXISTING || e.SnapshotID() != snap.SnapshotID {
				continue
			}
			p, err := specs.of(int(e.DataFile().SpecID()))
			if err != nil {
				return nil, fmt.Errorf("file %s: %w", e.DataFile().FilePath(), err)
			}
			f, err := p.file(e.DataFile())
			if err != nil {
				return nil, fmt.Errorf("file %s: %w", e.DataFile().FilePath(), err)
			}
			f.AddedMS, f.Sequence = snap.TimestampMs, snap.SequenceNumber
			to = append(to, table.FileChange{File: f, Snapshot: snap.SnapshotID, Removed: e.Status() == icebergo.EntryStatusDELETED,
				Deletes: e.DataFile().ContentType() != icebergo.EntryContentData})
		}
	}
	return to, nil
}
