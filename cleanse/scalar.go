package cleanse

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/lakeloader/lakeloader/batch"
)

// scalar is one value outside a column. Which member holds it depends on the type: i for boolean (0, 1), int, long,
// date, time and timestamps; f for float and double; d for decimals; b for the others.
type scalar struct {
	i int64
	f float64
	d int128
	b []byte
}

// getScalar reads slot i of a column of type t. b points into mem.
func getScalar(t *batch.Type, c *batch.Column, i int, mem []byte) (s scalar) {
	switch t.Store() {
	case batch.StoreBool:
		if c.Bools[i] {
			s.i = 1
		}
	case batch.StoreInt32:
		s.i = int64(c.Int32[i])
	case batch.StoreInt64:
		if t.Kind == batch.Decimal {
			s.d = from64(c.Int64[i])
		} else {
			s.i = c.Int64[i]
		}
	case batch.StoreFloat32:
		s.f = float64(c.Float32[i])
	case batch.StoreFloat64:
		s.f = c.Float64[i]
	case batch.StoreView:
		v := c.Views[i]
		s.b = mem[v.Off : v.Off+v.Len]
		if t.Kind == batch.Decimal {
			s.d = be16(s.b)
		}
	}
	return s
}

// newSlots makes a column header of type t with n slots of undefined content, reusing the slices of old.
func newSlots(t *batch.Type, n int, old *batch.Column) *batch.Column {
	c := &batch.Column{Type: t, Len: n}
	switch t.Store() {
	case batch.StoreBool:
		c.Bools = resize(old.Bools, n)
	case batch.StoreInt32:
		c.Int32 = resize(old.Int32, n)
	case batch.StoreInt64:
		c.Int64 = resize(old.Int64, n)
	case batch.StoreFloat32:
		c.Float32 = resize(old.Float32, n)
	case batch.StoreFloat64:
		c.Float64 = resize(old.Float64, n)
	case batch.StoreView:
		c.Views = resize(old.Views, n)
	}
	return c
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// setScalar stores a value in slot i; text goes to the end of the arena, which is returned.
func setScalar(t *batch.Type, c *batch.Column, i int, s scalar, mem []byte) []byte {
	switch t.Store() {
	case batch.StoreBool:
		c.Bools[i] = s.i != 0
	case batch.StoreInt32:
		c.Int32[i] = int32(s.i)
	case batch.StoreInt64:
		if t.Kind == batch.Decimal {
			c.Int64[i] = int64(s.d.lo)
		} else {
			c.Int64[i] = s.i
		}
	case batch.StoreFloat32:
		c.Float32[i] = float32(s.f)
	case batch.StoreFloat64:
		c.Float64[i] = s.f
	case batch.StoreView:
		off := len(mem)
		if t.Kind == batch.Decimal {
			mem = s.d.appendBE(mem)
		} else {
			mem = append(mem, s.b...)
		}
		c.Views[i] = batch.View{Off: uint32(off), Len: uint32(len(mem) - off)}
	}
	return mem
}

// setZero stores the zero value in slot i, as columns hold it below null.
func setZero(c *batch.Column, i int) {
	switch {
	case c.Bools != nil:
		c.Bools[i] = false
	case c.Int32 != nil:
		c.Int32[i] = 0
	case c.Int64 != nil:
		c.Int64[i] = 0
	case c.Float32 != nil:
		c.Float32[i] = 0
	case c.Float64 != nil:
		c.Float64[i] = 0
	case c.Views != nil:
		c.Views[i] = batch.View{}
	}
}

// appendScalar writes a value as text: how casts to string, reasons and keyed hashes show it. false: bytes that are
// no UTF-8.
func appendScalar(b []byte, t *batch.Type, s *scalar) ([]byte, bool) {
	switch t.Kind {
	case batch.Boolean:
		return strconv.AppendBool(b, s.i != 0), true
	case batch.Int, batch.Long:
		return strconv.AppendInt(b, s.i, 10), true
	case batch.Float:
		return appendFloat(b, s.f, 32), true
	case batch.Double:
		return appendFloat(b, s.f, 64), true
	case batch.Decimal:
		return s.d.appendText(b, t.Scale), true
	case batch.Date:
		return appendDate(b, s.i), true
	case batch.Time:
		return appendTime(b, s.i), true
	case batch.Timestamp:
		return appendTimestamp(b, s.i), true
	case batch.TimestampTZ:
		return append(appendTimestamp(b, s.i), 'Z'), true
	case batch.UUID:
		return appendUUID(b, s.b), true
	}
	return append(b, s.b...), utf8.Valid(s.b)
}

// appendFloat writes the shortest text that reads back as the same number, with an exponent only for very small and
// very large numbers, as JSON does.
func appendFloat(b []byte, f float64, size int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(b, f, 'e', -1, size)
	}
	return strconv.AppendFloat(b, f, 'f', -1, size)
}

func appendUUID(b, u []byte) []byte {
	const hex = "0123456789abcdef"
	for i, x := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, hex[x>>4], hex[x&15])
	}
	return b
}

// hexValue is what a hex digit stands for; 16 for all other bytes.
var hexValue = func() (t [256]byte) {
	for c := range t {
		t[c] = 16
	}
	for i, c := range "0123456789abcdef" {
		t[c] = byte(i)
	}
	for i, c := range "ABCDEF" {
		t[c] = byte(10 + i)
	}
	return t
}()

// uuidDigits is where each byte's digits are in the grouped form.
var uuidDigits = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// parseUUID reads 32 hex digits, plain or grouped 8-4-4-4-12, into dst.
func parseUUID(dst, s []byte) ([]byte, bool) {
	grouped := len(s) == 36
	if !grouped && len(s) != 32 || grouped && (s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-') {
		return dst, false
	}
	var bad byte
	for i, at := range uuidDigits {
		if !grouped {
			at = 2 * i
		}
		hi, lo := hexValue[s[at]], hexValue[s[at+1]]
		bad |= hi | lo
		dst = append(dst, hi<<4|lo&15)
	}
	return dst, bad < 16
}

// parseScalar reads text as a value of type t; why is empty when that works, else completes "the text ...". buf is
// memory to use for the result's bytes.
func parseScalar(t *batch.Type, text, buf []byte) (s scalar, why string) {
	switch t.Kind {
	case batch.Boolean:
		switch {
		case len(text) == 1 && (text[0] == '0' || text[0] == '1'):
			s.i = int64(text[0] - '0')
		case bytes.EqualFold(text, []byte("true")):
			s.i = 1
		case !bytes.EqualFold(text, []byte("false")):
			return s, "is not true, false, 1 or 0"
		}
	case batch.Int, batch.Long:
		var ok bool
		if s.i, ok = parseInt(text); !ok {
			return s, "is not a whole number in the range of " + t.String()
		}
		return checkRange(t, s)
	case batch.Float, batch.Double:
		return parseFloat(t, text)
	case batch.Decimal:
		if s.d, why = parseDecimal(text, t.Scale); why != "" {
			return s, why
		}
		return checkRange(t, s)
	case batch.Date, batch.Time, batch.Timestamp, batch.TimestampTZ:
		return parseTemporal(t, text)
	case batch.UUID:
		var ok bool
		if s.b, ok = parseUUID(buf[:0], text); !ok {
			return s, "is not a UUID"
		}
	case batch.Fixed:
		if s.b = text; len(text) != t.Length {
			return s, fmt.Sprintf("has %d bytes, not %d", len(text), t.Length)
		}
	default:
		s.b = text
	}
	return s, ""
}

// checkRange refuses whole numbers and decimals that type t cannot hold.
func checkRange(t *batch.Type, s scalar) (scalar, string) {
	switch {
	case t.Kind == batch.Int && int64(int32(s.i)) != s.i:
		return s, "is out of the range of int"
	case t.Kind == batch.Decimal && !s.d.fits(t.Precision):
		return s, "has too many digits for " + t.String()
	}
	return s, ""
}

func parseFloat(t *batch.Type, text []byte) (s scalar, why string) {
	size := 64
	if t.Kind == batch.Float {
		size = 32
	}
	switch string(text) {
	case "NaN":
		s.f = math.NaN()
		return s, ""
	case "Infinity", "+Infinity":
		s.f = math.Inf(1)
		return s, ""
	case "-Infinity":
		s.f = math.Inf(-1)
		return s, ""
	}
	for _, c := range text {
		// Go's own syntax would also take inf, hexadecimal numbers and underscores.
		if (c < '0' || c > '9') && strings.IndexByte("+-.eE", c) < 0 {
			return s, "is not a number"
		}
	}
	// The string does not outlive the call but in the error, which is not kept.
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(text), len(text)), size)
	switch {
	case err != nil && math.IsInf(f, 0):
		return s, "is out of the range of " + t.String()
	case err != nil:
		return s, "is not a number"
	}
	s.f = f
	return s, ""
}

// parseTemporal reads ISO 8601; text without an offset is UTC, and one with an offset is turned to UTC.
func parseTemporal(t *batch.Type, text []byte) (s scalar, why string) {
	var c civil
	if !parseISO(text, &c) || t.Kind == batch.Time != !c.hasDate {
		switch t.Kind {
		case batch.Date:
			return s, "is not a date like 2018-12-04"
		case batch.Time:
			return s, "is not a time of day like 10:15:30"
		}
		return s, "is not a date and time like 2018-12-04T10:15:30"
	}
	us := c.local() - int64(c.offset)*secondMicros
	switch t.Kind {
	case batch.Date:
		s.i = floorDiv(us, dayMicros)
	case batch.Time:
		s.i = floorMod(us, dayMicros)
	default:
		s.i = us
	}
	return s, ""
}

// quoteShort shows a value in a reason: at most 64 characters.
func quoteShort(text []byte) string {
	n, i := 0, 0
	for i < len(text) && n < 64 {
		_, size := utf8.DecodeRune(text[i:])
		i += size
		n++
	}
	if i < len(text) {
		return strconv.Quote(string(text[:i])) + "..."
	}
	return strconv.Quote(string(text))
}

// show writes a value for a reason.
func show(t *batch.Type, s *scalar) string {
	switch t.Kind {
	case batch.Binary, batch.Fixed:
		return fmt.Sprintf("%d bytes", len(s.b))
	case batch.String:
		return quoteShort(s.b)
	}
	b, _ := appendScalar(nil, t, s)
	return string(b)
}
