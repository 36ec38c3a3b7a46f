package cleanse

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// Dedup is the memory of a deduplicate step: key -> (topic partition, offset) of the row that was kept for it.
//
// A row is a duplicate if its key is remembered for another offset and the Kafka timestamps of the two are at most
// the window apart (a record without timestamp is near to all). Then it is filtered and nothing changes; else the
// row is remembered for the key. So re-reading a record never makes it a duplicate of itself, and what is remembered
// is what a table holds: that is how it is rebuilt. A row with a null in its key is never a duplicate.
//
// Bounds: an entry is forgotten once it is older, by the window, than the newest record of every partition seen (the
// slowest partition counts, so that one which catches up still finds its keys), and, oldest first, when there are
// more than max_entries. An entry takes some 70 bytes.
//
// Keys are not kept but hashed to 128 bits, with seeds that are drawn at random for each process, so that nobody can
// choose records that collide. The odds that any two of a million keys collide, so that one record too many is
// dropped, are 2^-89.
//
// Protocol. The pipeline calls Mark when all rows seen so far are committed, and Drop when a round was dropped: what
// was remembered since the last Mark is undone (not what had to be forgotten for it, by the bounds). Forget belongs to a partition that was revoked, Seed to one that was
// assigned, row by row from the lake, followed by Mark. A Dedup belongs to its Program's goroutine.
type Dedup struct {
	step    string
	index   int
	paths   []*path
	nodes   []*node
	version []int
	columns []string // of the keys in Program.Row

	window  int64 // milliseconds
	entries ring
	parts   map[topicPartition]*partitionTime
	marked  uint64 // entries before it are committed
	seeds   [2]maphash.Seed
	key     []byte
	scratch []colScratch
	// all, if it is not nil, stands for entries: see Exact.
	all  map[keyHash][]entry
	near func(ms int64) bool
}

type topicPartition struct {
	topic     string
	partition int32
}

// partitionTime is the greatest timestamp seen in a partition, and that of the last mark.
type partitionTime struct {
	id             int32 // in entries
	newest, atMark int64
}

type keyHash [2]uint64

func (c *compiler) deduplicate(s *configs.DeduplicateStep) {
	d := &Dedup{step: c.name, index: c.index, window: time.Duration(s.Window).Milliseconds()}
	if s.Window == 0 {
		d.window = (10 * time.Minute).Milliseconds()
	}
	maxEntries := s.MaxEntries
	if maxEntries == 0 {
		maxEntries = 1_000_000
	}
	if d.window < 0 {
		c.problem("window", "", "the window must not be negative")
	}
	if maxEntries < 0 || maxEntries > 1<<30 {
		c.problem("max_entries", "", "%d is not between 1 and %d", maxEntries, 1<<30)
	}
	if len(s.Key) == 0 {
		c.problem("key", "", "no key columns are named")
	}
	for i, text := range s.Key {
		field := "key[" + itoa(i) + "]"
		p := c.resolve(field, text)
		switch {
		case p == nil:
			continue
		case len(p.hops) > 1:
			c.problem(field, "derive a column from it first", "%s is no top-level column", text)
			continue
		case p.typ.Nested():
			c.problem(field, "derive a column from it first", "column %s is a %s", text, p.typ.Kind)
			continue
		}
		d.paths, d.nodes, d.version = append(d.paths, p), append(d.nodes, p.leaf), append(d.version, p.leaf.version)
	}
	d.scratch = make([]colScratch, len(d.paths))
	d.entries.limit = maxEntries
	d.seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	d.parts = map[topicPartition]*partitionTime{}
	c.prog.dedups = append(c.prog.dedups, d)
	c.add(d)
}

// checkDedups refuses keys that the table does not hold as they were: the state could not be rebuilt from it.
func (c *compiler) checkDedups() {
	for _, d := range c.prog.dedups {
		for i, n := range d.nodes {
			at := slices.Index(c.root.kids, n)
			if at >= 0 && n.version == d.version[i] {
				d.columns = append(d.columns, n.name)
				continue
			}
			c.index, c.kind = d.index, "deduplicate"
			c.problem("key["+itoa(i)+"]", "put the deduplicate step behind it, or use another key",
				"a later step changes or drops column %s, but the keys are looked up in the table after a restart", d.paths[i].text)
		}
	}
}

// Exact makes an empty memory hold every row whose timestamp near says yes to, without bounds, and forget none of them: for
// records that come in no order of time.
func (d *Dedup) Exact(near func(ms int64) bool) { d.all, d.near = map[keyHash][]entry{}, near }

// exactly is seen for an exact memory.
func (d *Dedup) exactly(e entry) bool {
	for _, old := range d.all[e.key] {
		if old.part == e.part && old.offset == e.offset {
			return false
		}
		if e.ts < 0 || old.ts < 0 || max(e.ts-old.ts, old.ts-e.ts) <= d.window {
			return true
		}
	}
	d.all[e.key] = append(d.all[e.key], e)
	return false
}

// Step is the name of the step.
func (d *Dedup) Step() string { return d.step }

// Columns are the columns of the row type after all steps that hold the key, in the key's order.
func (d *Dedup) Columns() []string { return d.columns }

// Window is how far back in Kafka time a partition's rows must be seeded.
func (d *Dedup) Window() time.Duration { return time.Duration(d.window) * time.Millisecond }

// Len is the number of keys remembered.
func (d *Dedup) Len() int { return d.entries.index.n }

func (d *Dedup) apply(r *run) error {
	cols := make([]column, len(d.paths))
	for k, p := range d.paths {
		cols[k] = r.column(p, &d.scratch[k])
	}
	b := r.b
	var last topicPartition
	var part *partitionTime
	for row := range b.Rows {
		if b.Fate[row] != batch.Keep {
			continue
		}
		rec := b.Record[row]
		tp := topicPartition{b.Topics[b.Topic[rec]], b.Partition[rec]}
		if part == nil || tp != last {
			part, last = d.partition(tp), tp
		}
		ts := b.Timestamp[rec]
		part.newest = max(part.newest, ts)
		key, ok := d.rowKey(cols, row)
		if ok && d.seen(key, part.id, b.Offset[rec], ts) {
			b.Filter(row, r.step)
		}
	}
	d.expire()
	return nil
}

func (d *Dedup) partition(tp topicPartition) *partitionTime {
	p := d.parts[tp]
	if p == nil {
		id := int32(0)
		for _, o := range d.parts {
			id = max(id, o.id+1)
		}
		p = &partitionTime{id: id, newest: -1, atMark: -1}
		d.parts[tp] = p
	}
	return p
}

func (d *Dedup) rowKey(cols []column, row int) (keyHash, bool) {
	d.key = d.key[:0]
	for k := range cols {
		c := &cols[k]
		if c.IsNull(row) {
			return keyHash{}, false
		}
		s := getScalar(c.p.typ, c.Column, row, c.r.b.Mem)
		d.key = appendKey(d.key, c.p.typ, &s)
	}
	return d.hash(), true
}

func (d *Dedup) hash() keyHash {
	return keyHash{maphash.Bytes(d.seeds[0], d.key), maphash.Bytes(d.seeds[1], d.key)}
}

// appendKey writes a value so that different keys never give the same bytes.
func appendKey(b []byte, t *batch.Type, s *scalar) []byte {
	switch t.Kind {
	case batch.Float, batch.Double:
		f := s.f + 0 // minus zero is zero
		if math.IsNaN(f) {
			f = math.NaN()
		}
		return binary.BigEndian.AppendUint64(b, math.Float64bits(f))
	case batch.Decimal:
		return s.d.appendBE(b)
	}
	if t.Store() != batch.StoreView {
		return binary.BigEndian.AppendUint64(b, uint64(s.i))
	}
	b = binary.AppendUvarint(b, uint64(len(s.b)))
	return append(b, s.b...)
}

// seen reports whether the key is remembered for another offset in the window, and else remembers this one.
func (d *Dedup) seen(key keyHash, part int32, offset, ts int64) bool {
	e := entry{key: key, part: part, offset: offset, ts: ts}
	if d.all != nil {
		return d.exactly(e)
	}
	old := d.entries.find(key)
	if old != nil {
		if old.part == part && old.offset == offset {
			return false
		}
		if ts < 0 || old.ts < 0 || max(ts-old.ts, old.ts-ts) <= d.window {
			return true
		}
	}
	d.entries.push(e)
	return false
}

// expire forgets the oldest entries while they are too old for every partition.
func (d *Dedup) expire() {
	slowest := int64(math.MaxInt64)
	for _, p := range d.parts {
		slowest = min(slowest, p.newest)
	}
	if slowest == math.MaxInt64 || slowest < 0 {
		return
	}
	d.entries.popWhile(func(e *entry) bool { return e.part < 0 || e.ts >= 0 && e.ts < slowest-d.window })
}

// Seed remembers a row of the table. The key's values are in the order of Columns: nil, bool, int32, int64, float32,
// float64, string or []byte, as batch.Column stores the column's type (decimals: the unscaled int64, or 16 bytes). The
// table may have a wider type than the step: an int64 is taken for an int, a float64 for a float.
// timestamp is Kafka's, in milliseconds. Rows may come in any order; the newest of a key is kept.
func (d *Dedup) Seed(key []any, topic string, partition int32, offset, timestamp int64) error {
	if len(key) != len(d.paths) {
		return fmt.Errorf("%s: a key has %d values, not %d", d.step, len(d.paths), len(key))
	}
	d.key = d.key[:0]
	for i, v := range key {
		if v == nil {
			return nil
		}
		t := d.paths[i].typ
		s, ok := keyScalar(t, v)
		if !ok {
			return fmt.Errorf("%s: key column %s is a %s, a %T cannot be its value", d.step, d.paths[i].text, t, v)
		}
		d.key = appendKey(d.key, t, &s)
	}
	p := d.partition(topicPartition{topic, partition})
	p.newest = max(p.newest, timestamp)
	e := entry{key: d.hash(), part: p.id, offset: offset, ts: timestamp}
	if d.all != nil {
		if timestamp < 0 || d.near(timestamp) {
			d.all[e.key] = append(d.all[e.key], e)
		}
		return nil
	}
	if old := d.entries.find(e.key); old != nil && old.ts > timestamp {
		return nil
	}
	d.entries.push(e)
	return nil
}

func keyScalar(t *batch.Type, v any) (s scalar, ok bool) {
	store := t.Store()
	whole := store == batch.StoreInt32 || store == batch.StoreInt64 || t.Kind == batch.Decimal
	switch v := v.(type) {
	case bool:
		if v {
			s.i = 1
		}
		return s, store == batch.StoreBool
	case int32:
		s.i, s.d = int64(v), from64(int64(v))
		return s, whole
	case int64:
		s.i, s.d = v, from64(v)
		return s, whole
	case float32:
		s.f = float64(v)
		return s, store == batch.StoreFloat32 || store == batch.StoreFloat64
	case float64:
		s.f = v
		return s, store == batch.StoreFloat32 || store == batch.StoreFloat64
	case string:
		s.b = []byte(v)
		return s, t.Kind == batch.String
	case []byte:
		s.b = v
		if t.Kind == batch.Decimal {
			if len(v) != 16 {
				return s, false
			}
			s.d = be16(v)
			return s, true
		}
		return s, store == batch.StoreView
	}
	return s, false
}

// Mark says that everything seen so far is committed.
func (d *Dedup) Mark() {
	d.marked = d.entries.tail
	for _, p := range d.parts {
		p.atMark = p.newest
	}
}

// Drop forgets everything seen since the last Mark: the round was dropped and its records will come again.
func (d *Dedup) Drop() {
	d.entries.popBack(d.marked)
	for _, p := range d.parts {
		p.newest = p.atMark
	}
}

// Forget forgets a partition: it was revoked, and its state is rebuilt by whoever owns it next.
func (d *Dedup) Forget(topic string, partition int32) {
	tp := topicPartition{topic, partition}
	if p := d.parts[tp]; p != nil {
		d.entries.remove(p.id)
		delete(d.parts, tp)
	}
}
