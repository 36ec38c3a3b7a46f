package forget

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Mention says whether the bytes of a record, which nobody could decode, are about a person.
type Mention uint8

// The mentions.
const (
	// No: the text of a value is nowhere. Formats that do not store text as it is, or numbers in binary, hide it.
	No Mention = iota
	// May: all values of a key are there as text.
	May
	// Is: a JSON document has members with the names of the key's columns and these values.
	Is
)

// Mentions says what the parts of a record tell of any of the keys.
func Mentions(keys []Key, parts ...[]byte) Mention {
	most := No
	var documents []any
	parsed := false
	for _, k := range keys {
		may := mayMention(k, parts)
		if may {
			most = May
		} else if !escaped(parts) {
			continue
		}
		if !parsed {
			documents, parsed = parseAll(parts), true
		}
		if isIn(k, documents) {
			return Is
		}
	}
	return most
}

func mayMention(k Key, parts [][]byte) bool {
	for _, v := range k {
		if v.Text == "" {
			return false
		}
		found := false
		for _, p := range parts {
			if found = found || contains(p, []byte(v.Text)); found {
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// contains looks for a whole word in text, and for the bytes in anything else: there, a letter before it may be a length.
func contains(in, word []byte) bool {
	text := isText(in)
	for from := 0; ; {
		at := bytes.Index(in[from:], word)
		if at < 0 {
			return false
		}
		at += from
		end := at + len(word)
		if !text || (at == 0 || !wordByte(in[at-1])) && (end == len(in) || !wordByte(in[end])) {
			return true
		}
		from = at + 1
	}
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func isText(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexFunc(b, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }) < 0
}

func escaped(parts [][]byte) bool {
	for _, p := range parts {
		if bytes.IndexByte(p, '\\') >= 0 {
			return true
		}
	}
	return false
}

func parseAll(parts [][]byte) (documents []any) {
	for _, p := range parts {
		d := json.NewDecoder(bytes.NewReader(p))
		d.UseNumber()
		var v any
		if d.Decode(&v) == nil { // else it is no JSON
			documents = append(documents, v)
		}
	}
	return documents
}

// isIn reports whether one of the documents has a member for each value of a key.
func isIn(k Key, documents []any) bool {
	for _, d := range documents {
		all := true
		for _, v := range k {
			all = all && hasMember(d, "", v)
		}
		if all {
			return true
		}
	}
	return false
}

func hasMember(d any, name string, v Value) bool {
	switch d := d.(type) {
	case map[string]any:
		for n, x := range d {
			if hasMember(x, n, v) {
				return true
			}
		}
	case []any:
		for _, x := range d {
			if hasMember(x, name, v) {
				return true
			}
		}
	case string:
		return strings.EqualFold(name, v.Column) && d == v.Text
	case json.Number:
		return strings.EqualFold(name, v.Column) && d.String() == v.Text
	}
	return false
}
