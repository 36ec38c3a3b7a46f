package window

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lakeloader/lakeloader/batch"
)

// view is where the key, the time and the amount are in a row type.
type view struct {
	row       *batch.Type
	key, time int
	keyKind   batch.Kind
	days      *days
	sum       *bound
	scale     int
	lift      Amount // what amounts are multiplied by to have the decimals that are published
	keep      []bool
	text      []byte
}

// newView finds the columns.
func (o *Options) newView(row *batch.Type) (*view, error) {
	v := &view{row: row, key: row.Index(o.Key), time: row.Index(o.Time)}
	if v.key < 0 {
		return nil, fmt.Errorf("key: there is no column %s; there are %s", o.Key, names(row))
	}
	if v.time < 0 {
		return nil, fmt.Errorf("time: there is no column %s; there are %s", o.Time, names(row))
	}
	v.keyKind = row.Fields[v.key].Type.Kind
	switch v.keyKind {
	case batch.String, batch.Int, batch.Long, batch.UUID:
	default:
		return nil, fmt.Errorf("key: column %s is a %s; a key is a string, an int, a long or a uuid", o.Key, row.Fields[v.key].Type)
	}
	var err error
	if v.days, err = newDays(row.Fields[v.time].Type, o.Zone); err != nil {
		return nil, fmt.Errorf("time: column %s: %w", o.Time, err)
	}
	sum, err := ParseSum(o.Sum, row)
	if err != nil {
		return nil, fmt.Errorf("sum: %w", err)
	}
	if sum.Scale > o.Decimals {
		return nil, fmt.Errorf("sum: %s has %d digits behind the point, and decimals is %d: totals would have to be rounded", o.Sum, sum.Scale, o.Decimals)
	}
	v.sum, v.scale, v.lift = sum.bind(row), o.Decimals, pow10(o.Decimals-sum.Scale)
	return v, nil
}

// Check says what is wrong with the settings over a row type.
func (o *Options) Check(row *batch.Type) error {
	_, err := o.newView(row)
	return err
}

// amounts are those of all rows that count; keep says which.
func (v *view) amounts(b *batch.Batch) ([]Amount, error) {
	v.keep = v.keep[:0]
	for i := range b.Rows {
		v.keep = append(v.keep, b.Fate[i] == batch.Keep && !b.Root.Children[v.key].IsNull(i) && !b.Root.Children[v.time].IsNull(i))
	}
	return v.sum.eval(b.Root, b.Records, v.keep)
}

// keyText is a row's key as it is published, good until the next call for columns that are not text.
func (v *view) keyText(b *batch.Batch, i int) []byte {
	c := b.Root.Children[v.key]
	switch v.keyKind {
	case batch.Int:
		v.text = strconv.AppendInt(v.text[:0], int64(c.Int32[i]), 10)
	case batch.Long:
		v.text = strconv.AppendInt(v.text[:0], c.Int64[i], 10)
	case batch.UUID:
		v.text = appendUUID(v.text[:0], b.Bytes(c.Views[i]))
	default:
		return b.Bytes(c.Views[i])
	}
	return v.text
}

func appendUUID(b, u []byte) []byte {
	for i, x := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, []byte{x})
	}
	return b
}

// Slot is the partition of a key, as Kafka's usual partitioner has it.
func Slot(key []byte, slots int32) int32 { return int32(murmur2(key)&0x7fffffff) % slots }

func murmur2(data []byte) uint32 {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(data))
	n := len(data) &^ 3
	for i := 0; i < n; i += 4 {
		k := uint32(data[i]) | uint32(data[i+1])<<8 | uint32(data[i+2])<<16 | uint32(data[i+3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
	}
	switch len(data) & 3 {
	case 3:
		h ^= uint32(data[n+2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[n+1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[n])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// apply takes the records at hand in, publishes what they change, and then writes the state.
func (o *Owner) apply(ctx context.Context) error {
	if err := o.d.Rows.Prepare(ctx, o.rec); err != nil {
		return err
	}
	b, err := o.d.Rows.Apply(o.rec)
	if err != nil {
		return err
	}
	if row := o.d.Rows.Row(); o.view == nil || o.view.row != row {
		if o.view, err = o.o.newView(row); err != nil {
			return err
		}
	}
	if err := o.count(b); err != nil {
		return err
	}
	if err := o.publish(ctx); err != nil {
		return err
	}
	return o.write()
}

// count adds the rows of a batch to the entries.
func (o *Owner) count(b *batch.Batch) error {
	v := o.view
	amounts, err := v.amounts(b)
	if err != nil {
		return err
	}
	o.cache.next()
	floor := o.o.Length.Floor(o.today)
	part, topic, partition := -1, int32(-1), int32(-1)
	for i, keep := range v.keep {
		if !keep {
			continue
		}
		rec := b.Record[i]
		if b.Topic[rec] != topic || b.Partition[rec] != partition {
			topic, partition = b.Topic[rec], b.Partition[rec]
			part = o.parts[Part{b.Topics[topic], partition}]
		}
		key := v.keyText(b, i)
		s := o.slots[Slot(key, int32(len(o.slots)))]
		if s == nil || b.Offset[rec] < s.next[part] {
			continue
		}
		day := v.days.of(b.Root.Children[v.time], i)
		if day <= floor {
			// Another owner may have counted it, on a day when it was in the window still.
			if !s.live && day > o.o.Length.Floor(s.m.Day) {
				e, err := o.entry(s, key, floor)
				if err != nil {
					return err
				}
				e.dirty = true
			}
			continue
		}
		if err := o.addRow(s, key, day, floor, amounts[i]); err != nil {
			return fmt.Errorf("key %q, %s-%d, offset %d: %w", key, b.Topics[topic], partition, b.Offset[rec], err)
		}
	}
	return nil
}

// addRow adds one that is in the window, or will be.
func (o *Owner) addRow(s *slot, key []byte, day, floor Day, a Amount) error {
	e, err := o.entry(s, key, floor)
	if err != nil {
		return err
	}
	a, ok := a.times(o.view.lift)
	if !ok {
		return errOverflow
	}
	if e.buckets, err = e.buckets.add(day, a); err != nil {
		return err
	}
	e.changed = true
	o.updates++
	if day > o.today {
		return nil
	}
	e.told = true
	if e.total, ok = e.total.plus(a); !ok {
		return errOverflow
	}
	if s.live {
		s.msgs = append(s.msgs, Message{e.key, e.total.appendText(nil, o.o.Decimals)})
	} else {
		e.dirty = true
	}
	return nil
}

// publish sends the messages of all slots.
func (o *Owner) publish(ctx context.Context) error {
	if err := o.d.State.sound(); err != nil {
		return err
	}
	var all sync.WaitGroup
	errs := make([]error, len(o.slots))
	for i, s := range o.slots {
		if s != nil && len(s.msgs) > 0 {
			all.Go(func() { errs[i] = s.out.Publish(ctx, s.msgs) })
		}
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("publishing slot %d: %w", i, err)
		}
	}
	for _, s := range o.slots {
		if s != nil {
			o.published.Add(int64(len(s.msgs)))
			s.msgs = s.msgs[:0]
		}
	}
	return nil
}

// write brings the entries and offsets of a batch into the state.
func (o *Owner) write() error {
	b := o.d.State.db.NewBatch()
	floor := o.o.Length.Floor(o.today)
	var key, value []byte
	// In order of the keys the store finds their places twice as fast.
	slices.SortFunc(o.cache.used, func(a, b *entry) int {
		if a.slot.n != b.slot.n {
			return int(a.slot.n) - int(b.slot.n)
		}
		return bytes.Compare(a.key, b.key)
	})
	for _, e := range o.cache.used {
		if e.changed {
			key = stateKey(key, e.slot.n, kindKey, e.key)
			if e.told { // else the walk must see what has left
				e.buckets = e.buckets.prune(floor)
			}
			value = e.buckets.append(value[:0])
			if err := b.Set(key, value, nil); err != nil {
				return err
			}
			if !e.stored {
				e.stored = true
				e.slot.keys++
				e.slot.grown = true
			}
		}
		if e.dirty && !e.slot.m.Compare {
			if err := b.Set(stateKey(key, e.slot.n, kindDirty, e.key), nil, nil); err != nil {
				return err
			}
		}
	}
	for _, s := range o.slots {
		if s != nil && s.grown && !s.m.Compare {
			if err := setKeys(b, s); err != nil {
				return err
			}
			s.grown = false
		}
	}
	for _, span := range o.rec.Spans {
		p := Part{span.Topic, span.Partition}
		i := o.parts[p]
		for _, s := range o.slots {
			if s != nil && span.Next > s.next[i] {
				s.next[i] = span.Next
				if err := setOffset(b, s.n, p, span.Next, o.ids[span.Topic]); err != nil {
					return err
				}
			}
		}
	}
	return o.d.State.commit(b)
}

// buckets reads those of a key.
func (s *State) buckets(slot int32, key []byte, out buckets) (buckets, error) {
	var room [64]byte
	v, done, err := s.db.Get(stateKey(room[:], slot, kindKey, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out, err = readBuckets(out, v)
	if cerr := done.Close(); err == nil {
		err = cerr
	}
	return out, err
}
