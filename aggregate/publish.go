package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/lakeloader/lakeloader/table"
)

// Sink takes messages for a topic, each key's in order.
type Sink interface {
	// Send hands a message over; a value of nil says that the key has gone.
	Send(ctx context.Context, key, value []byte) error
	// Flush returns nil when all that was sent is safe.
	Flush(ctx context.Context) error
}

// TargetRows reads a target's rows by day.
type TargetRows interface {
	// Days tells for each day of a snapshot by which files it is made up.
	Days(ctx context.Context, snapshot int64) (map[Day]DayFiles, error)
	// Messages calls each with the message of every row of a day, whose bytes are the callee's to keep.
	Messages(ctx context.Context, snapshot int64, day Day, each func(key string, value []byte) error) error
}

// DayFiles are the files of a day.
type DayFiles struct {
	Paths    []string // ascending
	Sequence int64    // of the newest
}

// Publisher sends what changed in a target to a topic. What it rests on:
//
//   - A property of the target names the snapshot that the topic has. It moves after all messages of the next one were
//     acknowledged, so one that is killed sends them again: at least once, and the latest value of a key is the truth.
//   - What is sent is the difference between two snapshots, so it does not matter how the rows came to change, nor how often in between.
//   - Where another publisher was faster, it may have sent what is newer before we sent what is older. The difference from our
//     snapshot on is then sent again, until the property is the one that we left.
type Publisher struct {
	Name    string // of the aggregate
	Target  table.Ident
	Catalog interface {
		Open(ctx context.Context, id table.Ident) (table.Store, error)
	}
	// Rows reads the target as it is now.
	Rows func(ctx context.Context) (TargetRows, error)
	// Form is what messages look like and where they go: with another one everything is published anew.
	Form string
	// DayInKey: rows of several days never have the same key. Else the message of a key is that of the newest day which has it.
	DayInKey bool
	// Sink is opened when there is something to send.
	Sink func(ctx context.Context) (sink Sink, done func(), err error)
	Wait table.Wait
}

// Published is what a run has sent.
type Published struct {
	Days     int   // that had other files
	Sent     int64 // values
	Gone     int64 // keys
	Snapshot int64 // of the target, that the topic has now; 0: there is none
	// All: not what changed but all rows were sent: for the first time, or in another form.
	All bool
	// Unknown: the snapshot that was published last has expired. All rows of the days with newer files were sent, and keys that went
	// meanwhile are not known.
	Unknown bool
}

// publishMark is the property.
type publishMark struct {
	UUID     string `json:"uuid"` // of the target
	Snapshot int64  `json:"snapshot"`
	Sequence int64  `json:"sequence"` // of the newest file in it
	Form     string `json:"form"`
}

// PublishedProperty is the name of the property that says what a topic has.
func PublishedProperty(aggregate string) string { return property(aggregate) + ".published" }

func (p *Publisher) parse(props map[string]string) (m publishMark, err error) {
	text := props[PublishedProperty(p.Name)]
	if text == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("the property %s cannot be read (%q): %w; remove it to have all rows published anew", PublishedProperty(p.Name), text, err)
	}
	return m, nil
}

// Run publishes what changed since the last run.
func (p *Publisher) Run(ctx context.Context) (done *Published, err error) {
	done = &Published{}
	defer func() {
		if err != nil {
			err = fmt.Errorf("publishing aggregate %s, table %s: %w", p.Name, p.Target, err)
		}
	}()
	store, err := p.Catalog.Open(ctx, p.Target)
	if err != nil {
		return done, err
	}
	base, err := store.Load(ctx)
	if err != nil {
		return done, err
	}
	have, err := p.parse(base.Props)
	if err != nil {
		return done, err
	}
	for from := have; ; {
		now, err := p.send(ctx, base, from, done)
		if err != nil || now == have {
			return done, err
		}
		if have, base, err = p.move(ctx, store, have, now); err != nil || base == nil {
			return done, err
		}
		from = now
	}
}

// send sends the difference between what the topic has and the table.
func (p *Publisher) send(ctx context.Context, base *table.Base, from publishMark, done *Published) (publishMark, error) {
	to := publishMark{UUID: base.UUID, Snapshot: base.Snapshot, Form: p.Form}
	if done.Snapshot = base.Snapshot; base.Snapshot == 0 || from.UUID == to.UUID && from.Form == to.Form && from.Snapshot == to.Snapshot {
		return from, nil
	}
	rows, err := p.Rows(ctx)
	if err != nil {
		return to, err
	}
	d := &difference{p: p, rows: rows, done: done, to: to.Snapshot}
	if d.new, err = rows.Days(ctx, to.Snapshot); err != nil {
		return to, err
	}
	for _, f := range d.new {
		to.Sequence = max(to.Sequence, f.Sequence)
	}
	switch {
	case from.UUID != to.UUID || from.Form != to.Form: // what a topic had of another table is not known
		done.All = true
	case base.Has(from.Snapshot):
		d.from = from.Snapshot
		if d.old, err = rows.Days(ctx, from.Snapshot); err != nil {
			return to, err
		}
	default:
		done.Unknown, d.after = true, from.Sequence
	}
	err = d.send(ctx)
	if d.close != nil {
		d.close()
	}
	return to, err
}

// move moves the property. Where another publisher has moved it meanwhile, base is the table as it is then, and its mark is left
// where it is; nil: it moved.
func (p *Publisher) move(ctx context.Context, store table.Store, have, now publishMark) (found publishMark, base *table.Base, err error) {
	text, err := json.Marshal(now)
	if err != nil {
		return now, nil, err
	}
	err = table.Commit(ctx, store, p.Wait, func(b *table.Base) (table.Change, bool, error) {
		base = nil
		at, err := p.parse(b.Props)
		switch {
		case err != nil:
			return table.Change{}, false, err
		case b.UUID != now.UUID:
			return table.Change{}, false, errors.New("it was dropped and created again meanwhile; run it again")
		case at == now: // landed, and the reply was lost
			return table.Change{}, true, nil
		case at != have:
			found, base = at, b
			return table.Change{}, true, nil
		}
		return table.Change{Props: func(int64) map[string]string { return map[string]string{PublishedProperty(p.Name): string(text)} }}, false, nil
	})
	return found, base, err
}

// difference is what to send for the change from one snapshot to another.
type difference struct {
	p        *Publisher
	rows     TargetRows
	done     *Published
	old, new map[Day]DayFiles
	from, to int64
	after    int64 // sequence number of the newest file that was published, where the snapshot has expired
	sink     Sink
	close    func()
}

// days are those whose rows may differ, ascending.
func (d *difference) days() (out []Day) {
	for day, f := range d.new {
		if d.done.Unknown && f.Sequence <= d.after || slices.Equal(f.Paths, d.old[day].Paths) {
			continue
		}
		out = append(out, day)
	}
	for day := range d.old {
		if _, there := d.new[day]; !there {
			out = append(out, day)
		}
	}
	slices.Sort(out)
	return out
}

func (d *difference) send(ctx context.Context) error {
	days := d.days()
	d.done.Days += len(days)
	changed := map[string]bool{} // keys, where the day is not among them
	for _, day := range days {
		err := d.day(ctx, day, func(key string, value []byte) error {
			if !d.p.DayInKey {
				changed[key] = true
				return nil
			}
			return d.message(ctx, key, value)
		})
		if err != nil {
			return fmt.Errorf("day %s: %w", day, err)
		}
	}
	if len(changed) > 0 {
		if err := d.newest(ctx, changed); err != nil {
			return err
		}
	}
	if d.sink == nil {
		return nil
	}
	return d.sink.Flush(ctx)
}

// day calls each with what changed in a day; a value of nil: the row has gone.
func (d *difference) day(ctx context.Context, day Day, each func(key string, value []byte) error) error {
	was, err := d.all(ctx, d.from, d.old, day)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	if _, there := d.new[day]; there {
		err = d.rows.Messages(ctx, d.to, day, func(key string, value []byte) error {
			if seen[key] {
				return fmt.Errorf("two rows have the key %.100s: name columns in publish.key that tell the rows of a day apart", key)
			}
			seen[key] = true
			old, there := was[key]
			delete(was, key)
			if there && string(old) == string(value) && (old == nil) == (value == nil) {
				return nil
			}
			return each(key, value)
		})
		if err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if err := each(key, nil); err != nil {
			return err
		}
	}
	return nil
}

// all are the messages of a day of a snapshot.
func (d *difference) all(ctx context.Context, snapshot int64, days map[Day]DayFiles, day Day) (map[string][]byte, error) {
	out := map[string][]byte{}
	if _, there := days[day]; !there {
		return out, nil
	}
	err := d.rows.Messages(ctx, snapshot, day, func(key string, value []byte) error {
		out[key] = value
		return nil
	})
	return out, err
}

// newest sends the messages of keys that have rows in several days: of the newest that has one now, if that is another one than it was.
func (d *difference) newest(ctx context.Context, keys map[string]bool) error {
	now, err := d.latest(ctx, d.to, d.new, keys)
	if err != nil {
		return err
	}
	was, err := d.latest(ctx, d.from, d.old, keys)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		value, is := now[key]
		old, had := was[key]
		if is && had && string(old) == string(value) && (old == nil) == (value == nil) {
			continue
		}
		if err := d.message(ctx, key, value); err != nil {
			return err
		}
	}
	return nil
}

// latest looks for the messages of keys from the newest day backwards, until all are found.
func (d *difference) latest(ctx context.Context, snapshot int64, days map[Day]DayFiles, keys map[string]bool) (map[string][]byte, error) {
	found := map[string][]byte{}
	for _, day := range slices.Backward(slices.Sorted(maps.Keys(days))) {
		if len(found) == len(keys) {
			break
		}
		of := map[string][]byte{}
		err := d.rows.Messages(ctx, snapshot, day, func(key string, value []byte) error {
			if keys[key] {
				of[key] = value
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("day %s: %w", day, err)
		}
		for key, value := range of {
			if _, newer := found[key]; !newer {
				found[key] = value
			}
		}
	}
	return found, nil
}

func (d *difference) message(ctx context.Context, key string, value []byte) (err error) {
	if d.sink == nil {
		if d.sink, d.close, err = d.p.Sink(ctx); err != nil {
			return err
		}
	}
	if value == nil {
		d.done.Gone++
	} else {
		d.done.Sent++
	}
	return d.sink.Send(ctx, []byte(key), value)
}
