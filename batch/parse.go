package batch

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxTypeDepth is how deeply ParseType lets types nest.
const MaxTypeDepth = 64

// ParseType reads the text form of a type, as String writes it:
//
//	boolean int long float double date time timestamp timestamptz string uuid binary
//	decimal(12,2)  fixed[16]  list<T>  map<string, T>  struct<name: T, "odd name": T required>
//
// Members of nested types are optional unless "required" follows them; map keys are always required. An error gives
// the position, counted in characters from 1.
func ParseType(text string) (*Type, error) {
	t, required, err := ParseColumn(text)
	if err == nil && required {
		return nil, fmt.Errorf("type %q: a bare type cannot be required", text)
	}
	return t, err
}

// ParseColumn is ParseType for a column: "required" may follow the type.
func ParseColumn(text string) (t *Type, required bool, err error) {
	p := typeParser{text: text}
	t, required, err = p.member(0)
	if err == nil {
		if p.space(); p.pos < len(text) {
			err = p.errorf("unexpected %q after the type", rest(text[p.pos:]))
		}
	}
	if err != nil {
		return nil, false, err
	}
	return t, required, nil
}

type typeParser struct {
	text string
	pos  int
}

func (p *typeParser) errorf(format string, args ...any) error {
	at := utf8.RuneCountInString(p.text[:p.pos]) + 1
	return fmt.Errorf("type %q, position %d: %s", p.text, at, fmt.Sprintf(format, args...))
}

// rest shortens what follows for a message.
func rest(s string) string {
	if len(s) <= 20 {
		return s
	}
	n := 20
	for n > 16 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

func (p *typeParser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// accept takes c if it comes next.
func (p *typeParser) accept(c byte) bool {
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *typeParser) expect(c byte) error {
	if p.accept(c) {
		return nil
	}
	if p.pos == len(p.text) {
		return p.errorf("%q expected, but the text ends", string(c))
	}
	return p.errorf("%q expected, not %q", string(c), rest(p.text[p.pos:]))
}

func (p *typeParser) word() string {
	p.space()
	start := p.pos
	for p.pos < len(p.text) {
		r, n := utf8.DecodeRuneInString(p.text[p.pos:])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.$@#", r) {
			break
		}
		p.pos += n
	}
	return p.text[start:p.pos]
}

// member reads a type and an optional "required".
func (p *typeParser) member(depth int) (*Type, bool, error) {
	t, err := p.parse(depth)
	if err != nil {
		return nil, false, err
	}
	p.space()
	start := p.pos
	switch w := p.word(); w {
	case "":
		return t, false, nil
	case "required":
		return t, true, nil
	default:
		p.pos = start
		return nil, false, p.errorf("%q expected after the type, or nothing, not %q", "required", w)
	}
}

func (p *typeParser) parse(depth int) (*Type, error) {
	p.space()
	start := p.pos
	if depth >= MaxTypeDepth {
		return nil, p.errorf("types nest deeper than %d", MaxTypeDepth)
	}
	w := p.word()
	for k := Boolean; k <= Map; k++ {
		if names[k] != w {
			continue
		}
		switch k {
		case Decimal:
			return p.decimal()
		case Fixed:
			return p.fixed()
		case List, Map:
			return p.collection(k, depth)
		case Struct:
			return p.structure(depth)
		}
		return Prim(k), nil
	}
	p.pos = start
	if w == "" {
		if start == len(p.text) {
			return nil, p.errorf("a type expected, but the text ends")
		}
		return nil, p.errorf("a type expected, not %q", rest(p.text[start:]))
	}
	return nil, p.errorf("unknown type %q%s; one of boolean, int, long, float, double, decimal(P,S), date, time, timestamp, "+
		"timestamptz, string, uuid, binary, fixed[N], list<T>, map<string, T>, struct<name: T, ...> expected", w, meant(w))
}

// meant suggests our name for a type of SQL, Java or JSON.
func meant(w string) string {
	w = strings.ToLower(w)
	other := map[string]string{"bool": "boolean", "integer": "int", "smallint": "int", "int32": "int", "bigint": "long", "int64": "long",
		"real": "float", "number": "double", "numeric": "decimal(P,S)", "varchar": "string", "text": "string", "bytes": "binary",
		"datetime": "timestamp", "array": "list<T>", "object": "struct<name: T>", "record": "struct<name: T>"}[w]
	for k := Boolean; k <= Map && other == ""; k++ {
		if names[k] == w {
			other = w
		}
	}
	if other == "" {
		return ""
	}
	return fmt.Sprintf(" (is %s meant?)", other)
}

// number reads a whole number within [lo, hi].
func (p *typeParser) number(what string, lo, hi int) (int, error) {
	p.space()
	start := p.pos
	for p.pos < len(p.text) && p.text[p.pos] >= '0' && p.text[p.pos] <= '9' {
		p.pos++
	}
	digits := p.text[start:p.pos]
	n, err := strconv.Atoi(digits)
	if err != nil || n < lo || n > hi {
		p.pos = start
		return 0, p.errorf("%s from %d to %d expected, not %q", what, lo, hi, rest(p.text[start:]))
	}
	return n, nil
}

func (p *typeParser) decimal() (*Type, error) {
	if err := p.expect('('); err != nil {
		return nil, err
	}
	precision, err := p.number("a precision", 1, 38)
	if err != nil {
		return nil, err
	}
	scale := 0
	if p.accept(',') {
		if scale, err = p.number("a scale", 0, precision); err != nil {
			return nil, err
		}
	}
	return DecimalOf(precision, scale), p.expect(')')
}

func (p *typeParser) fixed() (*Type, error) {
	if err := p.expect('['); err != nil {
		return nil, err
	}
	n, err := p.number("a length", 1, 1<<20)
	if err != nil {
		return nil, err
	}
	return FixedOf(n), p.expect(']')
}

func (p *typeParser) collection(k Kind, depth int) (*Type, error) {
	if err := p.expect('<'); err != nil {
		return nil, err
	}
	first, required, err := p.member(depth + 1)
	if err != nil {
		return nil, err
	}
	if k == List {
		return ListOf(first, required), p.expect('>')
	}
	if first.Nested() {
		return nil, p.errorf("a map's key cannot be a %s", first.Kind)
	}
	if err := p.expect(','); err != nil {
		return nil, err
	}
	value, required, err := p.member(depth + 1)
	if err != nil {
		return nil, err
	}
	return MapOf(first, value, required), p.expect('>')
}

func (p *typeParser) structure(depth int) (*Type, error) {
	if err := p.expect('<'); err != nil {
		return nil, err
	}
	t := StructOf()
	for {
		p.space()
		start := p.pos
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if t.Index(name) >= 0 {
			p.pos = start
			return nil, p.errorf("the field %q is there twice", name)
		}
		if err := p.expect(':'); err != nil {
			return nil, err
		}
		ft, required, err := p.member(depth + 1)
		if err != nil {
			return nil, err
		}
		t.Fields = append(t.Fields, Field{Name: name, Type: ft, Required: required})
		if !p.accept(',') {
			return t, p.expect('>')
		}
	}
}

// name reads a field's name: a word, or anything in double quotes.
func (p *typeParser) name() (string, error) {
	if p.pos < len(p.text) && p.text[p.pos] == '"' {
		quoted, err := strconv.QuotedPrefix(p.text[p.pos:])
		if err != nil {
			return "", p.errorf("the quoted name does not end, or has a bad escape")
		}
		name, err := strconv.Unquote(quoted)
		if err != nil || name == "" {
			return "", p.errorf("%s is no name", quoted)
		}
		p.pos += len(quoted)
		return name, nil
	}
	if w := p.word(); w != "" {
		return w, nil
	}
	if p.pos == len(p.text) {
		return "", p.errorf("a field's name expected, but the text ends")
	}
	return "", p.errorf("a field's name expected, not %q", rest(p.text[p.pos:]))
}
