package window

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Amount is an exact number, an unscaled 128-bit integer in two's complement. How many of its digits are behind the point is
// known where it is used.
type Amount struct {
	hi int64
	lo uint64
}

func small(v int64) Amount { return Amount{v >> 63, uint64(v)} }

// wide reads a decimal as batch.Column keeps those of more than 18 digits.
func wide(b []byte) Amount {
	return Amount{int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])}
}

func (a Amount) negative() bool { return a.hi < 0 }

func (a Amount) neg() Amount {
	lo, borrow := bits.Sub64(0, a.lo, 0)
	hi, _ := bits.Sub64(0, uint64(a.hi), borrow)
	return Amount{int64(hi), lo}
}

// plus adds; false: the sum does not fit.
func (a Amount) plus(b Amount) (Amount, bool) {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(uint64(a.hi), uint64(b.hi), carry)
	s := Amount{int64(hi), lo}
	return s, (a.hi < 0) != (b.hi < 0) || (s.hi < 0) == (a.hi < 0)
}

// times multiplies; false: the product does not fit.
func (a Amount) times(b Amount) (Amount, bool) {
	minus := a.negative() != b.negative()
	x, y := a.magnitude(), b.magnitude()
	if x.hi != 0 && y.hi != 0 {
		return Amount{}, false
	}
	if x.hi != 0 {
		x, y = y, x
	}
	hi, lo := bits.Mul64(x.lo, y.lo)
	over, cross := bits.Mul64(x.lo, uint64(y.hi))
	hi, carry := bits.Add64(hi, cross, 0)
	p := Amount{int64(hi), lo}
	if over != 0 || carry != 0 || p.hi < 0 {
		return Amount{}, false
	}
	if minus {
		p = p.neg()
	}
	return p, true
}

func (a Amount) magnitude() Amount {
	if a.hi < 0 {
		return a.neg()
	}
	return a
}

// pow10 is 10 to the n, n at most 38.
func pow10(n int) Amount {
	p := small(1)
	for range n {
		p, _ = p.times(small(10))
	}
	return p
}

// appendText writes the amount with a number of digits behind the point: 456.99.
func (a Amount) appendText(b []byte, scale int) []byte {
	var digits [40]byte
	at := len(digits)
	m := a.magnitude()
	hi, lo := uint64(m.hi), m.lo
	for n := 0; hi != 0 || lo != 0 || n <= scale; n++ {
		var r uint64
		hi, r = hi/10, hi%10
		lo, r = bits.Div64(r, lo, 10)
		at--
		digits[at] = byte('0' + r)
	}
	if a.negative() {
		b = append(b, '-')
	}
	point := len(digits) - scale
	b = append(b, digits[at:point]...)
	if scale > 0 {
		b = append(append(b, '.'), digits[point:]...)
	}
	return b
}

// appendVarint writes the amount in as few bytes as its magnitude needs.
func (a Amount) appendVarint(b []byte) []byte {
	sign := uint64(a.hi >> 63)
	hi, lo := uint64(a.hi)<<1|a.lo>>63, a.lo<<1
	hi, lo = hi^sign, lo^sign
	for hi != 0 || lo >= 0x80 {
		b = append(b, byte(lo)|0x80)
		lo = lo>>7 | hi<<57
		hi >>= 7
	}
	return append(b, byte(lo))
}

var errVarint = errors.New("a number is cut off or too long")

// readVarint reads what appendVarint wrote, and returns the rest.
func readVarint(b []byte) (Amount, []byte, error) {
	var hi, lo uint64
	for i, shift := 0, uint(0); i < len(b) && shift < 128; i, shift = i+1, shift+7 {
		v := uint64(b[i] & 0x7f)
		if shift < 64 {
			lo |= v << shift
			if shift > 57 {
				hi |= v >> (64 - shift)
			}
		} else {
			hi |= v << (shift - 64)
		}
		if b[i] < 0x80 {
			sign := -(lo & 1)
			lo, hi = lo>>1|hi<<63, hi>>1
			return Amount{int64(hi ^ sign), lo ^ sign}, b[i+1:], nil
		}
	}
	return Amount{}, nil, errVarint
}
