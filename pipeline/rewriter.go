package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/rewrite"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// rewriter implements Rewriter with copies of the data files. It remembers what it wrote for a round, so that an attempt
// which lost the race against a loader costs the next one nothing.
type rewriter struct {
	files   configs.Files
	d       Deps
	round   string
	table   table.Ident
	deletes []string // of other engines, that were in force
	done    map[string]rewrite.Result
}

func newRewriter(cfg *configs.Pipeline, d Deps) *rewriter { return &rewriter{files: cfg.Files, d: d} }

// Rewrite implements Rewriter.
func (w *rewriter) Rewrite(ctx context.Context, id table.Ident, snapshot, n int64, r *Round) (remove []string, add []table.File, err error) {
	if snapshot == 0 {
		return nil, nil, nil
	}
	info, err := w.d.Catalog.Info(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	files, deletes, err := w.d.Catalog.Files(ctx, id, snapshot)
	if err != nil {
		return nil, nil, fmt.Errorf("listing its files: %w", err)
	}
	if w.round != r.ID || w.table != id || !slices.Equal(w.deletes, deletes) {
		w.round, w.table, w.deletes, w.done = r.ID, id, deletes, map[string]rewrite.Result{}
	}
	e := newEdited(r, id == w.d.DeadLetters)
	in := rewrite.Input{Info: info, Store: w.d.Objects, Files: w.files, Choose: e.choose, Now: w.d.Now, Set: []rewrite.Set{
		{Column: ColumnReplayedAt, Int64: r.AtMS * 1000}, {Column: ColumnReplayedRound, Int64: n}}}
	if id != w.d.DeadLetters {
		in.Set = nil
	}
	var deleted map[string]*roaring64.Bitmap
	for _, f := range files {
		out, ok := w.done[f.Path]
		if !ok {
			if !rewrite.MayHold(info.Row, f, e.spans...) {
				continue
			}
			if deleted == nil {
				if deleted, err = scan.PositionDeletes(ctx, w.d.Objects, deletes); err != nil {
					return nil, nil, err
				}
			}
			in.Source, in.Deleted = f, deleted[f.Path]
			if out, err = rewrite.File(ctx, in); err != nil {
				return nil, nil, err
			}
			w.done[f.Path] = out
		}
		if !out.Same() {
			remove, add = append(remove, f.Path), append(add, out.Files...)
		}
	}
	return remove, add, nil
}

// edited tells which rows of a table are of edited offsets.
type edited struct {
	spans   []batch.Span // that all of them lie in
	letters bool         // it is a dead-letter table
	edits   map[EpochKey]*editedOffsets
}

type editedOffsets struct {
	changed  *roaring64.Bitmap
	purged   *roaring64.Bitmap // of a dead-letter table
	replayed bool
}

func newEdited(r *Round, letters bool) *edited {
	e := &edited{letters: letters, edits: map[EpochKey]*editedOffsets{}}
	for i := range r.Edits {
		x := &r.Edits[i]
		if x.Replayed && !letters {
			continue // what was a dead letter has no rows in other tables
		}
		o := &editedOffsets{changed: x.Changed(), purged: roaring64.New(), replayed: x.Replayed}
		if letters && x.Purged != nil {
			o.purged = &x.Purged.Bitmap
		}
		all := roaring64.Or(o.changed, o.purged)
		if all.IsEmpty() {
			continue
		}
		e.edits[EpochKey{x.Key, x.Epoch}] = o
		e.spans = append(e.spans, spansOf(x.Key, all)...)
	}
	return e
}

// Offsets of a set, and spans made of it, beyond which it has one span only: every file's bounds are compared with all spans.
const (
	maxSpread = 100_000
	maxSpans  = 1000
)

// spansOf are spans that all offsets of a set lie in: where there are few, its runs, so that files in between need not be read.
func spansOf(k table.Key, set *roaring64.Bitmap) []batch.Span {
	whole := []batch.Span{{Topic: k.Topic, Partition: k.Partition, First: int64(set.Minimum()), Next: int64(set.Maximum()) + 1}}
	if set.GetCardinality() > maxSpread {
		return whole
	}
	var out []batch.Span
	for at := set.Iterator(); at.HasNext(); {
		off := int64(at.Next())
		if n := len(out); n > 0 && out[n-1].Next == off {
			out[n-1].Next++
			continue
		}
		if len(out) == maxSpans {
			return whole
		}
		out = append(out, batch.Span{Topic: k.Topic, Partition: k.Partition, First: off, Next: off + 1})
	}
	return out
}

// choose implements rewrite.Choose.
func (e *edited) choose(k *rewrite.Keys, verdicts []rewrite.Verdict) error {
	var o *editedOffsets
	for i := range verdicts {
		if i == 0 || k.Topic[i] != k.Topic[i-1] || k.Partition[i] != k.Partition[i-1] || k.Epoch[i] != k.Epoch[i-1] {
			o = e.edits[EpochKey{table.Key{Topic: k.Topics[k.Topic[i]], Partition: k.Partition[i]}, k.Epoch[i]}]
		}
		if o == nil {
			continue
		}
		off := uint64(k.Offset[i])
		switch {
		case o.purged.Contains(off):
			verdicts[i] = rewrite.Drop
		case !o.changed.Contains(off):
		case e.letters && o.replayed:
			verdicts[i] = rewrite.Change
		default:
			verdicts[i] = rewrite.Drop
		}
	}
	return nil
}
