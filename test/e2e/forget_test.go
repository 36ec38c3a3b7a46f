//go:build stack

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hamba/avro/v2/ocf"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// Persons are forgotten while a loader and compactions go on. Then no object in S3 has the text of their keys, in whatever it is written;
// and other readers find all other rows, value by value.
func TestForgotten(t *testing.T) {
	t.Parallel()
	l, topic := restLake(t), stacktest.Topic(t, 2)
	l.yaml += "jobs: {in_daemon: false, compact: {min_files: 2, quiet: 1s}}\n"
	config := configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [country]}
  files: {compression: none}
  commit: {interval: 500ms}
`, topic))
	c, w, kafka := stacktest.NewClicks(t, topic, 2), stacktest.NewTruth(), stacktest.Producer(t)
	d := stacktest.StartDaemon(t, config)
	sent(t, kafka, w, c.Some(2000)...)
	loaded(t, "clicks", w.Reached(), d)
	persons, keys := map[string]bool{}, []string{"uuid"}
	for _, r := range w.Rows {
		if id := r["uuid"].(string); len(persons) < 60 {
			persons[id], keys = true, append(keys, id)
		}
	}
	file := filepath.Join(t.TempDir(), "keys.csv")
	if err := os.WriteFile(file, []byte(strings.Join(keys, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list := having(t, l, persons); len(list) == 0 {
		t.Fatal("the search finds nothing")
	}

	ctx, cancel := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	beside.Go(func() {
		for tick := time.NewTicker(30 * time.Millisecond); ; <-tick.C {
			if ctx.Err() != nil {
				tick.Stop()
				return
			}
			if err := produce(t.Context(), kafka, w, c.Some(25)...); err != nil {
				t.Error(err)
				return
			}
		}
	})
	beside.Go(func() {
		for ctx.Err() == nil {
			if _, stderr, code := stacktest.Lakeloader(t, "job", "run", "compact", "-c", config); code != 0 {
				t.Errorf("compact ends with %d: %s", code, stderr)
			}
		}
	})
	stdout, stderr, code := stacktest.Lakeloader(t, "forget", "-c", config, "--keys-file", file, "--yes")
	if code != 0 || !strings.Contains(stdout, "60 rows") || !strings.Contains(stdout, "Done, in round") {
		t.Errorf("forget ends with %d:\n%s%s", code, stdout, stderr)
	}
	cancel()
	beside.Wait()
	loaded(t, "clicks", w.Reached(), d)
	stopped(t, d)
	if list := having(t, l, persons); len(list) == 0 {
		t.Error("older snapshots do not have the rows any more")
	}
	// What lost a race, compactions and swaps, leaves what it wrote to the removal of orphans: the proof names just what the search finds.
	left := heldStill(t, config, file)
	found := having(t, l, persons)
	if !slices.Equal(left, found) {
		t.Errorf("the proof names %v, the search finds %v", left, found)
	}
	remove(t, found)
	if left = heldStill(t, config, file); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	for at, r := range w.Rows {
		if persons[r["uuid"].(string)] {
			delete(w.Rows, at)
		}
	}
	sums := []string{"campaignId", "pubId", "_kafka_offset"}
	iceberg := stacktest.PyIceberg(t, l.named("clicks"), stacktest.Read{Sums: sums, Rows: true})
	w.Holds(t, iceberg)
	if d := iceberg.Differences(stacktest.DuckDB(t, l.named("clicks"), stacktest.Read{Sums: sums})); d != nil {
		t.Errorf("DuckDB: %v", d)
	}
	verified(t, config)
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
func having(t *testing.T, l lake, persons map[string]bool) (list []string) {
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
func hasAny(t *testing.T, name string, data []byte, persons map[string]bool) bool {
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
	for id := range persons {
		if bytes.Contains(data, []byte(id[:15])) {
			return true
		}
	}
	return false
}
