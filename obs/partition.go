package obs

import (
	"slices"
	"time"
)

// partition is what is known of an owned topic partition.
type partition struct {
	epoch                     int32
	committed, position, high int64 // -1: not known
	last                      int64 // Kafka timestamp of the last committed record, Unix milliseconds; -1: none
	// marks are the batches with records that were read and not committed, oldest first: the age of the first is how far the lake is behind.
	marks []mark
	// caught is when the lake was last seen to have everything.
	caught time.Time
	// stopped says why nothing is loaded; empty: it is.
	stopped string
}

type mark struct {
	position int64     // after the batch
	first    int64     // Kafka timestamp of its first record, Unix milliseconds; -1: none
	read     time.Time // by our clock
}

// mostMarks bounds memory between commits. Beyond it, batches are joined: ages stay upper bounds.
const mostMarks = 256

// read notes a batch. Positions also move without records: over control records and aborted transactions.
func (p *partition) read(b Progress, now time.Time) {
	p.position = b.Position
	p.high = max(p.high, b.Position)
	if b.Records == 0 {
		return
	}
	if n := len(p.marks); n >= mostMarks {
		p.marks[n-1].position = b.Position
		return
	}
	p.marks = append(p.marks, mark{b.Position, b.First, now})
}

func (p *partition) commit(o CommittedOffset, now time.Time) {
	p.epoch, p.committed = o.Epoch, o.Next
	p.position = max(p.position, o.Next)
	p.last = max(p.last, o.Last)
	done := slices.IndexFunc(p.marks, func(m mark) bool { return m.position > o.Next })
	if done < 0 {
		done = len(p.marks)
	}
	p.marks = slices.Delete(p.marks, 0, done)
	p.caughtUp(now)
}

func (p *partition) caughtUp(now time.Time) {
	if p.committed >= 0 && p.committed >= p.high {
		p.caught = now
	}
}

func (p *partition) oldestRead() time.Time {
	if len(p.marks) == 0 {
		return time.Time{}
	}
	return p.marks[0].read
}

func (p *partition) lagRecords() int64 {
	if p.committed < 0 || p.high < 0 {
		return 0
	}
	return max(0, p.high-p.committed)
}

// lagSeconds is the age of the oldest record that is not in the lake. One that was not read yet came after the last
// committed record, and after the moment when nothing was missing.
func (p *partition) lagSeconds(now time.Time) float64 {
	if p.lagRecords() == 0 {
		return 0
	}
	var since time.Time
	switch {
	case len(p.marks) > 0 && p.marks[0].first >= 0:
		since = time.UnixMilli(p.marks[0].first)
	case len(p.marks) > 0:
		since = p.marks[0].read
	case p.position >= p.high:
		return 0 // what is missing are no records
	default:
		since = p.caught
		if p.last >= 0 && time.UnixMilli(p.last).After(since) {
			since = time.UnixMilli(p.last)
		}
	}
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since).Seconds())
}
