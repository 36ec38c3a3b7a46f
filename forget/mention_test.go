package forget_test

import (
	"testing"

	"github.com/lakeloader/lakeloader/forget"
)

func TestMentions(t *testing.T) {
	t.Parallel()
	anna := forget.Key{{Column: "email", Text: "anna@example.org"}}
	both := forget.Key{{Column: "email", Text: "anna@example.org"}, {Column: "id", Text: "7"}}
	for _, c := range []struct {
		want  forget.Mention
		key   forget.Key
		parts []string
	}{
		{forget.No, anna, []string{`{"email":"bert@example.org"}`}},
		{forget.No, anna, []string{`{"email":"hanna@example.org"}`}},
		{forget.No, anna, []string{`{"email":"anna@example.organic"}`}},
		{forget.Is, anna, []string{`{"Email":"anna@example.org"}`}},
		{forget.Is, anna, []string{`[{"a":[{"email":["x","anna@example.org"]}]}]`}},
		{forget.Is, anna, []string{`{"email":"anna\u0040example.org"}`}},
		{forget.May, anna, []string{`{"mail":"anna@example.org"}`}},
		{forget.May, anna, []string{`{"email":"anna@example.org"`}},
		{forget.May, anna, []string{`{}`, "anna@example.org"}},
		{forget.May, anna, []string{"\x00\x20anna@example.orgx"}}, // what is no text has no words
		{forget.May, anna, []string{`cannot cast "anna@example.org"`}},
		{forget.Is, both, []string{`{"email":"anna@example.org","id":7}`}},
		{forget.May, both, []string{`{"email":"anna@example.org","n":7}`}},
		{forget.No, both, []string{`{"email":"anna@example.org","id":77}`}},
		{forget.May, both, []string{`{"email":"anna@example.org"}`, `{"id":"7"}`}}, // of two documents
		{forget.No, anna, nil},
	} {
		parts := make([][]byte, len(c.parts))
		for i, p := range c.parts {
			parts[i] = []byte(p)
		}
		if got := forget.Mentions([]forget.Key{{{Column: "email", Text: "nobody"}}, c.key}, parts...); got != c.want {
			t.Errorf("%q: %d, want %d", c.parts, got, c.want)
		}
	}
}
