// Package views keeps in memory what rows of the last minutes add up to, by group: rolling counts, medians and most frequent
// values for dashboards. Nothing of it is exact through crashes: it begins anew with the process, and is about what was read, which
// may not be in the lake yet. A record that is read again after a dropped round counts once.
package views

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// Other is the group of the rows whose own group is beyond the limit.
const Other = "(other)"

// slices of a window: what is older than the window leaves by so many parts.
const parts = 20

// Partition is a topic partition in an epoch of its offsets, with the records [From, To) of a fetch that belong to it.
type Partition struct {
	Topic     string
	Partition int32
	Epoch     int32
	From, To  int
}

// Set is the views of a pipeline. One goroutine calls Bind and Observe; Read is safe beside it.
type Set struct {
	mu    sync.Mutex
	views []*View
	next  map[seenKey]int64 // first offset that was not observed yet
}

type seenKey struct {
	topic            string
	partition, epoch int32
}

// New makes the views of a pipeline; Bind must come before the first batch.
func New(cfg []configs.View) (*Set, error) {
	s := &Set{next: map[seenKey]int64{}}
	for i := range cfg {
		v := &View{cfg: &cfg[i], width: (time.Duration(cfg[i].Window) / parts).Milliseconds(), groups: map[string]int32{}}
		for _, m := range cfg[i].Measures {
			f, err := m.Parse()
			if err != nil {
				return nil, fmt.Errorf("view %s: %w", cfg[i].Name, err)
			}
			v.measures = append(v.measures, measure{ViewFunc: f})
		}
		s.views = append(s.views, v)
	}
	return s, nil
}

// Bind finds the columns in the row type, which may have widened.
func (s *Set) Bind(row *batch.Type) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.views {
		if err := v.bind(row); err != nil {
			return fmt.Errorf("view %s: %w", v.cfg.Name, err)
		}
	}
	return nil
}

// Observe takes in the rows of a batch that are kept. ps are the partitions of its fetch, ascending by record.
func (s *Set) Observe(b *batch.Batch, ps []Partition, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.views {
		v.begin(b, now.UnixMilli())
	}
	row := 0
	for _, p := range ps {
		k := seenKey{p.Topic, p.Partition, p.Epoch}
		next := s.next[k]
		for ; row < b.Rows && int(b.Record[row]) < p.To; row++ {
			rec := b.Record[row]
			if b.Fate[row] != batch.Keep || b.Offset[rec] < next {
				continue
			}
			at := b.Timestamp[rec]
			for _, v := range s.views {
				v.add(b, row, at)
			}
		}
		if p.To > p.From {
			s.next[k] = max(next, b.Offset[p.To-1]+1)
		}
	}
}

// Table is a view at a moment.
type Table struct {
	Name    string        `json:"name"`
	Window  time.Duration `json:"-"`
	Seconds float64       `json:"window_seconds"`
	Columns []string      `json:"columns"`
	// Keys is how many of the columns are the group's.
	Keys int `json:"group_columns"`
	// Rows are the groups, those with the most rows first. A value is a string, bool, int64 or float64, nil (null), or for top a list of
	// TopValue.
	Rows [][]any `json:"rows"`
}

// TopValue is a frequent value.
type TopValue struct {
	Value any   `json:"value"`
	Count int64 `json:"count"`
	// Over is by how much Count may be too great, where there were too many values to count each; 0: it is exact.
	Over int64 `json:"over,omitempty"`
}

// Read returns all views as they are at a moment.
func (s *Set) Read(now time.Time) []Table {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Table, 0, len(s.views))
	for _, v := range s.views {
		out = append(out, v.read(now.UnixMilli()))
	}
	return out
}

// View is one of them. Its window is a ring of slots, each with a cell for each group that has rows in that time; a group's number is free
// again when no slot knows it.
type View struct {
	cfg      *configs.View
	width    int64 // of a slot, milliseconds
	by       []input
	measures []measure
	slots    [parts + 1]slot
	groups   map[string]int32 // number by encoded key
	keys     [][]any          // by number; nil: free
	now      int64
	key      []byte
}

type slot struct {
	at    int64 // number of the slot in time; its rows are of [at*width, (at+1)*width)
	cells []*cell
}

// cell is what the rows of a group in a slot add up to: one state for each measure.
type cell struct {
	rows   int64
	states []state
}

// otherGroup is the number of the group of all that are beyond the limit.
const otherGroup = 0

func (v *View) bind(row *batch.Type) error {
	v.by = v.by[:0]
	for _, name := range v.cfg.GroupBy {
		in, err := find(row, name)
		if err != nil {
			return err
		}
		if !in.plain() {
			return fmt.Errorf("%s is a %s: a view can be grouped by a string, int, long or boolean", name, in.kind)
		}
		v.by = append(v.by, in)
	}
	for i := range v.measures {
		if err := v.measures[i].bind(row); err != nil {
			return err
		}
	}
	return nil
}

// begin prepares for the rows of a batch.
func (v *View) begin(b *batch.Batch, now int64) {
	v.now = now
	for i := range v.by {
		v.by[i].of(b)
	}
	for i := range v.measures {
		v.measures[i].in.of(b)
	}
}

// oldest is the first slot of the window that ends now: the present slot is not full, so one more than parts count.
func (v *View) oldest(now int64) int64 { return now/v.width - parts }

func (v *View) add(b *batch.Batch, row int, at int64) {
	if at < 0 || at > v.now {
		at = v.now
	}
	n := at / v.width
	if n < v.oldest(v.now) {
		return // it has left the window already
	}
	s := &v.slots[n%int64(len(v.slots))]
	if s.at != n {
		if s.at > n {
			return
		}
		s.at = n
		clear(s.cells)
	}
	g := v.group(b, row)
	for len(s.cells) <= int(g) {
		s.cells = append(s.cells, nil)
	}
	c := s.cells[g]
	if c == nil {
		c = &cell{states: make([]state, len(v.measures))}
		s.cells[g] = c
	}
	c.rows++
	for i := range v.measures {
		v.measures[i].add(&c.states[i], b, row)
	}
}

// group numbers the group of a row.
func (v *View) group(b *batch.Batch, row int) int32 {
	v.key = v.key[:0]
	for i := range v.by {
		v.key = v.by[i].appendKey(v.key, b, row)
	}
	if g, ok := v.groups[string(v.key)]; ok {
		return g
	}
	if len(v.keys) == 0 {
		v.keys = append(v.keys, nil) // the other ones
	}
	if len(v.groups) >= v.cfg.Groups {
		v.forget()
		if len(v.groups) >= v.cfg.Groups {
			return otherGroup
		}
	}
	values := make([]any, len(v.by))
	for i := range v.by {
		values[i] = v.by[i].value(b, row)
	}
	g := slices.IndexFunc(v.keys[1:], func(k []any) bool { return k == nil }) + 1
	if g == 0 {
		g = len(v.keys)
		v.keys = append(v.keys, nil)
	}
	v.keys[g] = values
	v.groups[string(v.key)] = int32(g)
	return int32(g)
}

// forget frees the numbers of groups without rows in the window.
func (v *View) forget() {
	live := make([]bool, len(v.keys))
	for i := range v.slots {
		s := &v.slots[i]
		if s.at < v.oldest(v.now) {
			clear(s.cells)
		}
		for g, c := range s.cells {
			live[g] = live[g] || c != nil
		}
	}
	for key, g := range v.groups {
		if !live[g] {
			delete(v.groups, key)
			v.keys[g] = nil
		}
	}
}

func (v *View) read(now int64) Table {
	t := Table{Name: v.cfg.Name, Window: time.Duration(v.cfg.Window), Seconds: time.Duration(v.cfg.Window).Seconds(), Keys: len(v.cfg.GroupBy), Rows: [][]any{}}
	t.Columns = slices.Clone(v.cfg.GroupBy)
	for _, m := range v.cfg.Measures {
		t.Columns = append(t.Columns, m.Name)
	}
	merged := make([]*cell, len(v.keys))
	for i := range v.slots {
		s := &v.slots[i]
		if s.at < v.oldest(now) {
			continue
		}
		for g, c := range s.cells {
			if c == nil {
				continue
			}
			if merged[g] == nil {
				merged[g] = &cell{states: make([]state, len(v.measures))}
			}
			merged[g].rows += c.rows
			for j := range v.measures {
				v.measures[j].merge(&merged[g].states[j], &c.states[j])
			}
		}
	}
	type line struct {
		rows   int64
		values []any
	}
	var lines []line
	for g, c := range merged {
		if c == nil {
			continue
		}
		values := slices.Clone(v.keys[g])
		for len(values) < len(v.by) { // the other ones
			values = append(values, Other)
		}
		for j := range v.measures {
			values = append(values, v.measures[j].result(&c.states[j]))
		}
		lines = append(lines, line{c.rows, values})
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(b.rows, a.rows), strings.Compare(fmt.Sprint(a.values[:t.Keys]...), fmt.Sprint(b.values[:t.Keys]...)))
	})
	for _, l := range lines {
		t.Rows = append(t.Rows, l.values)
	}
	return t
}

// input is a column that a view reads.
type input struct {
	path  []int
	kind  *batch.Type
	cols  []*batch.Column // of the present batch, from the outermost struct to the column
	scale float64         // of a decimal
}

func find(row *batch.Type, name string) (in input, err error) {
	t := row
	for _, part := range strings.Split(name, ".") {
		i := -1
		if t.Kind == batch.Struct {
			i = t.Index(part)
		}
		if i < 0 {
			return in, fmt.Errorf("there is no column %s", name)
		}
		in.path = append(in.path, i)
		t = t.Fields[i].Type
	}
	in.kind, in.scale = t, 1
	for range t.Scale {
		in.scale *= 10
	}
	return in, nil
}

// plain: it can be a group's key, or be counted by its values.
func (in *input) plain() bool {
	switch in.kind.Kind {
	case batch.String, batch.Boolean, batch.Int, batch.Long:
		return true
	}
	return false
}

func (in *input) of(b *batch.Batch) {
	in.cols = in.cols[:0]
	c := b.Root
	for _, i := range in.path {
		c = c.Children[i]
		in.cols = append(in.cols, c)
	}
}

func (in *input) null(row int) bool {
	for _, c := range in.cols {
		if c.Valid != nil && !c.Valid[row] {
			return true
		}
	}
	return false
}

// appendKey appends what tells the value from others.
func (in *input) appendKey(key []byte, b *batch.Batch, row int) []byte {
	if in.null(row) {
		return append(key, 0)
	}
	c := in.cols[len(in.cols)-1]
	switch in.kind.Kind {
	case batch.Boolean:
		return strconv.AppendBool(append(key, 1), c.Bools[row])
	case batch.Int:
		return binary.BigEndian.AppendUint64(append(key, 1), uint64(c.Int32[row]))
	case batch.Long:
		return binary.BigEndian.AppendUint64(append(key, 1), uint64(c.Int64[row]))
	}
	text := b.Bytes(c.Views[row])
	return append(binary.BigEndian.AppendUint32(append(key, 1), uint32(len(text))), text...)
}

func (in *input) value(b *batch.Batch, row int) any {
	if in.null(row) {
		return nil
	}
	c := in.cols[len(in.cols)-1]
	switch in.kind.Kind {
	case batch.Boolean:
		return c.Bools[row]
	case batch.Int:
		return int64(c.Int32[row])
	case batch.Long:
		return c.Int64[row]
	}
	return string(b.Bytes(c.Views[row]))
}

// number is a value as a number; the column has one.
func (in *input) number(row int) float64 {
	c := in.cols[len(in.cols)-1]
	switch in.kind.Store() {
	case batch.StoreInt32:
		return float64(c.Int32[row])
	case batch.StoreInt64:
		return float64(c.Int64[row]) / in.scale
	case batch.StoreFloat32:
		return float64(c.Float32[row])
	}
	return c.Float64[row]
}
