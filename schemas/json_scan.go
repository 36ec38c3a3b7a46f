package schemas

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// maxJSONDepth is how deeply a JSON value may nest.
const maxJSONDepth = 512

// jsonScan walks over one JSON text. It keeps positions rather than handing out tokens, because strings become views
// of the payload and because a field's name that is expected can be compared where it stands: with a token reader
// that does neither, reading the tokens alone cost more than this decoder does altogether.
//
// Each method begins at i and leaves i behind what it read; after an error i is anywhere. Strings are checked to be
// UTF-8 as they are passed, also skipped ones.
type jsonScan struct {
	b []byte
	i int
}

func (s *jsonScan) failf(format string, args ...any) error {
	return failf(format+" at byte %d", append(args, s.i)...)
}

// next skips white space and returns the byte there without taking it; 0 at the end.
func (s *jsonScan) next() byte {
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
		s.i++
	}
	return 0
}

// unexpected describes what stands at i instead of what was wanted.
func (s *jsonScan) unexpected(wanted string) error {
	if s.i >= len(s.b) {
		return s.failf("bad JSON: %s expected, but the text ends", wanted)
	}
	return s.failf("bad JSON: %s expected, not %q", wanted, shown(s.b[s.i:min(len(s.b), s.i+8)]))
}

func (s *jsonScan) take(c byte, wanted string) error {
	if s.next() != c {
		return s.unexpected(wanted)
	}
	s.i++
	return nil
}

// more is called behind a member of an object or array: it takes a comma (true) or the closing bracket (false).
func (s *jsonScan) more(closing byte) (bool, error) {
	switch c := s.next(); {
	case c == ',':
		s.i++
		return true, nil
	case c == closing:
		s.i++
		return false, nil
	}
	return false, s.unexpected("\",\" or \"" + string(closing) + "\"")
}

// end makes sure that nothing follows.
func (s *jsonScan) end() error {
	s.next()
	if s.i < len(s.b) {
		return s.unexpected("the end of the text")
	}
	return nil
}

func (s *jsonScan) literal(word string) error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.unexpected("a value")
	}
	s.i += len(word)
	return nil
}

const lowBits = 0x0101010101010101

// stop finds the first quote, backslash or control character from i on; high has a high bit set if a byte before it is
// not ASCII. At the end of b it returns len(b).
func stop(b []byte, i int) (at int, high uint64) {
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^('"'*lowBits), x^('\\'*lowBits)
		// Each term marks the bytes that match; above the first match it may mark too many, so only the lowest counts.
		m := ((quote-lowBits)&^quote | (slash-lowBits)&^slash | (x-' '*lowBits)&^x) & highBits
		if m != 0 {
			n := bits.TrailingZeros64(m) &^ 7
			return i + n/8, high | x&(1<<n-1)
		}
		high |= x
		i += 8
	}
	for ; i < len(b); i++ {
		c := b[i]
		if c == '"' || c == '\\' || c < ' ' {
			break
		}
		high |= uint64(c)
	}
	return i, high
}

// str reads a string that begins at i: b[from:to] is what stands between the quotes.
func (s *jsonScan) str() (from, to int, escaped bool, err error) {
	from = s.i + 1
	i, high := stop(s.b, from)
	for i < len(s.b) && s.b[i] == '\\' {
		escaped = true
		n := escapeLen(s.b[i:])
		if n == 0 {
			s.i = i
			return 0, 0, false, s.unexpected("an escape sequence")
		}
		var h uint64
		i, h = stop(s.b, i+n)
		high |= h
	}
	s.i = i
	if i >= len(s.b) {
		return 0, 0, false, s.failf("bad JSON: a string has no end")
	}
	if s.b[i] != '"' {
		return 0, 0, false, s.failf("bad JSON: a string holds the control character %q unescaped", s.b[i])
	}
	s.i = i + 1
	if high&highBits != 0 && !utf8.Valid(s.b[from:i]) {
		return 0, 0, false, failf("a string is not valid UTF-8: %q from byte %d on", shown(s.b[from:i]), from)
	}
	return from, i, escaped, nil
}

// escapeLen is the length of the escape sequence that b begins with; 0: it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		d := hexDigit(c)
		if d > 15 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

// unescape appends the text of a string that str has passed. Half a surrogate pair has no text.
func unescape(dst, b []byte) ([]byte, error) {
	for len(b) > 0 {
		i, _ := stop(b, 0)
		dst, b = append(dst, b[:i]...), b[i:]
		if len(b) == 0 {
			break
		}
		switch b[1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(b[2:])
			if r >= 0xD800 && r < 0xE000 {
				low, ok := rune(0), false
				if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
					low, ok = hex4(b[8:])
				}
				if !ok || r >= 0xDC00 || low < 0xDC00 || low >= 0xE000 {
					return dst, failf("%s is half a surrogate pair, which is no character", b[:6])
				}
				r, b = 0x10000+(r-0xD800)<<10|(low-0xDC00), b[6:]
			}
			dst, b = utf8.AppendRune(dst, r), b[4:]
		default:
			dst = append(dst, b[1])
		}
		b = b[2:]
	}
	return dst, nil
}

// number reads a number that begins at i; integer: it has neither fraction nor exponent.
func (s *jsonScan) number() (from, to int, integer bool, err error) {
	b, i := s.b, s.i
	from, integer = i, true
	if i < len(b) && b[i] == '-' {
		i++
	}
	zero := i < len(b) && b[i] == '0'
	n := digits(b[i:])
	if n == 0 || zero && n > 1 {
		return 0, 0, false, s.unexpected("a value")
	}
	i += n
	if i < len(b) && b[i] == '.' {
		integer = false
		if n = digits(b[i+1:]); n == 0 {
			return 0, 0, false, s.unexpected("a value")
		}
		i += 1 + n
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		integer = false
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if n = digits(b[i:]); n == 0 {
			return 0, 0, false, s.unexpected("a value")
		}
		i += n
	}
	s.i = i
	return from, i, integer, nil
}

func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}

// skip passes any value.
func (s *jsonScan) skip(depth int) error {
	switch s.next() {
	case '"':
		_, _, _, err := s.str()
		return err
	case '{':
		s.i++
		return s.skipMembers('}', depth)
	case '[':
		s.i++
		return s.skipMembers(']', depth)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	_, _, _, err := s.number()
	return err
}

func (s *jsonScan) skipMembers(closing byte, depth int) error {
	if depth >= maxJSONDepth {
		return s.failf("bad JSON: nested deeper than %d", maxJSONDepth)
	}
	if s.next() == closing {
		s.i++
		return nil
	}
	for again := true; again; {
		if closing == '}' {
			if s.next() != '"' {
				return s.unexpected("a field's name")
			}
			if _, _, _, err := s.str(); err != nil {
				return err
			}
			if err := s.take(':', "\":\""); err != nil {
				return err
			}
		}
		var err error
		if err = s.skip(depth + 1); err != nil {
			return err
		}
		if again, err = s.more(closing); err != nil {
			return err
		}
	}
	return nil
}
