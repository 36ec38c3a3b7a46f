package rewrite

import (
	"hash/maphash"
	"math"
	"math/bits"

	"github.com/lakeloader/lakeloader/batch"
)

// rowSum is a hash of a set of rows, in which equal rows count as often as they are there. Each row has a hash of 64 bits with
// a random seed, and these are added up. Columns are hashed one after the other, whole vectors at a time.
type rowSum struct {
	seed   maphash.Seed
	mix    uint64 // odd, and as random
	rows   int64
	sum    uint64
	spare  [][]uint64
	hashes []uint64
}

func newRowSum() *rowSum {
	s := &rowSum{seed: maphash.MakeSeed()}
	s.mix = maphash.Bytes(s.seed, []byte("rows")) | 1
	return s
}

// like is an empty sum that can be compared with s.
func (s *rowSum) like() *rowSum { return &rowSum{seed: s.seed, mix: s.mix} }

func (s *rowSum) same(o *rowSum) bool { return s.rows == o.rows && s.sum == o.sum }

// add adds all rows of a batch.
func (s *rowSum) add(b *batch.Batch) {
	for _, h := range s.of(b) {
		s.sum += h
	}
	s.rows += int64(b.Rows)
}

// some adds some rows of a batch.
func (s *rowSum) some(b *batch.Batch, rows []int32) {
	h := s.of(b)
	for _, r := range rows {
		s.sum += h[r]
	}
	s.rows += int64(len(rows))
}

func (s *rowSum) of(b *batch.Batch) []uint64 {
	if cap(s.hashes) < b.Rows {
		s.hashes = make([]uint64, b.Rows)
	}
	h := s.hashes[:b.Rows]
	s.column(b, b.Root, h)
	return h
}

// Hashes of what is no value.
const (
	hashNull = 0x9e3779b97f4a7c15
	hashMore = 0xd6e8feb86659fd93
)

// fold joins two hashes so that their order counts.
func (s *rowSum) fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^s.mix, b^hashMore)
	return hi ^ lo ^ bits.RotateLeft64(a, 29)
}

// column gives the hash of each slot of a column. A null has one of its own, whatever its slot holds.
func (s *rowSum) column(b *batch.Batch, c *batch.Column, to []uint64) {
	switch c.Type.Store() {
	case batch.StoreBool:
		for i, v := range c.Bools {
			to[i] = s.mix * 3
			if v {
				to[i] = s.mix * 5
			}
		}
	case batch.StoreInt32:
		for i, v := range c.Int32 {
			to[i] = s.number(uint64(uint32(v)))
		}
	case batch.StoreInt64:
		for i, v := range c.Int64 {
			to[i] = s.number(uint64(v))
		}
	case batch.StoreFloat32:
		for i, v := range c.Float32 {
			to[i] = s.number(uint64(math.Float32bits(v)))
		}
	case batch.StoreFloat64:
		for i, v := range c.Float64 {
			to[i] = s.number(math.Float64bits(v))
		}
	case batch.StoreView:
		s.views(b.Mem, c.Views, to)
	case batch.StoreList:
		s.lists(b, c, to)
	default:
		s.structs(b, c, to)
	}
	if c.Valid != nil {
		for i, ok := range c.Valid {
			if !ok {
				to[i] = hashNull
			}
		}
	}
}

func (s *rowSum) number(v uint64) uint64 {
	hi, lo := bits.Mul64(v^hashNull, s.mix)
	return hi ^ lo
}

// views hashes texts, and those that lie where others do that were met shortly before, once.
func (s *rowSum) views(mem []byte, views []batch.View, to []uint64) {
	var recent [64]struct {
		batch.View
		hash uint64
	}
	empty := maphash.Bytes(s.seed, nil)
	for i, v := range views {
		if v.Len == 0 {
			to[i] = empty
			continue
		}
		r := &recent[(v.Off*31>>4^v.Off)%64]
		if r.View != v {
			r.View, r.hash = v, maphash.Bytes(s.seed, mem[v.Off:v.Off+v.Len])
		}
		to[i] = r.hash
	}
}

func (s *rowSum) structs(b *batch.Batch, c *batch.Column, to []uint64) {
	clear(to[:c.Len])
	child := s.borrow(c.Len)
	for _, k := range c.Children {
		s.column(b, k, child)
		for i, h := range child {
			to[i] = s.fold(to[i], h)
		}
	}
	s.give(child)
}

func (s *rowSum) lists(b *batch.Batch, c *batch.Column, to []uint64) {
	for i := range c.Len {
		to[i] = s.number(uint64(c.Starts[i+1] - c.Starts[i]))
	}
	for _, k := range c.Children { // one of a list, two of a map
		child := s.borrow(k.Len)
		s.column(b, k, child)
		for i := range c.Len {
			for _, h := range child[c.Starts[i]:c.Starts[i+1]] {
				to[i] = s.fold(to[i], h)
			}
		}
		s.give(child)
	}
}

func (s *rowSum) borrow(n int) []uint64 {
	if last := len(s.spare) - 1; last >= 0 {
		h := s.spare[last]
		s.spare = s.spare[:last]
		if cap(h) >= n {
			return h[:n]
		}
	}
	return make([]uint64, n)
}

func (s *rowSum) give(h []uint64) { s.spare = append(s.spare, h) }
