package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// track is what the open round knows of one partition.
//
// Invariant: every offset in [from.Next, next) has been counted once: records == rows written (to whichever table) + filtered
// + dead, and records + gaps == next - from.Next.
type track struct {
	key   table.Key
	known bool // the table has a record of it
	from  table.Record
	next  int64

	records, filtered, dead, gaps int64
	maxTimestamp                  int64
	event                         int64 // table.Record.Event at next
	filteredBy, deadBy            map[string]*Offsets
	routedTo                      map[string]*Offsets // rows of other tables than the primary, by table
	gapSet                        *Offsets

	leader int32 // table.Record.Leader at next, when the round is closed

	// stopped says why nothing of the partition is loaded (its topic was created again, its offsets are gone).
	stopped error
}

func newTrack(k table.Key, known bool, from table.Record) *track {
	t := &track{key: k, known: known}
	t.begin(from)
	return t
}

// begin starts a new round at from.
func (t *track) begin(from table.Record) {
	*t = track{key: t.key, known: t.known, from: from, next: from.Next, maxTimestamp: from.MaxTimestamp, event: from.Event, stopped: t.stopped}
}

// skip notes that Kafka has no record in [next, to).
func (t *track) skip(to int64) {
	if to <= t.next {
		return
	}
	if t.gapSet == nil {
		t.gapSet = &Offsets{}
	}
	t.gapSet.AddRange(uint64(t.next), uint64(to))
	t.gaps += to - t.next
	t.next = to
}

// move is how far the round brings the partition.
func (t *track) move() Move {
	to := t.from
	to.Next = t.next
	to.Rows += t.records - t.filtered - t.dead
	to.Filtered += t.filtered
	to.Dead += t.dead
	to.Gaps += t.gaps
	to.MaxTimestamp, to.Leader, to.Event = t.maxTimestamp, t.leader, t.event
	return Move{Key: t.key, Known: t.known, From: t.from, To: to, Filtered: t.filteredBy, Dead: t.deadBy, Gaps: t.gapSet, Routed: t.routedTo}
}

// run is records [from, to) of a fetch that belong to one partition.
type run struct {
	t        *track
	from, to int
}

// tracks are the owned partitions.
type tracks struct {
	m       map[table.Key]*track
	runs    []run    // of the current fetch, ascending
	scratch []uint64 // offsets
	routed  []int32  // records
}

func (ts *tracks) add(t *track) {
	if ts.m == nil {
		ts.m = map[table.Key]*track{}
	}
	ts.m[t.key] = t
}

// account takes the offsets of a fetch into the open round. Records of stopped partitions are not in the runs.
func (ts *tracks) account(r *batch.Records) error {
	ts.runs = ts.runs[:0]
	for i := 0; i < r.Len(); {
		topic, part := r.Topic[i], r.Partition[i]
		t := ts.m[table.Key{Topic: r.Topics[topic], Partition: part}]
		if t == nil {
			return fmt.Errorf("a record of %s-%d offset %d arrived, but the partition is not assigned: this is a defect of lakeloader, the round is dropped", r.Topics[topic], part, r.Offset[i])
		}
		j := i
		for ; j < r.Len() && r.Topic[j] == topic && r.Partition[j] == part; j++ {
			if t.stopped != nil {
				continue
			}
			off := r.Offset[j]
			if off != t.next {
				if off < t.next {
					return fmt.Errorf("%s: offset %d arrived after offset %d: this is a defect of lakeloader, the round is dropped", t.key, off, t.next-1)
				}
				t.skip(off)
			}
			t.next = off + 1
			t.maxTimestamp = max(t.maxTimestamp, r.Timestamp[j])
		}
		if t.stopped == nil {
			t.records += int64(j - i)
		}
		ts.runs = append(ts.runs, run{t, i, j})
		i = j
	}
	for _, s := range r.Spans {
		if t := ts.m[table.Key{Topic: s.Topic, Partition: s.Partition}]; t != nil && t.stopped == nil {
			t.skip(s.Next)
		}
	}
	return nil
}

// decide takes what the stages decided about the fetch into the open round.
func (ts *tracks) decide(b *batch.Batch) {
	for step, records := range b.FilteredBy {
		ts.each(b.Records, records, func(t *track, offsets []uint64) {
			t.filtered += int64(len(offsets))
			t.filteredBy = addOffsets(t.filteredBy, step, offsets)
		})
	}
	if len(b.Rejects) == 0 {
		return
	}
	slices.SortStableFunc(b.Rejects, func(x, y batch.Reject) int {
		if c := cmp.Or(strings.Compare(x.Stage, y.Stage), strings.Compare(x.Step, y.Step)); c != 0 {
			return c
		}
		return int(x.Record) - int(y.Record)
	})
	for i := 0; i < len(b.Rejects); {
		var records []int32
		step := rejectedBy(b.Rejects[i].Stage, b.Rejects[i].Step)
		j := i
		for ; j < len(b.Rejects) && rejectedBy(b.Rejects[j].Stage, b.Rejects[j].Step) == step; j++ {
			records = append(records, b.Rejects[j].Record)
		}
		i = j
		ts.each(b.Records, records, func(t *track, offsets []uint64) {
			t.dead += int64(len(offsets))
			t.deadBy = addOffsets(t.deadBy, step, offsets)
		})
	}
}

// route notes that rows of the fetch went to a table that is not the primary.
func (ts *tracks) route(b *batch.Batch, to string, rows []int32) {
	ts.routed = ts.routed[:0]
	for _, row := range rows {
		ts.routed = append(ts.routed, b.Record[row])
	}
	ts.each(b.Records, ts.routed, func(t *track, offsets []uint64) {
		t.routedTo = addOffsets(t.routedTo, to, offsets)
	})
}

// rejectedBy names what rejected a record, in round objects.
func rejectedBy(stage, step string) string {
	if step == "" {
		return stage
	}
	return stage + ": " + step
}

func splitRejectedBy(by string) (stage, step string) {
	stage, step, _ = strings.Cut(by, ": ")
	return stage, step
}

// each calls f with the offsets of the records, run by run.
func (ts *tracks) each(r *batch.Records, records []int32, f func(t *track, offsets []uint64)) {
	for i, at := 0, 0; i < len(records); {
		for int(records[i]) >= ts.runs[at].to {
			at++
		}
		ts.scratch = ts.scratch[:0]
		for ; i < len(records) && int(records[i]) < ts.runs[at].to; i++ {
			ts.scratch = append(ts.scratch, uint64(r.Offset[records[i]]))
		}
		if ts.runs[at].t.stopped == nil {
			f(ts.runs[at].t, ts.scratch)
		}
	}
}

func addOffsets(m map[string]*Offsets, step string, offsets []uint64) map[string]*Offsets {
	if m == nil {
		m = map[string]*Offsets{}
	}
	if m[step] == nil {
		m[step] = &Offsets{}
	}
	m[step].AddMany(offsets)
	return m
}

// records counts what the open round has taken in, rows or not.
func (ts *tracks) records() (n int64, moved bool) {
	for _, t := range ts.m {
		n += t.records
		moved = moved || t.next > t.from.Next
	}
	return n, moved
}

// elsewhere reports whether the table says of any partition something else than what was read up to: a loader that has
// lost its partitions was faster, or the partition was rewound. Reading on would take offsets in between for gaps.
func (ts *tracks) elsewhere(l *table.Ledger) bool {
	for k, t := range ts.m {
		here := t.from
		here.Next = t.next
		if rec, ok := l.Records[k]; ok != (t.known || t.next > t.from.Next) || ok && !rec.Same(here) {
			return true
		}
	}
	return false
}

// freed names a stopped partition that is elsewhere in the table now: a person moved it on purpose, or the loader before this one had read
// on, and committed late.
func (ts *tracks) freed(l *table.Ledger) (k table.Key, freed bool) {
	for k, t := range ts.m {
		if rec, ok := l.Records[k]; ok && t.stopped != nil && !(t.known && rec.Same(t.from)) {
			return k, true
		}
	}
	return k, false
}

// begin starts a new round at what the table says; stopped partitions stay where they were, for freed to tell that they moved.
func (ts *tracks) begin(l *table.Ledger) {
	for k, t := range ts.m {
		if rec, ok := l.Records[k]; ok && t.stopped == nil {
			t.known = true
			t.begin(rec)
		} else {
			t.begin(t.from)
		}
	}
}

// owned is the set of assigned partitions.
func (ts *tracks) owned() map[table.Key]bool {
	m := make(map[table.Key]bool, len(ts.m))
	for k := range ts.m {
		m[k] = true
	}
	return m
}
