//go:build stack

package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

const clickSchema = `{"type":"record","name":"Click","namespace":"e2e","fields":[{"name":"uuid","type":"string"},
{"name":"campaignId","type":"int"},{"name":"pubId","type":"int"},{"name":"ts","type":{"type":"long","logicalType":"timestamp-micros"}},
{"name":"ip","type":"string"},{"name":"city","type":"string"},{"name":"country","type":"string"},{"name":"browser","type":"string"},
{"name":"platform","type":"string"},{"name":"platformVersion","type":"string"}]}`

// clickSteps go with clicks: some are filtered, and some break a rule.
const clickSteps = `
  cleanse:
  - filter: 'browser != "bot"'
  - validate: {columns: [pubId], min: 1}
`

// clicks makes clicks for one topic, each different from all others.
type clicks struct {
	topic      string
	partitions int
	schema     uint32
	made       int
	began      time.Time
	// spoilt: some are bots (to be filtered), break a rule, or cannot be decoded.
	spoilt bool
}

func newClicks(t *testing.T, topic string, partitions int) *clicks {
	t.Helper()
	id := register(t, topic+"-value", "AVRO", clickSchema)
	return &clicks{topic: topic, partitions: partitions, schema: id, began: time.Now().Truncate(time.Millisecond)}
}

func (c *clicks) next() message {
	i := c.made
	c.made++
	at := c.began.Add(time.Duration(i)*time.Millisecond + 123*time.Microsecond)
	pub, browser := 1+i%5, []string{"Chrome", "Firefox", "Safari", "Edge"}[i%4]
	m := message{Record: &kgo.Record{Topic: c.topic, Partition: int32(i % c.partitions), Timestamp: at.Truncate(time.Millisecond)}}
	if c.spoilt {
		switch i % 41 {
		case 7:
			pub, m.dead = 0, "cleanse"
		case 19:
			browser = "bot"
		}
	}
	texts := map[string]string{"ip": fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), "city": []string{"Brussels", "Zürich", "São Paulo", ""}[i%4],
		"country": []string{"BE", "CH", "BR"}[i%3], "browser": browser, "platform": "Linux", "platformVersion": fmt.Sprint(i % 17)}
	r := row{"uuid": fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761&0xffffffff, i), "campaignId": i%20 - 10, "pubId": pub, "ts": utc(at)}
	m.Value = binary.BigEndian.AppendUint32([]byte{0}, c.schema)
	m.Value = avroText(m.Value, r["uuid"].(string))
	m.Value = binary.AppendVarint(m.Value, int64(i%20-10))
	m.Value = binary.AppendVarint(m.Value, int64(pub))
	m.Value = binary.AppendVarint(m.Value, at.UnixMicro())
	for _, name := range []string{"ip", "city", "country", "browser", "platform", "platformVersion"} {
		m.Value = avroText(m.Value, texts[name])
		r[name] = texts[name]
	}
	switch {
	case c.spoilt && i%41 == 31:
		m.Value, m.dead = m.Value[:len(m.Value)-3], "decode"
	case m.dead == "" && browser != "bot":
		m.row = r
	}
	return m
}

func (c *clicks) some(n int) []message {
	ms := make([]message, n)
	for i := range ms {
		ms[i] = c.next()
	}
	return ms
}

func avroText(b []byte, s string) []byte {
	return append(binary.AppendVarint(b, int64(len(s))), s...)
}

// producer is a client that sends records to the partitions that they name.
func producer(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(stacktest.Kafka(t)), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// produce sends messages and notes them.
func produce(ctx context.Context, c *kgo.Client, w *truth, ms ...message) error {
	if err := send(ctx, c, ms); err != nil {
		return err
	}
	w.note(ms...)
	return nil
}

func send(ctx context.Context, c *kgo.Client, ms []message) error {
	rs := make([]*kgo.Record, len(ms))
	for i, m := range ms {
		rs[i] = m.Record
	}
	return c.ProduceSync(ctx, rs...).FirstErr()
}

// sent is produce for the test's own goroutine.
func sent(t *testing.T, c *kgo.Client, w *truth, ms ...message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := produce(ctx, c, w, ms...); err != nil {
		t.Fatalf("producing %d records to %s: %v", len(ms), ms[0].Topic, err)
	}
}

// traffic is clicks that keep coming, with and without Kafka transactions, some of which are aborted.
type traffic struct {
	truth *truth
	noted atomic.Int64 // records in the truth so far
	stop  context.CancelFunc
	ended chan error
}

// flow starts traffic. It comes in small steps, so that commits of the loader fall between and into transactions.
func flow(t *testing.T, c *clicks, pace time.Duration, step int) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &traffic{truth: newTruth(), stop: cancel, ended: make(chan error, 1)}
	bare, trans := producer(t), producer(t, kgo.TransactionalID(stacktest.Name("tx")), kgo.TransactionTimeout(30*time.Second))
	go func() {
		f.ended <- f.run(ctx, c, bare, trans, pace, step)
	}()
	return f
}

func (f *traffic) run(ctx context.Context, c *clicks, bare, trans *kgo.Client, pace time.Duration, step int) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// What was begun is ended, so that it is known what Kafka holds.
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		var err error
		switch i % 4 {
		case 0, 1:
			err = produce(work, bare, f.truth, c.some(step)...)
		default:
			err = f.transaction(work, trans, c, step, i%4 == 2)
		}
		cancel()
		if err != nil {
			return err
		}
		f.noted.Store(int64(f.truth.size()))
	}
}

func (f *traffic) transaction(ctx context.Context, trans *kgo.Client, c *clicks, step int, commit bool) error {
	if err := trans.BeginTransaction(); err != nil {
		return err
	}
	ms := c.some(step)
	if err := send(ctx, trans, ms); err != nil {
		return errors.Join(err, trans.EndTransaction(ctx, kgo.TryAbort))
	}
	if err := trans.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
		return err
	}
	if commit {
		f.truth.note(ms...)
	}
	return nil
}

// end stops the traffic and returns what is in Kafka then.
func (f *traffic) end(t *testing.T) *truth {
	t.Helper()
	f.stop()
	if err := <-f.ended; err != nil {
		t.Fatalf("producing: %v", err)
	}
	return f.truth
}

// more waits until n further records were produced.
func (f *traffic) more(t *testing.T, n int) {
	t.Helper()
	target := f.noted.Load() + int64(n)
	until(t, fmt.Sprintf("%d more records were produced", n), func() (bool, any) {
		select {
		case err := <-f.ended:
			t.Fatalf("producing ended: %v", err)
		default:
		}
		return f.noted.Load() >= target, f.noted.Load()
	})
}
