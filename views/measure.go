package views

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/axiomhq/hyperloglog"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// accuracy of percentiles of groups with many different values: the share by which a value may be off.
const accuracy = 0.01

// exactValues is how many different values a percentile counts one by one.
const exactValues = 64

// measure is a column of a view that is no key.
type measure struct {
	configs.ViewFunc
	in  input
	key []byte // of the value at hand
}

// state is what a measure knows of some rows; states of the same measure can be merged.
type state struct {
	n        int64
	sum      float64
	min, max float64
	// values counts different numbers; beyond exactValues the sketch takes them.
	values   map[float64]int64
	sketch   *ddsketch.DDSketch
	distinct *hyperloglog.Sketch
	top      *frequent
}

func (m *measure) bind(row *batch.Type) (err error) {
	if m.Column == "" {
		return nil
	}
	if m.in, err = find(row, m.Column); err != nil {
		return err
	}
	switch m.Func {
	case "count":
		return nil
	case "approx_distinct", "top":
		if !m.in.plain() {
			return fmt.Errorf("%s(%s): the column is a %s, not a string, int, long or boolean", m.Func, m.Column, m.in.kind)
		}
		return nil
	}
	switch k := m.in.kind; {
	case k.Kind == batch.Int, k.Kind == batch.Long, k.Kind == batch.Float, k.Kind == batch.Double:
	case k.Kind == batch.Decimal && k.Precision <= batch.MaxInt64Precision:
	default:
		return fmt.Errorf("%s(%s): the column is a %s, not a number (decimals up to %d digits)", m.Func, m.Column, k, batch.MaxInt64Precision)
	}
	return nil
}

func (m *measure) add(s *state, b *batch.Batch, row int) {
	if m.Column != "" && m.in.null(row) {
		return
	}
	s.n++
	switch m.Func {
	case "count":
	case "approx_distinct":
		if s.distinct == nil {
			s.distinct = hyperloglog.New14()
		}
		m.key = m.in.appendKey(m.key[:0], b, row)
		s.distinct.Insert(m.key)
	case "top":
		if s.top == nil {
			s.top = newFrequent(m.Top)
		}
		m.key = m.in.appendKey(m.key[:0], b, row)
		s.top.add(m.key, func() any { return m.in.value(b, row) })
	default:
		s.number(m.Func, m.in.number(row))
	}
}

func (s *state) number(f string, x float64) {
	switch {
	case math.IsNaN(x):
		s.n--
		return
	case f == "percentile":
		s.quantile(x, 1)
		return
	case s.n == 1:
		s.min, s.max = x, x
	default:
		s.min, s.max = min(s.min, x), max(s.max, x)
	}
	s.sum += x
}

func (s *state) quantile(x float64, n int64) {
	if s.sketch == nil {
		if s.values == nil {
			s.values = map[float64]int64{}
		}
		if s.values[x] += n; len(s.values) <= exactValues {
			return
		}
		s.sketched()
		return
	}
	s.into(x, n)
}

// sketched gives up counting each value.
func (s *state) sketched() {
	if s.sketch != nil {
		return
	}
	s.sketch, _ = ddsketch.LogCollapsingLowestDenseDDSketch(accuracy, 2048) // fails for an accuracy outside of 0 to 1 only
	for v, n := range s.values {
		s.into(v, n)
	}
	s.values = nil
}

// into adds to the sketch. Numbers beyond what it can index are as good as its greatest.
func (s *state) into(x float64, n int64) {
	limit := s.sketch.MaxIndexableValue()
	_ = s.sketch.AddWithCount(max(-limit, min(limit, x)), float64(n)) // fails beyond the limit only
}

func (m *measure) merge(into, from *state) {
	if from.n == 0 {
		return
	}
	switch {
	case from.sketch != nil:
		into.sketched()
		_ = into.sketch.MergeWith(from.sketch) // fails for sketches of another accuracy only
	case from.values != nil:
		for v, n := range from.values {
			into.quantile(v, n)
		}
	case from.distinct != nil:
		if into.distinct == nil {
			into.distinct = hyperloglog.New14()
		}
		_ = into.distinct.Merge(from.distinct) // fails for another precision only
	case from.top != nil:
		if into.top == nil {
			into.top = newFrequent(m.Top)
		}
		into.top.merge(from.top)
	case into.n == 0:
		into.min, into.max = from.min, from.max
	default:
		into.min, into.max = min(into.min, from.min), max(into.max, from.max)
	}
	into.n += from.n
	into.sum += from.sum
}

// result is the value of the measure.
func (m *measure) result(s *state) any {
	if m.Func == "count" {
		return s.n
	}
	if m.Func == "approx_distinct" {
		if s.distinct == nil {
			return int64(0)
		}
		return int64(s.distinct.Estimate())
	}
	if m.Func == "top" {
		if s.top == nil {
			return []TopValue{}
		}
		return s.top.list(m.Top)
	}
	if s.n == 0 {
		return nil
	}
	var v float64
	switch m.Func {
	case "sum":
		v = s.sum
	case "avg":
		v = s.sum / float64(s.n)
	case "min":
		v = s.min
	case "max":
		v = s.max
	default:
		v = s.at(m.Quantile)
	}
	if math.IsInf(v, 0) || math.IsNaN(v) { // JSON has no such numbers
		return nil
	}
	return v
}

// at is the value that a share of all is below: the least one with at least that share at or below it.
func (s *state) at(q float64) float64 {
	if s.sketch != nil {
		v, err := s.sketch.GetValueAtQuantile(q)
		if err != nil { // an empty sketch
			return math.NaN()
		}
		return v
	}
	rank, seen := int64(math.Ceil(q*float64(s.n))), int64(0)
	for _, v := range slices.Sorted(maps.Keys(s.values)) {
		if seen += s.values[v]; seen >= rank {
			return v
		}
	}
	return math.NaN()
}

// frequent counts the most frequent values with bounded memory: at twice the room that it needs it keeps the upper half. A value that
// comes anew may have been dropped before, with no more than the greatest count that was ever dropped (floor): that much its count may be too
// great, and never too small. Counts are exact while all values have room.
type frequent struct {
	room   int
	floor  int64
	counts map[string]*TopValue // by encoded value
}

// newFrequent has room for many more values than are asked for, so that their counts are good.
func newFrequent(k int) *frequent {
	return &frequent{room: max(100, 10*k), counts: map[string]*TopValue{}}
}

// add counts one more of a value, which is made where it is new.
func (f *frequent) add(key []byte, value func() any) {
	c := f.counts[string(key)]
	if c == nil {
		f.shrink(2*f.room - 1)
		c = &TopValue{Value: value(), Count: f.floor, Over: f.floor}
		f.counts[string(key)] = c
	}
	c.Count++
}

// shrink drops the less frequent half when there are more than so many.
func (f *frequent) shrink(most int) {
	if len(f.counts) <= most {
		return
	}
	keys := f.sorted()
	f.floor = f.counts[keys[f.room]].Count
	for _, k := range keys[f.room:] {
		delete(f.counts, k)
	}
}

// merge adds another one. What a value may have had in the one that does not know it is that one's floor.
func (f *frequent) merge(o *frequent) {
	for k, c := range f.counts {
		if o.counts[k] == nil {
			c.Count, c.Over = c.Count+o.floor, c.Over+o.floor
		}
	}
	for k, c := range o.counts {
		have := f.counts[k]
		if have == nil {
			have = &TopValue{Value: c.Value, Count: f.floor, Over: f.floor}
			f.counts[k] = have
		}
		have.Count, have.Over = have.Count+c.Count, have.Over+c.Over
	}
	f.floor += o.floor
	f.shrink(2 * f.room)
}

// sorted are the keys, those of the most frequent values first.
func (f *frequent) sorted() []string {
	return slices.SortedFunc(maps.Keys(f.counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(f.counts[b].Count, f.counts[a].Count), cmp.Compare(a, b))
	})
}

func (f *frequent) list(k int) []TopValue {
	out := []TopValue{}
	for _, key := range f.sorted()[:min(k, len(f.counts))] {
		out = append(out, *f.counts[key])
	}
	return out
}
