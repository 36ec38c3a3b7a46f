package schemas

import (
	"encoding/binary"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/lakeloader/lakeloader/batch"
)

// avroCases has one field type each, a value as hamba's encoder takes it, and what the column must hold.
var avroCases = []struct {
	name, schema string
	in           any
	row          string // type of the column, "required" or not
	want         any
}{
	{"boolean", `"boolean"`, true, "boolean required", true},
	{"int", `"int"`, math.MinInt32, "int required", int32(math.MinInt32)},
	{"long", `"long"`, int64(math.MinInt64), "long required", int64(math.MinInt64)},
	{"long max", `"long"`, int64(math.MaxInt64), "long required", int64(math.MaxInt64)},
	{"float", `"float"`, float32(1.5), "float required", float32(1.5)},
	{"double", `"double"`, -1e300, "double required", -1e300},
	{"string", `"string"`, "Grüße", "string required", "Grüße"},
	{"empty string", `"string"`, "", "string required", ""},
	{"bytes", `"bytes"`, []byte{0xff, 0}, "binary required", "\xff\x00"},
	{"fixed", `{"type":"fixed","name":"F","size":3}`, [3]byte{1, 2, 3}, "fixed[3] required", "\x01\x02\x03"},
	{"enum", `{"type":"enum","name":"E","symbols":["A","B"]}`, "B", "string required", "B"},
	{"date", `{"type":"int","logicalType":"date"}`, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), "date required", int32(20778)},
	{"time-millis", `{"type":"int","logicalType":"time-millis"}`, 1500 * time.Millisecond, "time required", int64(1_500_000)},
	{"time-micros", `{"type":"long","logicalType":"time-micros"}`, 1500 * time.Microsecond, "time required", int64(1500)},
	{"timestamp-millis", `{"type":"long","logicalType":"timestamp-millis"}`, time.UnixMilli(-1), "timestamptz required", int64(-1000)},
	{"timestamp-micros", `{"type":"long","logicalType":"timestamp-micros"}`, time.UnixMicro(1234567), "timestamptz required", int64(1234567)},
	{"timestamp-nanos", `{"type":"long","logicalType":"timestamp-nanos"}`, int64(1999), "timestamptz required", int64(1)},
	{"timestamp-nanos before 1970", `{"type":"long","logicalType":"timestamp-nanos"}`, int64(-1), "timestamptz required", int64(-1)},
	{"local-timestamp-millis", `{"type":"long","logicalType":"local-timestamp-millis"}`, time.Date(1970, 1, 1, 0, 0, 2, 0, time.Local), "timestamp required", int64(2_000_000)},
	{"local-timestamp-micros", `{"type":"long","logicalType":"local-timestamp-micros"}`, time.Date(1970, 1, 1, 0, 0, 0, 5000, time.Local), "timestamp required", int64(5)},
	{"local-timestamp-nanos", `{"type":"long","logicalType":"local-timestamp-nanos"}`, int64(-1001), "timestamp required", int64(-2)},
	{"uuid text", `{"type":"string","logicalType":"uuid"}`, "00112233-4455-6677-8899-aAbBcCdDeEfF", "uuid required", "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"},
	{"uuid fixed", `{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`, [16]byte{1, 15: 2}, "uuid required", "\x01" + strings.Repeat("\x00", 14) + "\x02"},
	{"decimal bytes", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, big.NewRat(-12345, 100), "decimal(9,2) required", int64(-12345)},
	{"decimal wide", `{"type":"bytes","logicalType":"decimal","precision":38,"scale":0}`, new(big.Rat).SetInt(new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 100))), "decimal(38,0) required", int128{-(1 << 36), 0}},
	{"decimal fixed", `{"type":"fixed","name":"D","size":20,"logicalType":"decimal","precision":10,"scale":1}`, big.NewRat(-7, 10), "decimal(10,1) required", int64(-7)},
	{"duration", `{"type":"fixed","name":"D","size":12,"logicalType":"duration"}`, avro.LogicalDuration{Months: 1, Days: 2, Milliseconds: 3}, "fixed[12] required", "\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00"},
	{"unknown logical type", `{"type":"string","logicalType":"colour"}`, "red", "string required", "red"},
	{"misused logical type", `{"type":"string","logicalType":"date"}`, "red", "string required", "red"},
	{"null first", `["null","int"]`, map[string]any{"int": 7}, "int", int32(7)},
	{"null last", `["int","null"]`, nil, "int", nil},
	{"union of one", `["string"]`, map[string]any{"string": "x"}, "string required", "x"},
	{"union of several", `["null","long","string",{"type":"record","name":"a.b.R","fields":[{"name":"x","type":"int"}]}]`, map[string]any{"string": "x"},
		"struct<long: long, string: string, R: struct<x: int required>>", map[string]any{"long": nil, "string": "x", "R": nil}},
	{"union of several, null in the middle", `["long","null","string"]`, nil, "struct<long: long, string: string>", nil},
	{"union of several, no null", `["long","string"]`, map[string]any{"long": int64(3)}, "struct<long: long, string: string> required", map[string]any{"long": int64(3), "string": nil}},
	{"union of equal short names", `["null",{"type":"fixed","name":"a.F","size":1},{"type":"fixed","name":"b.F","size":1}]`, map[string]any{"b.F": [1]byte{9}},
		"struct<a_F: fixed[1], b_F: fixed[1]>", map[string]any{"a_F": nil, "b_F": "\x09"}},
	{"array", `{"type":"array","items":"int"}`, []any{1, -1}, "list<int required> required", []any{int32(1), int32(-1)}},
	{"array of optional", `{"type":"array","items":["null","string"]}`, []any{nil, map[string]any{"string": "x"}}, "list<string> required", []any{nil, "x"}},
	{"map", `{"type":"map","values":"long"}`, map[string]any{"k": int64(5)}, "map<string required, long required> required", [][2]any{{"k", int64(5)}}},
	{"empty array", `{"type":"array","items":"int"}`, []any{}, "list<int required> required", []any{}},
	{"record", `{"type":"record","name":"R","fields":[{"name":"x","type":"int"},{"name":"y","type":["null","string"]}]}`, map[string]any{"x": 1, "y": nil},
		"struct<x: int required, y: string> required", map[string]any{"x": int32(1), "y": nil}},
	{"array of records of arrays", `{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"l","type":{"type":"array","items":"int"}}]}}`,
		[]any{map[string]any{"l": []any{1, 2}}, map[string]any{"l": []any{}}, map[string]any{"l": []any{3}}}, "list<struct<l: list<int required> required> required> required",
		[]any{map[string]any{"l": []any{int32(1), int32(2)}}, map[string]any{"l": []any{}}, map[string]any{"l": []any{int32(3)}}}},
}

func field(schema string) string {
	return `{"type":"record","name":"Row","fields":[{"name":"before","type":"int"},{"name":"f","type":` + schema + `},{"name":"after","type":"string"}]}`
}

func TestAvroTypes(t *testing.T) {
	for _, c := range avroCases {
		t.Run(c.name, func(t *testing.T) {
			text := field(c.schema)
			s := mustParseAvro(t, text)
			if got, want := s.Row().String(), "struct<before: int required, f: "+c.row+", after: string required>"; got != want {
				t.Fatalf("row type %s, want %s", got, want)
			}
			parsed, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
			if err != nil {
				t.Fatal(err)
			}
			payload, err := avro.Marshal(parsed, map[string]any{"before": 42, "f": c.in, "after": "end"})
			if err != nil {
				t.Fatal(err)
			}
			r, root := &batch.Records{}, newRoot(s.Row())
			for range 3 {
				if err := appendRow(mustCompile(t, s, s.Row()), r, root, payload); err != nil {
					t.Fatal(err)
				}
			}
			if err := checkColumn(root, true, 3); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"before": int32(42), "f": c.want, "after": "end"}
			if got := slot(r, root, 2); !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			// No cut of the payload is a record, and none leaves anything behind.
			for n := range payload {
				if err := appendRow(mustCompile(t, s, s.Row()), r, root, payload[:n]); err == nil {
					t.Errorf("the first %d of %d bytes are taken for a record", n, len(payload))
				}
			}
			if err := checkColumn(root, true, 3); err != nil {
				t.Error(err)
			}
			if err := appendRow(mustCompile(t, s, s.Row()), r, root, append(payload, 0)); err == nil || !strings.Contains(err.Error(), "1 bytes are left") {
				t.Errorf("trailing byte: %v", err)
			}
		})
	}
}

// TestAvroNoData has fields that get no column, between two that do.
func TestAvroNoData(t *testing.T) {
	for schema, payload := range map[string]string{
		`"null"`:                               "",
		`["null"]`:                             "\x00",
		`{"type":"array","items":"null"}`:      "\x80\x80\x80\x80\x80\x80\x80\x01\x00",
		`{"type":"array","items":["null"]}`:    "\x04\x00\x00\x00",
		`{"type":"map","values":"null"}`:       "\x03\x06\x02a\x02b\x00",
		`{"type":"fixed","name":"Z","size":0}`: "",
		`{"type":"record","name":"Z","fields":[{"name":"n","type":"null"},{"name":"u","type":["null"]}]}`: "\x00",
	} {
		s := mustParseAvro(t, field(schema))
		if got := s.Row().String(); got != "struct<before: int required, after: string required>" {
			t.Errorf("%s: row type %s", schema, got)
		}
		r, root := &batch.Records{}, newRoot(s.Row())
		if err := appendRow(mustCompile(t, s, s.Row()), r, root, []byte("\x02"+payload+"\x06end")); err != nil {
			t.Errorf("%s: %v", schema, err)
			continue
		}
		if got := slot(r, root, 0); !reflect.DeepEqual(got, map[string]any{"before": int32(1), "after": "end"}) {
			t.Errorf("%s: %v", schema, got)
		}
	}
}

func TestAvroTopLevel(t *testing.T) {
	for _, c := range []struct {
		schema, row, payload string
		want                 any
	}{
		{`"string"`, "struct<value: string required>", "\x02x", map[string]any{"value": "x"}},
		{`["null","long"]`, "struct<value: long>", "\x00", map[string]any{"value": nil}},
		{`{"type":"array","items":"int"}`, "struct<value: list<int required> required>", "\x02\x02\x00", map[string]any{"value": []any{int32(1)}}},
		{`"null"`, "struct<>", "", map[string]any{}},
		{`{"type":"record","name":"R","fields":[]}`, "struct<>", "", map[string]any{}},
	} {
		s := mustParseAvro(t, c.schema)
		if got := s.Row().String(); got != c.row {
			t.Errorf("%s: row type %s, want %s", c.schema, got, c.row)
		}
		r, root := &batch.Records{}, newRoot(s.Row())
		if err := appendRow(mustCompile(t, s, s.Row()), r, root, []byte(c.payload)); err != nil {
			t.Errorf("%s: %v", c.schema, err)
		} else if got := slot(r, root, 0); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.schema, got, c.want)
		}
	}
}

func TestAvroReferences(t *testing.T) {
	city := Reference{Name: "geo.City", Text: `{"type":"record","name":"geo.City","fields":[{"name":"name","type":"string"}]}`}
	address := Reference{Name: "geo.Address", Text: `{"type":"record","name":"Address","namespace":"geo","fields":[{"name":"city","type":"City"}]}`, Refs: []Reference{city}}
	text := `{"type":"record","name":"User","fields":[{"name":"home","type":["null","geo.Address"]},{"name":"work","type":"geo.Address"},{"name":"born","type":"geo.City"}]}`
	s := mustParseAvro(t, text, address, city)
	const a = "struct<city: struct<name: string required> required>"
	if got, want := s.Row().String(), "struct<home: "+a+", work: "+a+" required, born: struct<name: string required> required>"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := ParseAvro(text, nil); err == nil || !strings.Contains(err.Error(), "geo.Address") {
		t.Errorf("a parse knows the types of another: %v", err)
	}
	if _, err := ParseAvro(text, []Reference{{Name: "geo.Address", Text: `{`}}); err == nil || !strings.Contains(err.Error(), "reference geo.Address") {
		t.Errorf("broken reference: %v", err)
	}
}

func TestAvroSchemasRefused(t *testing.T) {
	wide := `{"type":"record","name":"R0","fields":[{"name":"x","type":"int"}]}`
	for i := 1; i < 8; i++ {
		var b strings.Builder
		b.WriteString(`{"type":"record","name":"R` + string(rune('0'+i)) + `","fields":[{"name":"f0","type":` + wide + `}`)
		for k := 1; k < 10; k++ {
			b.WriteString(`,{"name":"f` + string(rune('0'+k)) + `","type":"R` + string(rune('0'+i-1)) + `"}`)
		}
		wide = b.String() + `]}`
	}
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":           {`{"type":`, "no JSON"},
		"unknown type":      {`{"type":"record","name":"R","fields":[{"name":"a","type":"wat"}]}`, "unknown type: wat"},
		"recursive":         {`{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}`, "field next: type Node contains itself"},
		"recursive by list": {`{"type":"record","name":"Node","fields":[{"name":"kids","type":{"type":"array","items":"Node"}}]}`, "field kids.element: type Node contains itself"},
		"decimal too wide":  {field(`{"type":"bytes","logicalType":"decimal","precision":39,"scale":2}`), "field f: decimal(39,2)"},
		"too many columns":  {wide, "more than 10000 columns"},
		"too deep":          {strings.Repeat(`{"type":"array","items":`, 100) + `"int"` + strings.Repeat(`}`, 100), "nested more than 64 deep"},
	} {
		_, err := ParseAvro(c.text, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.want)
		}
	}
}

// TestAvroWrongDefault: Java's parser does not check defaults unless told to, so such schemas are in registries.
func TestAvroWrongDefault(t *testing.T) {
	s := mustParseAvro(t, field(`["string","null"], "default": null, "doc": "kept"`))
	if got := s.Row().Fields[1]; got.Required || got.Doc != "kept" {
		t.Errorf("field %+v", got)
	}
}

func TestAvroComments(t *testing.T) {
	s := mustParseAvro(t, `// first
{"type":"record",/* a // b */"name":"R","fields":[{"name":"a","type":"int","doc":"http://x \" /* kept */"} // last
]}/* open`)
	if got := s.Row().Fields[0].Doc; got != `http://x " /* kept */` {
		t.Errorf("doc %q", got)
	}
}

func TestAvroBrokenPayloads(t *testing.T) {
	long := func(v int64) string { return string(binary.AppendVarint(nil, v)) }
	for _, c := range []struct{ name, schema, payload, want string }{
		{"bad boolean", `"boolean"`, "\x02", "field f: byte 2 is no boolean"},
		{"int too wide", `"int"`, long(math.MaxInt32 + 1), "does not fit an int"},
		{"varint too long", `"long"`, strings.Repeat("\xff", 11), "variable-length number is too long"},
		{"negative length", `"string"`, long(-1), "a length is negative"},
		{"length beyond the end", `"string"`, long(math.MaxInt64), "the payload ends within it"},
		{"invalid text", `"string"`, "\x04\xff\xfe", "field f: the text is not valid UTF-8"},
		{"invalid long text", `"string"`, "\x28abcdefghijklmnopqrs\xc3", "not valid UTF-8"},
		{"surrogate", `"string"`, "\x06\xed\xa0\x80", "not valid UTF-8"},
		{"enum symbol", `{"type":"enum","name":"E","symbols":["A"]}`, "\x02", "the enum has no symbol 1"},
		{"negative enum symbol", `{"type":"enum","name":"E","symbols":["A"]}`, "\x01", "the enum has no symbol -1"},
		{"union type", `["null","int"]`, "\x04", "the union has no type 2"},
		{"union of several", `["long","int"]`, "\x03", "the union has no type -2"},
		{"no uuid", `{"type":"string","logicalType":"uuid"}`, "\x02x", "the text is not a UUID"},
		{"no hex in uuid", `{"type":"string","logicalType":"uuid"}`, "\x480011223g-4455-6677-8899-aabbccddeeff", "the text is not a UUID"},
		{"empty decimal", `{"type":"bytes","logicalType":"decimal","precision":4}`, "\x00", "the decimal has no bytes"},
		{"decimal out of precision", `{"type":"bytes","logicalType":"decimal","precision":4}`, "\x04\x27\x10", "more than 4 digits"},
		{"decimal of 17 bytes", `{"type":"bytes","logicalType":"decimal","precision":38}`, "\x22\x01" + strings.Repeat("\x00", 16), "more than 38 digits"},
		{"least decimal", `{"type":"bytes","logicalType":"decimal","precision":38}`, "\x20\x80" + strings.Repeat("\x00", 15), "more than 38 digits"},
		{"millis out of range", `{"type":"long","logicalType":"timestamp-millis"}`, long(math.MaxInt64 / 2), "out of range in microseconds"},
		{"time after midnight", `{"type":"int","logicalType":"time-millis"}`, long(86_400_000), "not within a day"},
		{"negative time", `{"type":"long","logicalType":"time-micros"}`, long(-1), "not within a day"},
		{"count bomb", `{"type":"array","items":"int"}`, long(1 << 40), "longer than the payload"},
		{"least count", `{"type":"array","items":"int"}`, long(math.MinInt64) + "\x00", "a length is negative"},
		{"negative block size", `{"type":"array","items":"int"}`, long(-1) + long(-5), "a length is negative"},
		{"block size bomb", `{"type":"array","items":"int"}`, long(-1) + long(1<<40), "the payload ends within it"},
		{"error within an element", `{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"x","type":"boolean"}]}}`, "\x04\x00\x05", "field f.element.x: byte 5"},
		{"error within a value", `{"type":"map","values":"boolean"}`, "\x02\x02k\x05", "field f.value: byte 5"},
		{"skipped union", `["null"]`, "\x02", "the union has no type 1"},
	} {
		s := mustParseAvro(t, field(c.schema))
		r, root := &batch.Records{}, newRoot(s.Row())
		err := appendRow(mustCompile(t, s, s.Row()), r, root, []byte("\x02"+c.payload))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
		if err := checkColumn(root, true, 0); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestAvroExpansion: a null of a wide struct takes one byte on the wire and a slot in each of its columns.
func TestAvroExpansion(t *testing.T) {
	var b strings.Builder
	for i := range 500 {
		b.WriteString(`{"name":"f` + string(rune('a'+i/26)) + string(rune('a'+i%26)) + `","type":"long"},`)
	}
	s := mustParseAvro(t, `{"type":"array","items":["null",{"type":"record","name":"R","fields":[`+strings.TrimSuffix(b.String(), ",")+`]}]}`)
	const n = 1 << 20
	payload := append(binary.AppendVarint(nil, n), make([]byte, n+1)...)
	r, root := &batch.Records{}, newRoot(s.Row())
	if err := appendRow(mustCompile(t, s, s.Row()), r, root, payload); err == nil || !strings.Contains(err.Error(), "expands to too many values") {
		t.Errorf("%v", err)
	}
	payload = append(binary.AppendVarint(nil, 1000), make([]byte, 1001)...)
	if err := appendRow(mustCompile(t, s, s.Row()), r, root, payload); err != nil {
		t.Error(err)
	}
}

// with replaces a field, or adds one.
func with(t *batch.Type, name string, f batch.Field) *batch.Type {
	c := batch.StructOf(append([]batch.Field(nil), t.Fields...)...)
	if i := c.Index(name); i >= 0 {
		c.Fields[i] = f
	} else {
		c.Fields = append(c.Fields, f)
	}
	return c
}

func TestAvroPromotion(t *testing.T) {
	s := mustParseAvro(t, `{"type":"record","name":"R","fields":[
		{"name":"i","type":"int"},{"name":"f","type":"float"},
		{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":5,"scale":2}},
		{"name":"l","type":{"type":"array","items":"int"}},
		{"name":"u","type":["int","string"]}]}`)
	p := batch.Prim
	target := batch.StructOf(opt("new", p(batch.Date)), req("f", p(batch.Double)), opt("d", batch.DecimalOf(30, 2)), req("i", p(batch.Long)),
		opt("newlist", batch.ListOf(p(batch.Int), true)), req("l", batch.ListOf(p(batch.Long), false)),
		req("u", batch.StructOf(opt("bytes", p(batch.Binary)), opt("int", p(batch.Long)), opt("string", p(batch.String)))))
	r, root := &batch.Records{}, newRoot(target)
	payload := "\x03" + "\x00\x00\xc0\x3f" + "\x04\xff\x85" + "\x02\x04\x00" + "\x00\x06"
	if err := appendRow(mustCompile(t, s, target), r, root, []byte(payload)); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"new": nil, "f": 1.5, "d": int128{-1, ^uint64(122)}, "i": int64(-2), "newlist": nil, "l": []any{int64(2)},
		"u": map[string]any{"bytes": nil, "int": int64(3), "string": nil}}
	if got := slot(r, root, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	nullable := mustParseAvro(t, `{"type":"record","name":"R","fields":[{"name":"o","type":["null","int"]},{"name":"l","type":{"type":"array","items":["null","int"]}}]}`)
	for field, target := range map[string]*batch.Type{
		"field o may be null":         with(nullable.Row(), "o", req("o", p(batch.Int))),
		"field l.element may be null": with(nullable.Row(), "l", req("l", batch.ListOf(p(batch.Int), true))),
	} {
		if _, err := nullable.Compile(target); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v, want it to say %q", err, field)
		}
	}
	for _, bad := range []struct {
		target *batch.Type
		want   string
	}{
		{batch.StructOf(), "field i: the target has no such column"},
		{p(batch.Int), "not a struct"},
		{with(s.Row(), "i", batch.Field{Name: "i", Type: p(batch.Double), Required: true}), "field i: int cannot be brought to the target's double"},
		{with(s.Row(), "d", batch.Field{Name: "d", Type: batch.DecimalOf(4, 2), Required: true}), "field d: decimal(5,2) cannot be brought to the target's decimal(4,2)"},
		{with(s.Row(), "", req("more", p(batch.Int))), "column more is required"},
		{with(s.Row(), "l", req("l", p(batch.Int))), "field l: list<int required> cannot be brought to the target's int"},
		{with(s.Row(), "l", req("l", batch.ListOf(p(batch.Date), true))), "field l.element: int cannot be brought to the target's date"},
		{with(s.Row(), "u", req("u", p(batch.String))), "field u: struct"},
		{with(s.Row(), "u", req("u", batch.StructOf(opt("int", p(batch.Int))))), "field u.string: the target has no such column"},
		{with(s.Row(), "u", req("u", batch.StructOf(opt("int", p(batch.Int)), req("string", p(batch.String))))), "column u.string is required"},
	} {
		if _, err := s.Compile(bad.target); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want it to say %q", bad.target, err, bad.want)
		}
	}
}

// TestAvroRealSchemas parses schemas that nobody here made up.
func TestAvroRealSchemas(t *testing.T) {
	files, err := filepath.Glob("testdata/avro/*.avro")
	if err != nil || len(files) == 0 {
		t.Fatalf("no schemas in testdata/avro: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseAvro(string(text), nil)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if len(s.Row().Fields) == 0 {
			t.Errorf("%s: no columns", f)
		}
		mustCompile(t, s, s.Row())
	}
}
