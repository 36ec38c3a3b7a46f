//go:build stack

package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
	"github.com/lakeloader/lakeloader/window"
)

// shop sells to visitors, and notes every purchase in a file, for a calculation that is not ours.
type shop struct {
	topic  string
	spend  string // the topic of the totals
	client *kgo.Client
	other  *kgo.Client // writes to the partitions that it is told
	notes  *bufio.Writer
	file   string
	zone   *time.Location
	schema uint32 // its id in the registry
	rnd    *rand.Rand
	seq    int
	sold   map[stacktest.Place]int64 // the offset after the newest purchase
}

const spendZone = "Europe/Berlin"

// purchaseSchema is that of the messages: money is an exact decimal.
var purchaseSchema = `{"type":"record","name":"Purchase","fields":[{"name":"sku","type":"string"},` +
	`{"name":"value","type":{"type":"bytes","logicalType":"decimal","precision":18,"scale":2}},{"name":"quantity","type":"long"},` +
	`{"name":"visitor","type":"string"},{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-micros"}}]}`

// purchase is a message, and what Python is told of it.
type purchase struct {
	sku, visitor    string
	cents, quantity int64
	at              time.Time
}

func (s *shop) record(p purchase) *kgo.Record {
	v := binary.BigEndian.AppendUint32([]byte{0}, s.schema)
	v = append(v, aText(p.sku)+aText(string(binary.BigEndian.AppendUint64(nil, uint64(p.cents))))+aLong(p.quantity)+aText(p.visitor)+aLong(p.at.UnixMicro())...)
	return &kgo.Record{Topic: s.topic, Value: v}
}

func (s *shop) note(t *testing.T, p purchase) {
	t.Helper()
	sign, cents := "", p.cents
	if cents < 0 {
		sign, cents = "-", -cents
	}
	text, err := json.Marshal(map[string]any{"sku": p.sku, "value": json.Number(fmt.Sprintf("%s%d.%02d", sign, cents/100, cents%100)), "quantity": p.quantity, "visitor": p.visitor,
		"timestamp": p.at.UTC().Format("2006-01-02T15:04:05Z")})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(s.notes, "%s\n", text)
}

// drawn is the source of all that is random in a test: the same again with LAKELOADER_TEST_SEED.
func drawn(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("LAKELOADER_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("LAKELOADER_TEST_SEED=%d plays it again", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func newShop(t *testing.T, partitions, slots int) *shop {
	t.Helper()
	zone, err := time.LoadLocation(spendZone)
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{topic: stacktest.Topic(t, partitions), spend: stacktest.Name("spend"), zone: zone, rnd: drawn(t), file: filepath.Join(t.TempDir(), "purchases.jsonl"),
		sold:   map[stacktest.Place]int64{},
		client: stacktest.Producer(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())),
		other:  stacktest.Producer(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))}
	stacktest.CreateTopic(t, stacktest.Kafka(t), s.spend, slots, map[string]string{"cleanup.policy": "compact"})
	f, err := os.Create(s.file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s.notes = bufio.NewWriter(f)
	s.schema = stacktest.Register(t, s.topic+"-value", "AVRO", purchaseSchema)
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
		ago := time.Duration(s.rnd.IntN(150*24))*time.Hour + time.Duration(s.rnd.IntN(3600))*time.Second
		if s.rnd.IntN(50) == 0 {
			ago = -time.Duration(s.rnd.IntN(40*24)) * time.Hour
		}
		p := purchase{sku: fmt.Sprint("sku-", s.seq), cents: int64(s.rnd.IntN(200_000) - 10_000), quantity: int64(1 + s.rnd.IntN(5)),
			visitor: fmt.Sprintf(" visitor-%d@example.org", s.rnd.IntN(visitors)), at: time.Now().Add(-ago).Truncate(time.Second)}
		if s.rnd.IntN(100) == 0 {
			p.sku = " " // a dead letter
		}
		rs = append(rs, s.record(p))
		s.note(t, p)
	}
	s.send(ctx, t, rs...)
	if err := s.notes.Flush(); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) send(ctx context.Context, t *testing.T, rs ...*kgo.Record) {
	t.Helper()
	if err := s.client.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		at := stacktest.Place{Topic: r.Topic, Partition: r.Partition}
		s.sold[at] = max(s.sold[at], r.Offset+1)
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
  decode: {value: {format: avro}}
  cleanse:
  - trim: [sku, visitor]
  - validate: {columns: [sku, visitor], min_length: 1}
  table: {name: purchases, partition_by: [month(timestamp)]}
  commit: {interval: 1s}
windows:
- {name: %s, pipeline: purchases, key: visitor, time: timestamp, sum: value * quantity, window: {calendar_months: 3}, time_zone: %s, topic: %s, state: %q}
`, s.topic, s.spend, spendZone, s.spend, state))
}

// inLake are the totals of a day by DuckDB over the raw table; a visitor whose purchases have all left has none. Days are cut at the
// moments when they begin in the zone, since DuckDB knows no zones here.
func (s *shop) inLake(t *testing.T, l lake, at time.Time) map[string]string {
	t.Helper()
	y, m, d := at.In(s.zone).Date()
	first := time.Date(y, m-3, 1, 0, 0, 0, 0, s.zone)
	floor := time.Date(y, m-3, min(d, first.AddDate(0, 1, -1).Day())+1, 0, 0, 0, 0, s.zone)
	end := time.Date(y, m, d+1, 0, 0, 0, 0, s.zone)
	r := stacktest.DuckDB(t, l.named("purchases"), stacktest.Read{SQL: []string{fmt.Sprintf(
		"SELECT visitor, CAST(CAST(SUM(value * quantity) AS DECIMAL(38, 2)) AS VARCHAR) FROM {source} WHERE timestamp >= TIMESTAMPTZ '%s' AND timestamp < TIMESTAMPTZ '%s' GROUP BY visitor",
		floor.UTC().Format("2006-01-02 15:04:05+00"), end.UTC().Format("2006-01-02 15:04:05+00"))}})
	got := map[string]string{}
	for _, row := range r.Results[0] {
		got[row[0].(string)] = row[1].(string)
	}
	return got
}

// agreed says whether the lake has the totals that were sold.
func agreed(t *testing.T, want, lake map[string]string) {
	t.Helper()
	for v, total := range want {
		if got, ok := lake[v]; got != total && (ok || total != "0.00") {
			t.Errorf("%s has %s of what was sold, and %q by DuckDB over the lake", v, total, got)
		}
	}
	for v, total := range lake {
		if _, ok := want[v]; !ok {
			t.Errorf("%s has %s by DuckDB over the lake, and bought nothing", v, total)
		}
	}
}

// shown waits until the daemon says of its window that it is up to date, and has metrics of it.
func (s *shop) shown(t *testing.T, d *stacktest.Daemon, slots int) {
	t.Helper()
	until(t, "the status says that the window is live", func() (bool, any) {
		p, err := ask(d)
		if err != nil || len(p.Windows) != 1 {
			return false, err
		}
		w := p.Windows[0]
		for _, x := range w.Partitions {
			if x.HighWatermark < 0 || x.Published < x.HighWatermark {
				return false, w
			}
		}
		return w.State == "live" && len(w.Owned) == slots && w.Live == slots && w.Keys > 0 && w.Updates > 0 && w.Published > 0 && w.Lag == 0 && len(w.Partitions) > 0, w
	})
	resp, err := http.Get("http://" + d.HTTP() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"window_slots_live{window=%q} %d", "window_slots_owned{window=%q} %d", "window_slots{window=%q} %d"} {
		if line := fmt.Sprintf("lakeloader_"+m+"\n", s.spend, slots); !strings.Contains(string(text), line) {
			t.Errorf("the metrics have no line %s", line)
		}
	}
}

// TestWindowKilled: purchases go on while the process that keeps the totals is killed at random moments, also with its state. Then the newest
// total of each visitor, as consumers of committed messages see it, is the one that Python makes of what was sent, and the one that DuckDB makes of
// the raw table in the lake. Then the clock goes on by days and beyond three months, and totals fall, by both.
func TestWindowKilled(t *testing.T) {
	t.Parallel()
	l := restLake(t)
	s := newShop(t, 4, 3)
	state := filepath.Join(t.TempDir(), "state")
	config := s.configure(t, l, state)
	k := s.told(t)
	s.sell(t, 2000, 300)
	for round := range 6 {
		d := stacktest.StartDaemon(t, config)
		s.sell(t, s.rnd.IntN(1000), 300)
		most := k.n + 1 + s.rnd.IntN(500)
		until(t, "some totals are published", func() (bool, any) {
			s.sell(t, 20, 300)
			k.read(t)
			return k.n >= most, k.n
		})
		d.Kill() // as often as not while others are being published
		t.Logf("killed after %d totals and %d purchases", k.n, s.seq)
		if round%2 == 1 { // the machine is lost
			if err := os.RemoveAll(state); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := stacktest.StartDaemon(t, config)
	s.sell(t, 500, 300)
	want := s.totals(t, time.Now())
	k.until(t, "the totals are right after the kills", want)
	s.shown(t, d, 3)
	loaded(t, "purchases", s.sold, d) // the window reads Kafka by itself, and may be ahead of the lake
	stopped(t, d)
	verified(t, config)
	agreed(t, want, s.inLake(t, l, time.Now()))
	s.recalculated(t, config, state)
	before := want

	nobody, err := os.OpenFile(os.DevNull, os.O_RDWR, 0) // is told the steps, and gives no orders
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	for _, days := range []int{1, 2, 35, 100, 300} {
		d := stacktest.StartChaosDaemon(t, config, nobody, nobody, fmt.Sprintf("clock %dh\n", 24*days))
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("log of the loader %d days later:\n%s", days, d.Log())
			}
		})
		at := time.Now().AddDate(0, 0, days)
		want := s.totals(t, at)
		k.until(t, fmt.Sprintf("the totals are right %d days later", days), want)
		agreed(t, want, s.inLake(t, l, at))
		d.Kill()
		t.Logf("right %d days later, after %d totals", days, k.n)
		if days == 100 { // nearly all has left by then
			fallen := 0
			for v, total := range want {
				if before[v] != "0.00" && total == "0.00" {
					fallen++
				}
			}
			if fallen < 10 {
				t.Errorf("the totals of %d visitors have fallen to nothing after three months", fallen)
			}
		}
		if days == 300 {
			for v, total := range want {
				if total != "0.00" || !strings.HasPrefix(v, "visitor-") {
					t.Errorf("%s still has %s", v, total)
				}
			}
		}
	}
}

// TestWindowHandedOver: two processes share the totals. One is held up for so long that the other takes everything over, and goes on with
// what it had begun; then the other is killed. Totals are right after each of it, and an update takes less than a second.
func TestWindowHandedOver(t *testing.T) {
	t.Parallel()
	l := restLake(t)
	s := newShop(t, 3, 5)
	k := s.told(t)
	config := s.configure(t, l, filepath.Join(t.TempDir(), "one"))
	one := stacktest.StartDaemon(t, config)
	s.sell(t, 1000, 100)
	right := func(what string) {
		t.Helper()
		s.sell(t, 300, 100)
		k.until(t, what, s.totals(t, time.Now()))
	}
	right("one process keeps the totals")
	var took []time.Duration
	for range 5 {
		took = append(took, s.latency(t, k))
	}
	t.Logf("from sending a purchase to reading the total: %v", took)
	two := stacktest.StartDaemon(t, s.configure(t, l, filepath.Join(t.TempDir(), "two")))
	two.WaitLog("slots of the window were taken over")
	right("two processes share the totals")
	one.Pause()
	right("one of two is held up")
	one.Resume()
	right("it goes on")
	two.Kill()
	right("the other is killed")
	stopped(t, one)
	verified(t, config)
}

// latency is how long it takes from sending a purchase until its total is read.
func (s *shop) latency(t *testing.T, k *told) time.Duration {
	t.Helper()
	s.seq++
	visitor := fmt.Sprintf("visitor-new-%d@example.org", s.seq)
	p := purchase{sku: "s", cents: 125, quantity: 2, visitor: visitor, at: time.Now().Truncate(time.Second)}
	s.note(t, p)
	started := time.Now()
	s.send(t.Context(), t, s.record(p))
	until(t, "a purchase changes its visitor's total", func() (bool, any) {
		k.read(t)
		return k.last[visitor] == "2.50", k.last[visitor]
	})
	return time.Since(started)
}

// recalculated has SQL over the lake agree with Python and with the topic; then a total in the topic is spoilt, which the job finds, and
// which is mended when the state is made anew.
func (s *shop) recalculated(t *testing.T, config, state string) {
	t.Helper()
	sql, stderr, code := stacktest.Lakeloader(t, "window", "sql", s.spend, "-c", config)
	if code != 0 {
		t.Fatalf("window sql ends with %d: %s", code, stderr)
	}
	out, stderr, code := stacktest.Lakeloader(t, "query", "-c", config, "-o", "json", "SELECT key, CAST(total AS VARCHAR) AS total FROM ("+sql+") AS totals")
	if code != 0 {
		t.Fatalf("query ends with %d: %s", code, stderr)
	}
	want := s.totals(t, time.Now())
	for line := range strings.Lines(out) {
		var row struct{ Key, Total string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if want[row.Key] != row.Total {
			t.Errorf("%s has %s by SQL, and %s by Python", row.Key, row.Total, want[row.Key])
		}
		delete(want, row.Key)
	}
	for v, total := range want {
		if total != "0.00" {
			t.Errorf("%s has %s by Python, and nothing by SQL", v, total)
		}
	}
	job := func() (string, int) {
		out, stderr, code := stacktest.Lakeloader(t, "job", "run", "window-"+s.spend, "-c", config)
		return out + stderr, code
	}
	if out, code := job(); code != 0 || !strings.Contains(out, "0 differ") {
		t.Errorf("the job ends with %d: %s", code, out)
	}
	if err := s.other.ProduceSync(t.Context(), &kgo.Record{Topic: s.spend, Partition: window.Slot([]byte("visitor-7@example.org"), 3), Key: []byte("visitor-7@example.org"), Value: []byte("0.01")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if out, code := job(); code == 0 || !strings.Contains(out, "visitor-7@example.org") || !strings.Contains(out, "1 total is") {
		t.Errorf("a total is wrong, and the job ends with %d: %s", code, out)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
}
