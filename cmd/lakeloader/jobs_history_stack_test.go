//go:build stack

package main

import (
	"path/filepath"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

const readRuns = `
import sys, duckdb
from pyiceberg.catalog.sql import SqlCatalog
catalog, warehouse = sys.argv[1:3]
table = SqlCatalog("lakeloader", uri="sqlite:///" + catalog, warehouse=warehouse).load_table("lake.lakeloader_jobs")
rows = table.scan().to_arrow().to_pylist()
print(len({r["run"] for r in rows}), table.spec(), sorted((r["job"], r["target"], r["outcome"], dict(r["numbers"])["snapshots"]) for r in rows))
files = [f.file.file_path.removeprefix("file://") for f in table.scan().plan_files()]
print(duckdb.sql(f"SELECT job, outcome, numbers['expired'], ended >= started, started > now() - INTERVAL 1 DAY FROM read_parquet({files}) ORDER BY target").fetchall())
`

// Readers that are not ours read the table of runs.
func TestHistoryWithOtherReaders(t *testing.T) {
	t.Parallel()
	file, dir := jobLake(t)
	lakeloader(t, "job", "run", "expire", "-c", file).ends(exitOK)
	lakeloader(t, "job", "run", "history", "-c", file).ends(exitOK, "2 runs")
	got := string(stacktest.Python(t, write(t, "runs.py", readRuns), filepath.Join(dir, "catalog.db"), dir))
	want := `2 [
  1000: started_month: month(4)
] [('expire', 'lake.t', 'succeeded', 6), ('expire', 'lake.t_dead_letters', 'succeeded', 2)]
[('expire', 'succeeded', 0, True, True), ('expire', 'succeeded', 0, True, True)]
`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
