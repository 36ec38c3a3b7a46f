//go:build stack

package memory

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/obs"
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

// TestIdle: what a daemon takes that has nothing to do.
func TestIdle(t *testing.T) {
	w := newWork(t, 4, 256*mib, nil)
	w.produce(4, func(i int) *kgo.Record {
		return &kgo.Record{Partition: int32(i % 4), Value: fmt.Appendf(nil, `{"id": %d, "at": "2025-01-01T00:00:00Z", "name": "x"}`, i)}
	})
	d := w.start()
	d.until("running", func(p obs.PipelineStatus) bool { return p.Rows == 4 })
	d.loaded(4)
}
