//go:build stack

// Package memory holds tests of the real binary under a small memory ceiling: whatever the records, the object store
// and the number of partitions, the process's resident memory stays below 1.15 times memory.limit, and the table holds
// every record exactly once.
package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
	"github.com/lakeloader/lakeloader/test/usage"
)

// patience is how long a test waits for everything to be loaded.
const patience = 4 * time.Minute

const (
	mib = int64(1) << 20
	// over is how far resident memory may exceed the ceiling.
	over = 1.15
)

// work is a topic that one pipeline loads into a lake of the test's own under a ceiling.
type work struct {
	t     *testing.T
	dir   string
	topic string
	limit int64 // bytes

	warehouse   string // section of the configuration, as a YAML flow mapping
	columns     string
	partitionBy string
	commit      string
	files       string
	batch       int32 // bytes of a producer's batch at most

	// Further settings, each with a comma before it: of decode and of table; and further sections, in lines.
	decode, table, sections string
}

func newWork(t *testing.T, partitions int, limit int64, topic map[string]string) *work {
	t.Helper()
	w := &work{
		t: t, dir: t.TempDir(), topic: stacktest.Name("topic"), limit: limit,
		warehouse:   "{location: ./lake}",
		columns:     "[{name: id, type: long required}, {name: at, type: timestamptz required}, {name: name, type: string}]",
		partitionBy: "[hour(at)]",
		commit:      "{interval: 5s}",
		files:       "{}",
		batch:       1 << 20,
	}
	stacktest.CreateTopic(t, stacktest.Kafka(t), w.topic, partitions, topic)
	return w
}

// inS3 moves the warehouse into a bucket behind an endpoint.
func (w *work) inS3(endpoint, bucket string) {
	w.t.Helper()
	access, secret := stacktest.S3Keys(w.t)
	w.warehouse = fmt.Sprintf("{location: s3://%s/lake, s3: {endpoint: %q, access_key: %s, secret_key: %s}}", bucket, endpoint, access, secret)
}

func (w *work) config() string {
	w.t.Helper()
	text := fmt.Sprintf(`kafka: {brokers: [%q]}
catalog: {type: sqlite, uri: ./catalog.db}
warehouse: %s
http: {address: "127.0.0.1:0"}
log: {format: json}
memory: {limit: %d}
pipelines:
- name: events
  source: {topics: [%s]}
  decode: {value: {format: json, columns: %s}%s}
  table: {name: events, partition_by: %s%s}
  commit: %s
  files: %s
%s`, stacktest.Kafka(w.t), w.warehouse, w.limit, w.topic, w.columns, w.decode, w.partitionBy, w.table, w.commit, w.files, w.sections)
	path := filepath.Join(w.dir, "lakeloader.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// produce sends n records, the i-th of which make gives, to the partition that it names.
func (w *work) produce(n int, make func(i int) *kgo.Record) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(stacktest.Kafka(w.t)), kgo.DefaultProduceTopic(w.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(w.batch), kgo.MaxBufferedBytes(64<<20), kgo.ProducerLinger(20*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	var failed atomic.Pointer[error]
	for i := range n {
		c.Produce(ctx, make(i), func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := c.Flush(ctx); err != nil {
		w.t.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		w.t.Fatalf("producing: %v", *err)
	}
}

// daemon is a running loader whose memory is watched.
type daemon struct {
	*stacktest.Daemon
	w    *work
	done chan struct{}
	peak chan int64
}

func (w *work) start() *daemon {
	w.t.Helper()
	d := &daemon{Daemon: stacktest.StartDaemon(w.t, w.config()), w: w, done: make(chan struct{}), peak: make(chan int64, 1)}
	go d.watch()
	return d
}

// watch samples the greatest resident memory of the process so far: what the kernel kept is lost with the process.
func (d *daemon) watch() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	most := int64(0)
	for {
		if n, err := usage.MemoryOf(d.PID(), usage.Peak); err == nil { // fails once the process is gone
			most = max(most, n)
		}
		select {
		case <-d.done:
			d.peak <- most
			return
		case <-tick.C:
		}
	}
}

func (d *daemon) status() (st obs.Status, err error) {
	req, err := http.NewRequestWithContext(d.w.t.Context(), http.MethodGet, "http://"+d.HTTP()+"/api/status", nil)
	if err != nil {
		return st, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	return st, json.NewDecoder(resp.Body).Decode(&st)
}

// until waits until the status of the pipeline is as wanted.
func (d *daemon) until(what string, wanted func(obs.PipelineStatus) bool) {
	d.w.t.Helper()
	d.untilAll(what, func(st obs.Status) bool { return len(st.Pipelines) == 1 && wanted(st.Pipelines[0]) })
}

// untilAll waits until the status is as wanted.
func (d *daemon) untilAll(what string, wanted func(obs.Status) bool) {
	d.w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		st, err := d.status()
		if err != nil {
			d.w.t.Fatalf("%v; the daemon's log:\n%s", err, d.Log())
		}
		if wanted(st) {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			d.w.t.Fatalf("waiting until %s: after %v the status is %+v", what, patience, st)
		}
	}
}

// loaded waits until n records are committed, stops the daemon, has verify account for every record, and checks the
// greatest resident memory against the ceiling.
func (d *daemon) loaded(n int) {
	d.w.t.Helper()
	began := time.Now()
	d.until("everything is committed", func(p obs.PipelineStatus) bool { return p.Rows >= int64(n) })
	took := time.Since(began)
	if code := d.Stop(); code != 0 {
		d.w.t.Errorf("the daemon stops with exit code %d", code)
	}
	close(d.done)
	peak := <-d.peak
	d.w.t.Logf("ceiling %d MiB, greatest resident memory %.1f MiB (%.2f times), %v", d.w.limit/mib, float64(peak)/float64(mib), float64(peak)/float64(d.w.limit), took)
	if float64(peak) > over*float64(d.w.limit) {
		d.w.t.Errorf("resident memory reached %d bytes with a ceiling of %d", peak, d.w.limit)
	}
	if strings.Contains(d.Log(), "starts again from what the table says") {
		d.w.t.Errorf("the pipeline failed on the way:\n%s", d.Log())
	}
	stdout, stderr, code := stacktest.Lakeloader(d.w.t, "verify", "-c", d.w.config())
	want := fmt.Sprintf("OK: all %d offsets are accounted for exactly once: %d rows, 0 filtered, 0 dead letters, 0 gaps", n, n)
	if code != 0 || !strings.Contains(stdout, want) {
		d.w.t.Errorf("verify: exit code %d, want %q:\n%s%s", code, want, stdout, stderr)
	}
}
