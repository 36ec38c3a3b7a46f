//go:build stack

// Package badinput holds tests of the real binary when something is wrong: each cause gives a message that names what
// and where, the right exit code, and no loss. Once the cause is mended, everything arrives exactly once.
package badinput

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// Exit codes of lakeloader, as docs/operations.md promises them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitDeadline    = 4
)

// TestMain runs more tests at once than there are processors: most of them wait for servers that do not answer.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for something that must happen.
const patience = 90 * time.Second

// system is a topic with two partitions, a configuration, and a lake of the test's own. The fields are the sections of
// the configuration, as YAML flow mappings.
type system struct {
	t                 *testing.T
	dir, topic, group string

	kafka, registry, catalog, warehouse, http string
	decode, steps, commit                     string
	more                                      string          // further settings at the top
	reader                                    stacktest.Table // how readers find the table
}

// newSystem loads JSON into a local folder, with a SQLite catalog.
func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{
		t: t, dir: t.TempDir(), topic: stacktest.Topic(t, 2), group: stacktest.Name("group"),
		kafka:     "{brokers: " + stacktest.Kafka(t) + "}",
		registry:  "{}",
		catalog:   "{type: sqlite}",
		warehouse: "{location: ./lake}",
		http:      "{address: 127.0.0.1:0}",
		decode:    "{value: {format: json, columns: [{name: id, type: long required}, {name: name, type: string}]}}",
		steps:     "[]",
		commit:    "{interval: 300ms}",
	}
	s.reader = stacktest.Table{Catalog: "sqlite", URI: filepath.Join(s.dir, "lake", "catalog.db"), Table: "lake.events"}
	return s
}

// inS3 moves the warehouse into a bucket at an endpoint; the catalog stays in the test's folder.
func (s *system) inS3(endpoint, bucket string) {
	s.t.Helper()
	access, secret := stacktest.S3Keys(s.t)
	s.catalog = "{type: sqlite, uri: ./catalog.db}"
	s.warehouse = fmt.Sprintf("{location: s3://%s/lake, s3: {endpoint: %q, access_key: %s, secret_key: %s}}", bucket, endpoint, access, secret)
	s.reader.URI = filepath.Join(s.dir, "catalog.db")
}

// config writes the configuration and returns its path.
func (s *system) config() string {
	s.t.Helper()
	text := fmt.Sprintf(`kafka: %s
registry: %s
catalog: %s
warehouse: %s
http: %s
pipelines:
- name: events
  source: {topics: [%s], group: %s}
  decode: %s
  cleanse: %s
  table: {name: events}
  commit: %s
%s
`, s.kafka, s.registry, s.catalog, s.warehouse, s.http, s.topic, s.group, s.decode, s.steps, s.commit, s.more)
	path := filepath.Join(s.dir, "lakeloader.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// refused runs the daemon, which must end by itself with the exit code and a message that holds all texts.
func (s *system) refused(code int, texts ...string) {
	s.t.Helper()
	_, stderr, got := stacktest.Lakeloader(s.t, "run", "-c", s.config())
	if got != code {
		s.t.Errorf("exit code %d, want %d", got, code)
	}
	says(s.t, stderr, texts...)
}

// refusedAtOnce is refused, without the half minute for which servers may be unreachable at start. Since the machine may be
// busy, it has three attempts.
func (s *system) refusedAtOnce(code int, texts ...string) {
	s.t.Helper()
	least := time.Hour
	for range 3 {
		began := time.Now()
		s.refused(code, texts...)
		if least = min(least, time.Since(began)); least < 20*time.Second {
			return
		}
	}
	s.t.Errorf("the refusal took %v", least)
}

func says(t *testing.T, got string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(got, text) {
			t.Errorf("the message does not say %q:\n%s", text, got)
		}
	}
}

// produce sends the records from <= id < to as JSON, half of them to each partition.
func (s *system) produce(from, to int) {
	s.t.Helper()
	var rs []*kgo.Record
	for id := from; id < to; id++ {
		rs = append(rs, &kgo.Record{Partition: int32(id % 2), Value: fmt.Appendf(nil, `{"id": %d, "name": "n%d"}`, id, id)})
	}
	s.send(rs...)
}

// send sends records to the partitions that they name.
func (s *system) send(rs ...*kgo.Record) {
	s.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(stacktest.Kafka(s.t)), kgo.DefaultProduceTopic(s.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(s.t.Context(), rs...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

// start starts the daemon.
func (s *system) start() *daemon {
	s.t.Helper()
	return &daemon{stacktest.StartDaemon(s.t, s.config()), s}
}

// loaded stops the daemon cleanly, and has verify and PyIceberg say that the table holds the ids 0 <= id < n exactly
// once, and that dead records are accounted for elsewhere.
func (d *daemon) loaded(n, dead int) {
	d.s.t.Helper()
	d.until(func(p obs.PipelineStatus) bool {
		committed := int64(0) // offsets, since rows are counted from the process's start
		for _, t := range p.Partitions {
			committed += t.Committed
		}
		return committed >= int64(n+dead)
	})
	if code := d.Stop(); code != 0 {
		d.s.t.Errorf("the daemon stops with exit code %d", code)
	}
	d.s.holds(n, dead)
}

// holds is what loaded says of the table.
func (s *system) holds(n, dead int) {
	s.t.Helper()
	stdout, stderr, code := stacktest.Lakeloader(s.t, "verify", "-c", s.config())
	want := fmt.Sprintf("OK: all %d offsets are accounted for exactly once: %d rows, 0 filtered, %d dead letters, 0 gaps", n+dead, n, dead)
	if code != 0 || !strings.Contains(stdout, want) {
		s.t.Errorf("verify: exit code %d, want %q:\n%s%s", code, want, stdout, stderr)
	}
	r := stacktest.PyIceberg(s.t, s.reader, stacktest.Read{Sums: []string{"id"}, Rows: true})
	seen := map[string]int{}
	for _, row := range r.Data {
		seen[fmt.Sprint(row["id"])]++
	}
	for id := range n {
		if seen[fmt.Sprint(id)] != 1 {
			s.t.Errorf("PyIceberg finds id %d %d times", id, seen[fmt.Sprint(id)])
		}
	}
	if r.Rows != int64(n) || r.Columns["id"].Sum != fmt.Sprint(n*(n-1)/2) {
		s.t.Errorf("PyIceberg finds %d rows with the sum %s, want %d rows with the ids from 0", r.Rows, r.Columns["id"].Sum, n)
	}
}

// daemon is a running lakeloader.
type daemon struct {
	*stacktest.Daemon
	s *system
}

// get asks the daemon's HTTP endpoint.
func (d *daemon) get(path string) (int, string) {
	d.s.t.Helper()
	req, err := http.NewRequestWithContext(d.s.t.Context(), http.MethodGet, "http://"+d.HTTP()+path, nil)
	if err != nil {
		d.s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.s.t.Fatalf("%v; the daemon's log:\n%s", err, d.Log())
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := io.Copy(&body, resp.Body); err != nil {
		d.s.t.Fatal(err)
	}
	return resp.StatusCode, body.String()
}

func (d *daemon) status() obs.PipelineStatus {
	d.s.t.Helper()
	_, body := d.get("/api/status")
	var st obs.Status
	if err := json.Unmarshal([]byte(body), &st); err != nil || len(st.Pipelines) != 1 {
		d.s.t.Fatalf("the status is %s (%v)", body, err)
	}
	return st.Pipelines[0]
}

// until waits until the status is as wanted, and returns it.
func (d *daemon) until(wanted func(obs.PipelineStatus) bool) obs.PipelineStatus {
	d.s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		st := d.status()
		if wanted(st) {
			return st
		}
		select {
		case <-tick.C:
		case <-end.C:
			d.s.t.Fatalf("after %v the status is %+v; the daemon's log:\n%s", patience, st, d.Log())
		}
	}
}

// troubled waits until the pipeline is in the phase, and checks that the status, /readyz and the status command say why.
func (d *daemon) troubled(phase obs.Phase, texts ...string) {
	d.s.t.Helper()
	d.until(func(p obs.PipelineStatus) bool {
		why := p.Reason
		if phase == obs.Failing && p.LastError != nil {
			why = p.LastError.Message
		}
		for _, text := range texts {
			if !strings.Contains(why, text) {
				return false
			}
		}
		return p.Phase == phase
	})
	code, body := d.get("/readyz")
	if code != http.StatusServiceUnavailable {
		d.s.t.Errorf("/readyz answers %d: %s", code, body)
	}
	says(d.s.t, body, append([]string{"events: ", string(phase)}, texts...)...)
	if code, body := d.get("/healthz"); code != http.StatusOK {
		d.s.t.Errorf("/healthz answers %d: %s", code, body)
	}
	stdout, stderr, code := stacktest.Lakeloader(d.s.t, "status", "--address", d.HTTP())
	if code != 0 {
		d.s.t.Errorf("status: exit code %d: %s", code, stderr)
	}
	says(d.s.t, stdout, append([]string{"not ready", string(phase)}, texts...)...)
}

// ready waits until /readyz says so.
func (d *daemon) ready() {
	d.s.t.Helper()
	d.until(func(p obs.PipelineStatus) bool { return p.Ready })
}
