package obs

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// JobStatus is what this process knows of a job on a target, since it started.
type JobStatus struct {
	Job    string `json:"job"`
	Target string `json:"target"` // a table, or all of them
	// Succeeded and Failed count runs of this process; those of others are in the job's history.
	Succeeded int64     `json:"succeeded"`
	Failed    int64     `json:"failed"`
	LastRun   time.Time `json:"last_run"`
	// LastSuccess is the zero time when no run succeeded yet.
	LastSuccess time.Time `json:"last_success,omitzero"`
	Seconds     float64   `json:"seconds"` // of the last run
	// Did is what the last run did, Error why it failed, one of them empty.
	Did   string `json:"did,omitempty"`
	Error string `json:"error,omitempty"`
}

// JobEnded notes a run of a job that began at started and has just ended.
func (s *State) JobEnded(job, target string, started time.Time, did string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearchFunc(s.jobs, [2]string{job, target}, func(j JobStatus, k [2]string) int {
		return cmp.Or(cmp.Compare(j.Job, k[0]), cmp.Compare(j.Target, k[1]))
	})
	if !found {
		s.jobs = slices.Insert(s.jobs, i, JobStatus{Job: job, Target: target})
	}
	j, now := &s.jobs[i], s.now()
	j.LastRun, j.Seconds, j.Did, j.Error = started, now.Sub(started).Seconds(), did, ""
	if err != nil {
		j.Failed, j.Did, j.Error = j.Failed+1, "", err.Error()
		return
	}
	j.Succeeded, j.LastSuccess = j.Succeeded+1, now
}

var jobColumns = []column{
	{title: "JOB"}, {title: "TABLE"}, {title: "OUTCOME"}, {title: "LAST RUN", right: true}, {title: "TOOK", right: true, rank: 2},
	{title: "RUNS", right: true, rank: 3}, {title: "FAILED", right: true, rank: 3}, {title: "DID", rank: 1},
}

// renderJobs writes the last run of each job on each of its tables.
func renderJobs(b *strings.Builder, s Status, width int) {
	t := table{columns: jobColumns}
	for _, j := range s.Jobs {
		outcome, notes := "succeeded", []string(nil)
		if j.Error != "" {
			outcome, notes = "failed", []string{"error: " + j.Error}
			if !j.LastSuccess.IsZero() {
				notes[0] += ", the last success was " + age(s.Now.Sub(j.LastSuccess)) + " ago"
			}
		}
		t.add([]string{j.Job, j.Target, outcome, age(s.Now.Sub(j.LastRun)) + " ago", seconds(j.Seconds), count(j.Succeeded + j.Failed), count(j.Failed), j.Did}, notes)
	}
	t.write(b, width)
}

// jobMetrics are those of the jobs.
type jobMetrics struct{ runs, success, seconds *prometheus.Desc }

func newJobMetrics(desc func(name, help string, labels ...string) *prometheus.Desc) jobMetrics {
	return jobMetrics{
		runs:    desc("job_runs_total", "Runs of a job by this process, by outcome: succeeded, failed.", "job", "target", "outcome"),
		success: desc("job_last_success_timestamp_seconds", "Unix time of the job's last success in this process; 0: none yet.", "job", "target"),
		seconds: desc("job_last_run_seconds", "Duration of the job's last run in this process.", "job", "target"),
	}
}

func (m jobMetrics) collect(jobs []JobStatus, out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, j := range jobs {
		send(m.runs, prometheus.CounterValue, float64(j.Succeeded), j.Job, j.Target, "succeeded")
		send(m.runs, prometheus.CounterValue, float64(j.Failed), j.Job, j.Target, "failed")
		success := 0.0
		if !j.LastSuccess.IsZero() {
			success = float64(j.LastSuccess.UnixMilli()) / 1000
		}
		send(m.success, prometheus.GaugeValue, success, j.Job, j.Target)
		send(m.seconds, prometheus.GaugeValue, j.Seconds, j.Job, j.Target)
	}
}
