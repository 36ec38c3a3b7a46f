package schemas

import (
	"encoding/base64"
	"errors"
	"math"
	"math/bits"
	"strconv"
	"unsafe"
)

// Why a number's text has no value of a type.
var (
	errNotNumber = errors.New("is no number")
	errNotExact  = errors.New("has more decimal places than the column")
	errTooLarge  = errors.New("is out of the column's range")
)

// decimalText reads a number (sign, digits, fraction, exponent) as a whole count of 10^-scale, exactly: "1.5e1" of
// scale 2 is 1500. What does not fit 38 digits, or has places beyond the scale that are not zero, is an error.
func decimalText(b []byte, scale int) (int128, error) {
	m, err := splitNumber(b)
	if err != nil {
		return int128{}, err
	}
	// The value is the mantissa's digits times 10^shift; places that the shift takes away must be zeros.
	shift := m.exponent - int64(len(m.fraction)) + int64(scale)
	keep := int64(len(m.whole)+len(m.fraction)) + min(shift, 0)
	var v int128
	var seen int64
	significant := 0
	for _, part := range [2][]byte{m.whole, m.fraction} {
		for _, c := range part {
			seen++
			if seen > keep {
				if c != '0' {
					return int128{}, errNotExact
				}
				continue
			}
			if significant > 0 || c != '0' {
				if significant++; significant > maxPrecision {
					return int128{}, errTooLarge
				}
				v = v.shiftIn(uint64(c - '0'))
			}
		}
	}
	if significant > 0 && shift > 0 {
		if shift > int64(maxPrecision-significant) {
			return int128{}, errTooLarge
		}
		for ; shift > 0; shift-- {
			v = v.shiftIn(0)
		}
	}
	if m.negative {
		v = v.negated()
	}
	return v, nil
}

// shiftIn is v*10 + digit of a number that is not negative and stays within 38 digits.
func (v int128) shiftIn(digit uint64) int128 {
	hi, lo := bits.Mul64(v.lo, 10)
	lo, carry := bits.Add64(lo, digit, 0)
	return int128{v.hi*10 + int64(hi) + int64(carry), lo}
}

func (v int128) negated() int128 {
	lo, borrow := bits.Sub64(0, v.lo, 0)
	hi, _ := bits.Sub64(0, uint64(v.hi), borrow)
	return int128{int64(hi), lo}
}

// int64 is v as an int64, if it is one.
func (v int128) int64() (int64, bool) {
	return int64(v.lo), v.hi == int64(v.lo)>>63
}

type numberParts struct {
	negative        bool
	whole, fraction []byte
	exponent        int64
}

func splitNumber(b []byte) (m numberParts, err error) {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		m.negative, b = b[0] == '-', b[1:]
	}
	n := digits(b)
	m.whole, b = b[:n], b[n:]
	if len(b) > 0 && b[0] == '.' {
		n = digits(b[1:])
		m.fraction, b = b[1:1+n], b[1+n:]
	}
	if len(m.whole)+len(m.fraction) == 0 {
		return m, errNotNumber
	}
	if len(b) == 0 {
		return m, nil
	}
	if b[0]|0x20 != 'e' {
		return m, errNotNumber
	}
	b = b[1:]
	negative := len(b) > 0 && b[0] == '-'
	if negative || len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	if n = digits(b); n == 0 || n != len(b) {
		return m, errNotNumber
	}
	for _, c := range b {
		// Beyond any length of digits that a payload can have, more makes no difference.
		m.exponent = min(m.exponent*10+int64(c-'0'), 1<<40)
	}
	if negative {
		m.exponent = -m.exponent
	}
	return m, nil
}

// int64Text reads a whole number; 1.0 and 1e2 are such.
func int64Text(b []byte) (int64, error) {
	v, err := decimalText(b, 0)
	if err == errNotExact {
		return 0, errors.New("is no whole number")
	}
	if err != nil {
		return 0, err
	}
	n, ok := v.int64()
	if !ok {
		return 0, errTooLarge
	}
	return n, nil
}

// floatText reads a floating-point number of 32 or 64 bits.
func floatText(b []byte, bitSize int) (float64, error) {
	if len(b) == 0 {
		return 0, errNotNumber
	}
	// ParseFloat keeps nothing of the text, so it may look at the payload itself.
	v, err := strconv.ParseFloat(unsafe.String(&b[0], len(b)), bitSize)
	if err != nil {
		if errors.Is(err, strconv.ErrRange) {
			return 0, errTooLarge
		}
		return 0, errNotNumber
	}
	return v, nil
}

// specialFloat reads the numbers that JSON has no number for.
func specialFloat(b []byte) (float64, bool) {
	switch string(b) {
	case "NaN":
		return math.NaN(), true
	case "Infinity", "+Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

// appendBase64 appends the bytes that b stands for, in the standard or the URL alphabet, padded or not.
func appendBase64(dst, b []byte) ([]byte, error) {
	standard, url := base64.RawStdEncoding, base64.RawURLEncoding
	end := len(b)
	for end > 0 && len(b)-end < 2 && b[end-1] == '=' {
		end--
	}
	if end < len(b) && len(b)%4 != 0 {
		return dst, errors.New("is no base64: its padding is wrong")
	}
	enc := standard
	for _, c := range b[:end] {
		if c == '-' || c == '_' {
			enc = url
			break
		}
		if c == '\n' || c == '\r' {
			return dst, errors.New("is no base64: it holds a line end")
		}
	}
	out, err := enc.AppendDecode(dst, b[:end])
	if err != nil {
		return dst, errors.New("is no base64")
	}
	return out, nil
}
