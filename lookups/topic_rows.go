package lookups

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/source"
)

// take brings records into the table.
func (t *topic) take(ctx context.Context, recs *batch.Records) error {
	if err := t.prepare(ctx, recs); err != nil {
		return err
	}
	root := t.b.Root
	defer func() { t.b.Root = root }()
	ids, err := t.identities(recs)
	if err != nil {
		return err
	}
	t.b.Reset(recs)
	if err := t.decoder.Decode(recs, t.b); err != nil {
		return err
	}
	if err := t.rows(); err != nil {
		return err
	}
	if err := t.t.Room(int64(len(recs.Mem))); err != nil {
		return err // nothing has changed: it is tried again
	}
	next := maps.Clone(t.next)
	for _, s := range recs.Spans {
		next[source.Partition{Topic: s.Topic, Partition: s.Partition}] = s.Next
	}
	t.next = next
	t.skipped = 0
	if !t.ready {
		err = errors.Join(t.apply(t.t, recs, ids), t.t.Err())
	} else {
		err = t.Change(t.offsets(), func(table *enrich.Table) error { return t.apply(table, recs, ids) })
	}
	if err != nil { // the table may have half of the batch
		err = fmt.Errorf("%w: %w", errBroken, err)
	}
	if t.skipped > 0 {
		t.log.Warn("records of a lookup are skipped", "records", t.skipped, "last", t.why)
		t.Skip(t.skipped, t.why)
	}
	return err
}

// what a record does to its row.
const (
	rowPut byte = iota
	rowGone
	allGone
	noChange
	rowBroken
)

// rows brings the decoded batch through the steps, and finds out what each row of it does.
func (t *topic) rows() error {
	t.does = t.does[:0]
	if t.unwrap == nil {
		for range t.b.Rows {
			t.does = append(t.does, rowPut)
		}
	} else if err := t.unwrapped(); err != nil {
		return err
	}
	if err := t.fill.program.Apply(t.b); err != nil {
		return err
	}
	for i, fate := range t.b.Fate {
		switch {
		case t.does[i] != rowPut:
		case fate == batch.Filtered:
			t.does[i] = rowGone
		case fate == batch.Dead:
			t.does[i] = rowBroken
		}
	}
	t.fill.take(t.b)
	return nil
}

// unwrapped takes the rows out of changes.
func (t *topic) unwrapped() error {
	if err := t.unwrap.Apply(t.b); err != nil {
		return err
	}
	ops := t.b.Root.Children[t.op]
	for i, fate := range t.b.Fate {
		does := rowPut
		switch {
		case fate == batch.Dead:
			does = rowBroken
		case fate == batch.Filtered: // it changes no row
			does = noChange
		case t.b.Mem[ops.Views[i].Off] == changes.Delete:
			does = rowGone
		case t.b.Mem[ops.Views[i].Off] == changes.Truncate:
			does = allGone
		}
		t.does = append(t.does, does)
	}
	return nil
}

// apply makes of the records what they say: in their order, as one key may be there several times.
func (t *topic) apply(table *enrich.Table, recs *batch.Records, ids []int32) error {
	row := 0
	for i := range recs.Len() {
		here := -1
		if row < t.b.Rows && int(t.b.Record[row]) == i {
			here = row
			row++
		}
		does := rowBroken
		if here >= 0 {
			does = t.does[here]
		} else if recs.Value[i].IsNull() {
			does = rowGone
		}
		switch {
		case does == noChange:
		case does == allGone && t.Config().Versions != nil:
			at, said := t.endsAt(here)
			if !said {
				at = t.recordTime(recs, i)
			}
			if err := table.EndAll(at); err != nil {
				return err
			}
		case does == allGone:
			table.Clear()
		case does == rowBroken:
			t.skip(recs, i, t.reason(i))
		case ids[i] == noIdentity:
			t.skip(recs, i, "its key is null or cannot be decoded, so it is not known which row it is")
		default:
			if err := t.change(table, recs, i, here, ids[i], does == rowPut); err != nil {
				return err
			}
		}
	}
	return nil
}

// change puts the row of a record into the table, or takes it away.
func (t *topic) change(table *enrich.Table, recs *batch.Records, i, row int, key int32, put bool) error {
	var id [2]uint64
	if !t.whole {
		id = t.identity(table, recs, i, key)
	}
	switch {
	case put:
		err := table.Put(t.b.Mem, t.fill.kept, row, id)
		if errors.Is(err, enrich.ErrNoKey) {
			t.skip(recs, i, err.Error())
			return nil
		}
		return err
	case t.Config().Versions != nil:
		return t.end(table, recs, i, row, id)
	case t.whole:
		table.DeleteKey(t.kb.Mem, t.keyColumns(), int(key))
	default:
		table.Delete(id)
	}
	return nil
}

// end says from when on a row is no more. A change says it itself where versions go by the time in the database, and so does a row
// that a step filters: it is as of its own time. Else it is the time of the record, behind the version that it ends.
func (t *topic) end(table *enrich.Table, recs *batch.Records, i, row int, id [2]uint64) error {
	if at, said := t.endsAt(row); said {
		return table.End(id, at)
	}
	at := t.recordTime(recs, i)
	last, gone, ok := table.Last(id)
	if ok && gone && at >= last {
		return nil
	}
	if ok {
		at = max(at, last+1)
	}
	return table.End(id, at)
}

// endsAt is when a row of the batch says itself that it ends.
func (t *topic) endsAt(row int) (at int64, said bool) {
	by := t.Config().Versions.By
	if row < 0 || by != changes.ColumnSourceTS && t.b.Fate[row] != batch.Filtered {
		return 0, false
	}
	c := t.fill.kept[t.Row().Index(by)]
	if c.IsNull(row) {
		return 0, false
	}
	return timeOf(c, row), true
}

// recordTime is the time of a record, in the unit of versions.
func (t *topic) recordTime(recs *batch.Records, i int) int64 {
	ms := recs.Timestamp[i]
	if row := t.Row(); row.Fields[row.Index(t.Config().Versions.By)].Type.Kind == batch.Date {
		const day = 24 * 60 * 60 * 1000
		return (ms - (ms%day+day)%day) / day
	}
	return ms * 1000
}

func timeOf(c *batch.Column, row int) int64 {
	if c.Type.Store() == batch.StoreInt32 {
		return int64(c.Int32[row])
	}
	return c.Int64[row]
}

// reason says why a record has no row.
func (t *topic) reason(record int) string {
	for _, r := range t.b.Rejects {
		if int(r.Record) == record {
			return r.Reason
		}
	}
	return "it cannot be decoded"
}

func (t *topic) skip(recs *batch.Records, i int, why string) {
	t.skipped++
	t.why = fmt.Sprintf("%s-%d, offset %d: %s", t.cfg.Name, recs.Partition[i], recs.Offset[i], why)
}

const noIdentity = -1

// identities finds the row of kb that has the key of each record; where keys are not decoded, it is 0.
func (t *topic) identities(recs *batch.Records) ([]int32, error) {
	ids := make([]int32, recs.Len())
	if t.keys == nil {
		for i, k := range recs.Key {
			if k.IsNull() {
				ids[i] = noIdentity
			}
		}
		return ids, nil
	}
	turned := *recs
	turned.Value, turned.Spans = recs.Key, nil
	t.kb.Reset(&turned)
	if err := t.keys.Decode(&turned, t.kb); err != nil {
		return nil, err
	}
	recs.Mem = turned.Mem // the decoder may have appended to the arena
	for i := range ids {
		ids[i] = noIdentity
	}
	for row, record := range t.kb.Record {
		if !recs.Key[record].IsNull() {
			ids[record] = int32(row)
		}
	}
	return ids, nil
}

func (t *topic) keyColumns() []*batch.Column {
	key := make([]*batch.Column, len(t.order))
	for i, at := range t.order {
		key[i] = t.kb.Root.Children[at]
	}
	return key
}

// identity is that of a record: of the values of its key, or else of the key's bytes.
func (t *topic) identity(table *enrich.Table, recs *batch.Records, i int, row int32) [2]uint64 {
	if t.keys == nil {
		return table.Identity(recs.Bytes(recs.Key[i]))
	}
	var b []byte
	for _, c := range t.kb.Root.Children {
		b = appendValue(b, recs, c, int(row))
	}
	return table.Identity(b)
}

// appendValue writes a value so that different rows are different bytes.
func appendValue(b []byte, recs *batch.Records, c *batch.Column, row int) []byte {
	if c.IsNull(row) {
		return append(b, 0)
	}
	b = append(b, 1)
	switch c.Type.Store() {
	case batch.StoreBool:
		if c.Bools[row] {
			return append(b, 1)
		}
		return append(b, 0)
	case batch.StoreInt32:
		return binary.LittleEndian.AppendUint64(b, uint64(int64(c.Int32[row]))) // as a long is: the schema may widen it
	case batch.StoreInt64:
		return binary.LittleEndian.AppendUint64(b, uint64(c.Int64[row]))
	case batch.StoreFloat32:
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(c.Float32[row])))
	case batch.StoreFloat64:
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(c.Float64[row]))
	}
	v := recs.Bytes(c.Views[row])
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
}

// prepare has the schemas of the records at hand, for as long as it takes.
func (t *topic) prepare(ctx context.Context, recs *batch.Records) error {
	turned := *recs
	turned.Value = recs.Key
	for wait := firstRetry; ; wait = min(2*wait, 5*time.Second) {
		changed, err := t.decoder.Prepare(ctx, recs)
		if err == nil && t.keys != nil {
			var other bool
			other, err = t.keys.Prepare(ctx, &turned)
			changed = changed || other
		}
		if changed {
			if err := t.columns(t.decoder); err != nil {
				return err
			}
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, schemas.ErrRegistry) && !errors.Is(err, schemas.ErrUnknownID) {
			return err
		}
		t.fails(fmt.Errorf("topic %s: %w", t.cfg.Name, err))
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}
