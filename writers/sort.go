package writers

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// run holds copies of rows until they are sorted and written as one row group.
type run struct {
	batch *batch.Batch
	keys  []key // for batches of its row type
}

func newRun(row *batch.Type, by []table.SortField) (*run, error) {
	r := &run{batch: batch.New(&batch.Records{}, row)}
	for _, f := range by {
		k, err := keyOf(f, row)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, k)
	}
	return r, nil
}

func (r *run) bytes() int64 { return int64(len(r.batch.Mem)) + columnBytes(r.batch.Root) }

func (r *run) reset() {
	r.batch.Records.Reset()
	r.batch.Reset(r.batch.Records)
}

// key is one sort field in a row type.
type key struct {
	child []int // indexes along the path; nil: the batch has no such column, so that all rows are equal
	desc  bool
}

func keyOf(f table.SortField, row *batch.Type) (key, error) {
	k := key{desc: f.Desc}
	t := row
	for name := range strings.SplitSeq(f.Source, ".") {
		at := -1
		if t.Kind == batch.Struct {
			at = t.Index(name)
		}
		if at < 0 {
			return key{desc: f.Desc}, nil
		}
		k.child = append(k.child, at)
		t = t.Fields[at].Type
	}
	if t.Nested() {
		return key{}, fmt.Errorf("sort_by %s: a %s has no order", f.Source, t)
	}
	return k, nil
}

// checkSort checks the sort fields against the table's row type.
func checkSort(by []table.SortField, row *batch.Type) error {
	for _, f := range by {
		k, err := keyOf(f, row)
		if err != nil {
			return err
		}
		if k.child == nil {
			return fmt.Errorf("sort_by %s: there is no such column", f.Source)
		}
	}
	return nil
}

type ranked struct {
	prefix uint64 // orders as the first key does, as far as 8 bytes tell
	row    int32
}

// order gives the rows of the run in order: ascending with nulls first, descending with nulls last, equal ones as they
// came. NaN is greater than any number and the two zeros differ, as Iceberg has it.
func (r *run) order() []int32 {
	cols := make([]sortColumn, len(r.keys))
	for i, k := range r.keys {
		cols[i] = sortColumn{mem: r.batch.Mem, desc: k.desc}
		c := r.batch.Root
		for _, at := range k.child {
			c = c.Children[at]
			cols[i].chain = append(cols[i].chain, c)
		}
	}
	items := make([]ranked, r.batch.Rows)
	for i := range items {
		items[i] = ranked{cols[0].prefix(int32(i)), int32(i)}
	}
	slices.SortFunc(items, func(a, b ranked) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		for i := range cols {
			if d := cols[i].compare(a.row, b.row); d != 0 {
				return d
			}
		}
		return cmp.Compare(a.row, b.row)
	})
	rows := make([]int32, len(items))
	for i, x := range items {
		rows[i] = x.row
	}
	return rows
}

// sortColumn is a key's column with the structs around it.
type sortColumn struct {
	chain []*batch.Column
	mem   []byte
	desc  bool
}

func (s *sortColumn) null(row int32) bool {
	for _, c := range s.chain {
		if c.IsNull(int(row)) {
			return true
		}
	}
	return len(s.chain) == 0
}

// prefix maps a value to a number of the same order. Nulls share one with a value, compare tells them apart.
func (s *sortColumn) prefix(row int32) uint64 {
	p := uint64(0)
	if !s.null(row) {
		p = ascending(s.chain[len(s.chain)-1], s.mem, row)
	}
	if s.desc {
		p = ^p
	}
	return p
}

func ascending(c *batch.Column, mem []byte, row int32) uint64 {
	if c.Type.Store() != batch.StoreView {
		return c.Rank(int(row))
	}
	v := c.Views[row]
	b := mem[v.Off : v.Off+v.Len]
	p := uint64(0)
	for i := range 8 {
		p <<= 8
		if i < len(b) {
			p |= uint64(b[i])
		}
	}
	if c.Type.Kind == batch.Decimal {
		p ^= 1 << 63
	}
	return p
}

func (s *sortColumn) compare(a, b int32) int {
	x, y := s.null(a), s.null(b)
	var d int
	switch {
	case x && y:
		return 0
	case x:
		d = -1
	case y:
		d = 1
	default:
		c := s.chain[len(s.chain)-1]
		if c.Type.Store() == batch.StoreView {
			v, w := c.Views[a], c.Views[b]
			m, n := s.mem[v.Off:v.Off+v.Len], s.mem[w.Off:w.Off+w.Len]
			if c.Type.Kind == batch.Decimal {
				d = compareSigned(m, n)
			} else {
				d = bytes.Compare(m, n)
			}
		} else {
			d = cmp.Compare(ascending(c, s.mem, a), ascending(c, s.mem, b))
		}
	}
	if s.desc {
		d = -d
	}
	return d
}
