package cleanse

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// maskNull is mask with style null.
type maskNull struct {
	paths   []*path
	scratch []colScratch
}

func (c *compiler) mask(s *configs.MaskStep) {
	if s.Style == "null" {
		m := &maskNull{}
		for _, p := range c.paths(s.Columns) {
			if p.typ.Nested() {
				c.problem(c.columnField(s.Columns, p), c.kindHint(p, ""), "column %s is a %s", p.text, p.typ.Kind)
				continue
			}
			p.leaf.version++
			p.leaf.secret, p.leaf.required = true, false
			m.paths = append(m.paths, p)
		}
		m.scratch = make([]colScratch, len(m.paths))
		c.add(m)
		return
	}
	k := textKind{plain: isEmpty}
	keep := func(prefix string) (int, bool) {
		digits, ok := strings.CutPrefix(s.Style, prefix)
		n, isNumber := parseInt([]byte(digits))
		return int(n), ok && isNumber && n >= 1 && n <= 1000
	}
	last, isLast := keep("keep_last_")
	first, isFirst := keep("keep_first_")
	switch {
	case s.Style == "" || s.Style == "all":
		k.edit = func(mem, b []byte) ([]byte, []byte) { return appendStars(mem, b), nil }
	case isLast:
		k.edit = func(mem, b []byte) ([]byte, []byte) { return appendKeepLast(mem, b, last), nil }
	case isFirst:
		k.edit = func(mem, b []byte) ([]byte, []byte) { return appendKeepFirst(mem, b, first), nil }
	case s.Style == "email":
		k.edit = func(mem, b []byte) ([]byte, []byte) { return appendMaskedEmail(mem, b), nil }
	case s.Style == "ip":
		k.edit = func(mem, b []byte) ([]byte, []byte) { return appendMaskedIP(mem, b), nil }
	default:
		c.problem("style", "", "%q is none of all, keep_last_N, keep_first_N, email, ip, null", s.Style)
	}
	ps := c.typed(s.Columns, "only style null works on it", batch.String)
	for _, p := range ps {
		p.leaf.secret = true
	}
	c.addText(ps, k)
}

func (m *maskNull) apply(r *run) error {
	for k, p := range m.paths {
		col := r.column(p, &m.scratch[k])
		for i := range col.Len {
			col.null(i)
		}
	}
	return nil
}

func isEmpty(s []byte) bool { return len(s) == 0 }

// appendStars writes a star for every character.
func appendStars(mem, s []byte) []byte {
	for n := utf8.RuneCount(s); n > 0; n-- {
		mem = append(mem, '*')
	}
	return mem
}

// appendKeepLast keeps n characters; a text that is no longer than that is masked whole.
func appendKeepLast(mem, s []byte, n int) []byte {
	at := len(s)
	for ; n > 0 && at > 0; n-- {
		_, size := utf8.DecodeLastRune(s[:at])
		at -= size
	}
	if at == 0 {
		return appendStars(mem, s)
	}
	return append(appendStars(mem, s[:at]), s[at:]...)
}

func appendKeepFirst(mem, s []byte, n int) []byte {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRune(s[at:])
		at += size
	}
	if at == len(s) {
		return appendStars(mem, s)
	}
	return appendStars(append(mem, s[:at]...), s[at:])
}

// appendMaskedEmail turns anna@example.org into a***@example.org, and a one-letter name into *** alone. What is no
// address is masked whole.
func appendMaskedEmail(mem, s []byte) []byte {
	at := bytes.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 {
		return appendStars(mem, s)
	}
	if _, size := utf8.DecodeRune(s); size < at {
		mem = append(mem, s[:size]...)
	}
	mem = append(mem, "***"...)
	return append(mem, s[at:]...)
}

// appendMaskedIP makes the last octet of an IPv4 address, or the last 80 bits of an IPv6 address, zero. What is no
// address is masked whole.
func appendMaskedIP(mem, s []byte) []byte {
	if dot := lastDot(s); dot > 0 {
		mem = append(mem, s[:dot+1]...)
		return append(mem, '0')
	}
	addr, err := netip.ParseAddr(string(s))
	if err != nil {
		return appendStars(mem, s)
	}
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return appendStars(mem, s)
	}
	return p.Addr().AppendTo(mem)
}

// lastDot returns where the last octet's dot is if s is an IPv4 address in its usual form, else 0.
func lastDot(s []byte) int {
	dots, last, digits, v := 0, 0, 0, 0
	for i, c := range s {
		if c == '.' {
			if digits == 0 || v > 255 {
				return 0
			}
			dots, last, digits, v = dots+1, i, 0, 0
			continue
		}
		if c < '0' || c > '9' || digits > 0 && v == 0 || digits == 3 {
			return 0
		}
		v = v*10 + int(c-'0')
		digits++
	}
	if dots != 3 || digits == 0 || v > 255 {
		return 0
	}
	return last
}

// hashStep replaces values by HMAC-SHA-256 of their text (binaries: their bytes), in hex.
type hashStep struct {
	paths   []*path
	scratch []colScratch
	mac     hash.Hash
	length  int
	sum     [sha256.Size]byte
	memo    memo
	buf     []byte
}

var stringType = batch.Prim(batch.String)

func (c *compiler) hash(s *configs.HashStep) {
	h := &hashStep{mac: hmac.New(sha256.New, []byte(s.Key)), length: s.Length}
	if s.Key == "" {
		c.problem("key", "write ${env:NAME} or ${file:PATH}", "a key is required: without it anyone can find the values by trying")
	}
	if s.Length == 0 {
		h.length = 64
	}
	if h.length < 8 || h.length > 64 {
		c.problem("length", "", "%d is not between 8 and 64", s.Length)
	}
	h.paths = c.typed(s.Columns, "cast it to string first", batch.String, batch.Binary, batch.Fixed, batch.UUID, batch.Int, batch.Long)
	for _, p := range h.paths {
		p.leaf.typ = stringType
		p.leaf.version++
		p.leaf.secret = true
	}
	h.scratch = make([]colScratch, len(h.paths))
	c.add(h)
}

func (h *hashStep) apply(r *run) error {
	for k, p := range h.paths {
		col := r.column(p, &h.scratch[k])
		present := col.present(&h.scratch[k])
		out := col.Column
		if p.typ.Store() != batch.StoreView {
			out = newSlots(stringType, col.Len, &h.scratch[k].made)
			out.Valid = col.Valid
			h.scratch[k].made = *out
		}
		for i := range col.Len {
			if present != nil && !present[i] {
				out.Views[i] = batch.View{}
				continue
			}
			s := getScalar(p.typ, col.Column, i, r.b.Mem)
			if p.typ.Kind == batch.String || p.typ.Kind == batch.Binary || p.typ.Kind == batch.Fixed {
				out.Views[i] = h.stored(r, col.Views[i], s.b)
				continue
			}
			h.buf, _ = appendScalar(h.buf[:0], p.typ, &s)
			out.Views[i] = h.digest(r, h.buf)
		}
		col.replaceWith(out)
	}
	return nil
}

// stored hashes text in the arena, or finds it hashed.
func (h *hashStep) stored(r *run, v batch.View, text []byte) batch.View {
	slot, ok := h.memo.slot(r.batch, r.b.Mem, text)
	if !ok {
		*slot = memoSlot{batch: r.batch, from: v, to: h.digest(r, text)}
	}
	return slot.to
}

func (h *hashStep) digest(r *run, text []byte) batch.View {
	h.mac.Reset()
	h.mac.Write(text)
	sum := h.mac.Sum(h.sum[:0])
	off := len(r.b.Mem)
	r.b.Mem = hex.AppendEncode(r.b.Mem, sum)[:off+h.length]
	return batch.View{Off: uint32(off), Len: uint32(h.length)}
}
