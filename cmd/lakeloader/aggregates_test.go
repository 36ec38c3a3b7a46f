package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// sales is a lake of sales by day, with an aggregate that rolls up.
type sales struct {
	t    *testing.T
	env  *pipelinetest.Env
	file string
	n    int64
}

func newSales(t *testing.T, settings string) *sales {
	t.Helper()
	s := &sales{t: t, env: pipelinetest.New(t)}
	s.env.Create(t, "a", 1)
	s.file = lakeConfig(t, s.env, fmt.Sprintf(`
jobs: {expire: {keep_last: 1}}
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long required}, {name: at, type: timestamptz}, {name: price, type: "decimal(9,2)"}]}}
    table: {name: t, partition_by: [day(at)]%s}
aggregates:
  - name: daily
    source: t
    time: at
    table: daily
    measures:
    - {name: sales, measure: count(*)}
    - {name: total, measure: sum(price)}
    rollups: {week: weekly, month: monthly}
`, settings))
	return s
}

// load appends sales at the times given, for 1.50 each.
func (s *sales) load(times ...string) {
	s.t.Helper()
	for _, at := range times {
		s.n++
		s.env.Produce(s.t, "a", 0, fmt.Sprintf(`{"id":%d,"at":%q,"price":"1.50"}`, s.n, at))
	}
	cfg := pipelinetest.Pipeline("id long required, at timestamptz", func(p *configs.Pipeline) {
		p.Table.PartitionBy = []string{"day(at)"}
		p.Decode.Value.Columns = append(p.Decode.Value.Columns, configs.ColumnDef{Name: "price", Type: "decimal(9,2)"})
	}, "a")
	s.env.Load(s.t, cfg, int64(len(times)))
}

// right compares the tables with their source.
func (s *sales) right() {
	s.t.Helper()
	ask := func(sql string) string {
		return lakeloader(s.t, "query", "-c", s.file, "-o", "csv", sql).ends(exitOK).stdout
	}
	for period, table := range map[string]string{"day": "daily", "week": "weekly", "month": "monthly"} {
		want := ask(fmt.Sprintf("SELECT CAST(date_trunc('%s', \"at\") AS DATE) AS %s, count(*) AS sales, sum(price) AS total FROM t GROUP BY ALL ORDER BY ALL", period, period))
		if got := ask(fmt.Sprintf("SELECT %s, sales, total FROM %s ORDER BY ALL", period, table)); got != want {
			s.t.Errorf("%s is\n%s, but the source has\n%s", table, got, want)
		}
	}
}

func (s *sales) run(want ...string) {
	s.t.Helper()
	lakeloader(s.t, "job", "run", "daily", "-c", s.file).ends(exitOK, want...)
}

// Aggregates go with all that is done to their source, and other jobs look after their tables.
func TestAggregatesBesideJobs(t *testing.T) {
	t.Parallel()
	s := newSales(t, ", retention: 30d")
	lakeloader(t, "job", "run", "daily", "-c", s.file).ends(exitOK, "There is no table yet")
	s.load("2026-01-05T10:00:00Z", "2199-01-01T10:00:00Z", "2199-01-02T10:00:00Z", "2199-01-02T11:00:00Z")
	s.run("daily lake.daily: 3 days from 3 files", "changed: 2026-01-05", "changed: 2199-01-01 to 2199-01-02", "daily lake.weekly: 2 weeks from 3 files", "daily lake.monthly: 2 months")
	s.right()
	s.load("2199-01-01T12:00:00Z")
	s.run("daily lake.daily: 1 day from 2 files", "lake.weekly: 1 week", "lake.monthly: 1 month")
	s.right()

	lakeloader(t, "rewind", "-c", s.file, "--to", "3", "--yes").ends(exitOK, "Done") // takes two sales away
	s.run("daily lake.daily: 2 days", "changed: 2199-01-01 to 2199-01-02")
	s.right()
	lakeloader(t, "job", "run", "retention", "-c", s.file).ends(exitOK, "retention lake.t: 1 row of 1 file")
	s.run("daily lake.daily: 0 days from 0 files", "1 day removed", "without rows: 2026-01-05", "1 week removed", "1 month removed")
	s.right()

	stray := filepath.Join(s.env.Dir, "lake", "_lakeloader", "_aggregates", "daily", "stray.json")
	foreign := filepath.Join(s.env.Dir, "lake", "_lakeloader", "_aggregates", "another", "state.json")
	for _, path := range []string{stray, foreign} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 { // and what the rewind took is read again
		s.load("2199-01-01T13:00:00Z")
		s.run("daily lake.daily: ")
	}
	old := later(t, s.file, 100*time.Hour)
	for _, job := range []string{"compact", "expire", "orphans"} {
		did := runJob(t, old, job)
		for _, table := range []string{"lake.daily", "lake.weekly", "lake.monthly"} {
			if job != "orphans" && did[table] == nil {
				t.Errorf("%s leaves %s alone", job, table)
			}
		}
	}
	if _, err := os.Stat(stray); !os.IsNotExist(err) {
		t.Errorf("the stray state: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("the state of another configuration's aggregate: %v", err)
	}
	s.run("daily lake.daily: 0 days", "daily lake.weekly: 0 weeks")
	s.load("2199-01-01T14:00:00Z")
	s.run("daily lake.daily: 1 day", "daily lake.weekly: 1 week")
	s.right()
	lakeloader(t, "verify", "-c", s.file).ends(exitOK, "OK: all 13 offsets")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"for aggregates, and expire is none", []string{"job", "run", "expire", "-c", s.file, "--from", "2026-01-01", "--to", "2026-01-02"}},
		{"both --from and --to", []string{"job", "run", "daily", "-c", s.file, "--from", "2026-01-01"}},
		{"is before --from", []string{"job", "plan", "daily", "-c", s.file, "--from", "2026-01-02", "--to", "2026-01-01"}},
		{"is no day", []string{"job", "plan", "daily", "-c", s.file, "--from", "2026-01-02", "--to", "yesterday"}},
	} {
		if code, _, errs := command(c.args...); code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d, %s", c.args, code, errs)
		}
	}
}

// A run that is killed, wherever it is, does no harm.
func TestAggregateKilled(t *testing.T) {
	t.Parallel()
	s := newSales(t, "")
	lake := filepath.Join(s.env.Dir, "lake")
	files := func(parts ...string) (n int) {
		err := filepath.WalkDir(lake, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(path, parts[0]) && strings.HasSuffix(path, parts[1]) {
				n++
			}
			return nil // files come and go
		})
		if err != nil {
			t.Error(err)
		}
		return n
	}
	for i, step := range [][]string{{"/_jobs/daily/lake.daily/", ".json"}, {"/daily/data/", ".parquet"}, {"/_aggregates/daily/", ".json"}, {"/daily/metadata/", ".avro"},
		{"/daily/metadata/", ".metadata.json"}, {"/_jobs/daily/lake.weekly/", ".json"}, {"/_aggregates/daily.week/", ".json"}, {"/weekly/metadata/", ".metadata.json"}} {
		s.load(fmt.Sprintf("2026-11-%02dT10:00:00Z", 1+i), fmt.Sprintf("2026-11-%02dT11:00:00Z", 2+i))
		before := files(step...)
		cmd := program(t, "job", "run", "daily", "-c", s.file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { return files(step...) != before })
		if err := cmd.Process.Kill(); err != nil && !strings.Contains(err.Error(), "finished") {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed, or has just ended
		s.run()
		s.right()
	}
}

// validate checks aggregates against the columns of the pipelines' tables.
func TestValidateAggregates(t *testing.T) {
	t.Parallel()
	const text = `
kafka: {brokers: [a:1]}
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long}, {name: at, type: timestamptz}, {name: price, type: "decimal(9,2)"}]}}
    table: {name: t, route: {by: id, tables: {1: ones}}}
aggregates:
  - name: daily
    source: %s
    time: %s
    table: daily
    %s
`
	const good = "sql: SELECT count(*) AS n FROM source WHERE {{day}}"
	for _, c := range []struct{ source, time, rest, want string }{
		{"t", "at", good, "no problems"},
		{"ones", "at", good, "no problems"},
		{"other", "at", good, "was not checked against the columns of its source other"},
		{"t", "id", good, "a long has no day"},
		{"t", "when", good, "no column when"},
		{"t", "at", "sql: SELECT sum(cost) AS n FROM source WHERE {{day}}", "cost"},
		{"t", "at", "sql: SELECT count(*) AS n FROM t WHERE {{day}}", "source"},
		{"t", "at", "sql: SELECT count(*) FROM source", "no {{day}}"},
		{"t", "at", "measures: [{name: n, measure: median(price)}]", "no measure"},
		{"t", "at", "group_by: [id]\n    measures: [{name: week, measure: count(*)}]\n    rollups: {week: weekly}", "column week"},
		{"t", "at", good + "\n    keys: [country]", "no column country"},
		{"t", "at", good + "\n    rollups: {week: weekly}", "rollups has no effect with sql"},
	} {
		file := write(t, "lakeloader.yaml", fmt.Sprintf(text, c.source, c.time, c.rest))
		if _, out, errs := command("validate", "-c", file); !strings.Contains(out+errs, c.want) {
			t.Errorf("%+v:\n%s%s", c, out, errs)
		}
	}
}
