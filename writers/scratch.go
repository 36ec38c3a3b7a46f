package writers

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/parquet-go/parquet-go"
)

// chunk is how many rows go to a column at once, so that what was read stays in the cache until it is written.
const chunk = 1024

// scratch is the memory in which the levels of columns are worked out.
type scratch struct {
	marks   []parquet.Value    // levels without values
	uniform [2][]parquet.Value // the same levels again and again, by definition level
	slots   []int32
	entries []entry
	spare   []entry
	columns []*batch.Column
	level   map[uint16]parquet.Value // by repetition and definition level
}

// release lets go of the batch, and of memory that unusually long lists took.
func (w *scratch) release() {
	clear(w.columns[:cap(w.columns)])
	if cap(w.entries) > 64*chunk {
		w.marks, w.slots, w.entries, w.spare = nil, nil, nil, nil
	}
}

// mark gives a value that has only levels. Making one costs 25 ns, copying it 1.
func (w *scratch) mark(rep, def uint8) parquet.Value {
	if w.level == nil {
		w.level = map[uint16]parquet.Value{}
	}
	k := uint16(rep)<<8 | uint16(def)
	v, ok := w.level[k]
	if !ok {
		v = parquet.Value{}.Level(int(rep), int(def), 0)
		w.level[k] = v
	}
	return v
}

// leaf points the feed to the present values of a leaf in some rows, and gives the levels of all of them. Both are good
// until the next call.
func (w *scratch) leaf(f *feed, root *batch.Column, mem []byte, rows []int32) ([]parquet.Value, error) {
	w.columns = w.columns[:0]
	for c, i := root, 0; i < len(f.child); i++ {
		c = c.Children[f.child[i]]
		w.columns = append(w.columns, c)
	}
	f.mem, f.col, f.slots = mem, nil, nil
	if f.conv != noColumn {
		f.col = w.columns[len(w.columns)-1]
	}
	if len(f.leaf.steps) > 1 {
		return w.nested(f, root, rows)
	}
	if f.leaf.def == 0 {
		if v := f.col.Valid; v != nil {
			for _, r := range rows {
				if !v[r] {
					return nil, fmt.Errorf("column %s is null in row %d of the batch, but the table requires it", f.leaf.name(), r)
				}
			}
		}
		f.slots = rows
		return w.same(0, len(rows)), nil
	}
	switch {
	case f.col == nil:
		return w.same(0, len(rows)), nil
	case f.col.Valid == nil:
		f.slots = rows
		return w.same(1, len(rows)), nil
	}
	null, present, valid := w.mark(0, 0), w.mark(0, 1), f.col.Valid
	w.marks, w.slots = grow(w.marks, len(rows)), w.slots[:0]
	for i, r := range rows {
		if valid[r] {
			w.marks[i] = present
			w.slots = append(w.slots, r)
		} else {
			w.marks[i] = null
		}
	}
	f.slots = w.slots
	return w.marks, nil
}

// same gives n times the levels of a top-level column with that definition level.
func (w *scratch) same(def uint8, n int) []parquet.Value {
	u := &w.uniform[def]
	for v := w.mark(0, def); len(*u) < n; {
		*u = append(*u, v)
	}
	return (*u)[:n]
}

func (w *scratch) nested(f *feed, root *batch.Column, rows []int32) ([]parquet.Value, error) {
	if err := w.levels(f.leaf, root, w.columns, rows); err != nil {
		return nil, err
	}
	w.marks, w.slots = grow(w.marks, len(w.entries)), w.slots[:0]
	last := uint16(0)
	v := w.mark(0, 0)
	for i, e := range w.entries {
		if k := uint16(e.rep)<<8 | uint16(e.def); k != last {
			last, v = k, w.mark(e.rep, e.def)
		}
		w.marks[i] = v
		if !e.dead {
			w.slots = append(w.slots, e.slot)
		}
	}
	f.slots = w.slots
	return w.marks, nil
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, max(n, chunk))[:n]
	}
	return s[:n]
}
