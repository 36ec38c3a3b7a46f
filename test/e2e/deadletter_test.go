//go:build stack

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestDeadLettersKeepTheOriginal: whatever cannot become a row is in the dead-letter table with its original bytes, and
// keys and headers are there on either side; in both ways of consuming.
func TestDeadLettersKeepTheOriginal(t *testing.T) {
	t.Parallel()
	l, topic := restLake(t), stacktest.Topic(t, 2)
	pipeline := func(mode string) string {
		return fmt.Sprintf(`
- name: %[2]s
  source: {topics: [%[1]s], consume: %[2]s}
  decode: {value: {format: avro}}
  include: {key: true, headers: true}
  table: {name: %[2]s, partition_by: ["bucket(2, uuid)"], sort_by: [ts desc]}
  commit: {interval: 1s}
%[3]s`, topic, mode, stacktest.ClickSteps)
	}
	config := configure(t, l, pipeline("batch")+pipeline("poll"))
	c := stacktest.NewClicks(t, topic, 2)
	c.Spoilt = true
	w, kafka := stacktest.NewTruth(), stacktest.Producer(t)
	sent(t, kafka, w, oddities(c)...)
	d := stacktest.StartDaemon(t, config)
	loaded(t, "batch", w.Reached(), d)
	loaded(t, "poll", w.Reached(), d)
	stopped(t, d)
	if len(w.Dead) < 30 {
		t.Fatalf("only %d dead letters were produced", len(w.Dead))
	}
	for _, mode := range []string{"batch", "poll"} {
		w.Holds(t, stacktest.PyIceberg(t, l.named(mode), stacktest.Read{Rows: true}))
		w.Buried(t, mode, stacktest.PyIceberg(t, l.named(mode+"_dead_letters"), stacktest.Read{Rows: true}))
	}
	w.Buried(t, "batch", stacktest.DuckDB(t, l.named("batch_dead_letters"), stacktest.Read{Rows: true}))
	verified(t, config)
}

// oddities are clicks with keys and headers of all kinds, and values of all kinds that are no clicks.
func oddities(c *stacktest.Clicks) []stacktest.Message {
	ms := c.Some(400)
	values := [][]byte{nil, {}, {0}, []byte("no wire format"), {1, 0, 0, 0, 1, 2}, {0, 0xff, 0xff, 0xff, 0xff, 1},
		binary.BigEndian.AppendUint32([]byte{0}, c.Schema), bytes.Repeat([]byte("large"), 20_000)}
	for i, v := range values {
		for range 3 {
			ms = append(ms, stacktest.Message{Record: &kgo.Record{Topic: c.Topic, Partition: int32(i % 2), Value: v, Timestamp: c.Began}, Dead: "decode"})
		}
	}
	unknown := binary.BigEndian.AppendUint32([]byte{0}, 2_000_000_001)
	ms = append(ms, stacktest.Message{Record: &kgo.Record{Topic: c.Topic, Value: append(unknown, 2, 4, 6), Timestamp: c.Began}, Dead: "resolve"})
	ms = append(ms, c.Some(50)...)
	for i := range ms {
		m := &ms[i]
		m.Key = [][]byte{nil, {}, []byte("key"), {0xff, 0, 0xfe}}[i%4]
		m.Headers = [][]kgo.RecordHeader{nil, {{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}}, {{Key: "", Value: []byte{}}, {Key: "bytes", Value: []byte{0xc3, 0x28}}}}[i%3]
		if m.Row != nil {
			m.Row["_kafka_key"], m.Row["_kafka_headers"] = stacktest.Base64(m.Key), stacktest.Headers(m.Headers)
		}
	}
	return ms
}
