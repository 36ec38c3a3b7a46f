package cleanse

import (
	"encoding/binary"
	"math/bits"
)

// int128 is the unscaled value of a decimal: up to 38 digits fit. Two's complement.
type int128 struct {
	hi int64
	lo uint64
}

var pow10 = func() (t [39]int128) {
	t[0] = int128{0, 1}
	for i := 1; i < len(t); i++ {
		t[i], _ = t[i-1].mulSmall(10)
	}
	return t
}()

func from64(v int64) int128 { return int128{v >> 63, uint64(v)} }

// int64 returns the value if it fits.
func (a int128) int64() (int64, bool) { return int64(a.lo), a.hi == int64(a.lo)>>63 }

func (a int128) negative() bool { return a.hi < 0 }

func (a int128) neg() int128 {
	lo, borrow := bits.Sub64(0, a.lo, 0)
	hi, _ := bits.Sub64(0, uint64(a.hi), borrow)
	return int128{int64(hi), lo}
}

// abs returns the magnitude; every value used here is above the least int128.
func (a int128) abs() int128 {
	if a.negative() {
		return a.neg()
	}
	return a
}

func (a int128) cmp(b int128) int {
	switch {
	case a.hi < b.hi:
		return -1
	case a.hi > b.hi:
		return 1
	case a.lo < b.lo:
		return -1
	case a.lo > b.lo:
		return 1
	}
	return 0
}

func (a int128) addSmall(v int64) int128 {
	lo, carry := bits.Add64(a.lo, uint64(v), 0)
	hi, _ := bits.Add64(uint64(a.hi), uint64(v>>63), carry)
	return int128{int64(hi), lo}
}

// mulSmall multiplies by a number that is not negative; false: it does not fit.
func (a int128) mulSmall(m uint64) (int128, bool) {
	neg := a.negative()
	a = a.abs()
	c, lo := bits.Mul64(a.lo, m)
	over, hi := bits.Mul64(uint64(a.hi), m)
	hi, carry := bits.Add64(hi, c, 0)
	if over != 0 || carry != 0 || int64(hi) < 0 {
		return int128{}, false
	}
	r := int128{int64(hi), lo}
	if neg {
		r = r.neg()
	}
	return r, true
}

// divSmall divides, towards zero, and gives the remainder's magnitude.
func (a int128) divSmall(d uint64) (int128, uint64) {
	neg := a.negative()
	a = a.abs()
	qh, rem := bits.Div64(0, uint64(a.hi), d)
	ql, rem := bits.Div64(rem, a.lo, d)
	q := int128{int64(qh), ql}
	if neg {
		q = q.neg()
	}
	return q, rem
}

// rescale turns an unscaled value from one scale to another. Going to a smaller scale it rounds towards zero;
// exact says whether anything was lost. ok is false when the result has more than 38 digits.
func (a int128) rescale(from, to int) (r int128, exact, ok bool) {
	exact = true
	for ; from < to; from++ {
		var fits bool
		if a, fits = a.mulSmall(10); !fits {
			return int128{}, true, false
		}
	}
	for ; from > to; from-- {
		var rem uint64
		a, rem = a.divSmall(10)
		exact = exact && rem == 0
	}
	return a, exact, a.fits(38)
}

// fits reports whether the value has at most so many digits.
func (a int128) fits(precision int) bool { return a.abs().cmp(pow10[precision]) < 0 }

// be16 reads 16 big-endian bytes.
func be16(b []byte) int128 {
	return int128{int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])}
}

func (a int128) appendBE(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(a.hi))
	return binary.BigEndian.AppendUint64(b, a.lo)
}

// appendText writes the decimal with its scale: -12.50.
func (a int128) appendText(b []byte, scale int) []byte {
	if a.negative() {
		b = append(b, '-')
		a = a.neg()
	}
	var digits [40]byte
	n := len(digits)
	for a.hi != 0 || a.lo != 0 || n > len(digits)-scale-1 {
		var d uint64
		a, d = a.divSmall(10)
		n--
		digits[n] = byte('0' + d)
	}
	point := len(digits) - scale
	b = append(b, digits[n:point]...)
	if scale > 0 {
		b = append(b, '.')
		b = append(b, digits[point:]...)
	}
	return b
}

// parseDecimal reads [+-]digits[.digits][e[+-]digits] exactly into an unscaled value of the given scale. why is
// empty when it fits, else says what is wrong.
func parseDecimal(s []byte, scale int) (v int128, why string) {
	const malformed = "is not a decimal number"
	i, neg, digits, frac, point := 0, false, 0, 0, false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		neg, i = s[0] == '-', 1
	}
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		digits++
		if point {
			frac++
		}
		// Zeros behind the last digit that counts may go on for ever.
		if point && frac > 38 {
			if c != '0' {
				return v, "has more digits than the scale allows"
			}
			frac--
			continue
		}
		var ok bool
		if v, ok = v.mulSmall(10); !ok {
			return v, "has too many digits"
		}
		v = v.addSmall(int64(c - '0'))
		if v.negative() {
			return v, "has too many digits"
		}
	}
	exp := 0
	if digits > 0 && i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		n, ok := parseInt(s[i+1:])
		if !ok || n < -1000 || n > 1000 {
			return v, malformed
		}
		exp, i = int(n), len(s)
	}
	if digits == 0 || i < len(s) {
		return v, malformed
	}
	if v == (int128{}) {
		return v, ""
	}
	if neg {
		v = v.neg()
	}
	r, exact, ok := v.rescale(frac-exp, scale)
	switch {
	case !ok:
		return v, "has too many digits"
	case !exact:
		return v, "has more digits than the scale allows"
	}
	return r, ""
}

// parseInt reads [+-]digits into an int64; no blanks, no underscores.
func parseInt(s []byte) (int64, bool) {
	neg := false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		neg, s = s[0] == '-', s[1:]
	}
	if len(s) == 0 {
		return 0, false
	}
	const limit = 1 << 63
	var v uint64
	for _, c := range s {
		if c < '0' || c > '9' || v > limit/10 {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
		if v > limit {
			return 0, false
		}
	}
	if neg {
		return -int64(v), true
	}
	return int64(v), v < limit
}
