package schemas

import (
	"encoding/binary"
	"unicode/utf8"
)

const highBits = 0x8080808080808080

// validText is utf8.Valid with a short way for ASCII. Text that is no UTF-8 must not get into a table: readers refuse
// the whole file.
func validText(b []byte) bool {
	switch n := len(b); {
	case n >= 8:
		var or uint64
		for i := 0; i < n-8; i += 8 {
			or |= binary.LittleEndian.Uint64(b[i:])
		}
		or |= binary.LittleEndian.Uint64(b[n-8:])
		if or&highBits == 0 {
			return true
		}
	case n >= 4:
		if (binary.LittleEndian.Uint32(b)|binary.LittleEndian.Uint32(b[n-4:]))&(highBits&0xffffffff) == 0 {
			return true
		}
	case n > 0:
		if (b[0]|b[n/2]|b[n-1])&0x80 == 0 {
			return true
		}
	}
	return utf8.Valid(b)
}

// uuidOf parses 36 characters with dashes, or 32 without.
func uuidOf(s []byte) (u [16]byte, ok bool) {
	switch len(s) {
	case 36:
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return u, false
		}
	case 32:
	default:
		return u, false
	}
	i := 0
	for k := range u {
		if len(s) == 36 && (i == 8 || i == 13 || i == 18 || i == 23) {
			i++
		}
		h, l := hexDigit(s[i]), hexDigit(s[i+1])
		if h > 15 || l > 15 {
			return u, false
		}
		u[k] = h<<4 | l
		i += 2
	}
	return u, true
}

// hexDigit gives 255 for what is none.
func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}
