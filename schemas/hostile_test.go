package schemas

import (
	"encoding/binary"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// What a record of up to 1 MiB may cost, however it is made. The time is far above what is measured (some 100 ms at most),
// since machines that test are busy; what it is to catch takes minutes. The race detector takes eight times as long.
const (
	hostileSize   = 1 << 20
	hostileTime   = 5 * time.Second * raceFactor
	hostileMemory = 512 << 20 // allocated in all, columns that grow included
)

// fill repeats text up to the size of a hostile record.
func fill(text string) string { return strings.Repeat(text, max(1, (hostileSize-16)/len(text))) }

// nest puts n times open before and close behind what stands in the middle.
func nest(open, middle, closing string, n int) string {
	return strings.Repeat(open, n) + middle + strings.Repeat(closing, n)
}

func varints(vs ...int64) string {
	var b []byte
	for _, v := range vs {
		b = binary.AppendVarint(b, v)
	}
	return string(b)
}

// wideFields are n fields of a record, message or object: #i is their index, #n their number.
func wideFields(n int, format string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.NewReplacer("#i", strconv.Itoa(i), "#n", strconv.Itoa(i+1)).Replace(format))
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestHostileRecords gives records that are made to exhaust whoever decodes them. Each is decoded or refused within bounds,
// and leaves columns that hold together.
func TestHostileRecords(t *testing.T) {
	avroWide := `{"type":"record","name":"R","fields":[{"name":"l","type":{"type":"array","items":{"type":"record","name":"E","fields":[` +
		wideFields(1000, `{"name":"f#i","type":["null","long"]},`) + `]}}}]}`
	list := func(items string) string {
		return `{"type":"record","name":"R","fields":[{"name":"l","type":` + items + `}]}`
	}
	array := func(items string) string { return `{"type":"array","items":` + items + `}` }
	avro := func(text string) Schema { return mustParseAvro(t, text) }
	proto := func(text string) Schema {
		return mustParseProtobuf(t, `syntax = "proto3"; import "google/protobuf/struct.proto"; `+text)
	}
	wideJSON := columnsOf(t, "", "l list<struct<"+wideFields(1000, "f#i: long,")+">>", "m map<string, struct<"+wideFields(1000, "f#i: long,")+">>")
	numbers := columnsOf(t, "", "i int", "l long", "f double", "m decimal(38,10)", "s string", "z timestamptz", "y binary", "o map<string, long>")
	wideProto := "message M { repeated E l = 1; map<int32, E> m = 2; message E { " + wideFields(1000, "int64 f#i = #n; ") + "} }"
	oneof := "message M { oneof o { " + wideFields(1000, "int64 f#i = #n; ") + "} }"
	parts := "message M { " + wideFields(500, "E f#i = #n; ") + "message E { int64 a = 1; } }"
	group := string([]byte{0x9b, 0x06}) // begins a group of field 99
	for name, c := range map[string]struct {
		schema  Schema
		payload string
		refused bool
	}{
		"avro: 2^60 nulls":                     {avro(list(array(`"null"`))), varints(1<<60, 0), false},
		"avro: blocks of 2^60 nulls":           {avro(list(array(`"null"`))), fill(varints(1<<60)) + "\x00", false},
		"avro: 2^60 empty records":             {avro(list(array(`{"type":"record","name":"Z","fields":[]}`))), varints(1<<60, 0), false},
		"avro: 2^60 empty fixed":               {avro(list(array(`{"type":"fixed","name":"Z","size":1}`))), varints(1<<60, 0), true},
		"avro: 2^40 longs":                     {avro(list(array(`"long"`))), varints(1<<40) + fill("\x00"), true},
		"avro: negative count":                 {avro(list(array(`"long"`))), varints(-1<<62, 1<<40), true},
		"avro: the least count":                {avro(list(array(`"long"`))), varints(-1<<63, 0), true},
		"avro: text of 2^62 bytes":             {avro(list(`"string"`)), varints(1 << 62), true},
		"avro: bytes of -1":                    {avro(list(`"bytes"`)), varints(-1), true},
		"avro: map of 2^60 null values":        {avro(list(`{"type":"map","values":"null"}`)), varints(1<<60) + fill("\x00"), true},
		"avro: wide structs of nulls":          {avro(avroWide), varints(1_000) + strings.Repeat("\x00", 1_000_000) + "\x00", false},
		"avro: lists in lists in lists":        {avro(list(array(array(array(`"null"`))))), varints(300_000) + fill("\x02\x00\x00"), true},
		"avro: decimal of 1 MiB":               {avro(list(`{"type":"bytes","logicalType":"decimal","precision":38}`)), varints(hostileSize-16) + fill("\x7f"), true},
		"avro: a number without end":           {avro(list(`"long"`)), fill("\xff"), true},
		"protobuf: empty wide messages":        {proto(wideProto), "\x00" + fill("\x0a\x00"), true},
		"protobuf: map of wide messages":       {proto(wideProto), "\x00" + fill("\x12\x00"), true},
		"protobuf: groups in groups":           {proto(wideProto), "\x00" + fill(group), true},
		"protobuf: groups that end":            {proto(wideProto), "\x00" + nest(group, "", "\x9c\x06", 260_000), true},
		"protobuf: other members of a oneof":   {proto(oneof), "\x00" + fill("\x08\x01\x10\x01"), true},
		"protobuf: messages in pieces":         {proto(parts), "\x00" + fill(wideParts(500)), true},
		"protobuf: length of 2^63":             {proto(wideProto), "\x00\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", true},
		"protobuf: message index of 2^62":      {proto(wideProto), varints(1 << 62), true},
		"protobuf: message index without end":  {proto(wideProto), varints(64) + fill("\xff"), true},
		"protobuf: values in values":           {proto("message M { google.protobuf.Value v = 1; }"), "\x00" + nested(100_000), true},
		"protobuf: list of empty values":       {proto("message M { google.protobuf.ListValue v = 1; }"), "\x00" + pb(1, fill("\x0a\x00")), false},
		"json: arrays in arrays, skipped":      {numbers, `{"x":` + nest("[", "", "]", 500_000) + `}`, true},
		"json: objects in objects, as text":    {numbers, `{"s":` + nest(`{"a":`, "1", "}", 150_000) + `}`, true},
		"json: arrays without end":             {numbers, fill("["), true},
		"json: empty wide objects":             {wideJSON, `{"l":[` + fill("{},") + `{}]}`, true},
		"json: nulls for wide objects":         {wideJSON, `{"l":[` + fill("null,") + `null]}`, true},
		"json: map of wide objects":            {wideJSON, `{"m":{` + wideFields(60_000, `"k#i":{},`) + `}}`, true},
		"json: an exponent beyond double":      {numbers, `{"f":1e999999}`, true},
		"json: an exponent of 1 MiB":           {numbers, `{"m":1e` + fill("9") + `}`, true},
		"json: decimal 1e-999999999":           {numbers, `{"m":1e-999999999}`, true},
		"json: decimal 1e999999999999":         {numbers, `{"m":1e999999999999999999999}`, true},
		"json: zero with a huge exponent":      {numbers, `{"m":0e999999999,"i":0e999999999}`, false},
		"json: long of 1 MiB":                  {numbers, `{"l":` + fill("9") + `}`, true},
		"json: long with a huge exponent":      {numbers, `{"l":1e999999999}`, true},
		"json: a fraction of 1 MiB":            {numbers, `{"m":0.` + fill("0") + `}`, false},
		"json: a double of 1 MiB":              {numbers, `{"f":0.` + fill("1") + `}`, false},
		"json: a time of 1 MiB":                {numbers, `{"z":"2026-11-21T00:00:00.` + fill("0") + `Z"}`, false},
		"json: escapes":                        {numbers, `{"s":"` + fill(`\u0000`) + `"}`, false},
		"json: half escapes":                   {numbers, `{"s":"` + fill(`\ud800`) + `"}`, true},
		"json: base64 of nothing":              {numbers, `{"y":"` + fill("=") + `"}`, true},
		"json: the same key":                   {numbers, `{"o":{` + fill(`"a":1,`) + `"a":1}}`, true},
		"json: many keys":                      {numbers, `{"o":{` + wideFields(60_000, `"k#i":#n,`) + `}}`, false},
		"json: many fields without a column":   {numbers, `{` + wideFields(60_000, `"k#i":#n,`) + `}`, false},
		"json: keys that hash alike when long": {numbers, `{"o":{` + wideFields(30, `"`+strings.Repeat("k", 30_000)+`#i":#n,`) + `}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			plan := mustCompile(t, c.schema, c.schema.Row())
			r, root := &batch.Records{}, newRoot(c.schema.Row())
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			err := appendRow(plan, r, root, []byte(c.payload))
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			rows, used := 1, after.TotalAlloc-before.TotalAlloc
			if err != nil {
				rows = 0
			}
			t.Logf("%d bytes: %v, %d KiB, %.150v", len(c.payload), took.Round(time.Microsecond), used>>10, err)
			if (err != nil) != c.refused {
				t.Errorf("refused: %v (%.300v)", err != nil, err)
			}
			if took > hostileTime || used > hostileMemory {
				t.Errorf("it took %v and %d MiB", took, used>>20)
			}
			if err := checkColumn(root, true, rows); err != nil {
				t.Error(err)
			}
			if err != nil && len(err.Error()) > 10<<10 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

// wideParts is a message in which each of n fields holds a message.
func wideParts(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(pb(i+1, pb(1, 1)))
	}
	return b.String()
}

// nested is a google.protobuf.Value, a list in a list and so on, of about that many bytes.
func nested(size int) string {
	v := pb(4, 1)
	for len(v) < size {
		v = pb(6, pb(1, v))
	}
	return pb(1, v)
}
