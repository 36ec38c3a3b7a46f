package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

func retain(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, before time.Time, dry bool) *pipeline.RetainReport {
	t.Helper()
	rep, err := pipeline.Retain(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.RetainOptions{Before: before, DryRun: dry})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// on gives n records of a day in May 2026.
func on(day, n int) (values []string) {
	for i := range n {
		values = append(values, fmt.Sprintf(`{"id":%d,"at":"2026-05-%02dT%02d:00:00Z"}`, 100*day+i, day, 23-i))
	}
	return values
}

// Whole days leave the table, beside a loader that goes on; what has no time stays. verify knows of every offset.
func TestRetention(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	cfg := pipelinetest.Pipeline("id long required, at timestamptz", func(p *configs.Pipeline) {
		p.Commit.Interval = configs.Duration(100 * time.Millisecond)
		p.Table.PartitionBy = []string{"day(at)"}
		p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: "id % 100 == 1", Drop: true}}}
	}, "a")
	e.Produce(t, "a", 0, on(1, 3)...)
	e.Produce(t, "a", 0, on(2, 3)...)
	e.Produce(t, "a", 0, "{{", `{"id":7}`)
	e.Produce(t, "a", 1, on(3, 2)...)
	e.Produce(t, "a", 1, on(1, 1)...) // late
	load(t, e, cfg, 11)
	l := e.Start(t, cfg, nil)
	l.Owns(1)

	may := func(day int) time.Time { return time.Date(2026, 5, day, 0, 0, 0, 0, time.UTC) }
	if rep := retain(t, e, cfg, may(1), true); rep.Files != 0 || rep.Rows != 0 || len(rep.Whole) != 0 {
		t.Errorf("nothing is old: %+v", rep)
	}
	if rep := retain(t, e, cfg, may(3).Add(-time.Nanosecond), true); rep.Rows != 3 || rep.Done {
		t.Errorf("just before the second day is over: %+v", rep)
	}
	if rep := retain(t, e, cfg, may(3), false); !rep.Done || rep.Round == 0 || rep.Rows != 5 || rep.Files == 0 {
		t.Errorf("%+v", rep)
	}
	if rep := retain(t, e, cfg, may(3), false); rep.Done || rep.Rows != 0 {
		t.Errorf("once more: %+v", rep)
	}
	if got := offsets(t, e, primary); got != "0 7" {
		t.Errorf("the table has the offsets %s", got)
	}
	e.Produce(t, "a", 1, on(1, 1)...) // later still
	l.Loaded("a", 1, 4)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 8) 1 rows 2 filtered 1 dead 4 removed", "a-1 [0, 4) 2 rows 1 filtered 1 removed")
	if rep := retain(t, e, cfg, may(3), false); !rep.Done || rep.Rows != 1 {
		t.Errorf("what came late: %+v", rep)
	}
}

func TestRetentionByOtherPartitions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		by    []string
		rows  int64 // that are dropped
		whole string
	}{
		"hour":           {[]string{"hour(at)"}, 5, ""},
		"month":          {[]string{"month(at)"}, 0, ""},
		"beside another": {[]string{"bucket(4, id)", "day(at)"}, 3, ""},
		"none":           {[]string{}, 0, "not partitioned by time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			cfg := pipelinetest.Pipeline("id long required, at timestamptz", func(p *configs.Pipeline) { p.Table.PartitionBy = c.by }, "a")
			e.Produce(t, "a", 0, on(1, 3)...)
			e.Produce(t, "a", 0, on(2, 3)...)
			load(t, e, cfg, 6)
			rep := retain(t, e, cfg, time.Date(2026, 5, 2, 23, 0, 0, 0, time.UTC), false)
			if rep.Rows != c.rows || rep.Done != (c.rows > 0) || !strings.Contains(strings.Join(rep.Whole, "\n"), c.whole) || (c.whole == "") != (len(rep.Whole) == 0) {
				t.Errorf("%+v", rep)
			}
			want := fmt.Sprintf("a-0 [0, 6) %d rows", 6-c.rows)
			if c.rows > 0 {
				want += fmt.Sprintf(" %d removed", c.rows)
			}
			whole(t, e, cfg, want)
		})
	}
}
