package writers

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// entry is one value or absence in a leaf column: Parquet's levels, and the slot of the current column that it comes
// from; dead entries end above the leaf, in a null or an empty list.
type entry struct {
	slot     int32
	rep, def uint8
	dead     bool
}

// levels walks from rows to a nested leaf, one column after the other, and leaves its entries in w.entries. columns are
// the batch's columns along l.steps; it is shorter where the batch lacks one, which then is null.
func (w *scratch) levels(l *leaf, root *batch.Column, columns []*batch.Column, rows []int32) error {
	now, next := w.entries[:0], w.spare[:0]
	for _, r := range rows {
		now = append(now, entry{slot: r})
	}
	parent := root
	for i, s := range l.steps {
		if s.repeated > 0 {
			next = expand(next[:0], now, parent.Starts, s.repeated)
			now, next = next, now
		}
		if i >= len(columns) {
			for j := range now {
				now[j].dead = true
			}
			break
		}
		parent = columns[i]
		valid := parent.Valid
		if !s.optional {
			for _, e := range now {
				if valid != nil && !e.dead && !valid[e.slot] {
					w.entries, w.spare = now, next
					return fmt.Errorf("column %s is null, but the table requires it", l.name())
				}
			}
			continue
		}
		for j := range now {
			switch e := &now[j]; {
			case e.dead:
			case valid != nil && !valid[e.slot]:
				e.dead = true
			default:
				e.def++
			}
		}
	}
	w.entries, w.spare = now, next
	return nil
}

// expand replaces the live entries of a list or map by one per element, or by a dead one when it is empty.
func expand(out, in []entry, starts []int32, rep uint8) []entry {
	for _, e := range in {
		if e.dead {
			out = append(out, e)
			continue
		}
		from, to := starts[e.slot], starts[e.slot+1]
		if from == to {
			e.dead = true
			out = append(out, e)
			continue
		}
		e.def++
		for at := from; at < to; at++ {
			e.slot = at
			out = append(out, e)
			e.rep = rep
		}
	}
	return out
}
