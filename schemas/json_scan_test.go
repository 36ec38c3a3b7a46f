package schemas

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var jsonSeeds = []string{`{}`, `[]`, `null`, ` {"a" : [1, -0.5e+3, true,false,null, "x\"\u00e9\ud83d\ude00"] } `, `"abc`, `{"a":1,}`, `[1,]`, `[,1]`,
	`{"a" 1}`, `01`, `-`, `1.`, `1e`, `.5`, `+1`, `"\x"`, `"\u12g4"`, "\"a\tb\"", `tru`, `nul`, `{"a":1}}`, `[[[[`, "\"\xff\"", `"日本語の長いテキスト"`,
	`{"a":{"b":[{"c":"d"}]}}`, `"12345678\\90"`, `"1234567\"89012345"`, `[1 2]`, `{1:2}`, `"\ud800"`, `"\ud800\u0041"`, `[1e5,1E-5]`, ``, ` `, "\ufeff{}"}

// checkSkip compares with encoding/json, which also takes deeper texts, and strings that are no UTF-8.
func checkSkip(t *testing.T, text []byte) {
	s := jsonScan{b: text}
	err := s.skip(0)
	if err == nil {
		err = s.end()
	}
	if err != nil && strings.Contains(err.Error(), "nested deeper") {
		return
	}
	want := json.Valid(text) && utf8.Valid(text)
	if (err == nil) != want {
		t.Errorf("%q: %v, but valid is %v", text, err, want)
	}
}

func checkString(t *testing.T, text []byte) {
	s := jsonScan{b: text}
	if len(text) == 0 || text[0] != '"' {
		return
	}
	from, to, escaped, err := s.str()
	if err != nil {
		return
	}
	got, err := unescape(nil, text[from:to])
	if err != nil {
		return
	}
	var want string
	if err := json.Unmarshal(text[:s.i], &want); err != nil || want != string(got) {
		t.Errorf("%q: %q, not %q (%v)", text, got, want, err)
	}
	if !escaped && !bytes.Equal(got, text[from:to]) {
		t.Errorf("%q: said to hold no escape", text)
	}
}

func TestJSONScan(t *testing.T) {
	for _, text := range jsonSeeds {
		checkSkip(t, []byte(text))
		checkString(t, []byte(text))
	}
	for _, n := range []int{maxJSONDepth, maxJSONDepth + 1} {
		s := jsonScan{b: []byte(strings.Repeat("[", n) + strings.Repeat("]", n))}
		if err := s.skip(0); (err == nil) != (n == maxJSONDepth) {
			t.Errorf("depth %d: %v", n, err)
		}
	}
	for text, want := range map[string]string{`\ud83d\ude00`: "\U0001F600", `\u0000\b\f\n\r\t\/\\\"`: "\x00\b\f\n\r\t/\\\"", `a\u00e9b`: "aéb"} {
		if got, err := unescape(nil, []byte(text)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", text, got, err)
		}
	}
	for _, text := range []string{`\ud83d`, `\ude00`, `\ud83dx`, `\ud83d\n12345`, `\ud83d\u0041`, `\ude00\ud83d`} {
		if got, err := unescape(nil, []byte(text)); err == nil {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func FuzzJSONScan(f *testing.F) {
	for _, s := range jsonSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		checkSkip(t, text)
		checkString(t, text)
	})
}
