//go:build stack

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// After small files were merged and old snapshots have expired with their files, other readers find the same rows, value by
// value, and verify accounts for every offset.
func TestCompactedAndExpired(t *testing.T) {
	orders := map[string]string{"postgres": ", sort_by: [campaignId, ts desc]", "folder": ", z_order: [campaignId, ts, city]"}
	for name, open := range map[string]func(*testing.T) lake{"rest": restLake, "postgres": postgresLake, "folder": folderLake} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, topic := open(t), stacktest.Topic(t, 2)
			l.yaml += "jobs: {in_daemon: false, compact: {min_files: 2, quiet: 1s}, expire: {age: 1s, keep_last: 1}}\n"
			config := configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [day(ts), country]%s}
  commit: {interval: 1s}
%s`, topic, orders[name], stacktest.ClickSteps))
			c, w, kafka := stacktest.NewClicks(t, topic, 2), stacktest.NewTruth(), stacktest.Producer(t)
			c.Spoilt = true
			d := stacktest.StartDaemon(t, config)
			for range 5 { // rounds at least
				sent(t, kafka, w, c.Some(200)...)
				loaded(t, "clicks", w.Reached(), d)
			}
			stopped(t, d)
			read := func() {
				t.Helper()
				sums := []string{"campaignId", "pubId", "_kafka_offset"}
				iceberg := stacktest.PyIceberg(t, l.named("clicks"), stacktest.Read{Sums: sums, Rows: true})
				w.Holds(t, iceberg)
				if d := iceberg.Differences(stacktest.DuckDB(t, l.named("clicks"), stacktest.Read{Sums: sums})); d != nil {
					t.Errorf("DuckDB: %v", d)
				}
				w.Buried(t, "clicks", stacktest.PyIceberg(t, l.named("clicks_dead_letters"), stacktest.Read{Rows: true}))
				verified(t, config)
			}
			before := l.objects(t)
			compacted := job(t, config, "compact")
			if !strings.Contains(compacted, "compact "+l.named("clicks").Table+": ") || strings.Contains(compacted, l.named("clicks").Table+": 0 files") {
				t.Errorf("nothing was compacted:\n%s", compacted)
			}
			read()
			t.Log(job(t, config, "expire"))
			read()
			gone, after := 0, l.objects(t)
			for uri := range before {
				if strings.HasSuffix(uri, ".avro") && !after[uri] {
					gone++
				}
			}
			if gone == 0 {
				t.Errorf("none of %d objects went with the snapshots", len(before))
			}
		})
	}
}

// job runs a job once.
func job(t *testing.T, config, name string) string {
	t.Helper()
	stdout, stderr, code := stacktest.Lakeloader(t, "job", "run", name, "-c", config)
	if code != 0 {
		t.Fatalf("job run %s ends with %d:\n%s%s", name, code, stdout, stderr)
	}
	return stdout
}
