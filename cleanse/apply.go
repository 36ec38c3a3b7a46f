package cleanse

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

const stage = "cleanse"

// Apply runs the steps on a batch whose root has the type that the program was compiled for. Afterwards b.Root has
// the type Row. An error means that the batch cannot be used, not that a record is bad.
//
// Memory: the new root shares slices with the old one, whose values are therefore changed too; slices that steps
// made anew belong to the program and are overwritten by its next Apply. A decoder that wants to fill its own root
// again keeps a pointer to it and puts it back before b.Reset.
func (p *Program) Apply(b *batch.Batch) error {
	if !b.Root.Type.Equal(p.in) {
		return fmt.Errorf("the batch has rows of %s, but the steps were compiled for %s", b.Root.Type, p.in)
	}
	r := &p.run
	r.b, r.root = b, header(b.Root)
	r.batch++
	for i := range p.steps {
		r.step = p.steps[i].name
		if err := p.steps[i].op.apply(r); err != nil {
			return fmt.Errorf("%s: %w", r.step, err)
		}
		if uint64(len(b.Mem)) > math.MaxUint32 {
			return fmt.Errorf("%s: the memory of one batch would exceed 4 GiB: fetch fewer records at once", r.step)
		}
	}
	retype(r.root, p.row)
	b.Root = r.root
	r.b, r.root = nil, nil
	return nil
}

// header copies the column headers, not the values, so that steps leave the decoder's columns their shape.
func header(c *batch.Column) *batch.Column {
	h := *c
	h.Children = make([]*batch.Column, len(c.Children))
	for i, k := range c.Children {
		h.Children[i] = header(k)
	}
	return &h
}

func retype(c *batch.Column, t *batch.Type) {
	c.Type = t
	for i := range c.Children {
		retype(c.Children[i], t.Fields[i].Type)
	}
}

// run is the state of one Apply, and scratch memory that is kept.
type run struct {
	b     *batch.Batch
	root  *batch.Column
	step  string
	batch uint64   // counts batches: views remembered from another are not good
	text  [64]byte // longest text of a number, time or uuid
}

// column is a path's column in the current batch.
type column struct {
	*batch.Column
	p *path
	r *run
	// above are the columns that own it, from the root on.
	above []*batch.Column
	// live says which slots are there: not below a null struct. nil: all.
	live []bool
}

// colScratch is the memory that finding a column needs again in every batch; each op has one per path.
type colScratch struct {
	above []*batch.Column
	live  [2][]bool
	both  []bool
	made  batch.Column // slices of the column that the op makes
}

// column follows a path.
func (r *run) column(p *path, s *colScratch) column {
	c := column{Column: r.root, p: p, r: r, above: s.above[:0]}
	side := 0
	for _, h := range p.hops {
		c.above = append(c.above, c.Column)
		switch {
		case h.kind == batch.Struct:
			if c.Valid != nil && len(c.above) > 1 {
				if c.live == nil {
					c.live = c.Valid
				} else {
					s.both = resize(s.both, c.Len)
					c.live = and(s.both, c.live, c.Valid)
				}
			}
		case c.live != nil:
			side ^= 1
			s.live[side] = resize(s.live[side], c.Children[h.child].Len)
			c.live = spread(s.live[side], c.live, c.Starts)
		}
		c.Column = c.Children[h.child]
	}
	s.above = c.above
	return c
}

func and(dst, a, b []bool) []bool {
	for i := range dst {
		dst[i] = a[i] && b[i]
	}
	return dst
}

func spread(dst, live []bool, starts []int32) []bool {
	for i, ok := range live {
		for j := starts[i]; j < starts[i+1]; j++ {
			dst[j] = ok
		}
	}
	return dst
}

// present returns which slots have a value; nil: all.
func (c *column) present(s *colScratch) []bool {
	switch {
	case c.live == nil:
		return c.Valid
	case c.Valid == nil:
		return c.live
	}
	s.both = resize(s.both, c.Len)
	return and(s.both, c.live, c.Valid)
}

// null takes the value of slot i away.
func (c *column) null(i int) {
	c.SetNull(i)
	setZero(c.Column, i)
}

// row returns the row that owns slot i, and the index of each list element or map entry on the way, innermost first.
func (c *column) row(i int, indexes *[]int) int {
	for k := len(c.above) - 1; k >= 0; k-- {
		if kind := c.p.hops[k].kind; kind != batch.Struct {
			starts := c.above[k].Starts
			parent := sort.Search(len(starts), func(j int) bool { return int(starts[j]) > i }) - 1
			if indexes != nil {
				*indexes = append(*indexes, i-int(starts[parent]))
			}
			i = parent
		}
	}
	return i
}

// reject makes the row of slot i a dead letter, with a reason that names the path. reason is called only if needed.
func (c *column) reject(i int, reason func() string) {
	row := i
	repeated := c.p.repeated()
	if repeated {
		row = c.row(i, nil)
	}
	if c.r.b.Fate[row] != batch.Keep {
		return
	}
	where := c.p.text
	if repeated {
		where = c.where(i)
	}
	c.r.b.Reject(row, stage, c.r.step, where+": "+reason())
}

func (p *path) repeated() bool {
	for _, h := range p.hops {
		if h.kind != batch.Struct {
			return true
		}
	}
	return false
}

// where writes the path with the indexes of slot i: items[2].price. Entries of a map are counted like elements:
// a key may be as private as a value.
func (c *column) where(i int) string {
	var indexes []int
	c.row(i, &indexes)
	var b strings.Builder
	for k, h := range c.p.hops {
		if h.kind == batch.Struct {
			if k > 0 {
				b.WriteByte('.')
			}
			b.WriteString(h.name)
			continue
		}
		last := len(indexes) - 1
		n := strconv.Itoa(indexes[last])
		indexes = indexes[:last]
		if h.kind == batch.List {
			b.WriteString("[" + n + "]")
		} else {
			b.WriteString("{" + n + "}")
		}
	}
	return b.String()
}

// value shows the value of slot i in a reason, unless it is secret; what comes before it is a verb's subject.
func (c *column) value(i int) string {
	if c.p.leaf.secret {
		return "the value (not shown)"
	}
	s := getScalar(c.p.typ, c.Column, i, c.r.b.Mem)
	return show(c.p.typ, &s)
}

// replaceWith puts another column in the place of this one.
func (c *column) replaceWith(n *batch.Column) {
	last := len(c.above) - 1
	c.above[last].Children[c.p.hops[last].child] = n
	c.Column = n
}
