package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// The commands show what they would do, do it when told to, and refuse what makes no sense; verify agrees all along.
func TestRewindAndBackfillCommands(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	for i := range 20 {
		e.Produce(t, "a", int32(i%2), fmt.Sprintf(`{"id":%d}`, i))
	}
	cfg := pipelinetest.Pipeline("id long required", nil, "a")
	load := func(n int64) {
		t.Helper()
		e.Load(t, cfg, n)
	}
	load(20)
	file := lakeConfig(t, e, `
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long required}]}}
    cleanse: [{filter: {expression: id != 7}}]
    table: {name: t, partition_by: []}
`)

	lakeloader(t, "rewind", "-c", file, "--to", "4", "--partition", "0").ends(exitOK, "6 offsets are read again, 0 are skipped; 6 rows and 0 dead letters are removed.", "add --yes")
	lakeloader(t, "rewind", "-c", file, "--to", "4", "--partition", "0", "--yes").ends(exitOK, "Done, in round 2.")
	load(6)
	lakeloader(t, "verify", "-c", file).ends(exitOK, "OK: all 26 offsets are accounted for exactly once: 20 rows, 0 filtered, 0 dead letters, 0 gaps, 6 removed")

	lakeloader(t, "backfill", "-c", file, "--from", "earliest").ends(exitOK, "was", "add --yes")
	code, out, errs := command("backfill", "-c", file, "--from", "earliest", "--yes", "-o", "json")
	var rep pipeline.BackfillReport
	if err := json.Unmarshal([]byte(out), &rep); code != exitOK || err != nil || !rep.Done || len(rep.Partitions) != 2 {
		t.Fatalf("%d, %v\n%s%s", code, err, out, errs)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, "OK: all 30 offsets are accounted for exactly once: 19 rows, 1 filtered, 0 dead letters, 0 gaps, 10 removed")
	lakeloader(t, "query", "-c", file, "SELECT count(*), sum(id) FROM t").ends(exitOK, "19", "183")
	lakeloader(t, "backfill", "-c", file, "--from", "latest").ends(exitOK, "There is nothing to do.")

	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, "neither earliest", []string{"rewind", "-c", file, "--to", "yesterday"}},
		{exitUsage, "neither remove nor keep", []string{"rewind", "-c", file, "--to", "0", "--rows", "drop"}},
		{exitUsage, `no pipeline "q"`, []string{"rewind", "-c", file, "--to", "0", "--pipeline", "q"}},
		{exitUsage, `required flag(s) "from"`, []string{"backfill", "-c", file}},
		{exitUsage, `--to "soon"`, []string{"backfill", "-c", file, "--from", "0", "--to", "soon"}},
		{exitFailed, "with partitions [7]", []string{"rewind", "-c", file, "--to", "latest", "--partition", "7"}},
	} {
		code, out, errs := command(c.args...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d, want %d with %q\n%s%s", c.args, code, c.code, c.want, out, errs)
		}
	}
}
