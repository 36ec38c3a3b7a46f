package schemas

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// Decode appends a row to b for each record of r that can be decoded, and a Reject for each that cannot. b must have
// been made with the type that Row says, and Prepare must have returned without an error for r. An error says that one
// of these is not so; b is of no use then.
func (d *Decoder) Decode(r *batch.Records, b *batch.Batch) error {
	if b.Root == nil || b.Root.Type != d.row && !b.Root.Type.Equal(d.row) {
		return fmt.Errorf("decode: the batch was not made for the current row type %s", d.row)
	}
	values, keys := d.roots(b.Root)
	for i := range r.Len() {
		n := b.Root.Len
		keyID := int32(0)
		id, bad := d.value.append(r, r.Value[i], values)
		if bad == nil && d.key != nil {
			var of int32
			if of, bad = d.key.append(r, r.Key[i], keys); bad != nil {
				keyID = of
			}
		}
		if bad != nil {
			if bad.stage == "" {
				return fmt.Errorf("decode: topic %s, partition %d, offset %d: %s: Prepare has not succeeded for these records", r.Topics[r.Topic[i]], r.Partition[i], r.Offset[i], bad.reason)
			}
			b.Root.Truncate(n)
			b.Rejects = append(b.Rejects, batch.Reject{Record: int32(i), SchemaID: id, KeySchemaID: keyID, Stage: bad.stage, Step: bad.step, Reason: bad.reason})
			continue
		}
		b.Root.AppendStruct()
		b.AppendRow(i, id)
	}
	return nil
}

// roots are the columns of values and keys, each as a row of its own.
func (d *Decoder) roots(root *batch.Column) (values, keys *batch.Column) {
	n := 0
	if d.value.target != nil {
		n = len(d.value.target.Fields)
	}
	values = &batch.Column{Type: d.value.target, Children: root.Children[:n:n]}
	if d.key != nil {
		keys = &batch.Column{Type: d.key.target, Children: root.Children[n:]}
	}
	return values, keys
}

// verdict is why a payload has no row; no stage: nothing is decided about its schema id.
type verdict struct{ stage, step, reason string }

// append decodes one payload and returns its schema id, 0 if it has none; a nil verdict: it is done.
func (s *side) append(r *batch.Records, v batch.View, root *batch.Column) (int32, *verdict) {
	if v.IsNull() {
		if s.nullable {
			for _, c := range root.Children {
				c.AppendNull()
			}
			return 0, nil
		}
		return 0, s.broken("null " + s.name + " (tombstone)")
	}
	e := s.fixed
	if e == nil {
		id, ok := wireID(r, v)
		if !ok {
			return 0, s.broken(noHeader(s.name, r.Bytes(v)))
		}
		v = batch.View{Off: v.Off + wireHeader, Len: v.Len - wireHeader}
		if e = s.last; e == nil || e.id != id {
			if e = s.entries[id]; e == nil {
				return id, s.undecided(id)
			}
			s.last = e
		}
	}
	switch {
	case e.reason != "":
		return e.id, &verdict{e.stage, s.name, e.reason}
	case e.state == missing:
		return e.id, s.undecided(e.id)
	}
	if e.types != nil {
		t, _, err := e.typeOf(r.Bytes(v))
		switch {
		case err != nil:
			return e.id, s.broken(err.Error())
		case t == nil:
			return e.id, s.undecided(e.id)
		case t.reason != "":
			return e.id, &verdict{t.stage, s.name, t.reason}
		}
		e = t
	}
	p, err := s.planOf(e)
	if err != nil {
		return e.id, &verdict{"evolve", s.name, shorten(err.Error(), maxReason)}
	}
	if err := p.Append(r, v, root); err != nil {
		return e.id, s.broken(err.Error())
	}
	return e.id, nil
}

func (s *side) undecided(id int32) *verdict {
	return &verdict{"", s.name, fmt.Sprintf("the %s's schema id %d is not resolved", s.name, id)}
}

func (s *side) broken(reason string) *verdict {
	return &verdict{"decode", s.name, shorten(reason, maxReason)}
}

// noHeader explains what is wrong with the head of a payload.
func noHeader(name string, b []byte) string {
	switch {
	case len(b) > 0 && b[0] != 0:
		return fmt.Sprintf("the %s begins with byte 0x%02x, not with 0x00 and a schema id: it is not in the Confluent wire format", name, b[0])
	case len(b) < wireHeader:
		return fmt.Sprintf("the %s of %d bytes is too short for the Confluent wire format (0x00 and four bytes of schema id)", name, len(b))
	}
	return fmt.Sprintf("the %s has schema id %#x, which no registry gives", name, b[1:wireHeader])
}
