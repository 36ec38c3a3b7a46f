package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// patience is how long a test waits for something that must come.
const patience = 60 * time.Second

var unique atomic.Int64

// cluster is a Kafka that tests run against.
type cluster struct {
	t     *testing.T
	kafka configs.Kafka
	admin *kafka.AdminClient
}

func newCluster(t *testing.T, k configs.Kafka) *cluster {
	m, err := connection(k)
	if err != nil {
		t.Fatal(err)
	}
	ac, err := kafka.NewAdminClient(&m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ac.Close)
	return &cluster{t, k, ac}
}

func (cl *cluster) ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func atoi(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func name(prefix string) string {
	return fmt.Sprintf("%s-%d-%d-%d", prefix, os.Getpid(), time.Now().UnixNano(), unique.Add(1))
}

func (cl *cluster) topic(t *testing.T, prefix string, partitions int) string {
	topic := name(prefix)
	cl.create(t, topic, partitions)
	return topic
}

func (cl *cluster) create(t *testing.T, topic string, partitions int) {
	t.Helper()
	res, err := cl.admin.CreateTopics(cl.ctx(t), []kafka.TopicSpecification{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}},
		kafka.SetAdminOperationTimeout(10*time.Second))
	if err != nil || res[0].Error.Code() != kafka.ErrNoError {
		t.Fatal(err, res)
	}
}

func (cl *cluster) producer(t *testing.T, props map[string]string) *kafka.Producer {
	t.Helper()
	m, err := connection(cl.kafka)
	if err != nil {
		t.Fatal(err)
	}
	// Without idempotence a batch that is sent again, as after a topic was just made, may land behind the next one.
	m["linger.ms"], m["go.delivery.reports"], m["enable.idempotence"] = 5, true, true
	for k, v := range props {
		m[k] = v
	}
	p, err := kafka.NewProducer(&m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// send produces messages and waits until the broker has them all.
func send(t *testing.T, p *kafka.Producer, ms ...*kafka.Message) {
	t.Helper()
	acks := make(chan kafka.Event, len(ms))
	for _, m := range ms {
		for {
			err := p.Produce(m, acks)
			var kerr kafka.Error
			if errors.As(err, &kerr) && kerr.Code() == kafka.ErrQueueFull {
				p.Flush(100)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for range ms {
		select {
		case e := <-acks:
			if m := e.(*kafka.Message); m.TopicPartition.Error != nil {
				t.Fatal(m.TopicPartition.Error)
			}
		case <-time.After(patience):
			t.Fatal("the broker did not acknowledge")
		}
	}
}

func message(topic string, partition int, value string) *kafka.Message {
	return &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: int32(partition)}, Value: []byte(value)}
}

// many makes n messages for each of the partitions, values "<partition>:<number from first on>".
func many(topic string, partitions, first, n int) []*kafka.Message {
	var ms []*kafka.Message
	for i := first; i < first+n; i++ {
		for p := range partitions {
			ms = append(ms, message(topic, p, fmt.Sprintf("%d:%d", p, i)))
		}
	}
	return ms
}

// ledger stands for the table: it knows the next offset of each partition and every record it got. Spans must follow on it.
type ledger struct {
	mu      sync.Mutex
	next    map[Partition]int64
	got     map[Partition]map[int64]string
	fail    error // returned by Assigned, once
	assigns int
	revokes int
	lost    int
	dup     []string
}

func newLedger() *ledger {
	return &ledger{next: map[Partition]int64{}, got: map[Partition]map[int64]string{}}
}

func (l *ledger) Assigned(_ context.Context, ps []Partition) (map[Partition]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.assigns++
	if err := l.fail; err != nil {
		l.fail = nil
		return nil, err
	}
	out := map[Partition]int64{}
	for _, p := range ps {
		out[p] = l.next[p]
	}
	return out, nil
}

func (l *ledger) Revoked(_ context.Context, ps []Partition, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revokes++
	if lost {
		l.lost++
	}
}

func (l *ledger) assigned() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.assigns
}

// add takes a batch up, as a commit of it would, and says what is wrong with it.
func (l *ledger) add(r *batch.Records) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	covered := map[Partition]batch.Span{}
	for _, s := range r.Spans {
		p := Partition{s.Topic, s.Partition}
		if s.First != l.next[p] || s.Next <= s.First {
			return fmt.Errorf("span %+v does not follow on %d", s, l.next[p])
		}
		if _, ok := covered[p]; ok {
			return fmt.Errorf("two spans of %s in one batch: %+v", p, r.Spans)
		}
		l.next[p], covered[p] = s.Next, s
	}
	last := map[Partition]int64{}
	for i, o := range r.Offset {
		p := Partition{r.Topics[r.Topic[i]], r.Partition[i]}
		if s, ok := covered[p]; !ok || o < s.First || o >= s.Next {
			return fmt.Errorf("offset %d of %s is outside its span %+v", o, p, s)
		}
		if before, ok := last[p]; ok && o <= before {
			return fmt.Errorf("offset %d of %s after %d", o, p, before)
		}
		last[p] = o
		if l.got[p] == nil {
			l.got[p] = map[int64]string{}
		}
		if _, ok := l.got[p][o]; ok {
			l.dup = append(l.dup, fmt.Sprintf("%s@%d", p, o))
		}
		l.got[p][o] = string(r.Bytes(r.Value[i]))
	}
	if n := len(r.Offset); len(r.Topic) != n || len(r.Partition) != n || len(r.Timestamp) != n || len(r.Key) != n || len(r.Value) != n || len(r.Headers) != n {
		return fmt.Errorf("columns of different lengths: %d %d %d %d %d %d %d", n, len(r.Topic), len(r.Partition), len(r.Timestamp), len(r.Key), len(r.Value), len(r.Headers))
	}
	return nil
}

func (l *ledger) positions() map[Partition]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.next)
}

// rewind makes the ledger forget what it got of a partition from an offset on.
func (l *ledger) rewind(p Partition, to int64) {
	l.next[p] = to
	maps.DeleteFunc(l.got[p], func(o int64, _ string) bool { return o >= to })
}

// check compares what was got of partitions with values "<partition>:<number>" from 0 to n-1, offsets equal to numbers.
func (l *ledger) check(t *testing.T, topic string, partitions, n int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.dup) > 0 {
		t.Fatalf("%d records came twice, first %s", len(l.dup), l.dup[0])
	}
	for i := range partitions {
		p := Partition{topic, int32(i)}
		if len(l.got[p]) != n {
			t.Fatalf("%s: %d records, want %d", p, len(l.got[p]), n)
		}
		for o := range n {
			if got, want := l.got[p][int64(o)], fmt.Sprintf("%d:%d", i, o); got != want {
				t.Fatalf("%s offset %d: %q, want %q", p, o, got, want)
			}
		}
	}
}

// fast makes what a test waits for come soon.
func fast(k configs.Kafka) configs.Kafka {
	k.Properties = map[string]string{"topic.metadata.refresh.interval.ms": "500", "session.timeout.ms": "6000", "heartbeat.interval.ms": "300", "fetch.wait.max.ms": "100"}
	return k
}

func (cl *cluster) consumer(t *testing.T, mode, group string, h Handler, topics ...string) *Consumer {
	t.Helper()
	return open(t, Options{Kafka: fast(cl.kafka), Pipeline: "test", Source: configs.Source{Topics: topics, Group: group, Consume: mode}}, h)
}

func open(t *testing.T, o Options, h Handler) *Consumer {
	t.Helper()
	if os.Getenv("LAKELOADER_TEST_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	c, err := New(o, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if want := o.Source.Consume; want != "" && c.Mode() != want {
		t.Fatalf("mode %s, want %s", c.Mode(), want)
	}
	return c
}

// pollUntil polls into the ledger until done.
func pollUntil(t *testing.T, c *Consumer, l *ledger, done func() bool) {
	t.Helper()
	var r batch.Records
	end := time.Now().Add(patience)
	for !done() {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting; positions %v, assignment %v", l.positions(), c.Assignment())
		}
		r.Reset()
		if err := c.Poll(t.Context(), &r, 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if err := l.add(&r); err != nil {
			t.Fatal(err)
		}
	}
}

// pollError polls into the ledger until an error comes.
func pollError(t *testing.T, c *Consumer, l *ledger, within time.Duration) error {
	t.Helper()
	var r batch.Records
	for end := time.Now().Add(within); time.Now().Before(end); {
		r.Reset()
		if err := c.Poll(t.Context(), &r, 100*time.Millisecond); err != nil {
			return err
		}
		if err := l.add(&r); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no error came")
	return nil
}

func (l *ledger) reached(topic string, partitions int, next int64) func() bool {
	return func() bool {
		at := l.positions()
		for i := range partitions {
			if at[Partition{topic, int32(i)}] < next {
				return false
			}
		}
		return true
	}
}
