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
%[3]s`, topic, mode, clickSteps)
	}
	config := configure(t, l, pipeline("batch")+pipeline("poll"))
	c := newClicks(t, topic, 2)
	c.spoilt = true
	w, kafka := newTruth(), producer(t)
	sent(t, kafka, w, oddities(c)...)
	d := stacktest.StartDaemon(t, config)
	loaded(t, "batch", w.reached(), d)
	loaded(t, "poll", w.reached(), d)
	stopped(t, d)
	if len(w.dead) < 30 {
		t.Fatalf("only %d dead letters were produced", len(w.dead))
	}
	for _, mode := range []string{"batch", "poll"} {
		w.holds(t, stacktest.PyIceberg(t, l.named(mode), stacktest.Read{Rows: true}))
		w.buried(t, mode, stacktest.PyIceberg(t, l.named(mode+"_dead_letters"), stacktest.Read{Rows: true}))
	}
	w.buried(t, "batch", stacktest.DuckDB(t, l.named("batch_dead_letters"), stacktest.Read{Rows: true}))
	verified(t, config)
}

// oddities are clicks with keys and headers of all kinds, and values of all kinds that are no clicks.
func oddities(c *clicks) []message {
	ms := c.some(400)
	values := [][]byte{nil, {}, {0}, []byte("no wire format"), {1, 0, 0, 0, 1, 2}, {0, 0xff, 0xff, 0xff, 0xff, 1},
		binary.BigEndian.AppendUint32([]byte{0}, c.schema), bytes.Repeat([]byte("large"), 20_000)}
	for i, v := range values {
		for range 3 {
			ms = append(ms, message{Record: &kgo.Record{Topic: c.topic, Partition: int32(i % 2), Value: v, Timestamp: c.began}, dead: "decode"})
		}
	}
	unknown := binary.BigEndian.AppendUint32([]byte{0}, 2_000_000_001)
	ms = append(ms, message{Record: &kgo.Record{Topic: c.topic, Value: append(unknown, 2, 4, 6), Timestamp: c.began}, dead: "resolve"})
	ms = append(ms, c.some(50)...)
	for i := range ms {
		m := &ms[i]
		m.Key = [][]byte{nil, {}, []byte("key"), {0xff, 0, 0xfe}}[i%4]
		m.Headers = [][]kgo.RecordHeader{nil, {{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}}, {{Key: "", Value: []byte{}}, {Key: "bytes", Value: []byte{0xc3, 0x28}}}}[i%3]
		if m.row != nil {
			m.row["_kafka_key"], m.row["_kafka_headers"] = base64Of(m.Key), headers(m.Headers)
		}
	}
	return ms
}
