package writers

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"sort"

	"github.com/lakeloader/lakeloader/batch"
)

// defaultMaxValue is the longest text or binary that is written, bytes. Readers hold a value in one piece of at most 2 GiB.
const defaultMaxValue = 512 << 20

// Refuse makes dead letters (stage encode, the step being the column) of rows that are kept so far but have a value that the
// table's columns cannot hold, so that Append does not fail at them. The error is about columns, not about values.
func (w *Writer) Refuse(b *batch.Batch) error {
	if err := w.bind(b.Root.Type); err != nil {
		return fmt.Errorf("table %s: %w", w.opts.Info.Ident, err)
	}
	for i, l := range w.leaves {
		c := checker{b: b, bound: &w.bound[i], leaf: l, columns: append(w.scratch.columns[:0], b.Root)}
		for _, at := range c.bound.child {
			c.columns = append(c.columns, c.columns[len(c.columns)-1].Children[at])
		}
		c.nulls()
		if c.bound.conv != noColumn {
			c.values(w.opts.MaxValue)
		}
		w.scratch.columns = c.columns
	}
	w.scratch.release()
	return nil
}

// bind makes bound that for batches of a row type.
func (w *Writer) bind(row *batch.Type) error {
	if w.row == row {
		return nil
	}
	bound, err := bind(w.leaves, row, w.opts.Info.Row)
	if err == nil {
		w.row, w.bound = row, bound
	}
	return err
}

// checker looks at one leaf of a batch.
type checker struct {
	b     *batch.Batch
	bound *bound
	leaf  *leaf
	// columns are those along the leaf's steps, the root first.
	columns []*batch.Column
}

// nulls refuses nulls that the table does not allow, at any step of the path.
func (c *checker) nulls() {
	for depth := 1; depth < len(c.columns); depth++ {
		if valid := c.columns[depth].Valid; valid != nil && !c.leaf.steps[depth-1].optional {
			for slot, ok := range valid {
				if !ok {
					c.refuse(depth-1, c.parent(depth, slot), "it is null, but the table requires a value")
				}
			}
		}
	}
}

func (c *checker) values(maxValue int) {
	depth := len(c.columns) - 1
	col := c.columns[depth]
	switch typ := c.leaf.typ; {
	case typ.Kind == batch.Time:
		for slot, v := range col.Int64 {
			if v < 0 || v >= 86_400_000_000 {
				c.refuse(depth, slot, "%d microseconds are no time of a day", v)
			}
		}
	case typ.Kind == batch.Decimal && col.Type.Store() == batch.StoreInt64 && typ.Precision <= batch.MaxInt64Precision:
		limit := int64(math.Pow10(typ.Precision))
		for slot, v := range col.Int64 {
			if v >= limit || v <= -limit {
				c.refuse(depth, slot, "a value has more digits than the type %s", typ)
			}
		}
	case typ.Kind == batch.Decimal && col.Type.Store() == batch.StoreView:
		hi, lo := pow10(typ.Precision)
		for slot, v := range col.Views {
			if !within(c.b.Mem[v.Off:v.Off+v.Len], hi, lo) {
				c.refuse(depth, slot, "a value of %d bytes has more digits than the type %s", v.Len, typ)
			}
		}
	case c.bound.conv == toFixed:
		for slot, v := range col.Views {
			if int(v.Len) != c.bound.size {
				c.refuse(depth, slot, "a value has %d bytes, the type %s needs %d", v.Len, typ, c.bound.size)
			}
		}
	case c.bound.conv == toBytes && len(c.b.Mem) > maxValue: // else no value can be that long
		for slot, v := range col.Views {
			if int(v.Len) > maxValue {
				c.refuse(depth, slot, "a value of %d bytes is longer than the %d bytes that are written at most", v.Len, maxValue)
			}
		}
	}
}

// refuse makes a dead letter of the row that a slot of the column at a depth belongs to, unless that slot is below a null.
func (c *checker) refuse(depth, slot int, format string, args ...any) {
	for ; depth > 0 && slot >= 0; depth-- {
		if c.columns[depth].IsNull(slot) {
			return
		}
		slot = c.parent(depth, slot)
	}
	if slot >= 0 && c.b.Fate[slot] == batch.Keep {
		c.b.Reject(slot, "encode", c.leaf.name(), "column "+c.leaf.name()+": "+fmt.Sprintf(format, args...))
	}
}

// parent is the slot of the column above that a slot of the column at a depth belongs to; -1: none, it is left over.
func (c *checker) parent(depth, slot int) int {
	if c.leaf.steps[depth-1].repeated == 0 {
		return slot
	}
	starts := c.columns[depth-1].Starts
	if slot >= int(starts[len(starts)-1]) {
		return -1
	}
	return sort.Search(len(starts), func(i int) bool { return int(starts[i]) > slot }) - 1
}

// pow10 is 10^n, n up to 38, in 128 bits.
func pow10(n int) (hi, lo uint64) {
	lo = 1
	for range n {
		carry, low := bits.Mul64(lo, 10)
		hi, lo = hi*10+carry, low
	}
	return hi, lo
}

// within reports whether 16 bytes of big-endian two's complement are less than hi, lo in magnitude.
func within(b []byte, hi, lo uint64) bool {
	if len(b) != 16 {
		return false
	}
	h, l := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	if int64(h) < 0 {
		var borrow uint64
		l, borrow = bits.Sub64(0, l, 0)
		h, _ = bits.Sub64(0, h, borrow)
	}
	return h < hi || h == hi && l < lo
}
