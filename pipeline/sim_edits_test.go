package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/table"
)

// rewinder is a person who has offsets read again now and then: with what the tables have of them taken out, or kept, which
// duplicates them on purpose in a new epoch.
func (w *simWorld) rewinder() {
	for {
		w.sleep(30*time.Second + w.some(3*time.Minute))
		if w.calm {
			continue
		}
		c := w.committer()
		led, err := c.Load(context.Background())
		if err != nil || len(led.Records) == 0 {
			continue
		}
		all := map[table.Key]bool{}
		for k := range led.Records {
			all[k] = true
		}
		if led, err = c.Settle(context.Background(), all); err != nil {
			continue
		}
		w.rewind(c, led)
	}
}

func (w *simWorld) rewind(c *Committer, led *table.Ledger) {
	a := &amender{cfg: w.cfg, ledger: led, decisions: w.decisions(c.uuid, led), d: Deps{Primary: simPrimary, DeadLetters: simIdents[simDead], Now: c.Now}}
	k := simPick(w.r, slices.SortedFunc(maps.Keys(led.Records), cmpKey)...)
	from := led.Records[k]
	epochs := a.epochs(k, from.TopicID)
	first := from.First
	if w.r.IntN(2) == 0 {
		first = epochs[0].First
	}
	to := table.Record{Cluster: from.Cluster, TopicID: from.TopicID, First: first + w.r.Int64N(max(1, from.Next-first+1)), MaxTimestamp: -1}
	to.Next = to.First
	r := a.round(nil)
	r.ID = fmt.Sprint("rewind", w.id())
	r.Begins = []Begin{{Key: k, From: from, To: to}}
	did := "rewinds"
	if w.r.IntN(2) == 0 {
		if r.Edits, _ = a.remove(k, epochs, to.First, from.Next, "rewind"); len(r.Edits) > 0 {
			did = "removals"
		}
		if len(r.Edits) > 0 && w.r.IntN(3) == 0 { // as a backfill does that finds the records gone: nothing is read again
			did, r.Begins = "edits beneath loaders", nil
		}
	}
	w.pause()
	_, err := c.Edit(context.Background(), r)
	w.logf("rewinds %s to %d, edits %d epochs: %v", k, to.First, len(r.Edits), err)
	switch {
	case err == nil:
		w.did[did]++
	case strings.Contains(err.Error(), "defect of lakeloader"):
		w.bad("a rewind: %w", err)
	case errors.Is(err, ErrFenced):
		w.did["fenced rewinds"]++
	}
}

// decisions are what the truth knows of the offsets of a primary table.
func (w *simWorld) decisions(uuid string, led *table.Ledger) map[EpochKey]*Decisions {
	all := map[EpochKey]*Decisions{}
	know := func(k table.Key, epoch int32) *Decisions {
		if all[EpochKey{k, epoch}] == nil {
			x := NewDecisions()
			all[EpochKey{k, epoch}] = &x
		}
		return all[EpochKey{k, epoch}]
	}
	for k, rec := range led.Records {
		know(k, rec.Epoch)
	}
	for _, p := range led.Past {
		know(p.Key, p.Epoch)
	}
	for o, d := range w.truth.dest {
		if o.inc != w.incarnation[uuid] {
			continue
		}
		switch x := know(o.key(), o.epoch); d {
		case simRouted:
			x.RoutedTo(simIdents[simRouted].String()).Add(uint64(o.off))
		case simDead, simFiltered, simGap, simRemoved:
			map[uint8]*roaring64.Bitmap{simDead: x.Dead, simFiltered: x.Filtered, simGap: x.Gaps, simRemoved: x.Removed}[d].Add(uint64(o.off))
		}
	}
	return all
}

// simRewriter takes rows of edited offsets out of files by copies without them.
type simRewriter struct{ w *simWorld }

// Rewrite implements Rewriter.
func (s simRewriter) Rewrite(ctx context.Context, id table.Ident, snapshot, _ int64, r *Round) (remove []string, add []table.File, err error) {
	w := s.w
	if snapshot == 0 {
		return nil, nil, nil
	}
	files, deletes, err := w.Files(ctx, id, snapshot)
	if err != nil {
		return nil, nil, err
	}
	changed := map[EpochKey]*roaring64.Bitmap{}
	for i := range r.Edits {
		changed[EpochKey{r.Edits[i].Key, r.Edits[i].Epoch}] = r.Edits[i].Changed()
	}
	for _, f := range files {
		if w.files[f.Path].gone || w.chance(80) {
			return nil, nil, errors.New("a file cannot be read")
		}
		old := w.rowsOf(f.Path, deletes)
		kept := slices.DeleteFunc(slices.Clone(old), func(o simOffset) bool {
			set := changed[EpochKey{o.key(), o.epoch}]
			return set != nil && set.Contains(uint64(o.off))
		})
		if len(kept) == len(old) {
			continue
		}
		if remove = append(remove, f.Path); len(kept) == 0 {
			continue
		}
		name, since := fmt.Sprintf("f%d-edit", w.id()), w.now
		w.await()
		w.put(slices.Index(simIdents, id), name, kept)
		w.files[name].copied = true
		add = append(add, table.File{Path: name, Rows: int64(len(kept)), CreatedMS: since.UnixMilli()})
	}
	return remove, add, nil
}

// edited notes what a round with edits took away, and compares the counts of its epochs with the truth.
func (w *simWorld) edited(uuid string, r *Round, now *table.Ledger) {
	inc := w.incarnation[uuid]
	for i := range r.Edits {
		e := &r.Edits[i]
		for _, o := range simOffsetsOf(inc, e) {
			if was, ok := w.truth.dest[o]; !ok || was == simRemoved {
				w.bad("round %s removes %v, which is not there", r.ID, o)
			}
			w.truth.dest[o] = simRemoved
		}
		rec, c := epochOf(now, e.Key, e.Epoch), table.Counts{}
		if rec == nil {
			w.bad("epoch %d of %s, which was edited, is forgotten", e.Epoch, e.Key)
			return
		}
		for off := rec.First; off < rec.Next; off++ {
			switch w.truth.dest[simOffset{inc, e.Key.Topic[0], uint8(e.Key.Partition), int16(simGen(e.TopicID)), e.Epoch, int32(off)}] {
			case simRow, simRouted:
				c.Rows++
			case simDead:
				c.Dead++
			case simFiltered:
				c.Filtered++
			case simGap:
				c.Gaps++
			case simRemoved:
				c.Removed++
			}
		}
		if rec.Counts != c {
			w.bad("epoch %d of %s has %+v, the ledger says %+v", e.Epoch, e.Key, c, rec.Counts)
		}
	}
}

// simOffsetsOf are the offsets that an edit changes.
func simOffsetsOf(inc int16, e *Edit) (out []simOffset) {
	for it := e.Changed().Iterator(); it.HasNext(); {
		out = append(out, simOffset{inc, e.Key.Topic[0], uint8(e.Key.Partition), int16(simGen(e.TopicID)), e.Epoch, int32(it.Next())})
	}
	return out
}

// leaving are the offsets that pending rounds take away: other tables than the primary may have them still.
func (w *simWorld) leaving(uuid string, pending []table.Pending) map[simOffset]bool {
	all := map[simOffset]bool{}
	for _, p := range pending {
		r := w.rounds[uuid][p.ID]
		for i := range r.Edits {
			for _, o := range simOffsetsOf(w.incarnation[uuid], &r.Edits[i]) {
				all[o] = true
			}
		}
	}
	return all
}

// removed checks a round with edits that leaves pending: no table may have what it took away.
func (w *simWorld) removed(uuid string, p table.Pending) {
	gone := w.leaving(uuid, []table.Pending{p})
	for _, id := range simIdents {
		t := w.tables[id]
		if len(gone) == 0 || t.rolled != 0 {
			continue
		}
		for _, f := range t.files() {
			for _, o := range w.rowsOf(f, t.snaps[t.main].deletes) {
				if gone[o] {
					w.bad("round %d (%s) left pending, but %v is in %s still", p.Number, p.ID, o, id)
				}
			}
		}
	}
}
