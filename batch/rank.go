package batch

import "math"

// Rank maps a value that is no view, list or struct to a number of the same order. The row must not be null.
func (c *Column) Rank(row int) uint64 {
	const top = 1 << 63
	switch c.Type.Store() {
	case StoreBool:
		if c.Bools[row] {
			return 1
		}
	case StoreInt32:
		return uint64(int64(c.Int32[row])) ^ top
	case StoreInt64:
		return uint64(c.Int64[row]) ^ top
	case StoreFloat32:
		return FloatRank(float64(c.Float32[row]))
	case StoreFloat64:
		return FloatRank(c.Float64[row])
	}
	return 0
}

// FloatRank maps a number to one of the same order. NaN is the greatest.
func FloatRank(v float64) uint64 {
	if math.IsNaN(v) {
		return math.MaxUint64
	}
	u := math.Float64bits(v)
	if u>>63 != 0 {
		return ^u
	}
	return u | 1<<63
}
