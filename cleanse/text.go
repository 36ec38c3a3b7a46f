package cleanse

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"golang.org/x/text/unicode/norm"
)

// edit turns one text into another. It returns the part of s that is the result (same), or appends the result to mem.
type edit func(mem, s []byte) (out, same []byte)

// textStep runs an edit over columns of text.
type textStep struct {
	paths   []*path
	scratch []colScratch
	// plain says that the edit leaves a text as it is, cheaply; nil: the edit itself finds out.
	plain func(s []byte) bool
	edit  edit
	memo  memo
}

// kind of simple text step.
type textKind struct {
	plain func(s []byte) bool
	edit  edit
}

var (
	trim            = textKind{edit: func(mem, s []byte) ([]byte, []byte) { return mem, bytes.TrimSpace(s) }}
	lower           = textKind{plain: isLowerASCII, edit: appendLower}
	upper           = textKind{plain: isUpperASCII, edit: appendUpper}
	normalizeSpaces = textKind{plain: hasPlainSpaces, edit: appendSpaces}
)

func (c *compiler) text(columns []string, k textKind) {
	c.addText(c.typed(columns, "cast it to string first", batch.String), k)
}

func (c *compiler) addText(ps []*path, k textKind) {
	for _, p := range ps {
		p.leaf.version++
	}
	c.add(&textStep{paths: ps, scratch: make([]colScratch, len(ps)), plain: k.plain, edit: k.edit})
}

func (t *textStep) apply(r *run) error {
	for k, p := range t.paths {
		col := r.column(p, &t.scratch[k])
		present := col.present(&t.scratch[k])
		if t.plain == nil {
			t.direct(r, col.Views, present)
		} else {
			t.remembered(r, col.Views, present)
		}
	}
	return nil
}

// direct is for edits that need no new memory, mostly.
func (t *textStep) direct(r *run, views []batch.View, present []bool) {
	mem := r.b.Mem
	for i, v := range views {
		if present != nil && !present[i] || v.Len == 0 {
			continue
		}
		views[i], mem = t.one(mem, v)
	}
	r.b.Mem = mem
}

func (t *textStep) remembered(r *run, views []batch.View, present []bool) {
	mem := r.b.Mem
	for i, v := range views {
		if present != nil && !present[i] {
			continue
		}
		s := mem[v.Off : v.Off+v.Len]
		if t.plain(s) {
			continue
		}
		slot, ok := t.memo.slot(r.batch, mem, s)
		if !ok {
			*slot = memoSlot{batch: r.batch, from: v}
			slot.to, mem = t.one(mem, v)
		}
		views[i] = slot.to
	}
	r.b.Mem = mem
}

// one edits a single text.
func (t *textStep) one(mem []byte, v batch.View) (batch.View, []byte) {
	s := mem[v.Off : v.Off+v.Len : v.Off+v.Len]
	off := len(mem)
	mem, same := t.edit(mem, s)
	if same != nil {
		// A part of s: how much was cut off before it tells its place.
		return batch.View{Off: v.Off + uint32(cap(s)-cap(same)), Len: uint32(len(same))}, mem
	}
	return batch.View{Off: uint32(off), Len: uint32(len(mem) - off)}, mem
}

const (
	high   = 0x8080808080808080
	ones   = 0x0101010101010101
	sevenF = 0x7f7f7f7f7f7f7f7f
)

// isLowerASCII reports whether s is ASCII without capital letters.
func isLowerASCII(s []byte) bool { return noneBetween(s, 'A', 'Z') }

func isUpperASCII(s []byte) bool { return noneBetween(s, 'a', 'z') }

// noneBetween reports whether s is ASCII with no byte in [lo, hi], eight bytes at a time.
func noneBetween(s []byte, lo, hi byte) bool {
	below, above := uint64(0x80-lo)*ones, uint64(0x7f-hi)*ones
	for len(s) >= 8 {
		w := binary.LittleEndian.Uint64(s)
		// For bytes below 0x80 the sums do not carry: the top bit says >= lo, and > hi.
		if (w|((w&sevenF)+below)&^((w&sevenF)+above))&high != 0 {
			return false
		}
		s = s[8:]
	}
	for _, c := range s {
		if c >= utf8.RuneSelf || c >= lo && c <= hi {
			return false
		}
	}
	return true
}

func appendLower(mem, s []byte) ([]byte, []byte) { return appendRunes(mem, s, unicode.ToLower) }

func appendUpper(mem, s []byte) ([]byte, []byte) { return appendRunes(mem, s, unicode.ToUpper) }

func appendRunes(mem, s []byte, f func(rune) rune) ([]byte, []byte) {
	for len(s) > 0 {
		c, size := utf8.DecodeRune(s)
		mem = utf8.AppendRune(mem, f(c))
		s = s[size:]
	}
	return mem, nil
}

// hasPlainSpaces reports whether normalize_spaces would leave ASCII text as it is.
func hasPlainSpaces(s []byte) bool {
	space := true // a blank at the beginning is too much, too
	for _, c := range s {
		switch {
		case c >= utf8.RuneSelf || c >= '\t' && c <= '\r':
			return false
		case c == ' ':
			if space {
				return false
			}
			space = true
		default:
			space = false
		}
	}
	return !space || len(s) == 0
}

// appendSpaces turns every run of white space into one blank and drops it at both ends.
func appendSpaces(mem, s []byte) ([]byte, []byte) {
	start, space := len(mem), false
	for len(s) > 0 {
		c, size := utf8.DecodeRune(s)
		if unicode.IsSpace(c) {
			space = true
		} else {
			if space && len(mem) > start {
				mem = append(mem, ' ')
			}
			space = false
			mem = append(mem, s[:size]...)
		}
		s = s[size:]
	}
	return mem, nil
}

func (c *compiler) unicode(s *configs.UnicodeStep) {
	var form norm.Form
	switch s.Form {
	case "", "NFC":
		form = norm.NFC
	case "NFD":
		form = norm.NFD
	case "NFKC":
		form = norm.NFKC
	case "NFKD":
		form = norm.NFKD
	default:
		c.problem("form", "", "%q is none of NFC, NFD, NFKC, NFKD", s.Form)
	}
	c.text(s.Columns, textKind{
		plain: form.IsNormal,
		edit:  func(mem, s []byte) ([]byte, []byte) { return appendNormal(form, mem, s), nil },
	})
}

// appendNormal keeps the arena's end from combining with the text: Form.Append looks back into it.
func appendNormal(form norm.Form, mem, s []byte) []byte {
	// A line feed starts anew in every form, and is taken away again.
	start := len(mem)
	mem = form.Append(append(mem, '\n'), s...)
	copy(mem[start:], mem[start+1:])
	return mem[:len(mem)-1]
}

func (c *compiler) replace(s *configs.ReplaceStep) {
	ps := c.typed(s.Columns, "cast it to string first", batch.String)
	if s.Pattern == "" {
		c.problem("pattern", "", "a pattern is required")
		return
	}
	re, err := regexp.Compile(s.Pattern)
	if err != nil {
		c.problem("pattern", "the syntax is RE2's", "%s", err)
		return
	}
	c.checkTemplate(re, s.With)
	if lit, whole := re.LiteralPrefix(); whole && lit != "" && !strings.Contains(s.With, "$") {
		from := []byte(lit)
		c.addText(ps, textKind{
			plain: func(s []byte) bool { return !bytes.Contains(s, from) },
			edit:  func(mem, b []byte) ([]byte, []byte) { return appendReplaced(mem, b, from, s.With), nil },
		})
		return
	}
	with := []byte(s.With)
	c.addText(ps, textKind{
		plain: func(s []byte) bool { return !re.Match(s) },
		edit:  func(mem, b []byte) ([]byte, []byte) { return append(mem, re.ReplaceAll(b, with)...), nil },
	})
}

func appendReplaced(mem, s, from []byte, to string) []byte {
	for {
		i := bytes.Index(s, from)
		if i < 0 {
			return append(mem, s...)
		}
		mem = append(mem, s[:i]...)
		mem = append(mem, to...)
		s = s[i+len(from):]
	}
}

var templateName = regexp.MustCompile(`\$(?:\$|\{(\w+)\}|(\w+))`)

// checkTemplate refuses names of groups that the pattern lacks: they would be replaced by nothing.
func (c *compiler) checkTemplate(re *regexp.Regexp, with string) {
	for _, m := range templateName.FindAllStringSubmatch(with, -1) {
		name := m[1] + m[2]
		if name == "" || re.SubexpIndex(name) >= 0 {
			continue
		}
		n, ok := parseInt([]byte(name))
		if !ok || n < 0 || n > int64(re.NumSubexp()) {
			c.problem("with", "write $$ for a dollar sign, and ${1}x rather than $1x", "the pattern has no group %q", name)
		}
	}
}
