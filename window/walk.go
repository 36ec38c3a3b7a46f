package window

import (
	"bytes"
	"context"
	"errors"
)

// walking reports whether a day has passed for a slot that is up to date.
func (o *Owner) walking() bool {
	for _, s := range o.slots {
		if s != nil && s.live && s.m.Day < o.today {
			return true
		}
	}
	return false
}

// walkOn goes on with the daily recalculation of a slot: some keys at a time, so that purchases do not wait for it. Totals that the
// day changes are published, and what has left the window is dropped.
//
// A key that a row changes meanwhile, before the walk comes to it, is published with the total of the new day already. After a crash,
// and when the day changes again, the walk begins anew.
//
// From one day to the next a total is published if it changes. Where days were passed over, another owner, or a walk that did not come to
// its end, may have published that of a day between, so all keys are published of which any day has left or come in since.
func (o *Owner) walkOn(ctx context.Context) error {
	for _, s := range o.slots {
		if s != nil && s.live && s.m.Day < o.today {
			return o.walkSlot(ctx, s)
		}
	}
	return nil
}

func (o *Owner) walkSlot(ctx context.Context, s *slot) error {
	if s.walkTo != o.today {
		s.walk, s.walkTo = nil, o.today
	}
	w := &walker{o: o, s: s, from: s.m.Day, to: o.today}
	w.oldFloor, w.floor = o.o.Length.Floor(w.from), o.o.Length.Floor(w.to)
	b := o.d.State.db.NewBatch()
	n := 0
	gone := int64(0)
	var next []byte
	err := o.d.State.each(s.n, kindKey, s.walk, func(key, value []byte) (bool, error) {
		if n++; n > chunk {
			next = bytes.Clone(key)
			return false, nil
		}
		change, err := w.key(key, value)
		switch {
		case err != nil || !change:
			return true, err
		case len(w.left) == 0:
			gone++
			o.cache.drop(key)
			return true, b.Delete(stateKey(nil, s.n, kindKey, key), nil)
		}
		return true, b.Set(stateKey(nil, s.n, kindKey, key), w.left.append(nil), nil)
	})
	s.keys -= gone
	if err == nil {
		err = setKeys(b, s)
	}
	if err == nil && next == nil {
		m := s.m
		m.Day = w.to
		err = setMark(b, s.n, m)
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	if err := o.flush(ctx, s, b); err != nil {
		return err
	}
	if s.walk = next; next == nil {
		s.m.Day = w.to
		o.d.Log.Info("the totals of a slot are those of another day", "slot", s.n, "day", w.to.String())
	}
	return nil
}

// walker compares the totals of two days.
type walker struct {
	o               *Owner
	s               *slot
	from, to        Day
	oldFloor, floor Day
	all, left       buckets
}

// key looks at one key; true: left is what it has now.
func (w *walker) key(key, value []byte) (change bool, err error) {
	if w.all, err = readBuckets(w.all[:0], value); err != nil {
		return false, err
	}
	came, left := w.all.any(w.from, w.to), w.all.any(w.oldFloor, w.floor)
	w.left = w.all.prune(w.floor)
	if !came && !left {
		return len(w.left) < len(w.all), nil
	}
	after, err := w.all.total(w.floor, w.to)
	if err != nil {
		return false, err
	}
	if w.to == w.from+1 && w.all.any(w.oldFloor, w.from) {
		before, err := w.all.total(w.oldFloor, w.from)
		if err != nil || before == after {
			return len(w.left) < len(w.all), err
		}
	}
	w.s.msgs = append(w.s.msgs, Message{bytes.Clone(key), after.appendText(nil, w.o.o.Decimals)})
	return len(w.left) < len(w.all), nil
}
