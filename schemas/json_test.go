package schemas

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// columnsOf declares columns as "name type" each.
func columnsOf(t testing.TB, unknown string, defs ...string) Schema {
	t.Helper()
	var cs []configs.ColumnDef
	for _, d := range defs {
		name, typ, _ := strings.Cut(d, " ")
		cs = append(cs, configs.ColumnDef{Name: name, Type: typ})
	}
	s, err := ParseColumns(cs, unknown)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// decodeOne decodes one payload and checks the columns, also after an error.
func decodeOne(t testing.TB, s Schema, payload string) (any, error) {
	t.Helper()
	r, root := &batch.Records{}, newRoot(s.Row())
	err := appendRow(mustCompile(t, s, s.Row()), r, root, []byte(payload))
	rows := 1
	if err != nil {
		rows = 0
	}
	if bad := checkColumn(root, true, rows); bad != nil {
		t.Fatalf("%s: %v (after %v)", payload, bad, err)
	}
	if err != nil {
		return nil, err
	}
	return slot(r, root, 0), nil
}

const us = 1_000_000

var jsonCases = []struct {
	typ, json string
	want      any // an error: part of its text
}{
	{"boolean", `true`, true}, {"boolean", `false`, false}, {"boolean", `1`, bad(`v: true or false expected, not 1 at byte`)}, {"boolean", `"true"`, bad(`not "true"`)},
	{"int", `2147483647`, int32(math.MaxInt32)}, {"int", `-2147483648`, int32(math.MinInt32)}, {"int", `2147483648`, bad("v: 2147483648 is out of the column's range int")},
	{"int", `1.0`, int32(1)}, {"int", `12e2`, int32(1200)}, {"int", `-0`, int32(0)}, {"int", `1.5`, bad(`v: "1.5" is no whole number`)}, {"int", `"7"`, bad(`a whole number expected, not "7"`)},
	{"int", `01`, bad("bad JSON")}, {"int", `-`, bad("bad JSON")}, {"int", `1x`, bad(`"," or "}" expected, not "x`)},
	{"long", `9223372036854775807`, int64(math.MaxInt64)}, {"long", `-9223372036854775808`, int64(math.MinInt64)}, {"long", `9223372036854775808`, bad("out of the column's range long")},
	{"long", `1e18`, int64(1e18)}, {"long", `1e19`, bad("out of the column's range")}, {"long", `null`, nil}, {"long required", `null`, bad("v: it is required, but null")},
	{"float", `1.5`, float32(1.5)}, {"float", `1e39`, bad("out of the column's range float")}, {"float", `"NaN"`, nan}, {"float", `"-Infinity"`, float32(math.Inf(-1))},
	{"double", `0.1`, 0.1}, {"double", `5`, 5.0}, {"double", `1e400`, bad("out of the column's range double")}, {"double", `"0.1"`, bad(`"0.1" is no number`)}, {"double", `true`, bad("a number expected, not true")},
	{"decimal(12,2)", `12.34`, int64(1234)}, {"decimal(12,2)", `"12.34"`, int64(1234)}, {"decimal(12,2)", `-0.1e1`, int64(-100)}, {"decimal(12,2)", `1.005`, bad("1.005 has more decimal places than the column decimal(12,2)")},
	{"decimal(12,2)", `9999999999.99`, int64(999999999999)}, {"decimal(12,2)", `10000000000`, bad("out of the column's range decimal(12,2)")}, {"decimal(12,2)", `"1,5"`, bad(`"1,5" is no number`)},
	{"decimal(38,4)", `-1234567890123456789012345678901234.5678`, wide("-12345678901234567890123456789012345678")}, {"decimal(38,4)", `0.1`, wide("1000")},
	{"decimal(20,0)", `18446744073709551615`, wide("18446744073709551615")}, {"decimal(20,0)", `100000000000000000000`, bad("out of the column's range")},
	{"date", `"2018-12-04"`, int32(17869)}, {"date", `17869`, int32(17869)}, {"date", `"2018-12-4"`, bad(`v: "2018-12-4" is no date (yyyy-mm-dd)`)}, {"date", `1e10`, bad("out of the column's range")},
	{"time", `"10:15:30.123"`, int64(36930123 * 1000)}, {"time", `36930123`, int64(36930123 * 1000)}, {"time", `86400000`, bad("out of the column's range time")}, {"time", `"noon"`, bad("is no time of day")},
	{"timestamp", `"2018-12-04T10:15:30.123"`, int64(1543918530*us + 123000)}, {"timestamp", `"2018-12-04T10:15:30Z"`, bad("has a zone")}, {"timestamp", `1543918530123`, int64(1543918530*us + 123000)},
	{"timestamp", `"2018-12-04 10:15"`, int64(1543918500 * us)},
	{"timestamptz", `"2018-12-04T10:15:30.123456Z"`, int64(1543918530*us + 123456)}, {"timestamptz", `"2018-12-04T11:15:30+01:00"`, int64(1543918530 * us)},
	{"timestamptz", `"2018-12-04T10:15:30"`, bad("declare the column string and give it a zone with a parse_timestamp step")}, {"timestamptz", `"yesterday"`, bad("is no ISO 8601")},
	{"timestamptz", `1543918530123.5`, int64(1543918530*us + 123500)}, {"timestamptz", `true`, bad("text in ISO 8601 or a number expected, not true")},
	{"timestamptz", `"2018-12-04T10:15:30\u005a"`, int64(1543918530 * us)},
	{"string", `"abc"`, "abc"}, {"string", `""`, ""}, {"string", `"a\"b\u00e9\ud83d\ude00\n"`, "a\"bé\U0001F600\n"}, {"string", `"日本"`, "日本"}, {"string", "\"\xff\"", bad("v: a string is not valid UTF-8")},
	{"string", `"\ud83d"`, bad("half a surrogate pair")}, {"string", `12.50`, "12.50"}, {"string", ` {"a" : [1, "x\u0041"]} `, `{"a" : [1, "x\u0041"]}`}, {"string", `false`, "false"}, {"string", `[}`, bad("bad JSON")},
	{"string", "\"a\nb\"", bad("control character")}, {"string", `"abc`, bad("a string has no end")}, {"string", `nul`, bad("a value expected")},
	{"uuid", `"0f8fad5b-d9cb-469f-a165-70867728950e"`, "\x0f\x8f\xad\x5b\xd9\xcb\x46\x9f\xa1\x65\x70\x86\x77\x28\x95\x0e"}, {"uuid", `"0f8fad5b"`, bad(`v: "0f8fad5b" is no UUID`)}, {"uuid", `7`, bad("text for uuid expected, not 7")},
	{"binary", `"AAH/"`, "\x00\x01\xff"}, {"binary", `""`, ""}, {"binary", `"AA=="`, "\x00"}, {"binary", `"!"`, bad(`"!" is no base64`)}, {"fixed[2]", `"AAE="`, "\x00\x01"}, {"fixed[2]", `"AA=="`, bad("1 bytes are no fixed[2]")},
	{"list<long>", `[1, null ,3]`, []any{int64(1), nil, int64(3)}}, {"list<long>", `[]`, []any{}}, {"list<long>", `[ ]`, []any{}}, {"list<long required>", `[1,null]`, bad("v[1]: it is required, but null")},
	{"list<long>", `[1,]`, bad("v[1]: ")}, {"list<long>", `[1 2]`, bad(`"," or "]" expected`)}, {"list<long>", `{}`, bad("an array expected, not {}")}, {"list<long>", `[1`, bad(`"," or "]" expected, not "}"`)},
	{"map<string, long>", `{"a":1,"b\n":null}`, [][2]any{{"a", int64(1)}, {"b\n", nil}}}, {"map<string, long>", `{}`, [][2]any{}}, {"map<string, long>", `{"a":1,"\u0061":2}`, bad(`v: the key "a" is there twice`)},
	{"map<string, long>", `{"a":"x"}`, bad(`v["a"]: a whole number expected`)}, {"map<string, long>", `[1]`, bad("an object expected, not [1]")}, {"map<string, long>", `{"a" 1}`, bad(`":" expected`)}, {"map<string, long>", `{1:1}`, bad("a key expected")},
	{"map<string, long>", `{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"d":1}`, bad(`the key "d" is there twice`)},
	{"struct<a: int required, b: string>", `{"b":"x","a":1}`, map[string]any{"a": int32(1), "b": "x"}}, {"struct<a: int required, b: string>", `{"a":1}`, map[string]any{"a": int32(1), "b": nil}},
	{"struct<a: int required, b: string>", `{"b":"x"}`, bad("v.a: it is required, but not there")}, {"struct<a: int required, b: string>", `{}`, bad("v.a: it is required")}, {"struct<a: int>", `null`, nil},
	{"struct<a: int>", `{"a":1,"a":2}`, bad("v.a: it is there twice")}, {"struct<a: int>", `7`, bad("an object expected, not 7")}, {"struct<a: int>", `{"c":[{"d":1}],"a":1}`, map[string]any{"a": int32(1)}},
	{`struct<"a\"b": int, "ü": int>`, `{"a\"b":1,"\u00fc":2}`, map[string]any{`a"b`: int32(1), "ü": int32(2)}},
	{"list<struct<price: decimal(5,2), tags: map<string, list<int>>>>", `[{},{"price":1.5,"tags":{"x":[1]}}]`,
		[]any{map[string]any{"price": nil, "tags": nil}, map[string]any{"price": int64(150), "tags": [][2]any{{"x", []any{int32(1)}}}}}},
	{"list<struct<price: decimal(5,2), tags: map<string, list<int>>>>", `[{},{"price":1.5,"tags":{"x":[1,2]}},{"price":"x"}]`, bad(`v[2].price: "x" is no number`)},
	{"list<struct<price: decimal(5,2), tags: map<string, list<int>>>>", `[{"tags":{"x y":[1,"z"]}}]`, bad(`v[0].tags["x y"][1]: a whole number expected, not "z"`)},
}

type bad string

func (b bad) Error() string { return string(b) }

const nan = "a float that is not itself"

func wide(text string) int128 {
	v, err := decimalText([]byte(text), 0)
	if err != nil {
		panic(err)
	}
	return v
}

func TestJSONTypes(t *testing.T) {
	for _, c := range jsonCases {
		s := columnsOf(t, "", "v "+c.typ)
		got, err := decodeOne(t, s, `{"v":`+c.json+`}`)
		if want, ok := c.want.(bad); ok {
			if err == nil || !strings.Contains(err.Error(), string(want)) {
				t.Errorf("%s %s: %v, %v; wanted the error %s", c.typ, c.json, got, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", c.typ, c.json, err)
			continue
		}
		got = got.(map[string]any)["v"]
		if f, ok := got.(float32); ok && c.want == nan && f != f {
			continue
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s: %#v, not %#v", c.typ, c.json, got, c.want)
		}
	}
}

func TestJSONRecords(t *testing.T) {
	s := columnsOf(t, "ignore", "a long", "b string required", "c list<int>")
	for text, want := range map[string]any{
		` { "b" : "x" , "a" : 1 } `:        map[string]any{"a": int64(1), "b": "x", "c": nil},
		`{"x":{"y":[null]},"b":"x"}`:       map[string]any{"a": nil, "b": "x", "c": nil},
		`{"\u0062":"x","c":[1,2]}`:         map[string]any{"a": nil, "b": "x", "c": []any{int32(1), int32(2)}},
		``:                                 bad("an object expected, but the text ends at byte 0"),
		`[]`:                               bad("an object expected, not \"[]\""),
		`{"b":"x"}}`:                       bad("the end of the text expected"),
		`{"b":"x"`:                         bad("but the text ends"),
		`{"b":"x",}`:                       bad("a field's name expected, not \"}\""),
		`{b:1}`:                            bad("a field's name expected"),
		"\x00\x00\x00\x00\x01{}":           bad("as after a schema registry's serializer"),
		"{\"b\":\"x\",\"z\":\"\xc3\x28\"}": bad("a string is not valid UTF-8"),
		"{\"b\":\"x\",\"\xff\":1}":         bad("a string is not valid UTF-8"),
		`{"b":"x","z":` + strings.Repeat("[", 10000) + `}`: bad("nested deeper than 512"),
	} {
		got, err := decodeOne(t, s, text)
		if e, ok := want.(bad); ok {
			if err == nil || !strings.Contains(err.Error(), string(e)) {
				t.Errorf("%q: %v, %v; wanted the error %s", text, got, err, e)
			}
		} else if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	r, root := &batch.Records{}, newRoot(s.Row())
	if err := mustCompile(t, s, s.Row()).Append(r, batch.Null, root); err == nil || !strings.Contains(err.Error(), "tombstone") {
		t.Errorf("null: %v", err)
	}
	strict := columnsOf(t, "dead_letter", "a struct<b: int>")
	for text, want := range map[string]string{`{"c":1}`: "c: there is no column for this field", `{"a":{"b":1,"d":2}}`: "a.d: there is no column"} {
		if _, err := decodeOne(t, strict, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestJSONOrder feeds records whose fields come in changing orders to one plan, with broken ones between.
func TestJSONOrder(t *testing.T) {
	s := columnsOf(t, "", "a long", "b long", "c struct<d: long, e: long>", "f list<long>")
	plan := mustCompile(t, s, s.Row())
	rapid.Check(t, func(t *rapid.T) {
		r, root := &batch.Records{}, newRoot(s.Row())
		var want []any
		for range rapid.IntRange(1, 20).Draw(t, "rows") {
			row := map[string]any{"a": nil, "b": nil, "c": nil, "f": nil}
			var parts []string
			for _, name := range rapid.Permutation([]string{"a", "b", "c", "f", "x", "y"}).Draw(t, "order")[:rapid.IntRange(0, 6).Draw(t, "fields")] {
				n := rapid.Int64().Draw(t, "n")
				text := fmt.Sprint(n)
				switch name {
				case "a", "b":
					row[name] = n
				case "c":
					text = fmt.Sprintf(`{"e":%d}`, n)
					row[name] = map[string]any{"d": nil, "e": n}
				case "f":
					text = fmt.Sprintf(`[%d, %d]`, n, n)
					row[name] = []any{n, n}
				}
				parts = append(parts, fmt.Sprintf("%q:%s", name, text))
			}
			text := "{" + strings.Join(parts, ",")
			broken := rapid.IntRange(0, 4).Draw(t, "broken") == 0
			if !broken {
				text += "}"
				want = append(want, row)
			}
			if err := appendRow(plan, r, root, []byte(text)); (err != nil) != broken {
				t.Fatalf("%s: %v", text, err)
			}
		}
		if err := checkColumn(root, true, len(want)); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got := slot(r, root, i); !reflect.DeepEqual(got, want[i]) {
				t.Fatalf("row %d: %v, not %v", i, got, want[i])
			}
		}
	})
}

// TestJSONWider decodes into a target that has more columns and wider types.
func TestJSONWider(t *testing.T) {
	s := columnsOf(t, "", "a int", "b float required", "c decimal(5,2)", "d struct<e: int>", "f list<int required> required")
	target, err := batch.ParseType("struct<new: string, b: double, f: list<long>, a: long, d: struct<z: list<int>, e: long>, c: decimal(30,2), last: struct<q: int required>>")
	if err != nil {
		t.Fatal(err)
	}
	r, root := &batch.Records{}, newRoot(target)
	plan := mustCompile(t, s, target)
	if err := appendRow(plan, r, root, []byte(`{"a":7,"b":0.1,"c":1.25,"d":{"e":8},"f":[9]}`)); err != nil {
		t.Fatal(err)
	}
	if err := appendRow(plan, r, root, []byte(`{"f":[]}`)); err == nil || !strings.Contains(err.Error(), "b: it is required") {
		t.Errorf("required in the schema, optional in the table: %v", err)
	}
	if err := checkColumn(root, true, 1); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"new": nil, "b": 0.1, "f": []any{int64(9)}, "a": int64(7), "d": map[string]any{"z": nil, "e": int64(8)}, "c": wide("125"), "last": nil}
	if got := slot(r, root, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	for text, want := range map[string]string{
		"struct<a: int>": "field b: there is no column for it",
		"struct<a: string, b: float, c: decimal(5,2), d: struct<e: int>, f: list<int>>":               "field a: int cannot become string",
		"struct<a: int required, b: float, c: decimal(5,2), d: struct<e: int>, f: list<int>>":         "field a: it is optional in the schema",
		"struct<a: int, b: float, c: decimal(5,3), d: struct<e: int>, f: list<int>>":                  "field c: decimal(5,2) cannot become decimal(5,3)",
		"struct<a: int, b: float, c: decimal(5,2), d: struct<e: date>, f: list<int>>":                 "field d.e: int cannot become date",
		"struct<a: int, b: float, c: decimal(5,2), d: struct<e: int>, f: list<string>>":               "field f.element: int cannot become string",
		"struct<a: int, b: float, c: decimal(5,2), d: struct<e: int>, f: list<int>, g: int required>": "field g: the schema does not have it",
	} {
		target, err := batch.ParseType(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Compile(target); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %s", text, err, want)
		}
	}
}

func FuzzJSONPlan(f *testing.F) {
	s := columnsOf(f, "", "i int", "l long", "f float", "d double", "m decimal(9,2)", "w decimal(30,5)", "a date", "t time", "n timestamp", "z timestamptz", "b boolean",
		"s string", "u uuid", "y binary", "x fixed[2]", "q list<struct<p: decimal(5,2), k: map<string, list<int>>>>", "r struct<a: int required>")
	for _, c := range jsonCases {
		for _, name := range []string{"i", "m", "z", "s", "q", "r"} {
			f.Add([]byte(`{"` + name + `":` + c.json + `}`))
		}
	}
	plan := mustCompile(f, s, s.Row())
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, root := &batch.Records{}, newRoot(s.Row())
		rows := 0
		for range 3 {
			if appendRow(plan, r, root, payload) == nil {
				rows++
			}
		}
		if rows != 0 && rows != 3 {
			t.Fatalf("%d of 3", rows)
		}
		if err := checkColumn(root, true, rows); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if a, b := fmt.Sprint(slot(r, root, 0)), fmt.Sprint(slot(r, root, i)); a != b {
				t.Fatalf("%s, then %s", a, b)
			}
		}
	})
}
