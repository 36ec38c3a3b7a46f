package obs

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RenderStatus writes a status as tables for people, as wide as the terminal when w is one.
func RenderStatus(w io.Writer, s Status) error { return RenderStatusWidth(w, s, terminalWidth(w)) }

func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			return int(size.Col)
		}
	}
	return 0
}

// RenderStatusWidth is RenderStatus for lines of at most width characters; 0: as wide as needed. Where there is too little room
// the less important columns are left out, and at last long names are shortened. Reasons and errors are never shortened.
func RenderStatusWidth(w io.Writer, s Status, width int) error {
	var b strings.Builder
	ready := "ready"
	if !s.Ready {
		ready = "not ready"
	}
	fmt.Fprintf(&b, "lakeloader %s, up %s, %s\n", s.Version, age(s.Now.Sub(s.Started)), ready)
	if m := s.Memory; m.Ceiling > 0 {
		fmt.Fprintf(&b, "memory: ceiling %s, the pipelines hold %s of %s\n", size(m.Ceiling), size(m.Used), size(m.Work))
	}
	if len(s.Pipelines) == 0 {
		b.WriteString("\nno pipelines\n")
	}
	pipelines := table{columns: pipelineColumns}
	partitions := table{columns: partitionColumns}
	for _, p := range s.Pipelines {
		pipelines.add(pipelineRow(p, s.Now), pipelineNotes(p, s.Now))
		for _, t := range p.Partitions {
			partitions.add(partitionRow(p, t), nil)
		}
	}
	pipelines.write(&b, width)
	partitions.write(&b, width)
	renderViews(&b, s, width)
	renderLookups(&b, s, width)
	renderWindows(&b, s, width)
	renderJobs(&b, s, width)
	_, err := io.WriteString(w, b.String())
	return err
}

var pipelineColumns = []column{
	{title: "PIPELINE"}, {title: "STATE"}, {title: "TABLE", rank: 7},
	{title: "RECORDS/S", right: true, rank: 2}, {title: "BYTES/S", right: true, rank: 9},
	{title: "ROWS", right: true, rank: 4}, {title: "FILTERED", right: true, rank: 8}, {title: "DEAD", right: true, rank: 3},
	{title: "UNPUBLISHED", right: true, rank: 5}, {title: "LAG", right: true}, {title: "BEHIND", right: true, rank: 1},
	{title: "LAST COMMIT", right: true, rank: 1}, {title: "ROUNDS", right: true, rank: 10}, {title: "FENCED", right: true, rank: 11},
}

func pipelineRow(p PipelineStatus, now time.Time) []string {
	commit := "none yet"
	if p.LastCommit != nil {
		commit = age(now.Sub(p.LastCommit.Time)) + " ago"
	}
	return []string{p.Name, string(p.Phase), p.Table, count(int64(p.RecordsPerSecond + .5)), size(int64(p.BytesPerSecond + .5)),
		count(p.Rows), count(p.Filtered), count(p.DeadLetters), size(p.UnpublishedBytes), count(p.LagRecords), seconds(p.LagSeconds),
		commit, count(p.Rounds), count(p.Fences)}
}

// namedTables is how many routed tables are named.
const namedTables = 10

// pipelineNotes are lines under a pipeline: where its rows go, and what is not well.
func pipelineNotes(p PipelineStatus, now time.Time) []string {
	var out []string
	if p.Alarm {
		out = append(out, "ALARM: commits make no progress")
	}
	for i, t := range p.Partitions {
		if t.Stopped != "" && (i == 0 || p.Partitions[i-1].Topic != t.Topic || p.Partitions[i-1].Stopped == "") {
			out = append(out, "stopped: topic "+t.Topic+": "+t.Stopped)
		}
	}
	for _, j := range p.Joins {
		if j.Misses > 0 {
			out = append(out, fmt.Sprintf("%s: %s of %s rows without a match", j.Name, count(j.Misses), count(j.Rows)))
		}
	}
	if n := len(p.RoutedRows); n > 0 {
		line := fmt.Sprintf("rows in %d other tables:", n)
		for i, id := range slices.Sorted(maps.Keys(p.RoutedRows)) {
			if i == namedTables {
				line += fmt.Sprintf(" and %d more", n-i)
				break
			}
			line += " " + id + " " + count(p.RoutedRows[id])
		}
		out = append(out, line)
	}
	for _, c := range p.Complete {
		out = append(out, c.line(now))
	}
	for _, r := range p.Routes {
		out = append(out, r.line(now))
	}
	if p.NotReady != "" && p.Phase != Failing {
		out = append(out, "not ready: "+p.NotReady)
	}
	if e := p.LastError; e != nil {
		line := "last error, " + age(now.Sub(e.Time)) + " ago: " + e.Message
		if e.Attempts > 1 {
			line += fmt.Sprintf(" (failing for %s, %d times)", age(now.Sub(e.Since)), e.Attempts)
		}
		if !e.NextTry.IsZero() {
			line += fmt.Sprintf(" (next try in %s)", age(max(0, e.NextTry.Sub(now))))
		}
		out = append(out, line)
	}
	if r := p.LastReject; r != nil {
		out = append(out, fmt.Sprintf("last dead letter, %s ago: %s: %s", age(now.Sub(r.Time)), cmp.Or(r.Step, r.Stage), r.Reason))
	}
	return out
}

var partitionColumns = []column{
	{title: "PIPELINE", rank: 4}, {title: "TOPIC"}, {title: "PARTITION", right: true}, {title: "COMMITTED", right: true},
	{title: "POSITION", right: true, rank: 2}, {title: "END", right: true, rank: 3}, {title: "LAG", right: true},
	{title: "BEHIND", right: true, rank: 1}, {title: "EPOCH", right: true, rank: 5},
}

func partitionRow(p PipelineStatus, t PartitionStatus) []string {
	lag, behind := "-", "-"
	if t.LagKnown() {
		lag, behind = count(t.LagRecords), seconds(t.LagSeconds)
	}
	return []string{p.Name, t.Topic, strconv.Itoa(int(t.Partition)), offset(t.Committed), offset(t.Position), offset(t.HighWatermark),
		lag, behind, strconv.Itoa(int(t.Epoch))}
}

func offset(n int64) string {
	if n < 0 {
		return "-"
	}
	return count(n)
}

// count writes a number with separators between thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func size(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, i := float64(n), -1
	for f >= unit && i < 4 {
		f, i = f/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}

func seconds(s float64) string {
	if s == 0 {
		return "0s"
	}
	return age(time.Duration(s * float64(time.Second)))
}

// age writes a duration in its two greatest units.
func age(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
