package routes

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/table"
)

const columnTimestamp = "_kafka_timestamp"

// Row is a row to be sent.
type Row struct {
	table.Key
	Offset int64
	Epoch  int32
	// Timestamp is Kafka's, Unix milliseconds; -1: none.
	Timestamp int64
	// Body is the columns, as the receiver wants them.
	Body []byte
	// MessageKey is that of a topic's message; nil: none.
	MessageKey []byte
	// Same is what rows that are repetitions of one another have in common; empty: they are not looked for.
	Same string
	// Time is the column that an index goes by, Unix microseconds, if it has a value.
	Time    int64
	HasTime bool
}

// ID names the row for good: topic, partition and offset, and the epoch where offsets began anew.
func (r *Row) ID() string {
	id := make([]byte, 0, len(r.Topic)+32)
	id = strconv.AppendInt(append(append(id, r.Topic...), '-'), int64(r.Partition), 10)
	id = strconv.AppendInt(append(id, '-'), r.Offset, 10)
	if r.Epoch > 0 {
		id = strconv.AppendInt(append(id, '-'), int64(r.Epoch), 10)
	}
	return string(id)
}

// size is about what the row takes in memory.
func (r *Row) size() int64 {
	return int64(len(r.Body)+len(r.MessageKey)+len(r.Same)) + int64(unsafe.Sizeof(*r))
}

// order brings rows into an order in which those of each partition are in theirs. They mostly come so, but interleaved with others.
func order(rows []Row) []Row {
	type place struct {
		table.Key
		epoch int32
	}
	var places []place
	byPlace := map[place][]int32{}
	last, list := place{}, []int32(nil)
	keep := func() {
		if list != nil {
			byPlace[last] = list
		}
	}
	for i := range rows {
		if p := (place{rows[i].Key, rows[i].Epoch}); list == nil || p != last {
			keep()
			if last, list = p, byPlace[p]; list == nil {
				places = append(places, p)
			}
		}
		list = append(list, int32(i))
	}
	keep()
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.epoch, b.epoch))
	})
	out := make([]Row, 0, len(rows))
	for _, p := range places {
		list := byPlace[p]
		byOffset := func(a, b int32) int { return cmp.Compare(rows[a].Offset, rows[b].Offset) }
		if !slices.IsSortedFunc(list, byOffset) {
			slices.SortFunc(list, byOffset)
		}
		for _, i := range list {
			out = append(out, rows[i])
		}
	}
	return out
}

// encoding writes the columns of rows for a receiver.
type encoding interface {
	// encode appends a row of a batch.
	encode(out []byte, b *batch.Batch, i int) ([]byte, error)
}

// newEncoding makes an encoding for columns of a row type; it may ask a registry.
type newEncoding func(row *batch.Type, columns []int) (encoding, error)

type jsonEncoding struct{ columns []int }

func newJSONEncoding(_ *batch.Type, columns []int) (encoding, error) {
	return jsonEncoding{columns}, nil
}

func (e jsonEncoding) encode(out []byte, b *batch.Batch, i int) ([]byte, error) {
	return appendObject(out, b, e.columns, i), nil
}

// selection takes the rows of batches that a route's condition is true for. It is for one goroutine.
type selection struct {
	o    *configs.Outlet
	make newEncoding

	row   *batch.Type // that the rest was made for
	cond  *cleanse.Condition
	enc   encoding
	key   []int
	same  []int
	time  int
	stamp int
	// mem has the end of the memory that rows' bodies and keys are in, many together.
	mem []byte
	// Failed counts rows that the condition failed for, and says how the last one did.
	failed int64
	why    string
}

// bound is a route's columns in a row type.
type bound struct {
	columns, key, same []int
	time               int
	cond               *cleanse.Condition
}

// bind finds a route's columns, or says which of them there is not.
func bind(o *configs.Outlet, row *batch.Type) (*bound, error) {
	b := &bound{time: -1}
	var err error
	find := func(setting string, wanted []string) (at []int) {
		for _, n := range wanted {
			i := row.Index(n)
			if i < 0 && err == nil {
				err = &Misfit{Setting: setting, Message: fmt.Sprintf("there is no column %q", n), Hint: "columns are: " + names(row)}
			}
			at = append(at, i)
		}
		return at
	}
	flat := func(setting string, at []int) {
		for _, i := range at {
			if err == nil && row.Fields[i].Type.Nested() {
				err = &Misfit{Setting: setting, Message: fmt.Sprintf("column %s is a %s", row.Fields[i].Name, row.Fields[i].Type), Hint: "name columns with plain values"}
			}
		}
	}
	if len(o.Columns) > 0 {
		b.columns = find("columns", o.Columns)
	} else {
		for i, f := range row.Fields {
			if !strings.HasPrefix(f.Name, "_kafka_") {
				b.columns = append(b.columns, i)
			}
		}
	}
	if o.Topic != nil {
		b.key = find("topic.key", o.Topic.Key)
		flat("topic.key", b.key)
	}
	if o.Webhook != nil {
		b.same = find("webhook.dedupe_by", o.Webhook.DedupeBy)
		flat("webhook.dedupe_by", b.same)
	}
	if o.Search != nil && strings.Contains(o.Search.Index, "%") {
		at := find("search.time", []string{o.Search.Time})
		if b.time = at[0]; err == nil && !slices.Contains([]batch.Kind{batch.Date, batch.Timestamp, batch.TimestampTZ}, row.Fields[b.time].Type.Kind) {
			err = &Misfit{Setting: "search.time", Message: fmt.Sprintf("column %s is a %s", o.Search.Time, row.Fields[b.time].Type), Hint: "name a timestamptz, timestamp or date"}
		}
	}
	if err != nil {
		return nil, err
	}
	if o.When != "" {
		if b.cond, err = cleanse.NewCondition(row, o.When); err != nil {
			return nil, &Misfit{Setting: "when", Message: err.Error()}
		}
	}
	return b, nil
}

func names(row *batch.Type) string {
	var all []string
	for _, f := range row.Fields {
		all = append(all, f.Name)
	}
	return strings.Join(all, ", ")
}

// Misfit is a setting of a route that does not fit the columns.
type Misfit struct{ Setting, Message, Hint string }

func (m *Misfit) Error() string {
	s := m.Setting + ": " + m.Message
	if m.Hint != "" {
		s += " (" + m.Hint + ")"
	}
	return s
}

// Check checks a route against the columns of a table. explained is nil for a route without a condition.
func Check(o *configs.Outlet, row *batch.Type) (explained *cleanse.Explained, err error) {
	b, err := bind(o, row)
	if err != nil || b.cond == nil {
		return nil, err
	}
	x := b.cond.Explain()
	return &x, nil
}

// Sample counts the rows that a route is for.
type Sample struct {
	sel  selection
	Rows int64
	Err  error // the first one
}

// NewSample makes one that has counted none.
func NewSample(o *configs.Outlet) *Sample {
	return &Sample{sel: selection{o: o, make: func(*batch.Type, []int) (encoding, error) { return jsonEncoding{}, nil }}}
}

// Take counts the rows of a batch.
func (s *Sample) Take(b *batch.Batch) {
	rows, err := s.sel.take(b, nil)
	s.Rows += int64(len(rows))
	if s.Err == nil {
		s.Err = err
	}
}

// Explained says how the condition runs; nil: there is none, or there were no rows.
func (s *Sample) Explained() *cleanse.Explained {
	if s.sel.cond == nil {
		return nil
	}
	x := s.sel.cond.Explain()
	return &x
}

// columns are the names of those of a table that the route reads.
func columns(o *configs.Outlet, row *batch.Type) ([]string, error) {
	b, err := bind(o, row)
	if err != nil {
		return nil, err
	}
	read := []string{columnTimestamp}
	for _, list := range [][]int{b.columns, b.key, b.same} {
		for _, i := range list {
			read = append(read, row.Fields[i].Name)
		}
	}
	if b.time >= 0 {
		read = append(read, row.Fields[b.time].Name)
	}
	if b.cond != nil {
		read = append(read, b.cond.Columns()...)
	}
	return read, nil
}

func (s *selection) prepare(row *batch.Type) error {
	if s.row != nil && s.row.Equal(row) {
		return nil
	}
	b, err := bind(s.o, row)
	if err != nil {
		return err
	}
	if s.enc, err = s.make(row, b.columns); err != nil {
		return err
	}
	s.row, s.cond, s.key, s.same, s.time, s.stamp = row, b.cond, b.key, b.same, b.time, row.Index(columnTimestamp)
	return nil
}

// take appends the rows of a batch that the condition is true for. The batch is left as it was.
func (s *selection) take(b *batch.Batch, rows []Row) ([]Row, error) {
	if err := s.prepare(b.Root.Type); err != nil {
		return rows, err
	}
	fate := b.Fate
	if s.cond != nil {
		mine := *b // the batch is somebody else's
		mine.Fate, mine.Rejects, mine.FilteredBy = slices.Clone(fate), nil, nil
		if err := s.cond.Apply(&mine); err != nil {
			return rows, err
		}
		fate = mine.Fate
		s.failed += int64(len(mine.Rejects))
		for _, r := range mine.Rejects {
			s.why = r.Reason
		}
	}
	k := follow.KeysOf(b)
	for i := range b.Rows {
		if fate[i] != batch.Keep {
			continue
		}
		r := Row{Key: k.Key(i), Offset: k.Offset(i), Epoch: k.Epoch(i), Timestamp: -1}
		if s.stamp >= 0 {
			if c := b.Root.Children[s.stamp]; !c.IsNull(i) {
				r.Timestamp = c.Int64[i] / 1000
			}
		}
		var err error
		if r.Body, err = s.written(func(out []byte) ([]byte, error) { return s.enc.encode(out, b, i) }); err != nil {
			return rows, fmt.Errorf("%s offset %d: %w", r.Key, r.Offset, err)
		}
		if len(s.key) > 0 {
			r.MessageKey = keyOf(b, s.key, i)
		}
		if len(s.same) > 0 {
			r.Same = string(appendObject(nil, b, s.same, i))
		}
		if s.time >= 0 {
			r.Time, r.HasTime = micros(b.Root.Children[s.time], i)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// memoryAtOnce is how much memory bodies share.
const memoryAtOnce = 256 << 10

// written gives what f appends.
func (s *selection) written(f func(out []byte) ([]byte, error)) ([]byte, error) {
	if cap(s.mem)-len(s.mem) < 1<<10 {
		s.mem = make([]byte, 0, memoryAtOnce)
	}
	at := len(s.mem)
	out, err := f(s.mem)
	if err != nil {
		return nil, err
	}
	s.mem = out
	return out[at:len(out):len(out)], nil
}

// reuse empties a list of rows, which nobody needs any more.
func (s *selection) reuse(rows []Row) []Row {
	clear(rows) // so that what they refer to is free
	return rows[:0]
}

// keyOf is the key of a message: one column as plain text, several as a JSON object. One that is null gives none.
func keyOf(b *batch.Batch, key []int, i int) []byte {
	if len(key) > 1 {
		return appendObject(nil, b, key, i)
	}
	c := b.Root.Children[key[0]]
	if c.IsNull(i) {
		return nil
	}
	return appendText([]byte{}, b, c, i)
}

func micros(c *batch.Column, i int) (int64, bool) {
	if c.IsNull(i) {
		return 0, false
	}
	if c.Type.Kind == batch.Date {
		return int64(c.Int32[i]) * 86_400_000_000, true
	}
	return c.Int64[i], true
}
