package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

type simLoader struct {
	w     *simWorld
	c     *Committer
	owned map[table.Key]bool
	ts    tracks
	busy  bool
	value string // that rows are routed by
}

func newSimLoader(w *simWorld) *simLoader {
	return &simLoader{w: w, c: &Committer{Pipeline: "p", Primary: simIdents[0], Tables: w, Rounds: w,
		Now: func() time.Time { return w.now }, OrphanAge: simOrphanAge, MadeTables: 1,
		Audit: func(context.Context) error {
			w.did["audits"]++
			err := w.check(false)
			whole := !slices.ContainsFunc(simIdents, func(id table.Ident) bool { return w.tables[id].rolled != 0 })
			if err != nil && whole && !errors.Is(err, errNoLedger) { // a loader of a primary that was dropped may ask too
				w.bad("the audit found: %w", err)
			}
			return err
		},
		Wait: func(_ context.Context, n int) error {
			if n > 6 && !w.calm {
				return context.DeadlineExceeded
			}
			return nil
		}}}
}

// act is one round, or what follows a failed one. Several loaders may believe that they own a partition.
func (l *simLoader) act() {
	l.busy = true
	defer func() { l.busy = false }()
	ctx := context.Background()
	if l.ts.m == nil || !l.w.calm && l.w.r.Intn(15) == 0 { // (re)start with other partitions
		if !l.start(ctx) {
			return
		}
	}
	if !l.w.calm && l.w.r.Intn(25) == 0 {
		l.reset(ctx)
		return
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
	l.failed(err)
}

func byPartition(a, b table.Key) int { return int(a.Partition - b.Partition) }

func (l *simLoader) failed(err error) {
	if err == nil {
		return
	}
	switch {
	case errors.Is(err, ErrFenced):
		l.w.did["fences"]++
	case errors.Is(err, ErrStop):
		l.w.did["stops"]++
	}
	l.ts.m = nil
}

func (l *simLoader) start(ctx context.Context) bool {
	l.owned, l.ts.m = map[table.Key]bool{}, nil
	for p := range int32(3) {
		if l.w.calm || l.w.r.Intn(2) == 0 {
			l.owned[table.Key{Topic: "t", Partition: p}] = true
		}
	}
	led, err := l.c.Settle(ctx, l.owned)
	if err != nil {
		l.failed(err)
		return false
	}
	l.value = fmt.Sprint("v", l.w.r.Intn(2))
	if t := led.Routed(simIdents[simRouted]); t != nil {
		l.value = t.Value
	}
	for _, k := range slices.SortedFunc(maps.Keys(l.owned), byPartition) {
		rec, known := led.Records[k]
		if !known {
			rec = table.Record{Cluster: "c", TopicID: "id", MaxTimestamp: -1}
		}
		l.ts.add(newTrack(k, known, rec))
	}
	return true
}

// reset begins a partition anew, from its first offset.
func (l *simLoader) reset(ctx context.Context) {
	for _, k := range slices.SortedFunc(maps.Keys(l.ts.m), byPartition) {
		t := l.ts.m[k]
		if !t.known {
			continue
		}
		to := table.Record{Cluster: "c", TopicID: "id", MaxTimestamp: -1}
		led, err := l.c.Edit(ctx, &Round{ID: fmt.Sprint("reset", l.w.id()), Tables: []RoundFile{{Table: simIdents[0]}}, Begins: []Begin{{Key: k, From: t.from, To: to}}})
		if err == nil {
			l.w.did["resets"]++
			l.ts.begin(led)
		}
		l.failed(err)
		return
	}
}

// read makes a round of the next offsets of the owned partitions, deciding at random, differently at every reading.
func (l *simLoader) read() (*Round, map[simOffset]int) {
	w := l.w
	r := &Round{ID: fmt.Sprint("r", w.id()), OldestMS: w.now.UnixMilli()}
	for _, id := range simIdents {
		r.Tables = append(r.Tables, RoundFile{Table: id})
	}
	decisions := map[simOffset]int{}
	var rows [3][]simOffset
	plain := w.r.Intn(4) == 0 // a round that needs no object
	for _, k := range slices.SortedFunc(maps.Keys(l.ts.m), byPartition) {
		t := l.ts.m[k]
		for range w.r.Intn(4) {
			o := simOffset{l.c.uuid, k, t.from.Epoch, t.next}
			d := w.r.Intn(5)
			if plain {
				d = simRow
			}
			decisions[o] = d
			l.decide(t, d)
			if d <= simRouted {
				rows[d] = append(rows[d], o)
			}
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
			f := fmt.Sprint("f", w.id())
			w.rows[f], w.created[f] = rows[i], w.now
			if i == simRouted {
				r.Tables[i].Routed, r.Tables[i].Value, w.values[f] = true, l.value, l.value
			}
			r.Tables[i].Files = []table.File{{Path: f, Rows: int64(len(rows[i])), CreatedMS: w.now.UnixMilli()}}
		}
	}
	return r, decisions
}

// decide takes the next offset of a partition into the books.
func (l *simLoader) decide(t *track, d int) {
	offset := []uint64{uint64(t.next)}
	switch d {
	case simGap:
		t.skip(t.next + 1)
		return
	case simDead:
		t.dead++
		t.deadBy = addOffsets(t.deadBy, "s", offset)
	case simRouted:
		t.routedTo = addOffsets(t.routedTo, simIdents[simRouted].String(), offset)
	case simFiltered:
		t.filtered++
		t.filteredBy = addOffsets(t.filteredBy, "s", offset)
	}
	t.records++
	t.next++
}

func runSim(seed int64) (*simWorld, error) {
	w := newSimWorld(seed)
	for range 60 {
		w.loaders[w.r.Intn(len(w.loaders))].act()
	}
	w.calm = true
	w.rollForward()
	last := w.loaders[0]
	last.ts.m = nil
	for range 3 {
		last.act()
	}
	if _, err := last.c.Settle(context.Background(), last.owned); err != nil {
		return w, err
	}
	return w, w.check(true)
}
