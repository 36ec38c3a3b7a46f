//go:build stack

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestTruncatedLog: a broker comes back without the end of its logs, as after an unclean leader election, and writes other
// records there, beyond the offsets that were loaded. Loaders that ran meanwhile, and those that start later, stop at that
// with an explanation, instead of going on in the middle of records that they have never seen.
func TestTruncatedLog(t *testing.T) {
	t.Parallel()
	broker, l := stacktest.StartKafka(t), folderLake(t)
	topics := []string{"batched", "polled"}
	for _, topic := range topics {
		stacktest.CreateTopic(t, broker.Addr(), topic, 1, nil)
	}
	config := configure(t, l, fmt.Sprintf(pipelineOfIDs, "batched", "batch")+fmt.Sprintf(pipelineOfIDs, "polled", "poll"))
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	onto := strings.Replace(string(text), fmt.Sprintf("brokers: [%q]", stacktest.Kafka(t)), fmt.Sprintf("brokers: [%q]", broker.Addr()), 1)
	if err := os.WriteFile(config, []byte(onto), 0o600); err != nil || onto == string(text) {
		t.Fatalf("%v\n%s", err, onto)
	}

	ids(t, broker.Addr(), topics, 0, 4)
	ends := func(n int64) map[stacktest.Place]int64 { return map[stacktest.Place]int64{{Topic: topics[0]}: n} }
	d := stacktest.StartDaemon(t, config)
	loaded(t, "batched", ends(4), d)
	broker.Stop()
	kept := t.TempDir()
	for _, topic := range topics {
		if err := os.CopyFS(filepath.Join(kept, topic), os.DirFS(filepath.Join(broker.Dir(), "data", topic+"-0"))); err != nil {
			t.Fatal(err)
		}
	}
	broker.Start()
	ids(t, broker.Addr(), topics, 4, 10)
	loaded(t, "batched", ends(10), d)
	stopped(t, d)
	broker.Stop() // a new leader of a whole log stops nothing
	broker.Start()
	ids(t, broker.Addr(), topics, 10, 12)
	d = stacktest.StartDaemon(t, config)
	loaded(t, "batched", ends(12), d)
	loaded(t, "polled", map[stacktest.Place]int64{{Topic: topics[1]}: 12}, d)
	stopped(t, d)

	broker.Stop()
	for _, topic := range topics {
		data := filepath.Join(broker.Dir(), "data", topic+"-0")
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(data, os.DirFS(filepath.Join(kept, topic))); err != nil {
			t.Fatal(err)
		}
	}
	broker.Start()
	ids(t, broker.Addr(), topics, 100, 112) // from offset 4 on, so the end is at 16
	d = stacktest.StartDaemon(t, config)
	for _, topic := range topics {
		d.WaitLog("a topic is stopped", topic, "truncated", "on_reset")
	}
	stopped(t, d)
	for _, topic := range topics {
		r := stacktest.PyIceberg(t, l.named(topic), stacktest.Read{Sums: []string{"id"}})
		if r.Rows != 12 || r.Columns["id"].Sum != "66" {
			t.Errorf("table %s has %d rows with the sum %s", topic, r.Rows, r.Columns["id"].Sum)
		}
	}
	verified(t, config)
}

// pipelineOfIDs loads a topic into a table of its name; the other is how it is consumed.
const pipelineOfIDs = `
- name: %[1]s
  source: {topics: [%[1]s], consume: %[2]s}
  decode: {value: {format: json, columns: [{name: id, type: long required}]}}
  table: {name: %[1]s}
  commit: {interval: 1s}
`

// ids produces the ids from <= id < to to each topic.
func ids(t *testing.T, broker string, topics []string, from, to int) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, topic := range topics {
		for id := from; id < to; id++ {
			if err := c.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, `{"id":%d}`, id)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
