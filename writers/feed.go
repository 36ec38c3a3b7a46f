package writers

import (
	"encoding/binary"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// feed is where a column's buffer takes values from: slots of a batch column, all of them present.
type feed struct {
	bound
	leaf  *leaf
	col   *batch.Column
	mem   []byte
	slots []int32 // not taken yet
	nan   int64   // NaN taken so far
}

// into appends the next n values, in their physical form.
func (f *feed) into(v *values, n int) error {
	if n > len(f.slots) {
		return fmt.Errorf("column %s: %d values were asked for, %d are there", f.leaf.name(), n, len(f.slots))
	}
	slots := f.slots[:n]
	f.slots = f.slots[n:]
	c := f.col
	switch f.conv {
	case toBool:
		f.bools(v, slots)
		return nil
	case toInt32:
		v.int32s = pack(v.int32s, c.Int32, slots)
	case toInt64:
		v.int64s = pack(v.int64s, c.Int64, slots)
	case toFloat:
		v.floats = pack(v.floats, c.Float32, slots)
		f.nan += nans(v.floats[v.n:])
	case toDouble:
		v.doubles = pack(v.doubles, c.Float64, slots)
		f.nan += nans(v.doubles[v.n:])
	case int32ToInt64:
		for _, s := range slots {
			v.int64s = append(v.int64s, int64(c.Int32[s]))
		}
	case floatToDouble:
		for _, s := range slots {
			v.doubles = append(v.doubles, float64(c.Float32[s]))
		}
		f.nan += nans(v.doubles[v.n:])
	case toBytes:
		f.text(v, slots)
		return nil
	default:
		return f.rare(v, slots)
	}
	v.n += n
	return nil
}

// pack appends the slots of src, as one copy where they are a range.
func pack[T any](dst, src []T, slots []int32) []T {
	if n := len(slots); n > 0 && int(slots[n-1]-slots[0]) == n-1 && ascends(slots) {
		return append(dst, src[slots[0]:int(slots[0])+n]...)
	}
	for _, s := range slots {
		dst = append(dst, src[s])
	}
	return dst
}

// ascends tells a range from a permutation of one, which sorting makes.
func ascends(slots []int32) bool {
	for i, s := range slots {
		if s != slots[0]+int32(i) {
			return false
		}
	}
	return true
}

func nans[T float32 | float64](s []T) (n int64) {
	for _, x := range s {
		if x != x {
			n++
		}
	}
	return n
}

func (f *feed) bools(v *values, slots []int32) {
	for _, s := range slots {
		if v.n%8 == 0 {
			v.bits = append(v.bits, 0)
		}
		if f.col.Bools[s] {
			v.bits[v.n/8] |= 1 << (v.n % 8)
		}
		v.n++
	}
}

func (f *feed) text(v *values, slots []int32) {
	if v.n == 0 {
		v.offsets = append(v.offsets[:0], 0)
	}
	views, mem := f.col.Views, f.mem
	for _, s := range slots {
		w := views[s]
		v.bytes = append(v.bytes, mem[w.Off:w.Off+w.Len]...)
		v.offsets = append(v.offsets, uint32(len(v.bytes)))
	}
	v.n += len(slots)
}

// rare does the conversions that check each value.
func (f *feed) rare(v *values, slots []int32) error {
	for _, s := range slots {
		switch f.conv {
		case int64ToInt32:
			x := f.col.Int64[s]
			if int64(int32(x)) != x {
				return f.tooWide()
			}
			v.int32s = append(v.int32s, int32(x))
			v.n++
		case int64ToFixed:
			var d [16]byte
			x := f.col.Int64[s]
			binary.BigEndian.PutUint64(d[:], uint64(x>>63))
			binary.BigEndian.PutUint64(d[8:], uint64(x))
			v.addBytes(d[16-f.size:])
		case wideToFixed:
			d := f.view(s)
			if len(d) != 16 {
				return fmt.Errorf("column %s: a decimal has %d bytes instead of 16", f.leaf.name(), len(d))
			}
			sign := byte(int8(d[16-f.size]) >> 7)
			for _, x := range d[:16-f.size] {
				if x != sign {
					return f.tooWide()
				}
			}
			v.addBytes(d[16-f.size:])
		case toFixed:
			d := f.view(s)
			if len(d) != f.size {
				return fmt.Errorf("column %s: a value has %d bytes, the type %s needs %d", f.leaf.name(), len(d), f.leaf.typ, f.size)
			}
			v.addBytes(d)
		default:
			return fmt.Errorf("column %s: no conversion to %s", f.leaf.name(), f.leaf.typ)
		}
	}
	return nil
}

func (f *feed) view(slot int32) []byte {
	v := f.col.Views[slot]
	return f.mem[v.Off : v.Off+v.Len]
}

func (f *feed) tooWide() error {
	return fmt.Errorf("column %s: a value has more digits than the type %s", f.leaf.name(), f.leaf.typ)
}

// buffer holds the values of one page. parquet-go asks it to write parquet.Values, 24 bytes each, which would have to be
// made one by one and taken apart again; only their levels mean something here (the library's buffers around this one
// keep them), while the values themselves come from the feed, in the same order. That saves about half of the time for
// required columns and two thirds for optional ones (parquet.Value.Level alone costs 25 ns).
//
// Only the methods below are ever called for columns that are written by WriteRowValues; the embedded interface is nil.
type buffer struct {
	parquet.ColumnBuffer
	typ    *leafType
	feed   *feed
	values values
}

func (b *buffer) WriteValues(v []parquet.Value) (int, error) {
	if err := b.feed.into(&b.values, len(v)); err != nil {
		return 0, err
	}
	return len(v), nil
}

func (b *buffer) Page() parquet.Page             { return &page{typ: b.typ, values: &b.values} }
func (b *buffer) Type() parquet.Type             { return b.typ }
func (b *buffer) Dictionary() parquet.Dictionary { return nil }
func (b *buffer) Reset()                         { b.values.reset() }
func (b *buffer) Len() int                       { return b.values.n }
func (b *buffer) NumValues() int64               { return int64(b.values.n) }
func (b *buffer) Size() int64                    { return b.values.memory() }

// page is the content of a buffer or a dictionary. The embedded interface is nil, see buffer.
type page struct {
	parquet.Page
	typ    parquet.Type
	values *values
}

func (p *page) Type() parquet.Type                      { return p.typ }
func (p *page) Dictionary() parquet.Dictionary          { return nil }
func (p *page) NumRows() int64                          { return int64(p.values.n) }
func (p *page) NumValues() int64                        { return int64(p.values.n) }
func (p *page) NumNulls() int64                         { return 0 }
func (p *page) Size() int64                             { return p.values.memory() }
func (p *page) RepetitionLevels() []byte                { return nil }
func (p *page) DefinitionLevels() []byte                { return nil }
func (p *page) Data() encoding.Values                   { return p.values.data() }
func (p *page) Bounds() (lo, hi parquet.Value, ok bool) { return p.values.bounds(nil) }
