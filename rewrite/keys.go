package rewrite

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// order is what rows are sorted by. It gives each row a key: bytes that compare as rows do. Ascending columns have nulls first,
// descending ones last; texts go by their bytes, NaN is greater than any number, and the two zeros differ, as in Iceberg and in
// what writers sort.
type order struct {
	fields []orderField
	curve  []dimension // of a z-order; then fields are its columns
}

type orderField struct {
	child    []int // indexes along the path
	desc     bool
	optional bool // somewhere along the path
	typ      *batch.Type
}

func newOrder(row *batch.Type, by []table.SortField) (*order, error) {
	o := &order{}
	for _, s := range by {
		f := orderField{desc: s.Desc, typ: row}
		for name := range strings.SplitSeq(s.Source, ".") {
			at := -1
			if f.typ.Kind == batch.Struct {
				at = f.typ.Index(name)
			}
			if at < 0 {
				return nil, fmt.Errorf("there is no column %s to sort by", s.Source)
			}
			f.child, f.optional, f.typ = append(f.child, at), f.optional || !f.typ.Fields[at].Required, f.typ.Fields[at].Type
		}
		if f.typ.Nested() {
			return nil, fmt.Errorf("column %s: a %s has no order", s.Source, f.typ)
		}
		o.fields = append(o.fields, f)
	}
	return o, nil
}

// keys are those of the rows of a batch.
type keys struct {
	heads []uint64 // the first eight bytes of each
	tails []uint64 // the next eight
	ends  []int    // in mem
	mem   []byte
}

func (k *keys) key(i int) []byte {
	from := 0
	if i > 0 {
		from = k.ends[i-1]
	}
	return k.mem[from:k.ends[i]]
}

// sortedColumn is a column with the structs around it.
type sortedColumn struct {
	*batch.Column
	around []*batch.Column
}

func (f *orderField) of(b *batch.Batch) sortedColumn {
	c := sortedColumn{Column: b.Root}
	for _, at := range f.child {
		c.around = append(c.around, c.Column)
		c.Column = c.Children[at]
	}
	return c
}

func (c *sortedColumn) null(row int) bool {
	if c.IsNull(row) {
		return true
	}
	for _, s := range c.around {
		if s.IsNull(row) {
			return true
		}
	}
	return false
}

// fill makes the keys of all rows of a batch.
func (o *order) fill(b *batch.Batch, k *keys) {
	k.heads, k.tails, k.ends, k.mem = k.heads[:0], k.tails[:0], k.ends[:0], k.mem[:0]
	columns := make([]sortedColumn, len(o.fields))
	for i := range o.fields {
		columns[i] = o.fields[i].of(b)
	}
	for row := range b.Rows {
		from := len(k.mem)
		if o.curve != nil {
			k.mem = o.interleaved(k.mem, b, columns, row)
		} else {
			for i := range columns {
				k.mem = o.fields[i].append(k.mem, b, &columns[i], row)
			}
		}
		key := k.mem[from:]
		k.heads, k.tails, k.ends = append(k.heads, head(key)), append(k.tails, head(key[min(8, len(key)):])), append(k.ends, len(k.mem))
	}
}

func head(key []byte) (h uint64) {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	for i := range 8 {
		h <<= 8
		if i < len(key) {
			h |= uint64(key[i])
		}
	}
	return h
}

func (f *orderField) append(to []byte, b *batch.Batch, c *sortedColumn, row int) []byte {
	from := len(to)
	if f.optional {
		if c.null(row) {
			to = append(to, 0)
			if f.desc {
				to[from] = 0xff
			}
			return to
		}
		to = append(to, 1)
	}
	const top = 1 << 63
	switch f.typ.Store() {
	case batch.StoreBool:
		v := byte(0)
		if c.Bools[row] {
			v = 1
		}
		to = append(to, v)
	case batch.StoreInt32:
		to = binary.BigEndian.AppendUint32(to, uint32(c.Int32[row])^(1<<31))
	case batch.StoreView:
		to = f.bytes(to, b.Bytes(c.Views[row]))
	case batch.StoreInt64:
		to = binary.BigEndian.AppendUint64(to, uint64(c.Int64[row])^top)
	case batch.StoreFloat32:
		to = binary.BigEndian.AppendUint64(to, batch.FloatRank(float64(c.Float32[row])))
	default:
		to = binary.BigEndian.AppendUint64(to, batch.FloatRank(c.Float64[row]))
	}
	if f.desc {
		for i := from; i < len(to); i++ {
			to[i] = ^to[i]
		}
	}
	return to
}

// bytes ends texts so that a key that goes on is not taken for a longer text.
func (f *orderField) bytes(to, v []byte) []byte {
	switch f.typ.Kind {
	case batch.Decimal:
		at := len(to)
		to = append(to, v...)
		to[at] ^= 0x80
		return to
	case batch.UUID, batch.Fixed:
		return append(to, v...)
	}
	for {
		zero := bytes.IndexByte(v, 0)
		if zero < 0 {
			return append(append(to, v...), 0, 0)
		}
		to = append(append(to, v[:zero]...), 0, 0xff)
		v = v[zero+1:]
	}
}

// dimension is how the values of a column are spread over 64 bits, so that those of all columns count alike in a z-order.
type dimension struct {
	skip   int // bytes that all texts begin with
	lo, hi uint64
}

// interleaved appends the bits of the columns in turn, the highest first.
func (o *order) interleaved(to []byte, b *batch.Batch, columns []sortedColumn, row int) []byte {
	from, n := len(to), len(columns)
	to = append(to, make([]byte, 8*n)...)
	for i := range columns {
		v := uint64(0)
		if c := &columns[i]; !c.null(row) {
			v = o.curve[i].spread(o.fields[i].number(b.Mem, c.Column, row, o.curve[i].skip))
		}
		for v != 0 {
			bit := bits.LeadingZeros64(v)
			v &^= 1 << (63 - bit)
			at := bit*n + i
			to[from+at/8] |= 0x80 >> (at % 8)
		}
	}
	return to
}

func (d *dimension) spread(v uint64) uint64 {
	v = min(max(v, d.lo), d.hi) - d.lo
	return v << bits.LeadingZeros64(d.hi-d.lo|1)
}

// number maps a value to a number of the same order, as far as 64 bits tell.
func (f *orderField) number(mem []byte, c *batch.Column, row, skip int) uint64 {
	if f.typ.Store() != batch.StoreView {
		return c.Rank(row)
	}
	v := c.Views[row]
	return f.bytesNumber(mem[v.Off:v.Off+v.Len], skip)
}

func (f *orderField) bytesNumber(v []byte, skip int) uint64 {
	if f.typ.Kind == batch.Decimal { // 16 bytes; what is beyond 64 bits is cut off
		hi, lo := int64(binary.BigEndian.Uint64(v)), binary.BigEndian.Uint64(v[8:])
		switch {
		case hi > 0 || hi == 0 && lo>>63 != 0:
			return math.MaxUint64
		case hi < -1 || hi == -1 && lo>>63 == 0:
			return 0
		}
		return lo ^ 1<<63
	}
	return head(v[min(skip, len(v)):])
}
