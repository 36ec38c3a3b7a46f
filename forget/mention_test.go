package forget_test

import (
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/pipeline"
)

func TestMentions(t *testing.T) {
	t.Parallel()
	anna := forget.Key{{Column: "email", Text: "anna@example.org"}}
	both := forget.Key{{Column: "email", Text: "anna@example.org"}, {Column: "id", Text: "7"}}
	number := forget.Key{{Column: "id", Text: "4711"}}
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
		{forget.Is, anna, []string{"\x00\x00\x00\x00\x07{\"email\":\"anna@example.org\"}"}}, // JSON behind the id of its schema
		{forget.No, anna, []string{"\x00\x00\x00\x00\x07{\"email\":\"hanna@example.org\"}"}},
		{forget.May, number, []string{"\x00\x00\x00\x00\x07\xce\x49"}},           // Avro
		{forget.May, number, []string{"\x00\x00\x00\x00\x07\x00\x08\xe7\x24"}},   // Protobuf
		{forget.May, number, []string{"{}", "\x00\x00\x00\x00\x00\x00\x12\x67"}}, // Kafka's serializers
		{forget.May, number, []string{"{}", "\x00\x00\x12\x67"}},
		{forget.No, number, []string{"\x00\x00\x00\x12\x67\x02"}}, // a schema id
	} {
		parts := make([]forget.Part, len(c.parts))
		for i, p := range c.parts {
			parts[i].Bytes = []byte(p)
		}
		p := forget.NewPersons([]forget.Key{{{Column: "email", Text: "nobody"}}, c.key}, pipeline.ParseTexts)
		if got := p.Mentioned(parts...); got != c.want {
			t.Errorf("%q: %d, want %d", c.parts, got, c.want)
		}
	}
}

// What was decoded is looked at by types and names, at any depth.
func TestMentionsInRows(t *testing.T) {
	t.Parallel()
	list := &batch.Type{Kind: batch.List, Fields: []batch.Field{{Name: "element", Type: batch.Prim(batch.Int)}}}
	named := &batch.Type{Kind: batch.Map, Fields: []batch.Field{{Name: "key", Type: batch.Prim(batch.String), Required: true}, {Name: "value", Type: batch.Prim(batch.Double)}}}
	inner := batch.StructOf(batch.Field{Name: "born", Type: batch.Prim(batch.Date)}, batch.Field{Name: "sum", Type: batch.DecimalOf(9, 2)})
	b := batch.New(&batch.Records{}, batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)}, batch.Field{Name: "ids", Type: list},
		batch.Field{Name: "more", Type: named}, batch.Field{Name: "inner", Type: inner}, batch.Field{Name: "gone", Type: batch.Prim(batch.String)}, batch.Field{Name: "note", Type: batch.Prim(batch.String)}))
	c := b.Root.Children
	c[0].AppendInt64(4711)
	c[1].Children[0].AppendInt32(5)
	c[1].Children[0].AppendInt32(6)
	c[1].AppendList()
	c[2].Children[0].AppendView(b.AppendString("weight"))
	c[2].Children[1].AppendFloat64(71)
	c[2].AppendList()
	c[3].Children[0].AppendInt32(365) // 1971-01-01
	c[3].Children[1].AppendInt64(1250)
	c[3].AppendStruct()
	c[4].AppendNull()
	c[5].AppendView(b.AppendString(`{"for":"anna@example.org"}`))
	b.Root.AppendStruct()
	b.AppendRow(0, 1)
	for i, c := range []struct {
		want   forget.Mention
		key    forget.Key
		prefix string
	}{
		{forget.Is, forget.Key{{Column: "id", Text: "4711"}}, ""},
		{forget.Is, forget.Key{{Column: "key_id", Text: "4711"}}, "key_"},
		{forget.Is, forget.Key{{Column: "ID", Text: "4711"}, {Column: "ids", Text: "6"}}, ""},
		{forget.Is, forget.Key{{Column: "born", Text: "1971-01-01"}, {Column: "sum", Text: "12.5"}}, ""},
		{forget.Is, forget.Key{{Column: "weight", Text: "71"}}, ""},
		{forget.May, forget.Key{{Column: "customer", Text: "4711"}}, ""},
		{forget.Is, forget.Key{{Column: "for", Text: "anna@example.org"}}, ""}, // JSON within
		{forget.May, forget.Key{{Column: "mail", Text: "anna@example.org"}}, ""},
		{forget.No, forget.Key{{Column: "mail", Text: "nna@example.org"}}, ""}, // of text only whole words
		{forget.No, forget.Key{{Column: "id", Text: "471"}}, ""},
		{forget.No, forget.Key{{Column: "id", Text: "4711"}, {Column: "ids", Text: "7"}}, ""},
		{forget.No, forget.Key{{Column: "gone", Text: "x"}}, ""},
		{forget.No, forget.Key{{Column: "id", Text: "x"}}, ""},
	} {
		p := forget.NewPersons([]forget.Key{{{Column: "id", Text: "1"}}, c.key}, pipeline.ParseTexts)
		if got := p.Mentioned(forget.Part{Bytes: []byte{0}, Row: b, Prefix: c.prefix}); got != c.want {
			t.Errorf("case %d: %d, want %d", i, got, c.want)
		}
	}
}
