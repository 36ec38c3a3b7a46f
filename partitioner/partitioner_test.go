package partitioner

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

func field1(name string, t *batch.Type) *batch.Type {
	return batch.StructOf(batch.Field{Name: name, Type: t})
}

// rows makes a batch of one column c; nil entries are null.
func rows(t *batch.Type, values ...any) *batch.Batch {
	r := &batch.Records{}
	b := batch.New(r, field1("c", t))
	c := b.Root.Children[0]
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			c.AppendNull()
		case bool:
			c.AppendBool(v)
		case int32:
			c.AppendInt32(v)
		case int64:
			c.AppendInt64(v)
		case string:
			c.AppendView(r.AppendString(v))
		case []byte:
			c.AppendView(r.Append(v))
		default:
			panic(fmt.Sprintf("%T", v))
		}
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	return b
}

func splitter(t testing.TB, row *batch.Type, entries ...string) *Splitter {
	t.Helper()
	fields, err := Parse(entries, row)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(fields, row)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func split(t testing.TB, s *Splitter, b *batch.Batch) []Part {
	t.Helper()
	parts, err := s.Split(b)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func micros(s string) int64 {
	t, err := time.Parse("2006-01-02T15:04:05.999999", s)
	if err != nil {
		panic(err)
	}
	return t.UnixMicro()
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func int128(v int64) []byte {
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b[8:], uint64(v))
	if v < 0 {
		for i := range 8 {
			b[i] = 0xff
		}
	}
	return b
}

// TestHashesOfTheSpecification has the examples of the specification's appendix B. A bucket number is the hash
// without its sign modulo the number of buckets.
func TestHashesOfTheSpecification(t *testing.T) {
	uuid := unhex("f79c3e09-677c-4bbd-a479-3f349cb785e7")
	for _, c := range []struct {
		typ   *batch.Type
		value any
		hash  int32
	}{
		{batch.Prim(batch.Int), int32(34), 2017239379},
		{batch.Prim(batch.Long), int64(34), 2017239379},
		{batch.DecimalOf(9, 2), int64(1420), -500754589},
		{batch.DecimalOf(38, 2), int128(1420), -500754589},
		{batch.Prim(batch.Date), int32(micros("2017-11-16T00:00:00") / 86400e6), -653330422},
		{batch.Prim(batch.Time), micros("1970-01-01T22:31:08"), -662762989},
		{batch.Prim(batch.Timestamp), micros("2017-11-16T22:31:08"), -2047944441},
		{batch.Prim(batch.TimestampTZ), micros("2017-11-16T22:31:08"), -2047944441},
		{batch.Prim(batch.Timestamp), micros("2017-11-16T22:31:08.000001"), -1207196810},
		{batch.Prim(batch.String), "iceberg", 1210000089},
		{batch.Prim(batch.UUID), uuid, 1488055340},
		{batch.FixedOf(4), []byte{0, 1, 2, 3}, -188683207},
		{batch.Prim(batch.Binary), []byte{0, 1, 2, 3}, -188683207},
	} {
		for _, n := range []int32{1, 16, 100, 9973} {
			s := splitter(t, field1("c", c.typ), fmt.Sprintf("bucket(%d, c)", n))
			got := split(t, s, rows(c.typ, c.value))
			want := uint32(c.hash) & 0x7fffffff % uint32(n)
			if v := binary.LittleEndian.Uint32(got[0].Tuple[0]); v != want {
				t.Errorf("bucket(%d) of the %s %v is %d, want %d", n, c.typ, c.value, v, want)
			}
			if p := fmt.Sprintf("c_bucket=%d", want); got[0].Path != p {
				t.Errorf("path %s, want %s", got[0].Path, p)
			}
		}
	}
}

func TestPaths(t *testing.T) {
	long, str, tz, ts := batch.Prim(batch.Long), batch.Prim(batch.String), batch.Prim(batch.TimestampTZ), batch.Prim(batch.Timestamp)
	for _, c := range []struct {
		entry string
		typ   *batch.Type
		value any
		path  string
	}{
		{"day(c)", tz, micros("2026-11-21T10:59:59.999999"), "c_day=2026-11-21"},
		{"hour(c)", tz, micros("2026-11-21T10:59:59.999999"), "c_hour=2026-11-21-10"},
		{"month(c)", tz, micros("2026-11-21T10:59:59.999999"), "c_month=2026-11"},
		{"year(c)", tz, micros("2026-11-21T10:59:59.999999"), "c_year=2026"},
		{"day(c)", ts, int64(-1), "c_day=1969-12-31"},
		{"hour(c)", ts, int64(-1), "c_hour=1969-12-31-23"},
		{"hour(c)", ts, int64(-3600e6), "c_hour=1969-12-31-23"},
		{"hour(c)", ts, int64(-3600e6 - 1), "c_hour=1969-12-31-22"},
		{"month(c)", ts, int64(-1), "c_month=1969-12"},
		{"year(c)", ts, int64(-1), "c_year=1969"},
		{"month(c)", batch.Prim(batch.Date), int32(-32), "c_month=1969-11"},
		{"day(c)", batch.Prim(batch.Date), int32(-32), "c_day=1969-11-30"},
		{"year(c)", batch.Prim(batch.Date), int32(20778), "c_year=2026"},
		{"day(c)", ts, nil, "c_day=null"},
		{"c", str, nil, "c=null"},
		{"c", str, "null", "c=null"},
		{"c", str, "", "c="},
		{"identity(c)", str, "São Paulo/1 *~=%", "c=S%C3%A3o+Paulo%2F1+*%7E%3D%25"},
		{"c", long, int64(-7), "c=-7"},
		{"c", batch.Prim(batch.Boolean), true, "c=true"},
		{"c", batch.Prim(batch.Date), int32(0), "c=1970-01-01"},
		{"c", batch.Prim(batch.Time), int64(36900e6), "c=10%3A15"},
		{"c", batch.Prim(batch.Time), int64(36900e6 + 500e3), "c=10%3A15%3A00.500"},
		{"c", ts, micros("2017-12-01T10:12:55.038194"), "c=2017-12-01T10%3A12%3A55.038194"},
		{"c", tz, micros("2017-12-01T10:12:55.038000"), "c=2017-12-01T10%3A12%3A55.038Z"},
		{"c", tz, micros("2017-12-01T10:12:00"), "c=2017-12-01T10%3A12Z"},
		{"c", batch.DecimalOf(9, 2), int64(-1420), "c=-14.20"},
		{"c", batch.DecimalOf(9, 2), int64(5), "c=0.05"},
		{"c", batch.DecimalOf(9, 9), int64(5), "c=5E-9"},
		{"c", batch.DecimalOf(38, 9), int128(-15), "c=-1.5E-8"},
		{"c", batch.DecimalOf(38, 0), int128(-15), "c=-15"},
		{"c", batch.Prim(batch.UUID), unhex("f79c3e09-677c-4bbd-a479-3f349cb785e7"), "c=f79c3e09-677c-4bbd-a479-3f349cb785e7"},
		{"c", batch.Prim(batch.Binary), []byte{0xff, 0xfe, 0xfd}, "c=%2F%2F79"},
		{"truncate(10, c)", long, int64(-1), "c_trunc=-10"},
		{"truncate(10, c)", long, int64(-10), "c_trunc=-10"},
		{"truncate(10, c)", batch.Prim(batch.Int), int32(19), "c_trunc=10"},
		{"truncate(50, c)", batch.DecimalOf(9, 2), int64(1065), "c_trunc=10.50"},
		{"truncate(50, c)", batch.DecimalOf(38, 2), int128(-1), "c_trunc=-0.50"},
		{"truncate(3, c)", str, "iceberg", "c_trunc=ice"},
		{"truncate(3, c)", str, "äöüß", "c_trunc=%C3%A4%C3%B6%C3%BC"},
		{"truncate(2, c)", batch.Prim(batch.Binary), []byte{1, 2, 3}, "c_trunc=AQI%3D"},
	} {
		s := splitter(t, field1("c", c.typ), c.entry)
		if got := split(t, s, rows(c.typ, c.value)); len(got) != 1 || got[0].Path != c.path {
			t.Errorf("%s of the %s %v: %+v, want path %s", c.entry, c.typ, c.value, got, c.path)
		}
	}
}

func TestPathsFitFileSystems(t *testing.T) {
	str := batch.Prim(batch.String)
	a, b := strings.Repeat("ä", 300), strings.Repeat("ä", 301)
	got := split(t, splitter(t, field1("c", str), "c"), rows(str, a, b))
	if len(got) != 2 || got[0].Path == got[1].Path || len(got[0].Path) > 255 || string(got[0].Tuple[0]) != a {
		t.Errorf("%+v", got)
	}
}

func TestNullIsNotTheTextNull(t *testing.T) {
	str := batch.Prim(batch.String)
	got := split(t, splitter(t, field1("c", str), "c"), rows(str, nil, "null", "", nil, "null"))
	if len(got) != 3 || got[0].Tuple[0] != nil || string(got[1].Tuple[0]) != "null" || got[2].Tuple[0] == nil {
		t.Fatalf("%+v", got)
	}
	if got[0].Key == got[1].Key || got[0].Key == got[2].Key || got[1].Key == got[2].Key {
		t.Errorf("different partitions share a key: %q %q %q", got[0].Key, got[1].Key, got[2].Key)
	}
	if !slices.Equal(got[0].Rows, []int32{0, 3}) || !slices.Equal(got[1].Rows, []int32{1, 4}) || !slices.Equal(got[2].Rows, []int32{2}) {
		t.Errorf("%+v", got)
	}
}

func TestOnlyRowsThatAreKept(t *testing.T) {
	long := batch.Prim(batch.Long)
	b := rows(long, int64(1), int64(1), int64(2), int64(1))
	b.Filter(0, "x")
	b.Reject(2, "cleanse", "y", "z")
	got := split(t, splitter(t, field1("c", long), "c"), b)
	if len(got) != 1 || !slices.Equal(got[0].Rows, []int32{1, 3}) {
		t.Errorf("%+v", got)
	}
	for i := range b.Fate {
		b.Fate[i] = batch.Dead
	}
	if got := split(t, splitter(t, field1("c", long), "c"), b); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestNotPartitioned(t *testing.T) {
	long := batch.Prim(batch.Long)
	b := rows(long, int64(1), int64(2))
	got := split(t, splitter(t, field1("c", long)), b)
	if len(got) != 1 || got[0].Path != "" || len(got[0].Tuple) != 0 || !slices.Equal(got[0].Rows, []int32{0, 1}) {
		t.Errorf("%+v", got)
	}
}

func TestColumnsInStructs(t *testing.T) {
	inner := batch.StructOf(batch.Field{Name: "country", Type: batch.Prim(batch.String)})
	row := batch.StructOf(batch.Field{Name: "address", Type: inner})
	fields, err := Parse([]string{"address.country"}, row)
	if err != nil || fields[0].Name != "address.country" {
		t.Fatal(fields, err)
	}
	r := &batch.Records{}
	b := batch.New(r, row)
	addr := b.Root.Children[0]
	for i, v := range []string{"DE", "", "DE"} {
		if addr.Children[0].AppendView(r.AppendString(v)); v == "" {
			addr.AppendStruct()
			addr.SetNull(1) // the child below keeps its value, which must not be read
		} else {
			addr.AppendStruct()
		}
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	got := split(t, splitter(t, row, "address.country"), b)
	if len(got) != 2 || got[0].Path != "address.country=DE" || got[1].Tuple[0] != nil || !slices.Equal(got[0].Rows, []int32{0, 2}) {
		t.Errorf("%+v", got)
	}
}

func TestBatchesOfOlderSchemas(t *testing.T) {
	wide := batch.StructOf(batch.Field{Name: "c", Type: batch.Prim(batch.Long)}, batch.Field{Name: "new", Type: batch.Prim(batch.String)})
	s := splitter(t, wide, "c", "new")
	got := split(t, s, rows(batch.Prim(batch.Int), int32(5)))
	if len(got) != 1 || len(got[0].Tuple[0]) != 8 || got[0].Path != "c=5/new=null" {
		t.Errorf("%+v", got)
	}
	_, err := s.Split(rows(batch.Prim(batch.String), "5"))
	if err == nil || err.Error() != "partition field c: column c is a string in the batch but a long in the table" {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	row := batch.StructOf(
		batch.Field{Name: "ts", Type: batch.Prim(batch.TimestampTZ)}, batch.Field{Name: "sku", Type: batch.Prim(batch.String)},
		batch.Field{Name: "d", Type: batch.Prim(batch.Double)}, batch.Field{Name: "sku_trunc", Type: batch.Prim(batch.String)},
		batch.Field{Name: "day", Type: batch.Prim(batch.Date)}, batch.Field{Name: "tags", Type: batch.ListOf(batch.Prim(batch.String), true)})
	fields, err := Parse([]string{"day(ts)", "sku", "bucket(16, sku)", "hour(_t)"}[:3], row)
	want := []table.PartitionField{{Source: "ts", Transform: "day", Name: "ts_day"}, {Source: "sku", Transform: "identity", Name: "sku"},
		{Source: "sku", Transform: "bucket[16]", Name: "sku_bucket"}}
	if err != nil || !slices.Equal(fields, want) {
		t.Errorf("%+v %v", fields, err)
	}
	for _, c := range []struct{ entries, err string }{
		{"hour(day)", "partition_by[0] hour(day): day is a date, which hour cannot divide; it needs a date or timestamp: the steps cast and parse_timestamp make one"},
		{"d", "partition_by[0] d: d is a double, which identity cannot divide; cast it to a decimal or an integer first"},
		{"day(when)", "partition_by[0] day(when): there is no column when; there are ts, sku, d, sku_trunc, day, tags"},
		{"ts.x", "partition_by[0] ts.x: ts is a timestamptz and has no field x that could be partitioned by"},
		{"tags", "partition_by[0] tags: tags is a list<string required>, which identity cannot divide"},
		{"truncate(4, sku)", "partition_by[0] truncate(4, sku): its partition field would be called sku_trunc, as a column is; rename the column"},
		{"day(ts);hour(ts)", "partition_by[1] hour(ts): day(ts) already divides by the time in ts; keep only the finer one"},
		{"bucket(4, sku);bucket(8, sku)", "partition_by[1] bucket(8, sku): it gives the partition field sku_bucket, as bucket(4, sku) does; leave one of them out"},
	} {
		if _, err := Parse(strings.Split(c.entries, ";"), row); err == nil || err.Error() != c.err {
			t.Errorf("%s: %v\nwant %s", c.entries, err, c.err)
		}
	}
	if _, err := New([]table.PartitionField{{Source: "ts", Transform: "zorder", Name: "z"}}, row); err == nil {
		t.Error("a transform that is not known was taken")
	}
	s, err := New([]table.PartitionField{{Source: "ts", Transform: "void", Name: "v"}}, row)
	if err != nil {
		t.Fatal(err)
	}
	if got := split(t, s, rows(batch.Prim(batch.Long), int64(1))); len(got) != 1 || got[0].Path != "v=null" {
		t.Errorf("%+v", got)
	}
}

// TestForgetting sees more values than a Splitter remembers.
func TestForgetting(t *testing.T) {
	long := batch.Prim(batch.Long)
	s := splitter(t, field1("c", long), "c", "bucket(4, c)")
	for n := range 5 {
		var values []any
		for i := range 20000 {
			values = append(values, int64(n*20000+i))
		}
		got := split(t, s, rows(long, values...))
		for i, p := range got {
			if len(p.Rows) != 1 || binary.LittleEndian.Uint64(p.Tuple[0]) != uint64(n*20000+i) {
				t.Fatalf("batch %d part %d: %+v", n, i, p)
			}
		}
		if len(s.fields[0].values) > 2*maxKnown {
			t.Fatal("values are never forgotten")
		}
	}
}
