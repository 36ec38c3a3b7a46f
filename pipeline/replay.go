package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/table"
)

// ReplayOptions says which dead letters are tried again.
type ReplayOptions struct {
	// Filter chooses among those that were not replayed yet.
	Filter LetterFilter
	// DryRun tries and changes nothing: no table, no file.
	DryRun bool
}

// ReplayReport is what became, or would become, of the letters that were chosen.
type ReplayReport struct {
	Pipeline string `json:"pipeline"`
	Table    string `json:"table"`
	Done     bool   `json:"done"`
	Round    int64  `json:"round,omitempty"` // its number, when done
	Letters  int64  `json:"letters"`         // that were chosen
	Rows     int64  `json:"rows"`            // of all tables
	// Filtered counts by step.
	Filtered map[string]int64 `json:"filtered"`
	// Failed are those that were refused again, and stay dead letters, by the new reason.
	Failed []LetterGroup `json:"failed"`
}

// Replay sends dead letters through the pipeline as it is configured now. Those that pass become rows, or are filtered, and
// are marked in the dead-letter table, in one round; those that are refused again stay as they are. Loaders go on meanwhile.
// It needs no Kafka.
//
// Exactly once: the round is an edit of the decisions about just those offsets. Two replays at once fence each other, a
// crash leaves the round to whoever finishes pending ones, and a letter that was replayed is not chosen again.
func Replay(ctx context.Context, cfg *configs.Pipeline, d Deps, o ReplayOptions) (*ReplayReport, error) {
	d.limit, d.NewLetterTopic = nil, nil
	a := &amender{cfg: cfg, d: d}
	var rep *ReplayReport
	err := a.again(ctx, func() (err error) {
		rep, err = a.replay(ctx, o)
		return err
	})
	if errors.Is(err, ErrFenced) {
		err = fmt.Errorf("nothing was replayed: the table moved on %d times while the letters were tried; choose fewer of them, or stop the loaders meanwhile: %w", editTries, err)
	}
	return rep, err
}

func (a *amender) replay(ctx context.Context, o ReplayOptions) (*ReplayReport, error) {
	no := false
	o.Filter.Replayed = &no
	r := &replay{a: a, filter: o.Filter}
	var err error
	if r.letters, err = newLetterReader(ctx, a.d); err != nil {
		return nil, err
	}
	r.clear()
	if some, err := r.any(ctx); err != nil || !some {
		return r.rep, err
	}
	d := a.d
	if d.replay, err = r.mode(ctx); err != nil {
		return nil, err
	}
	d.Topics = loadedTopics{d.Topics, a.ledger}
	if o.DryRun {
		d.Catalog, d.Objects = &dryCatalog{Catalog: d.Catalog}, dryObjects{d.Objects}
	}
	if r.stages, err = stagesSoon(ctx, a.cfg, d); err != nil {
		return nil, err
	}
	tables, err := r.load(ctx)
	if err != nil || o.DryRun || len(r.changed) == 0 {
		return r.rep, err
	}
	round := a.round(tables)
	if r.stages.remembers() {
		round.Moves = a.still()
	}
	for _, k := range slices.SortedFunc(maps.Keys(r.changed), EpochKey.compare) {
		e := r.changed[k]
		e.Was = a.decisions[k].Count(e.Changed())
		round.Edits = append(round.Edits, *e)
	}
	n, err := a.land(ctx, round, "replayed the letters")
	if n == 0 {
		return nil, err
	}
	r.rep.Done, r.rep.Round = true, n
	return r.rep, err
}

// stagesSoon is newStages for someone who does not wait for ever until it is known what the columns are.
func stagesSoon(ctx context.Context, cfg *configs.Pipeline, d Deps) (*stages, error) {
	stop := make(chan struct{})
	if err := barrier(ctx, stop, cfg, d); err != nil { // reading a long topic may take longer
		return nil, err
	}
	limit := time.AfterFunc(registryPatience, func() { close(stop) })
	defer limit.Stop()
	s, err := newStages(ctx, stop, cfg, d)
	if errors.Is(err, errStopped) {
		err = fmt.Errorf("what the columns are is still not known after %v: is the schema registry there, and does it have the schemas of the topics?", registryPatience)
	}
	return s, err
}

// any reports whether there are letters at all: without them no registry is needed.
func (r *replay) any(ctx context.Context) (bool, error) {
	err := r.letters.each(ctx, 0, &r.filter, func(letterColumns, *batch.Batch, []int32) error { return errEnough })
	if errors.Is(err, errEnough) {
		return true, nil
	}
	return false, err
}

// still are moves that go nowhere: what deduplicate steps were told of the table holds only while no loader adds rows to it.
func (a *amender) still() (moves []Move) {
	for _, k := range slices.SortedFunc(maps.Keys(a.ledger.Records), cmpKey) {
		rec := a.ledger.Records[k]
		moves = append(moves, Move{Key: k, Known: true, From: rec, To: rec})
	}
	return moves
}

// replay reads letters through the stages.
type replay struct {
	a       *amender
	filter  LetterFilter
	letters *letterReader
	stages  *stages

	rep     *ReplayReport
	failed  map[LetterGroup]*LetterGroup // by stage, step and error
	taken   map[EpochKey]*roaring64.Bitmap
	changed map[EpochKey]*Edit

	recs   batch.Records
	tracks tracks
}

// replayMode is how stages differ while letters are replayed.
type replayMode struct {
	// near says whether a row of that time may be a duplicate of a letter; nil: there is no deduplicate step.
	near  func(ms int64) bool
	least int64 // time of the oldest letter, milliseconds
}

func (m *replayMode) apply(c *chain) {
	for _, d := range c.Dedups() {
		d.Exact(m.near)
	}
}

// mode looks at the times of the letters, as far as deduplicate steps need them.
func (r *replay) mode(ctx context.Context) (*replayMode, error) {
	window := int64(-1)
	for _, s := range r.a.cfg.Cleanse {
		if s.Deduplicate != nil {
			window = max(window, time.Duration(s.Deduplicate.Window).Milliseconds())
		}
	}
	if window < 0 {
		return &replayMode{}, nil
	}
	const minute = 60_000
	near, least, always := roaring64.New(), int64(-1), false
	err := r.letters.each(ctx, 0, &r.filter, func(c letterColumns, _ *batch.Batch, rows []int32) error {
		for _, row := range rows {
			ms := c.millis(int(row))
			if always = always || ms < 0; always {
				least = 0
				continue
			}
			if least < 0 || ms < least {
				least = ms
			}
			near.AddRange(uint64(max(0, ms-window)/minute), uint64((ms+window)/minute+1))
		}
		return nil
	})
	return &replayMode{least: max(0, least), near: func(ms int64) bool { return always || near.Contains(uint64(ms/minute)) }}, err
}

// load reads all letters; the files are durable when it returns.
func (r *replay) load(ctx context.Context) ([]RoundFile, error) {
	for {
		tables, err := r.read(ctx)
		if err == nil {
			return tables, nil
		}
		r.stages.abort()
		if !errors.Is(err, errAgain) {
			return nil, err
		}
	}
}

func (r *replay) clear() {
	r.rep = &ReplayReport{Pipeline: r.a.cfg.Name, Table: r.a.d.Primary.String(), Filtered: map[string]int64{}, Failed: []LetterGroup{}}
	r.failed, r.taken, r.changed = map[LetterGroup]*LetterGroup{}, map[EpochKey]*roaring64.Bitmap{}, map[EpochKey]*Edit{}
}

func (r *replay) read(ctx context.Context) ([]RoundFile, error) {
	r.clear()
	l := r.a.ledger.Clone()
	owned := map[table.Key]bool{}
	for k, rec := range l.Records {
		if m := r.stages.d.replay; m.near != nil {
			rec.MaxTimestamp, rec.Rows = m.least, 1
		}
		l.Records[k], owned[k] = rec, true
	}
	if err := r.stages.seed(ctx, owned, l); err != nil {
		return nil, err
	}
	r.reset()
	err := r.letters.each(ctx, 0, &r.filter, func(c letterColumns, b *batch.Batch, rows []int32) error {
		for _, row := range rows {
			if err := r.add(ctx, c, b, int(row)); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = r.flush(ctx)
	}
	if err != nil {
		return nil, err
	}
	for _, g := range r.failed {
		r.rep.Failed = append(r.rep.Failed, *g)
	}
	slices.SortFunc(r.rep.Failed, func(a, b LetterGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Stage, b.Stage), strings.Compare(a.Step, b.Step), strings.Compare(a.Error, b.Error))
	})
	return r.stages.finish(ctx)
}

const replayBytes = 16 << 20

// add takes one letter, if the rounds agree that it is one, and sends the batch on when it is full.
func (r *replay) add(ctx context.Context, c letterColumns, b *batch.Batch, i int) error {
	k, off := c.key(b, i), uint64(c[ColumnOffset].Int64[i])
	said := r.a.decisions[k]
	if said == nil || !said.Dead.Contains(off) || r.taken[k] != nil && r.taken[k].Contains(off) {
		return nil
	}
	t := r.tracks.m[k.Key]
	if r.recs.Len() >= lettersAtOnce || len(r.recs.Mem) >= replayBytes || t != nil && t.from.Epoch != k.Epoch {
		if err := r.flush(ctx); err != nil {
			return err
		}
		t = nil
	}
	if r.taken[k] == nil {
		r.taken[k] = roaring64.New()
	}
	r.taken[k].Add(off)
	r.rep.Letters++
	if t == nil {
		t = newTrack(k.Key, true, table.Record{Epoch: k.Epoch})
		r.tracks.add(t)
	}
	topic := slices.Index(r.recs.Topics, k.Topic)
	if topic < 0 {
		topic = len(r.recs.Topics)
		r.recs.Topics = append(r.recs.Topics, k.Topic)
	}
	at := r.recs.Len()
	c.record(b, i, &r.recs, int32(topic))
	if n := len(r.tracks.runs); n > 0 && r.tracks.runs[n-1].t == t {
		r.tracks.runs[n-1].to = at + 1
	} else {
		r.tracks.runs = append(r.tracks.runs, run{t, at, at + 1})
	}
	return nil
}

func (r *replay) reset() {
	r.recs.Reset()
	r.tracks = tracks{}
}

// flush sends a batch of letters through the stages.
func (r *replay) flush(ctx context.Context) error {
	if r.recs.Len() == 0 {
		return nil
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	b, err := r.stages.run(ctx, &r.recs, &r.tracks)
	if err != nil {
		return err
	}
	r.tracks.decide(b)
	for _, rej := range b.Rejects {
		r.fail(b, &rej)
	}
	for _, t := range r.tracks.m {
		if err := r.decided(t); err != nil {
			return err
		}
	}
	r.reset()
	return r.stages.fit(ctx, r.a.d.Memory)
}

func (r *replay) fail(b *batch.Batch, rej *batch.Reject) {
	k := LetterGroup{Stage: rej.Stage, Step: rej.Step, Error: rej.Reason}
	if r.failed[k] == nil && len(r.failed) >= knownGroups {
		k.Error = OtherErrors
	}
	g := r.failed[k]
	if g == nil {
		g = &LetterGroup{Table: r.letters.info.Ident.String(), Stage: k.Stage, Step: k.Step, Error: k.Error,
			Sample: fmt.Sprintf("%s-%d-%d", b.Topics[b.Topic[rej.Record]], b.Partition[rej.Record], b.Offset[rej.Record])}
		r.failed[k] = g
	}
	g.Count++
}

// decided takes what became of a batch's letters of one partition and epoch into its edit.
func (r *replay) decided(t *track) error {
	k := EpochKey{t.key, t.from.Epoch}
	rows := roaring64.New()
	for _, x := range r.tracks.runs {
		if x.t == t {
			for i := x.from; i < x.to; i++ {
				rows.Add(uint64(r.recs.Offset[i]))
			}
		}
	}
	for _, o := range t.deadBy {
		rows.AndNot(&o.Bitmap)
	}
	if rows.IsEmpty() {
		return nil
	}
	e := r.changed[k]
	if e == nil {
		rec := epochOf(r.a.ledger, k.Key, k.Epoch)
		if rec == nil {
			return fmt.Errorf("table %s has dead letters of %s in epoch %d, which the offsets of %s do not know", r.letters.info.Ident, k.Key, k.Epoch, r.a.d.Primary)
		}
		e = &Edit{Key: k.Key, TopicID: rec.TopicID, Epoch: k.Epoch, First: rec.First, Rows: &Offsets{}, Replayed: true}
		r.changed[k] = e
	}
	for step, o := range t.filteredBy {
		r.rep.Filtered[step] += int64(o.GetCardinality())
		rows.AndNot(&o.Bitmap)
		e.Filtered = addOffsets(e.Filtered, step, o.ToArray())
	}
	r.rep.Rows += int64(rows.GetCardinality())
	for id, o := range t.routedTo {
		rows.AndNot(&o.Bitmap)
		e.Routed = addOffsets(e.Routed, id, o.ToArray())
	}
	e.Rows.Or(rows)
	return nil
}

// registryPatience is how long a replay waits for the schema registry.
const registryPatience = time.Minute

// prepare has the schemas of the letters at hand.
func (r *replay) prepare(ctx context.Context) error {
	for n, began := 1, r.a.d.Now(); ; n++ {
		again, err := r.stages.prepare(ctx, &r.recs)
		switch {
		case err == nil && again:
			return errAgain
		case err == nil:
			return nil
		case !errors.Is(err, schemas.ErrRegistry) && !errors.Is(err, schemas.ErrUnknownID):
			return err
		case errors.Is(err, schemas.ErrRegistry) && r.a.d.Now().Sub(began) > registryPatience:
			return fmt.Errorf("nothing was replayed: %w", err)
		}
		r.a.d.Log.Warn("waiting for the schema registry", "error", err)
		if err := r.a.committer.Wait(ctx, n); err != nil {
			return err
		}
	}
}
