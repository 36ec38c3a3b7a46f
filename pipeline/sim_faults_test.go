package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/table"
)

// simFault is something that happens to a world, now and then.
type simFault struct {
	name string
	f    func() bool // false: not now
}

// choosePrograms: which programs and faults there are differs, so that some seeds are about few of them.
func (w *simWorld) choosePrograms() {
	for i := range 2 + w.r.IntN(2) {
		w.loaders = append(w.loaders, newSimLoader(w, fmt.Sprint("loader", i)))
	}
	for _, a := range []struct {
		name string
		f    func()
	}{{"rewriter", w.rewriter}, {"orphans", w.orphans}, {"expirer", w.expirer}, {"rewinder", w.rewinder}, {"rewinder2", w.rewinder}} {
		if w.r.IntN(3) > 0 {
			w.spawn(a.name, a.f)
		}
	}
	for _, f := range []simFault{
		{"zombies", w.zombie}, {"kills", w.killLoader}, {"restarts", w.restart}, {"rebalances", w.rebalance}, {"evictions", w.evictLoader}, {"jumps", w.jump},
		{"foreign", w.foreign}, {"forgotten", w.forget}, {"expired", w.expire}, {"rollbacks", w.rollback}, {"drops", w.drop},
		{"recreations", w.recreate}, {"retentions", w.retain}, {"new partitions", w.addPartition},
	} {
		if w.r.IntN(2) == 0 {
			w.faults = append(w.faults, f)
		}
	}
	w.faults = append(w.faults, simFault{"produced", w.produce})
}

func (w *simWorld) fault() {
	f := simPick(w.r, w.faults...)
	if f.f() {
		w.did[f.name]++
		w.logf("fault: %s", f.name)
	}
}

func (w *simWorld) anyLoader() *simLoader { return simPick(w.r, w.loaders...) }

func (w *simWorld) produce() bool {
	for _, t := range w.kafka.topics {
		for _, p := range t.parts {
			n := w.r.IntN(4)
			if w.calm {
				n++
			}
			w.kafka.produce(p, n)
		}
	}
	return true
}

// zombie stops a process for long, with whatever it has in its hands.
func (w *simWorld) zombie() bool {
	l := w.anyLoader()
	l.a.wake = w.now.Add(w.some(2 * w.age))
	if w.r.IntN(4) > 0 {
		w.kafka.evict(l.c)
	}
	return !l.a.dead
}

func (w *simWorld) killLoader() bool {
	l := w.anyLoader()
	if l.a.dead {
		return false
	}
	c := l.c
	w.kill(l.a)
	w.after(w.some(time.Minute), func() { w.kafka.evict(c) })
	w.after(w.some(time.Minute), func() {
		if l.a.dead {
			l.start()
		}
	})
	return true
}

func (w *simWorld) restart() bool {
	l := w.anyLoader()
	if l.stopping() {
		return false
	}
	close(l.stop)
	return true
}

func (w *simWorld) rebalance() bool { w.kafka.rebalance(w.r.IntN(2) == 0); return true }

// evictLoader: the group goes on without a member, which is only slow.
func (w *simWorld) evictLoader() bool { w.kafka.evict(w.anyLoader().c); return true }

// jump lets time pass for everyone.
func (w *simWorld) jump() bool { w.now = w.now.Add(w.some(2 * w.age)); return true }

func (w *simWorld) recreate() bool {
	if w.r.IntN(3) > 0 || w.kafka.away {
		return false
	}
	w.kafka.recreate()
	return true
}

func (w *simWorld) retain() bool {
	if w.r.IntN(3) > 0 {
		return false
	}
	w.kafka.retain()
	return true
}

func (w *simWorld) addPartition() bool {
	t := simPick(w.r, w.kafka.topics...)
	if len(t.parts) > 4 {
		return false
	}
	w.kafka.grow(t)
	w.kafka.rebalance(false)
	return true
}

// whole is a table at random that no person is busy with.
func (w *simWorld) whole() (int, *simTable) {
	d := w.r.IntN(len(simIdents))
	t := w.tables[simIdents[d]]
	if t.rolled != 0 || t.main == 0 {
		return d, nil
	}
	return d, t
}

// foreign is a compaction of another engine, which knows nothing of us.
func (w *simWorld) foreign() bool {
	d, t := w.whole()
	if t == nil {
		return false
	}
	s := t.snaps[t.main]
	files := slices.Clone(s.files)
	if len(files) > 1 {
		name := fmt.Sprintf("f%d-foreign", w.id())
		w.put(d, name, append(slices.Clone(w.rowsOf(files[0], s.deletes)), w.rowsOf(files[1], s.deletes)...))
		files = append(files[2:], name)
	}
	w.snapshot(t, files, s.deletes)
	return true
}

// forget deletes rows by a delete file, as other engines do.
func (w *simWorld) forget() bool {
	d, t := w.whole()
	if t == nil || len(t.files()) == 0 {
		return false
	}
	s := t.snaps[t.main]
	file := simPick(w.r, s.files...)
	gone := map[simOffset]bool{}
	for _, o := range w.rowsOf(file, s.deletes) {
		if w.r.IntN(2) == 0 {
			gone[o], w.truth.forgotten[o] = true, true
		}
	}
	name := fmt.Sprintf("f%d-deletes", w.id())
	w.put(d, name, nil)
	w.files[name].deletes = map[string]map[simOffset]bool{file: gone}
	w.snapshot(t, s.files, append(slices.Clone(s.deletes), name))
	return true
}

// expire removes snapshots before main, as other engines do; the one of the last move may be among them. What a tag names
// stays.
func (w *simWorld) expire() bool {
	_, t := w.whole()
	if t == nil {
		return false
	}
	keep := w.r.IntN(3)
	for c := t.main; c != 0; c = t.snaps[c].parent {
		if keep--; keep < 0 {
			gone := map[int64]bool{}
			for id := range t.snaps {
				gone[id] = id <= c && id != t.main && id != t.tag
			}
			w.dropSnapshots(t, gone)
			return true
		}
	}
	return false
}

// dropSnapshots expires them, and returns the files that only they had.
func (w *simWorld) dropSnapshots(t *simTable, gone map[int64]bool) []string {
	left, only := map[int64]simSnap{}, map[string]bool{}
	for id, s := range t.snaps {
		if !gone[id] {
			left[id] = s
			continue
		}
		for _, f := range slices.Concat(s.files, s.deletes) {
			only[f] = true
		}
	}
	for _, s := range left {
		for _, f := range slices.Concat(s.files, s.deletes) {
			delete(only, f)
		}
	}
	t.snaps = left
	return slices.Sorted(maps.Keys(only))
}

// rollback makes an older snapshot main, which takes rows away and leaves the properties.
func (w *simWorld) rollback() bool {
	d, t := w.whole()
	if t == nil {
		return false
	}
	to := t.main
	for range 1 + w.r.IntN(3) {
		if p := t.snaps[to].parent; t.snaps[p].at != (time.Time{}) {
			to = p
		}
	}
	if to == t.main {
		return false
	}
	w.logf("%s is rolled back from %d to %d", simIdents[d], t.main, to)
	for _, name := range t.snaps[t.main].deletes { // what was deleted may be back
		if !slices.Contains(t.snaps[to].deletes, name) {
			for _, rows := range w.files[name].deletes {
				for o := range rows {
					delete(w.truth.forgotten, o)
					w.truth.forgiven[o] = true
				}
			}
		}
	}
	t.rolled, t.main = t.main, to
	w.after(w.some(2*time.Minute), w.rollForward)
	return true
}

// rollForward is the person who reads why the pipeline stopped.
func (w *simWorld) rollForward() {
	for _, id := range simIdents {
		t := w.tables[id]
		if t.rolled == 0 {
			continue
		}
		moves, err := table.Moves(t.props)
		if err != nil {
			w.bad("%w", err)
		}
		if slices.ContainsFunc(moves, func(m int64) bool { return !w.ancestor(m, t.main) }) {
			w.logf("%s is rolled forward from %d to %d", id, t.main, t.rolled)
			if _, there := t.snaps[t.rolled]; !there {
				w.bad("%s cannot be rolled forward to %d: it has expired", id, t.rolled)
			}
			t.main = t.rolled
		}
		t.rolled = 0
	}
}

// drop drops a table and makes it again, empty.
func (w *simWorld) drop() bool {
	d := w.r.IntN(len(simIdents))
	t := w.tables[simIdents[d]]
	if w.r.IntN(4) > 0 || t.rolled != 0 {
		return false
	}
	for o, dest := range w.truth.dest { // a round that is pending still may bring rows back
		if int(dest) == d {
			w.truth.forgiven[o] = true
			delete(w.truth.forgotten, o)
		}
	}
	w.create(simIdents[d])
	w.logf("%s is dropped and created as %s", simIdents[d], w.tables[simIdents[d]].uuid)
	return true
}

// rewriter is the compaction job: it reads some files, takes its time, and commits.
func (w *simWorld) rewriter() {
	r := &jobs.Rewriter{Tables: w, Now: func() time.Time { return w.now }, Wait: w.wait, OrphanAge: w.age}
	for {
		w.sleep(w.some(40 * time.Second))
		d := w.r.IntN(len(simIdents))
		t := w.tables[simIdents[d]]
		s := t.snaps[t.main]
		if len(s.files) < 2 {
			continue
		}
		from := w.r.IntN(len(s.files) - 1)
		rw := &jobs.Rewrite{Table: simIdents[d], UUID: t.uuid, Snapshot: t.main, Inputs: s.files[from : from+2], Deletes: s.deletes}
		since, name := w.now, fmt.Sprintf("f%d-compact", w.id())
		var rows []simOffset
		for _, f := range rw.Inputs {
			rows = append(rows, w.rowsOf(f, s.deletes)...)
		}
		w.pause()
		w.put(d, name, rows)
		rw.Output = []table.File{{Path: name, Rows: int64(len(rows)), CreatedMS: since.UnixMilli()}}
		w.pause()
		switch err := r.Commit(context.Background(), rw); {
		case err == nil:
			w.did["rewrites"]++
		case errors.Is(err, jobs.ErrStale):
			w.did["stale rewrites"]++
		}
	}
}

// pause is a step of a job, which now and then takes very long.
func (w *simWorld) pause() {
	if w.chance(8) {
		w.sleep(w.some(2 * w.age))
	}
	w.await()
}

// orphans is the job that removes them.
func (w *simWorld) orphans() {
	o := &jobs.Orphans{Lake: w, Tables: simIdents, Writers: []jobs.Writer{{Pipeline: "p", Primary: simPrimary, Rounds: simRounds{&w.simLake}}}, Age: w.age,
		Now: func() time.Time { return w.now }, Wait: w.wait}
	for {
		w.sleep(w.some(60 * time.Second))
		plan, err := o.Plan(context.Background())
		if err != nil {
			w.logf("no orphans: %v", err)
			continue
		}
		w.did["orphan plans"]++
		w.pause()
		for _, x := range plan.Orphans {
			w.remove(x.URI, x.Why)
			if w.r.IntN(4) == 0 {
				w.await()
			}
		}
	}
}

// expirer is the job that expires snapshots, and deletes the files that only they had.
func (w *simWorld) expirer() {
	for {
		w.sleep(w.some(60 * time.Second))
		t := w.tables[simPick(w.r, simIdents...)]
		base := t.base(&w.simLake)
		gone, err := jobs.PlanExpiry(base, jobs.Retention{Before: w.now.Add(-w.some(w.age / 2)), Last: w.r.IntN(3)})
		if errors.Is(err, jobs.ErrRolledBack) {
			w.did["refused expiries"]++
		}
		w.await()
		if h := base.Handle.(simHandle); err != nil || len(gone) == 0 || t.main != h.main || t.version != h.version {
			continue
		}
		w.did["expiries"]++
		set := map[int64]bool{}
		for _, id := range gone {
			set[id] = true
		}
		before := t.base(&w.simLake)
		files := w.dropSnapshots(t, set)
		w.keptMoves(t, before)
		for _, f := range files {
			w.remove(f, "expired")
			w.await()
		}
	}
}

// keptMoves: after an expiry of ours a rollback can still be told from an expiry.
func (w *simWorld) keptMoves(t *simTable, before *table.Base) {
	moves, err := table.Moves(t.props)
	if err != nil {
		w.bad("%w", err)
	}
	base := t.base(&w.simLake)
	for _, m := range moves {
		if before.IsAncestor(m) && before.Has(m) && !(base.IsAncestor(m) && base.Has(m)) {
			w.bad("the way from main %d to the last move %d has expired by a job", t.main, m)
		}
	}
}
