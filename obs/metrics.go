package obs

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metric is one number of a pipeline's status.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*PipelineStatus) float64
}

type collector struct {
	state                      *State
	metrics                    []metric
	filtered, dead, phase      *prometheus.Desc
	routed                     *prometheus.Desc
	lagRecords, lagSeconds     *prometheus.Desc
	committed, position, build *prometheus.Desc
	memory, limit              *prometheus.Desc
	jobs                       jobMetrics
	complete                   completeMetrics
	enrich                     enrichMetrics
	routes                     routeMetrics
	windows                    windowMetrics
}

// NewRegistry returns a registry of its own with the metrics of the state, the process and the Go runtime. It computes
// them when it is scraped. Counters are since the process started.
func NewRegistry(s *State) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newCollector(s), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

func newCollector(s *State) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lakeloader_"+name, help, labels, nil)
	}
	c := &collector{
		state:      s,
		filtered:   desc("filtered_records_total", "Records that a cleanse step filtered, in committed rounds.", "pipeline", "step"),
		routed:     desc("routed_rows_total", "Rows in committed rounds, in tables that they were routed to.", "pipeline", "table"),
		dead:       desc("dead_letters_total", "Records that broke a rule, in committed rounds.", "pipeline", "stage", "step"),
		phase:      desc("pipeline_state", "1 for the state that the pipeline is in, 0 for the others.", "pipeline", "state"),
		lagRecords: desc("lag_records", "Offsets between what the lake has and the end of the partition.", "pipeline", "topic", "partition"),
		lagSeconds: desc("lag_seconds", "Age of the oldest record that the lake does not have.", "pipeline", "topic", "partition"),
		committed:  desc("committed_offset", "Next offset by the table.", "pipeline", "topic", "partition"),
		position:   desc("position_offset", "Next offset to read.", "pipeline", "topic", "partition"),
		memory:     desc("memory_bytes", "Memory that the pipeline holds, by part: batches, files, uploads, finished.", "pipeline", "part"),
		limit:      desc("memory_limit_bytes", "How the memory ceiling is divided, by part: ceiling, fetch, go, work, windows, current.", "part"),
		build:      desc("build_info", "1, with the version.", "version"),
		jobs:       newJobMetrics(desc),
		complete:   newCompleteMetrics(desc),
		enrich:     newEnrichMetrics(desc),
		routes:     newRouteMetrics(desc),
		windows:    newWindowMetrics(desc),
	}
	add := func(kind prometheus.ValueType, name, help string, value func(*PipelineStatus) float64) {
		c.metrics = append(c.metrics, metric{desc(name, help, "pipeline"), kind, value})
	}
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	add(counter, "records_consumed_total", "Records read from Kafka.", func(p *PipelineStatus) float64 { return float64(p.Records) })
	add(counter, "consumed_bytes_total", "Bytes of keys, values and headers read from Kafka.", func(p *PipelineStatus) float64 { return float64(p.Bytes) })
	add(counter, "rows_written_total", "Rows in committed rounds, in all tables.", func(p *PipelineStatus) float64 { return float64(p.Rows) })
	add(counter, "written_bytes_total", "Bytes of files in committed rounds.", func(p *PipelineStatus) float64 { return float64(p.WrittenBytes) })
	add(counter, "files_written_total", "Files in committed rounds.", func(p *PipelineStatus) float64 { return float64(p.Files) })
	add(counter, "commits_total", "Rounds committed.", func(p *PipelineStatus) float64 { return float64(p.Rounds) })
	add(counter, "fences_total", "Rounds given up because another loader had moved the offsets.", func(p *PipelineStatus) float64 { return float64(p.Fences) })
	add(counter, "dropped_rounds_total", "Rounds given up, fenced ones included.", func(p *PipelineStatus) float64 { return float64(p.DroppedRounds) })
	add(gauge, "last_commit_timestamp_seconds", "Unix time of the last commit; 0: none yet.", lastCommit)
	add(gauge, "unpublished_rows", "Rows read and not committed.", func(p *PipelineStatus) float64 { return float64(p.UnpublishedRows) })
	add(gauge, "unpublished_bytes", "Bytes gathered and not committed, in memory and in files.", func(p *PipelineStatus) float64 { return float64(p.UnpublishedBytes) })
	add(gauge, "pipeline_alarm", "1: it has not been ready for longer than commit.alarm_after.", func(p *PipelineStatus) float64 { return number(p.Alarm) })
	add(gauge, "failing_since_timestamp_seconds", "Unix time when the present failures began; 0: it is not failing.", failingSince)
	add(gauge, "pipeline_ready", "1: commits are progressing.", func(p *PipelineStatus) float64 { return number(p.Ready) })
	return c
}

func lastCommit(p *PipelineStatus) float64 {
	if p.LastCommit == nil {
		return 0
	}
	return float64(p.LastCommit.Time.UnixMilli()) / 1000
}

func failingSince(p *PipelineStatus) float64 {
	if p.Phase != Failing || p.LastError == nil {
		return 0
	}
	return float64(p.LastError.Since.UnixMilli()) / 1000
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe sends nothing: the pipelines are not known beforehand.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect computes all metrics.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.build, 1, c.state.version)
	status := c.state.Status()
	c.jobs.collect(status.Jobs, out)
	c.enrich.lookups(status.Lookups, out)
	c.windows.collect(status.Windows, out)
	m := status.Memory
	for part, n := range map[string]int64{"ceiling": m.Ceiling, "fetch": m.Fetch, "go": m.Go, "work": m.Work, "windows": m.Windows, "current": m.Current} {
		gauge(c.limit, float64(n), part)
	}
	for _, r := range c.state.list() {
		p := r.Status()
		out <- r.commits
		c.complete.collect(p, out)
		c.enrich.joins(&p, out)
		c.routes.collect(p, out)
		for _, m := range c.metrics {
			out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&p), p.Name)
		}
		for part, n := range map[string]int64{"batches": p.Memory.Batches, "files": p.Memory.Files, "uploads": p.Memory.Uploads, "finished": p.Memory.Finished} {
			gauge(c.memory, float64(n), p.Name, part)
		}
		for _, phase := range []Phase{Starting, Running, Waiting, Failing, Stopped} {
			gauge(c.phase, number(p.Phase == phase), p.Name, string(phase))
		}
		for table, n := range p.RoutedRows {
			out <- prometheus.MustNewConstMetric(c.routed, prometheus.CounterValue, float64(n), p.Name, table)
		}
		for step, n := range p.FilteredBy {
			out <- prometheus.MustNewConstMetric(c.filtered, prometheus.CounterValue, float64(n), p.Name, step)
		}
		for _, d := range p.DeadBy {
			out <- prometheus.MustNewConstMetric(c.dead, prometheus.CounterValue, float64(d.Count), p.Name, d.Stage, d.Step)
		}
		for _, t := range p.Partitions {
			number := strconv.Itoa(int(t.Partition))
			if t.LagKnown() {
				gauge(c.lagRecords, float64(t.LagRecords), p.Name, t.Topic, number)
				gauge(c.lagSeconds, t.LagSeconds, p.Name, t.Topic, number)
			}
			if t.Committed >= 0 {
				gauge(c.committed, float64(t.Committed), p.Name, t.Topic, number)
			}
			if t.Position >= 0 {
				gauge(c.position, float64(t.Position), p.Name, t.Topic, number)
			}
		}
	}
}
