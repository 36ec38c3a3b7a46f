package pipeline

import (
	"cmp"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/table"
)

// Columns of a dead-letter table that a replay fills in: when, and by which round. A row that has them counts as a dead
// letter no longer.
const (
	ColumnReplayedAt    = "replayed_at"
	ColumnReplayedRound = "replayed_round"
)

// Edit changes what was decided about offsets of one epoch of a partition: a rewind that takes rows away, a backfill, a
// replay of dead letters. What earlier rounds said of the offsets that it names holds no longer, and their rows leave
// every table. Each of them is in exactly one of Rows, Routed, Filtered, Dead, Gaps and Removed.
type Edit struct {
	Key     table.Key `json:"partition"`
	TopicID string    `json:"topic_id"`
	Epoch   int32     `json:"epoch"`
	// First is where the epoch begins from now on; a backfill may reach back beyond where it began.
	First int64 `json:"first"`
	// Was counts what the offsets were. Those before the epoch's old beginning were nothing.
	Was table.Counts `json:"was"`

	Rows *Offsets `json:"rows,omitempty"` // in files of this round for the primary table
	// Routed are rows in files of this round for other tables, by table (table.Ident.String).
	Routed map[string]*Offsets `json:"routed,omitempty"`
	// Filtered and Dead are keyed by the step that decided, Removed by the job.
	Filtered map[string]*Offsets `json:"filtered,omitempty"`
	Dead     map[string]*Offsets `json:"dead,omitempty"`
	Removed  map[string]*Offsets `json:"removed,omitempty"`
	Gaps     *Offsets            `json:"gaps,omitempty"`

	// Replayed: what was a dead letter stays in the dead-letter table, marked as replayed by this round.
	Replayed bool `json:"replayed,omitempty"`
	// Purged are dead letters whose rows leave the dead-letter table, while what was decided about them stays. They are
	// in none of the sets above.
	Purged *Offsets `json:"purged,omitempty"`
}

// Begin ends the epoch of a partition, which must be at From still, and begins the next one at To.
type Begin struct {
	Key  table.Key    `json:"partition"`
	From table.Record `json:"from"`
	To   table.Record `json:"to"`
}

// Changed are the offsets whose decision the edit changes.
func (e *Edit) Changed() *roaring64.Bitmap {
	all := roaring64.New()
	for _, o := range e.sets() {
		all.Or(o)
	}
	return all
}

func (e *Edit) sets() []*roaring64.Bitmap {
	var sets []*roaring64.Bitmap
	for _, o := range []*Offsets{e.Rows, e.Gaps} {
		if o != nil {
			sets = append(sets, &o.Bitmap)
		}
	}
	for _, by := range []map[string]*Offsets{e.Routed, e.Filtered, e.Dead, e.Removed} {
		for _, o := range by {
			sets = append(sets, &o.Bitmap)
		}
	}
	return sets
}

func (e *Edit) counts() (c table.Counts) {
	size := func(sets ...*Offsets) (n int64) {
		for _, o := range sets {
			if o != nil {
				n += int64(o.GetCardinality())
			}
		}
		return n
	}
	by := func(m map[string]*Offsets) int64 { return size(slices.Collect(maps.Values(m))...) }
	return table.Counts{Rows: size(e.Rows) + by(e.Routed), Filtered: by(e.Filtered), Dead: by(e.Dead), Gaps: size(e.Gaps), Removed: by(e.Removed)}
}

// EpochKey names an epoch of a partition.
type EpochKey struct {
	table.Key
	Epoch int32
}

func (k EpochKey) compare(o EpochKey) int {
	return cmp.Or(cmpKey(k.Key, o.Key), cmp.Compare(k.Epoch, o.Epoch))
}

// Decisions are what rounds decided about the offsets of one epoch. An offset in none of the sets but Purged and Routed is a
// row, of the primary table if it is not in Routed.
type Decisions struct {
	Filtered, Dead, Gaps, Removed *roaring64.Bitmap
	// Purged are those of Dead whose rows were taken out of the dead-letter table on purpose.
	Purged *roaring64.Bitmap
	// Routed are rows of other tables than the primary, by table.
	Routed map[string]*roaring64.Bitmap
}

// NewDecisions has empty sets.
func NewDecisions() Decisions {
	return Decisions{roaring64.New(), roaring64.New(), roaring64.New(), roaring64.New(), roaring64.New(), map[string]*roaring64.Bitmap{}}
}

// Move takes in what a round decided.
func (d *Decisions) Move(m *Move) {
	d.decide(m.Filtered, m.Dead, nil, m.Gaps)
	d.route(m.Routed)
}

// Edit takes in what a round decided anew.
func (d *Decisions) Edit(e *Edit) {
	changed := e.Changed()
	for _, set := range []*roaring64.Bitmap{d.Filtered, d.Dead, d.Gaps, d.Removed, d.Purged} {
		set.AndNot(changed)
	}
	for _, set := range d.Routed {
		set.AndNot(changed)
	}
	d.decide(e.Filtered, e.Dead, e.Removed, e.Gaps)
	d.route(e.Routed)
	if e.Purged != nil {
		d.Purged.Or(&e.Purged.Bitmap)
	}
}

func (d *Decisions) decide(filtered, dead, removed map[string]*Offsets, gaps *Offsets) {
	for _, x := range []struct {
		into *roaring64.Bitmap
		by   map[string]*Offsets
	}{{d.Filtered, filtered}, {d.Dead, dead}, {d.Removed, removed}} {
		for _, o := range x.by {
			x.into.Or(&o.Bitmap)
		}
	}
	if gaps != nil {
		d.Gaps.Or(&gaps.Bitmap)
	}
}

func (d *Decisions) route(to map[string]*Offsets) {
	for id, o := range to {
		d.RoutedTo(id).Or(&o.Bitmap)
	}
}

// RoutedTo is the set of the rows of a table.
func (d *Decisions) RoutedTo(id string) *roaring64.Bitmap {
	if d.Routed[id] == nil {
		d.Routed[id] = roaring64.New()
	}
	return d.Routed[id]
}

// Count says what became of the offsets of set, all of which must lie in the committed range.
func (d *Decisions) Count(set *roaring64.Bitmap) table.Counts {
	in := func(x *roaring64.Bitmap) int64 { return int64(x.AndCardinality(set)) }
	c := table.Counts{Filtered: in(d.Filtered), Dead: in(d.Dead), Gaps: in(d.Gaps), Removed: in(d.Removed)}
	c.Rows = int64(set.GetCardinality()) - c.Sum()
	return c
}
