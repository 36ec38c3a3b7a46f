package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// jobLake is a lake of six rounds, the last of which took rows away again, with its configuration file.
func jobLake(t *testing.T) (file, lakeDir string) {
	t.Helper()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", nil, "a")
	for round := range 5 {
		for i := range 4 {
			value := fmt.Sprintf(`{"id":%d}`, 4*round+i)
			if round == 2 && i == 0 {
				value = "{" // a dead letter
			}
			e.Produce(t, "a", 0, value)
		}
		e.Load(t, cfg, 4)
	}
	lakeDir = filepath.Join(e.Dir, "lake")
	file = lakeConfig(t, e, `
jobs: {expire: {schedule: "30 3 * * *", keep_last: 1}, time_zone: Europe/Berlin}
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long required}]}}
    table: {name: t, partition_by: []}
`)
	lakeloader(t, "rewind", "-c", file, "--to", "18", "--yes").ends(exitOK, "Done")
	return file, lakeDir
}

// later is what the commands work with, days from now.
func later(t *testing.T, file string, ahead time.Duration) *upkeep {
	t.Helper()
	cfg, err := loadChecked(file)
	if err != nil {
		t.Fatal(err)
	}
	l, err := openLake(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.catalog.Close() })
	return &upkeep{cfg: cfg, lake: l, log: slog.New(slog.DiscardHandler), now: func() time.Time { return time.Now().Add(ahead) }}
}

// contentOf is the size of what snapshots of a table refer to.
func contentOf(t *testing.T, dir, name string) (n int64) {
	t.Helper()
	for _, pattern := range []string{"data/*.parquet", "metadata/*.avro"} {
		files, err := filepath.Glob(filepath.Join(dir, "*", name, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			st, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			n += st.Size()
		}
	}
	return n
}

// runJob runs a job on all its targets and returns what it did on each.
func runJob(t *testing.T, u *upkeep, name string) map[string]*jobs.Report {
	t.Helper()
	return eachTarget(t, u, name, func(task jobs.Task) (*jobs.Report, error) { return task.Run(t.Context()) })
}

// planJob plans it.
func planJob(t *testing.T, u *upkeep, name string) map[string]*jobs.Report {
	t.Helper()
	return eachTarget(t, u, name, func(task jobs.Task) (*jobs.Report, error) { return task.Plan(t.Context()) })
}

func eachTarget(t *testing.T, u *upkeep, name string, do func(jobs.Task) (*jobs.Report, error)) map[string]*jobs.Report {
	t.Helper()
	j, err := u.find(name)
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := u.tasks(t.Context(), j, "")
	if err != nil {
		t.Fatal(err)
	}
	did := map[string]*jobs.Report{}
	for _, task := range tasks {
		if did[task.Target], err = do(task); err != nil {
			t.Fatalf("%s on %s: %v", name, task.Target, err)
		}
	}
	return did
}

func dataFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "data", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// An expiry leaves what verify needs, and takes the file that the rewind replaced.
func TestExpire(t *testing.T) {
	t.Parallel()
	file, dir := jobLake(t)
	const whole = "OK: all 20 offsets are accounted for exactly once: 17 rows, 0 filtered, 1 dead letters, 0 gaps, 2 removed"
	before := dataFiles(t, dir)
	lakeloader(t, "job", "plan", "expire", "-c", file).ends(exitOK, "expire lake.t: 0 of 6 snapshots", "expire lake.t_dead_letters: 0 of 2 snapshots")
	old := later(t, file, 48*time.Hour)
	planned, content := planJob(t, old, "expire")["lake.t"], contentOf(t, dir, "t")
	did := runJob(t, old, "expire")
	r := did["lake.t"]
	if r == nil || r.Numbers["expired"] != 5 || r.Numbers["deleted_objects"] < 7 {
		t.Fatalf("%+v", r)
	}
	if planned.Numbers["objects"] != r.Numbers["deleted_objects"] || planned.Numbers["expired"] != 5 || planned.Cost == nil || planned.Cost.FreeBytes != planned.Numbers["bytes"] || planned.Cost.Get != 0 {
		t.Errorf("planned %+v, done %+v", planned, r)
	}
	if freed := content - contentOf(t, dir, "t"); freed == 0 || freed != planned.Numbers["bytes"] {
		t.Errorf("%d bytes were freed, planned %+v", freed, planned)
	}
	if n := dataFiles(t, dir); n != before-1 {
		t.Errorf("%d data files, there were %d", n, before)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, whole)
	lakeloader(t, "query", "-c", file, "SELECT count(*), sum(id) FROM t").ends(exitOK, "17")
	lakeloader(t, "job", "run", "expire", "-c", file).ends(exitOK, "expire lake.t: 0 of 1 snapshot")
}

// A compaction keeps every row, and what verify needs.
func TestCompact(t *testing.T) {
	t.Parallel()
	file, dir := jobLake(t)
	before := dataFiles(t, dir)
	lakeloader(t, "job", "plan", "compact", "-c", file).ends(exitOK, "compact lake.t: 0 files in 0 merges", "compact lake.t_dead_letters: 0 files")
	old := later(t, file, 2*time.Hour)
	did := runJob(t, old, "compact")
	if r := did["lake.t"]; r == nil || r.Numbers["files"] != 5 || r.Numbers["new_files"] != 1 || r.Numbers["merges"] != 1 {
		t.Errorf("%+v", r)
	}
	if r := did["lake.t_dead_letters"]; r == nil || r.Numbers["files"] != 0 {
		t.Errorf("%+v", r)
	}
	const whole = "OK: all 20 offsets are accounted for exactly once: 17 rows"
	lakeloader(t, "verify", "-c", file).ends(exitOK, "2 files", whole) // one of them of dead letters
	lakeloader(t, "query", "-c", file, "SELECT count(*), sum(id) FROM t").ends(exitOK, "17", "145")
	runJob(t, later(t, file, 48*time.Hour), "expire")
	// The file that the rewind replaced goes; those that were merged stay with the snapshot in which offsets moved last.
	if n := dataFiles(t, dir); n != before+1-1 {
		t.Errorf("%d data files, there were %d", n, before)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, whole)
	lakeloader(t, "query", "-c", file, "SELECT count(*), sum(id) FROM t").ends(exitOK, "17", "145")
}

// Old days and old dead letters go, in rounds that verify knows of.
func TestRetention(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required, at timestamptz", func(p *configs.Pipeline) { p.Table.PartitionBy = []string{"day(at)"} }, "a")
	e.Produce(t, "a", 0, `{"id":1,"at":"2026-01-01T00:00:00Z"}`, `{"id":2,"at":"2199-01-01T00:00:00Z"}`, "{")
	e.Load(t, cfg, 3)
	file := lakeConfig(t, e, `
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long required}, {name: at, type: timestamptz}]}}
    table: {name: t, partition_by: [day(at)], retention: 30d}
    dead_letters: {retention: 1d}
`)
	lakeloader(t, "job", "plan", "retention", "-c", file).ends(exitOK, "retention lake.t: 1 row of 1 file", "retention lake.t_dead_letters: 0 dead letters")
	lakeloader(t, "job", "run", "retention", "-c", file).ends(exitOK, "retention lake.t: 1 row of 1 file")
	lakeloader(t, "job", "run", "retention", "-c", file).ends(exitOK, "retention lake.t: 0 rows of 0 files, 0 bytes")
	if r := runJob(t, later(t, file, 30*time.Hour), "retention")["lake.t_dead_letters"]; r == nil || r.Numbers["dead_letters"] != 1 {
		t.Errorf("%+v", r)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, "OK: all 3 offsets are accounted for exactly once: 1 rows, 0 filtered, 1 dead letters, 0 gaps, 1 removed")
	lakeloader(t, "query", "-c", file, "SELECT id FROM t").ends(exitOK, "(1 rows)")
}

// Orphans go when they are old, and nothing else does: not what other programs keep in the table's folder.
func TestOrphans(t *testing.T) {
	t.Parallel()
	file, dir := jobLake(t)
	folders, err := filepath.Glob(filepath.Join(dir, "*", "t"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("%v, %v", folders, err)
	}
	table := folders[0]
	stray := filepath.Join(table, "data", "x=1", "stray.parquet")
	foreign := filepath.Join(table, "notes", "readme.txt")
	hidden := filepath.Join(table, "data", "x=1", ".lakeloader-0123456789abcdef.tmp") // of a program that was killed
	for _, path := range []string{stray, foreign, hidden} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lakeloader(t, "job", "plan", "orphans", "-c", file).ends(exitOK, "orphans all-tables: 0 orphans of ")
	old := later(t, file, 100*time.Hour)
	if r := runJob(t, old, "orphans")["all-tables"]; r == nil || r.Numbers["orphans"] < 1 || r.Numbers["uploads"] != 1 || !strings.Contains(strings.Join(r.Details, "\n"), "stray.parquet: no snapshot of table lake.t") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(stray); !os.IsNotExist(err) {
		t.Errorf("the stray file: %v", err)
	}
	if _, err := os.Stat(hidden); !os.IsNotExist(err) {
		t.Errorf("the unfinished file: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("another program's file: %v", err)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, "OK: all 20 offsets are accounted for exactly once: 17 rows")
	lakeloader(t, "query", "-c", file, "SELECT count(*), sum(id) FROM t").ends(exitOK, "17")
}

func TestJobCommands(t *testing.T) {
	t.Parallel()
	file, _ := jobLake(t)
	lakeloader(t, "job", "list", "-c", file).ends(exitOK, "expire   lake.t ", "30 3 * * *", "03:30:00 CE", "lake.t_dead_letters", "orphans  all-tables", "off")
	lakeloader(t, "job", "run", "expire", "-c", file, "--table", "lake.t").ends(exitOK, "expire lake.t: 0 of 6 snapshots")
	code, out, errs := command("job", "history", "expire", "-c", file, "-o", "json")
	var runs []jobs.Record
	if err := json.Unmarshal([]byte(out), &runs); code != exitOK || err != nil || len(runs) != 1 || runs[0].Target != "lake.t" || runs[0].Done.Summary != "0 of 6 snapshots" || runs[0].Ended.IsZero() {
		t.Fatalf("%d, %v\n%s%s", code, err, out, errs)
	}
	lakeloader(t, "job", "history", "expire", "-c", file).ends(exitOK, "lake.t  0 of 6 snapshots")

	// Another process runs it.
	u := later(t, file, 0)
	held := u.leases()
	_, err := held.Do(t.Context(), "expire", "lake.t", func(context.Context) (*jobs.Report, error) {
		code, out, errs := command("job", "run", "expire", "-c", file)
		if code != exitFailed || !strings.Contains(errs, "another process runs it") || !strings.Contains(errs, held.Owner) || !strings.Contains(out, "expire lake.t_dead_letters: 0 of 2") {
			t.Errorf("%d\n%s%s", code, out, errs)
		}
		lakeloader(t, "job", "list", "-c", file).ends(exitOK, "running, or died: "+held.Owner)
		return &jobs.Report{}, nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{`no job "compress": choose one of [complete current expire compact retention fold orphans history]`, []string{"job", "run", "compress", "-c", file}},
		{`no table "u"`, []string{"job", "plan", "expire", "-c", file, "--table", "u"}},
		{"xml", []string{"job", "list", "-c", file, "-o", "xml"}},
	} {
		if code, _, errs := command(c.args...); code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d, %s", c.args, code, errs)
		}
	}
}

// lakeloader jobs runs jobs on their schedules, a heavy one too, until it is told to stop.
func TestJobsProcess(t *testing.T) {
	t.Parallel()
	file, _ := jobLake(t)
	text, err := os.ReadFile(file)
	if err == nil {
		text = []byte(strings.Replace(string(text), `jobs: {expire: {schedule: "30 3 * * *", keep_last: 1}`, `jobs: {expire: {schedule: "@every 1s"}, compact: {schedule: "@every 1s"}`, 1))
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "jobs", "-c", file)
	var said output
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		return strings.Contains(said.String(), `"did":"0 of 6 snapshots"`) && strings.Contains(said.String(), `"did":"0 files in 0 merges, 0 bytes"`)
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), `"job":"orphans","schedule":"off"`) {
		t.Errorf("%v\n%s", err, said.String())
	}
	lakeloader(t, "job", "history", "compact", "-c", file).ends(exitOK, "lake.t ", "0 files in 0 merges, 0 bytes")
}

// Every schedule of a configuration that was loaded can be used.
func TestScheduledJobs(t *testing.T) {
	t.Parallel()
	cfg := &configs.Config{}
	configs.ApplyDefaults(cfg)
	cfg.Jobs.Orphans.Schedule = "@weekly"
	for _, j := range newUpkeep(cfg, &lake{}, nil).jobs() {
		if _, err := jobs.ParseSchedule(j.Schedule); err != nil {
			t.Errorf("%s: %v", j.Name, err)
		}
	}
}

// Compaction and expiry go on beside a loader that commits all the time, and in the end every offset is accounted for.
func TestJobsBesideALoader(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Commit.Interval = configs.Duration(20 * time.Millisecond) }, "a")
	file := lakeConfig(t, e, `
jobs: {expire: {keep_last: 1}}
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long required}]}}
    table: {name: t, partition_by: []}
`)
	const rounds = 60
	l := e.Start(t, cfg, nil)
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		for i := range rounds {
			for p := range int32(2) {
				value := fmt.Sprintf(`{"id":%d}`, i)
				if i%10 == 9 {
					value = "{" // a dead letter
				}
				e.Produce(t, "a", p, value)
			}
			l.Loaded("a", 0, int64(i+1))
		}
		l.Loaded("a", 1, rounds)
	}()
	u := later(t, file, 48*time.Hour)
	merged, expired := int64(0), int64(0)
	for done := false; !done; {
		select {
		case <-loaded:
			done = true
		default:
		}
		for _, r := range runJob(t, u, "compact") {
			merged += r.Numbers["files"]
		}
		for _, r := range runJob(t, u, "expire") {
			expired += r.Numbers["expired"]
		}
	}
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	if merged < rounds/2 || expired < rounds/2 {
		t.Errorf("%d files were merged, and %d snapshots expired", merged, expired)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, fmt.Sprintf("OK: all %d offsets are accounted for exactly once: %d rows, 0 filtered, %d dead letters", 2*rounds, 2*rounds*9/10, 2*rounds/10))
	lakeloader(t, "query", "-c", file, "SELECT count(*) AS n, count(DISTINCT (_kafka_partition, _kafka_offset)) AS d FROM t").ends(exitOK, fmt.Sprintf("%d  %d", 2*rounds*9/10, 2*rounds*9/10))
}

// replace changes a configuration.
func replace(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}
