package schemas

import (
	"bytes"
	"hash/maphash"

	"github.com/lakeloader/lakeloader/batch"
)

// uniqueKeys finds a key that a map holds twice: readers of Parquet refuse such a map, or take any of the two. Its
// memory is used again.
type uniqueKeys struct {
	seed  maphash.Seed
	table []int32 // open addressing: slot+1, 0: free
}

// repeated returns the first slot from `from` on whose key an earlier one has too, or -1.
func (u *uniqueKeys) repeated(c *batch.Column, mem []byte, from int) int {
	n := c.Len - from
	if n <= 8 {
		for i := from + 1; i < c.Len; i++ {
			for j := from; j < i; j++ {
				if sameKey(c, mem, i, j) {
					return i
				}
			}
		}
		return -1
	}
	if u.table == nil {
		u.seed = maphash.MakeSeed()
	}
	size := 32
	for size < 2*n {
		size *= 2
	}
	if cap(u.table) < size {
		u.table = make([]int32, size)
	}
	u.table = u.table[:size]
	clear(u.table)
	for i := from; i < c.Len; i++ {
		at := u.hash(c, mem, i) & uint64(size-1)
		for u.table[at] != 0 {
			if sameKey(c, mem, i, int(u.table[at]-1)) {
				return i
			}
			at = (at + 1) & uint64(size-1)
		}
		u.table[at] = int32(i + 1)
	}
	return -1
}

func (u *uniqueKeys) hash(c *batch.Column, mem []byte, i int) uint64 {
	switch c.Type.Store() {
	case batch.StoreInt32:
		return maphash.Comparable(u.seed, c.Int32[i])
	case batch.StoreInt64:
		return maphash.Comparable(u.seed, c.Int64[i])
	case batch.StoreView:
		return maphash.Bytes(u.seed, viewed(mem, c.Views[i]))
	}
	return 0
}

func sameKey(c *batch.Column, mem []byte, i, j int) bool {
	switch c.Type.Store() {
	case batch.StoreBool:
		return c.Bools[i] == c.Bools[j]
	case batch.StoreInt32:
		return c.Int32[i] == c.Int32[j]
	case batch.StoreInt64:
		return c.Int64[i] == c.Int64[j]
	case batch.StoreView:
		return bytes.Equal(viewed(mem, c.Views[i]), viewed(mem, c.Views[j]))
	}
	return false
}

func viewed(mem []byte, v batch.View) []byte { return mem[v.Off : v.Off+v.Len] }
