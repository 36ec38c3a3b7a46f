package obs

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// JoinStatus is how a pipeline's rows fare in a join. Rows that are read again count again.
type JoinStatus struct {
	Name   string `json:"name"`
	Lookup string `json:"lookup"`
	Rows   int64  `json:"rows"`   // that were joined
	Misses int64  `json:"misses"` // those without a match
	Waited int64  `json:"waited"` // those of Misses that had waited for the lookup
}

// LookupStatus is the state of a lookup.
type LookupStatus struct {
	Name    string    `json:"name"`
	Ready   bool      `json:"ready"`
	Waits   string    `json:"waits_for,omitempty"` // while it is not ready
	Version string    `json:"version,omitempty"`
	Rows    int       `json:"rows"`
	Bytes   int64     `json:"bytes"`
	Updated time.Time `json:"updated,omitzero"`
	Checked time.Time `json:"checked,omitzero"` // when it was last known to be up to date
	// Trouble is why it may be stale, and Since when: the last version that was good is used meanwhile.
	Trouble string    `json:"trouble,omitempty"`
	Since   time.Time `json:"trouble_since,omitzero"`
	// Skipped counts rows that could not be taken.
	Skipped  int64  `json:"skipped,omitempty"`
	LastSkip string `json:"last_skip,omitempty"`
}

// Joined adds to what is known of the pipeline's joins.
func (r *Recorder) Joined(joins []JoinStatus) {
	if len(joins) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range joins {
		at := slices.IndexFunc(r.status.Joins, func(o JoinStatus) bool { return o.Name == j.Name })
		if at < 0 {
			r.status.Joins = append(r.status.Joins, j)
			continue
		}
		have := &r.status.Joins[at]
		have.Rows, have.Misses, have.Waited = have.Rows+j.Rows, have.Misses+j.Misses, have.Waited+j.Waited
	}
}

// Lookups says where the state of the lookups is to be asked for.
func (s *State) Lookups(ask func() []LookupStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookups = ask
}

// renderLookups writes the lookups as a table.
func renderLookups(b *strings.Builder, s Status, width int) {
	if len(s.Lookups) == 0 {
		return
	}
	t := table{columns: []column{{title: "LOOKUP"}, {title: "STATE"}, {title: "ROWS", right: true}, {title: "MEMORY", right: true, rank: 2},
		{title: "CHANGED", right: true, rank: 1}, {title: "CHECKED", right: true, rank: 1}, {title: "VERSION", rank: 3}}}
	ago := func(at time.Time) string {
		if at.IsZero() {
			return "never"
		}
		return age(s.Now.Sub(at)) + " ago"
	}
	for _, l := range s.Lookups {
		state := "ready"
		var notes []string
		switch {
		case !l.Ready:
			state = "waiting"
			notes = append(notes, "waits: "+l.Waits)
		case l.Trouble != "":
			state = "stale"
			notes = append(notes, "since "+l.Since.Format(time.RFC3339)+": "+l.Trouble)
		}
		if l.Skipped > 0 {
			notes = append(notes, count(l.Skipped)+" rows could not be taken, the last one: "+l.LastSkip)
		}
		t.add([]string{l.Name, state, count(int64(l.Rows)), size(l.Bytes), ago(l.Updated), ago(l.Checked), l.Version}, notes)
	}
	t.write(b, width)
}

type enrichMetrics struct {
	rows, misses, waited                                   *prometheus.Desc
	ready, size, bytes, updated, checked, trouble, skipped *prometheus.Desc
}

func newEnrichMetrics(desc func(name, help string, labels ...string) *prometheus.Desc) enrichMetrics {
	return enrichMetrics{
		rows:    desc("enrich_rows_total", "Rows that were joined, by join.", "pipeline", "join", "lookup"),
		misses:  desc("enrich_misses_total", "Rows without a match, by join.", "pipeline", "join", "lookup"),
		waited:  desc("enrich_waited_total", "Rows without a match that had waited for it, by join.", "pipeline", "join", "lookup"),
		ready:   desc("lookup_ready", "1: the lookup has caught up with where it stood when the process began.", "lookup"),
		size:    desc("lookup_rows", "Rows of the lookup.", "lookup"),
		bytes:   desc("lookup_bytes", "Memory that the lookup takes.", "lookup"),
		updated: desc("lookup_updated_timestamp_seconds", "Unix time when the lookup changed last.", "lookup"),
		checked: desc("lookup_checked_timestamp_seconds", "Unix time when the lookup was last known to be up to date.", "lookup"),
		trouble: desc("lookup_trouble", "1: the lookup cannot be brought up to date, and rows are joined with its last good version.", "lookup"),
		skipped: desc("lookup_skipped_total", "Rows that could not be taken into the lookup.", "lookup"),
	}
}

func (m enrichMetrics) joins(p *PipelineStatus, out chan<- prometheus.Metric) {
	for _, j := range p.Joins {
		for d, n := range map[*prometheus.Desc]int64{m.rows: j.Rows, m.misses: j.Misses, m.waited: j.Waited} {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), p.Name, j.Name, j.Lookup)
		}
	}
}

func (m enrichMetrics) lookups(list []LookupStatus, out chan<- prometheus.Metric) {
	unix := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixMilli()) / 1000
	}
	for _, l := range list {
		for d, v := range map[*prometheus.Desc]float64{m.ready: number(l.Ready), m.size: float64(l.Rows), m.bytes: float64(l.Bytes),
			m.updated: unix(l.Updated), m.checked: unix(l.Checked), m.trouble: number(l.Trouble != "")} {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, l.Name)
		}
		out <- prometheus.MustNewConstMetric(m.skipped, prometheus.CounterValue, float64(l.Skipped), l.Name)
	}
}
