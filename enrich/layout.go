package enrich

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"

	"github.com/lakeloader/lakeloader/batch"
)

// layout says how a row lies in memory, one after the other:
//
//	next uint32     the next row of the same key (see Table); 0: none
//	size uint32     bytes of the row, with this head
//	identity        two uint64 when the table's rows have one (see Table), else nothing
//	until, older    int64 and uint32 when these are versions as well: when the next one of the identity begins, and the one before
//	nulls           a bit for each column, set: no value
//	values          of the columns of a fixed width, each at a place of its own
//	ends            of the other columns: where the bytes of each end, from the beginning of the row, uint32
//	bytes           of the other columns
//
// So any value of a row is found without looking at others.
type layout struct {
	row      *batch.Type
	columns  []place
	identity int // where it is; 0: there is none
	until    int // where it is, with older behind it; 0: there is none
	nulls    int
	ends     int
	bytes    int // where they begin
}

// place is where a column's values are.
type place struct {
	store batch.Store
	at    int // of its value; of views the index among ends
}

const head = 8

func newLayout(row *batch.Type, identified, versions bool) (*layout, error) {
	l := &layout{row: row, columns: make([]place, len(row.Fields)), nulls: head}
	if identified {
		l.identity = head
		l.nulls += 16
		if versions {
			l.until = l.nulls
			l.nulls += 12
		}
	}
	at, views := l.nulls+(len(row.Fields)+7)/8, 0
	for i, f := range row.Fields {
		p := &l.columns[i]
		p.store = f.Type.Store()
		switch p.store {
		case batch.StoreBool:
			p.at = at
			at++
		case batch.StoreInt32, batch.StoreFloat32:
			p.at = at
			at += 4
		case batch.StoreInt64, batch.StoreFloat64:
			p.at = at
			at += 8
		case batch.StoreView:
			p.at = views
			views++
		default:
			return nil, fmt.Errorf("column %s is a %s: a lookup keeps columns of single values only", f.Name, f.Type.Kind)
		}
	}
	l.ends, l.bytes = at, at+4*views
	return l, nil
}

func (l *layout) null(row []byte, c int) bool { return row[l.nulls+c>>3]&(1<<(c&7)) != 0 }

// view is the bytes of a column's value.
func (l *layout) view(row []byte, index int) []byte {
	from := l.bytes
	end := l.ends + 4*index
	if index > 0 {
		from = int(binary.LittleEndian.Uint32(row[end-4:]))
	}
	return row[from:binary.LittleEndian.Uint32(row[end:])]
}

// append writes a row of columns behind dst. The head is zero but for the size.
func (l *layout) append(dst []byte, mem []byte, columns []*batch.Column, r int, id [2]uint64) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, l.bytes)...)
	if l.identity > 0 {
		binary.LittleEndian.PutUint64(dst[start+l.identity:], id[0])
		binary.LittleEndian.PutUint64(dst[start+l.identity+8:], id[1])
	}
	for i, c := range columns {
		p := l.columns[i]
		if c.IsNull(r) {
			dst[start+l.nulls+i>>3] |= 1 << (i & 7)
		}
		at := start + p.at
		switch p.store {
		case batch.StoreBool:
			if c.Bools[r] {
				dst[at] = 1
			}
		case batch.StoreInt32:
			binary.LittleEndian.PutUint32(dst[at:], uint32(c.Int32[r]))
		case batch.StoreFloat32:
			binary.LittleEndian.PutUint32(dst[at:], math.Float32bits(c.Float32[r]))
		case batch.StoreInt64:
			binary.LittleEndian.PutUint64(dst[at:], uint64(c.Int64[r]))
		case batch.StoreFloat64:
			binary.LittleEndian.PutUint64(dst[at:], math.Float64bits(c.Float64[r]))
		case batch.StoreView:
			if !c.IsNull(r) {
				v := c.Views[r]
				dst = append(dst, mem[v.Off:v.Off+v.Len]...)
			}
			binary.LittleEndian.PutUint32(dst[start+l.ends+4*p.at:], uint32(len(dst)-start))
		}
	}
	binary.LittleEndian.PutUint32(dst[start+4:], uint32(len(dst)-start))
	return dst
}

// blank appends a row without values.
func (l *layout) blank(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, l.bytes)...)
	row := dst[start:]
	for i := range l.columns {
		row[l.nulls+i>>3] |= 1 << (i & 7)
	}
	for at := l.ends; at < l.bytes; at += 4 {
		binary.LittleEndian.PutUint32(row[at:], uint32(l.bytes))
	}
	binary.LittleEndian.PutUint32(row[4:], uint32(l.bytes))
	return dst
}

// id is the identity of a row: 128 bits of what a record's key says.
func (l *layout) id(row []byte) [2]uint64 {
	return [2]uint64{binary.LittleEndian.Uint64(row[l.identity:]), binary.LittleEndian.Uint64(row[l.identity+8:])}
}

// hasher makes 64 bits of keys. Its seeds are random, so that nobody can choose keys that collide.
type hasher struct {
	seed  maphash.Seed
	other maphash.Seed
	salt  uint64
}

func newHasher() hasher {
	h := hasher{seed: maphash.MakeSeed(), other: maphash.MakeSeed()}
	h.salt = maphash.Bytes(h.seed, nil)
	return h
}

// both makes 128 bits.
func (h hasher) both(b []byte) [2]uint64 {
	return [2]uint64{maphash.Bytes(h.seed, b), maphash.Bytes(h.other, b)}
}

// mix is the finalizer of MurmurHash3.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// hash makes the hashes of some rows of a key, column by column. Whole numbers of either width hash alike.
func (h hasher) hash(dst []uint64, mem []byte, key []*batch.Column) {
	for i := range dst {
		dst[i] = h.salt
	}
	for _, c := range key {
		switch c.Type.Store() {
		case batch.StoreBool:
			for i, v := range c.Bools {
				dst[i] = mix(dst[i] + truth(v))
			}
		case batch.StoreInt32:
			for i, v := range c.Int32 {
				dst[i] = mix(dst[i] + uint64(int64(v))*odd)
			}
		case batch.StoreInt64:
			for i, v := range c.Int64 {
				dst[i] = mix(dst[i] + uint64(v)*odd)
			}
		case batch.StoreView:
			for i, v := range c.Views {
				dst[i] = mix(dst[i] + maphash.Bytes(h.seed, mem[v.Off:v.Off+v.Len]))
			}
		}
	}
}

const odd = 0x9e3779b97f4a7c15

// row is hash for one row.
func (h hasher) row(mem []byte, key []*batch.Column, r int) uint64 {
	sum := h.salt
	for _, c := range key {
		switch c.Type.Store() {
		case batch.StoreBool:
			sum = mix(sum + truth(c.Bools[r]))
		case batch.StoreView:
			v := c.Views[r]
			sum = mix(sum + maphash.Bytes(h.seed, mem[v.Off:v.Off+v.Len]))
		default:
			sum = mix(sum + uint64(whole(c, r))*odd)
		}
	}
	return sum
}

// stored is hash for a row of the table.
func (h hasher) stored(l *layout, key []int, row []byte) uint64 {
	sum := h.salt
	for _, k := range key {
		switch p := l.columns[k]; p.store {
		case batch.StoreBool:
			sum = mix(sum + uint64(row[p.at]))
		case batch.StoreView:
			sum = mix(sum + maphash.Bytes(h.seed, l.view(row, p.at)))
		default:
			sum = mix(sum + uint64(l.whole(row, p))*odd)
		}
	}
	return sum
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// equal reports whether a row has the key that columns have.
func (l *layout) equal(row []byte, keyAt []int, mem []byte, key []*batch.Column, r int) bool {
	for i, c := range key {
		p := l.columns[keyAt[i]]
		switch p.store {
		case batch.StoreBool:
			if (row[p.at] == 1) != c.Bools[r] {
				return false
			}
		case batch.StoreInt32, batch.StoreInt64:
			if l.whole(row, p) != whole(c, r) {
				return false
			}
		case batch.StoreView:
			v := c.Views[r]
			if string(l.view(row, p.at)) != string(mem[v.Off:v.Off+v.Len]) {
				return false
			}
		}
	}
	return true
}

func (l *layout) whole(row []byte, p place) int64 {
	if p.store == batch.StoreInt32 {
		return int64(int32(binary.LittleEndian.Uint32(row[p.at:])))
	}
	return int64(binary.LittleEndian.Uint64(row[p.at:]))
}

func whole(c *batch.Column, r int) int64 {
	if c.Type.Store() == batch.StoreInt32 {
		return int64(c.Int32[r])
	}
	return c.Int64[r]
}

// comparable says why a column cannot be compared with one of a key; "": it can.
func comparable(row, key *batch.Type) string {
	wholeNumber := func(t *batch.Type) bool { return t.Kind == batch.Int || t.Kind == batch.Long }
	switch {
	case key.Nested():
		return "a " + key.Kind.String() + " cannot be a key"
	case key.Kind == batch.Float || key.Kind == batch.Double:
		return "a " + key.Kind.String() + " cannot be a key, since equal numbers may differ in their last digits"
	case row.Equal(key), wholeNumber(row) && wholeNumber(key):
		return ""
	case row.Kind == batch.Decimal && key.Kind == batch.Decimal && row.Scale == key.Scale && row.Store() == key.Store():
		return ""
	}
	return fmt.Sprintf("a %s cannot be compared with a %s", row, key)
}
