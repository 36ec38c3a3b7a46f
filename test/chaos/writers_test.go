//go:build stack

package chaos

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// fate is what Kafka said of a record that was sent.
type fate int

const (
	unknown   fate = iota // no answer: only Kafka knows
	committed             // it is there
	aborted               // its transaction was aborted
)

// writers keep producing clicks, plain and in transactions of which every third is aborted. Each record's key is its number.
type writers struct {
	broker string
	clicks *stacktest.Clicks
	stop   context.CancelFunc
	ended  chan error

	mu    sync.Mutex
	extra []string            // names of fields that were added
	sent  []stacktest.Message // by number
	fate  []fate
}

// patience is how long anything may take that must happen.
const patience = 5 * time.Minute

func write(t *testing.T, broker string, c *stacktest.Clicks, pace time.Duration, size int) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{broker: broker, clicks: c, stop: cancel, ended: make(chan error, 2)}
	go func() { w.ended <- w.plain(ctx, pace, size) }()
	go func() { w.ended <- w.transactions(ctx, 2*pace, size) }()
	t.Cleanup(cancel)
	return w
}

// take makes records and numbers them.
func (w *writers) take(n int) (from int, ms []stacktest.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from = len(w.sent)
	ms = w.clicks.Some(n)
	for i := range ms {
		ms[i].Key = strconv.AppendInt(nil, int64(from+i), 10)
		w.extend(&ms[i], from+i)
	}
	w.sent = append(w.sent, ms...)
	w.fate = append(w.fate, make([]fate, n)...)
	return from, ms
}

// newSchema registers a version of the clicks' schema that has one more field, and has the writers use it from now on.
func (w *writers) newSchema(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.extra = append(w.extra, fmt.Sprintf("extra%d", len(w.extra)))
	fields := ""
	for _, name := range w.extra {
		fields += fmt.Sprintf(`,{"name":%q,"type":["null","int"],"default":null}`, name)
	}
	w.clicks.Schema = stacktest.Register(t, w.clicks.Topic+"-value", "AVRO", strings.TrimSuffix(stacktest.ClickSchema, "]}")+fields+"]}")
}

// extend gives a record the fields that new schemas have added: its number. A value that was cut off stays so.
func (w *writers) extend(m *stacktest.Message, number int) {
	if m.Dead == "decode" {
		return
	}
	for _, name := range w.extra {
		m.Value = binary.AppendVarint(binary.AppendVarint(m.Value, 1), int64(number))
		if m.Row != nil {
			m.Row[name] = number
		}
	}
}

func (w *writers) note(from, n int, f fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range n {
		w.fate[from+i] = f
	}
}

func (w *writers) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(w.broker), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.MetadataMaxAge(2 * time.Second), kgo.UnknownTopicRetries(-1), kgo.RetryTimeout(patience)}, opts...)...)
}

func (w *writers) plain(ctx context.Context, pace time.Duration, size int) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return every(ctx, pace, func(ctx context.Context, _ int) error {
		from, ms := w.take(size)
		if err := stacktest.Send(ctx, c, ms); err != nil {
			return fmt.Errorf("producing %d records: %w", size, err)
		}
		w.note(from, size, committed)
		return nil
	})
}

func (w *writers) transactions(ctx context.Context, pace time.Duration, size int) error {
	id := kgo.TransactionalID(stacktest.Name("tx"))
	c, err := w.client(id, kgo.TransactionTimeout(30*time.Second))
	if err != nil {
		return err
	}
	defer func() { c.Close() }()
	return every(ctx, pace, func(ctx context.Context, i int) error {
		from, ms := w.take(size)
		commit := i%3 != 2
		err := c.BeginTransaction()
		if err == nil {
			err = stacktest.Send(ctx, c, ms)
		}
		if err == nil {
			err = c.EndTransaction(ctx, kgo.TransactionEndTry(commit))
		}
		switch {
		case err != nil: // a new client with the same id ends what is open; Kafka knows how
			c.Close()
			c, err = w.client(id, kgo.TransactionTimeout(30*time.Second))
			return err
		case commit:
			w.note(from, size, committed)
		default:
			w.note(from, size, aborted)
		}
		return nil
	})
}

// every does something at a pace until ctx ends. What was begun is ended, so that it is known what Kafka holds.
func every(ctx context.Context, pace time.Duration, do func(ctx context.Context, i int) error) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		err := do(work, i)
		cancel()
		if err != nil {
			return err
		}
	}
}

// end stops the writers and returns what is in Kafka, as a reader of committed records finds it. Where Kafka answered
// the writers, it must agree.
func (w *writers) end(t *testing.T) *stacktest.Truth {
	t.Helper()
	w.stop()
	for range 2 {
		if err := <-w.ended; err != nil {
			t.Fatalf("a writer ended: %v", err)
		}
	}
	last := w.marks(t)
	truth := stacktest.NewTruth()
	found := make([]bool, len(w.sent))
	w.read(t, last, func(i int, r *kgo.Record) {
		if found[i] {
			t.Errorf("Kafka has record %d twice", i)
		}
		found[i] = true
		m := w.sent[i]
		m.Record = r
		for _, name := range w.extra {
			if _, ok := m.Row[name]; !ok && m.Row != nil {
				m.Row[name] = nil // a row from before the column
			}
		}
		truth.Note(m)
	})
	for i, f := range w.fate {
		if found[i] != (f == committed) && f != unknown {
			t.Errorf("record %d has the fate %d by its writer, but Kafka has it: %v", i, f, found[i])
		}
	}
	return truth
}

// marks sends one last record to each partition, beyond everything else, and returns their numbers. A transaction that a
// writer left open is over by then: readers would wait for it.
func (w *writers) marks(t *testing.T) map[int]bool {
	t.Helper()
	c, err := w.client()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	from, ms := w.take(w.clicks.Partitions)
	last := map[int]bool{}
	for i := range ms {
		ms[i].Partition = int32(i)
		last[from+i] = true
	}
	if err := stacktest.Send(ctx, c, ms); err != nil {
		t.Fatalf("producing the last records: %v", err)
	}
	w.note(from, len(ms), committed)
	return last
}

// read calls f for every committed record of the topic, up to the last ones.
func (w *writers) read(t *testing.T, last map[int]bool, f func(i int, r *kgo.Record)) {
	t.Helper()
	c, err := w.client(kgo.ConsumeTopics(w.clicks.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(last) > 0 {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("reading %s: the last records %v do not come", w.clicks.Topic, last)
		}
		for r := range fetches.RecordsAll() {
			i, err := strconv.Atoi(string(r.Key))
			if err != nil || i >= len(w.sent) {
				t.Fatalf("Kafka has a record that was never sent: key %q", r.Key)
			}
			delete(last, i)
			f(i, r)
		}
	}
}
