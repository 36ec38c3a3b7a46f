//go:build stack

package e2e

import (
	"fmt"
	"math"
	"strings"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// jsonSchema is a JSON Schema with the columns, of which those that are always there are required.
func jsonSchema(cs []column) string {
	var properties, required []string
	for _, c := range cs {
		properties = append(properties, fmt.Sprintf("%q:%s", c.name, c.schema))
		always := true
		for _, v := range c.values {
			always = always && v.raw != ""
		}
		if always {
			required = append(required, fmt.Sprintf("%q", c.name))
		}
	}
	return fmt.Sprintf(`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{%s},"required":[%s]}`,
		strings.Join(properties, ","), strings.Join(required, ","))
}

// jsonObject is a record, its fields in an order of their own.
func jsonObject(fields []string, cs []column) []byte {
	var members []string
	for i := range fields {
		j := (i + len(fields[0])) % len(fields)
		if fields[j] != "" {
			members = append(members, fmt.Sprintf("%q: %s", cs[j].name, fields[j]))
		}
	}
	return []byte("{" + strings.Join(members, ", ") + "}")
}

var jsonColumns = []column{
	{"flag", `{"type":"boolean"}`, []value{{"true", true}, {"false", false}}},
	{"large", `{"type":"integer"}`, []value{{"0", 0}, {"-9223372036854775808", math.MinInt64}, {"9223372036854775807", math.MaxInt64}, {"1e3", 1000}}},
	{"small", `{"type":"integer","format":"int32"}`, []value{{"-2147483648", math.MinInt32}, {"2147483647", math.MaxInt32}}},
	{"twice", `{"type":"number"}`, []value{{"0.1", 0.1}, {"-3", whole(-3)}, {"1.5e300", 1.5e300}}},
	{"single", `{"type":"number","format":"float"}`, []value{{"0.25", 0.25}, {"7", whole(7)}}},
	{"text", `{"type":"string"}`, []value{{`""`, ""}, {`"Z\u00fcrich \ud83d\ude00 \"\\\/\n"`, "Zürich 😀 \"\\/\n"}, {`"plain"`, "plain"}}},
	{"suit", `{"enum":["SPADES","HEARTS"]}`, []value{{`"SPADES"`, "SPADES"}, {`"HEARTS"`, "HEARTS"}}},
	{"raw", `{"type":"string","contentEncoding":"base64"}`, []value{{`""`, ""}, {`"/wD+"`, "/wD+"}}},
	{"day", `{"type":"string","format":"date"}`, []value{{`"2026-11-21"`, "2026-11-21"}, {`"0001-01-01"`, "0001-01-01"}, {`"9999-12-31"`, "9999-12-31"}}},
	{"clock", `{"type":"string","format":"time"}`, []value{{`"23:59:59.999999Z"`, "23:59:59.999999"}, {`"00:00:00Z"`, "00:00:00.000000"}}},
	{"at", `{"type":"string","format":"date-time"}`, []value{{`"2026-11-21T12:34:56.789012Z"`, "2026-11-21T12:34:56.789012Z"}, {`"2026-11-21T01:00:00+02:00"`, "2026-11-20T23:00:00.000000Z"}, {`"1969-12-31T23:59:59.9Z"`, "1969-12-31T23:59:59.900000Z"}}},
	{"id", `{"type":"string","format":"uuid"}`, []value{{`"` + anUUID + `"`, anUUID}}},
	{"money", `{"type":"number","title":"org.apache.kafka.connect.data.Decimal","connect.parameters":{"scale":"2","connect.decimal.precision":"12"}}`,
		[]value{{"123.45", "123.45"}, {"-0.01", "-0.01"}, {"7", "7.00"}, {"9999999999.99", "9999999999.99"}}},
	{"day_number", `{"type":"integer","title":"org.apache.kafka.connect.data.Date"}`, []value{{"-1", "1969-12-31"}, {"20000", "2024-10-04"}}},
	{"at_number", `{"type":"integer","title":"org.apache.kafka.connect.data.Timestamp"}`, []value{{"1700000000123", "2023-11-14T22:13:20.123000Z"}}},
	{"clock_number", `{"type":"integer","title":"org.apache.kafka.connect.data.Time"}`, []value{{"86399999", "23:59:59.999000"}}},
	{"maybe", `{"type":["integer","null"]}`, []value{{"null", nil}, {"5", 5}, {"", nil}}},
	{"maybe_text", `{"oneOf":[{"type":"null"},{"type":"string"}]}`, []value{{"null", nil}, {`"x"`, "x"}, {"", nil}}},
	{"inner", `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"object","properties":{"c":{"type":"string"}}}},"required":["a"]}`,
		[]value{{`{"a":1}`, stacktest.Row{"a": 1, "b": nil}}, {`{"b":{"c":"x"},"a":2,"unknown":[1]}`, stacktest.Row{"a": 2, "b": stacktest.Row{"c": "x"}}}, {`{"a":3,"b":{}}`, stacktest.Row{"a": 3, "b": stacktest.Row{"c": nil}}}, {"", nil}}},
	{"numbers", `{"type":"array","items":{"type":"integer"}}`, []value{{"[]", []any{}}, {"[1, -2]", []int{1, -2}}}},
	{"words", `{"type":"array","items":{"type":["string","null"]}}`, []value{{`[null,"w"]`, []any{nil, "w"}}}},
	{"lines", `{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}}},"required":["sku"]}}`,
		[]value{{`[{"sku":"a","tags":["x","y"]},{"sku":"b"}]`, []any{stacktest.Row{"sku": "a", "tags": []any{"x", "y"}}, stacktest.Row{"sku": "b", "tags": nil}}}, {"[]", []any{}}}},
	{"counts", `{"type":"object","additionalProperties":{"type":"integer"}}`, []value{{"{}", []any{}}, {`{"b":2,"a":1}`, []any{[]any{"a", 1}, []any{"b", 2}}}}},
}
