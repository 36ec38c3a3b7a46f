package schemas

import (
	"encoding/binary"
	"math/bits"
)

// maxPrecision is the greatest number of digits of a decimal in a table.
const maxPrecision = 38

// int128 is a two's-complement number, as wide as the widest decimal.
type int128 struct {
	hi int64
	lo uint64
}

// pow10 are the powers of ten up to 10^38, the bounds of each precision.
var pow10 = func() (p [maxPrecision + 1]int128) {
	p[0] = int128{0, 1}
	for i := 1; i < len(p); i++ {
		hi, lo := bits.Mul64(p[i-1].lo, 10)
		p[i] = int128{p[i-1].hi*10 + int64(hi), lo}
	}
	return p
}()

// int128Of reads big-endian two's complement of any length; ok is false if it needs more than 16 bytes.
func int128Of(b []byte) (v int128, ok bool) {
	if len(b) == 0 {
		return v, true
	}
	sign := byte(int8(b[0]) >> 7)
	for len(b) > 16 && b[0] == sign {
		b = b[1:]
	}
	if len(b) > 16 || byte(int8(b[0])>>7) != sign {
		return v, false
	}
	v.hi = int64(int8(sign))
	v.lo = uint64(v.hi)
	for _, c := range b {
		v.hi = v.hi<<8 | int64(v.lo>>56)
		v.lo = v.lo<<8 | uint64(c)
	}
	return v, true
}

// fits reports whether the absolute value has at most p digits.
func (v int128) fits(p int) bool {
	if v.hi < 0 {
		lo, borrow := bits.Sub64(0, v.lo, 0)
		hi, _ := bits.Sub64(0, uint64(v.hi), borrow)
		if int64(hi) < 0 { // the least number has no opposite, and more digits than any precision
			return false
		}
		v = int128{int64(hi), lo}
	}
	q := pow10[p]
	return v.hi < q.hi || v.hi == q.hi && v.lo < q.lo
}

// bytes is v in 16 big-endian bytes.
func (v int128) bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], uint64(v.hi))
	binary.BigEndian.PutUint64(b[8:], v.lo)
	return b
}
