package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/jobs"
)

// Every run lands in the table once; the table is kept in shape as the others are, and its old months go.
func TestHistoryTable(t *testing.T) {
	t.Parallel()
	file, dir := jobLake(t)
	lakeloader(t, "job", "plan", "history", "-c", file).ends(exitOK, "history lake.lakeloader_jobs: 0 runs")
	for range 6 {
		lakeloader(t, "job", "run", "expire", "-c", file, "--table", "lake.t").ends(exitOK)
		lakeloader(t, "job", "run", "history", "-c", file).ends(exitOK, "history lake.lakeloader_jobs: ")
	}
	const n = 6 + 5 // the last run of history is for the next one
	lakeloader(t, "job", "plan", "history", "-c", file).ends(exitOK, "history lake.lakeloader_jobs: 1 run")
	sql := func(want string) {
		t.Helper()
		q := "SELECT count(*) AS n, count(DISTINCT run) AS d, count(*) FILTER (job = 'expire' AND target = 'lake.t' AND numbers['snapshots'] = 6 AND summary = '0 of 6 snapshots') AS e, bool_and(outcome = 'succeeded' AND error IS NULL AND ended >= started) AS ok FROM lakeloader_jobs"
		lakeloader(t, "query", "-c", file, "-o", "csv", q).ends(exitOK, want)
	}
	whole := fmt.Sprintf("%d,%d,6,true", n, n)
	sql(whole)
	old := later(t, file, 48*time.Hour)
	if r := runJob(t, old, "compact")["lake.lakeloader_jobs"]; r == nil || r.Numbers["files"] != 6 || r.Numbers["new_files"] != 1 {
		t.Errorf("%+v", r)
	}
	if r := runJob(t, old, "expire")["lake.lakeloader_jobs"]; r == nil || r.Numbers["expired"] != 6 {
		t.Errorf("%+v", r)
	}
	sql(whole)
	runJob(t, later(t, file, 200*time.Hour), "orphans")
	sql(whole)
	if r := runJob(t, later(t, file, 400*24*time.Hour), "history")["lake.lakeloader_jobs"]; r == nil || r.Numbers["runs"] != 1 || r.Numbers["dropped_files"] < 1 {
		t.Errorf("%+v", r)
	}
	lakeloader(t, "query", "-c", file, "-o", "csv", "SELECT count(*) FROM lakeloader_jobs").ends(exitOK, "\n0\n")
	if left, err := filepath.Glob(filepath.Join(dir, "_lakeloader", "_jobs", "_ended", "*")); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, "OK: all 20 offsets are accounted for exactly once")
}

// Without the table nothing is kept for it, and there is no such job.
func TestNoHistoryTable(t *testing.T) {
	t.Parallel()
	file, dir := jobLake(t)
	replace(t, file, "jobs: {", "jobs: {history: {table: off}, ")
	lakeloader(t, "job", "run", "expire", "-c", file).ends(exitOK)
	if left, err := filepath.Glob(filepath.Join(dir, "_lakeloader", "_jobs", "*")); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	code, out, errs := command("job", "history", "expire", "-c", file, "-o", "json")
	var runs []jobs.Record
	if err := json.Unmarshal([]byte(out), &runs); code != exitOK || err != nil || len(runs) != 2 {
		t.Errorf("%d, %v\n%s%s", code, err, out, errs)
	}
	if code, _, errs := command("job", "run", "history", "-c", file); code != exitUsage || !strings.Contains(errs, `no job "history"`) {
		t.Errorf("%d, %s", code, errs)
	}
}
