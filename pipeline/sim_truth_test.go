package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/table"
)

// simTruth is what every committed offset has become, noted when the swap that decided it landed.
type simTruth struct {
	dest      map[simOffset]uint8
	added     map[string]bool    // uuid of a table and file: a file is added to a table once
	finished  map[string]bool    // files that have been added to some table
	forgiven  map[simOffset]bool // gone with a table that a person dropped
	forgotten map[simOffset]bool // deleted by a person
}

func newSimTruth() simTruth {
	return simTruth{dest: map[simOffset]uint8{}, added: map[string]bool{}, finished: map[string]bool{}, forgiven: map[simOffset]bool{}, forgotten: map[simOffset]bool{}}
}

var errNoLedger = errors.New("no ledger")

// landed checks a swap of which was and props are what was before.
func (w *simWorld) landed(id table.Ident, was int64, props map[string]string, ch table.Change) {
	t := w.tables[id]
	if ch.Props == nil && len(ch.Unset) == 0 {
		return // a job's: the rows are compared in the end
	}
	for _, f := range ch.Add {
		key := t.uuid + " " + f.Path
		if w.truth.added[key] {
			w.bad("file %s was added to %s twice", f.Path, id)
		}
		w.truth.added[key], w.truth.finished[f.Path] = true, true
	}
	if id != simPrimary {
		w.applied(t, slices.Index(simIdents, id), was, props, ch)
		return
	}
	now, err := table.ParseLedger("p", t.props)
	old, err2 := table.ParseLedger("p", props)
	if err = errors.Join(err, err2); err != nil {
		w.bad("the ledger after a swap: %w", err)
	}
	if now == nil {
		return // there is none yet, nor after the fence of a job
	}
	if old == nil {
		old = &table.Ledger{}
	}
	for _, p := range old.Pending {
		if !slices.Contains(now.Pending, p) {
			w.leftPending(t.uuid, p)
		}
	}
	if now.Number == old.Number {
		if !maps.Equal(now.Records, old.Records) || now.Move != old.Move || len(ch.Add) > 0 {
			w.bad("offsets moved without a number: %+v, before %+v", now, old)
		}
		return
	}
	if now.Number != old.Number+1 || now.Move != t.main {
		w.bad("number %d follows %d, the move is %d in snapshot %d", now.Number, old.Number, now.Move, t.main)
	}
	w.moved(t, old, now, ch)
	if old.Move != 0 && !w.ancestor(old.Move, was) { // no harm is done where that took no rows away
		if err := w.check(false); err != nil {
			w.bad("offsets were moved on a table that was rolled back from snapshot %d to %d: %w", old.Move, was, err)
		}
	}
}

// leftPending checks a round that leaves pending.
func (w *simWorld) leftPending(uuid string, p table.Pending) {
	if w.committed[uuid][p.Number] != p.ID {
		w.bad("round %d (%s) left pending without a mark", p.Number, p.ID)
	}
	for _, t := range w.rounds[uuid][p.ID].Tables[1:] {
		for _, f := range t.Files {
			if !w.truth.finished[f.Path] && (t.UUID == "" || t.UUID == w.tables[t.Table].uuid) {
				w.bad("round %d (%s) left pending before %s was added to %s", p.Number, p.ID, f.Path, t.Table)
			}
		}
	}
	w.removed(uuid, p)
}

// moved compares the offsets that a swap of the primary moved with what it says of each.
func (w *simWorld) moved(t *simTable, old, now *table.Ledger, ch table.Change) {
	says := map[simOffset]uint8{}
	say := func(d uint8, rows []simOffset) {
		for _, o := range rows {
			if _, twice := says[o]; twice {
				w.bad("one round decides twice about %v", o)
			}
			says[o] = d
		}
	}
	for _, f := range ch.Add {
		if !w.files[f.Path].copied {
			say(simRow, w.files[f.Path].rows)
		}
	}
	var edits *Round
	if n := len(now.Pending); n > 0 && now.Pending[n-1].ID == now.CommitID {
		if r := w.rounds[t.uuid][now.CommitID]; r == nil {
			w.bad("round %s is pending without an object", now.CommitID)
		} else {
			w.roundSays(r, w.incarnation[t.uuid], say)
			edits = r
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(now.Records), cmpKey) {
		from, known := old.Records[k]
		to := now.Records[k]
		gen := simGen(to.TopicID)
		log := w.kafka.topic(k.Topic).of(gen, k.Partition)
		switch {
		case to.Sum() != to.Next-to.First:
			w.bad("%s: the counts do not sum up: %+v", k, to)
		case known && to.Epoch == from.Epoch+1:
			if past := epochOf(now, k, from.Epoch); past == nil || !past.Same(from) || past.First != from.First {
				w.bad("%s: the epoch %+v is forgotten", k, from)
			}
			from = table.Record{First: to.First, Next: to.First}
		case known && (to.Epoch != from.Epoch || to.TopicID != from.TopicID || to.First != from.First || to.Next < from.Next):
			w.bad("%s moved from %+v to %+v", k, from, to)
		case !known:
			from = table.Record{First: to.First, Next: to.First}
		}
		begins := !known || to.Epoch != old.Records[k].Epoch && to.TopicID != old.Records[k].TopicID // and not on purpose
		present := gen == w.kafka.topic(k.Topic).gen                                                 // one that is gone already may begin where the next one does
		if begins && present && from.First > log.low && (w.cfg.Source.Start != "latest" || to.Epoch > 0) && w.cfg.Source.OnReset != "latest" {
			w.bad("%s begins at %d, but the first offset is %d", k, from.First, log.low)
		}
		for off := from.Next; off < to.Next; off++ {
			o := simOffset{w.incarnation[t.uuid], k.Topic[0], uint8(k.Partition), int16(gen), to.Epoch, int32(off)}
			d, ok := says[o]
			if was, twice := w.truth.dest[o]; twice {
				w.bad("%v was decided twice: %s and %s", o, simDestinations[was], simDestinations[d])
			}
			if !ok || off >= int64(len(log.log)) || log.log[off] == (d == simGap) {
				w.bad("round %s moves %s from %d to %d, but says nothing true of offset %d (topic %s)", now.CommitID, k, from.Next, to.Next, off, to.TopicID)
				return
			}
			w.truth.dest[o] = d
			delete(says, o)
		}
	}
	for o := range says {
		w.bad("round %s has %v, but does not move its offsets", now.CommitID, o)
	}
	if edits != nil {
		w.edited(t.uuid, edits, now)
	}
}

// roundSays is what the object of a round says beside the rows of the primary.
func (w *simWorld) roundSays(r *Round, inc int16, say func(uint8, []simOffset)) {
	rows := [3]int{}
	for _, t := range r.Tables[1:] {
		for _, f := range t.Files {
			d := slices.Index(simIdents, t.Table)
			say(uint8(d), w.files[f.Path].rows)
			rows[d] += len(w.files[f.Path].rows)
			if len(t.Files) > 0 && t.UUID != w.tables[t.Table].uuid { // it was dropped just before
				for _, o := range w.files[f.Path].rows {
					w.truth.forgiven[o] = true
				}
			}
		}
	}
	for _, m := range r.Moves {
		set := func(o *Offsets) (out []simOffset) {
			if o == nil {
				return nil
			}
			for it := o.Iterator(); it.HasNext(); {
				out = append(out, simOffset{inc, m.Key.Topic[0], uint8(m.Key.Partition), int16(simGen(m.To.TopicID)), m.To.Epoch, int32(it.Next())})
			}
			return out
		}
		for _, o := range m.Filtered {
			say(simFiltered, set(o))
		}
		for _, o := range m.Dead {
			rows[simDead] -= len(set(o))
		}
		for _, o := range m.Routed {
			rows[simRouted] -= len(set(o))
		}
		say(simGap, set(m.Gaps))
	}
	if rows != [3]int{} {
		w.bad("round %s has other numbers of rows than of offsets, by table: %v more", r.ID, rows)
	}
}

// applied checks a swap of another table.
func (w *simWorld) applied(t *simTable, d int, was int64, props map[string]string, ch table.Change) {
	now, err := table.ParseApplied("p", t.props)
	old, err2 := table.ParseApplied("p", props)
	switch {
	case err != nil || err2 != nil:
		w.bad("applied: %v, %v", err, err2)
	case old == now && len(ch.Add) == 0: // the fence of a job
	case old.UUID == now.UUID && now.Number <= old.Number:
		w.bad("applied goes from %d to %d", old.Number, now.Number)
	case old.UUID == now.UUID && !w.ancestor(old.Snapshot, was):
		if err := w.check(false); err != nil {
			w.bad("round %d was applied to a table that was rolled back from snapshot %d to %d: %w", now.Number, old.Snapshot, was, err)
		}
	case old.UUID != "" && w.incarnation[old.UUID] > w.incarnation[now.UUID]:
		w.bad("applied of the primary %s was overwritten by one of the earlier %s", old.UUID, now.UUID)
	}
	leaving := map[simOffset]bool{}
	if led, err := table.ParseLedger("p", w.tables[simPrimary].props); err == nil && led != nil {
		leaving = w.leaving(w.tables[simPrimary].uuid, led.Pending)
	}
	for _, f := range ch.Add {
		if d == simRouted && !w.files[f.Path].copied {
			w.listed(f.Path)
		}
		for _, o := range w.files[f.Path].rows {
			// What was to leave a primary that was dropped stays where it was, and is copied with the rest.
			stays := w.files[f.Path].copied && o.inc < w.incarnation[w.tables[simPrimary].uuid]
			got, ok := w.truth.dest[o]
			if !ok || int(got) != d && !(got == simRemoved && (leaving[o] || stays)) { // leaving: by a later round
				w.bad("%v was added to %s, which no swap has decided", o, simIdents[d])
			}
		}
	}
}

// listed: the ledger names the table that rows are routed to, and for which value.
func (w *simWorld) listed(file string) {
	t := w.tables[simPrimary]
	led, err := table.ParseLedger("p", t.props)
	if err != nil || led == nil || w.files[file].rows[0].inc != w.incarnation[t.uuid] {
		return // of a primary that is gone
	}
	if to := led.Routed(simIdents[simRouted]); to == nil || to.Value != w.files[file].value {
		w.bad("%s was routed by %s, but the ledger says of the table: %+v", file, w.files[file].value, to)
	}
}

// check compares all tables with the truth. At the end no round may be pending; before it the files of pending rounds may
// be missing in other tables.
func (w *simWorld) check(end bool) error {
	t := w.tables[simPrimary]
	led, err := table.ParseLedger("p", t.props)
	if err != nil {
		return err
	}
	if led == nil {
		if end && len(t.files()) == 0 {
			return nil
		}
		return errNoLedger
	}
	if end && len(led.Pending) > 0 {
		return fmt.Errorf("rounds are still pending: %v", led.Pending)
	}
	inc := w.incarnation[t.uuid]
	seen, leaving := map[simOffset]bool{}, w.leaving(t.uuid, led.Pending)
	for d, id := range simIdents {
		s := w.tables[id].snaps[w.tables[id].main]
		for _, f := range s.files {
			if w.files[f].gone {
				return fmt.Errorf("file %s of %s is gone", f, id)
			}
			for _, o := range w.rowsOf(f, s.deletes) {
				if o.inc != inc && d > 0 {
					continue
				}
				got, ok := w.truth.dest[o]
				switch {
				case d > 0 && got == simRemoved && leaving[o]: // not yet
				case !ok || int(got) != d:
					return fmt.Errorf("%v in %s is not committed", o, id)
				case seen[o]:
					return fmt.Errorf("%v is in %s twice", o, id)
				case w.truth.forgotten[o] && w.tables[id].rolled == 0:
					return fmt.Errorf("%v was deleted from %s and is back", o, id)
				}
				seen[o] = true
			}
		}
	}
	waits := map[simOffset]bool{}
	for _, p := range led.Pending {
		for _, f := range w.rounds[t.uuid][p.ID].files() {
			for _, o := range w.files[f].rows {
				waits[o] = true
			}
		}
	}
	for o, d := range w.truth.dest {
		if d < simFiltered && o.inc == inc && !seen[o] && !w.truth.forgiven[o] && !w.truth.forgotten[o] && (d == simRow || !waits[o]) {
			return fmt.Errorf("%v is lost: it was to be in %s", o, simIdents[d])
		}
	}
	return nil
}

// rolledBack says which table's main does not have its last move.
func (w *simWorld) rolledBack() error {
	for _, id := range simIdents {
		t := w.tables[id]
		moves, err := table.Moves(t.props)
		if err != nil {
			return err
		}
		for _, m := range moves {
			if !w.ancestor(m, t.main) {
				return fmt.Errorf("%s is rolled back from %d to %d", id, m, t.main)
			}
		}
	}
	return nil
}

// remove deletes an object, which nothing may need.
func (w *simWorld) remove(name, why string) {
	f := w.files[name]
	if f.gone {
		return
	}
	w.logf("deletes %s: %s", name, why)
	f.gone = true
	w.did["deleted"]++
	for _, id := range simIdents {
		for n, s := range w.tables[id].snaps {
			if slices.Contains(s.files, name) || slices.Contains(s.deletes, name) {
				w.bad("%s was deleted (%s), but snapshot %d of %s has it", name, why, n, id)
			}
		}
	}
	t := w.tables[simPrimary]
	led, err := table.ParseLedger("p", t.props)
	if err != nil || led == nil {
		return
	}
	for _, p := range led.Pending {
		for _, x := range w.rounds[t.uuid][p.ID].Tables[1:] {
			for _, file := range x.Files {
				if file.Path == name && !w.truth.added[w.tables[x.Table].uuid+" "+name] {
					w.bad("%s was deleted (%s), but round %d is pending", name, why, p.Number)
				}
			}
		}
		if name == simRoundURI(t.uuid, p.ID) {
			w.bad("the object of pending round %d was deleted", p.Number)
		}
	}
	if id, ok := strings.CutPrefix(name, simRoundURI(t.uuid, "")); ok && slices.Contains(slices.Collect(maps.Values(w.committed[t.uuid])), id) {
		w.bad("the object of committed round %s was deleted", id)
	}
}
