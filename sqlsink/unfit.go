package sqlsink

import (
	"fmt"
	"math"

	"github.com/lakeloader/lakeloader/batch"
)

// stage of dead letters that the database cannot take.
const stage = "encode"

// Refuse implements pipeline.Database.
func (s *Sink) Refuse(b *batch.Batch) {
	s.mu.Lock()
	most := s.most
	s.mu.Unlock()
	for j, f := range b.Root.Type.Fields {
		c := b.Root.Children[j]
		s.refuseColumn(b, c, f.Name, s.unfit(c.Type))
		s.refuseColumn(b, c, f.Name, long(b, c.Type, most))
	}
}

// long refuses values that are longer than the database takes; nil: those of the batch cannot be.
func long(b *batch.Batch, t *batch.Type, most int64) check {
	why := func(n int) string {
		if int64(n) <= most {
			return ""
		}
		return fmt.Sprintf("the value has %d bytes, and the database takes %d (max_allowed_packet)", n, most)
	}
	switch mem := int64(len(b.Mem)); t.Kind {
	case batch.String, batch.Binary, batch.Fixed:
		if most > 0 && mem > most {
			return func(c *batch.Column, _ []byte, i int) string { return why(int(c.Views[i].Len)) }
		}
	case batch.Struct, batch.List, batch.Map: // as JSON they are longer; what is left over, an insert that fails finds
		if most > 0 && mem > most/16 {
			var text []byte
			return func(c *batch.Column, mem []byte, i int) string {
				text = appendJSON(text[:0], c, mem, i)
				return why(len(text))
			}
		}
	}
	return nil
}

func (s *Sink) refuseColumn(b *batch.Batch, c *batch.Column, name string, bad check) {
	if bad == nil {
		return
	}
	for i, fate := range b.Fate {
		if fate != batch.Keep || c.IsNull(i) {
			continue
		}
		if why := bad(c, b.Mem, i); why != "" {
			b.Reject(i, stage, name, why)
		}
	}
}

// unfit is the dialect's, for nested types too: what they are made of becomes JSON, so only its text matters.
func (s *Sink) unfit(t *batch.Type) check {
	switch t.Kind {
	case batch.Struct, batch.List, batch.Map:
	default:
		return s.kind.unfit(t)
	}
	children := make([]check, len(t.Fields))
	any := false
	for j, f := range t.Fields {
		switch f.Type.Kind {
		case batch.String, batch.Struct, batch.List, batch.Map:
			children[j] = s.unfit(f.Type)
			any = any || children[j] != nil
		}
	}
	if !any {
		return nil
	}
	return func(c *batch.Column, mem []byte, i int) string {
		from, to := int32(i), int32(i+1)
		if c.Starts != nil {
			from, to = c.Starts[i], c.Starts[i+1]
		}
		for j, bad := range children {
			for k := from; bad != nil && k < to; k++ {
				if child := c.Children[j]; !child.IsNull(int(k)) {
					if why := bad(child, mem, int(k)); why != "" {
						return why
					}
				}
			}
		}
		return ""
	}
}

// years bounds dates and times.
func years(t *batch.Type, first, last int, who string) check {
	return func(c *batch.Column, _ []byte, i int) string {
		at := day
		if t.Kind != batch.Date {
			at = instant
		}
		if y := at(c, i).Year(); y < first || y > last {
			return fmt.Sprintf("the year %d is beyond what %s can store (%d to %d)", y, who, first, last)
		}
		return ""
	}
}

// finite refuses what is no number.
func finite(t *batch.Type, who string, infinite bool) check {
	return func(c *batch.Column, _ []byte, i int) string {
		var f float64
		if t.Kind == batch.Float {
			f = float64(c.Float32[i])
		} else {
			f = c.Float64[i]
		}
		if math.IsNaN(f) || math.IsInf(f, 0) && !infinite {
			return fmt.Sprintf("%v is no number that %s can store", f, who)
		}
		return ""
	}
}
