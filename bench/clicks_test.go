//go:build stack

package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

const clickSchema = `{"type":"record","name":"Click","namespace":"bench","fields":[{"name":"uuid","type":"string"},
{"name":"campaignId","type":"int"},{"name":"pubId","type":"int"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},
{"name":"ip","type":"string"},{"name":"city","type":"string"},{"name":"country","type":"string"},{"name":"browser","type":"string"},
{"name":"platform","type":"string"},{"name":"platformVersion","type":"string"}]}`

// partitions of the topic.
const partitions = 4

// days is what the clicks' own timestamps span, in the order of arrival with ten seconds of disorder.
const days = 3

// size is how many records are loaded.
func size(b *testing.B) int {
	text := os.Getenv("BENCH_N")
	if text == "" {
		return 3_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		b.Fatalf("BENCH_N is %q; it must be a number of records", text)
	}
	return n
}

// generator makes the same clicks in the same order every time: 94 bytes each in Avro with the registry's header, half
// of which are a random UUID and a random address, which nothing compresses well.
type generator struct {
	rnd   *rand.Rand
	id    uint32 // of the schema
	i, n  int
	kept  int // of those made so far, how many the filter of the cleansing steps lets through
	clock int64
}

func newGenerator(n int, id uint32) *generator {
	return &generator{rnd: rand.New(rand.NewPCG(1, 2)), n: n, id: id, clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()}
}

func (g *generator) append(b []byte) []byte {
	r := g.rnd
	const span = int64(days * 24 * time.Hour / time.Microsecond)
	ts := g.clock + min(span-1, span/int64(g.n)*int64(g.i)+r.Int64N(10_000_000))
	g.i++
	b = binary.BigEndian.AppendUint32(append(b, 0), g.id)
	b = text(b, fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<16), r.IntN(1<<16), r.Int64N(1<<48)))
	b = binary.AppendVarint(b, int64(1+r.IntN(10)))
	pub, city := 1+r.IntN(5), r.IntN(8)
	b = binary.AppendVarint(b, int64(pub))
	b = binary.AppendVarint(b, ts)
	b = text(b, fmt.Sprintf("%d.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256)))
	b = text(b, [...]string{"Brussels", "Paris", "London", "New York", "Berlin", "Madrid", "Rome", "Oslo"}[city])
	b = text(b, [...]string{"BE", "FR", "GB", "US", "DE", "ES", "IT", "NO"}[city])
	b = text(b, [...]string{"Chrome", "Firefox", "Safari", "Edge"}[r.IntN(4)])
	b = text(b, [...]string{"iOS", "Android", "Windows", "Linux", "macOS"}[r.IntN(5)])
	b = text(b, [...]string{"1.2", "10.0", "11", "17.4.1", "14"}[r.IntN(5)])
	if pub != 3 || city == 4 || city == 1 {
		g.kept++
	}
	return b
}

func text(b []byte, s string) []byte { return append(binary.AppendVarint(b, int64(len(s))), s...) }

// cleanseSteps are six typical ones, as a part of a configuration.
const cleanseSteps = `
- trim: [browser, platform]
- map: {columns: [platform], values: {iOS: ios, macOS: macos}}
- lower: [browser, city]
- validate: {columns: [campaignId], min: 1, max: 10}
- mask: {columns: [ip], style: ip}
- filter: "pubId != 3 || country in ['DE', 'FR']"
`

// topic is clicks in Kafka.
type topic struct {
	name    string
	n, kept int
}

// produce fills a topic of its own.
func produce(b *testing.B, n int) topic {
	b.Helper()
	t := topic{name: stacktest.Topic(b, partitions), n: n}
	g := newGenerator(n, register(b, t.name+"-value"))
	c, err := kgo.NewClient(kgo.SeedBrokers(stacktest.Kafka(b)), kgo.DefaultProduceTopic(t.name), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var failed sync.Map
	for i := range n {
		c.Produce(b.Context(), &kgo.Record{Partition: int32(i % partitions), Value: g.append(make([]byte, 0, 112))}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store("first", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	if err, bad := failed.Load("first"); bad {
		b.Fatalf("producing to %s: %v", t.name, err)
	}
	t.kept = g.kept
	return t
}

// register puts the clicks' schema into the registry and returns its id.
func register(b *testing.B, subject string) uint32 {
	b.Helper()
	body, err := json.Marshal(map[string]string{"schema": clickSchema})
	if err != nil {
		b.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, stacktest.Registry(b)+"/subjects/"+subject+"/versions", bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var got struct{ ID uint32 }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != http.StatusOK || got.ID == 0 {
		b.Fatalf("registering the schema of %s: %s: %v", subject, resp.Status, err)
	}
	return got.ID
}
