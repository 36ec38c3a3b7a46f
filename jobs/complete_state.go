package jobs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// Complete is what a table says of one pipeline: which of its time partitions have all the rows that Kafka had for them. It
// is a property of the table. A partition is complete if it ends at Through or before, and is in none of Dirty.
//
// Invariants: all that was done to the table's rows up to Snapshot has been looked at; Revision is raised whenever Through,
// Dirty or Again changes.
type Complete struct {
	Through  time.Time  `json:"through"`
	Unit     table.Unit `json:"unit"`
	Field    string     `json:"field"` // the partition field, e.g. ts_day
	Revision int64      `json:"revision"`
	At       time.Time  `json:"at"` // what Kafka had was asked then
	Snapshot int64      `json:"snapshot"`
	// Epochs is the sum of the epochs of all topic partitions. Through goes back only where it has changed: offsets began anew.
	Epochs int64 `json:"epochs,omitempty"`
	// Dirty are partitions before Through into which rows came, or which lost some, after they were complete.
	Dirty []Dirty `json:"dirty,omitempty"`
	// Again are the last ones that were dirty and are complete again.
	Again []Again `json:"again,omitempty"`
	// Told is what the topic and the markers say; nil: nothing yet, or there are none.
	Told *Told `json:"told,omitempty"`
}

// Dirty are partitions next to each other.
type Dirty struct {
	First string `json:"first"` // label, see table.Unit
	Last  string `json:"last"`
	// Changed is when the last of them changed last, Unix seconds, as far as Snapshot; of Told it is left out.
	Changed int64 `json:"changed,omitempty"`
}

// Again are partitions next to each other, and the revision in which they became complete again.
type Again struct {
	First    string `json:"first"`
	Last     string `json:"last"`
	Revision int64  `json:"revision"`
}

// Told is what receivers know.
type Told struct {
	To       string    `json:"to"` // who they are: other ones are told everything
	Revision int64     `json:"revision"`
	Through  time.Time `json:"through"`
	Dirty    []Dirty   `json:"dirty,omitempty"`
}

// How much a property holds: its value must stay below 3,400 bytes. With more dirty partitions, those with the fewest between
// them are taken together with what is between.
const (
	maxDirty = 16
	maxAgain = 12
)

// Marker is the name of the object that lies in the folder of a partition that is complete.
const Marker = "_SUCCESS"

// completeKey names the property. No pipeline has a dot in its name, so it can be taken for no part of a ledger.
func completeKey(pipeline string) string { return table.Prefix + "complete." + pipeline + ".through" }

// property encodes c.
func (c *Complete) property(pipeline string) map[string]string {
	b, _ := json.Marshal(c) // cannot fail: only strings, numbers and times of four-digit years
	return map[string]string{completeKey(pipeline): string(b)}
}

// ParseComplete reads what a table's properties say of a pipeline; nil: nothing yet.
func ParseComplete(pipeline string, props map[string]string) (*Complete, error) {
	text, ok := props[completeKey(pipeline)]
	if !ok {
		return nil, nil
	}
	c := &Complete{}
	err := json.Unmarshal([]byte(text), c)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return nil, fmt.Errorf("the table's property %s cannot be read (%q); remove it, and what is complete is found out anew: %w", completeKey(pipeline), text, err)
	}
	return c, nil
}

// lookedAt are the snapshots up to which the pipelines of a table know its changes.
func lookedAt(props map[string]string) (ids []int64, err error) {
	for _, key := range slices.Sorted(maps.Keys(props)) {
		name, ok := strings.CutPrefix(key, table.Prefix+"complete.")
		pipeline, through := strings.CutSuffix(name, ".through")
		if !ok || !through {
			continue
		}
		c, err := ParseComplete(pipeline, props)
		if err != nil {
			return nil, err
		}
		ids = append(ids, c.Snapshot)
	}
	return ids, nil
}

// check makes sure that labels can be read.
func (c *Complete) check() error {
	var labels []string
	for _, d := range c.Dirty {
		labels = append(labels, d.First, d.Last)
	}
	for _, a := range c.Again {
		labels = append(labels, a.First, a.Last)
	}
	if c.Told != nil {
		for _, d := range c.Told.Dirty {
			labels = append(labels, d.First, d.Last)
		}
	}
	for _, l := range labels {
		if _, err := c.Unit.Parse(l); err != nil {
			return err
		}
	}
	return nil
}

// span is partitions first to last, by number, with a time or a revision.
type span struct {
	first, last int
	mark        int64
}

func (s span) has(n int) bool { return s.first <= n && n <= s.last }

type spans []span

func (s spans) has(n int) bool {
	return slices.ContainsFunc(s, func(x span) bool { return x.has(n) })
}

// same reports whether both have the same partitions, whatever their marks.
func (s spans) same(o spans) bool {
	return slices.EqualFunc(s, o, func(a, b span) bool { return a.first == b.first && a.last == b.last })
}

// add puts partitions in, with the later mark where there are some already.
func (s spans) add(x span) spans {
	var out spans
	for _, o := range s {
		if o.last < x.first || x.last < o.first {
			out = append(out, o)
			continue
		}
		x = span{min(x.first, o.first), max(x.last, o.last), max(x.mark, o.mark)}
	}
	out = append(out, x)
	slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	return out
}

// before cuts off partitions from n on.
func (s spans) before(n int) (out spans) {
	for _, x := range s {
		if x.first < n {
			out = append(out, span{x.first, min(x.last, n-1), x.mark})
		}
	}
	return out
}

// shrink takes spans together until there are at most n.
func (s spans) shrink(n int) spans {
	for len(s) > n {
		at, least := 0, math.MaxInt
		for i := 1; i < len(s); i++ {
			if gap := s[i].first - s[i-1].last; gap < least {
				at, least = i, gap
			}
		}
		s[at-1] = span{s[at-1].first, s[at].last, max(s[at-1].mark, s[at].mark)}
		s = slices.Delete(s, at, at+1)
	}
	return s
}

func (c *Complete) number(label string) int {
	n, _ := c.Unit.Parse(label) // check has read it
	return n
}

func (c *Complete) dirty(list []Dirty) (out spans) {
	for _, d := range list {
		out = append(out, span{c.number(d.First), c.number(d.Last), d.Changed})
	}
	return out
}

func (c *Complete) setDirty(s spans) {
	c.Dirty = nil
	for _, x := range s {
		c.Dirty = append(c.Dirty, Dirty{c.Unit.Label(x.first), c.Unit.Label(x.last), x.mark})
	}
}

// through is the number of the first partition that is not complete.
func (c *Complete) through() int { return c.Unit.Of(c.Through) }

// DirtyPartitions counts them.
func (c *Complete) DirtyPartitions() (n int) {
	for _, x := range c.dirty(c.Dirty) {
		n += x.last - x.first + 1
	}
	return n
}
