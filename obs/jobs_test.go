package obs

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestJobs(t *testing.T) {
	now := time.Unix(1000, 0)
	s := NewState("test", func() time.Time { return now })
	s.JobEnded("orphans", "all-tables", now.Add(-2*time.Second), "0 orphans", nil)
	s.JobEnded("expire", "lake.t", now.Add(-time.Second), "", errors.New("access denied"))
	now = now.Add(time.Minute)
	s.JobEnded("orphans", "all-tables", now.Add(-3*time.Second), "", errors.New("rolled back"))
	got := s.Status().Jobs
	want := []JobStatus{
		{Job: "expire", Target: "lake.t", Failed: 1, LastRun: time.Unix(999, 0), Seconds: 1, Error: "access denied"},
		{Job: "orphans", Target: "all-tables", Succeeded: 1, Failed: 1, LastRun: time.Unix(1057, 0), LastSuccess: time.Unix(1000, 0), Seconds: 3, Error: "rolled back"},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, want %+v", got, want)
	}
	s.JobEnded("compact", "lake.t", now.Add(-90*time.Second), "5 files in 1 merge", nil)
	var text strings.Builder
	if err := RenderStatusWidth(&text, s.Status(), 0); err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(text.String(), "no pipelines\n")
	if table != `
JOB      TABLE       OUTCOME     LAST RUN   TOOK  RUNS  FAILED  DID
compact  lake.t      succeeded  1m30s ago  1m30s     1       0  5 files in 1 merge
expire   lake.t      failed     1m01s ago     1s     1       1
  error: access denied
orphans  all-tables  failed        3s ago     3s     2       1
  error: rolled back, the last success was 1m00s ago
` {
		t.Errorf("status:\n%s", table)
	}
	families, err := NewRegistry(s).Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			key := f.GetName()
			for _, l := range m.Label {
				key += " " + l.GetValue()
			}
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for key, v := range map[string]float64{"lakeloader_job_runs_total orphans failed all-tables": 1, "lakeloader_job_runs_total expire succeeded lake.t": 0,
		"lakeloader_job_last_success_timestamp_seconds orphans all-tables": 1000, "lakeloader_job_last_success_timestamp_seconds expire lake.t": 0,
		"lakeloader_job_last_run_seconds orphans all-tables": 3} {
		if got, ok := values[key]; !ok || got != v {
			t.Errorf("%s is %v (%v), want %v", key, got, ok, v)
		}
	}
}
