//go:build stack

package memory

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

var start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// TestTenThousandTimePartitions: events in random order, so that as many hours are open at once and end in one commit.
func TestTenThousandTimePartitions(t *testing.T) {
	const n, hours = 300_000, 10_000
	w := newWork(t, 4, 256*mib, nil)
	w.commit = fmt.Sprintf("{interval: 10m, records: %d}", n)
	w.files = "{max_open: 10000}"
	random := rand.New(rand.NewPCG(1, 2))
	w.produce(n, func(i int) *kgo.Record {
		at := start.Add(time.Duration(random.IntN(hours)) * time.Hour)
		return &kgo.Record{Partition: int32(i % 4), Value: fmt.Appendf(nil, `{"id": %d, "at": %q, "name": "name of event %d, which is not short"}`, i, at.Format(time.RFC3339), i)}
	})
	w.start().loaded(n)
}

// TestLargeRecords: records of 1 MiB, and some of 10.
func TestLargeRecords(t *testing.T) {
	const n = 600
	w := newWork(t, 4, 256*mib, map[string]string{"max.message.bytes": "16777216"})
	w.batch = 16 << 20
	text := make([]byte, 10<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range text {
		text[i] = 'a' + byte(random.IntN(26))
	}
	w.produce(n, func(i int) *kgo.Record {
		size := 1 << 20
		if i%100 == 50 {
			size = 10 << 20
		}
		at := start.Add(time.Duration(i%24) * time.Hour)
		from := random.IntN(len(text) - size + 1)
		return &kgo.Record{Partition: int32(i % 4), Value: fmt.Appendf(nil, `{"id": %d, "at": %q, "name": %q}`, i, at.Format(time.RFC3339), text[from:from+size])}
	})
	w.start().loaded(n)
}

// TestManyTopicPartitions: a topic of 500 partitions with a backlog in each.
func TestManyTopicPartitions(t *testing.T) {
	const n, partitions = 1_000_000, 500
	w := newWork(t, partitions, 256*mib, nil)
	w.partitionBy = "[day(at)]"
	pad := strings.Repeat("x", 400)
	w.produce(n, func(i int) *kgo.Record {
		return &kgo.Record{Partition: int32(i % partitions), Value: fmt.Appendf(nil, `{"id": %d, "at": "2025-01-01T00:00:00Z", "name": "%s%d"}`, i, pad, i)}
	})
	w.start().loaded(n)
}

// TestSlowS3: an object store that takes 8 MiB a second, with records that come as fast as Kafka gives them and a round
// that is several times the ceiling. Files are finished early, then nothing is fetched until there is room again; the
// status says so.
func TestSlowS3(t *testing.T) {
	const n, rate = 200_000, 8 << 20
	proxy := stacktest.NewHTTPProxy(t, stacktest.S3(t))
	var line sync.Mutex
	proxy.Answer(func(_ http.ResponseWriter, r *http.Request) bool {
		line.Lock()
		defer line.Unlock()
		busy := time.NewTimer(time.Duration(max(0, r.ContentLength)) * time.Second / rate)
		defer busy.Stop()
		select {
		case <-busy.C:
		case <-r.Context().Done():
		}
		return false // the server answers
	})
	w := newWork(t, 4, 256*mib, nil)
	w.inS3(proxy.URL, stacktest.NewBucket(t))
	w.commit = fmt.Sprintf("{interval: 10m, records: %d}", n)
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 1000)
	w.produce(n, func(i int) *kgo.Record {
		for k := range text {
			text[k] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[random.IntN(64)]
		}
		at := start.Add(time.Duration(random.IntN(48)) * time.Hour)
		return &kgo.Record{Partition: int32(i % 4), Value: fmt.Appendf(nil, `{"id": %d, "at": %q, "name": %q}`, i, at.Format(time.RFC3339), text)}
	})
	d := w.start()
	d.until("it waits at the ceiling", func(p obs.PipelineStatus) bool {
		return p.Phase == obs.Waiting && strings.Contains(p.Reason, "the memory ceiling is reached")
	})
	d.loaded(n)
}
