package obs

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The states of a window.
const (
	WindowStarting   = "starting"   // nothing was dealt out to this process yet
	WindowStandby    = "standby"    // other processes have all slots
	WindowRebuilding = "rebuilding" // totals are made anew from the lake
	WindowCatchingUp = "catching_up"
	WindowLive       = "live"    // what is published is up to date, but for the lag
	WindowFailing    = "failing" // Trouble says why
)

// WindowStatus is how a process keeps totals of a window. Counts are since the process started.
type WindowStatus struct {
	Name     string `json:"name"`
	Pipeline string `json:"pipeline"`
	Topic    string `json:"topic"` // that gets the totals
	State    string `json:"state"`
	// Slots is how many partitions Topic has, Owned those whose totals this process keeps, Live how many of them are up to date.
	Slots int32   `json:"slots"`
	Owned []int32 `json:"owned"`
	Live  int     `json:"live"`
	// Keys is how many keys the owned slots have something of; -1: not known while totals are made anew.
	Keys int64 `json:"keys"`
	// Updates are rows that were added to totals, Published the values that were sent. What was read again counts again.
	Updates   int64 `json:"updates"`
	Published int64 `json:"published"`
	// Day is that of the published totals, as 2026-11-22.
	Day string `json:"day,omitempty"`
	// Lag is the number of records that the totals do not have; of partitions whose end is known.
	Lag        int64             `json:"lag_records"`
	Partitions []WindowPartition `json:"partitions"`
	Rebuild    *WindowRebuild    `json:"rebuild,omitempty"`
	// Memory is what it may take, bytes.
	Memory int64 `json:"memory_bytes"`
	// Trouble is why it failed last, and Since when; it is empty once it goes on.
	Trouble string    `json:"trouble,omitempty"`
	Since   time.Time `json:"trouble_since,omitzero"`
}

// WindowPartition is how far a partition of the pipeline's topics was taken in. Offsets are -1 where they are not known.
type WindowPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Position is the next offset that the totals lack, Published the one below which everything is published, HighWatermark the end.
	Position      int64 `json:"position"`
	Published     int64 `json:"published"`
	HighWatermark int64 `json:"high_watermark"`
}

// WindowRebuild is how far totals were made anew.
type WindowRebuild struct {
	Started time.Time `json:"started"`
	Files   int       `json:"files"`
	Done    int       `json:"files_done"`
	Rows    int64     `json:"rows"`
}

// Lag is how many records the totals lack; 0 while that is not known.
func (p WindowPartition) Lag() int64 {
	if p.Position < 0 || p.HighWatermark < 0 {
		return 0
	}
	return max(0, p.HighWatermark-p.Position)
}

// Windows says where the state of the windows is to be asked for.
func (s *State) Windows(ask func() []WindowStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.windows = ask
}

// renderWindows writes the windows as a table.
func renderWindows(b *strings.Builder, s Status, width int) {
	if len(s.Windows) == 0 {
		return
	}
	t := table{columns: []column{{title: "WINDOW"}, {title: "STATE"}, {title: "SLOTS", right: true, rank: 1}, {title: "KEYS", right: true}, {title: "UPDATES", right: true, rank: 2},
		{title: "PUBLISHED", right: true, rank: 3}, {title: "LAG", right: true}, {title: "DAY", rank: 4}, {title: "TOPIC", rank: 5}}}
	for _, w := range s.Windows {
		keys := "?"
		if w.Keys >= 0 {
			keys = count(w.Keys)
		}
		var notes []string
		if r := w.Rebuild; r != nil {
			notes = append(notes, fmt.Sprintf("made anew from the lake for %s: %d of %d files, %s rows", age(s.Now.Sub(r.Started)), r.Done, r.Files, count(r.Rows)))
		}
		if w.Trouble != "" {
			notes = append(notes, "since "+w.Since.Format(time.RFC3339)+": "+w.Trouble)
		}
		slots := fmt.Sprintf("%d of %d", len(w.Owned), w.Slots)
		t.add([]string{w.Name, w.State, slots, keys, count(w.Updates), count(w.Published), count(w.Lag), w.Day, w.Topic}, notes)
	}
	t.write(b, width)
}

type windowMetrics struct {
	slots, owned, live, keys, day, trouble, memory *prometheus.Desc
	updates, published                             *prometheus.Desc
	lag, position, told                            *prometheus.Desc
	files, done, rows                              *prometheus.Desc
}

func newWindowMetrics(desc func(name, help string, labels ...string) *prometheus.Desc) windowMetrics {
	return windowMetrics{
		slots:     desc("window_slots", "Partitions of the topic of the totals.", "window"),
		owned:     desc("window_slots_owned", "Those of them whose totals this process keeps.", "window"),
		live:      desc("window_slots_live", "Those of them that are up to date.", "window"),
		keys:      desc("window_keys", "Keys that the process keeps totals of; absent while they are made anew.", "window"),
		day:       desc("window_day_timestamp_seconds", "Unix time of the day of the published totals, at midnight in UTC.", "window"),
		trouble:   desc("window_failing", "1: the window has failed, and begins again.", "window"),
		memory:    desc("window_memory_bytes", "What the window may take of the memory ceiling.", "window"),
		updates:   desc("window_updates_total", "Rows that were added to totals.", "window"),
		published: desc("window_published_total", "Totals that were sent.", "window"),
		lag:       desc("window_lag_records", "Records that the totals do not have.", "window", "topic", "partition"),
		position:  desc("window_position_offset", "Next offset that the totals lack.", "window", "topic", "partition"),
		told:      desc("window_published_offset", "Offset below which everything is published; absent while totals catch up.", "window", "topic", "partition"),
		files:     desc("window_rebuild_files", "Files that totals are being made anew from.", "window"),
		done:      desc("window_rebuild_files_done", "Those of them that were read.", "window"),
		rows:      desc("window_rebuild_rows", "Rows that were read from them and may count.", "window"),
	}
}

func (m windowMetrics) collect(list []WindowStatus, out chan<- prometheus.Metric) {
	for _, w := range list {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{w.Name}, labels...)...)
		}
		for d, v := range map[*prometheus.Desc]float64{m.slots: float64(w.Slots), m.owned: float64(len(w.Owned)), m.live: float64(w.Live), m.trouble: number(w.Trouble != ""), m.memory: float64(w.Memory)} {
			gauge(d, v)
		}
		if w.Keys >= 0 {
			gauge(m.keys, float64(w.Keys))
		}
		if day, err := time.Parse(time.DateOnly, w.Day); err == nil {
			gauge(m.day, float64(day.Unix()))
		}
		if r := w.Rebuild; r != nil {
			gauge(m.files, float64(r.Files))
			gauge(m.done, float64(r.Done))
			gauge(m.rows, float64(r.Rows))
		}
		for d, v := range map[*prometheus.Desc]int64{m.updates: w.Updates, m.published: w.Published} {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), w.Name)
		}
		for _, p := range w.Partitions {
			m.partition(p, gauge)
		}
	}
}

func (m windowMetrics) partition(p WindowPartition, gauge func(*prometheus.Desc, float64, ...string)) {
	labels := []string{p.Topic, strconv.Itoa(int(p.Partition))}
	if p.Position >= 0 {
		gauge(m.position, float64(p.Position), labels...)
		if p.HighWatermark >= 0 {
			gauge(m.lag, float64(p.Lag()), labels...)
		}
	}
	if p.Published >= 0 {
		gauge(m.told, float64(p.Published), labels...)
	}
}
