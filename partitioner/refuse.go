package partitioner

import (
	"fmt"
	"math"
	"math/big"

	"github.com/lakeloader/lakeloader/batch"
)

// The microseconds whose hour fits into the four bytes of a partition value: the years -242976 to 246953.
const (
	firstHour = math.MinInt32 * microsPerHour
	lastHour  = (math.MaxInt32+1)*microsPerHour - 1
)

// refuse is Splitter.Refuse for one field that is bound to the batch.
func (f *field) refuse(b *batch.Batch) {
	c := f.chain[len(f.chain)-1]
	switch {
	case f.transform == "hour":
		for row, v := range c.Int64 {
			if v < firstHour || v > lastHour {
				f.reject(b, row, "the hour of the timestamp %d (in microseconds since 1970) does not fit into a partition value", v)
			}
		}
	case f.typ.Kind == batch.Int:
		for row, v := range c.Int32 {
			if truncInt(int64(v), f.param) < math.MinInt32 {
				f.reject(b, row, "%d cannot be rounded down to a multiple of %d: that is no %s", v, f.param, f.typ)
			}
		}
	case f.typ.Kind == batch.Long:
		// An int that became a long in the table has room enough.
		for row, v := range c.Int64 {
			if truncInt(v, f.param) > v {
				f.reject(b, row, "%d cannot be rounded down to a multiple of %d: that is no %s", v, f.param, f.typ)
			}
		}
	case f.typ.Kind == batch.Decimal:
		f.refuseDecimals(b, c)
	}
}

// refuseDecimals: rounding down makes negative numbers longer, perhaps beyond their precision.
func (f *field) refuseDecimals(b *batch.Batch, c *batch.Column) {
	least := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(f.typ.Precision)), nil)
	least.Neg(least)
	width := big.NewInt(f.param)
	check := func(row int, v *big.Int) {
		rest := new(big.Int).Mod(v, width)
		if rest.Sub(v, rest).Cmp(least) <= 0 {
			f.reject(b, row, "%s cannot be rounded down to a multiple of %d: that has more digits than the type %s", decimalText(v, f.typ.Scale), f.param, f.typ)
		}
	}
	for row, v := range c.Int64 {
		if v < 0 {
			check(row, big.NewInt(v))
		}
	}
	for row, v := range c.Views {
		if v.Len > 0 && b.Mem[v.Off]&0x80 != 0 {
			check(row, bigOf(bytesAt(b.Mem, v)))
		}
	}
}

func (f *field) reject(b *batch.Batch, row int, format string, args ...any) {
	for _, c := range f.chain {
		if c.IsNull(row) {
			return
		}
	}
	if b.Fate[row] == batch.Keep {
		b.Reject(row, "partition", f.name, "partition field "+f.name+": "+fmt.Sprintf(format, args...))
	}
}
