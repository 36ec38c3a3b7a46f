package source

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// member polls into a ledger that it shares with others, until told to leave.
type member struct {
	stop func()
	done chan struct{} // closed when the goroutine has ended
	err  error         // to be read after done
}

func (cl *cluster) join(t *testing.T, mode, group, topic string, l *ledger) *member {
	c := cl.consumer(t, mode, group, l, topic)
	stop := make(chan struct{})
	m := &member{stop: sync.OnceFunc(func() { close(stop) }), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.err = pollInto(t.Context(), c, l, stop)
	}()
	t.Cleanup(func() { // before the consumer's own: nothing may poll while it is closed
		m.stop()
		<-m.done
	})
	return m
}

func pollInto(ctx context.Context, c *Consumer, l *ledger, stop chan struct{}) error {
	var r batch.Records
	for {
		select {
		case <-stop:
			return c.Close()
		default:
		}
		r.Reset()
		if err := c.Poll(ctx, &r, 50*time.Millisecond); err != nil {
			return err
		}
		if err := l.add(&r); err != nil {
			return err
		}
	}
}

func (m *member) leave(t *testing.T) {
	t.Helper()
	m.stop()
	<-m.done
	if m.err != nil {
		t.Fatal(m.err)
	}
}

// members join and leave while records are produced; the shared ledger gets every offset exactly once.
func members(t *testing.T, cl *cluster, mode string) {
	const n, partitions, rounds = 500, 6, 20
	topic, group := cl.topic(t, "members", partitions), name("g")
	p := cl.producer(t, nil)
	l := newLedger()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	produced := make(chan int) // in step, so that records flow while members change
	wg.Go(func() {
		defer close(produced)
		for i := range rounds {
			send(t, p, many(topic, partitions, i*n, n)...)
			select {
			case produced <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	defer wg.Wait()
	defer cancel()
	first := cl.join(t, mode, group, topic, l)
	waitFor(t, func() bool { return l.assigned() > 0 })
	var second *member
	for i := range produced {
		before := l.assigned()
		switch i % 5 {
		case 1:
			second = cl.join(t, mode, group, topic, l)
			waitFor(t, func() bool { return l.assigned() > before }) // it has taken some over
		case 3:
			first.leave(t)
			first = second
			waitFor(t, func() bool { return l.assigned() > before })
		}
	}
	waitFor(t, l.reached(topic, partitions, rounds*n))
	first.leave(t)
	l.check(t, topic, partitions, rounds*n)
	if l.assigns < 9 || l.revokes < 9 { // four members came and four went
		t.Errorf("%d assignments and %d revocations: the group hardly changed", l.assigns, l.revokes)
	}
}

// waitFor asks again and again, in step with a ticker, for what goroutines bring about.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("gave up waiting")
		}
	}
}

// serveOnly waits for a rebalance without taking records, as a caller without memory for them does.
func serveOnly(t *testing.T, cl *cluster, mode string) {
	const n = 20_000
	topic, group := cl.topic(t, "serve", 2), name("g")
	send(t, cl.producer(t, nil), many(topic, 2, 0, n)...)
	l := newLedger()
	c := cl.consumer(t, mode, group, l, topic)
	pollUntil(t, c, l, func() bool {
		return len(c.Assignment()) == 2 && (l.next[Partition{topic, 0}] > 0 || l.next[Partition{topic, 1}] > 0)
	})
	before, epoch := l.positions(), c.Epoch(Partition{topic, 0})+c.Epoch(Partition{topic, 1})
	for range 3 {
		if err := c.Serve(t.Context(), 120*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		pollUntil(t, c, l, func() bool { return true })
	}
	if after := c.Position(c.Assignment()); after[Partition{topic, 0}] != before[Partition{topic, 0}] || after[Partition{topic, 1}] != before[Partition{topic, 1}] {
		t.Errorf("positions moved from %v to %v", before, after)
	}
	if e := c.Epoch(Partition{topic, 0}) + c.Epoch(Partition{topic, 1}); e != epoch {
		t.Errorf("epochs changed from %d to %d", epoch, e)
	}
	pollUntil(t, c, l, func() bool { return l.next[Partition{topic, 0}]+l.next[Partition{topic, 1}] > n/2 })
	other := cl.join(t, mode, group, topic, l)
	for end := time.Now().Add(patience); len(c.Assignment()) != 1; {
		if time.Now().After(end) {
			t.Fatal("no rebalance came")
		}
		if err := c.Serve(t.Context(), 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	pollUntil(t, c, l, l.reached(topic, 2, n))
	other.leave(t)
	l.check(t, topic, 2, n)
}

// backAndForth moves partitions away from a member and back to it several times: their forwarding must come back too.
func backAndForth(t *testing.T, cl *cluster, mode string) {
	topic, group := cl.topic(t, "back", 2), name("g")
	p := cl.producer(t, nil)
	l := newLedger()
	c := cl.consumer(t, mode, group, l, topic)
	for i := range 3 {
		pollUntil(t, c, l, func() bool { return len(c.Assignment()) == 2 })
		send(t, p, many(topic, 2, 2*i*100, 100)...)
		pollUntil(t, c, l, l.reached(topic, 2, int64(2*i*100+100)))
		other := cl.join(t, mode, group, topic, l)
		pollUntil(t, c, l, func() bool { return len(c.Assignment()) == 1 })
		send(t, p, many(topic, 2, (2*i+1)*100, 100)...)
		pollUntil(t, c, l, l.reached(topic, 2, int64((2*i+2)*100)))
		other.stop()
		pollUntil(t, c, l, func() bool {
			select {
			case <-other.done:
				return true
			default:
				return false
			}
		})
		other.leave(t)
	}
	l.check(t, topic, 2, 600)
}

// stalled stops polling until the group gives its partitions to another member. It must deliver nothing of what it has
// fetched, be told that they are lost, and work again.
func stalled(t *testing.T, cl *cluster, mode string) {
	const n = 20_000
	topic, group := cl.topic(t, "stalled", 2), name("g")
	send(t, cl.producer(t, nil), many(topic, 2, 0, n)...)
	l := newLedger()
	k := fast(cl.kafka)
	k.Properties["max.poll.interval.ms"] = "6000"
	c := open(t, Options{Kafka: k, Pipeline: "stalled", Source: configs.Source{Topics: []string{topic}, Group: group, Consume: mode}}, l)
	pollUntil(t, c, l, func() bool { return l.next[Partition{topic, 0}]+l.next[Partition{topic, 1}] > 0 })
	other := cl.join(t, mode, group, topic, l)
	waitFor(t, l.reached(topic, 2, n))
	pollUntil(t, c, l, func() bool { return l.lost > 0 && len(c.Assignment()) == 1 })
	send(t, cl.producer(t, nil), many(topic, 2, n, 100)...)
	pollUntil(t, c, l, l.reached(topic, 2, n+100))
	other.leave(t)
	l.check(t, topic, 2, n+100)
}

// madeAgain deletes a topic under a consumer and makes it again: the position is past its end.
func madeAgain(t *testing.T, cl *cluster, mode string) {
	topic := cl.topic(t, "again", 1)
	send(t, cl.producer(t, nil), many(topic, 1, 0, 100)...)
	l := newLedger()
	c := cl.consumer(t, mode, name("g"), l, topic)
	pollUntil(t, c, l, l.reached(topic, 1, 100))
	if res, err := cl.admin.DeleteTopics(cl.ctx(t), []string{topic}); err != nil || res[0].Error.Code() != kafka.ErrNoError {
		t.Fatal(res, err)
	}
	waitFor(t, func() bool {
		res, err := cl.admin.CreateTopics(cl.ctx(t), []kafka.TopicSpecification{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}})
		return err == nil && res[0].Error.Code() == kafka.ErrNoError
	})
	send(t, cl.producer(t, nil), many(topic, 1, 0, 10)...)
	for {
		err := pollError(t, c, l, patience)
		var e *Error
		if errors.As(err, &e) && e.Kind == Topic {
			continue // while it was away
		}
		var oor *OffsetOutOfRange
		if !errors.As(err, &oor) || oor.Offset != 100 || oor.High != 10 || !strings.Contains(err.Error(), "made again") {
			t.Fatalf("%T: %v", err, err)
		}
		break
	}
	if err := c.Seek(map[Partition]int64{{topic, 0}: 0}); err != nil {
		t.Fatal(err)
	}
	l.rewind(Partition{topic, 0}, 0)
	pollUntil(t, c, l, l.reached(topic, 1, 10))
	l.check(t, topic, 1, 10)
}

// closeEarly closes consumers at every stage of joining, also while the group is dealing out partitions.
func closeEarly(t *testing.T, cl *cluster, mode string) {
	topic, group := cl.topic(t, "early", 2), name("g")
	send(t, cl.producer(t, nil), many(topic, 2, 0, 100)...)
	for i := range 20 {
		l := newLedger()
		c := cl.consumer(t, mode, group, l, topic)
		var r batch.Records
		if err := c.Poll(t.Context(), &r, time.Duration(i)*15*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if l.assigns != l.revokes {
			t.Fatalf("%d assignments, %d revocations", l.assigns, l.revokes)
		}
	}
}
