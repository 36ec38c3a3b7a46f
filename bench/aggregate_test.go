//go:build stack

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// aggregateConfig is the daily aggregate of the clicks: by SQL, and in the short form, whose distinct visitors can be merged.
const aggregateConfig = `aggregates:
- name: daily_sql
  source: clicks
  time: ts
  table: daily_sql
  schedule: "off"
  sql: >
    SELECT campaignId, pubId, country, platform, count(*) AS clicks, min(ts) AS first_click, max(ts) AS last_click
    FROM source WHERE {{day}} GROUP BY campaignId, pubId, country, platform
- name: daily_sketch
  source: clicks
  time: ts
  table: daily_sketch
  schedule: "off"
  group_by: [campaignId, pubId, country, platform]
  measures:
  - {name: clicks, measure: count(*)}
  - {name: visitors, measure: approx_distinct(ip)}
  - {name: first_click, measure: min(ts)}
  - {name: last_click, measure: max(ts)}
`

// BenchmarkAggregate makes the daily aggregate of the clicks: by DuckDB and Spark straight from the files, whose counts of distinct
// visitors cannot be merged, and by lakeloader job run, which also writes the result into a table and commits it.
func BenchmarkAggregate(b *testing.B) {
	n := size(b)
	dir := b.TempDir()
	config := loadSmallFiles(b, dir, produce(b, n), "partition_by: [day(ts)]", n/100)
	text, err := os.ReadFile(config)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(config, append(text, aggregateConfig...), 0o600); err != nil {
		b.Fatal(err)
	}
	job := func(b *testing.B, name string) figures {
		out := filepath.Join(b.TempDir(), "out")
		f := start(b, out, stacktest.Binary(b), "job", "run", name, "-c", config).wait(n)
		said, err := os.ReadFile(out)
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%s", said)
		return f
	}
	job(b, "compact")
	files := liveFiles(b, dir)
	for _, what := range []string{"sql", "sketch"} {
		b.Run(what+"/duckdb", func(b *testing.B) {
			for b.Loop() {
				peers := append([]string{"aggregate_peers.py", what}, files...)
				start(b, filepath.Join(b.TempDir(), "log"), stacktest.PythonPath(b), peers...).wait(n).report(b)
			}
		})
		b.Run(what+"/spark", func(b *testing.B) {
			for b.Loop() {
				spark(b, "aggregate", n, append([]string{what}, files...)).report(b)
			}
		})
		b.Run(what+"/lakeloader", func(b *testing.B) { // with -benchtime 1x: afterwards no day has changed
			for b.Loop() {
				job(b, "daily_"+what).report(b)
			}
		})
	}
}

// liveFiles are the data files of the clicks' table as it is now.
func liveFiles(b *testing.B, dir string) (paths []string) {
	b.Helper()
	at := stacktest.Table{Catalog: "sqlite", URI: filepath.Join(dir, "catalog.db"), Warehouse: "file://" + filepath.Join(dir, "lake"), Table: "lake.clicks"}
	for _, f := range stacktest.PyIceberg(b, at, stacktest.Read{Metadata: true}).Files {
		paths = append(paths, strings.TrimPrefix(f.Path, "file://"))
	}
	return paths
}

// spark has Spark do it. Its figures are for the work alone, without what starting it takes.
func spark(b *testing.B, what string, n int, args []string) figures {
	b.Helper()
	dir := b.TempDir()
	log := filepath.Join(dir, "log")
	start(b, log, stacktest.SparkPath(b), append([]string{"spark_peers.py", what, filepath.Join(dir, "spark")}, args...)...).wait(n)
	text, err := os.ReadFile(log)
	if err != nil {
		b.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var rows, peak int64
	var cpu, wall float64
	if _, err := fmt.Sscan(lines[len(lines)-1], &rows, &cpu, &wall, &peak); err != nil || rows == 0 {
		b.Fatalf("%d rows, %v\n%s", rows, err, text)
	}
	return figures{records: n, cpu: time.Duration(cpu * float64(time.Second)), wall: time.Duration(wall * float64(time.Second)), peak: peak << 20}
}
