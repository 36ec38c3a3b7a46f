package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// The simulation drives the real Committer against a catalog in memory. It is deterministic: all of it runs on one
// goroutine, and concurrency comes from the catalog, which lets other loaders act in the middle of a call.

const (
	simRow = iota
	simDead
	simFiltered
	simGap
)

type simOffset struct {
	key   table.Key
	epoch int32
	off   int64
}

type simTable struct {
	uuid    string
	version int
	snaps   map[int64]int64 // snapshot -> parent
	main    int64
	props   map[string]string
	files   []string
	delayed []func() // swaps on their way whose sender has given up
}

type simWorld struct {
	r         *rand.Rand
	now       time.Time
	seq       int64
	tables    map[table.Ident]*simTable
	rounds    map[string]*Round
	committed map[int64]string
	rows      map[string][]simOffset // by file
	decided   map[string]map[simOffset]int
	loaders   []*simLoader
	depth     int
	calm      bool
	fences    int
	unknown   int
	log       []string
}

var simPrimary, simDeadTable = table.Ident{Namespace: "lake", Name: "t"}, table.Ident{Namespace: "lake", Name: "t_dead"}

type simStore struct {
	w  *simWorld
	id table.Ident
}

func (w *simWorld) Open(_ context.Context, id table.Ident) (table.Store, error) {
	return simStore{w, id}, nil
}

func (s simStore) Load(context.Context) (*table.Base, error) {
	s.w.others()
	if !s.w.calm && s.w.r.Intn(12) == 0 {
		return nil, fmt.Errorf("load: %w", table.ErrRetry)
	}
	t := s.w.tables[s.id]
	snaps, main := maps.Clone(t.snaps), t.main
	has := func(id int64) bool { _, ok := snaps[id]; return ok }
	return &table.Base{UUID: t.uuid, Snapshot: main, Props: maps.Clone(t.props), Rows: int64(len(t.files)), Has: has,
		IsAncestor: func(id int64) bool {
			for c := main; c != 0; c = snaps[c] {
				if c == id {
					return true
				}
			}
			return false
		}, Handle: t.version}, nil
}

func (s simStore) Swap(_ context.Context, base *table.Base, ch table.Change) error {
	s.w.others()
	t := s.w.tables[s.id]
	deliver := func() bool {
		if t.version != base.Handle.(int) || t.uuid != base.UUID {
			return false
		}
		snap := int64(0)
		if ch.Snapshot || len(ch.Add) > 0 {
			s.w.seq++
			snap = s.w.seq
			t.snaps[snap] = t.main
			t.main = snap
		}
		for _, f := range ch.Add {
			t.files = append(t.files, f.Path)
		}
		for _, k := range ch.Unset {
			delete(t.props, k)
		}
		maps.Copy(t.props, ch.Props(snap))
		t.version++
		return true
	}
	if !s.w.calm {
		switch s.w.r.Intn(8) {
		case 0: // the reply is lost, whatever became of the swap
			deliver()
			s.w.unknown++
			return table.ErrUnknown
		case 1: // it arrives later
			t.delayed = append(t.delayed, func() { deliver() })
			s.w.unknown++
			return table.ErrUnknown
		}
	}
	if !deliver() {
		return table.ErrConflict
	}
	return nil
}

// others lets late swaps arrive and other loaders act.
func (w *simWorld) others() {
	for _, id := range []table.Ident{simPrimary, simDeadTable} {
		if t := w.tables[id]; len(t.delayed) > 0 && (w.calm || w.r.Intn(3) == 0) {
			f := t.delayed[0]
			t.delayed = t.delayed[1:]
			f()
		}
	}
	if w.calm || w.depth >= 3 || w.r.Intn(4) > 0 {
		return
	}
	if l := w.loaders[w.r.Intn(len(w.loaders))]; !l.busy {
		w.depth++
		l.act()
		w.depth--
	}
}

func (w *simWorld) PutRound(_ context.Context, _ string, r *Round) error {
	if w.rounds[r.ID] != nil {
		return fmt.Errorf("round %s was written twice", r.ID)
	}
	w.rounds[r.ID] = r
	return nil
}

func (w *simWorld) Round(_ context.Context, _, id string) (*Round, error) {
	if w.rounds[id] == nil {
		return nil, fmt.Errorf("no object of round %s", id)
	}
	return w.rounds[id], nil
}

func (w *simWorld) PutCommitted(_ context.Context, _ string, n int64, id string) error {
	if old, ok := w.committed[n]; ok && old != id {
		return fmt.Errorf("number %d was given to %s and %s", n, old, id)
	}
	w.committed[n] = id
	return nil
}

type simLoader struct {
	w     *simWorld
	c     *Committer
	owned map[table.Key]bool
	ts    tracks
	busy  bool
}

// act is one round, or what follows a failed one. Several loaders may believe that they own a partition.
func (l *simLoader) act() {
	l.busy = true
	defer func() { l.busy = false }()
	ctx := context.Background()
	if l.ts.m == nil || !l.w.calm && l.w.r.Intn(15) == 0 { // (re)start with other partitions
		l.owned, l.ts.m = map[table.Key]bool{}, nil
		for p := range int32(3) {
			if l.w.calm || l.w.r.Intn(2) == 0 {
				l.owned[table.Key{Topic: "t", Partition: p}] = true
			}
		}
		led, err := l.c.Settle(ctx, l.owned)
		if err != nil {
			return
		}
		for _, k := range slices.SortedFunc(maps.Keys(l.owned), cmpKey) {
			rec, known := led.Records[k]
			if !known {
				rec = table.Record{Cluster: "c", TopicID: "id", MaxTimestamp: -1}
			}
			l.ts.add(newTrack(k, known, rec))
		}
	}
	r, decisions := l.read()
	if r == nil {
		return
	}
	l.w.decided[r.ID] = decisions
	led, err := l.c.Commit(ctx, r, l.owned)
	if led != nil {
		l.ts.begin(led)
	}
	if err != nil {
		if errors.Is(err, ErrFenced) {
			l.w.fences++
		}
		l.ts.m = nil
	}
}

// read makes a round of the next offsets of the owned partitions, deciding at random, differently at every reading.
func (l *simLoader) read() (*Round, map[simOffset]int) {
	w := l.w
	w.seq++
	r := &Round{ID: fmt.Sprint("r", w.seq), Tables: []RoundFile{{Table: simPrimary}, {Table: simDeadTable}}}
	decisions := map[simOffset]int{}
	var rows [2][]simOffset
	for _, k := range slices.SortedFunc(maps.Keys(l.ts.m), cmpKey) {
		t := l.ts.m[k]
		for range w.r.Intn(4) {
			o := simOffset{k, t.from.Epoch, t.next}
			d := w.r.Intn(4)
			decisions[o] = d
			switch d {
			case simGap:
				t.skip(t.next + 1)
				continue
			case simRow, simDead:
				rows[d] = append(rows[d], o)
			}
			if d == simDead {
				t.dead++
				t.deadBy = addOffsets(t.deadBy, "s", []uint64{uint64(t.next)})
			}
			if d == simFiltered {
				t.filtered++
				t.filteredBy = addOffsets(t.filteredBy, "s", []uint64{uint64(t.next)})
			}
			t.records++
			t.next++
		}
		if t.next > t.from.Next {
			r.Moves = append(r.Moves, t.move())
		}
	}
	if len(r.Moves) == 0 {
		return nil, nil
	}
	for i := range rows {
		if len(rows[i]) > 0 {
			w.seq++
			f := fmt.Sprint("f", w.seq)
			w.rows[f] = rows[i]
			r.Tables[i].Files = []table.File{{Path: f, Rows: int64(len(rows[i])), CreatedMS: w.now.UnixMilli()}}
			r.OldestMS = w.now.UnixMilli()
		}
	}
	return r, decisions
}

func newSimWorld(seed int64) *simWorld {
	w := &simWorld{r: rand.New(rand.NewSource(seed)), now: time.Unix(1e9, 0), tables: map[table.Ident]*simTable{}, rounds: map[string]*Round{},
		committed: map[int64]string{}, rows: map[string][]simOffset{}, decided: map[string]map[simOffset]int{}}
	for _, id := range []table.Ident{simPrimary, simDeadTable} {
		w.tables[id] = &simTable{uuid: "uuid-" + id.Name, snaps: map[int64]int64{}, props: map[string]string{}}
	}
	for range 2 + w.r.Intn(2) {
		w.loaders = append(w.loaders, &simLoader{w: w, c: &Committer{Pipeline: "p", Primary: simPrimary, Tables: w, Rounds: w,
			Now: func() time.Time { return w.now }, OrphanAge: time.Hour,
			Audit: func(context.Context) error { return errors.New("not expected") },
			Wait: func(_ context.Context, n int) error {
				if n > 6 && !w.calm {
					return context.DeadlineExceeded
				}
				return nil
			}}})
	}
	return w
}

func runSim(seed int64) (*simWorld, error) {
	w := newSimWorld(seed)
	for range 60 {
		w.loaders[w.r.Intn(len(w.loaders))].act()
	}
	w.calm = true
	last := w.loaders[0]
	last.ts.m = nil
	for range 3 {
		last.act()
	}
	if _, err := last.c.Settle(context.Background(), last.owned); err != nil {
		return w, err
	}
	return w, w.check()
}

// check compares both tables with the decisions of the rounds that the ledger has taken in.
func (w *simWorld) check() error {
	led, err := table.ParseLedger("p", w.tables[simPrimary].props)
	if err != nil {
		return err
	}
	if led == nil {
		return errors.New("no ledger")
	}
	if len(led.Pending) > 0 {
		return fmt.Errorf("rounds are still pending: %v", led.Pending)
	}
	seen := map[simOffset]int{}
	for i, id := range []table.Ident{simPrimary, simDeadTable} {
		for _, f := range w.tables[id].files {
			for _, o := range w.rows[f] {
				if seen[o]++; seen[o] > 1 {
					return fmt.Errorf("%v is there twice", o)
				}
				if led.Records[o.key].Next <= o.off {
					return fmt.Errorf("%v in table %d is not committed", o, i)
				}
			}
		}
	}
	other := map[simOffset]bool{}
	for _, id := range w.committed {
		for o, d := range w.decided[id] {
			if d == simFiltered || d == simGap {
				if other[o] || seen[o] > 0 {
					return fmt.Errorf("%v was decided twice", o)
				}
				other[o] = true
			}
		}
	}
	for k, rec := range led.Records {
		for off := rec.First; off < rec.Next; off++ {
			if o := (simOffset{k, rec.Epoch, off}); seen[o] == 0 && !other[o] {
				return fmt.Errorf("%v is lost", o)
			}
		}
	}
	return nil
}

func TestSimulation(t *testing.T) {
	var fences, unknown int
	for seed := range int64(3000) {
		w, err := runSim(seed)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(w.log, "\n"))
		}
		fences, unknown = fences+w.fences, unknown+w.unknown
	}
	if fences < 1000 || unknown < 1000 {
		t.Fatalf("the faults did not strike: %d fences, %d unknown outcomes", fences, unknown)
	}
	t.Logf("%d fences, %d unknown outcomes", fences, unknown)
}
