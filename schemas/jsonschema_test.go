package schemas

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

func mustParseJSONSchema(t testing.TB, text string, refs ...Reference) Schema {
	t.Helper()
	s, err := ParseJSONSchema(text, refs)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

// jsonSchemaCases are the schema of a property, what its field becomes, a value and what that becomes.
var jsonSchemaCases = []struct {
	schema, typ, json string
	want              any
}{
	{`{"type":"integer"}`, "long", `5.0`, int64(5)},
	{`{"type":"integer","format":"int32"}`, "int", `5`, int32(5)},
	{`{"type":"integer","connect.type":"int16"}`, "int", `5`, int32(5)},
	{`{"type":"number"}`, "double", `0.5`, 0.5},
	{`{"type":"number","connect.type":"float32"}`, "float", `0.5`, float32(0.5)},
	{`{"type":["integer","number","null"]}`, "double", `5`, 5.0},
	{`{"type":"number","format":"decimal","precision":12,"scale":2}`, "decimal(12,2)", `12.34`, int64(1234)},
	{`{"type":"string","format":"decimal","precision":12,"scale":2}`, "decimal(12,2)", `"12.34"`, int64(1234)},
	{`{"type":"number","title":"org.apache.kafka.connect.data.Decimal","connect.version":1,"connect.type":"bytes","connect.parameters":{"scale":"2","connect.decimal.precision":"10"}}`, "decimal(10,2)", `"BNI="`, int64(1234)},
	{`{"type":"number","title":"org.apache.kafka.connect.data.Decimal","connect.type":"bytes","connect.parameters":{"scale":"2"}}`, "decimal(38,2)", `12.34`, wide("1234")},
	{`{"type":"string"}`, "string", `"a"`, "a"},
	{`{"type":"string"}`, "string", `{"a":1}`, `{"a":1}`},
	{`{"type":"string","format":"email"}`, "string", `"a@b.c"`, "a@b.c"},
	{`{"type":"string","format":"date"}`, "date", `"1970-01-02"`, int32(1)},
	{`{"type":"string","format":"date-time"}`, "timestamptz", `"1970-01-01T00:00:01Z"`, int64(1e6)},
	{`{"type":"string","format":"time"}`, "time", `"00:00:01Z"`, int64(1e6)},
	{`{"type":"string","format":"uuid"}`, "uuid", `"00000000-0000-0000-0000-000000000001"`, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
	{`{"type":"string","contentEncoding":"base64"}`, "binary", `"AA=="`, "\x00"},
	{`{"type":"string","connect.type":"bytes"}`, "binary", `"AA=="`, "\x00"},
	{`{"type":"integer","title":"org.apache.kafka.connect.data.Date","connect.type":"int32"}`, "date", `1`, int32(1)},
	{`{"type":"integer","title":"org.apache.kafka.connect.data.Time","connect.type":"int32"}`, "time", `1`, int64(1000)},
	{`{"type":"integer","title":"org.apache.kafka.connect.data.Timestamp","connect.type":"int64"}`, "timestamptz", `1`, int64(1000)},
	{`{"type":"boolean"}`, "boolean", `true`, true},
	{`{"enum":["a","b"]}`, "string", `"b"`, "b"},
	{`{"enum":[1,-2,null]}`, "long", `1`, int64(1)},
	{`{"enum":[1,"a"]}`, "string", `"a"`, `"a"`},
	{`{"const":true}`, "boolean", `true`, true},
	{`{"type":["null","string"]}`, "string", `null`, nil},
	{`{"oneOf":[{"type":"null"},{"type":"integer"}]}`, "long", `null`, nil},
	{`{"anyOf":[{"type":"integer"},{"type":"null"}]}`, "long", `3`, int64(3)},
	{`{"oneOf":[{"type":"integer","minimum":5},{"type":"integer","maximum":1}]}`, "long", `7`, int64(7)},
	{`{"oneOf":[{"type":"integer"},{"type":"string"}]}`, "string", `"x"`, `"x"`},
	{`{"type":["integer","string"]}`, "string", `1`, `1`},
	{`{}`, "string", `"x"`, `"x"`},
	{`true`, "string", `[1]`, `[1]`},
	{`{"type":"object"}`, "string", `{"a": 1}`, `{"a": 1}`},
	{`{"type":"object","additionalProperties":true}`, "string", `{}`, `{}`},
	{`{"type":"object","additionalProperties":{"type":"integer"}}`, "map<string required, long required>", `{"a":1}`, [][2]any{{"a", int64(1)}}},
	{`{"type":"object","patternProperties":{"^x":{"type":["string","null"]}}}`, "map<string required, string>", `{"xa":null}`, [][2]any{{"xa", nil}}},
	{`{"type":"array","items":{"type":"integer"}}`, "list<long required>", `[1]`, []any{int64(1)}},
	{`{"type":"array","items":{"oneOf":[{"type":"null"},{"type":"string"}]}}`, "list<string>", `[null]`, []any{nil}},
	{`{"type":"array"}`, "list<string>", `[1,"a"]`, []any{"1", `"a"`}},
	{`{"type":"array","items":[{"type":"integer"},{"type":"string"}]}`, "string", `[1,"a"]`, `[1,"a"]`},
	{`{"type":"object","properties":{"z":{"type":"integer"},"a":{"type":"string"}},"required":["a"]}`, "struct<z: long, a: string required>", `{"a":"x"}`, map[string]any{"z": nil, "a": "x"}},
	{`{"properties":{"z":{"type":"integer"}}}`, "struct<z: long>", `{"z":1}`, map[string]any{"z": int64(1)}},
	{`{"type":"object","properties":{"z":{"type":"integer","connect.index":1},"a":{"type":"string","connect.index":0},"no":false}}`, "struct<a: string, z: long>", `{}`, map[string]any{"z": nil, "a": nil}},
	{`{"$ref":"#/definitions/money"}`, "struct<amount: decimal(9,2) required, currency: string>", `{"amount":1}`, map[string]any{"amount": int64(100), "currency": nil}},
	{`{"allOf":[{"$ref":"#/definitions/money"},{"properties":{"extra":{"type":"boolean"}}}]}`, "struct<amount: decimal(9,2) required, currency: string, extra: boolean>", `{"amount":1,"extra":true}`,
		map[string]any{"amount": int64(100), "currency": nil, "extra": true}},
	{`{"$ref":"#/$defs/odd~1name%20x"}`, "long", `1`, int64(1)},
	{`{"$ref":"shared.json"}`, "struct<s: string required>", `{"s":"x"}`, map[string]any{"s": "x"}},
	{`{"$ref":"shared.json#/definitions/n"}`, "long", `1`, int64(1)},
	{`{"$ref":"#/definitions/tree"}`, "struct<name: string, children: list<string>>", `{"name":"a","children":[{"name":"b"}]}`, map[string]any{"name": "a", "children": []any{`{"name":"b"}`}}},
	{`{"type":"string","nullable":true}`, "string", `null`, nil},
}

const jsonDefinitions = `"definitions":{"money":{"type":"object","properties":{"amount":{"type":"number","format":"decimal","precision":9,"scale":2},"currency":{"type":"string"}},"required":["amount"]},
	"tree":{"type":"object","properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/definitions/tree"}}}}},"$defs":{"odd/name x":{"type":"integer"}}`

func TestJSONSchemaTypes(t *testing.T) {
	shared := Reference{Name: "shared.json", Text: `{"type":"object","properties":{"s":{"$ref":"deep.json"}},"required":["s"],"definitions":{"n":{"type":"integer"}}}`,
		Refs: []Reference{{Name: "deep.json", Text: `{"type":"string"}`}}}
	for _, c := range jsonSchemaCases {
		s := mustParseJSONSchema(t, `{"type":"object","properties":{"v":`+c.schema+`},`+jsonDefinitions+`}`, shared)
		if got := s.Row().Fields[0].Type.String(); got != c.typ || s.Row().Fields[0].Required {
			t.Errorf("%s: %s, not %s", c.schema, got, c.typ)
			continue
		}
		got, err := decodeOne(t, s, `{"v":`+c.json+`}`)
		if err != nil || !reflect.DeepEqual(got, map[string]any{"v": c.want}) {
			t.Errorf("%s: %s became %#v, %v", c.schema, c.json, got, err)
		}
	}
}

func TestJSONSchemaFields(t *testing.T) {
	s := mustParseJSONSchema(t, `{"$schema":"http://json-schema.org/draft-07/schema#","$id":"http://example.org/order.json","type":"object","title":"Order","required":["id","note","any","item"],"properties":{
		"id":{"type":"integer","description":"the order"},"note":{"type":["string","null"]},"any":{},"item":{"$ref":"item.json"},"when":{"type":"string","format":"date","connect.doc":"a day"}}}`,
		Reference{Name: "item.json", Text: `{"$id":"http://example.org/item.json","type":"object","properties":{"sku":{"$ref":"#/definitions/s"}},"definitions":{"s":{"type":"string"}}}`})
	want := "struct<id: long required, note: string, any: string, item: struct<sku: string> required, when: date>"
	if s.Row().String() != want {
		t.Errorf("%s, not %s", s.Row(), want)
	}
	if s.Row().Fields[0].Doc != "the order" || s.Row().Fields[4].Doc != "a day" {
		t.Errorf("%+v", s.Row().Fields)
	}
	for payload, want := range map[string]string{`{"id":1,"item":{"sku":5}}`: "", `{"item":{}}`: "id: it is required", `{"id":1}`: "item: it is required", `{"id":"1","item":{}}`: "id: a whole number expected"} {
		_, err := decodeOne(t, s, payload)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// TestJSONSchemaReferenceNames: of two names that both end a reference's URL, the longer one is meant.
func TestJSONSchemaReferenceNames(t *testing.T) {
	for range 20 {
		s := mustParseJSONSchema(t, `{"type":"object","properties":{"v":{"$ref":"x/a.json"}}}`,
			Reference{Name: "a.json", Text: `{"type":"string"}`}, Reference{Name: "x/a.json", Text: `{"type":"integer"}`})
		if s.Row().String() != "struct<v: long>" {
			t.Fatal(s.Row())
		}
	}
}

func TestJSONSchemaBare(t *testing.T) {
	for _, c := range []struct {
		schema, row, json string
		want              any
	}{
		{`{"type":"string"}`, "struct<value: string required>", `"k"`, "k"},
		{`{"type":["integer","null"]}`, "struct<value: long>", `null`, nil},
		{`{"type":"array","items":{"type":"integer"}}`, "struct<value: list<long required> required>", `[1]`, []any{int64(1)}},
		{`{}`, "struct<value: string>", `{"a":1}`, `{"a":1}`},
		{`true`, "struct<value: string>", `"a"`, `"a"`},
		{`{"type":"object"}`, "struct<value: string required>", ` {} `, `{}`},
	} {
		s := mustParseJSONSchema(t, c.schema)
		if s.Row().String() != c.row {
			t.Errorf("%s: %s", c.schema, s.Row())
		}
		if got, err := decodeOne(t, s, c.json); err != nil || !reflect.DeepEqual(got, map[string]any{"value": c.want}) {
			t.Errorf("%s: %v, %v", c.schema, got, err)
		}
	}
}

func TestJSONSchemasRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                 "JSON schema: ",
		`{"type":"objekt"}`: "/type",
		`{"type":"object","properties":{"a":{"$ref":"http://example.org/x.json"}}}`:                                                            "not among the schema's references",
		`{"type":"object","properties":{"a":{"$ref":"#/definitions/no"}}}`:                                                                     "definitions/no",
		`{"$schema":"http://example.org/my"}`:                                                                                                  "example.org/my",
		`{"type":"object","properties":{"a":{"type":"number","format":"decimal","precision":39,"scale":2}}}`:                                   "field a: type \"decimal(39,2)\"",
		`{"type":"object","properties":` + strings.Repeat(`{"a":{"type":"object","properties":`, 100) + `{}` + strings.Repeat(`}}`, 100) + `}`: "nested more than 64 deep",
		strings.Repeat(`[`, 10000): "nested deeper",
	} {
		if s, err := ParseJSONSchema(text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, %v", text, s, err)
		}
	}
}

// TestJSONSchemaExpansion: a short text that describes millions of columns is refused rather than expanded.
func TestJSONSchemaExpansion(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/definitions/d0","definitions":{`)
	for i := range 30 {
		next := `{"$ref":"#/definitions/d` + string(rune('0'+(i+1)/10)) + string(rune('0'+(i+1)%10)) + `"}`
		name := `"d` + string(rune('0'+i/10)) + string(rune('0'+i%10)) + `"`
		if i == 0 {
			name = `"d0"`
		}
		b.WriteString(name + `:{"properties":{"a":` + next + `,"b":` + next + `}},`)
	}
	b.WriteString(`"d30":{"type":"string"}}}`)
	if _, err := ParseJSONSchema(b.String(), nil); err == nil || !strings.Contains(err.Error(), "more than 10000 columns") {
		t.Error(err)
	}
}

func TestParseColumnsRefuses(t *testing.T) {
	for want, defs := range map[string][]configs.ColumnDef{
		"columns: none declared":                                   nil,
		"columns[0]: it has no name":                               {{Type: "int"}},
		"columns[1]: the name \"a\" is there twice":                {{Name: "a", Type: "int"}, {Name: "a", Type: "int"}},
		"columns[0] a: type \"integer\", position 1: unknown type": {{Name: "a", Type: "integer"}},
		"field a: the keys of a JSON object are text":              {{Name: "a", Type: "map<int, int>"}},
	} {
		if s, err := ParseColumns(defs, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, %v", defs, s, err)
		}
	}
	if _, err := ParseColumns([]configs.ColumnDef{{Name: "a", Type: "int"}}, "drop"); err == nil || !strings.Contains(err.Error(), "ignore or dead_letter") {
		t.Error(err)
	}
	s, err := ParseColumns([]configs.ColumnDef{{Name: "a", Type: "int required", Doc: "first"}}, "ignore")
	if err != nil || s.Row().String() != "struct<a: int required>" || s.Row().Fields[0].Doc != "first" {
		t.Errorf("%v, %v", s, err)
	}
}

func TestParseRaw(t *testing.T) {
	s := ParseRaw()
	if s.Row().String() != "struct<value: string required>" {
		t.Error(s.Row())
	}
	if got, err := decodeOne(t, s, "any text {"); err != nil || !reflect.DeepEqual(got, map[string]any{"value": "any text {"}) {
		t.Error(got, err)
	}
	if _, err := decodeOne(t, s, "\xff"); err == nil || !strings.Contains(err.Error(), "value: the payload is not valid UTF-8") {
		t.Error(err)
	}
	target := batch.StructOf(opt("a", batch.Prim(batch.Int)), opt("value", batch.Prim(batch.String)))
	r, root := &batch.Records{}, newRoot(target)
	if err := appendRow(mustCompile(t, s, target), r, root, []byte("x")); err != nil || !reflect.DeepEqual(slot(r, root, 0), map[string]any{"a": nil, "value": "x"}) {
		t.Error(err)
	}
	if err := mustCompile(t, s, target).Append(r, batch.Null, root); err == nil {
		t.Error("no error for null")
	}
	for _, bad := range []*batch.Type{batch.StructOf(), batch.StructOf(opt("value", batch.Prim(batch.Int))), batch.StructOf(opt("value", batch.Prim(batch.String)), req("a", batch.Prim(batch.Int)))} {
		if _, err := s.Compile(bad); err == nil {
			t.Error(bad)
		}
	}
}

func TestParsePlainFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s, err := ParsePlainFile(file("a.avsc", `{"type":"record","name":"R","fields":[{"name":"ms","type":{"type":"long","logicalType":"timestamp-millis"}},
		{"name":"us","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},{"name":"l","type":{"type":"array","items":{"type":"long","logicalType":"local-timestamp-micros"}}},
		{"name":"m","type":{"type":"map","values":{"type":"long","logicalType":"time-micros"}}},{"name":"n","type":{"type":"record","name":"N","fields":[{"name":"t","type":{"type":"int","logicalType":"time-millis"}},
		{"name":"d","type":{"type":"int","logicalType":"date"}},{"name":"none","type":"null"},{"name":"b","type":"bytes"}]}},
		{"name":"u","type":["null","string",{"type":"long","logicalType":"timestamp-micros"}]}]}`), "dead_letter")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeOne(t, s, `{"ms":1,"us":2,"l":[3],"m":{"a":4},"n":{"t":5,"d":6,"b":"AA=="},"u":{"long":7}}`)
	want := map[string]any{"ms": int64(1000), "us": int64(2), "l": []any{int64(3)}, "m": [][2]any{{"a", int64(4)}},
		"n": map[string]any{"t": int64(5000), "d": int32(6), "b": "\x00"}, "u": map[string]any{"string": nil, "long": int64(7)}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := decodeOne(t, s, `{"x":1}`); err == nil || !strings.Contains(err.Error(), "x: there is no column") {
		t.Error(err)
	}
	file("other.json", `{"type":"integer"}`)
	s, err = ParsePlainFile(file("main.json", `{"type":"object","properties":{"a":{"$ref":"other.json"}}}`), "")
	if err != nil || s.Row().String() != "struct<a: long>" {
		t.Error(s, err)
	}
	for want, path := range map[string]string{"no such file": filepath.Join(dir, "no.json"), "must be a record": file("b.avsc", `"string"`), "bad.json: JSON schema": file("bad.json", `{"type":1}`),
		"bad.avsc: avro": file("bad.avsc", `{"type":"x"}`)} {
		if s, err := ParsePlainFile(path, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", path, s, err)
		}
	}
	if _, err := ParsePlainFile(filepath.Join(dir, "main.json"), "what"); err == nil {
		t.Error("unknown_fields what")
	}
}

func FuzzJSONSchema(f *testing.F) {
	for _, c := range jsonSchemaCases {
		f.Add(`{"type":"object","properties":{"v":` + c.schema + `},` + jsonDefinitions + `}`)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseJSONSchema(text, nil)
		if err != nil {
			return
		}
		r, root := &batch.Records{}, newRoot(s.Row())
		rows := 0
		if appendRow(mustCompile(t, s, s.Row()), r, root, []byte(text)) == nil {
			rows = 1
		}
		if err := checkColumn(root, true, rows); err != nil {
			t.Fatal(err)
		}
	})
}
