package schemas

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/batch"
)

const protobufEverything = `syntax = "proto3"; package test;
import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto"; import "google/protobuf/any.proto"; import "google/protobuf/empty.proto";
import "google/type/date.proto"; import "google/type/timeofday.proto"; import "google/type/money.proto";
import "confluent/meta.proto"; import "confluent/type/decimal.proto"; import "other.proto";
enum Color { RED = 0; GREEN = 1; BLUE = -2; }
message All {
  // a flag
  bool b = 1; int32 i32 = 2; sint32 s32 = 3; sfixed32 sf32 = 4; uint32 u32 = 5; fixed32 f32 = 6;
  int64 i64 = 7; sint64 s64 = 8; sfixed64 sf64 = 9; uint64 u64 = 10; fixed64 f64 = 11; float f = 12; double d = 13;
  string s = 14; bytes y = 15; Color color = 16;
  optional int32 oi = 17; optional string os = 18; optional Color oc = 19;
  repeated int32 ri = 20; repeated sint64 rz = 21 [packed = false]; repeated string rs = 22; repeated double rd = 23; repeated Color rc = 24; repeated Inner rm = 25; repeated bool rb = 26; repeated fixed32 rf = 27;
  map<string, int64> msi = 30; map<int32, string> mis = 31; map<bool, Inner> mbm = 32; map<uint64, double> mud = 33; map<string, Color> mc = 34;
  Inner inner = 40; message Inner { int32 a = 1; string b = 2; Deep deep = 3; repeated int64 l = 4; message Deep { optional int64 x = 1; repeated string names = 2; } }
  oneof choice { string cs = 50; int64 ci = 51; Inner cm = 52; google.protobuf.Empty ce = 53; }
  google.protobuf.Timestamp ts = 60; google.protobuf.Duration du = 61; google.type.Date date = 62; google.type.TimeOfDay tod = 63;
  google.protobuf.BoolValue wb = 70; google.protobuf.Int32Value wi = 71; google.protobuf.Int64Value wl = 72; google.protobuf.UInt32Value wu = 73; google.protobuf.UInt64Value wul = 74;
  google.protobuf.FloatValue wf = 75; google.protobuf.DoubleValue wd = 76; google.protobuf.StringValue ws = 77; google.protobuf.BytesValue wy = 78;
  google.protobuf.Struct js = 80; google.protobuf.Value jv = 81; google.protobuf.ListValue jl = 82; google.protobuf.Any any = 83; repeated google.protobuf.Timestamp rts = 84;
  confluent.type.Decimal dec = 90 [(confluent.field_meta) = {params: [{key: "precision", value: "9"}, {key: "scale", value: "2"}]}];
  confluent.type.Decimal wide = 91 [(confluent.field_meta) = {params: [{key: "scale", value: "4"}]}];
  confluent.type.Decimal odd = 92;
  google.type.Money money = 93; other.Thing thing = 1000; int32 far = 536870911;
}`

var protobufOther = Reference{Name: "other.proto", Text: `syntax = "proto3"; package other; import "deep/deep.proto"; message Thing { deep.Deep d = 1; Empty e = 2; } message Empty {}`,
	Refs: []Reference{{Name: "deep/deep.proto", Text: `syntax = "proto3"; package deep; message Deep { string v = 1; }`}}}

func mustParseProtobuf(t testing.TB, text string, refs ...Reference) *protobufSchema {
	t.Helper()
	s, err := ParseProtobuf(text, refs)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*protobufSchema)
}

func (s *protobufSchema) descriptor() protoreflect.MessageDescriptor {
	d := s.file.file.Messages().Get(s.path[0])
	for _, i := range s.path[1:] {
		d = d.Messages().Get(i)
	}
	return d
}

func TestProtobufTypes(t *testing.T) {
	s := mustParseProtobuf(t, protobufEverything, protobufOther)
	inner := "struct<a: int required, b: string required, deep: struct<x: long, names: list<string required> required>, l: list<long required> required>"
	want := map[string]string{"b": "boolean required", "i32": "int required", "s32": "int required", "sf32": "int required", "u32": "long required", "f32": "long required", "i64": "long required", "s64": "long required",
		"sf64": "long required", "u64": "decimal(20,0) required", "f64": "decimal(20,0) required", "f": "float required", "d": "double required", "s": "string required", "y": "binary required", "color": "string required",
		"oi": "int", "os": "string", "oc": "string", "ri": "list<int required> required", "rz": "list<long required> required", "rs": "list<string required> required", "rd": "list<double required> required",
		"rc": "list<string required> required", "rm": "list<" + inner + " required> required", "rb": "list<boolean required> required", "rf": "list<long required> required",
		"msi": "map<string required, long required> required", "mis": "map<int required, string required> required", "mbm": "map<boolean required, " + inner + " required> required",
		"mud": "map<decimal(20,0) required, double required> required", "mc": "map<string required, string required> required", "inner": inner, "cs": "string", "ci": "long", "cm": inner, "ce": "boolean",
		"ts": "timestamptz", "du": "long", "date": "date", "tod": "time", "wb": "boolean", "wi": "int", "wl": "long", "wu": "long", "wul": "decimal(20,0)", "wf": "float", "wd": "double", "ws": "string", "wy": "binary",
		"js": "string", "jv": "string", "jl": "string", "any": "struct<type_url: string required, value: binary required>", "rts": "list<timestamptz required> required",
		"dec": "decimal(9,2)", "wide": "decimal(38,4)", "odd": "struct<value: binary required, precision: long required, scale: int required>",
		"money": "struct<currency_code: string required, units: long required, nanos: int required>", "thing": "struct<d: struct<v: string required>, e: boolean>", "far": "int required"}
	for _, f := range s.Row().Fields {
		got := f.Type.String()
		if f.Required {
			got += " required"
		}
		if got != want[f.Name] {
			t.Errorf("%s: %s, not %s", f.Name, got, want[f.Name])
		}
		delete(want, f.Name)
	}
	if len(want) > 0 || s.Row().Fields[0].Doc != "a flag" {
		t.Errorf("missing: %v; doc %q", want, s.Row().Fields[0].Doc)
	}
}

// wantMessage is what a message's slot must be, from the library's own view of it.
func wantMessage(m protoreflect.Message) any {
	out := map[string]any{}
	for i := range m.Descriptor().Fields().Len() {
		d := m.Descriptor().Fields().Get(i)
		name := string(d.Name())
		v := m.Get(d)
		switch {
		case d.IsMap():
			entries := map[string]any{}
			v.Map().Range(func(k protoreflect.MapKey, e protoreflect.Value) bool {
				entries[fmt.Sprint(wantValue(d.MapKey(), k.Value()))] = wantValue(d.MapValue(), e)
				return true
			})
			out[name] = entries
		case d.IsList():
			list := []any{}
			for j := range v.List().Len() {
				list = append(list, wantValue(d, v.List().Get(j)))
			}
			out[name] = list
		case d.HasPresence() && !m.Has(d) && !d.HasDefault():
			out[name] = nil
		default:
			out[name] = wantValue(d, v)
		}
	}
	return out
}

func wantValue(d protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch d.Kind() {
	case protoreflect.EnumKind:
		if e := d.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
		return fmt.Sprint(v.Enum())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return int64(v.Uint())
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return int128{0, v.Uint()}
	case protoreflect.BytesKind:
		return string(v.Bytes())
	case protoreflect.MessageKind:
		return wantKnown(d, v.Message())
	}
	return v.Interface()
}

func wantKnown(d protoreflect.FieldDescriptor, m protoreflect.Message) any {
	get := func(name string) protoreflect.Value {
		return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
	}
	switch name := m.Descriptor().FullName(); name {
	case "google.protobuf.Timestamp", "google.protobuf.Duration":
		return get("seconds").Int()*1e6 + get("nanos").Int()/1000
	case "google.type.Date":
		days, err := dateText(fmt.Appendf(nil, "%04d-%02d-%02d", get("year").Int(), get("month").Int(), get("day").Int()))
		if err != nil {
			panic(err)
		}
		return days
	case "google.type.TimeOfDay":
		return ((get("hours").Int()*60+get("minutes").Int())*60+get("seconds").Int())*1e6 + get("nanos").Int()/1000
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue":
		b, err := json.Marshal(plainJSON(m))
		if err != nil {
			panic(err)
		}
		return string(b)
	case "confluent.type.Decimal":
		if d.Name() == "odd" {
			return wantMessage(m)
		}
		v, ok := int128Of(get("value").Bytes())
		if !ok {
			panic("too wide")
		}
		places, exact := new(big.Rat).SetString(v.big().String() + "e" + fmt.Sprint(-get("scale").Int()))
		if !exact {
			panic("no number")
		}
		if d.Name() == "dec" {
			u, err := int64Text([]byte(places.Mul(places, big.NewRat(100, 1)).FloatString(0)))
			if err != nil {
				panic(err)
			}
			return u
		}
		return wide(places.Mul(places, big.NewRat(10000, 1)).FloatString(0))
	default:
		if m.Descriptor().Fields().Len() == 0 {
			return true
		}
		if strings.HasPrefix(string(name), "google.protobuf.") && strings.HasSuffix(string(name), "Value") {
			return wantValue(m.Descriptor().Fields().ByName("value"), get("value"))
		}
	}
	return wantMessage(m)
}

// plainJSON is a Struct, Value or ListValue as encoding/json wants it.
func plainJSON(m protoreflect.Message) any {
	fields := m.Descriptor().Fields()
	switch m.Descriptor().Name() {
	case "Struct":
		out := map[string]any{}
		m.Get(fields.ByName("fields")).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			out[k.String()] = plainJSON(v.Message())
			return true
		})
		return out
	case "ListValue":
		out := []any{}
		for l, i := m.Get(fields.ByName("values")).List(), 0; i < l.Len(); i++ {
			out = append(out, plainJSON(l.Get(i).Message()))
		}
		return out
	}
	switch d := m.WhichOneof(m.Descriptor().Oneofs().Get(0)); {
	case d == nil || d.Name() == "null_value":
		return nil
	case d.Message() != nil:
		return plainJSON(m.Get(d).Message())
	default:
		return m.Get(d).Interface()
	}
}

// mapsByKey makes maps of slot's entries, as their order is not told.
func mapsByKey(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = mapsByKey(e)
		}
	case []any:
		for i, e := range v {
			v[i] = mapsByKey(e)
		}
	case [][2]any:
		m := map[string]any{}
		for _, e := range v {
			m[fmt.Sprint(e[0])] = mapsByKey(e[1])
		}
		return m
	}
	return v
}

// drawMessage fills a message at random; what it draws is valid.
func drawMessage(t *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	set := func(name string, v any) {
		m.Set(fields.ByName(protoreflect.Name(name)), protoreflect.ValueOf(v))
	}
	between := func(lo, hi int) int32 { return int32(rapid.IntRange(lo, hi).Draw(t, "n")) }
	switch m.Descriptor().FullName() {
	case "google.protobuf.Timestamp":
		set("seconds", rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"))
		set("nanos", between(0, 999999999))
		return
	case "google.protobuf.Duration":
		sign := int64(2*between(0, 1) - 1)
		set("seconds", sign*rapid.Int64Range(0, 315576000000).Draw(t, "seconds"))
		set("nanos", int32(sign)*between(0, 999999999))
		return
	case "google.type.Date":
		set("year", between(1, 9999))
		set("month", between(1, 12))
		set("day", between(1, 28))
		return
	case "google.type.TimeOfDay":
		set("hours", between(0, 23))
		set("minutes", between(0, 59))
		set("seconds", between(0, 59))
		set("nanos", between(0, 999999999))
		return
	case "confluent.type.Decimal":
		set("value", rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "unscaled"))
		set("scale", between(0, 2))
		return
	}
	for i := range fields.Len() {
		d := fields.Get(i)
		if depth > 4 && d.Message() != nil || rapid.IntRange(0, 2).Draw(t, "there") == 0 {
			continue
		}
		switch {
		case d.IsMap():
			mp := m.Mutable(d).Map()
			for range rapid.IntRange(0, 12).Draw(t, "entries") {
				v := mp.NewValue()
				if d.MapValue().Message() == nil {
					v = drawScalar(t, d.MapValue())
				} else {
					drawMessage(t, v.Message(), depth+1)
				}
				mp.Set(drawScalar(t, d.MapKey()).MapKey(), v)
			}
		case d.IsList():
			l := m.Mutable(d).List()
			for range rapid.IntRange(0, 4).Draw(t, "elements") {
				if d.Message() == nil {
					l.Append(drawScalar(t, d))
				} else {
					drawMessage(t, l.AppendMutable().Message(), depth+1)
				}
			}
		case d.Message() != nil:
			drawMessage(t, m.Mutable(d).Message(), depth+1)
		default:
			m.Set(d, drawScalar(t, d))
		}
	}
}

func drawScalar(t *rapid.T, d protoreflect.FieldDescriptor) protoreflect.Value {
	finite := func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
	switch d.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOf(rapid.Bool().Draw(t, "bool"))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOf(rapid.Int32().Draw(t, "int32"))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOf(rapid.Int64().Draw(t, "int64"))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOf(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOf(rapid.Uint64().Draw(t, "uint64"))
	case protoreflect.FloatKind:
		return protoreflect.ValueOf(rapid.Float32().Draw(t, "float"))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOf(rapid.Float64().Filter(finite).Draw(t, "double"))
	case protoreflect.StringKind:
		return protoreflect.ValueOf(rapid.StringMatching(`[a-zé日]{0,10}`).Draw(t, "string"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOf(rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "bytes"))
	}
	if d.Enum().FullName() == "google.protobuf.NullValue" {
		return protoreflect.ValueOfEnum(0)
	}
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.SampledFrom([]int32{0, 1, -2, 7}).Draw(t, "enum")))
}

// shuffled puts a message's top-level fields into another order, elements of a list in theirs.
func shuffled(t *rapid.T, b []byte) []byte {
	fields := map[protowire.Number][]byte{}
	var order []protowire.Number
	for len(b) > 0 {
		number, _, n := protowire.ConsumeField(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		if fields[number] == nil {
			order = append(order, number)
		}
		fields[number] = append(fields[number], b[:n]...)
		b = b[n:]
	}
	var out []byte
	if len(order) == 0 {
		return out
	}
	for _, number := range rapid.Permutation(order).Draw(t, "order") {
		out = append(out, fields[number]...)
		if rapid.IntRange(0, 9).Draw(t, "unknown") == 0 {
			out = protowire.AppendBytes(protowire.AppendTag(out, 5000, protowire.BytesType), []byte("unknown"))
			out = protowire.AppendGroup(protowire.AppendTag(out, 5001, protowire.StartGroupType), 5001, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7))
		}
	}
	return out
}

// TestProtobufAgainstLibrary decodes random messages, also in pieces, and compares with the library's reading of them.
func TestProtobufAgainstLibrary(t *testing.T) {
	for _, s := range []*protobufSchema{mustParseProtobuf(t, protobufEverything, protobufOther), mustParseProtobuf(t, protobuf2)} {
		plan := mustCompile(t, s, s.Row())
		rapid.Check(t, func(t *rapid.T) {
			r, root := &batch.Records{}, newRoot(s.Row())
			var want []any
			for range rapid.IntRange(1, 3).Draw(t, "rows") {
				var payload []byte
				pieces := rapid.IntRange(1, 2).Draw(t, "pieces")
				for range pieces {
					m := dynamicpb.NewMessage(s.descriptor())
					drawMessage(t, m, 0)
					b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
					if err != nil {
						t.Fatal(err)
					}
					payload = append(payload, shuffled(t, b)...)
				}
				whole := dynamicpb.NewMessage(s.descriptor())
				err := proto.Unmarshal(payload, whole)
				if proto.CheckInitialized(whole) == nil && err != nil {
					t.Fatal(err)
				}
				got := appendRow(plan, r, root, append([]byte{0}, payload...))
				switch {
				case err != nil:
					if got == nil || !strings.Contains(got.Error(), "it is required, but not there") {
						t.Fatalf("%v, but the library says %v", got, err)
					}
				case got != nil && pieces > 1 && unlikely(got):
				case got != nil:
					t.Fatal(got)
				default:
					want = append(want, wantMessage(whole))
				}
			}
			if err := checkColumn(root, true, len(want)); err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if got := mapsByKey(slot(r, root, i)); !sameValue(got, want[i]) {
					t.Fatalf("row %d: %v\nnot %v", i, got, want[i])
				}
			}
		})
	}
}

// unlikely are the errors that two messages behind each other may give where the library goes on: a key of both, and
// a duration or date whose members come from both.
func unlikely(err error) bool {
	for _, text := range []string{"is there twice", "are no Duration", "is no whole date"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// sameValue is DeepEqual by text, so that NaN is itself.
func sameValue(a, b any) bool {
	return reflect.DeepEqual(a, b) || fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b)
}
