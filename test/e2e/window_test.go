//go:build stack

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// shop sells to visitors, and notes every purchase in a file, for a calculation that is not ours.
type shop struct {
	topic  string
	spend  string // the topic of the totals
	client *kgo.Client
	notes  *bufio.Writer
	file   string
	zone   *time.Location
	seq    int
}

const spendZone = "Europe/Berlin"

func newShop(t *testing.T, partitions, slots int) *shop {
	t.Helper()
	zone, err := time.LoadLocation(spendZone)
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{topic: stacktest.Topic(t, partitions), spend: stacktest.Name("spend"), zone: zone, file: filepath.Join(t.TempDir(), "purchases.jsonl"),
		client: stacktest.Producer(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))}
	stacktest.CreateTopic(t, stacktest.Kafka(t), s.spend, slots, map[string]string{"cleanup.policy": "compact"})
	f, err := os.Create(s.file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s.notes = bufio.NewWriter(f)
	return s
}

// sell makes purchases of some of the visitors: within the window and long before, some tomorrow and later, some refunds, some that are
// no purchases at all.
func (s *shop) sell(t *testing.T, n, visitors int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var rs []*kgo.Record
	for range n {
		s.seq++
		ago := time.Duration(rand.IntN(150*24))*time.Hour + time.Duration(rand.IntN(3600))*time.Second
		if rand.IntN(50) == 0 {
			ago = -time.Duration(rand.IntN(40*24)) * time.Hour
		}
		m := map[string]any{"sku": fmt.Sprint("sku-", s.seq), "value": json.Number(fmt.Sprintf("%d.%02d", rand.IntN(2000)-100, rand.IntN(100))), "quantity": 1 + rand.IntN(5),
			"visitor": fmt.Sprintf(" visitor-%d@example.org", rand.IntN(visitors)), "timestamp": time.Now().Add(-ago).UTC().Format("2006-01-02T15:04:05Z")}
		if rand.IntN(100) == 0 {
			m["sku"] = " " // a dead letter
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, &kgo.Record{Topic: s.topic, Value: text})
		fmt.Fprintf(s.notes, "%s\n", text)
	}
	if err := s.client.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := s.notes.Flush(); err != nil {
		t.Fatal(err)
	}
}

// totals are what is to be published on a day.
func (s *shop) totals(t *testing.T, at time.Time) (want map[string]string) {
	t.Helper()
	out := stacktest.Python(t, "spend.py", s.file, spendZone, "3", at.In(s.zone).Format(time.DateOnly))
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// told reads the topic from its beginning, without what transactions have aborted.
type told struct {
	client *kgo.Client
	last   map[string]string
	n      int
}

func (s *shop) told(t *testing.T) *told {
	t.Helper()
	return &told{stacktest.Producer(t, kgo.ConsumeTopics(s.spend), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted())), map[string]string{}, 0}
}

func (k *told) read(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	k.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
		k.n++
		k.last[string(r.Key)] = string(r.Value)
	})
}

// until waits until the newest total of every visitor is right. Visitors whose last purchase had left before it was seen need not be there.
func (k *told) until(t *testing.T, what string, want map[string]string) {
	t.Helper()
	until(t, what, func() (bool, any) {
		k.read(t)
		var wrong []string
		for v, total := range want {
			if got, ok := k.last[v]; got != total && (ok || total != "0.00") {
				wrong = append(wrong, fmt.Sprintf("%s: %q, want %s", v, got, total))
			}
		}
		for v := range k.last {
			if _, ok := want[v]; !ok {
				wrong = append(wrong, v+" is too much")
			}
		}
		return len(wrong) == 0, fmt.Sprintf("%d messages, %d of %d are wrong: %v", k.n, len(wrong), len(want), wrong[:min(5, len(wrong))])
	})
}

func (s *shop) configure(t *testing.T, l lake, state string) string {
	return configure(t, l, fmt.Sprintf(`
- name: purchases
  source: {topics: [%s]}
  decode:
    value:
      format: json
      columns:
      - {name: sku, type: string required}
      - {name: value, type: "decimal(18,2) required"}
      - {name: quantity, type: long required}
      - {name: visitor, type: string required}
      - {name: timestamp, type: string required}
  cleanse:
  - trim: [sku, visitor]
  - validate: {columns: [sku, visitor], min_length: 1}
  - parse_timestamp: {columns: [timestamp]}
  table: {name: purchases, partition_by: [month(timestamp)]}
  commit: {interval: 1s}
windows:
- {name: %s, pipeline: purchases, key: visitor, time: timestamp, sum: value * quantity, window: {calendar_months: 3}, time_zone: %s, topic: %s, state: %q}
`, s.topic, s.spend, spendZone, s.spend, state))
}

// TestWindowKilled: purchases go on while the process that keeps the totals is killed again and again, also with its state; the newest
// total of each visitor is the one that Python makes of the messages. Then the clock goes on by days and by months, and totals fall.
func TestWindowKilled(t *testing.T) {
	t.Parallel()
	l := folderLake(t)
	s := newShop(t, 4, 3)
	state := filepath.Join(t.TempDir(), "state")
	config := s.configure(t, l, state)
	k := s.told(t)
	s.sell(t, 2000, 300)
	for round := range 5 {
		d := stacktest.StartDaemon(t, config)
		before := k.n
		until(t, "something is published", func() (bool, any) {
			k.read(t)
			return k.n > before, k.n
		})
		s.sell(t, 500+rand.IntN(1000), 300)
		k.read(t)
		d.Kill()
		if round%2 == 1 { // the machine is lost
			if err := os.RemoveAll(state); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := stacktest.StartDaemon(t, config)
	s.sell(t, 500, 300)
	k.until(t, "the totals are right after five kills", s.totals(t, time.Now()))
	stopped(t, d)
	verified(t, config)

	for _, days := range []int{1, 2, 35, 100, 300} {
		_, tells, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		obeys, orders, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		d := stacktest.StartChaosDaemon(t, config, tells, obeys, fmt.Sprintf("clock %dh\n", 24*days))
		want := s.totals(t, time.Now().AddDate(0, 0, days))
		k.until(t, fmt.Sprintf("the totals are right %d days later", days), want)
		d.Kill()
		_ = orders.Close()
		_ = obeys.Close()
		_ = tells.Close()
		if days == 300 {
			for v, total := range want {
				if total != "0.00" || !strings.HasPrefix(v, "visitor-") {
					t.Errorf("%s still has %s", v, total)
				}
			}
		}
	}
}
