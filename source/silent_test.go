package source

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// TestSilentPartition: a partition of which the client fetches nothing any more is assigned again; if that does not help while a broker answers, the
// client is given up.
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
			pollUntil(t, c, l, func() bool { return c.parts[p] != nil && c.parts[p].hush.over })
			mute := func() {
				if err := c.kc.Pause([]kafka.TopicPartition{{Topic: &topic}}); err != nil {
					t.Fatal(err)
				}
			}
			mute()
			c.parts[p].hush = hush{}
			send(t, cl.producer(t, nil), many(topic, 1, 0, 100)...)
			pollUntil(t, c, l, l.reached(topic, 1, 100))
			l.check(t, topic, 1, 100)
			if !strings.Contains(log.String(), "assigned again") {
				t.Errorf("the log does not tell:\n%s", log.String())
			}

			mute()
			c.parts[p].hush = hush{woken: true}
			var r batch.Records
			var e *Error
			for err := error(nil); !errors.As(err, &e); {
				if err = c.Poll(t.Context(), &r, time.Second); err != nil && !errors.As(err, &e) {
					t.Fatal(err)
				}
			}
			if e.Kind != Fatal || e.Partition != p || !strings.Contains(e.Error(), "new client") {
				t.Errorf("the error is %v", e)
			}
		})
	}
}
