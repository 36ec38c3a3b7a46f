package source

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/lakeloader/lakeloader/configs"
)

// closedPort is an address where nothing listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// TestUnreachableBroker: no error, but LastError; and it works once the broker is there.
func TestUnreachableBroker(t *testing.T) {
	addr := closedPort(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	c := open(t, Options{Kafka: fast(configs.Kafka{Brokers: []string{addr}}), Pipeline: "p", Source: configs.Source{Topics: []string{"t"}}}, l)
	pollUntil(t, c, l, func() bool { err, _ := c.LastError(); return err != nil })
	last, at := c.LastError()
	if !strings.Contains(last.Error(), addr) || time.Since(at) > time.Minute {
		t.Errorf("%v at %v", last, at)
	}
	f, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(atoi(t, port)), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cl := newCluster(t, configs.Kafka{Brokers: []string{addr}})
	p := cl.producer(t, nil)
	sent := 0
	pollUntil(t, c, l, func() bool { // records go on until one comes late enough to count as the end of the trouble
		send(t, p, many("t", 1, sent, 1)...)
		sent++
		err, _ := c.LastError()
		return err == nil && l.reached("t", 1, 1)()
	})
}

// TestQuestionWhileNoBrokerListens: the question is taken back, since the client would connect without a pause, and asked
// again when a broker is there.
func TestQuestionWhileNoBrokerListens(t *testing.T) {
	addr := closedPort(t)
	a, err := NewAdmin(configs.Kafka{Brokers: []string{addr}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	asked, answered := make(chan int), make(chan error)
	go func() {
		n := 0
		answered <- a.ask(t.Context(), "anything", func(ctx context.Context) error {
			n++
			asked <- n
			if n == 2 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-asked
	select {
	case <-asked:
		t.Error("the question was asked again though nothing listens")
	case <-time.After(3 * time.Second):
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n := <-asked; n != 2 {
		t.Errorf("the question was asked %d times", n)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if _, err := a.ClusterID(ended(t)); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("a question that ended says %v", err)
	}
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// TestLogin logs in with SCRAM over plain TCP; TestRealLogin does over TLS.
func TestLogin(t *testing.T) {
	k := fakeKafka(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "app", "secret"))
	k.Security = "sasl_plaintext"
	k.SASL = configs.SASL{Mechanism: "scram-sha-512", Username: "app", Password: "secret"}
	login(t, k)
	// This broker hangs up instead of answering, as some proxies do: that may pass, so it is no error, but it is shown.
	k.SASL.Password = "wrong"
	l := newLedger()
	c := open(t, Options{Kafka: fast(k), Pipeline: "p", Source: configs.Source{Topics: []string{"t"}}}, l)
	pollUntil(t, c, l, func() bool {
		err, _ := c.LastError()
		return err != nil && strings.Contains(err.Error(), "SASL authentication error")
	})
}

// login reads a topic, and asks a question.
func login(t *testing.T, k configs.Kafka) {
	t.Helper()
	cl := newCluster(t, k)
	topic := cl.topic(t, "login", 1)
	send(t, cl.producer(t, nil), many(topic, 1, 0, 10)...)
	for _, mode := range []string{"batch", "poll"} {
		l := newLedger()
		c := cl.consumer(t, mode, name("g"), l, topic)
		pollUntil(t, c, l, l.reached(topic, 1, 10))
		l.check(t, topic, 1, 10)
	}
	if id, err := cl.newAdmin(t).ClusterID(cl.ctx(t)); err != nil || id == "" {
		t.Errorf("cluster id %q: %v", id, err)
	}
}

// refused wants an error of a kind that says where and what to do, within seconds.
func refused(t *testing.T, k configs.Kafka, kind Kind, words ...string) {
	t.Helper()
	for _, mode := range []string{"batch", "poll"} {
		l := newLedger()
		c := open(t, Options{Kafka: fast(k), Pipeline: "p", Source: configs.Source{Topics: []string{"t"}, Consume: mode}}, l)
		checkRefused(t, pollError(t, c, l, 15*time.Second), kind, append(words, k.Brokers[0]))
	}
	a, err := NewAdmin(k, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := contextFor(t, 5*time.Second)
	defer cancel()
	_, err = a.ClusterID(ctx)
	checkRefused(t, err, kind, append(words, k.Brokers[0]))
}

func checkRefused(t *testing.T, err error, kind Kind, words []string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("%T: %v, want kind %v", err, err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the message lacks %q: %v", w, err)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the message shows a secret: %v", err)
	}
}

func TestAdmin(t *testing.T) { adminAnswers(t, newCluster(t, fakeKafka(t))) }

func adminAnswers(t *testing.T, cl *cluster) {
	ctx, a := cl.ctx(t), cl.newAdmin(t)
	topic, other := cl.topic(t, "admin", 2), cl.topic(t, "admin", 1)
	ms := many(topic, 1, 0, 10)
	for i, m := range ms {
		m.Timestamp = time.UnixMilli(1_700_000_000_000 + int64(i)*1000)
	}
	send(t, cl.producer(t, nil), ms...)
	ids, err := a.TopicIDs(ctx, []string{topic, other})
	if err != nil || len(ids) != 2 || ids[topic] == "" || ids[topic] == ids[other] {
		t.Fatal(ids, err)
	}
	p0, p1 := Partition{topic, 0}, Partition{topic, 1}
	ps, err := a.Partitions(ctx, configs.Source{Topics: []string{topic}})
	if err != nil || len(ps) != 2 || ps[0] != p0 || ps[1] != p1 {
		t.Fatal(ps, err)
	}
	w, err := a.Watermarks(ctx, ps)
	if err != nil || w[p0] != (Watermarks{0, 10}) || w[p1] != (Watermarks{0, 0}) {
		t.Fatal(w, err)
	}
	at, err := a.OffsetsForTime(ctx, ps, time.UnixMilli(1_700_000_003_500))
	if err != nil || at[p0] != 4 || at[p1] != 0 {
		t.Fatal(at, err)
	}
	if at, err = a.OffsetsForTime(ctx, ps, time.UnixMilli(1_800_000_000_000)); err != nil || at[p0] != 10 {
		t.Fatal(at, err)
	}
	if _, err := a.Watermarks(ctx, []Partition{{topic, 7}}); err == nil || !strings.Contains(err.Error(), topic) {
		t.Errorf("watermarks of a partition that does not exist: %v", err)
	}
	res, err := cl.admin.DeleteTopics(ctx, []string{topic})
	if err != nil {
		t.Fatal(err, res)
	}
	waitFor(t, func() bool {
		var e *Error
		_, err := a.TopicIDs(ctx, []string{topic})
		return errors.As(err, &e) && e.Kind == Topic
	})
	cl.create(t, topic, 1)
	again := map[string]string{}
	waitFor(t, func() bool { again, err = a.TopicIDs(ctx, []string{topic}); return err == nil })
	if again[topic] == ids[topic] {
		t.Errorf("the topic was made again and kept its id %s", ids[topic])
	}
}

// TestAdminUnreachable says within the deadline what did not work.
func TestAdminUnreachable(t *testing.T) {
	addr := closedPort(t)
	a, err := NewAdmin(configs.Kafka{Brokers: []string{addr}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := contextFor(t, time.Second)
	defer cancel()
	if _, err := a.ClusterID(ctx); err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}
