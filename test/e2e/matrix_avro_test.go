//go:build stack

package e2e

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// avroRecord is an Avro schema with the columns.
func avroRecord(cs []column) string {
	fields := make([]string, len(cs))
	for i, c := range cs {
		fields[i] = fmt.Sprintf(`{"name":%q,"type":%s}`, c.name, c.schema)
	}
	return `{"type":"record","name":"Everything","fields":[` + strings.Join(fields, ",") + `]}`
}

// The encodings of Avro.

func aLong(v int64) string { return string(binary.AppendVarint(nil, v)) }
func aText(s string) string {
	return aLong(int64(len(s))) + s
}
func aDouble(f float64) string {
	return string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)))
}
func aFloat(f float32) string {
	return string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(f)))
}

// aBlock is the items of an array or a map with their end.
func aBlock(items ...string) string {
	if len(items) == 0 {
		return "\x00"
	}
	return aLong(int64(len(items))) + strings.Join(items, "") + "\x00"
}

// aSized is the same in two blocks, with their sizes, as a streaming writer makes them.
func aSized(first, second string) string {
	return aLong(-1) + aLong(int64(len(first))) + first + aLong(-1) + aLong(int64(len(second))) + second + "\x00"
}

const (
	anUUID   = "123e4567-e89b-12d3-a456-426614174000"
	uuidRaw  = "\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00"
	aRecord  = `{"type":"record","name":"Inner","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","string"]},{"name":"c","type":{"type":"record","name":"Innermost","fields":[{"name":"d","type":"double"}]}}]}`
	longest  = "99999999999999999999999999999999999999"
	lastDay  = 2932896 // 9999-12-31
	dayMilli = 86_399_999
)

// logical is a schema of a logical type.
func logical(base, name string) string {
	return fmt.Sprintf(`{"type":%q,"logicalType":%q}`, base, name)
}

// wide is a decimal's unscaled value in 16 bytes; small is one in few.
func wide(high, low uint64) string {
	return string(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, high), low))
}

var avroColumns = []column{
	{"flag", `"boolean"`, []value{{"\x01", true}, {"\x00", false}}},
	{"small", `"int"`, []value{{aLong(0), 0}, {aLong(-1), -1}, {aLong(math.MaxInt32), math.MaxInt32}, {aLong(math.MinInt32), math.MinInt32}}},
	{"large", `"long"`, []value{{aLong(0), 0}, {aLong(math.MaxInt64), math.MaxInt64}, {aLong(math.MinInt64), math.MinInt64}}},
	{"single", `"float"`, []value{{aFloat(1.5), 1.5}, {aFloat(-2), whole(-2)}, {aFloat(float32(math.NaN())), "NaN"}, {aFloat(float32(math.Inf(1))), "Infinity"}, {aFloat(math.MaxFloat32), float64(math.MaxFloat32)}}},
	{"twice", `"double"`, []value{{aDouble(0.1), 0.1}, {aDouble(1e300), 1e300}, {aDouble(math.Inf(-1)), "-Infinity"}, {aDouble(math.NaN()), "NaN"}}},
	{"text", `"string"`, []value{{aText(""), ""}, {aText("Zürich 😀 \"quoted\"\n"), "Zürich 😀 \"quoted\"\n"}, {aText(strings.Repeat("long ", 1000)), strings.Repeat("long ", 1000)}}},
	{"raw", `"bytes"`, []value{{aText(""), stacktest.Base64([]byte{})}, {aText("\xff\x00\xfe"), stacktest.Base64([]byte{0xff, 0, 0xfe})}}},
	{"five", `{"type":"fixed","name":"Five","size":5}`, []value{{"12345", stacktest.Base64([]byte("12345"))}, {"\x00\xff\x80\x7f\x01", stacktest.Base64([]byte{0, 0xff, 0x80, 0x7f, 1})}}},
	{"suit", `{"type":"enum","name":"Suit","symbols":["SPADES","HEARTS"]}`, []value{{"\x00", "SPADES"}, {"\x02", "HEARTS"}}},
	{"money", `{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}`, []value{{aText("\x00"), "0.00"}, {aText("\x30\x39"), "123.45"}, {aText("\xff"), "-0.01"},
		{aText("\x00\x00\x00\x30\x39"), "123.45"}, {aText("\x00\xe8\xd4\xa5\x0f\xff"), "9999999999.99"}, {aText("\xff\x17\x2b\x5a\xf0\x01"), "-9999999999.99"}}},
	{"huge", `{"type":"fixed","name":"Huge","size":16,"logicalType":"decimal","precision":38,"scale":10}`, []value{{wide(0, 1), "0.0000000001"}, {wide(math.MaxUint64, math.MaxUint64), "-0.0000000001"},
		{wide(0x4b3b4ca85a86c47a, 0x098a223fffffffff), longest[:28] + "." + longest[28:]}}},
	{"day", logical("int", "date"), []value{{aLong(0), "1970-01-01"}, {aLong(-1), "1969-12-31"}, {aLong(lastDay), "9999-12-31"}}},
	{"clock_ms", logical("int", "time-millis"), []value{{aLong(0), "00:00:00.000000"}, {aLong(dayMilli), "23:59:59.999000"}}},
	{"clock_us", logical("long", "time-micros"), []value{{aLong(1), "00:00:00.000001"}, {aLong(86_399_999_999), "23:59:59.999999"}}},
	{"at_ms", logical("long", "timestamp-millis"), []value{{aLong(0), "1970-01-01T00:00:00.000000Z"}, {aLong(-1), "1969-12-31T23:59:59.999000Z"}, {aLong(lastDay * 86_400_000), "9999-12-31T00:00:00.000000Z"}}},
	{"at_us", logical("long", "timestamp-micros"), []value{{aLong(1_700_000_000_123_456), "2023-11-14T22:13:20.123456Z"}, {aLong(-1), "1969-12-31T23:59:59.999999Z"}}},
	{"at_ns", logical("long", "timestamp-nanos"), []value{{aLong(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456Z"}, {aLong(-1), "1969-12-31T23:59:59.999999Z"}}},
	{"local_ms", logical("long", "local-timestamp-millis"), []value{{aLong(1_700_000_000_123), "2023-11-14T22:13:20.123000"}}},
	{"local_us", logical("long", "local-timestamp-micros"), []value{{aLong(-1), "1969-12-31T23:59:59.999999"}, {aLong(1_700_000_000_123_456), "2023-11-14T22:13:20.123456"}}},
	{"id", logical("string", "uuid"), []value{{aText(anUUID), anUUID}, {aText(strings.ToUpper(anUUID)), anUUID}}},
	{"id_raw", `{"type":"fixed","name":"Id","size":16,"logicalType":"uuid"}`, []value{{uuidRaw, anUUID}}},
	{"maybe", `["null","long"]`, []value{{"\x00", nil}, {"\x02" + aLong(7), 7}}},
	{"maybe_day", `[` + logical("int", "date") + `,"null"]`, []value{{"\x02", nil}, {"\x00" + aLong(1), "1970-01-02"}}},
	{"inner", aRecord, []value{{aLong(1) + "\x00" + aDouble(0.5), stacktest.Row{"a": 1, "b": nil, "c": stacktest.Row{"d": 0.5}}}, {aLong(2) + "\x02" + aText("x") + aDouble(-2), stacktest.Row{"a": 2, "b": "x", "c": stacktest.Row{"d": whole(-2)}}}}},
	{"maybe_inner", `["null",{"type":"record","name":"Other","fields":[{"name":"m","type":{"type":"map","values":["null","int"]}}]}]`,
		[]value{{"\x00", nil}, {"\x02" + aBlock(), stacktest.Row{"m": []any{}}}, {"\x02" + aBlock(aText("k")+"\x00"), stacktest.Row{"m": []any{[]any{"k", nil}}}}}},
	{"numbers", `{"type":"array","items":"int"}`, []value{{aBlock(), []int{}}, {aBlock(aLong(1), aLong(-2)), []int{1, -2}}, {aSized(aLong(3), aLong(4)), []int{3, 4}}}},
	{"words", `{"type":"array","items":["null","string"]}`, []value{{aBlock("\x00", "\x02"+aText("w"), "\x00"), []any{nil, "w", nil}}, {aBlock(), []any{}}}},
	{"grid", `{"type":"array","items":{"type":"array","items":"long"}}`, []value{{aBlock(aBlock(), aBlock(aLong(1), aLong(2))), []any{[]int{}, []int{1, 2}}}, {aBlock(), []any{}}}},
	{"lines", `{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"sku","type":"string"},{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":3}}]}}`,
		[]value{{aBlock(aText("a")+aText("\x03\xe8"), aText("b")+aText("\xff")), []any{stacktest.Row{"sku": "a", "price": "1.000"}, stacktest.Row{"sku": "b", "price": "-0.001"}}}, {aBlock(), []any{}}}},
	{"counts", `{"type":"map","values":"long"}`, []value{{aBlock(), []any{}}, {aBlock(aText("b")+aLong(2), aText("a")+aLong(1)), []any{[]any{"a", 1}, []any{"b", 2}}}}},
	{"places", `{"type":"map","values":{"type":"record","name":"Spot","fields":[{"name":"x","type":"float"},{"name":"when","type":["null",{"type":"long","logicalType":"timestamp-micros"}]}]}}`,
		[]value{{aBlock(aText("p") + aFloat(0.25) + "\x02" + aLong(0)), []any{[]any{"p", stacktest.Row{"x": 0.25, "when": "1970-01-01T00:00:00.000000Z"}}}}, {aBlock(aText("q") + aFloat(0.5) + "\x00"), []any{[]any{"q", stacktest.Row{"x": 0.5, "when": nil}}}}}},
}
