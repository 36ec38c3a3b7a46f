package jobs

import (
	"fmt"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// End is what Kafka has of a topic partition.
type End struct {
	table.Key
	TopicID string
	Low     int64 // the first offset that it still has
	// High is behind the last offset, also of transactions that are not ended yet: what comes behind an open one cannot be
	// read, and is missing in the table nevertheless.
	High int64
	// Truncated: it ends before what was loaded of it earlier.
	Truncated bool
}

// progress is how far in time the rows of a pipeline are there: the least over its topic partitions.
type progress struct {
	at    time.Time
	known bool
	// held says which topic partition it is that has not come further, or is not known.
	held   string
	epochs int64
}

// watermark finds the progress from what Kafka had at a time and a ledger that was read after that:
//   - a partition that is loaded to its end has come to that time;
//   - another one has come to the greatest time of its rows (table.Record.Event);
//   - one that nothing was loaded of, or only from another topic of the name, or without a time, is not known, and nothing is.
//
// Where a log was truncated nothing is known either: what is written at the offsets that were loaded already is missing.
// Partitions that Kafka has no more hold nothing up: nothing more can come of them.
func watermark(ends []End, l *table.Ledger, asked time.Time) progress {
	p := progress{at: asked, known: true}
	for _, r := range l.Records {
		p.epochs += int64(r.Epoch)
	}
	for _, e := range ends {
		at, why := reached(e, l, asked)
		switch {
		case at.IsZero():
			return progress{held: why, epochs: p.epochs}
		case at.Before(p.at):
			p.at, p.held = at, why
		}
	}
	if len(ends) == 0 {
		return progress{held: "there is no topic", epochs: p.epochs}
	}
	return p
}

// reached is how far one partition has come; the zero time: that is not known.
func reached(e End, l *table.Ledger, asked time.Time) (time.Time, string) {
	r, ok := l.Records[e.Key]
	switch {
	case ok && r.TopicID != e.TopicID:
		return time.Time{}, fmt.Sprintf("topic %s was created again, and is not loaded yet", e.Topic)
	case ok && e.Truncated:
		return time.Time{}, fmt.Sprintf("Kafka has %s up to offset %d only, and it was loaded to %d: its log was truncated", e.Key, e.High, r.Next)
	case !ok && e.Low == e.High, ok && r.Next >= e.High:
		return asked, ""
	case !ok:
		return time.Time{}, fmt.Sprintf("nothing of %s is loaded yet (%d offsets)", e.Key, e.High-e.Low)
	case r.Event == 0:
		return time.Time{}, fmt.Sprintf("%s is loaded to offset %d of %d, and no row of it says to which time that is", e.Key, r.Next, e.High)
	}
	at := time.UnixMilli(r.Event)
	return at, fmt.Sprintf("%s is loaded to offset %d of %d, which is at %s", e.Key, r.Next, e.High, at.UTC().Format(time.RFC3339))
}

// change is a partition in which rows came or went.
type change struct {
	n  int
	at int64 // Unix seconds
}

// news is what a run has found out.
type news struct {
	unit  table.Unit
	field string
	now   time.Time
	asked time.Time // when Kafka was
	// through is how far the rows are there, less the lateness.
	through  time.Time
	known    bool
	epochs   int64
	changes  []change
	oldest   int    // the first partition with rows, when lost
	lost     bool   // what has changed cannot be told, so everything may have
	retired  int    // partitions before it are dropped by retention: that they change means nothing
	quiet    int64  // seconds
	receiver string // of messages and markers; empty: none
}

// advance is what is complete after the news; changed: it is not the same as before. c is nil where nothing was said yet, and
// the result is nil where nothing can be.
func (c *Complete) advance(n news) (next *Complete, changed bool) {
	if c == nil || c.Unit != n.unit || c.Field != n.field {
		if !n.known {
			return nil, false
		}
		next = &Complete{Unit: n.unit, Field: n.field, Revision: 1, At: n.asked, Epochs: n.epochs}
		if c != nil { // the table is partitioned in another way now
			next.Revision = c.Revision + 1
		}
		next.Through = n.unit.Start(n.unit.Of(n.through))
		return next, true
	}
	now := *c
	next = &now
	next.At, next.Again = n.asked, slices.Clone(c.Again)
	dirty, through, covered := next.spoilt(n), c.through(), 0
	if n.known {
		covered = n.unit.Of(n.through)
		if covered > through || n.epochs != c.Epochs {
			through = covered
		}
		next.Epochs = n.epochs
	}
	next.Through = n.unit.Start(through)
	dirty = dirty.before(through)
	var still spans
	for _, x := range dirty {
		settled := n.known && x.last < covered && n.now.Unix()-x.mark >= n.quiet
		if !settled || !next.again(x, n.receiver != "") {
			still = append(still, x)
		}
	}
	still = still.shrink(maxDirty)
	next.setDirty(still)
	changed = next.Epochs != c.Epochs || !next.Through.Equal(c.Through) || !still.same(c.dirty(c.Dirty)) || !slices.Equal(next.Again, c.Again)
	if changed {
		next.Revision++
	}
	return next, changed
}

// spoilt are the dirty partitions with those that the news add.
func (c *Complete) spoilt(n news) spans {
	dirty, through := c.dirty(c.Dirty), c.through()
	if n.lost && n.oldest < through {
		dirty = dirty.add(span{n.oldest, through - 1, n.now.Unix()})
	}
	for _, x := range n.changes {
		if x.n < through && x.n >= n.retired {
			dirty = dirty.add(span{x.n, x.n, x.at})
		}
	}
	return dirty
}

// again notes that dirty partitions are complete again; false: there is no room for it as long as receivers have not been told
// of others, so these stay dirty.
func (c *Complete) again(x span, told bool) bool {
	a := Again{c.Unit.Label(x.first), c.Unit.Label(x.last), c.Revision + 1}
	c.Again = slices.DeleteFunc(c.Again, func(o Again) bool { return a.First <= o.First && o.Last <= a.Last })
	if len(c.Again) >= maxAgain {
		if oldest := c.Again[0].Revision; told && c.Told != nil && oldest > c.Told.Revision {
			return false
		}
		c.Again = c.Again[1:]
	}
	c.Again = append(c.Again, a)
	return true
}

// Notice tells receivers of one partition.
type Notice struct {
	Partition string
	From, To  time.Time // [From, To)
	Complete  bool      // false: it is dirty
	Revision  int64     // of what is complete
}

// maxNotices is how many partitions next to each other are told of, rows or not; of more only those that have rows.
const maxNotices = 1000

// notices are what receivers must be told, who know of c.Told. rows are the partitions that have any, ascending.
func (c *Complete) notices(receiver string, rows func() ([]int, error)) ([]Notice, error) {
	told := c.Told
	if told != nil && told.To != receiver {
		told = nil
	}
	if told != nil && told.Revision == c.Revision {
		return nil, nil
	}
	through, dirty := c.through(), c.dirty(c.Dirty)
	say := map[int]int64{} // the revision since when it is complete; 0: it is dirty
	each := func(first, last int, f func(n int)) error {
		if last-first < maxNotices && told != nil {
			for n := first; n <= last; n++ {
				f(n)
			}
			return nil
		}
		all, err := rows()
		for _, n := range all {
			if first <= n && n <= last {
				f(n)
			}
		}
		return err
	}
	complete := func(revision int64) func(int) {
		return func(n int) {
			if !dirty.has(n) && n < through {
				say[n] = revision
			}
		}
	}
	if told == nil {
		const ever = 1 << 40
		err := each(-ever, through-1, complete(c.Revision))
		return c.list(say), err
	}
	known, was := c.Unit.Of(told.Through), c.dirty(told.Dirty)
	err := each(known, through-1, complete(c.Revision))
	spoilt := func(n int) {
		if n < known && !was.has(n) {
			say[n] = 0
		}
	}
	for _, x := range was {
		if err == nil {
			err = each(x.first, x.last, complete(c.Revision))
		}
	}
	for _, a := range c.Again {
		if a.Revision > told.Revision && err == nil {
			err = each(c.number(a.First), c.number(a.Last), complete(a.Revision))
		}
	}
	for _, x := range dirty {
		if err == nil {
			err = each(x.first, x.last, spoilt)
		}
	}
	if err == nil {
		err = each(through, known-1, spoilt)
	}
	return c.list(say), err
}

// told is what receivers know who were told all of c.
func (c *Complete) told(receiver string) *Told {
	t := &Told{To: receiver, Revision: c.Revision, Through: c.Through}
	for _, d := range c.Dirty {
		t.Dirty = append(t.Dirty, Dirty{First: d.First, Last: d.Last})
	}
	return t
}

func (c *Complete) list(say map[int]int64) (out []Notice) {
	for n, revision := range say {
		x := Notice{Partition: c.Unit.Label(n), From: c.Unit.Start(n), To: c.Unit.Start(n + 1), Complete: revision > 0, Revision: revision}
		if revision == 0 {
			x.Revision = c.Revision
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Notice) int { return a.From.Compare(b.From) })
	return out
}
