//go:build stack && engines

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestEnginesCompact: engines that know nothing of lakeloader compact its tables between two loads. Every row stays what it was, with
// its offset, and the loader goes on where it was.
func TestEnginesCompact(t *testing.T) {
	for name, engine := range map[string]string{
		"trino": fmt.Sprintf("{name: cluster, type: trino, url: %q, catalog: lake}", stacktest.TrinoURL(t)),
		"spark": fmt.Sprintf("{name: cluster, type: spark, url: %q, catalog: lake}", stacktest.StartSpark(t)),
	} {
		t.Run(name, func(t *testing.T) {
			l, topic := restLake(t), stacktest.Topic(t, 2)
			l.yaml += "jobs: {in_daemon: false, compact: {min_files: 2, quiet: 1s, engine: cluster}}\nengines: [" + engine + "]\n"
			config := configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [day(ts), country], sort_by: [campaignId, pubId desc]}
  commit: {interval: 1s}
%s`, topic, stacktest.ClickSteps))
			c, w, kafka := stacktest.NewClicks(t, topic, 2), stacktest.NewTruth(), stacktest.Producer(t)
			c.Spoilt = true
			load := func(meanwhile func()) {
				d := stacktest.StartDaemon(t, config)
				for range 5 { // rounds at least
					sent(t, kafka, w, c.Some(200)...)
					loaded(t, "clicks", w.Reached(), d)
				}
				sent(t, kafka, w, c.Some(2000)...) // which are being loaded
				meanwhile()
				loaded(t, "clicks", w.Reached(), d)
				stopped(t, d)
			}
			read := func() {
				t.Helper()
				sums := stacktest.Read{Sums: []string{"campaignId", "pubId", "_kafka_offset"}, Rows: true}
				iceberg := stacktest.PyIceberg(t, l.named("clicks"), sums)
				w.Holds(t, iceberg)
				if d := iceberg.Differences(stacktest.DuckDB(t, l.named("clicks"), sums)); d != nil {
					t.Errorf("DuckDB: %v", d)
				}
				w.Buried(t, "clicks", stacktest.PyIceberg(t, l.named("clicks_dead_letters"), stacktest.Read{Rows: true}))
				verified(t, config)
			}
			compact := func() {
				t.Helper()
				out := job(t, config, "compact")
				t.Log(out)
				if !regexp.MustCompile(`compact ` + l.named("clicks").Table + `: [1-9][0-9]* files by the engine cluster, [0-9]+ bytes, now [1-9]`).MatchString(out) {
					t.Errorf("nothing was compacted:\n%s", out)
				}
			}
			load(compact)
			read()
			load(func() {})
			compact()
			read()
			if out := job(t, config, "compact"); !strings.Contains(out, l.named("clicks").Table+": 0 files, so the engine cluster was not asked") {
				t.Errorf("there is more to do at once:\n%s", out)
			}
			job(t, config, "expire")
			read()
		})
	}
}
