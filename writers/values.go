package writers

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// values are present values of one physical type, as the library's encoders take them.
type values struct {
	kind    parquet.Kind
	size    int // of fixed-length values
	signed  bool
	n       int
	bits    []byte // booleans, eight to a byte
	int32s  []int32
	int64s  []int64
	floats  []float32
	doubles []float64
	bytes   []byte   // of byte arrays, one after the other
	offsets []uint32 // n+1 of them, for byte arrays of variable length
}

func newValues(t *leafType) values {
	v := values{kind: t.Kind(), signed: t.signed}
	if v.kind == parquet.FixedLenByteArray {
		v.size = t.Length()
	}
	return v
}

func (v *values) reset() {
	v.n = 0
	v.bits, v.int32s, v.int64s, v.floats, v.doubles = v.bits[:0], v.int32s[:0], v.int64s[:0], v.floats[:0], v.doubles[:0]
	v.bytes, v.offsets = v.bytes[:0], v.offsets[:0]
}

// memory is how many bytes the values take.
func (v *values) memory() int64 {
	return int64(len(v.bits) + 4*(len(v.int32s)+len(v.floats)+len(v.offsets)) + 8*(len(v.int64s)+len(v.doubles)) + len(v.bytes))
}

func (v *values) addBytes(b []byte) {
	if v.size == 0 {
		if v.n == 0 {
			v.offsets = append(v.offsets[:0], 0)
		}
		v.bytes = append(v.bytes, b...)
		v.offsets = append(v.offsets, uint32(len(v.bytes)))
	} else {
		v.bytes = append(v.bytes, b...)
	}
	v.n++
}

func (v *values) at(i int) []byte {
	if v.size > 0 {
		return v.bytes[i*v.size : (i+1)*v.size]
	}
	return v.bytes[v.offsets[i]:v.offsets[i+1]]
}

// data is what an encoder takes.
func (v *values) data() encoding.Values {
	switch v.kind {
	case parquet.Boolean:
		return encoding.BooleanValues(v.bits)
	case parquet.Int32:
		return encoding.Int32Values(v.int32s)
	case parquet.Int64:
		return encoding.Int64Values(v.int64s)
	case parquet.Float:
		return encoding.FloatValues(v.floats)
	case parquet.Double:
		return encoding.DoubleValues(v.doubles)
	case parquet.FixedLenByteArray:
		return encoding.FixedLenByteArrayValues(v.bytes, v.size)
	}
	if v.n == 0 {
		return encoding.ByteArrayValues(nil, []uint32{0})
	}
	return encoding.ByteArrayValues(v.bytes, v.offsets)
}

// bounds gives the least and greatest of the values that some names, all if it is nil. NaN counts only where there is
// nothing else, as in the library.
func (v *values) bounds(some []int32) (lo, hi parquet.Value, ok bool) {
	if v.n == 0 {
		return lo, hi, false
	}
	switch v.kind {
	case parquet.Boolean:
		a, b := true, false
		for i := range v.n {
			bit := v.bits[i/8]>>(i%8)&1 != 0
			a, b = a && bit, b || bit
		}
		return parquet.BooleanValue(a), parquet.BooleanValue(b), true
	case parquet.Int32:
		a, b := extremes(v.int32s, some)
		return parquet.Int32Value(a), parquet.Int32Value(b), true
	case parquet.Int64:
		a, b := extremes(v.int64s, some)
		return parquet.Int64Value(a), parquet.Int64Value(b), true
	case parquet.Float:
		a, b := extremes(v.floats, some)
		return parquet.FloatValue(a), parquet.FloatValue(b), true
	case parquet.Double:
		a, b := extremes(v.doubles, some)
		return parquet.DoubleValue(a), parquet.DoubleValue(b), true
	}
	a, b := v.extremes(some)
	if v.kind == parquet.FixedLenByteArray {
		return parquet.FixedLenByteArrayValue(v.at(a)), parquet.FixedLenByteArrayValue(v.at(b)), true
	}
	return parquet.ByteArrayValue(shortLower(v.at(a))), parquet.ByteArrayValue(shortUpper(v.at(b))), true
}

func extremes[T int32 | int64 | float32 | float64](s []T, some []int32) (lo, hi T) {
	if some != nil {
		lo, hi = s[some[0]], s[some[0]]
		for _, i := range some {
			lo, hi = narrow(lo, hi, s[i])
		}
		return lo, hi
	}
	lo, hi = s[0], s[0]
	for _, x := range s {
		lo, hi = narrow(lo, hi, x)
	}
	return lo, hi
}

// narrow widens the range [lo, hi] to x. A range of NaN gives way to the first number.
func narrow[T int32 | int64 | float32 | float64](lo, hi, x T) (T, T) {
	switch {
	case x < lo:
		return x, hi
	case x > hi:
		return lo, x
	case lo != lo && x == x:
		return x, x
	}
	return lo, hi
}

// extremes finds the positions of the least and greatest byte arrays. The first eight bytes usually decide.
func (v *values) extremes(some []int32) (lo, hi int) {
	n := v.n
	if some != nil {
		n, lo, hi = len(some), int(some[0]), int(some[0])
	}
	least, most := v.prefix(lo), v.prefix(hi)
	for k := 1; k < n; k++ {
		i := k
		if some != nil {
			i = int(some[k])
		}
		p := v.prefix(i)
		if p < least || p == least && v.compare(i, lo) < 0 {
			lo, least = i, p
		}
		if p > most || p == most && v.compare(i, hi) > 0 {
			hi, most = i, p
		}
	}
	return lo, hi
}

func (v *values) compare(i, j int) int { return bytes.Compare(v.at(i), v.at(j)) }

// prefix orders values by their first eight bytes: it never contradicts the order of the whole.
func (v *values) prefix(i int) uint64 {
	b := v.at(i)
	var p uint64
	if len(b) >= 8 {
		p = binary.BigEndian.Uint64(b)
	} else {
		for k, x := range b {
			p |= uint64(x) << (56 - 8*k)
		}
	}
	if v.signed {
		p ^= math.MaxInt64 + 1
	}
	return p
}

// maxBound is the longest minimum or maximum of text and binaries that is kept. Longer ones are cut: a megabyte of text
// would otherwise be repeated in indexes and footer. 80 bytes are more than the 16 characters that Iceberg keeps.
const maxBound = 80

func shortLower(b []byte) []byte { return b[:min(len(b), maxBound)] }

func shortUpper(b []byte) []byte {
	if len(b) <= maxBound {
		return b
	}
	if up := increment(bytes.Clone(b[:maxBound])); up != nil {
		return up
	}
	return b
}

// increment gives the least byte string of at most that length that is greater than everything with the prefix b, in
// place; nil when there is none.
func increment(b []byte) []byte {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0xff {
			b[i]++
			return b[:i+1]
		}
	}
	return nil
}
