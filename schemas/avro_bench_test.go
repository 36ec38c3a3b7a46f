package schemas

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
)

const clicksSchema = `{"type":"record","name":"Click","namespace":"bench","fields":[
 {"name":"uuid","type":"string"},{"name":"campaignId","type":"int"},{"name":"pubId","type":"int"},
 {"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"ip","type":"string"},
 {"name":"city","type":"string"},{"name":"country","type":"string"},{"name":"browser","type":"string"},
 {"name":"platform","type":"string"},{"name":"platformVersion","type":"string"}]}`

// clicks makes n records in the Confluent wire format with schema id 1.
func clicks(n int) *batch.Records {
	rnd := rand.New(rand.NewSource(1))
	pick := func(s ...string) string { return s[rnd.Intn(len(s))] }
	r := &batch.Records{Topics: []string{"clicks"}}
	for i := range n {
		b := []byte{0, 0, 0, 0, 1}
		text := func(s string) { b = append(binary.AppendVarint(b, int64(len(s))), s...) }
		text(fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", rnd.Uint32(), rnd.Intn(65536), rnd.Intn(65536), rnd.Intn(65536), rnd.Int63n(1<<48)))
		b = binary.AppendVarint(b, int64(1+rnd.Intn(10)))
		b = binary.AppendVarint(b, int64(1+rnd.Intn(5)))
		b = binary.AppendVarint(b, 1767225600_000_000+rnd.Int63n(3*86400_000_000))
		text(fmt.Sprintf("%d.%d.%d.%d", rnd.Intn(256), rnd.Intn(256), rnd.Intn(256), rnd.Intn(256)))
		text(pick("Brussels", "Paris", "London", "New York", "Berlin", "Madrid", "Rome", "Oslo"))
		text(pick("BE", "FR", "GB", "US", "DE", "ES", "IT", "NO"))
		text(pick("Chrome", "Firefox", "Safari", "Edge"))
		text(pick("iOS", "Android", "Windows", "Linux", "macOS"))
		text(pick("1.2", "10.0", "11", "17.4.1", "14"))
		addRecord(r, int64(i), nil, b)
	}
	return r
}

// addRecord appends a record; a nil key or value is a null one.
func addRecord(r *batch.Records, offset int64, key, value []byte) {
	view := func(b []byte) batch.View {
		if b == nil {
			return batch.Null
		}
		return r.Append(b)
	}
	r.Topic, r.Partition, r.Offset = append(r.Topic, 0), append(r.Partition, 0), append(r.Offset, offset)
	r.Timestamp, r.Headers = append(r.Timestamp, -1), append(r.Headers, batch.View{})
	r.Key, r.Value = append(r.Key, view(key)), append(r.Value, view(value))
}

// BenchmarkAvroPlan is the compiled plan alone; see the metric ns/record.
func BenchmarkAvroPlan(b *testing.B) {
	s, err := ParseAvro(clicksSchema, nil)
	if err != nil {
		b.Fatal(err)
	}
	plan, err := s.Compile(s.Row())
	if err != nil {
		b.Fatal(err)
	}
	r := clicks(4096)
	root := batch.NewColumn(s.Row(), r.Len())
	b.SetBytes(int64(len(r.Mem)))
	b.ReportAllocs()
	for b.Loop() {
		root.Reset()
		for _, v := range r.Value {
			if err := plan.Append(r, batch.View{Off: v.Off + 5, Len: v.Len - 5}, root); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*r.Len()), "ns/record")
}
