package window

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// chunk is how many keys are published at once, where it is about all of a slot.
const chunk = 10_000

// acquire opens slots, and has a state for each: the one that is there, or one made from the lake.
func (o *Owner) acquire(ctx context.Context, take []int32, want map[int32]int) error {
	h, err := o.d.Lake.History(ctx)
	if err != nil {
		return err
	}
	if o.history.base != nil && !o.same(h) {
		return fmt.Errorf("%w: rows of the table %s were decided otherwise", errChanged, o.d.Lake.Table)
	}
	o.history = h
	ends, err := o.d.Kafka.Inputs(ctx)
	if err != nil {
		return err
	}
	if o.parts == nil {
		o.parts, o.ids = map[Part]int{}, map[string]string{}
	}
	for p, e := range ends {
		o.ids[p.Topic] = e.ID
		if _, ok := o.parts[p]; !ok {
			if len(o.parts) > 0 && o.input != nil {
				return fmt.Errorf("%w: the partition %s-%d is new", errChanged, p.Topic, p.Partition)
			}
			o.parts[p] = len(o.parts)
		}
	}
	made, err := o.openSlots(ctx, take)
	if err != nil {
		return err
	}
	// What was open is closed again where not all come to be owned.
	owned := false
	defer func() {
		for _, s := range made {
			if !owned {
				s.out.Close()
			}
		}
	}()
	var anew []*slot
	for _, s := range made {
		ok, err := o.restore(s, ends)
		if err != nil {
			return err
		}
		if !ok {
			anew = append(anew, s)
		}
	}
	if len(anew) > 0 {
		if err := o.rebuild(ctx, anew, ends); err != nil {
			return err
		}
	}
	// Asked for again: what was committed before the slots were fenced is to be caught up with.
	if ends, err = o.d.Kafka.Inputs(ctx); err != nil {
		return err
	}
	for _, s := range made {
		s.ends = make([]int64, len(o.parts))
		for p, i := range o.parts {
			s.ends[i] = ends[p].High
		}
		if s.dealt = want[s.n]; s.m.Day > o.today {
			o.today = s.m.Day
			o.cache.clear()
		}
		o.slots[s.n] = s
	}
	owned = true
	return nil
}

// openSlots fences whoever had them.
func (o *Owner) openSlots(ctx context.Context, take []int32) (made []*slot, err error) {
	for _, n := range take {
		out, err := o.d.Kafka.Write(ctx, n)
		if err != nil {
			for _, s := range made {
				s.out.Close()
			}
			return nil, fmt.Errorf("opening slot %d: %w", n, err)
		}
		made = append(made, &slot{n: n, out: out})
	}
	return made, nil
}

// definition is a hash of what buckets depend on.
func (o *Owner) definition() string {
	return fmt.Sprintf("2/%s/%s/%s/%s/%d/%s/%s/%d", o.o.Definition, o.o.Key, o.o.Time, o.o.Sum, o.o.Decimals, o.o.Length, o.o.Zone, len(o.slots))
}

// restore takes the state that is there; false: it is of no use.
func (o *Owner) restore(s *slot, ends map[Part]Ends) (bool, error) {
	m, err := o.d.State.mark(s.n)
	if err != nil || m == nil {
		return false, err
	}
	if m.Definition != o.definition() || m.Decided != o.history.Decided || m.UUID != "" && m.UUID != o.history.UUID {
		o.d.Log.Info("the state of a slot is made anew, since its definition or the table's history has changed", "slot", s.n)
		return false, nil
	}
	next, err := o.d.State.positions(s.n)
	if err != nil {
		return false, err
	}
	if s.keys, err = o.d.State.keys(s.n); err != nil || s.keys < 0 && !m.Compare {
		return false, err
	}
	s.m, s.next = *m, make([]int64, len(o.parts))
	for p, i := range o.parts {
		at, ok := next[p]
		if !ok {
			at = position{ends[p].Low, ends[p].ID} // a new partition
		}
		n := at.next
		if !ok && n > 0 || n < ends[p].Low || n > ends[p].High || at.id != ends[p].ID {
			o.d.Log.Warn("the state of a slot is made anew, since Kafka does not have the records that follow on it", "slot", s.n,
				"topic", p.Topic, "partition", p.Partition, "offset", n, "first", ends[p].Low, "end", ends[p].High)
			return false, nil
		}
		s.next[i] = n
	}
	return true, nil
}

// settle makes slots live that have caught up.
func (o *Owner) settle(ctx context.Context) error {
	var due []*slot
	for _, s := range o.slots {
		if s != nil && !s.live && s.caughtUp() {
			due = append(due, s)
		}
	}
	if len(due) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	free := make(chan struct{}, o.workers)
	for _, s := range due {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			if err := o.enliven(ctx, s); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	o.tell(true)
	return context.Cause(ctx)
}

// enliven publishes what of a slot is not published. Slots do not know of each other.
func (o *Owner) enliven(ctx context.Context, s *slot) error {
	err := context.Cause(ctx)
	switch {
	case err != nil: // of another one
		return err
	case s.m.Compare:
		err = o.compare(ctx, s)
	default:
		err = o.publishDirty(ctx, s)
	}
	if err != nil {
		return err
	}
	s.live = true
	o.d.Log.Info("a slot of the window is up to date", "slot", s.n)
	return nil
}

func (s *slot) caughtUp() bool {
	for i, n := range s.next {
		if n < s.ends[i] {
			return false
		}
	}
	return true
}

// flush publishes the messages of a slot, and then writes a batch.
func (o *Owner) flush(ctx context.Context, s *slot, b *pebble.Batch) error {
	if len(s.msgs) > 0 {
		err := o.d.State.sound()
		if err == nil {
			err = s.out.Publish(ctx, s.msgs)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("publishing slot %d: %w", s.n, err), b.Close())
		}
		o.published.Add(int64(len(s.msgs)))
		s.msgs = s.msgs[:0]
	}
	return o.d.State.commit(b)
}

// publishDirty publishes the totals of all keys that are marked.
func (o *Owner) publishDirty(ctx context.Context, s *slot) error {
	floor := o.o.Length.Floor(o.today)
	for more := true; more; {
		more = false
		b := o.d.State.db.NewBatch()
		err := o.d.State.each(s.n, kindDirty, nil, func(key, _ []byte) (bool, error) {
			if len(s.msgs) == chunk {
				more = true
				return false, nil
			}
			bs, err := o.d.State.buckets(s.n, key, nil)
			if err != nil {
				return false, err
			}
			total, err := bs.total(floor, o.today)
			if err != nil {
				return false, err
			}
			s.msgs = append(s.msgs, Message{bytes.Clone(key), total.appendText(nil, o.o.Decimals)})
			return true, b.Delete(stateKey(nil, s.n, kindDirty, key), nil)
		})
		if err != nil {
			return errors.Join(err, b.Close())
		}
		if err := o.flush(ctx, s, b); err != nil {
			return err
		}
	}
	return nil
}

// compare publishes what differs from what the topic has.
func (o *Owner) compare(ctx context.Context, s *slot) error {
	if err := o.readPublished(ctx, s); err != nil {
		return err
	}
	j := &join{o: o, s: s, floor: o.o.Length.Floor(o.today)}
	if err := j.run(ctx); err != nil {
		return err
	}
	b := o.d.State.db.NewBatch()
	s.m.Compare, s.m.Day, s.keys = false, o.today, j.keys
	err := errors.Join(setKeys(b, s), o.d.State.clearKind(b, s.n, kindPublished), o.d.State.clearKind(b, s.n, kindDirty), setMark(b, s.n, s.m))
	if err != nil {
		return err
	}
	o.d.Log.Info("what is published was compared with the totals", "slot", s.n, "published", j.sent)
	return o.flush(ctx, s, b)
}

// readPublished brings what the topic has into the state.
func (o *Owner) readPublished(ctx context.Context, s *slot) error {
	b := o.d.State.db.NewBatch()
	if err := o.d.State.clearKind(b, s.n, kindPublished); err != nil {
		return err
	}
	var k []byte
	err := o.d.Kafka.Published(ctx, s.n, func(key, value []byte) error {
		if at := Slot(key, int32(len(o.slots))); at != s.n {
			return fmt.Errorf("the topic has the key %q in partition %d, and it belongs to %d: partitions were added to the topic, or something else "+
				"writes to it; give the window a new topic", key, s.n, at)
		}
		k = stateKey(k, s.n, kindPublished, key)
		if value == nil {
			if err := b.Delete(k, nil); err != nil {
				return err
			}
		} else if err := b.Set(k, value, nil); err != nil {
			return err
		}
		if b.Len() < 4<<20 {
			return nil
		}
		err := o.d.State.commit(b)
		b = o.d.State.db.NewBatch()
		return err
	})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return o.d.State.commit(b)
}

// join goes through the totals of a slot and what is published of them, both by key.
type join struct {
	o     *Owner
	s     *slot
	floor Day
	bs    buckets
	sent  int
	keys  int64 // that have buckets
}

func (j *join) run(ctx context.Context) (err error) {
	db := j.o.d.State.db
	iter := func(kind byte) (*pebble.Iterator, error) {
		return db.NewIter(&pebble.IterOptions{LowerBound: prefix(j.s.n, kind), UpperBound: prefix(j.s.n, kind+1)})
	}
	have, err := iter(kindKey)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, have.Close()) }()
	told, err := iter(kindPublished)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, told.Close()) }()
	have.First()
	told.First()
	for have.Valid() || told.Valid() {
		c := -1
		switch {
		case !have.Valid():
			c = 1
		case told.Valid():
			c = bytes.Compare(have.Key()[3:], told.Key()[3:])
		}
		if err := j.one(have, told, c); err != nil {
			return err
		}
		if len(j.s.msgs) >= chunk {
			if err := j.o.flush(ctx, j.s, db.NewBatch()); err != nil {
				return err
			}
		}
		if c <= 0 {
			have.Next()
		}
		if c >= 0 {
			told.Next()
		}
	}
	return errors.Join(have.Error(), told.Error())
}

// one looks at a key: c is negative where only the state has it, positive where only the topic does.
func (j *join) one(have, told *pebble.Iterator, c int) (err error) {
	j.bs = j.bs[:0]
	key := told.Key
	if c <= 0 {
		j.keys++
		key = have.Key
		v, err := have.ValueAndErr()
		if err != nil {
			return err
		}
		if j.bs, err = readBuckets(j.bs, v); err != nil {
			return err
		}
	}
	total, err := j.bs.total(j.floor, j.o.today)
	if err != nil {
		return err
	}
	text := total.appendText(nil, j.o.o.Decimals)
	if c < 0 && !j.bs.any(j.floor, j.o.today) {
		return nil // nothing of it counts yet
	}
	if c >= 0 {
		v, err := told.ValueAndErr()
		if err != nil || bytes.Equal(v, text) {
			return err
		}
	}
	j.s.msgs = append(j.s.msgs, Message{bytes.Clone(key()[3:]), text})
	j.sent++
	return nil
}

// any reports whether a day counts.
func (bs buckets) any(floor, until Day) bool {
	for _, b := range bs {
		if b.day > floor && b.day <= until {
			return true
		}
	}
	return false
}
