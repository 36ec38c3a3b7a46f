package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/memory"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/table"
)

// simLoader is a process that runs the pipeline: one real Loader after the other.
type simLoader struct {
	w    *simWorld
	name string
	a    *simActor
	l    *Loader
	c    *simConsumer
	stop chan struct{}
}

func newSimLoader(w *simWorld, name string) *simLoader {
	s := &simLoader{w: w, name: name}
	s.start()
	return s
}

// start begins the process.
func (s *simLoader) start() {
	s.stop = make(chan struct{})
	s.open()
	s.a = s.w.spawn(s.name, s.run)
	s.a.loader = s
}

// open makes a loader, as Run does.
func (s *simLoader) open() {
	w := s.w
	c := w.committer()
	s.l = &Loader{cfg: w.cfg, read: map[string]string{}, catalog: &watched{}, log: w.log, memory: simMemory{w}, now: func() time.Time { return w.now }, rec: w.rec,
		primary: c.Primary, committer: c}
	s.l.stages = &simStages{w: w, c: c, uuids: [3]string{"", w.tables[simIdents[1]].uuid, w.tables[simIdents[2]].uuid}, value: simPick(w.r, "v0", "v1")}
	s.c = newSimConsumer(w, s.l)
	s.l.consumer, s.l.topics = s.c, s.c
}

// committer makes a real one.
func (w *simWorld) committer() *Committer {
	return &Committer{Pipeline: "p", Primary: simPrimary, uuid: w.tables[simPrimary].uuid, Tables: w, Rounds: w, Now: func() time.Time { return w.now }, Wait: w.wait, OrphanAge: w.age, MadeTables: 1, Audit: w.audit, Rewriter: simRewriter{w},
		Lost: func(string) { w.did["lost with a table"]++ }}
}

// stopping: it was told to stop, and has not yet.
func (s *simLoader) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

func (s *simLoader) run() {
	for {
		err := s.l.Run(context.Background(), s.stop)
		s.w.logf("ends: %v", err)
		switch {
		case errors.Is(err, ErrStop):
			s.w.did["stops"]++
		case errors.Is(err, ErrFenced):
			s.w.did["fenced ends"]++
		}
		if err != nil && strings.Contains(err.Error(), "defect of lakeloader") {
			s.w.bad("%s: %w", s.name, err)
		}
		s.l.reseek = true
		if err := s.c.Close(); err != nil {
			s.w.bad("closing: %w", err)
		}
		s.stop = make(chan struct{})
		s.open()
		s.w.sleep(s.w.some(10 * time.Second))
	}
}

// audit stands in for lakeloader verify.
func (w *simWorld) audit(context.Context) error {
	w.await()
	w.did["audits"]++
	err := w.check(false)
	if err != nil && w.rolledBack() == nil && !errors.Is(err, errNoLedger) { // a loader of a primary that was dropped may ask too
		w.bad("the audit found: %w", err)
	}
	return err
}

// simStages decides about records at random, differently at every reading.
type simStages struct {
	w       *simWorld
	c       *Committer
	rows    [3][]simOffset
	since   [3]time.Time
	done    [3][]table.File
	uploads []simUpload
	value   string    // that rows are routed by
	uuids   [3]string // of the tables that files are made for, but for the primary
	plain   int       // so many more fetches are rows only, which needs no round object
}

// prepare is the stages' part before decoding.
func (s *simStages) prepare(context.Context, *batch.Records) (bool, error) {
	if s.w.chance(40) {
		return false, fmt.Errorf("%w: try later", schemas.ErrRegistry)
	}
	return s.w.chance(60), nil
}

func (s *simStages) run(_ context.Context, r *batch.Records, ts *tracks) (*batch.Batch, error) {
	if s.w.chance(80) {
		return nil, errors.New("the disk is full")
	}
	if s.plain--; s.plain < 0 && s.w.r.IntN(6) == 0 {
		s.plain = s.w.r.IntN(8)
	}
	b := &batch.Batch{Records: r, FilteredBy: map[string][]int32{}}
	for i := range r.Offset {
		b.Record = append(b.Record, int32(i))
	}
	var routed []int32
	for _, x := range ts.runs {
		if x.t.stopped != nil {
			continue
		}
		for i := x.from; i < x.to; i++ {
			o := simOffset{s.w.incarnation[s.c.uuid], x.t.key.Topic[0], uint8(x.t.key.Partition), int16(r.Timestamp[i] / 1000), x.t.from.Epoch, int32(r.Offset[i])}
			d := s.w.r.IntN(5)
			if s.plain >= 0 {
				d = simRow
			}
			switch d {
			case simRouted:
				routed = append(routed, int32(i))
			case simDead:
				b.Rejects = append(b.Rejects, batch.Reject{Record: int32(i), Stage: simDestinations[d]})
			case simRow:
			default:
				b.FilteredBy["s"] = append(b.FilteredBy["s"], int32(i))
				continue
			}
			if len(s.rows[d]) == 0 {
				s.since[d] = s.w.now
			}
			s.rows[d] = append(s.rows[d], o)
		}
	}
	if len(routed) > 0 {
		ts.route(b, simIdents[simRouted].String(), routed)
	}
	return b, nil
}

// simUpload is a file on its way to the object store.
type simUpload struct {
	d     int
	rows  []simOffset
	since time.Time
}

// shrink begins to finish files.
func (s *simStages) shrink(_ context.Context, bytes int64) error {
	for d := range s.rows {
		if len(s.rows[d]) > 0 && (bytes > 1 || s.w.r.IntN(2) == 0) {
			s.uploads = append(s.uploads, simUpload{d, s.rows[d], s.since[d]})
			s.rows[d] = nil
		}
	}
	return nil
}

func (s *simStages) pending() (open, uploading int) {
	for d := range s.rows {
		if len(s.rows[d]) > 0 {
			open++
		}
	}
	return open, len(s.uploads)
}

// await lets one upload arrive.
func (s *simStages) await(context.Context) error {
	if len(s.uploads) == 0 {
		return nil
	}
	u := s.uploads[0]
	name := fmt.Sprintf("f%d-%s", s.w.id(), simIdents[u.d].Name)
	s.w.await()
	if s.w.chance(60) {
		return errors.New("the upload failed")
	}
	s.uploads = s.uploads[1:]
	s.w.put(u.d, name, u.rows)
	s.w.files[name].value = s.value
	s.done[u.d] = append(s.done[u.d], table.File{Path: name, Rows: int64(len(u.rows)), CreatedMS: u.since.UnixMilli()})
	s.w.await()
	return nil
}

func (s *simStages) finish(ctx context.Context) ([]RoundFile, error) {
	if err := s.shrink(ctx, math.MaxInt64); err != nil {
		return nil, err
	}
	for len(s.uploads) > 0 {
		if err := s.await(ctx); err != nil {
			return nil, err
		}
	}
	var out []RoundFile
	for d := range s.rows {
		t := RoundFile{Table: simIdents[d], Files: s.done[d], UUID: s.uuids[d]}
		if d == simRouted {
			t.Routed, t.Value = true, s.value
		}
		out = append(out, t)
		s.done[d] = nil
	}
	return out, nil
}

func (s *simStages) abort() { s.rows, s.uploads, s.done = [3][]simOffset{}, nil, [3][]table.File{} }

func (s *simStages) committed() {}

// begin learns for which value the routed table was made; until there is one, loaders differ.
func (s *simStages) begin(l *table.Ledger) {
	if t := l.Routed(simIdents[simRouted]); t != nil && t.Value != "" && len(s.rows[simRouted])+len(s.done[simRouted])+len(s.uploads) == 0 {
		s.value = t.Value
	}
}

func (s *simStages) remembers() bool { return s.w.dedup }

func (s *simStages) seed(context.Context, map[table.Key]bool, *table.Ledger) error { return nil }

func (s *simStages) forget(string, int32) {}

func (s *simStages) size() int64 { return 0 }

func (s *simStages) use() memory.Use { return memory.Use{Files: 1} }

// simMemory is full now and then.
type simMemory struct{ w *simWorld }

// Set implements Memory.
func (m simMemory) Set(memory.Use) int64 {
	if m.w.chance(30) {
		return 1
	}
	return 0
}
