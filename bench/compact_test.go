//go:build stack

package bench

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// compactions are what is measured: small files of a table whose rows come in no order; of one that is sorted, which are sorted
// across all files of a day; and larger ones of unsorted rows, with row groups of 16 MiB and more, whose pages are copied.
var compactions = []struct {
	name, table string
	files       int    // that the topic is loaded into, about, but more if they would have more than
	rows        int    // rows
	parts       int    // partitions
	order       string // columns, for the peers
	says        string // in the job's report
}{
	{"unsorted", "partition_by: [day(ts)]", 100, 100_000, days, "", ""},
	{"sorted", "partition_by: [day(ts)], sort_by: [campaignId, ts]", 100, 100_000, days, "campaignId,ts", ""},
	{"copied", "partition_by: [month(ts)]", 5, 600_000, 1, "", "are copied without decoding"},
}

// BenchmarkCompact puts the rows of small files into large ones, one a partition: DuckDB, pyarrow and Spark with no check of what they
// wrote, then lakeloader job run compact, which reads it again and compares, and commits. Each is a process of its own.
func BenchmarkCompact(b *testing.B) {
	n := size(b)
	t := produce(b, n)
	for _, c := range compactions {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			config := loadSmallFiles(b, dir, t, c.table, min(c.rows, n/c.files))
			files := filesByPart(b, dir, c.parts)
			for _, engine := range []string{"duckdb", "pyarrow"} {
				b.Run(engine, func(b *testing.B) {
					for b.Loop() {
						peer(b, engine, c.order, n, files).report(b)
					}
				})
			}
			b.Run("spark", func(b *testing.B) {
				for b.Loop() {
					spark(b, "rewrite", n, slices.Concat([]string{c.order}, slices.Concat(slices.Collect(maps.Values(files))...))).report(b)
				}
			})
			b.Run("lakeloader", func(b *testing.B) { // with -benchtime 1x: then there are no small files any more
				for b.Loop() {
					out := filepath.Join(b.TempDir(), "out")
					f := start(b, out, stacktest.Binary(b), "job", "run", "compact", "-c", config).wait(n)
					text, err := os.ReadFile(out)
					if err != nil || !strings.Contains(string(text), fmt.Sprintf("%d files in ", count(files))) || !strings.Contains(string(text), c.says) {
						b.Fatalf("%v\n%s", err, text)
					}
					f.report(b)
				}
			})
		})
	}
}

// loadSmallFiles loads a topic by small rounds in commits of so many rows, and returns the configuration.
func loadSmallFiles(b *testing.B, dir string, t topic, settings string, rows int) string {
	b.Helper()
	path := filepath.Join(dir, "lakeloader.yaml")
	config := fmt.Sprintf(`kafka: {brokers: [%q]}
registry: {url: %q}
http: {address: "127.0.0.1:0"}
log: {format: json}
catalog: {uri: %q}
warehouse: {location: %q}
jobs: {in_daemon: false, compact: {min_files: 2, quiet: 1s}}
pipelines:
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, %s}
  commit: {records: %d}
`, stacktest.Kafka(b), stacktest.Registry(b), filepath.Join(dir, "catalog.db"), filepath.Join(dir, "lake"), t.name, settings, max(1, rows))
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	c := start(b, log, stacktest.Binary(b), "run", "-c", path)
	untilRead(b, c, log, t.n)
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	c.wait(t.n)
	if got := committed(b, log); got != t.n {
		b.Fatalf("%d rows were committed instead of %d", got, t.n)
	}
	return path
}

// filesByPart are the data files of each partition.
func filesByPart(b *testing.B, dir string, parts int) map[string][]string {
	b.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(filepath.Join(dir, "lake"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".parquet") {
			day := filepath.Base(filepath.Dir(path))
			all[day] = append(all[day], path)
		}
		return err
	})
	if err != nil || len(all) != parts {
		b.Fatalf("%d partitions instead of %d, %v", len(all), parts, err)
	}
	return all
}

func count(files map[string][]string) (n int) {
	for _, day := range files {
		n += len(day)
	}
	return n
}

// peer has another program do it, a process for each day: the sum of their CPU and time, the greatest of their memory.
func peer(b *testing.B, engine, order string, n int, files map[string][]string) figures {
	b.Helper()
	dir := b.TempDir()
	sum := figures{records: n}
	rows := 0
	for day, paths := range files {
		log := filepath.Join(dir, day+".log")
		f := start(b, log, stacktest.PythonPath(b), append([]string{"compact_peers.py", engine, order, filepath.Join(dir, day+".parquet")}, paths...)...).wait(n)
		sum.cpu, sum.wall, sum.peak = sum.cpu+f.cpu, sum.wall+f.wall, max(sum.peak, f.peak)
		var more int
		if text, err := os.ReadFile(log); err != nil {
			b.Fatal(err)
		} else if _, err := fmt.Sscan(string(text), &more); err != nil {
			b.Fatalf("%v\n%s", err, text)
		}
		rows += more
	}
	if rows != n {
		b.Fatalf("%s has written %d rows instead of %d", engine, rows, n)
	}
	return sum
}
