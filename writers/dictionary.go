package writers

import (
	"bytes"
	"math"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// dictionary numbers the distinct values of a column in a row group. The embedded interface is nil, see buffer.
type dictionary struct {
	parquet.Dictionary
	typ     *leafType
	values  values
	numbers map[uint64]int32 // of numbers, by their bits
	texts   map[string]int32
	recent  [256]int32 // one more than the number of a value met before, by a cheap hash
	buffers int        // made by the type so far
	seen    []bool     // scratch
	used    []int32    // scratch
}

func newDictionary(t *leafType) *dictionary {
	return &dictionary{typ: t, values: newValues(t), numbers: map[uint64]int32{}, texts: map[string]int32{}}
}

func (d *dictionary) Type() parquet.Type { return &indexedType{leafType: d.typ, dict: d} }
func (d *dictionary) Len() int           { return d.values.n }
func (d *dictionary) Size() int64        { return d.values.memory() }
func (d *dictionary) Page() parquet.Page { return &page{typ: d.typ, values: &d.values} }

func (d *dictionary) Reset() {
	d.values.reset()
	clear(d.numbers)
	clear(d.texts)
	d.recent = [256]int32{}
}

// index gives the number of a byte array.
func (d *dictionary) index(b []byte) int32 {
	h := uint8(len(b)) * 31
	if len(b) > 0 {
		h ^= b[0]*7 ^ b[len(b)/2]*3 ^ b[len(b)-1]
	}
	if n := d.recent[h]; n > 0 && bytes.Equal(b, d.values.at(int(n-1))) {
		return n - 1
	}
	n, ok := d.texts[string(b)]
	if !ok {
		n = int32(d.values.n)
		d.texts[string(b)] = n
		d.values.addBytes(b)
	}
	d.recent[h] = n + 1
	return n
}

// number gives the number of a value by its bits; add appends it when it is new.
func (d *dictionary) number(bits uint64, known func(int32) uint64, add func()) int32 {
	h := uint8(bits ^ bits>>8 ^ bits>>16 ^ bits>>32)
	if n := d.recent[h]; n > 0 && known(n-1) == bits {
		return n - 1
	}
	n, ok := d.numbers[bits]
	if !ok {
		n = int32(d.values.n)
		d.numbers[bits] = n
		add()
		d.values.n++
	}
	d.recent[h] = n + 1
	return n
}

// indexes appends the numbers of the values in v.
func (d *dictionary) indexes(out []int32, v *values) []int32 {
	w := &d.values
	switch v.kind {
	case parquet.Int32:
		for _, x := range v.int32s {
			out = append(out, d.number(uint64(uint32(x)), func(i int32) uint64 { return uint64(uint32(w.int32s[i])) },
				func() { w.int32s = append(w.int32s, x) }))
		}
	case parquet.Int64:
		for _, x := range v.int64s {
			out = append(out, d.number(uint64(x), func(i int32) uint64 { return uint64(w.int64s[i]) },
				func() { w.int64s = append(w.int64s, x) }))
		}
	case parquet.Float:
		for _, x := range v.floats {
			out = append(out, d.number(uint64(math.Float32bits(x)), func(i int32) uint64 { return uint64(math.Float32bits(w.floats[i])) },
				func() { w.floats = append(w.floats, x) }))
		}
	case parquet.Double:
		for _, x := range v.doubles {
			out = append(out, d.number(math.Float64bits(x), func(i int32) uint64 { return math.Float64bits(w.doubles[i]) },
				func() { w.doubles = append(w.doubles, x) }))
		}
	default:
		for i := range v.n {
			out = append(out, d.index(v.at(i)))
		}
	}
	return out
}

// indexedType is the type of a column that is written with a dictionary. When the dictionary grows too large, the
// library asks it for a second buffer, for the plain values of the rest of the row group.
type indexedType struct {
	*leafType
	dict *dictionary
}

func (t *indexedType) NewColumnBuffer(column, n int) parquet.ColumnBuffer {
	if t.dict.buffers++; t.dict.buffers > 1 {
		return t.leafType.NewColumnBuffer(column, n)
	}
	return &indexBuffer{typ: t, feed: t.feed, taken: newValues(t.leafType)}
}

// indexBuffer is buffer for a column with a dictionary.
type indexBuffer struct {
	parquet.ColumnBuffer
	typ     *indexedType
	feed    *feed
	taken   values
	indexes []int32
	grown   int64 // by how much the dictionary grew in this page
}

func (b *indexBuffer) WriteValues(v []parquet.Value) (int, error) {
	dict, before := b.typ.dict, b.typ.dict.Size()
	f := b.feed
	if n := len(v); f.conv == toBytes && n <= len(f.slots) {
		b.texts(f.slots[:n])
		f.slots = f.slots[n:]
	} else {
		b.taken.reset()
		if err := f.into(&b.taken, len(v)); err != nil {
			return 0, err
		}
		b.indexes = dict.indexes(b.indexes, &b.taken)
	}
	b.grown += dict.Size() - before
	return len(v), nil
}

// texts appends the numbers of texts. Equal ones often lie at one place, and then are not looked at again.
func (b *indexBuffer) texts(slots []int32) {
	var known [64]struct {
		batch.View
		number int32 // one more
	}
	views, dict := b.feed.col.Views, b.typ.dict
	for _, s := range slots {
		v := views[s]
		k := &known[(v.Off*31>>4^v.Off)%uint32(len(known))]
		if k.View != v || k.number == 0 {
			k.View, k.number = v, dict.index(b.feed.view(s))+1
		}
		b.indexes = append(b.indexes, k.number-1)
	}
}

func (b *indexBuffer) Page() parquet.Page             { return &indexPage{typ: b.typ, indexes: b.indexes} }
func (b *indexBuffer) Type() parquet.Type             { return b.typ }
func (b *indexBuffer) Dictionary() parquet.Dictionary { return b.typ.dict }
func (b *indexBuffer) Reset()                         { b.indexes, b.grown = b.indexes[:0], 0 }
func (b *indexBuffer) Len() int                       { return len(b.indexes) }
func (b *indexBuffer) NumValues() int64               { return int64(len(b.indexes)) }

// Size counts what the page added to the dictionary too: the library looks at the dictionary only when a page ends,
// and a page of indexes into long values would make it large.
func (b *indexBuffer) Size() int64 { return 4*int64(len(b.indexes)) + b.grown }

// indexPage is a page of indexes.
type indexPage struct {
	parquet.Page
	typ     *indexedType
	indexes []int32
}

func (p *indexPage) Type() parquet.Type             { return indexEncoder{p.typ} }
func (p *indexPage) Dictionary() parquet.Dictionary { return p.typ.dict }
func (p *indexPage) NumRows() int64                 { return int64(len(p.indexes)) }
func (p *indexPage) NumValues() int64               { return int64(len(p.indexes)) }
func (p *indexPage) NumNulls() int64                { return 0 }
func (p *indexPage) Size() int64                    { return 4 * int64(len(p.indexes)) }
func (p *indexPage) RepetitionLevels() []byte       { return nil }
func (p *indexPage) DefinitionLevels() []byte       { return nil }
func (p *indexPage) Data() encoding.Values          { return encoding.Int32Values(p.indexes) }

// Bounds looks at each distinct value once.
func (p *indexPage) Bounds() (lo, hi parquet.Value, ok bool) {
	if len(p.indexes) == 0 {
		return lo, hi, false
	}
	d := p.typ.dict
	d.seen = append(d.seen[:0], make([]bool, d.values.n)...)
	for _, i := range p.indexes {
		d.seen[i] = true
	}
	d.used = d.used[:0]
	for i, yes := range d.seen {
		if yes {
			d.used = append(d.used, int32(i))
		}
	}
	return d.values.bounds(d.used)
}

// indexEncoder encodes indexes instead of values.
type indexEncoder struct{ *indexedType }

func (indexEncoder) Encode(dst []byte, src encoding.Values, e encoding.Encoding) ([]byte, error) {
	return encoding.EncodeInt32(dst, src, e)
}
