package window

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// Progress is how far an owner is, at one moment.
type Progress struct {
	Slots int32   // of the output topic; 0: not known yet
	Owned []int32 // ascending
	Live  int     // of them are up to date, and published
	// Keys that owned slots have something of; -1: not known while totals are made anew.
	Keys int64
	// Updates are rows that were added to totals since the process began, and Published the values that were sent; rows that were read
	// again count again.
	Updates, Published int64
	// Day is that of the totals which are published; 0: there are none.
	Day Day
	// Parts are those of the input, by topic and number, while slots are owned.
	Parts []PartProgress
	// Rebuild is about totals that are being made anew; nil: there are none.
	Rebuild *RebuildProgress
}

// PartProgress is how far a partition of the input was taken in.
type PartProgress struct {
	Part
	// Next is the offset from which on some slot lacks rows, and Published the one below which all is published; -1: not known, as slots
	// still catch up.
	Next, Published int64
}

// RebuildProgress is how much of the lake was read.
type RebuildProgress struct {
	Started     time.Time
	Files, Done int
	Rows        int64 // that may count
}

// Meter is where an owner tells how far it is. It outlives owners, and is safe for concurrent use; the zero value is ready.
type Meter struct {
	mu sync.Mutex
	p  Progress
}

// Read is what was told last, a copy.
func (m *Meter) Read() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.p
	p.Owned, p.Parts = slices.Clone(p.Owned), slices.Clone(p.Parts)
	if p.Rebuild != nil {
		r := *p.Rebuild
		p.Rebuild = &r
	}
	return p
}

// change lets f change what is told; a meter that is nil is told nothing.
func (m *Meter) change(f func(p *Progress)) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.p)
}

// rebuilding begins what is told of a rebuild; ended ends it.
func (m *Meter) rebuilding(files int, now time.Time) {
	m.change(func(p *Progress) { p.Rebuild = &RebuildProgress{Started: now, Files: files} })
}

func (m *Meter) rebuilt(files int, rows int64) {
	m.change(func(p *Progress) {
		if p.Rebuild != nil {
			p.Rebuild.Done += files
			p.Rebuild.Rows += rows
		}
	})
}

func (m *Meter) ended() { m.change(func(p *Progress) { p.Rebuild = nil }) }

// tellEvery is how often an owner tells how far it is, and at once where slots have come, gone or come up to date.
const tellEvery = 250 * time.Millisecond

// tell tells the meter.
func (o *Owner) tell(now bool) {
	at := time.Now()
	if o.d.Meter == nil || !now && at.Sub(o.told) < tellEvery {
		return
	}
	o.told = at
	next := Progress{Slots: int32(len(o.slots))}
	for p := range maps.Keys(o.parts) {
		next.Parts = append(next.Parts, PartProgress{Part: p, Next: -1, Published: -1})
	}
	slices.SortFunc(next.Parts, func(a, b PartProgress) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	for _, s := range o.slots {
		if s != nil {
			o.tellSlot(&next, s)
		}
	}
	for i := range next.Parts {
		if next.Live == len(next.Owned) {
			next.Parts[i].Published = next.Parts[i].Next
		}
	}
	if len(next.Owned) == 0 {
		next.Parts = nil
	}
	o.d.Meter.change(func(p *Progress) {
		next.Updates, next.Published, next.Rebuild = p.Updates+o.updates, p.Published+o.published.Swap(0), p.Rebuild
		*p = next
	})
	o.updates = 0
}

func (o *Owner) tellSlot(p *Progress, s *slot) {
	p.Owned = append(p.Owned, s.n)
	switch {
	case s.m.Compare:
		p.Keys = -1
	case p.Keys >= 0:
		p.Keys += s.keys
	}
	if s.live {
		p.Live++
	}
	if p.Day == 0 || s.m.Day < p.Day {
		p.Day = s.m.Day
	}
	for i := range p.Parts {
		if n := s.next[o.parts[p.Parts[i].Part]]; p.Parts[i].Next < 0 || n < p.Parts[i].Next {
			p.Parts[i].Next = n
		}
	}
}
