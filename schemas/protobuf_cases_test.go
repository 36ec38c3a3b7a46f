package schemas

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/lakeloader/lakeloader/batch"
)

const protobuf2 = `syntax = "proto2"; package two;
message Two { required int32 r = 1; optional int32 o = 2; optional int32 di = 3 [default = -7]; optional string ds = 4 [default = "none"]; optional Kind k = 5 [default = B];
  optional double dd = 6 [default = inf]; optional sint64 dz = 7 [default = -9]; optional bool db = 8 [default = true]; optional bytes dy = 9 [default = "\001x"]; optional Kind plain = 10;
  repeated int32 p = 11 [packed = true]; optional fixed64 df = 12 [default = 18446744073709551615]; optional float ff = 13 [default = 1.5]; optional Two2 m = 14; optional uint32 du = 15 [default = 4294967295];
  optional sfixed32 ds32 = 16 [default = -1];
  enum Kind { A = 1; B = 2; } message Two2 { required string x = 1; } }`

// pb writes fields: pairs of a number and a value (int: varint, string: bytes).
func pb(fields ...any) string {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		number := protowire.Number(fields[i].(int))
		switch v := fields[i+1].(type) {
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), uint64(v))
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), v)
		}
	}
	return string(b)
}

func TestProtobuf2(t *testing.T) {
	s := mustParseProtobuf(t, protobuf2)
	want := "struct<r: int required, o: int, di: int required, ds: string required, k: string required, dd: double required, dz: long required, db: boolean required, dy: binary required, " +
		"plain: string, p: list<int required> required, df: decimal(20,0) required, ff: float required, m: struct<x: string required>, du: long required, ds32: int required>"
	if s.Row().String() != want {
		t.Errorf("%s", s.Row())
	}
	got, err := decodeOne(t, s, "\x00"+pb(1, 5))
	if m, ok := got.(map[string]any); err != nil || !ok || m["di"] != int32(-7) || m["ds"] != "none" || m["k"] != "B" || m["o"] != nil || m["plain"] != nil || m["dz"] != int64(-9) || m["dy"] != "\x01x" || m["ds32"] != int32(-1) {
		t.Errorf("%v, %v", got, err)
	}
	for payload, want := range map[string]string{pb(2, 1): "r: it is required, but not there", pb(1, 1, 14, ""): "m.x: it is required"} {
		if _, err := decodeOne(t, s, "\x00"+payload); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

func TestProtobufPayloads(t *testing.T) {
	s := mustParseProtobuf(t, `syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/type/date.proto"; import "google/type/timeofday.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/struct.proto";
		import "confluent/meta.proto"; import "confluent/type/decimal.proto";
		message M { int32 i = 1; string s = 2; N n = 3; repeated int32 l = 4; map<string, N> m = 5; oneof o { N a = 6; int32 b = 7; } google.protobuf.Timestamp ts = 8; google.type.Date d = 9; repeated string rs = 10; repeated fixed32 rf = 11;
		google.type.TimeOfDay tod = 12; google.protobuf.Duration du = 13; google.protobuf.Value js = 14; confluent.type.Decimal dec = 15 [(confluent.field_meta) = {params: [{key: "precision", value: "5"}, {key: "scale", value: "2"}]}];
		message N { int32 x = 1; repeated int32 y = 2; } }`)
	n := func(x, y any) any { return map[string]any{"x": x, "y": y} }
	ints := func(v ...int32) any {
		l := []any{}
		for _, i := range v {
			l = append(l, i)
		}
		return l
	}
	for payload, change := range map[string]map[string]any{
		"\x00":                                 {},
		"\x02\x00" + pb(1, 5):                  {"i": int32(5)},
		"\x00" + pb(1, 5, 2, "a", 1, 6):        {"i": int32(6), "s": "a"},
		"\x00" + pb(1, -1):                     {"i": int32(-1)},
		"\x00" + pb(4, "\x01\x02", 1, 7, 4, 3): {"l": ints(1, 2, 3), "i": int32(7)},
		"\x00" + pb(3, pb(1, 1, 2, 8), 1, 2, 3, pb(2, 9)):    {"n": n(int32(1), ints(8, 9)), "i": int32(2)},
		"\x00" + pb(6, pb(1, 1), 7, 2):                       {"b": int32(2)},
		"\x00" + pb(6, pb(1, 1), 7, 2, 6, pb(2, 3)):          {"a": n(int32(0), ints(3))},
		"\x00" + pb(5, pb(1, "k"), 5, pb(2, pb(1, 4))):       {"m": [][2]any{{"k", n(int32(0), ints())}, {"", n(int32(4), ints())}}},
		"\x00" + pb(8, pb(1, 1, 2, 1999)):                    {"ts": int64(1000001)},
		"\x00" + pb(8, pb(1, -1, 2, 999999999)):              {"ts": int64(-1)},
		"\x00" + pb(8, pb(1, 1), 8, pb(2, 5000, 9, "extra")): {"ts": int64(1000005)},
		"\x00" + pb(9, pb(1, 1970, 2, 1, 3, 2)):              {"d": int32(1)},
		"\x00" + pb(14, pb(3, "<a>")):                        {"js": `"<a>"`},
		"\x00" + pb(14, ""):                                  {"js": `null`},
		"\x00" + pb(15, pb(1, "\xfb\x2e", 3, 1)):             {"dec": int64(-12340)},
		"\x00" + pb(15, pb(1, "\x0c", 3, -1)):                {"dec": int64(12000)},
	} {
		want := map[string]any{"i": int32(0), "s": "", "n": nil, "l": ints(), "m": [][2]any{}, "a": nil, "b": nil, "ts": nil, "d": nil, "rs": []any{}, "rf": []any{}, "tod": nil, "du": nil, "js": nil, "dec": nil}
		for k, v := range change {
			want[k] = v
		}
		if got, err := decodeOne(t, s, payload); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%x: %v, %v, not %v", payload, got, err, want)
		}
	}
	for payload, want := range map[string]string{
		"": "within the message index", "\x02": "within the message index", "\x01": "has -1 parts", "\x02\x01": "index that goes before the message holds -1", "\x02\x0a": "no message with the index [5]",
		"\x00\x08":       "i: bad Protobuf: the value has no end",
		"\x00\x07":       "there is no field tag",
		"\x00\x00\x00":   "there is no field tag",
		"\x00\x12\x05ab": "s: bad Protobuf",
		"\x00\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01":                    "s: bad Protobuf",
		"\x00\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02":                    "s: bad Protobuf",
		"\x00" + pb(2, "\xff"):                                                "s: the text is not valid UTF-8",
		"\x00" + pb(1, "x"):                                                   "i: wire type 2, not 0 as the schema says",
		"\x00" + pb(10, 7):                                                    "rs: wire type 0, not 2",
		"\x00" + pb(10, "a", 10, "\xff"):                                      "rs[1]: the text is not valid UTF-8",
		"\x00" + pb(11, "abc"):                                                "rf[0]: bad Protobuf: the packed values end within one",
		"\x00" + pb(4, "\x01\x80"):                                            "l[1]: bad Protobuf",
		"\x00" + pb(3, pb(2, 1, 1, "x")):                                      "n.x: wire type 2",
		"\x00" + pb(5, pb(1, "k"), 5, pb(1, "k")):                             `m: the key "k" is there twice`,
		"\x00" + pb(5, 7):                                                     "m: wire type 0",
		"\x00" + pb(8, pb(1, 253402300800)):                                   "ts: 253402300800 seconds and 0 nanoseconds are no Timestamp",
		"\x00" + pb(8, pb(2, -1)):                                             "ts: ",
		"\x00" + pb(8, pb(1, "x")):                                            "ts: field number 1: wire type 2, not 0",
		"\x00" + pb(8, "\x08"):                                                "ts: bad Protobuf",
		"\x00" + pb(9, pb(1, 2024)):                                           "d: year 2024, month 0, day 0 is no whole date",
		"\x00" + pb(12, pb(1, 24)):                                            "tod: hour 24",
		"\x00" + pb(13, pb(1, 1, 2, -1)):                                      "du: 1 seconds and -1 nanoseconds are no Duration",
		"\x00" + pb(14, "\xff"):                                               "js: bad Protobuf",
		"\x00" + pb(15, pb(1, "\x0c", 3, 3)):                                  "dec: the decimal has the scale 3",
		"\x00" + pb(15, pb(1, "\x7f\xff\xff")):                                "dec: the decimal is out of the column's range decimal(5,2)",
		"\x00" + pb(15, pb(1, "\x0c", 3, -1<<31)):                             "dec: the decimal is out of the column's range",
		"\x00" + pb(15, pb(1, strings.Repeat("\x0c", 17))):                    "dec: the decimal has more than 38 digits",
		"\x00" + string(protowire.AppendTag(nil, 99, protowire.EndGroupType)): "field number 99 at byte 0",
	} {
		if got, err := decodeOne(t, s, payload); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%x: %v, %v; wanted the error %s", payload, got, err, want)
		}
	}
}

func TestProtobufMessageIndex(t *testing.T) {
	s := mustParseProtobuf(t, `syntax = "proto3"; message Part { int32 a = 1; } message Whole { Part part = 1; string s = 2; message Nested { string s = 1; message Deep { Part part = 7; } } } message Odd { int32 s = 1; } message Loop { Loop l = 1; }`)
	if want := "struct<part: struct<a: int required>, s: string required>"; s.Row().String() != want {
		t.Errorf("%s, not %s", s.Row(), want)
	}
	index := func(path ...int64) string {
		b := binary.AppendVarint(nil, int64(len(path)))
		for _, i := range path {
			b = binary.AppendVarint(b, i)
		}
		return string(b)
	}
	for payload, want := range map[string]string{"\x00": "struct<a: int required>", index(0): "struct<a: int required>", index(1): s.Row().String(), index(1, 0): "struct<s: string required>",
		index(1, 0, 0): "struct<part: struct<a: int required>>", index(2): "struct<s: int required>", index(3): "error: message Loop: field l: message Loop contains itself", index(4): "error: no message with the index [4]", "": "error: within the message index"} {
		got, err := s.Select([]byte(payload))
		if e, ok := strings.CutPrefix(want, "error: "); ok {
			if err == nil || !strings.Contains(err.Error(), e) {
				t.Errorf("%x: %v", payload, err)
			}
		} else if err != nil || got.Row().String() != want {
			t.Errorf("%x: %v, %v", payload, got, err)
		} else if again, _ := s.Select([]byte(payload)); again != got || want == s.Row().String() && got != Schema(s) {
			t.Errorf("%x: another schema", payload)
		}
	}
	// One plan takes the messages whose fields its columns have, and says which of the others' have none.
	target := batch.StructOf(opt("part", batch.StructOf(opt("a", batch.Prim(batch.Long)))), opt("s", batch.Prim(batch.String)))
	plan := mustCompile(t, s, target)
	r, root := &batch.Records{}, newRoot(target)
	for _, payload := range []string{index(1) + pb(1, pb(1, 5), 2, "x"), index(1, 0) + pb(1, "y"), index(1, 0, 0) + pb(7, pb(1, 6))} {
		if err := appendRow(plan, r, root, []byte(payload)); err != nil {
			t.Error(err)
		}
	}
	want := []any{map[string]any{"part": map[string]any{"a": int64(5)}, "s": "x"}, map[string]any{"part": nil, "s": "y"}, map[string]any{"part": map[string]any{"a": int64(6)}, "s": nil}}
	for i, w := range want {
		if got := slot(r, root, i); !reflect.DeepEqual(got, w) {
			t.Errorf("%v, not %v", got, w)
		}
	}
	for range 2 {
		if err := appendRow(plan, r, root, []byte("\x00"+pb(1, 5))); err == nil || !strings.Contains(err.Error(), "the payload is a message Part, not Whole as the columns are: field a: there is no column for it") {
			t.Error(err)
		}
	}
	if err := plan.Append(r, batch.Null, root); err == nil {
		t.Error("no error for null")
	}
}

func TestProtobufWider(t *testing.T) {
	s := mustParseProtobuf(t, `syntax = "proto3"; message M { int32 i = 1; sint32 z = 2; float f = 3; repeated int32 l = 4; map<int32, float> m = 5; optional int32 o = 6; }`)
	target, err := batch.ParseType("struct<new: string, m: map<long, double>, l: list<long>, f: double, z: long, i: long, o: long, x: list<int>>")
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(s.descriptor())
	payload, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r, root := &batch.Records{}, newRoot(target)
	plan := mustCompile(t, s, target)
	for _, p := range []string{string(payload), pb(1, -1, 2, 1, 4, "\x01", 5, pb(1, 2), 6, 3)} {
		if err := appendRow(plan, r, root, []byte("\x00"+p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := checkColumn(root, true, 2); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"new": nil, "m": [][2]any{{int64(2), 0.0}}, "l": []any{int64(1)}, "f": 0.0, "z": int64(-1), "i": int64(-1), "o": int64(3), "x": nil}
	if got := slot(r, root, 1); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	fields := "i: int, z: int, f: float, l: list<int>, m: map<int, float>"
	for text, want := range map[string]string{
		"struct<" + fields + ">":                                                          "field o: there is no column for it",
		"struct<" + fields + ", o: int required>":                                         "field o: it is optional in the schema",
		"struct<" + fields + ", o: string>":                                               "field o: int cannot become string",
		"struct<" + fields + ", o: int, q: int required>":                                 "field q: the schema does not have it",
		"struct<" + strings.Replace(fields, "list<int>", "list<string>", 1) + ", o: int>": "field l: int cannot become string",
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

func TestProtobufSchemasRefused(t *testing.T) {
	for text, want := range map[string]string{
		``: "it has no message", `syntax = "proto3"; message`: "syntax error", `syntax = "proto3"; message M {}`: "message M has no fields that give columns",
		`syntax = "proto3"; import "no.proto"; message M { int32 a = 1; }`:                "no.proto is not among the schema's references",
		`syntax = "proto3"; message M { N n = 1; } message N { repeated M m = 1; }`:       "field n.m: message M contains itself",
		`syntax = "proto2"; message M { optional group G = 1 { optional int32 a = 1; } }`: "field g: groups are not supported",
		`syntax = "proto3"; message M { X x = 1; }`:                                       "unknown type X",
		`syntax = "proto3"; import "confluent/meta.proto"; import "confluent/type/decimal.proto"; message M { confluent.type.Decimal d = 1 [(confluent.field_meta) = {params: [{key: "scale", value: "x"}]}]; }`: "field d: type \"decimal(38,x)\"",
	} {
		if s, err := ParseProtobuf(text, nil); err == nil || !strings.Contains(err.Error(), "protobuf schema: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; wanted %s", text, s, err, want)
		}
	}
}

// TestProtobufImports: each file that is there by itself compiles.
func TestProtobufImports(t *testing.T) {
	for name := range protobufImports {
		if _, err := ParseProtobuf(`syntax = "proto3"; import "`+name+`"; message M { int32 a = 1; }`, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const clicksProto = `syntax = "proto3"; import "google/protobuf/timestamp.proto"; message Click { string uuid = 1; int32 campaignId = 2; int32 pubId = 3; int64 ts = 4; string ip = 5;
	string city = 6; string country = 7; string browser = 8; string platform = 9; string platformVersion = 10; }`

// protobufClicks makes payloads of the Avro clicks.
func protobufClicks(t testing.TB, n int) *batch.Records {
	src := clicks(n)
	avro := mustParseAvro(t, clicksSchema)
	plan, root := mustCompile(t, avro, avro.Row()), newRoot(avro.Row())
	r := &batch.Records{}
	for i, v := range src.Value {
		if err := plan.Append(src, batch.View{Off: v.Off + 5, Len: v.Len - 5}, root); err != nil {
			t.Fatal(err)
		}
		var fields []any
		for k, c := range root.Children {
			switch x := slot(src, c, i).(type) {
			case int32:
				fields = append(fields, k+1, int(x))
			case int64:
				fields = append(fields, k+1, int(x))
			default:
				fields = append(fields, k+1, x)
			}
		}
		addRecord(r, int64(i), nil, []byte("\x00"+pb(fields...)))
	}
	return r
}

// BenchmarkProtobufPlan decodes 4096 clicks an operation; see the metric ns/record.
func BenchmarkProtobufPlan(b *testing.B) {
	s := mustParseProtobuf(b, clicksProto)
	plan := mustCompile(b, s, s.Row())
	r := protobufClicks(b, 4096)
	root := batch.NewColumn(s.Row(), r.Len())
	b.SetBytes(int64(len(r.Mem)))
	b.ReportAllocs()
	for b.Loop() {
		root.Reset()
		for _, v := range r.Value {
			if err := plan.Append(r, v, root); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*r.Len()), "ns/record")
}

// TestProtobufAllocations decodes into memory that has room.
func TestProtobufAllocations(t *testing.T) {
	s := mustParseProtobuf(t, `syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto"; enum E { A = 0; B = 1; }
		message M { int32 i = 1; uint64 u = 2; E e = 3; E f = 4; google.protobuf.Timestamp ts = 5; google.protobuf.Int64Value w = 6; repeated int32 l = 7; map<string, N> m = 8; N n = 9; repeated E es = 10; message N { string s = 1; } }`)
	text := "\x00" + pb(1, 5, 2, 7, 3, 1, 4, 9, 5, pb(1, 1), 6, pb(1, 2), 7, "\x01\x02", 8, pb(1, "a", 2, pb(1, "x")), 8, pb(1, "b"), 9, pb(1, "x"), 9, pb(1, "y"), 10, "\x00\x01\x00", 77, "unknown")
	r := &batch.Records{Mem: make([]byte, 0, 1<<20)}
	v := r.Append([]byte(text))
	root := batch.NewColumn(s.Row(), 1000)
	grow(root, 1000)
	plan := mustCompile(t, s, s.Row())
	decode := func() {
		root.Truncate(0)
		r.Mem = r.Mem[:len(text)]
		for range 10 {
			if err := plan.Append(r, v, root); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(100, decode); n != 0 {
		t.Errorf("%v allocations for ten records", n)
	}
}

func FuzzProtobufPlan(f *testing.F) {
	s := mustParseProtobuf(f, protobufEverything, protobufOther)
	f.Add([]byte("\x00" + pb(1, 1, 2, -1, 3, 5, 10, -1, 14, "text", 15, "\xff", 16, 1, 19, 7, 20, "\x01\x02", 20, 3, 21, 4, 22, "a", 24, "\x00\x01")))
	f.Add([]byte("\x02\x00" + pb(25, pb(1, 5, 3, pb(1, 5, 2, "x")), 30, pb(1, "k", 2, 7), 31, pb(1, 7, 2, "v"), 32, pb(1, 1, 2, pb(1, 1)), 33, pb(), 40, pb(1, 5), 40, pb(4, "\x01"), 50, "a", 51, 7, 52, pb(1, 1), 53, "")))
	f.Add([]byte("\x00" + pb(60, pb(1, 5, 2, 6), 61, pb(1, -5), 62, pb(1, 2024, 2, 2, 3, 29), 63, pb(1, 23), 70, pb(1, 1), 74, pb(1, -1), 77, pb(1, "x"), 80, pb(1, pb(1, "k", 2, pb(3, "v"))), 81, pb(4, 1), 82, pb(1, pb(1, 0)))))
	f.Add([]byte("\x00" + pb(83, pb(1, "t", 2, "v"), 84, pb(1, 1), 84, pb(1, 2), 90, pb(1, "\x04\xd2", 3, 2), 91, pb(1, "\xff", 3, -30), 92, pb(1, "x"), 93, pb(2, 5), 1000, pb(1, pb(1, "x"), 2, ""), 536870911, 5)))
	f.Add([]byte("\x00" + string(protowire.AppendGroup(protowire.AppendTag(nil, 99, protowire.StartGroupType), 99, []byte(pb(1, 1))))))
	plan := mustCompile(f, s, s.Row())
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, root := &batch.Records{}, newRoot(s.Row())
		rows := 0
		for range 2 {
			if appendRow(plan, r, root, payload) == nil {
				rows++
			}
		}
		if rows == 1 {
			t.Fatal("once well, once not")
		}
		if err := checkColumn(root, true, rows); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			slot(r, root, i)
		}
	})
}
