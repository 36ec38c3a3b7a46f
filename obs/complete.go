package obs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// CompleteStatus is what a table says of a pipeline: which time partitions have all rows.
type CompleteStatus struct {
	Table string `json:"table"`
	// Through: partitions that end then or before are complete, but for the dirty ones. The zero time: nothing is known yet.
	Through  time.Time `json:"through,omitzero"`
	Dirty    []string  `json:"dirty,omitempty"` // 2026-11-20, or 2026-11-01 to 2026-11-05
	Count    int       `json:"dirty_partitions"`
	Revision int64     `json:"revision"`
	// Held is what keeps Through from being further, as far as this process knows; empty: only the clock does.
	Held string `json:"held_by,omitempty"`
}

// Complete notes what a table says is complete. ran: this process has found it out; else Held stays as it was.
func (s *State) Complete(pipeline string, c CompleteStatus, ran bool) {
	s.mu.Lock()
	r := s.recorders[pipeline]
	s.mu.Unlock()
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := &r.status.Complete
	i, found := slices.BinarySearchFunc(*list, c.Table, func(x CompleteStatus, t string) int { return cmp.Compare(x.Table, t) })
	if !found {
		*list = slices.Insert(*list, i, CompleteStatus{})
	}
	if !ran {
		c.Held = (*list)[i].Held
	}
	(*list)[i] = c
}

// line is the status for people.
func (c CompleteStatus) line(now time.Time) string {
	out := "complete: " + c.Table + ": nothing is known yet"
	if !c.Through.IsZero() {
		out = fmt.Sprintf("complete: %s up to %s (%s ago)", c.Table, c.Through.Format(time.RFC3339), age(now.Sub(c.Through)))
	}
	for i, d := range c.Dirty {
		if i == 0 {
			out += fmt.Sprintf(", but not in %d dirty partitions:", c.Count)
		}
		out += " " + d + ","
	}
	out = strings.TrimSuffix(out, ",")
	if c.Held != "" {
		out += "; held by " + c.Held
	}
	return out
}

// completeMetrics are those of what is complete.
type completeMetrics struct{ through, dirty, revision *prometheus.Desc }

func newCompleteMetrics(desc func(name, help string, labels ...string) *prometheus.Desc) completeMetrics {
	return completeMetrics{
		through:  desc("complete_through_timestamp_seconds", "Unix time up to which the table's time partitions are complete, but for the dirty ones; 0: not known.", "pipeline", "table"),
		dirty:    desc("complete_dirty_partitions", "Time partitions that were complete and have changed since.", "pipeline", "table"),
		revision: desc("complete_revision", "Revision of what the table says is complete.", "pipeline", "table"),
	}
}

func (m completeMetrics) collect(p PipelineStatus, out chan<- prometheus.Metric) {
	for _, c := range p.Complete {
		through := 0.0
		if !c.Through.IsZero() {
			through = float64(c.Through.Unix())
		}
		for d, v := range map[*prometheus.Desc]float64{m.through: through, m.dirty: float64(c.Count), m.revision: float64(c.Revision)} {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, p.Name, c.Table)
		}
	}
}
