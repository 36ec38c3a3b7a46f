//go:build stack

package e2e

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// protobufFile is a Protobuf file whose first message has the columns.
func protobufFile(cs []column) string {
	var fields strings.Builder
	for i, c := range cs {
		kind, name, options := c.schema, c.name, ""
		if at := strings.Index(kind, " ["); at >= 0 {
			kind, options = kind[:at], kind[at:]
		}
		fmt.Fprintf(&fields, "  %s %s = %d%s;\n", kind, name, i+1, options)
	}
	return `syntax = "proto3";
package e2e;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/type/date.proto";
import "google/type/timeofday.proto";
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
message Everything {
` + fields.String() + `}
enum Suit { SPADES = 0; HEARTS = 1; }
message Inner { int32 a = 1; optional string b = 2; Innermost c = 3; }
message Innermost { double d = 1; repeated string e = 2; }
`
}

// The encodings of Protobuf; the number of a column's field is its place.

// pNumber is the number of a column's field.
func pNumber(name string) protowire.Number {
	for i, n := range protobufNames {
		if n == name {
			return protowire.Number(i + 1)
		}
	}
	panic("no column " + name) // in this file, so that every test fails at once
}

func pVarint(n protowire.Number, v uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v))
}
func pFixed32(n protowire.Number, v uint32) string {
	return string(protowire.AppendFixed32(protowire.AppendTag(nil, n, protowire.Fixed32Type), v))
}
func pFixed64(n protowire.Number, v uint64) string {
	return string(protowire.AppendFixed64(protowire.AppendTag(nil, n, protowire.Fixed64Type), v))
}
func pBytes(n protowire.Number, parts ...string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), strings.Join(parts, "")))
}

var protobufNames = []string{"flag", "i32", "s32", "sf32", "i64", "s64", "sf64", "u32", "f32", "u64", "f64", "single", "twice", "text", "raw", "suit", "at", "took",
	"boxed_int", "boxed_text", "free", "day", "clock", "money", "maybe", "inner", "numbers", "words", "inners", "counts", "places"}

func pColumn(name, schema string, values func(n protowire.Number) []value) column {
	return column{name, schema, values(pNumber(name))}
}

// varints is the values of a column of one varint each; the last record has none, which is zero in the table.
func varints(zero any, pairs ...any) func(protowire.Number) []value {
	return func(n protowire.Number) []value {
		vs := []value{{"", zero}}
		for i := 0; i < len(pairs); i += 2 {
			vs = append(vs, value{pVarint(n, pairs[i].(uint64)), pairs[i+1]})
		}
		return vs
	}
}

const maxUint64 = "18446744073709551615"

// minus is a negative number as a varint.
func minus(v int64) uint64 { return uint64(-v) }

var protobufColumns = []column{
	pColumn("flag", "bool", varints(false, uint64(1), true)),
	pColumn("i32", "int32", varints(0, minus(1), -1, uint64(math.MaxInt32), math.MaxInt32)),
	pColumn("s32", "sint32", varints(0, uint64(1), -1, uint64(math.MaxUint32), math.MinInt32)),
	pColumn("sf32", "sfixed32", func(n protowire.Number) []value { return []value{{"", 0}, {pFixed32(n, math.MaxUint32), -1}} }),
	pColumn("i64", "int64", varints(0, minus(1), -1, uint64(math.MaxInt64), math.MaxInt64)),
	pColumn("s64", "sint64", varints(0, uint64(math.MaxUint64), math.MinInt64)),
	pColumn("sf64", "sfixed64", func(n protowire.Number) []value { return []value{{"", 0}, {pFixed64(n, math.MaxUint64), -1}} }),
	pColumn("u32", "uint32", varints(0, uint64(math.MaxUint32), math.MaxUint32)),
	pColumn("f32", "fixed32", func(n protowire.Number) []value {
		return []value{{"", 0}, {pFixed32(n, math.MaxUint32), math.MaxUint32}}
	}),
	pColumn("u64", "uint64", varints("0", uint64(math.MaxUint64), maxUint64)),
	pColumn("f64", "fixed64", func(n protowire.Number) []value { return []value{{"", "0"}, {pFixed64(n, math.MaxUint64), maxUint64}} }),
	pColumn("single", "float", func(n protowire.Number) []value {
		return []value{{"", whole(0)}, {pFixed32(n, math.Float32bits(0.25)), 0.25}}
	}),
	pColumn("twice", "double", func(n protowire.Number) []value {
		return []value{{"", whole(0)}, {pFixed64(n, math.Float64bits(0.1)), 0.1}, {pFixed64(n, math.Float64bits(math.Inf(1))), "Infinity"}}
	}),
	pColumn("text", "string", func(n protowire.Number) []value {
		return []value{{"", ""}, {pBytes(n, "Zürich 😀"), "Zürich 😀"}}
	}),
	pColumn("raw", "bytes", func(n protowire.Number) []value {
		return []value{{"", ""}, {pBytes(n, "\xff\x00"), stacktest.Base64([]byte{0xff, 0})}}
	}),
	pColumn("suit", "Suit", varints("SPADES", uint64(1), "HEARTS")),
	pColumn("at", "google.protobuf.Timestamp", func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n), "1970-01-01T00:00:00.000000Z"}, {pBytes(n, pVarint(1, 1_700_000_000), pVarint(2, 123_456_789)), "2023-11-14T22:13:20.123456Z"},
			{pBytes(n, pVarint(1, minus(1)), pVarint(2, 999_999_999)), "1969-12-31T23:59:59.999999Z"}}
	}),
	pColumn("took", "google.protobuf.Duration", func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n, pVarint(1, 2), pVarint(2, 5000)), 2_000_005}, {pBytes(n, pVarint(1, minus(1)), pVarint(2, minus(1000))), -1_000_001}}
	}),
	pColumn("boxed_int", "google.protobuf.Int64Value", func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n), 0}, {pBytes(n, pVarint(1, 5)), 5}}
	}),
	pColumn("boxed_text", "google.protobuf.StringValue", func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n), ""}, {pBytes(n, pBytes(1, "x")), "x"}}
	}),
	pColumn("free", "google.protobuf.Struct", func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n, pBytes(1, pBytes(1, "k"), pBytes(2, pBytes(3, "v")))), `{"k":"v"}`}}
	}),
	pColumn("day", "google.type.Date", func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n, pVarint(1, 2026), pVarint(2, 11), pVarint(3, 21)), "2026-11-21"}}
	}),
	pColumn("clock", "google.type.TimeOfDay", func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n, pVarint(1, 23), pVarint(2, 59), pVarint(3, 58), pVarint(4, 999_999_000)), "23:59:58.999999"}}
	}),
	pColumn("money", `confluent.type.Decimal [(confluent.field_meta) = {params: [{key: "precision", value: "12"}, {key: "scale", value: "2"}]}]`, func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n, pBytes(1, "\x30\x39"), pVarint(2, 12), pVarint(3, 2)), "123.45"}, {pBytes(n, pBytes(1, "\xff"), pVarint(2, 12), pVarint(3, 2)), "-0.01"}}
	}),
	pColumn("maybe", "optional int32", varints(nil, uint64(0), 0, uint64(3), 3)),
	pColumn("inner", "Inner", func(n protowire.Number) []value {
		return []value{{"", nil}, {pBytes(n), stacktest.Row{"a": 0, "b": nil, "c": nil}},
			{pBytes(n, pVarint(1, 1), pBytes(2, ""), pBytes(3, pFixed64(1, math.Float64bits(0.5)), pBytes(2, "p"), pBytes(2, "q"))), stacktest.Row{"a": 1, "b": "", "c": stacktest.Row{"d": 0.5, "e": []any{"p", "q"}}}}}
	}),
	pColumn("numbers", "repeated int32", func(n protowire.Number) []value {
		return []value{{"", []any{}}, {pBytes(n, "\x01\x02"), []int{1, 2}}, {pVarint(n, 3) + pVarint(n, 4), []int{3, 4}}}
	}),
	pColumn("words", "repeated string", func(n protowire.Number) []value {
		return []value{{"", []any{}}, {pBytes(n, "a") + pBytes(n, ""), []any{"a", ""}}}
	}),
	pColumn("inners", "repeated Innermost", func(n protowire.Number) []value {
		return []value{{"", []any{}}, {pBytes(n) + pBytes(n, pBytes(2, "e")), []any{stacktest.Row{"d": whole(0), "e": []any{}}, stacktest.Row{"d": whole(0), "e": []any{"e"}}}}}
	}),
	pColumn("counts", "map<string, int64>", func(n protowire.Number) []value {
		return []value{{"", []any{}}, {pBytes(n, pBytes(1, "a"), pVarint(2, 1)) + pBytes(n, pBytes(1, "b")), []any{[]any{"a", 1}, []any{"b", 0}}}}
	}),
	pColumn("places", "map<int32, Innermost>", func(n protowire.Number) []value {
		return []value{{"", []any{}}, {pBytes(n, pVarint(1, 7), pBytes(2, pFixed64(1, math.Float64bits(0.5)))), []any{[]any{7, stacktest.Row{"d": 0.5, "e": []any{}}}}}}
	}),
}
