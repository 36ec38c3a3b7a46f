package source

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/configs"
)

// TestSilentPartition: a partition of which the client fetches nothing any more is assigned again.
func TestSilentPartition(t *testing.T) {
	k := fakeKafka(t)
	cl := newCluster(t, k)
	for _, mode := range []string{"batch", "poll"} {
		t.Run(mode, func(t *testing.T) {
			topic, l := cl.topic(t, "silent", 1), newLedger()
			var log strings.Builder
			c := open(t, Options{Kafka: fast(k), Pipeline: "p", Source: configs.Source{Topics: []string{topic}, Group: name("g"), Consume: mode}, Log: slog.New(slog.NewTextHandler(&log, nil))}, l)
			c.patience = 500 * time.Millisecond
			p := Partition{Topic: topic}
			pollUntil(t, c, l, func() bool { return c.parts[p] != nil && c.parts[p].alive })
			if err := c.kc.Pause([]kafka.TopicPartition{{Topic: &topic}}); err != nil {
				t.Fatal(err)
			}
			c.parts[p].alive = false
			send(t, cl.producer(t, nil), many(topic, 1, 0, 100)...)
			pollUntil(t, c, l, l.reached(topic, 1, 100))
			l.check(t, topic, 1, 100)
			if !strings.Contains(log.String(), "assigned again") {
				t.Errorf("the log does not tell:\n%s", log.String())
			}
		})
	}
}
