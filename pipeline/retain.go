package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/rewrite"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// RetainOptions says which rows are dropped: those of time partitions that ended at Before or earlier.
type RetainOptions struct {
	Before time.Time
	DryRun bool
}

// RetainReport says what is, or would be, dropped.
type RetainReport struct {
	Pipeline string `json:"pipeline"`
	Done     bool   `json:"done"`
	Round    int64  `json:"round,omitempty"` // its number, when done
	Files    int64  `json:"files"`
	Bytes    int64  `json:"bytes"`
	Rows     int64  `json:"rows"`
	// Whole are tables without time partitions, and files of a partition spec without them: of these nothing is dropped.
	Whole []string `json:"whole,omitempty"`
}

// Retain drops the rows of old time partitions from the primary table and those that rows are routed to, in one round. For
// verify their offsets are removed by the job retention. Loaders go on meanwhile. It needs no Kafka.
func Retain(ctx context.Context, cfg *configs.Pipeline, d Deps, o RetainOptions) (*RetainReport, error) {
	a := &amender{cfg: cfg, d: d}
	var rep *RetainReport
	err := a.again(ctx, func() (err error) {
		rep, err = a.retain(ctx, o)
		return err
	})
	return rep, err
}

// retention is the name by which offsets are removed.
const retention = "retention"

func (a *amender) retain(ctx context.Context, o RetainOptions) (*RetainReport, error) {
	rep := &RetainReport{Pipeline: a.cfg.Name}
	old := map[EpochKey]*roaring64.Bitmap{}
	for _, id := range a.tables() {
		err := a.oldRows(ctx, id, o.Before, rep, old)
		if errors.Is(err, table.ErrNoTable) && id != a.d.Primary {
			continue // dropped, with all its rows
		}
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", id, err)
		}
	}
	r := a.round(nil)
	for _, k := range slices.SortedFunc(maps.Keys(old), EpochKey.compare) {
		rec, d := epochOf(a.ledger, k.Key, k.Epoch), a.decisions[k]
		if rec == nil || d == nil {
			return nil, fmt.Errorf("the tables have rows of %s in epoch %d, which the offsets of %s do not know", k.Key, k.Epoch, a.d.Primary)
		}
		set := old[k]
		set.And(span(rec.First, rec.Next)) // rows of rounds that landed meanwhile are left for the next run
		if set.IsEmpty() {
			continue
		}
		r.Edits = append(r.Edits, Edit{Key: k.Key, TopicID: rec.TopicID, Epoch: k.Epoch, First: rec.First, Was: d.Count(set), Removed: map[string]*Offsets{retention: {Bitmap: *set}}})
	}
	if o.DryRun || len(r.Edits) == 0 {
		return rep, nil
	}
	n, err := a.land(ctx, r, "drops the rows")
	if n == 0 {
		return nil, err
	}
	rep.Done, rep.Round = true, n
	return rep, err
}

// oldRows adds the offsets of a table's rows in old partitions.
func (a *amender) oldRows(ctx context.Context, id table.Ident, before time.Time, rep *RetainReport, old map[EpochKey]*roaring64.Bitmap) error {
	info, err := a.d.Catalog.Info(ctx, id)
	if err != nil {
		return err
	}
	at, unit := info.TimeField()
	if at < 0 {
		rep.Whole = append(rep.Whole, fmt.Sprintf("table %s is not partitioned by time", id))
		return nil
	}
	files, deletes, err := a.d.Catalog.Files(ctx, id, 0)
	if err != nil {
		return err
	}
	var deleted map[string]*roaring64.Bitmap
	otherSpecs := 0
	for _, f := range files {
		if f.SpecID != info.SpecID {
			otherSpecs++
			continue
		}
		if n, ok := table.TimeValue(f.Partition[at]); !ok || unit.Start(n+1).After(before) {
			continue
		}
		if deleted == nil {
			if deleted, err = scan.PositionDeletes(ctx, a.d.Objects, deletes); err != nil {
				return err
			}
		}
		in := rewrite.Input{Info: info, Store: a.d.Objects, Files: a.cfg.Files, Source: f, Deleted: deleted[f.Path], Now: a.d.Now, Choose: collect(old)}
		res, err := rewrite.File(ctx, in) // it keeps all rows, so nothing is written
		if err != nil {
			return err
		}
		rep.Files, rep.Bytes, rep.Rows = rep.Files+1, rep.Bytes+f.Size, rep.Rows+res.Kept
	}
	if otherSpecs > 0 {
		rep.Whole = append(rep.Whole, fmt.Sprintf("%d files of table %s are of another partition spec", otherSpecs, id))
	}
	return nil
}

// collect notes which records the rows are from, and keeps them all.
func collect(into map[EpochKey]*roaring64.Bitmap) rewrite.Choose {
	return func(k *rewrite.Keys, _ []rewrite.Verdict) error {
		var set *roaring64.Bitmap
		for i, off := range k.Offset {
			if i == 0 || k.Topic[i] != k.Topic[i-1] || k.Partition[i] != k.Partition[i-1] || k.Epoch[i] != k.Epoch[i-1] {
				key := EpochKey{table.Key{Topic: k.Topics[k.Topic[i]], Partition: k.Partition[i]}, k.Epoch[i]}
				if set = into[key]; set == nil {
					set = roaring64.New()
					into[key] = set
				}
			}
			set.Add(uint64(off))
		}
		return nil
	}
}
