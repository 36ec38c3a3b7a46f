package measures

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind of a token.
type kind uint8

const (
	tokEnd    kind = iota
	tokWord        // a name or a keyword, as written
	tokQuoted      // a name in double quotes, without them
	tokString      // a text in single quotes, without them
	tokNumber
	tokSymbol
)

type token struct {
	kind kind
	text string
	pos  int // of its first byte
	end  int // behind its last byte
}

func (t token) String() string {
	if t.kind == tokEnd {
		return "the end"
	}
	return fmt.Sprintf("%q", t.text)
}

// is reports whether the token is a symbol, or a keyword in any case.
func (t token) is(s string) bool {
	return t.kind == tokSymbol && t.text == s || t.kind == tokWord && strings.EqualFold(t.text, s)
}

var symbols = []string{"{{day}}", "<>", "<=", ">=", "!=", "||", "::", "->", "(", ")", ",", "*", "+", "-", "/", "%", "=", "<", ">", ".", ";", "[", "]"}

// lex cuts SQL into tokens. Comments are refused, since {{day}} could hide in one.
func lex(text string) ([]token, error) {
	var out []token
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if unicode.IsSpace(r) {
			i += n
			continue
		}
		t, err := scan(text, i)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
		i = t.end
	}
	return append(out, token{kind: tokEnd, pos: len(text), end: len(text)}), nil
}

func scan(text string, at int) (token, error) {
	rest := text[at:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "/*"):
		return token{}, fmt.Errorf("position %d: a comment: take it out", at+1)
	case c == '\'' || c == '"':
		return quoted(text, at)
	case c >= '0' && c <= '9' || c == '.' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9':
		return number(text, at), nil
	}
	r, _ := utf8.DecodeRuneInString(rest)
	if unicode.IsLetter(r) || r == '_' {
		n := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' })
		if n < 0 {
			n = len(rest)
		}
		return token{tokWord, rest[:n], at, at + n}, nil
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, s) {
			return token{tokSymbol, s, at, at + len(s)}, nil
		}
	}
	return token{}, fmt.Errorf("position %d: %q is not understood", at+1, string(r))
}

func quoted(text string, at int) (token, error) {
	q, k := text[at], tokString
	if q == '"' {
		k = tokQuoted
	}
	var b strings.Builder
	for i := at + 1; i < len(text); i++ {
		if text[i] != q {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == q {
			b.WriteByte(q)
			i++
			continue
		}
		return token{k, b.String(), at, i + 1}, nil
	}
	return token{}, fmt.Errorf("position %d: the quote does not end", at+1)
}

// number takes digits with a point and an exponent.
func number(text string, at int) token {
	i := at
	digits := func() {
		for i < len(text) && text[i] >= '0' && text[i] <= '9' {
			i++
		}
	}
	digits()
	if i < len(text) && text[i] == '.' {
		i++
		digits()
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		mark := i
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		if i == len(text) || text[i] < '0' || text[i] > '9' {
			i = mark
		}
		digits()
	}
	return token{tokNumber, text[at:i], at, i}
}
