//go:build stack

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hamba/avro/v2/ocf"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// crowd is a lake of clicks, among them those of persons who want to be forgotten, which a loader fills.
type crowd struct {
	l       lake
	config  string
	clicks  *stacktest.Clicks
	truth   *stacktest.Truth
	kafka   *kgo.Client
	d       *stacktest.Daemon
	persons []string // their keys
}

// newCrowd loads 2,000 clicks, each of somebody else.
func newCrowd(t *testing.T, partition string) *crowd {
	t.Helper()
	topic := stacktest.Topic(t, 2)
	g := &crowd{l: restLake(t), clicks: stacktest.NewClicks(t, topic, 2), truth: stacktest.NewTruth(), kafka: stacktest.Producer(t)}
	g.l.yaml += "jobs: {in_daemon: false, compact: {min_files: 2, quiet: 1s}}\n"
	g.config = configure(t, g.l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [%s]}
  files: {compression: none}
  commit: {interval: 500ms}
`, topic, partition))
	g.d = stacktest.StartDaemon(t, g.config)
	sent(t, g.kafka, g.truth, g.clicks.Some(2000)...)
	loaded(t, "clicks", g.truth.Reached(), g.d)
	for _, r := range g.truth.Rows {
		if len(g.persons) < 60 {
			g.persons = append(g.persons, r["uuid"].(string))
		}
	}
	if list := having(t, g.l, g.persons); len(list) == 0 {
		t.Fatal("the search finds nothing")
	}
	return g
}

// keys is a file with the keys of persons.
func (g *crowd) keys(t *testing.T, persons []string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.csv")
	if err := os.WriteFile(file, []byte("uuid\n"+strings.Join(persons, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// goesOn sends clicks, until end is called, which returns when all of them are loaded and the loader has ended. do goes on beside it, until
// its context ends.
func (g *crowd) goesOn(t *testing.T, do ...func(ctx context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	beside.Go(func() {
		for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C { // few, as a busy machine takes long
			if ctx.Err() != nil {
				tick.Stop()
				return
			}
			if err := produce(t.Context(), g.kafka, g.truth, g.clicks.Some(5)...); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for _, f := range do {
		beside.Go(func() { f(ctx) })
	}
	t.Cleanup(beside.Wait)
	t.Cleanup(cancel)
	return func() {
		t.Helper()
		cancel()
		beside.Wait()
		loaded(t, "clicks", g.truth.Reached(), g.d)
		stopped(t, g.d)
	}
}

// forgotten has the proof name just what a search of all objects finds, which is what programs left behind that gave up or were killed; and
// other readers find all rows of everybody else, value by value.
func (g *crowd) forgotten(t *testing.T, file string) {
	t.Helper()
	left := heldStill(t, g.config, file)
	found := having(t, g.l, g.persons)
	if !slices.Equal(left, found) {
		t.Errorf("the proof names %v, the search finds %v", left, found)
	}
	remove(t, found)
	if left = heldStill(t, g.config, file); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	for at, r := range g.truth.Rows {
		if slices.Contains(g.persons, r["uuid"].(string)) {
			delete(g.truth.Rows, at)
		}
	}
	sums := []string{"campaignId", "pubId", "_kafka_offset"}
	iceberg := stacktest.PyIceberg(t, g.l.named("clicks"), stacktest.Read{Sums: sums, Rows: true})
	g.truth.Holds(t, iceberg)
	if d := iceberg.Differences(stacktest.DuckDB(t, g.l.named("clicks"), stacktest.Read{Sums: sums})); d != nil {
		t.Errorf("DuckDB: %v", d)
	}
	verified(t, g.config)
}

// Persons are forgotten while a loader and compactions go on. Then no object in S3 has the text of their keys, in whatever it is written;
// and other readers find all other rows, value by value.
func TestForgotten(t *testing.T) {
	t.Parallel()
	g := newCrowd(t, "country")
	file := g.keys(t, g.persons)
	end := g.goesOn(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			if _, stderr, code := stacktest.Lakeloader(t, "job", "run", "compact", "-c", g.config); code != 0 {
				t.Errorf("compact ends with %d: %s", code, stderr)
			}
		}
	})
	stdout, stderr, code := stacktest.Lakeloader(t, "forget", "-c", g.config, "--keys-file", file, "--yes")
	if code != 0 || !strings.Contains(stdout, "60 rows") || !strings.Contains(stdout, "Done, in round") {
		t.Errorf("forget ends with %d:\n%s%s", code, stdout, stderr)
	}
	end()
	if list := having(t, g.l, g.persons); len(list) == 0 {
		t.Error("older snapshots do not have the rows any more")
	}
	g.forgotten(t, file)
}

// Each run of forget is killed (kill -9) at a later step of its swaps than the one before, beside a loader that commits all the time, and has
// persons of its own to take out; the last but one ends by itself. Whatever they left, one more takes out all of them, and nobody else.
func TestForgetKilled(t *testing.T) {
	t.Parallel()
	g := newCrowd(t, "")
	end := g.goesOn(t)
	nobody, err := os.OpenFile(os.DevNull, os.O_RDWR, 0) // is told the steps, and gives no orders
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	killed, left := 0, g.persons
	for step := 1 + rand.IntN(5); ; step += 6 {
		if len(left) == 0 {
			t.Fatalf("a run does not end in %d steps", step)
		}
		run := stacktest.StartChaosCommand(t, nobody, nobody, fmt.Sprintf("after %d kill\n", step), "forget", "-c", g.config, "--keys-file", g.keys(t, left[:3]), "--yes", "--now")
		code := run.Wait()
		t.Logf("step %d: %d", step, code)
		if left = left[3:]; code >= 0 {
			if !strings.Contains(run.Log(), "Done, in round") {
				t.Errorf("forget ends with %d: %s", code, run.Log())
			}
			break
		}
		killed++
	}
	if killed < 4 {
		t.Errorf("%d runs were killed", killed)
	}
	file := g.keys(t, g.persons)
	if stdout, stderr, code := stacktest.Lakeloader(t, "forget", "-c", g.config, "--keys-file", file, "--yes"); code != 0 {
		t.Errorf("forget ends with %d:\n%s%s", code, stdout, stderr)
	}
	end()
	g.forgotten(t, file)
}

// heldStill expires at once, and gives what the proof says is left: orphans at most.
func heldStill(t *testing.T, config, file string) (list []string) {
	t.Helper()
	stdout, stderr, code := stacktest.Lakeloader(t, "forget", "-c", config, "--keys-file", file, "--yes", "--now", "-o", "json")
	var rep struct {
		Proved  bool
		Rows    int64
		Holders []struct {
			URI, Why string
			Until    time.Time
		}
	}
	if err := json.Unmarshal([]byte(stdout), &rep); err != nil || rep.Rows != 0 || rep.Proved != (len(rep.Holders) == 0) || rep.Proved != (code == 0) {
		t.Errorf("forget --now ends with %d (%v):\n%s%s", code, err, stdout, stderr)
	}
	for _, h := range rep.Holders {
		if !strings.HasPrefix(h.Why, "no snapshot refers to it") || h.Until.Before(time.Now().Add(71*time.Hour)) {
			t.Errorf("%+v", h)
		}
		list = append(list, h.URI)
	}
	slices.Sort(list)
	return list
}

// remove deletes objects, as the job orphans would days later.
func remove(t *testing.T, uris []string) {
	t.Helper()
	for _, uri := range uris {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(uri, "s3://"), "/")
		if _, err := stacktest.S3Client(t, stacktest.S3(t)).DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
}

// having are the objects of the lake, and of the catalog's own folder for it, that have the text of a key, or what bounds are cut to.
func having(t *testing.T, l lake, persons []string) (list []string) {
	t.Helper()
	client := stacktest.S3Client(t, stacktest.S3(t))
	for _, root := range []string{l.warehouse, "s3://warehouse/rest/" + l.table.Table} {
		bucket, prefix, _ := strings.Cut(strings.TrimPrefix(root, "s3://"), "/")
		pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Contents {
				got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: o.Key})
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(got.Body)
				if err != nil {
					t.Fatal(err)
				}
				if hasAny(t, *o.Key, data, persons) {
					list = append(list, "s3://"+bucket+"/"+*o.Key)
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

// hasAny looks at the bytes, and at what the blocks of an Avro file have in them.
func hasAny(t *testing.T, name string, data []byte, persons []string) bool {
	t.Helper()
	if strings.HasSuffix(name, ".avro") {
		d, err := ocf.NewDecoder(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for d.HasNext() {
			var v any
			if err := d.Decode(&v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			data = append(data, fmt.Sprintf("%s", v)...)
		}
	}
	for _, id := range persons {
		if bytes.Contains(data, []byte(id[:15])) {
			return true
		}
	}
	return false
}
