//go:build stack

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestDeadLettersAreReplayed: what a too strict rule refused is in the table of dead letters and in the topic. With the rule
// mended, a replay beside the running loader makes a row of each, once, as another reader sees it.
func TestDeadLettersAreReplayed(t *testing.T) {
	t.Parallel()
	l, topic, letters := restLake(t), stacktest.Topic(t, 2), stacktest.Topic(t, 1)
	config := func(most int) string {
		return configure(t, l, fmt.Sprintf(`
- name: p
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  cleanse: [{name: publishers, validate: {columns: [pubId], max: %d}}]
  table: {name: p, partition_by: ["hour(ts)", "truncate(10, campaignId)"]}
  commit: {interval: 1s}
  dead_letters: {topic: %s, max_share: 90%%, max_count: 100000}
`, topic, most, letters))
	}
	strict, mended := config(3), config(5)
	c := stacktest.NewClicks(t, topic, 2)
	first, then, kafka := stacktest.NewTruth(), stacktest.NewTruth(), stacktest.Producer(t)
	ms := c.Some(500)
	sent(t, kafka, then, ms...)
	for _, m := range ms {
		if m.Row["pubId"].(int) > 3 {
			m.Row, m.Dead = nil, "cleanse"
		}
		first.Note(m)
	}
	d := stacktest.StartDaemon(t, strict)
	loaded(t, "p", first.Reached(), d)
	stopped(t, d)
	first.Holds(t, stacktest.PyIceberg(t, l.named("p"), stacktest.Read{Rows: true}))
	first.Buried(t, "p", stacktest.PyIceberg(t, l.named("p_dead_letters"), stacktest.Read{Rows: true}))
	inTopic(t, letters, first)

	d = stacktest.StartDaemon(t, mended)
	sent(t, kafka, then, c.Some(300)...)
	stdout, stderr, code := stacktest.Lakeloader(t, "dlq", "replay", "-c", mended, "-o", "json")
	var rep struct {
		Done          bool
		Letters, Rows int
	}
	if err := json.Unmarshal([]byte(stdout), &rep); err != nil || code != 0 || !rep.Done || rep.Letters != len(first.Dead) || rep.Rows != len(first.Dead) {
		t.Fatalf("%d, %v: %d letters were there\n%s%s", code, err, len(first.Dead), stdout, stderr)
	}
	loaded(t, "p", then.Reached(), d)
	stopped(t, d)
	verified(t, mended)
	then.Holds(t, stacktest.PyIceberg(t, l.named("p"), stacktest.Read{Rows: true}))
	marked := stacktest.PyIceberg(t, l.named("p_dead_letters"), stacktest.Read{Rows: true})
	first.Buried(t, "p", marked)
	for _, x := range marked.Data {
		if x["replayed_at"] == nil || x["replayed_round"] == nil {
			t.Fatalf("not marked: %v", x)
		}
	}
	if stdout, stderr, code = stacktest.Lakeloader(t, "dlq", "purge", "-c", mended, "--yes"); code != 0 {
		t.Fatalf("%d\n%s%s", code, stdout, stderr)
	}
	if r := stacktest.PyIceberg(t, l.named("p_dead_letters"), stacktest.Read{Rows: true}); len(r.Data) > 0 {
		t.Errorf("%d dead letters are left after a purge", len(r.Data))
	}
	verified(t, mended)
	then.Holds(t, stacktest.PyIceberg(t, l.named("p"), stacktest.Read{Rows: true}))
}

// inTopic reads the topic of dead letters: it has every one of the truth, known by its id, as it was.
func inTopic(t *testing.T, topic string, w *stacktest.Truth) {
	t.Helper()
	left := map[string]stacktest.Row{}
	for at, x := range w.Dead {
		left[fmt.Sprintf("%s-%d-%d", at.Topic, at.Partition, at.Offset)] = x
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(stacktest.Kafka(t)), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for len(left) > 0 {
		f := c.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Records() {
			h := map[string]string{}
			for _, x := range r.Headers {
				h[x.Key] = string(x.Value)
			}
			x := left[h["__lakeloader.id"]]
			if x == nil { // sent again
				continue
			}
			delete(left, h["__lakeloader.id"])
			if stacktest.Base64(r.Value) != x["value"] || stacktest.Base64(r.Key) != x["key"] || stacktest.UTC(r.Timestamp) != x["_kafka_timestamp"] ||
				h["__connect.errors.topic"] != x["_kafka_topic"] || h["__connect.errors.stage"] != x["stage"] || h["__connect.errors.exception.message"] == "" {
				t.Errorf("the topic has %v\n%v", r, maps.Clone(h))
			}
		}
	}
}
