package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// BackfillOptions says what is loaded once more.
type BackfillOptions struct {
	Topic      string  // empty: all
	Partitions []int32 // empty: all
	// From and To are the range, To not included; what lies beyond the committed offsets is left to the loader.
	From, To Position
	// DryRun plans only.
	DryRun bool
}

// BackfillReport is what a backfill does, or did.
type BackfillReport struct {
	Pipeline   string              `json:"pipeline"`
	Table      string              `json:"table"`
	Done       bool                `json:"done"`
	Round      int64               `json:"round,omitempty"` // its number, when done
	Partitions []BackfillPartition `json:"partitions"`
}

// BackfillPartition is one partition of a backfill.
type BackfillPartition struct {
	Topic     string       `json:"topic"`
	Partition int32        `json:"partition"`
	Epoch     int32        `json:"epoch"`
	From      int64        `json:"from"`
	To        int64        `json:"to"` // not included
	Was       table.Counts `json:"was"`
	// Is says what the offsets are now; nothing before it is done.
	Is *table.Counts `json:"is,omitempty"`
}

// quietLimit is how long a backfill waits for the next record.
const quietLimit = 2 * time.Minute

// Backfill reads ranges of offsets that were loaded already, or that come just before them, sends them through the
// pipeline as it is configured now, and replaces in one swap what the table has of them. Loaders go on meanwhile. d's
// consumer must be of a group of its own.
func Backfill(ctx context.Context, cfg *configs.Pipeline, d Deps, o BackfillOptions) (*BackfillReport, error) {
	a := &amender{cfg: cfg, d: d}
	var rep *BackfillReport
	err := a.again(ctx, func() (err error) {
		rep, err = a.backfill(ctx, o)
		return err
	})
	return rep, err
}

func (a *amender) backfill(ctx context.Context, o BackfillOptions) (*BackfillReport, error) {
	ps, ids, err := a.partitions(ctx, o.Topic, o.Partitions)
	if err != nil {
		return nil, err
	}
	f, rep, err := a.planBackfill(ctx, o, ps, ids)
	if err != nil || o.DryRun || len(rep.Partitions) == 0 {
		return rep, err
	}
	tables, err := f.load(ctx)
	if err != nil {
		return nil, err
	}
	r := a.round(tables)
	for i := range rep.Partitions {
		p := &rep.Partitions[i]
		e, others := a.replace(f.tracks.m[table.Key{Topic: p.Topic, Partition: p.Partition}], p.To)
		is := e.counts()
		p.Is = &is
		r.Edits = append(append(r.Edits, e), others...)
	}
	now, err := a.d.Topics.TopicIDs(ctx, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for topic ids before the commit: %w", err)
	}
	if !maps.Equal(ids, now) {
		return nil, fmt.Errorf("a topic was deleted and created again while it was being read (the ids were %v and are now %v): nothing was changed", ids, now)
	}
	n, err := a.land(ctx, r, "replaced the range")
	if n == 0 {
		return nil, err
	}
	rep.Done, rep.Round = true, n
	return rep, err
}

// planBackfill resolves the ranges and says what the table has of them.
func (a *amender) planBackfill(ctx context.Context, o BackfillOptions, ps []source.Partition, ids map[string]string) (*refill, *BackfillReport, error) {
	marks, err := a.d.Topics.Watermarks(ctx, ps)
	if err != nil {
		return nil, nil, fmt.Errorf("asking for the first and last offsets: %w", err)
	}
	from, err := a.resolve(ctx, o.From, ps, marks)
	if err != nil {
		return nil, nil, err
	}
	to, err := a.resolve(ctx, o.To, ps, marks)
	if err != nil {
		return nil, nil, err
	}
	f := &refill{a: a, end: map[table.Key]int64{}}
	rep := &BackfillReport{Pipeline: a.cfg.Name, Table: a.d.Primary.String(), Partitions: []BackfillPartition{}}
	for _, p := range ps {
		k := table.Key(p)
		rec, known := a.ledger.Records[k]
		first, next := from[p], min(to[p], rec.Next)
		switch {
		case !known:
			return nil, nil, fmt.Errorf("%s was never loaded: the loader must have begun with it before a range of it can be replaced", k)
		case rec.TopicID != ids[p.Topic]:
			return nil, nil, fmt.Errorf("topic %s was deleted and created again since %s was loaded (its id was %s and is now %s): what was loaded cannot be read again", k.Topic, k, rec.TopicID, ids[p.Topic])
		case first >= next:
			continue
		case first < marks[p].Low:
			return nil, nil, fmt.Errorf("%s cannot be read from offset %d: Kafka has %d to %d", k, first, marks[p].Low, marks[p].High)
		case next < rec.First:
			return nil, nil, fmt.Errorf("offsets %d to %d of %s lie before where its epoch %d begins, %d: the range must reach up to there", first, next, k, rec.Epoch, rec.First)
		}
		start := rec
		start.First, start.Next, start.Counts, start.MaxTimestamp = first, first, table.Counts{}, -1
		f.tracks.add(newTrack(k, true, start))
		f.end[k] = next
		was := a.decisions[EpochKey{k, rec.Epoch}].Count(span(max(first, rec.First), next))
		rep.Partitions = append(rep.Partitions, BackfillPartition{Topic: k.Topic, Partition: k.Partition, Epoch: rec.Epoch, From: first, To: next, Was: was})
	}
	return f, rep, nil
}

// replace makes the edit that puts what was read of a partition in the place of what the table has, in all epochs.
func (a *amender) replace(t *track, to int64) (e Edit, others []Edit) {
	rec := a.ledger.Records[t.key]
	first := t.from.First
	rows := span(first, to)
	e = Edit{Key: t.key, TopicID: rec.TopicID, Epoch: rec.Epoch, First: min(first, rec.First), Filtered: t.filteredBy, Dead: t.deadBy, Gaps: t.gapSet, Routed: t.routedTo,
		Was: a.decisions[EpochKey{t.key, rec.Epoch}].Count(span(max(first, rec.First), to))}
	for _, set := range e.sets() {
		rows.AndNot(set)
	}
	e.Rows = &Offsets{Bitmap: *rows}
	var past []table.Record
	for _, r := range a.epochs(t.key, rec.TopicID) {
		if r.Epoch != rec.Epoch {
			past = append(past, r)
		}
	}
	others, _ = a.remove(t.key, past, first, to, "backfill")
	return e, others
}

// refill reads ranges through the stages. It is the handler of its consumer.
type refill struct {
	a      *amender
	stages *stages
	tracks tracks
	end    map[table.Key]int64
	// want are the offsets that are read, of all in the ranges; nil: all.
	want map[table.Key]*roaring64.Bitmap
}

// Assigned implements source.Handler: partitions go on from where they are; the ends of those that are not wanted are
// passed over.
func (f *refill) Assigned(ctx context.Context, ps []source.Partition) (map[source.Partition]int64, error) {
	marks, err := f.a.d.Topics.Watermarks(ctx, ps)
	if err != nil {
		return nil, err
	}
	start := map[source.Partition]int64{}
	for _, p := range ps {
		start[p] = marks[p].High
		if t := f.tracks.m[table.Key(p)]; t != nil && t.next < f.end[t.key] {
			start[p] = t.next
		}
	}
	return start, nil
}

// Revoked implements source.Handler. No one else is in the group: what was read stays good.
func (f *refill) Revoked(context.Context, []source.Partition, bool) {}

// errAgain: a schema came up that changes what deduplicate steps remember; with it known, everything is read again.
var errAgain = errors.New("the schema changed while records were read")

// load reads the ranges to their ends; the files are durable when it returns.
func (f *refill) load(ctx context.Context) ([]RoundFile, error) {
	stop := make(chan struct{})
	s, err := newStages(ctx, stop, f.a.cfg, f.a.d)
	if err != nil {
		return nil, err
	}
	f.stages = s
	if f.a.d.NewLetterTopic != nil {
		if s.topic, err = f.a.d.NewLetterTopic(ctx); err != nil {
			return nil, fmt.Errorf("dead_letters.topic: %w", err)
		}
		defer s.topic.Close()
	}
	for {
		tables, err := f.read(ctx)
		if !errors.Is(err, errAgain) {
			return tables, err
		}
		s.abort()
		for _, t := range f.tracks.m {
			t.begin(t.from)
		}
	}
}

func (f *refill) read(ctx context.Context) (tables []RoundFile, err error) {
	f.stages.begin(f.a.ledger)
	if err := f.seed(ctx); err != nil {
		return nil, err
	}
	c, err := f.a.d.NewConsumer(f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var recs batch.Records
	last := f.a.d.Now()
	for !f.complete() {
		recs.Reset()
		if err := c.Poll(ctx, &recs, 500*time.Millisecond); err != nil {
			return nil, err
		}
		before := recs.Len() + len(recs.Spans)
		f.cut(&recs)
		if recs.Len()+len(recs.Spans) > 0 {
			last = f.a.d.Now()
		}
		if wait := f.a.d.Now().Sub(last); wait > quietLimit {
			return nil, fmt.Errorf("nothing of the range has arrived for %v (%d records of other offsets just now): %s", wait.Round(time.Second), before, f.open())
		}
		if err := f.take(ctx, c, &recs); err != nil {
			return nil, err
		}
	}
	return f.stages.finish(ctx)
}

// seed lets deduplicate steps know the rows of the whole table: those of the range come to their own offsets again.
func (f *refill) seed(ctx context.Context) error {
	l := f.a.ledger.Clone()
	for k, r := range l.Records {
		r.MaxTimestamp, r.Rows = 0, 1 // the windows of records that are read again may reach back to any time
		l.Records[k] = r
	}
	return f.stages.seed(ctx, f.tracks.owned(), l)
}

func (f *refill) take(ctx context.Context, c Consumer, recs *batch.Records) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		again, err := f.stages.prepare(ctx, recs)
		if err == nil && again {
			return errAgain
		}
		if err == nil {
			break
		}
		if !errors.Is(err, schemas.ErrRegistry) && !errors.Is(err, schemas.ErrUnknownID) {
			return err
		}
		f.a.d.Log.Warn("waiting for the schema registry", "error", err, "next_try", wait)
		if err := c.Serve(ctx, wait); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := f.tracks.account(recs); err != nil || recs.Len() == 0 {
		return err
	}
	b, err := f.stages.run(ctx, recs, &f.tracks)
	if err != nil {
		return err
	}
	f.tracks.decide(b)
	return f.stages.fit(ctx, f.a.d.Memory)
}

// cut drops records and spans that are not of the ranges.
func (f *refill) cut(r *batch.Records) {
	n := 0
	for i := range r.Offset {
		k := table.Key{Topic: r.Topics[r.Topic[i]], Partition: r.Partition[i]}
		if end, ok := f.end[k]; !ok || r.Offset[i] >= end || f.want != nil && !f.want[k].Contains(uint64(r.Offset[i])) {
			continue
		}
		r.Topic[n], r.Partition[n], r.Offset[n], r.Timestamp[n] = r.Topic[i], r.Partition[i], r.Offset[i], r.Timestamp[i]
		r.Key[n], r.Value[n], r.Headers[n] = r.Key[i], r.Value[i], r.Headers[i]
		n++
	}
	r.Topic, r.Partition, r.Offset, r.Timestamp = r.Topic[:n], r.Partition[:n], r.Offset[:n], r.Timestamp[:n]
	r.Key, r.Value, r.Headers = r.Key[:n], r.Value[:n], r.Headers[:n]
	r.Spans = slices.DeleteFunc(r.Spans, func(s batch.Span) bool {
		t := f.tracks.m[table.Key{Topic: s.Topic, Partition: s.Partition}]
		return t == nil || s.First >= f.end[t.key]
	})
	for i := range r.Spans {
		s := &r.Spans[i]
		s.Next = min(s.Next, f.end[table.Key{Topic: s.Topic, Partition: s.Partition}])
	}
}

func (f *refill) complete() bool {
	for k, t := range f.tracks.m {
		if t.next < f.end[k] {
			return false
		}
	}
	return true
}

// open names the partitions that have not come to their ends.
func (f *refill) open() string {
	s := ""
	for _, k := range slices.SortedFunc(maps.Keys(f.tracks.m), cmpKey) {
		if t := f.tracks.m[k]; t.next < f.end[k] {
			s += fmt.Sprintf(" %s is at offset %d of %d", k, t.next, f.end[k])
		}
	}
	return s
}
