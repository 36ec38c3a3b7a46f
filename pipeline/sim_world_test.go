package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// The simulation drives the real Committer against a catalog in memory. It is deterministic: all of it runs on one
// goroutine, and concurrency comes from the catalog, which lets other loaders, other programs and accidents act in the
// middle of a call.
//
// This file is the world: tables with their snapshots, swaps that are lost or late, clean-up jobs, people who roll back,
// expire, drop and create again, and the check of everything at the end. Loaders are in sim_loader_test.go.

const (
	simRow = iota
	simDead
	simRouted
	simFiltered
	simGap
)

// simOffset is an offset of a partition in an epoch of one incarnation of the primary table.
type simOffset struct {
	table string // uuid of the primary
	key   table.Key
	epoch int32
	off   int64
}

type simSnap struct {
	parent int64
	files  []string
}

type simTable struct {
	uuid    string
	snaps   map[int64]simSnap
	main    int64
	props   map[string]string
	delayed []func() // swaps on their way whose sender has given up
	// rolled is the snapshot that a rollback left, and at the one that it went to.
	rolled, at int64
}

func (t *simTable) files() []string { return t.snaps[t.main].files }

func (t *simTable) ancestor(id int64) bool {
	for c := t.main; c != 0; c = t.snaps[c].parent {
		if c == id {
			return true
		}
		if _, ok := t.snaps[c]; !ok {
			return false
		}
	}
	return false
}

type simWorld struct {
	r         *rand.Rand
	now       time.Time
	seq       int64
	tables    map[table.Ident]*simTable
	rounds    map[string]map[string]*Round // by uuid of the primary and id
	committed map[string]map[int64]string
	rows      map[string][]simOffset // by file
	created   map[string]time.Time   // of files
	values    map[string]string      // what the rows of a routed file were routed by
	deleted   map[string]bool
	forgiven  map[simOffset]bool // gone with a table that a person dropped
	decided   map[string]map[simOffset]int
	loaders   []*simLoader
	accidents []func()
	depth     int
	calm      bool
	broken    error // the first thing that must not happen
	did       map[string]int
}

const simOrphanAge = time.Hour

var simIdents = []table.Ident{{Namespace: "lake", Name: "t"}, {Namespace: "lake", Name: "t_dead"}, {Namespace: "lake", Name: "t_routed"}}

func newSimWorld(seed int64) *simWorld {
	w := &simWorld{r: rand.New(rand.NewSource(seed)), now: time.Unix(1e9, 0), tables: map[table.Ident]*simTable{}, rounds: map[string]map[string]*Round{},
		committed: map[string]map[int64]string{}, rows: map[string][]simOffset{}, created: map[string]time.Time{}, values: map[string]string{}, deleted: map[string]bool{},
		forgiven: map[simOffset]bool{}, decided: map[string]map[simOffset]int{}, did: map[string]int{}}
	for _, id := range simIdents {
		w.create(id)
	}
	// Which accidents there are differs, so that some seeds are about few of them.
	for _, a := range []func(){w.jump, w.orphans, w.foreign, w.expire, w.rollback, w.drop} {
		if w.r.Intn(2) == 0 {
			w.accidents = append(w.accidents, a)
		}
	}
	for range 2 + w.r.Intn(2) {
		w.loaders = append(w.loaders, newSimLoader(w))
	}
	return w
}

func (w *simWorld) id() int64 { w.seq++; return w.seq }

func (w *simWorld) bad(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

func (w *simWorld) create(id table.Ident) {
	w.tables[id] = &simTable{uuid: fmt.Sprint(id.Name, "-", w.id()), snaps: map[int64]simSnap{}, props: map[string]string{}}
}

func (w *simWorld) primary() *simTable { return w.tables[simIdents[0]] }

func (w *simWorld) any() table.Ident { return simIdents[w.r.Intn(len(simIdents))] }

func (w *simWorld) Open(_ context.Context, id table.Ident) (table.Store, error) {
	return simStore{w, id}, nil
}

type simStore struct {
	w  *simWorld
	id table.Ident
}

// simHandle is what a swap compares: what the catalogs compare.
type simHandle struct {
	main  int64
	props map[string]string
}

func (s simStore) Load(context.Context) (*table.Base, error) {
	s.w.others()
	if !s.w.calm && s.w.r.Intn(12) == 0 {
		return nil, fmt.Errorf("load: %w", table.ErrRetry)
	}
	t := s.w.tables[s.id]
	was := &simTable{snaps: maps.Clone(t.snaps), main: t.main}
	has := func(id int64) bool { _, ok := was.snaps[id]; return ok }
	return &table.Base{UUID: t.uuid, Snapshot: t.main, Props: maps.Clone(t.props), Rows: int64(len(t.files())), Has: has, IsAncestor: was.ancestor,
		Handle: simHandle{t.main, maps.Clone(t.props)}}, nil
}

func (s simStore) Swap(_ context.Context, base *table.Base, ch table.Change) error {
	s.w.others()
	deliver := func() bool { return s.w.deliver(s.id, base, ch) }
	if !s.w.calm {
		switch s.w.r.Intn(8) {
		case 0: // the reply is lost, whatever became of the swap
			deliver()
			s.w.did["unknown"]++
			return table.ErrUnknown
		case 1: // it arrives later
			t := s.w.tables[s.id]
			t.delayed = append(t.delayed, func() { deliver() })
			s.w.did["unknown"]++
			return table.ErrUnknown
		}
	}
	if !deliver() {
		return table.ErrConflict
	}
	return nil
}

func (w *simWorld) deliver(id table.Ident, base *table.Base, ch table.Change) bool {
	t, h := w.tables[id], base.Handle.(simHandle)
	if t.uuid != base.UUID || t.main != h.main || !maps.Equal(t.props, h.props) {
		return false
	}
	snap := int64(0)
	files := slices.Clone(t.files())
	for _, path := range ch.Remove {
		at := slices.Index(files, path)
		if at < 0 {
			return false
		}
		files = slices.Delete(files, at, at+1)
	}
	if ch.Snapshot || len(ch.Add) > 0 || len(ch.Remove) > 0 {
		for _, f := range ch.Add {
			if w.deleted[f.Path] {
				w.bad("file %s was added to %s when a clean-up had deleted it", f.Path, id)
			}
			files = append(files, f.Path)
		}
		snap = w.snapshot(t, files)
	}
	for _, k := range ch.Unset {
		delete(t.props, k)
	}
	maps.Copy(t.props, ch.Props(snap))
	return true
}

func (w *simWorld) snapshot(t *simTable, files []string) int64 {
	id := w.id()
	t.snaps[id] = simSnap{t.main, files}
	t.main = id
	return id
}

// others lets late swaps arrive, accidents happen, and other loaders act.
func (w *simWorld) others() {
	for _, id := range simIdents {
		if t := w.tables[id]; len(t.delayed) > 0 && (w.calm || w.r.Intn(3) == 0) {
			f := t.delayed[0]
			t.delayed = t.delayed[1:]
			f()
		}
	}
	if w.calm {
		return
	}
	if w.r.Intn(8) == 0 {
		w.rollForward()
	}
	if len(w.accidents) > 0 && w.r.Intn(12) == 0 {
		w.accidents[w.r.Intn(len(w.accidents))]()
	}
	if w.depth >= 3 || w.r.Intn(4) > 0 {
		return
	}
	if l := w.loaders[w.r.Intn(len(w.loaders))]; !l.busy {
		w.depth++
		l.act()
		w.depth--
	}
}

// jump lets time pass: a machine slept, or a swap took for ever.
func (w *simWorld) jump() {
	w.now = w.now.Add(time.Duration(w.r.Int63n(int64(2 * simOrphanAge))))
	w.did["jumps"]++
}

// orphans deletes old files that no table knows, as a clean-up job has to: swaps on their way are overtaken first.
func (w *simWorld) orphans() {
	live := map[string]bool{}
	for _, id := range simIdents {
		t := w.tables[id]
		if t.rolled != 0 {
			return
		}
		w.snapshot(t, slices.Clone(t.files()))
		for _, s := range t.snaps {
			for _, f := range s.files {
				live[f] = true
			}
		}
	}
	led, err := table.ParseLedger("p", w.primary().props)
	if err != nil {
		w.bad("ledger: %v", err)
		return
	}
	for uuid, rounds := range w.rounds {
		for id, r := range rounds {
			mine := uuid == w.primary().uuid
			if mine && (led == nil || !slices.ContainsFunc(led.Pending, func(p table.Pending) bool { return p.ID == id })) {
				continue
			}
			for _, t := range r.Tables {
				for _, f := range t.Files {
					live[f.Path] = true
				}
			}
		}
	}
	for f, at := range w.created {
		if !live[f] && w.now.Sub(at) > simOrphanAge {
			w.deleted[f] = true
			w.did["deleted"]++
		}
	}
}

// foreign is a commit of another engine, such as a compaction.
func (w *simWorld) foreign() {
	if t := w.tables[w.any()]; t.rolled == 0 && t.main != 0 {
		w.snapshot(t, slices.Clone(t.files()))
		w.did["foreign"]++
	}
}

// expire removes snapshots before main; the one of the last move may be among them.
func (w *simWorld) expire() {
	t := w.tables[w.any()]
	if t.rolled != 0 {
		return
	}
	keep := w.r.Intn(3)
	for c := t.main; c != 0; c = t.snaps[c].parent {
		if keep--; keep < 0 {
			for id := range t.snaps {
				if id <= c && id != t.main {
					delete(t.snaps, id)
				}
			}
			w.did["expired"]++
			return
		}
	}
}

// rollback makes an older snapshot main, which takes the rows away and leaves the properties.
func (w *simWorld) rollback() {
	t := w.tables[w.any()]
	if t.rolled != 0 {
		return
	}
	back := 1 + w.r.Intn(3)
	for c := t.main; c != 0; c = t.snaps[c].parent {
		if _, ok := t.snaps[c]; !ok {
			return
		}
		if back--; back < 0 {
			t.rolled, t.at, t.main = t.main, c, c
			w.did["rollbacks"]++
			return
		}
	}
}

// rollForward is the person who reads why the pipeline stopped. It is too late when something was committed.
func (w *simWorld) rollForward() {
	for _, id := range simIdents {
		t := w.tables[id]
		if t.rolled != 0 && t.main == t.at {
			t.main = t.rolled
		}
		t.rolled, t.at = 0, 0
	}
}

// drop drops a table and makes it again, empty.
func (w *simWorld) drop() {
	if w.r.Intn(4) > 0 {
		return
	}
	id := w.any()
	for _, s := range w.tables[id].snaps {
		for _, f := range s.files {
			for _, o := range w.rows[f] {
				w.forgiven[o] = true
			}
		}
	}
	w.create(id)
	w.did["drops"]++
}

func (w *simWorld) PutRound(_ context.Context, uuid string, r *Round) error {
	if w.rounds[uuid] == nil {
		w.rounds[uuid] = map[string]*Round{}
	}
	if w.rounds[uuid][r.ID] != nil {
		return fmt.Errorf("round %s was written twice", r.ID)
	}
	w.rounds[uuid][r.ID] = r
	return nil
}

func (w *simWorld) Round(_ context.Context, uuid, id string) (*Round, error) {
	if w.rounds[uuid][id] == nil {
		return nil, fmt.Errorf("no object of round %s", id)
	}
	return w.rounds[uuid][id], nil
}

func (w *simWorld) PutCommitted(_ context.Context, uuid string, n int64, id string) error {
	if w.committed[uuid] == nil {
		w.committed[uuid] = map[int64]string{}
	}
	if old, ok := w.committed[uuid][n]; ok && old != id {
		w.bad("number %d was given to %s and %s", n, old, id)
	}
	w.committed[uuid][n] = id
	return nil
}

var errNoLedger = errors.New("no ledger")

// check compares all tables with the decisions of the rounds that the ledger has taken in. At the end no round may be
// pending; before it the files of pending rounds may be missing in other tables.
func (w *simWorld) check(end bool) error {
	if w.broken != nil {
		return w.broken
	}
	led, err := table.ParseLedger("p", w.primary().props)
	if err != nil {
		return err
	}
	if led == nil {
		return errNoLedger
	}
	if end && len(led.Pending) > 0 {
		return fmt.Errorf("rounds are still pending: %v", led.Pending)
	}
	uuid := w.primary().uuid
	ranges := map[simOffset]table.Record{}
	for k, rec := range led.Records {
		ranges[simOffset{uuid, k, rec.Epoch, 0}] = rec
	}
	for _, p := range led.Past {
		ranges[simOffset{uuid, p.Key, p.Epoch, 0}] = p.Record
	}
	seen, err := w.seen(ranges)
	if err != nil {
		return err
	}
	if err := w.listed(led); err != nil {
		return err
	}
	maybe := map[string]bool{} // rounds whose files may be missing
	for _, p := range led.Pending {
		maybe[p.ID] = true
	}
	other := map[simOffset]bool{}
	for id := range w.taken(led) {
		for o, d := range w.decided[id] {
			if d == simRow || (d == simDead || d == simRouted) && !(maybe[id] && seen[o] == 0) {
				continue
			}
			if other[o] || seen[o] > 0 {
				return fmt.Errorf("%v was decided twice", o)
			}
			other[o] = true
		}
	}
	for o, rec := range ranges {
		for o.off = rec.First; o.off < rec.Next; o.off++ {
			if seen[o] == 0 && !other[o] && !w.forgiven[o] {
				return fmt.Errorf("%v is lost", o)
			}
		}
	}
	return nil
}

// listed checks that the ledger names the table that rows were routed to, and that all of them have its value.
func (w *simWorld) listed(led *table.Ledger) error {
	for _, f := range w.tables[simIdents[simRouted]].files() {
		if w.rows[f][0].table != w.primary().uuid {
			continue
		}
		if t := led.Routed(simIdents[simRouted]); t == nil {
			return fmt.Errorf("the ledger does not list %s, which has %v", simIdents[simRouted], w.rows[f])
		} else if t.Value != w.values[f] {
			return fmt.Errorf("%v of value %s are in %s, which is for %s", w.rows[f], w.values[f], t.Ident, t.Value)
		}
	}
	return nil
}

// seen counts the rows of all tables.
func (w *simWorld) seen(ranges map[simOffset]table.Record) (map[simOffset]int, error) {
	seen := map[simOffset]int{}
	uuid := w.primary().uuid
	for i, id := range simIdents {
		for _, f := range w.tables[id].files() {
			for _, o := range w.rows[f] {
				if o.table != uuid {
					if i == 0 {
						return nil, fmt.Errorf("%v is of a table that was dropped", o)
					}
					continue
				}
				if seen[o]++; seen[o] > 1 {
					return nil, fmt.Errorf("%v is there twice", o)
				}
				if rec, ok := ranges[simOffset{uuid, o.key, o.epoch, 0}]; !ok || o.off < rec.First || o.off >= rec.Next {
					return nil, fmt.Errorf("%v in %s is not committed", o, id)
				}
			}
		}
	}
	return seen, nil
}

// taken are the rounds with objects that the ledger has taken in.
func (w *simWorld) taken(led *table.Ledger) map[string]bool {
	ids := map[string]bool{}
	for _, id := range w.committed[w.primary().uuid] {
		ids[id] = true
	}
	for _, p := range led.Pending {
		ids[p.ID] = true
	}
	return ids
}
