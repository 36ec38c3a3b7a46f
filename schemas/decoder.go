package schemas

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// ErrUnknownID means that records name a schema id that the registry does not have (yet). It is temporary: whoever
// gets it calls Prepare again a little later, and after Options.UnknownIDAfter such records become dead letters.
var ErrUnknownID = errors.New("unknown schema id")

// Options of a Decoder.
type Options struct {
	// Clock gives the time. Default time.Now.
	Clock func() time.Time
	// UnknownIDAfter is how long a schema id that the registry does not know is asked for again before its records
	// become dead letters; then it is asked for again as often. Default 30s.
	UnknownIDAfter time.Duration
	// Freeze keeps the row type as it is once it is known: records whose schema would change it become dead letters.
	Freeze bool
	// Accept, if set, is asked before the row type becomes another one. An error refuses the schema: its records
	// become dead letters, stage evolve, with the error as the reason.
	Accept func(row *batch.Type) error
}

// Decoder turns records into rows. It is not safe for concurrent use.
//
// The row type only ever grows: it is the union of all schemas seen, the columns of values before those of keys. With
// Decode.Changes a null value is a row whose values are null, and the types of Kafka Connect and Debezium count. For
// each batch of records, first Prepare (asks the registry for schema ids not known yet, so it may block and fail),
// then, with a batch of the type that Row now says, Decode (pure computation). What became of a schema id is decided
// once, in Prepare, except that an id which the registry did not know may turn up later.
type Decoder struct {
	value, key *side // key is nil when keys are not decoded
	opts       Options
	row        *batch.Type
	version    int
}

// NewDecoder returns a decoder for cfg. reg may be nil if neither format needs a registry. For json the schema file is
// read here, and the row type is known at once.
func NewDecoder(cfg configs.Decode, reg Registry, opts Options) (*Decoder, error) {
	if opts.UnknownIDAfter <= 0 {
		opts.UnknownIDAfter = 30 * time.Second
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	d := &Decoder{opts: opts, row: batch.StructOf()}
	var err error
	if d.value, err = newSide("value", cfg.Value, "", reg, cfg.Changes); err != nil {
		return nil, err
	}
	d.value.nullable = cfg.Changes != nil
	if cfg.Key != nil {
		if d.key, err = newSide("key", *cfg.Key, "key_", reg, keyChanges(cfg.Changes)); err != nil {
			return nil, err
		}
		d.key.nullable = true
	}
	for _, s := range d.sides() {
		if s.fixed == nil {
			continue
		}
		if d.adopt(s, s.fixed); s.fixed.reason != "" {
			return nil, fmt.Errorf("decode.%s: %s", s.name, s.fixed.reason)
		}
	}
	return d, nil
}

func (d *Decoder) sides() []*side {
	if d.key == nil {
		return []*side{d.value}
	}
	return []*side{d.value, d.key}
}

// Row is the current row type: the columns of values, then those of keys, which are all optional, as a key may be null.
// It is an empty struct until the first schema is known.
func (d *Decoder) Row() *batch.Type { return d.row }

// Known reports whether the columns of values are known; those of keys alone say nothing of a change.
func (d *Decoder) Known() bool {
	if d.value.changes != nil {
		return d.value.target != nil
	}
	return len(d.row.Fields) > 0
}

// KeyRow is the row type of keys, whose columns are the last ones of Row, without the prefix; nil: keys are not decoded, or none is known.
func (d *Decoder) KeyRow() *batch.Type {
	if d.key == nil {
		return nil
	}
	return d.key.target
}

// Version counts the changes of the row type; 0: none is known.
func (d *Decoder) Version() int { return d.version }

// Bootstrap fetches the latest schema of each topic's subjects, so that the row type is known before the first record;
// of a subject whose latest schema cannot be used, the latest that can be. A missing subject is no error. One that wraps
// ErrRegistry means that the registry cannot be asked: try again. Any other error names the schemas that cannot be used;
// those that can be are, and the decoder goes on.
func (d *Decoder) Bootstrap(ctx context.Context, topics []string) error {
	var bad []error
	for _, s := range d.sides() {
		for _, subject := range s.subjects(topics) {
			refused, err := d.bootstrapSubject(ctx, s, subject)
			if err != nil {
				return unavailable(err)
			}
			bad = append(bad, refused...)
		}
	}
	return errors.Join(bad...)
}

// olderVersions is how many versions before a subject's latest are tried.
const olderVersions = 20

// bootstrapSubject adopts the latest schema of a subject that can be used, and returns why newer ones cannot be.
func (d *Decoder) bootstrapSubject(ctx context.Context, s *side, subject string) (refused []error, err error) {
	reg, err := s.registry.Latest(ctx, subject)
	for oldest := reg.Version - olderVersions; ; {
		if err != nil && !errors.Is(err, ErrNotFound) {
			return refused, err
		}
		if err == nil {
			e := s.entries[int32(reg.ID)]
			if e == nil {
				e = &entry{id: int32(reg.ID), state: missing}
				s.entries[e.id] = e
			}
			if e.state == missing {
				d.learn(s, e, reg)
			}
			if e.types != nil {
				e = d.adoptType(s, e, e.schema)
			}
			if e.reason == "" {
				return refused, nil
			}
			refused = append(refused, fmt.Errorf("subject %s: %s", subject, e.reason))
		}
		version := reg.Version - 1
		if version <= 0 || version < oldest {
			return refused, nil
		}
		reg, err = s.registry.Version(ctx, subject, version)
		reg.Version = version // also of one that was deleted
	}
}

// unavailable makes sure that an error of the registry is known as one.
func unavailable(err error) error {
	if errors.Is(err, ErrRegistry) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrRegistry, err)
}

// Prepare asks the registry for the schema ids in r that are not known yet. changed says that the row type is another
// one now, also when there is an error. An error wraps ErrRegistry or ErrUnknownID and means: call again later, decode
// nothing of r until then.
func (d *Decoder) Prepare(ctx context.Context, r *batch.Records) (changed bool, err error) {
	before := d.version
	var unknown error
	for _, s := range d.sides() {
		if s.fixed != nil {
			continue
		}
		views, last := r.Value, (*entry)(nil)
		if s == d.key {
			views = r.Key
		}
		for _, v := range views {
			id, ok := wireID(r, v)
			if !ok {
				continue
			}
			if last == nil || last.id != id {
				if err := d.resolve(ctx, s, id); errors.Is(err, ErrUnknownID) {
					unknown = err // the others can be asked for meanwhile
				} else if err != nil {
					return d.version != before, err
				}
				last = s.entries[id]
			}
			if last.types != nil {
				d.resolveType(s, last, r.Bytes(v)[wireHeader:])
			}
		}
	}
	return d.version != before, unknown
}

// wireID reads the header of the Confluent wire format: a zero byte and four bytes of schema id.
func wireID(r *batch.Records, v batch.View) (int32, bool) {
	if v.IsNull() || v.Len < wireHeader || r.Mem[v.Off] != 0 {
		return 0, false
	}
	id := binary.BigEndian.Uint32(r.Mem[v.Off+1:])
	return int32(id), id <= 1<<31-1
}

const wireHeader = 5

// resolve brings an id out of the unknown if that is possible and due.
func (d *Decoder) resolve(ctx context.Context, s *side, id int32) error {
	e := s.entries[id]
	if e != nil && e.state != missing {
		return nil
	}
	now := d.opts.Clock()
	if e != nil && e.reason != "" && now.Sub(e.asked) < d.opts.UnknownIDAfter {
		return nil
	}
	reg, err := s.registry.ByID(ctx, int(id))
	switch {
	case err == nil:
		if e == nil {
			e = &entry{id: id}
			s.entries[id] = e
		}
		d.learn(s, e, reg)
		return nil
	case !errors.Is(err, ErrNotFound):
		return unavailable(err)
	}
	if e == nil {
		e = &entry{id: id, state: missing, since: now}
		s.entries[id] = e
	}
	e.asked = now
	if now.Sub(e.since) >= d.opts.UnknownIDAfter {
		e.stage, e.reason = "resolve", shorten(fmt.Sprintf("the %s's schema is unknown since %s: %v", s.name, e.since.UTC().Format(time.RFC3339), err), maxReason)
		return nil
	}
	return fmt.Errorf("%w: the %s's %w; its records become dead letters if it is not registered until %s", ErrUnknownID, s.name, err, e.since.Add(d.opts.UnknownIDAfter).UTC().Format(time.RFC3339))
}

// learn makes an entry of what the registry has told.
func (d *Decoder) learn(s *side, e *entry, reg Registered) {
	e.state, e.stage, e.reason = known, "", ""
	schema, err := s.parse(reg)
	if err != nil {
		e.refuse(s, err)
		return
	}
	e.schema = schema
	if t, ok := schema.(Selector); ok {
		e.types, e.selector = map[Schema]*entry{}, t
		return
	}
	d.adopt(s, e)
}

// resolveType adopts the payload's record type when it is the first of that type.
func (d *Decoder) resolveType(s *side, e *entry, payload []byte) {
	t, schema, err := e.typeOf(payload)
	if err == nil && t == nil {
		d.adoptType(s, e, schema)
	}
}

// adoptType makes an entry of its own for one record type of an id that has several.
func (d *Decoder) adoptType(s *side, e *entry, schema Schema) *entry {
	t := e.types[schema]
	if t == nil {
		t = &entry{id: e.id, schema: schema}
		e.types[schema] = t
		d.adopt(s, t)
	}
	return t
}

// adopt merges an entry's schema into the row type, or refuses the entry.
func (d *Decoder) adopt(s *side, e *entry) {
	merged, err := Merge(s.row, e.schema.Row())
	if err != nil {
		e.refuse(s, fmt.Errorf("it cannot be merged with those before: %w", err))
		return
	}
	target := s.target
	if merged != s.row {
		if d.opts.Freeze && s.row != nil {
			e.refuse(s, fmt.Errorf("evolution is switched off (table.evolve), and it would change the columns: %s", difference("", s.row, merged)))
			return
		}
		target = s.targetOf(merged)
	}
	plan, err := e.schema.Compile(target)
	if err != nil {
		e.refuse(s, err)
		return
	}
	if merged != s.row {
		row, err := d.combine(s, target)
		before, was := s.row, s.target
		s.row, s.target = merged, target // whoever is asked may look at the key's columns
		if err == nil && d.opts.Accept != nil {
			err = d.opts.Accept(row)
		}
		if err != nil {
			s.row, s.target = before, was
			e.refuse(s, err)
			return
		}
		d.row = row
		d.version++
	}
	e.plan, e.target = plan, target
}

// combine is the row type when changed has the given columns.
func (d *Decoder) combine(changed *side, target *batch.Type) (*batch.Type, error) {
	row := batch.StructOf()
	for _, s := range d.sides() {
		t := s.target
		if s == changed {
			t = target
		}
		if t == nil {
			continue
		}
		for _, f := range t.Fields {
			f.Name = s.prefix + f.Name
			if row.Index(f.Name) >= 0 {
				return nil, fmt.Errorf("keys and values both have a column %s: set decode.key.prefix", f.Name)
			}
			row.Fields = append(row.Fields, f)
		}
	}
	return row, nil
}
