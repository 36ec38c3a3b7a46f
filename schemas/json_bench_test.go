package schemas

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// jsonClicks makes n clicks as JSON; zone is what follows the time.
func jsonClicks(n int, zone string) *batch.Records {
	rnd := rand.New(rand.NewSource(1))
	pick := func(s ...string) string { return s[rnd.Intn(len(s))] }
	r := &batch.Records{Topics: []string{"clicks"}}
	for i := range n {
		at := time.UnixMicro(1767225600_000_000+rnd.Int63n(3*86400_000_000)).UTC().Format("2006-01-02T15:04:05.000000") + zone
		b := fmt.Appendf(nil, `{"uuid":"%08x-%04x-%04x-%04x-%012x","campaignId":%d,"pubId":%d,"ts":%q,"ip":"%d.%d.%d.%d","city":%q,"country":%q,"browser":%q,"platform":%q,"platformVersion":%q}`,
			rnd.Uint32(), rnd.Intn(65536), rnd.Intn(65536), rnd.Intn(65536), rnd.Int63n(1<<48), 1+rnd.Intn(10), 1+rnd.Intn(5), at,
			rnd.Intn(256), rnd.Intn(256), rnd.Intn(256), rnd.Intn(256), pick("Brussels", "Paris", "London", "New York", "Berlin", "Madrid", "Rome", "Oslo"),
			pick("BE", "FR", "GB", "US", "DE", "ES", "IT", "NO"), pick("Chrome", "Firefox", "Safari", "Edge"),
			pick("iOS", "Android", "Windows", "Linux", "macOS"), pick("1.2", "10.0", "11", "17.4.1", "14"))
		addRecord(r, int64(i), nil, b)
	}
	return r
}

func clickColumns(t testing.TB) Schema {
	return columnsOf(t, "", "uuid string", "campaignId int", "pubId int", "ts timestamptz", "ip string", "city string", "country string",
		"browser string", "platform string", "platformVersion string")
}

// BenchmarkJSONPlan decodes 4096 clicks an operation; see the metric ns/record.
func BenchmarkJSONPlan(b *testing.B) {
	s := clickColumns(b)
	plan := mustCompile(b, s, s.Row())
	r := jsonClicks(4096, "Z")
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

// TestJSONAllocations decodes into memory that has room: no record may allocate, whatever its types and spelling.
func TestJSONAllocations(t *testing.T) {
	s := columnsOf(t, "", "i int", "l long", "f float", "d double", "m decimal(9,2)", "w decimal(30,5)", "a date", "t time", "n timestamp", "z timestamptz", "b boolean",
		"s string", "u uuid", "y binary", "x fixed[2]", "q list<struct<p: decimal(5,2), k: map<string, list<int>>>>", "r struct<a: int required>")
	text := `{"i":1,"l":-5e2,"f":1.25,"d":1234567.12345678901234567890123,"m":"12.5","w":123456789012345678901234.5,"a":"2018-12-04","t":"10:15:30",` +
		`"n":"2018-12-04T10:15:30.123","z":1543918530123,"b":true,"s":"a\"b\u00e9","u":"0f8fad5b-d9cb-469f-a165-70867728950e","unknown":{"a":["\u0041"]},"y":"AAH/","x":"AAE=",` +
		`"q":[{"p":1.5,"k":{"a":[1],"b":[2],"c":[],"d":[],"e":[],"f":[],"g":[],"h":[],"i":[],"j\u0041":[]}},{}],"r":{"a":1}}`
	r := &batch.Records{Mem: make([]byte, 0, 1<<20)}
	v := r.Append([]byte(text))
	root := batch.NewColumn(s.Row(), 1000)
	for _, f := range root.Children {
		grow(f, 1000)
	}
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
	decode()
	// Columns with nulls allocate their validity again after a reset: those of p and k, of every batch.
	if n := testing.AllocsPerRun(100, decode); n > 2 {
		t.Errorf("%v allocations for ten records", n)
	}
	if !strings.Contains(fmt.Sprint(slot(r, root.Children[11], 9)), "a\"bé") {
		t.Error(slot(r, root.Children[11], 9))
	}
}

// grow gives nested columns room.
func grow(c *batch.Column, n int) {
	for i, f := range c.Type.Fields {
		c.Children[i] = batch.NewColumn(f.Type, n)
		grow(c.Children[i], n)
	}
}
