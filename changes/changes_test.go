package changes_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/schemas"
)

// pair is a record; "-" stands for a key or value that is null.
type pair struct{ key, value string }

// unwrap decodes records and unwraps them. Each row is a line "fate op position | column=value ...".
func unwrap(t *testing.T, cfg configs.Decode, pairs ...pair) []string {
	t.Helper()
	d, err := schemas.NewDecoder(cfg, nil, schemas.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &batch.Records{Topics: []string{"t"}}
	view := func(s string) batch.View {
		if s == "-" {
			return batch.Null
		}
		return r.AppendString(s)
	}
	for i, p := range pairs {
		r.Topic, r.Partition, r.Offset, r.Timestamp = append(r.Topic, 0), append(r.Partition, 0), append(r.Offset, int64(i)), append(r.Timestamp, 1000)
		r.Key, r.Value, r.Headers = append(r.Key, view(p.key)), append(r.Value, view(p.value)), append(r.Headers, batch.View{})
	}
	if _, err := d.Prepare(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	u, err := changes.New(*cfg.Changes, d.Row(), d.KeyRow())
	if err != nil {
		t.Fatal(err)
	}
	b := batch.New(r, d.Row())
	if err := d.Decode(r, b); err != nil {
		t.Fatal(err)
	}
	if err := u.Apply(b); err != nil {
		t.Fatal(err)
	}
	if b.Root.Type != u.Row() || b.Root.Len != b.Rows {
		t.Fatalf("%d rows of %s", b.Root.Len, b.Root.Type)
	}
	var out []string
	for i := range b.Rows {
		out = append(out, line(t, b, i))
	}
	for _, x := range b.Rejects {
		out = append(out, fmt.Sprintf("reject %d %s %s: %s", x.Record, x.Stage, x.Step, x.Reason))
	}
	return out
}

func line(t *testing.T, b *batch.Batch, i int) string {
	t.Helper()
	var out []string
	for k, c := range b.Root.Children {
		if c.Len != b.Rows || c.Valid != nil && len(c.Valid) != b.Rows {
			t.Fatalf("column %s has %d slots, of %d", b.Root.Type.Fields[k].Name, c.Len, b.Rows)
		}
		if !c.IsNull(i) {
			out = append(out, b.Root.Type.Fields[k].Name+"="+text(b, c, i))
		}
	}
	return fmt.Sprintf("%d %s", b.Fate[i], strings.Join(out, " "))
}

func text(b *batch.Batch, c *batch.Column, i int) string {
	switch c.Type.Kind {
	case batch.Int:
		return fmt.Sprint(c.Int32[i])
	case batch.Long:
		return fmt.Sprint(c.Int64[i])
	case batch.Date:
		return time.Unix(int64(c.Int32[i])*86400, 0).UTC().Format("2006-01-02")
	case batch.Timestamp, batch.TimestampTZ:
		return time.UnixMicro(c.Int64[i]).UTC().Format("2006-01-02T15:04:05.999999")
	case batch.Decimal:
		return fmt.Sprintf("%de-%d", c.Int64[i], c.Type.Scale)
	case batch.String:
		return string(b.Bytes(c.Views[i]))
	case batch.List:
		var out []string
		for e := c.Starts[i]; e < c.Starts[i+1]; e++ {
			out = append(out, text(b, c.Children[0], int(e)))
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	return hex.EncodeToString(b.Bytes(c.Views[i]))
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func customers(form string, key bool) configs.Decode {
	d := configs.Decode{Changes: &configs.Changes{Form: form}, Value: configs.Format{Format: "json", Columns: []configs.ColumnDef{
		{Name: "id", Type: "long required"}, {Name: "name", Type: "string"}, {Name: "tags", Type: "list<string>"}, {Name: "at", Type: "timestamp"}, {Name: "price", Type: "decimal(10,2)"}}}}
	if key {
		d.Key = &configs.Format{Format: "json", Columns: []configs.ColumnDef{{Name: "id", Type: "int required"}}}
	}
	return d
}

func unscaled(n int64) string {
	return base64.StdEncoding.EncodeToString(append([]byte{0}, big.NewInt(n).Bytes()...))
}

func TestDebezium(t *testing.T) {
	event := func(op, before, after, source string) string {
		return fmt.Sprintf(`{"before":%s,"after":%s,"source":{"connector":"x","db":"shop",%s},"op":%q,"ts_ms":5,"transaction":null}`, before, after, source, op)
	}
	lsn := func(n int) string { return fmt.Sprintf(`"lsn":%d,"txId":7,"ts_ms":2000`, n) }
	got := unwrap(t, customers("debezium", true),
		pair{`{"id":1}`, event("r", "null", `{"id":1,"name":"Ada","tags":["x"],"at":1700000000123456,"price":"`+unscaled(1999)+`"}`, lsn(10))},
		pair{`{"id":1}`, event("u", `{"id":1,"name":"Ada"}`, `{"id":1,"name":"Eva","tags":["y","z"]}`, lsn(255))},
		pair{`{"id":1}`, event("d", `{"id":1,"name":"Eva","tags":["w"]}`, "null", lsn(256))},
		pair{`{"id":1}`, "-"},
		pair{`{"id":2}`, event("d", "null", "null", lsn(300))},
		pair{"-", event("d", "null", "null", lsn(301))},
		pair{"-", event("t", "null", "null", lsn(302))},
		pair{"-", event("m", "null", "null", lsn(303))},
		pair{`{"id":3}`, event("c", "null", `{"id":3}`, `"file":"mysql-bin.000012","pos":400,"row":2,"ts_ms":2000`)},
		pair{`{"id":3}`, event("u", `{"id":3,"name":"large"}`, `{"id":3,"name":"__debezium_unavailable_value"}`, lsn(400))},
		pair{`{"id":3}`, event("u", `null`, `{"id":3,"name":"__debezium_unavailable_value"}`, lsn(401))},
		pair{`{"id":3}`, event("u", `null`, `null`, lsn(402))},
		pair{`{"id":3}`, event("x", `null`, `null`, lsn(403))},
	)
	wantLines(t, got,
		"0 id=1 name=Ada tags=[x] at=2023-11-14T22:13:20.123456 price=1999e-2 _op=r _source_ts=1970-01-01T00:00:02 _position=000000000000000a",
		"0 id=1 name=Eva tags=[y,z] _op=u _source_ts=1970-01-01T00:00:02 _position=00000000000000ff",
		"0 id=1 name=Eva tags=[w] _op=d _source_ts=1970-01-01T00:00:02 _position=0000000000000100",
		"1 _op=m _source_ts=1970-01-01T00:00:01 _position=",
		"0 id=2 _op=d _source_ts=1970-01-01T00:00:02 _position=000000000000012c",
		"2 _op=d _source_ts=1970-01-01T00:00:02 _position=",
		"0 _op=t _source_ts=1970-01-01T00:00:02 _position=000000000000012e",
		"1 _op=m _source_ts=1970-01-01T00:00:02 _position=",
		"0 id=3 _op=c _source_ts=1970-01-01T00:00:02 _position=000000000012:0000000000000190",
		"0 id=3 name=large _op=u _source_ts=1970-01-01T00:00:02 _position=0000000000000190",
		"2 id=3 name=__debezium_unavailable_value _op=u _source_ts=1970-01-01T00:00:02 _position=0000000000000191",
		"2 _op=u _source_ts=1970-01-01T00:00:02 _position=",
		"2 _op=x _source_ts=1970-01-01T00:00:02 _position=",
		"reject 5 changes _op: the delete does not say of which row: before is null; set decode.key, or the table's replica identity",
		"reject 11 changes _op: the change u has no row (after is null)",
		`reject 12 changes _op: the envelope's op is "x", none of c, u, d, r, t and m`,
		"reject 10 changes name: the database did not tell the value, which is large and was not changed: set the table's REPLICA IDENTITY to FULL")
}

func TestUnwrapped(t *testing.T) {
	got := unwrap(t, customers("unwrapped", true),
		pair{`{"id":1}`, `{"id":1,"name":"Ada","tags":["x"]}`},
		pair{`{"id":1}`, "-"},
		pair{"-", "-"})
	wantLines(t, got,
		"0 id=1 name=Ada tags=[x] _op=u _source_ts=1970-01-01T00:00:01 _position=0000000000000000",
		"0 id=1 _op=d _source_ts=1970-01-01T00:00:01 _position=0000000000000001",
		"2 _op=d _source_ts=1970-01-01T00:00:01 _position=",
		"reject 2 changes _op: the delete does not say of which row: the record has neither a value nor a key")

	rewritten := customers("unwrapped", false)
	rewritten.Value.Columns = append(rewritten.Value.Columns, []configs.ColumnDef{{Name: "__deleted", Type: "string"}, {Name: "__op", Type: "string"}, {Name: "__source_lsn", Type: "long"}, {Name: "__source_ts_ms", Type: "long"}}...)
	got = unwrap(t, rewritten,
		pair{"-", `{"id":1,"name":"Ada","__deleted":"false","__op":"c","__source_lsn":16,"__source_ts_ms":3000}`},
		pair{"-", `{"id":1,"name":"Ada","__deleted":"true","__op":"d","__source_lsn":17,"__source_ts_ms":4000}`},
		pair{"-", "-"})
	wantLines(t, got,
		"0 id=1 name=Ada __source_lsn=16 __source_ts_ms=3000 _op=c _source_ts=1970-01-01T00:00:03 _position=0000000000000010",
		"0 id=1 name=Ada __source_lsn=17 __source_ts_ms=4000 _op=d _source_ts=1970-01-01T00:00:04 _position=0000000000000011",
		"1 _op=u _source_ts=1970-01-01T00:00:01 _position=")
}

// A key's columns that the row lacks are columns of their own.
func TestKeyColumns(t *testing.T) {
	cfg := customers("unwrapped", false)
	cfg.Key = &configs.Format{Format: "json", Columns: []configs.ColumnDef{{Name: "region", Type: "string"}, {Name: "id", Type: "long"}}}
	wantLines(t, unwrap(t, cfg, pair{`{"id":7,"region":"eu"}`, "-"}, pair{`{"id":7,"region":"eu"}`, `{"id":7,"name":"Ada"}`}),
		"0 id=7 key_region=eu _op=d _source_ts=1970-01-01T00:00:01 _position=0000000000000000",
		"0 id=7 name=Ada key_region=eu _op=u _source_ts=1970-01-01T00:00:01 _position=0000000000000001")
}

// Schemas within records say in what units numbers are.
func TestEmbeddedSchema(t *testing.T) {
	schema := func(timeType string) string {
		row := fmt.Sprintf(`{"type":"struct","fields":[{"type":"int64","field":"id"},{"type":"int64","name":%q,"field":"at"},{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"price"},{"type":"string","field":"undeclared"}],"field":`, timeType)
		return `{"type":"struct","fields":[` + row + `"before"},` + row + `"after"},{"type":"string","field":"op"}],"name":"e"}`
	}
	event := func(timeType, at string) string {
		return `{"schema":` + schema(timeType) + `, "payload": {"before":null,"after":{"id":1,"at":` + at + `,"price":"` + unscaled(250) + `","undeclared":"x"},"op":"c","source":{"lsn":1}}}`
	}
	cfg := customers("debezium", false)
	cfg.Changes.Decimals = "string" // the schema knows better
	got := unwrap(t, cfg,
		pair{"-", event("io.debezium.time.MicroTimestamp", "1700000000123456")},
		pair{"-", event("io.debezium.time.MicroTimestamp", "1700000000123457")},
		pair{"-", event("io.debezium.time.Timestamp", "1700000000123")},
		pair{"-", event("io.debezium.time.NanoTimestamp", "1700000000123456789")},
		pair{"-", `{"schema":null,"payload":{"after":{"id":2},"op":"c","source":{"lsn":2}}}`},
		pair{"-", `{"schema":` + strings.Replace(schema("x"), `"scale":"2"`, `"scale":"3"`, 1) + `,"payload":null}`},
		pair{"-", `{"schema":{`})
	for i, want := range []string{"at=2023-11-14T22:13:20.123456 price=250e-2", "at=2023-11-14T22:13:20.123457", "at=2023-11-14T22:13:20.123 ", "at=2023-11-14T22:13:20.123456", "0 id=2 _op=c",
		`field before.price: the record's schema has the scale "3", the column is decimal(10,2)`, "reject 6 decode"} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("line %d of\n%s\nshould contain %s", i, strings.Join(got, "\n"), want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	long := batch.Prim(batch.Long)
	for want, try := range map[string]struct {
		cfg configs.Changes
		row *batch.Type
		key *batch.Type
	}{
		"no Debezium envelope":    {configs.Changes{Form: "debezium"}, batch.StructOf(batch.Field{Name: "id", Type: long}), nil},
		"keys must be decoded":    {configs.Changes{Form: "unwrapped"}, batch.StructOf(batch.Field{Name: "id", Type: long}), nil},
		"a column _op of its own": {configs.Changes{Form: "unwrapped"}, batch.StructOf(batch.Field{Name: "_op", Type: long}), batch.StructOf()},
		"in the key and":          {configs.Changes{Form: "unwrapped"}, batch.StructOf(batch.Field{Name: "id", Type: long}, batch.Field{Name: "key_id", Type: batch.Prim(batch.String)}), batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.String)})},
	} {
		if _, err := changes.New(try.cfg, try.row, try.key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", try.row, err, want)
		}
	}
}

// Positions of one key sort bytewise as the changes happened. Changes of one transaction of MariaDB all have the position where it began, and
// row begins anew with each statement: these are left to the order of offsets.
func TestPositionsSort(t *testing.T) {
	var got []string
	for _, source := range []string{`"file":"bin.000009","pos":900,"row":0`, `"file":"bin.000010","pos":4,"row":3`, `"file":"bin.000010","pos":4,"row":0`, `"file":"bin.000010","pos":1000,"row":0`, `"file":"bin.1000000","pos":4,"row":0`} {
		lines := unwrap(t, customers("debezium", false), pair{"-", `{"after":{"id":1},"op":"c","source":{` + source + `}}`})
		got = append(got, lines[0][strings.Index(lines[0], "_position="):])
	}
	for i := 1; i < len(got); i++ {
		if same := i == 2; same != (got[i] == got[i-1]) || got[i] < got[i-1] {
			t.Errorf("%s after %s", got[i], got[i-1])
		}
	}
}
