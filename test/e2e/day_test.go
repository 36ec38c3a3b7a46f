//go:build stack

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// How much is loaded: DAY_RECORDS clicks in DAY_COMMITS commits. make day loads 20 million in 2,000.
const (
	dayRecords = 40_000
	dayCommits = 80
)

func setting(t *testing.T, name string, without int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return without
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("%s is %q; it must be a positive number", name, text)
	}
	return n
}

// TestDay: a day of clicks, late and out of order, is loaded while compaction, expiry and aggregates run on their schedules and
// are killed again and again. In the end verify finds every offset, the aggregates are what DuckDB makes of the raw table,
// and files and metadata are few.
func TestDay(t *testing.T) {
	loadDay(t).judge(t, "DuckDB", stacktest.DuckDB, duckdbDay)
}

// day is a lake with a day of clicks.
type day struct {
	lake
	topic   string
	config  string
	n       int
	commits int
	uniques int // visitors that there may be
	runs    map[string]*dayRuns
	grown   growth
}

const dayPartitions = 4

// chunk is how many records a commit has.
func (d *day) chunk() int { return max(1, d.n/d.commits) }

func loadDay(t *testing.T) *day {
	t.Helper()
	t.Parallel()
	d := &day{lake: restLake(t), topic: stacktest.Topic(t, dayPartitions), n: setting(t, "DAY_RECORDS", dayRecords), commits: setting(t, "DAY_COMMITS", dayCommits)}
	d.uniques = min(d.n/10, 200_000)
	d.yaml += `jobs:
  in_daemon: false
  expire: {schedule: "@every 3s", age: 10s, keep_last: 5}
  compact: {schedule: "@every 2s", min_files: 4, quiet: 1s}
  complete: {schedule: "@every 2s"}
  history: {schedule: "@every 5s"}
  fold: {schedule: "@every 4s"}
  orphans: {schedule: "@every 30s"}
aggregates:
- name: clicks_daily
  source: clicks
  time: ts
  table: clicks_daily
  schedule: "@every 2s"
  sql: >
    SELECT campaignId, country, count(*) AS clicks, sum(pubId) AS pubs, min(ts) AS first_click, max(ts) AS last_click
    FROM source WHERE {{day}} GROUP BY campaignId, country
- name: visitors_daily
  source: clicks
  time: ts
  table: visitors_daily
  schedule: "@every 4s"
  group_by: [campaignId]
  measures:
  - {name: clicks, measure: count(*)}
  - {name: visitors, measure: approx_distinct(ip)}
`
	d.config = configure(t, d.lake, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [hour(ts)], complete: {lateness: 1h}}
  commit: {records: %d, interval: 2s}
`, d.topic, d.chunk()))
	loader := stacktest.StartDaemon(t, d.config)
	ctx, cancel := context.WithCancel(t.Context())
	k := newKiller(stacktest.Binary(t), d.config, min(8*time.Second, time.Second+time.Duration(d.commits)*10*time.Millisecond), t.Errorf)
	ended := make(chan map[string]*dayRuns)
	go func() { ended <- k.run(ctx) }()
	began := time.Now()
	d.produce(t, loader, k.tidy)
	awaitDay(t, "clicks", int64(d.n), loader)
	took := time.Since(began)
	cancel()
	d.runs = <-ended
	stopped(t, loader)
	t.Logf("%d clicks were loaded in %v; the jobs meanwhile:\n%s", d.n, took.Round(time.Second), reportRuns(t, d.runs, d.commits))
	for _, name := range dayJobs {
		began := time.Now()
		out := job(t, d.config, name)
		t.Logf("%s(%s took %v)", out, name, time.Since(began).Round(time.Millisecond))
	}
	d.grown.note(t, d, "all jobs ran once more")
	t.Logf("the table grew so:\n%s", d.grown)
	return d
}

// awaitDay waits until as many records are committed.
func awaitDay(t *testing.T, pipeline string, records int64, loader *stacktest.Daemon) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last, since := int64(-1), time.Now()
	for {
		at, err := committed(loader, pipeline)
		sum := int64(0)
		for _, next := range at {
			sum += next
		}
		switch {
		case err == nil && sum >= records:
			return
		case !loader.Running():
			t.Fatalf("the loader ended by itself with %d", loader.Wait())
		case sum != last:
			last, since = sum, time.Now()
		case time.Since(since) > 90*time.Second:
			t.Fatalf("nothing was loaded for 90 s: %d of %d, %v", sum, records, err)
		}
		<-tick.C
	}
}

// produce sends the clicks of a day: most within ten seconds of their time, a tenth up to ten minutes late, one in a
// hundred up to twelve hours, which may be the day before. It waits for each commit, so that there are as many as were asked for.
//
// A real day leaves a minute between two commits, here it is less than a second, in which a job hardly gets a commit through that
// changes thousands of files. So there is a pause every tenth of the day, in which those run to their end that keep files and metadata few.
func (d *day) produce(t *testing.T, loader *stacktest.Daemon, pause func()) {
	t.Helper()
	schema := stacktest.Register(t, d.topic+"-value", "AVRO", stacktest.ClickSchema)
	client := stacktest.Producer(t, kgo.DefaultProduceTopic(d.topic), kgo.MaxBufferedRecords(50_000), kgo.ProducerLinger(5*time.Millisecond))
	rnd := rand.New(rand.NewPCG(1, 2))
	began := time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC).UnixMicro()
	var once sync.Once
	var failed error
	for i := range d.n {
		late := rnd.Int64N(10_000_000)
		switch k := rnd.IntN(100); {
		case k == 0:
			late = rnd.Int64N(12 * 3600 * 1_000_000)
		case k <= 10:
			late = rnd.Int64N(600 * 1_000_000)
		}
		at := began + int64(float64(i)/float64(d.n)*86_400_000_000) - late
		value := d.click(rnd, schema, at)
		client.Produce(t.Context(), &kgo.Record{Partition: int32(i % dayPartitions), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { failed = err })
			}
		})
		if sent := i + 1; sent%d.chunk() == 0 {
			if err := client.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			awaitDay(t, "clicks", int64(sent), loader)
			if sent/d.chunk()%max(1, d.commits/10) == 0 {
				d.grown.note(t, d, "")
				pause()
				d.grown.note(t, d, "after a pause")
			}
		}
	}
	if err := client.Flush(t.Context()); err != nil || failed != nil {
		t.Fatalf("producing: %v, %v", err, failed)
	}
}

func (d *day) click(rnd *rand.Rand, schema uint32, at int64) []byte {
	city, visitor := rnd.IntN(8), rnd.IntN(d.uniques)
	v := binary.BigEndian.AppendUint32(make([]byte, 1, 112), schema)
	v = stacktest.AvroText(v, fmt.Sprintf("%08x-%04x-4000-8000-%012x", rnd.Uint32(), rnd.IntN(1<<16), rnd.Int64N(1<<48)))
	v = binary.AppendVarint(v, int64(1+rnd.IntN(10)))
	v = binary.AppendVarint(v, int64(1+rnd.IntN(5)))
	v = binary.AppendVarint(v, at)
	for _, text := range []string{fmt.Sprintf("10.%d.%d.%d", visitor>>16&255, visitor>>8&255, visitor&255),
		[...]string{"Brussels", "Paris", "London", "New York", "Berlin", "Madrid", "Rome", "Oslo"}[city],
		[...]string{"BE", "FR", "GB", "US", "DE", "ES", "IT", "NO"}[city], [...]string{"Chrome", "Firefox", "Safari"}[rnd.IntN(3)],
		[...]string{"iOS", "Android", "Windows", "Linux", "macOS"}[rnd.IntN(5)], [...]string{"1.2", "10.0", "17.4.1"}[rnd.IntN(3)]} {
		v = stacktest.AvroText(v, text)
	}
	return v
}

// daySQL is how an engine writes what others write differently.
type daySQL struct{ date, micros string }

var duckdbDay = daySQL{date: "CAST(ts AS DATE)", micros: "epoch_us(%s)"}

// judge compares the lake with what an engine that is not ours makes of the raw table.
func (d *day) judge(t *testing.T, name string, engine func(testing.TB, stacktest.Table, stacktest.Read) stacktest.Report, sql daySQL) {
	t.Helper()
	verified(t, d.config)
	first, last := fmt.Sprintf(sql.micros, "min(ts)"), fmt.Sprintf(sql.micros, "max(ts)")
	raw := engine(t, d.named("clicks"), stacktest.Read{SQL: []string{
		fmt.Sprintf("SELECT %s AS d, campaignId, country, count(*), sum(pubId), %s, %s FROM {source} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3", sql.date, first, last),
		fmt.Sprintf("SELECT %s AS d, campaignId, count(*), count(DISTINCT ip) FROM {source} GROUP BY 1, 2 ORDER BY 1, 2", sql.date),
	}})
	if raw.Rows != int64(d.n) || len(raw.Partitions) != dayPartitions {
		t.Errorf("%s finds %d rows of %d partitions; %d were produced", name, raw.Rows, len(raw.Partitions), d.n)
	}
	for _, p := range raw.Partitions {
		if p.Duplicates != 0 || len(p.Ranges) != 1 {
			t.Errorf("%s: partition %d has %d duplicates, and offsets %v", name, p.Partition, p.Duplicates, p.Ranges)
		}
	}
	first, last = fmt.Sprintf(sql.micros, "first_click"), fmt.Sprintf(sql.micros, "last_click")
	daily := engine(t, d.named("clicks_daily"), stacktest.Read{SQL: []string{
		fmt.Sprintf("SELECT day, campaignId, country, clicks, pubs, %s, %s FROM {source} ORDER BY 1, 2, 3", first, last)}})
	if want, got := raw.Results[0], daily.Results[0]; len(want) == 0 || !reflect.DeepEqual(want, got) {
		t.Errorf("%s: the daily aggregate has %d rows, the raw table gives %d: %s", name, len(got), len(want), firstDifference(want, got))
	}
	visitors := engine(t, d.named("visitors_daily"), stacktest.Read{SQL: []string{"SELECT day, campaignId, clicks, visitors FROM {source} ORDER BY 1, 2"}})
	if want, got := raw.Results[1], visitors.Results[0]; len(want) != len(got) {
		t.Errorf("%s: %d rows of visitors, the raw table gives %d", name, len(got), len(want))
	} else {
		for i := range want {
			exact, estimate := number(t, want[i][3]), number(t, got[i][3])
			if !reflect.DeepEqual(want[i][:3], got[i][:3]) || estimate < exact*0.93-1 || estimate > exact*1.07+1 {
				t.Errorf("%s: visitors %v, the raw table gives %v", name, got[i], want[i])
			}
		}
	}
	runs := engine(t, d.named("lakeloader_jobs"), stacktest.Read{SQL: []string{"SELECT count(*) - count(DISTINCT run) FROM {source}"}})
	if runs.Rows < int64(len(dayJobs)) || fmt.Sprint(runs.Results[0]) != "[[0]]" {
		t.Errorf("%s: the table of runs has %d rows, of which %v are there again", name, runs.Rows, runs.Results[0])
	}
	d.bounded(t)
}

func number(t *testing.T, v any) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func firstDifference(want, got [][]any) string {
	for i := range want {
		if i >= len(got) || !reflect.DeepEqual(want[i], got[i]) {
			return fmt.Sprintf("row %d is %v, and not %v", i, append(got, nil)[min(i, len(got))], want[i])
		}
	}
	return "there are more"
}

// bounded: neither files nor metadata grow with the number of commits.
func (d *day) bounded(t *testing.T) {
	t.Helper()
	r := stacktest.PyIceberg(t, d.named("clicks"), stacktest.Read{Metadata: true})
	if through := r.Properties["lakeloader.complete.clicks.through"]; !strings.Contains(through, `"through":"20`) {
		t.Errorf("it is not said what is complete: %q", through)
	}
	commits := 0
	for _, x := range r.Snapshots {
		if n, err := strconv.Atoi(x.Summary["lakeloader.round"]); err == nil {
			commits = max(commits, n)
		}
	}
	t.Logf("%d records in %d commits and more: %d data files, %d snapshots, %d manifests, %d bytes of metadata, %d objects with those that wait to be orphans",
		d.n, commits, len(r.Files), len(r.Snapshots), len(r.Manifests), r.MetadataBytes, len(d.objects(t)))
	// 37 hours, in each up to what is not worth a merge; snapshots of some seconds; manifests up to the next merge of them
	if hours := 37; len(r.Files) > hours*8 || len(r.Snapshots) > 200 || len(r.Manifests) > 120 || r.MetadataBytes > 300_000 {
		t.Errorf("too much is left: %d data files, %d snapshots, %d manifests, %d bytes of metadata", len(r.Files), len(r.Snapshots), len(r.Manifests), r.MetadataBytes)
	}
}
