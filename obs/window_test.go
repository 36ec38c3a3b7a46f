package obs

import (
	"strings"
	"testing"
	"time"
)

// TestWindows: what is told of windows is in the status, as a table and in the metrics.
func TestWindows(t *testing.T) {
	c := newClock()
	s := NewState("1.0", c.now)
	s.Windows(func() []WindowStatus {
		return []WindowStatus{
			{Name: "spend", Pipeline: "purchases", Topic: "visitor-spend", State: WindowLive, Slots: 8, Owned: []int32{0, 3, 5}, Live: 3, Keys: 1_234_567, Updates: 2_000_000, Published: 2_100_000,
				Day: "2026-11-21", Lag: 5, Memory: 64 << 20, Partitions: []WindowPartition{{"purchases", 0, 95, 95, 100}, {"purchases", 1, 7, -1, -1}}},
			{Name: "new", Pipeline: "purchases", Topic: "t", State: WindowRebuilding, Slots: 2, Owned: []int32{}, Keys: -1,
				Rebuild: &WindowRebuild{Started: c.now().Add(-10 * time.Second), Files: 12, Done: 3, Rows: 90_000}},
			{Name: "bad", Pipeline: "purchases", Topic: "u", State: WindowFailing, Trouble: "the disk has no room left", Since: c.now()},
		}
	})
	var b strings.Builder
	if err := RenderStatusWidth(&b, s.Status(), 0); err != nil {
		t.Fatal(err)
	}
	want := `
WINDOW  STATE        SLOTS       KEYS    UPDATES  PUBLISHED  LAG  DAY         TOPIC
spend   live        3 of 8  1,234,567  2,000,000  2,100,000    5  2026-11-21  visitor-spend
new     rebuilding  0 of 2          ?          0          0    0              t
  made anew from the lake for 10s: 3 of 12 files, 90,000 rows
bad     failing     0 of 0          0          0          0    0              u
  since 2026-11-21T12:00:00Z: the disk has no room left
`
	if !strings.Contains(b.String(), want) {
		t.Errorf("the status is\n%s\nwant\n%s", b.String(), want)
	}
	_, body := get(t, serve(t, s).Addr(), "/metrics")
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "lakeloader_window_") && !strings.Contains(line, `window="new"`) {
			lines = append(lines, line)
		}
	}
	golden(t, "testdata/windows.txt", strings.Join(lines, ""))
	for _, line := range []string{`window_rebuild_files{window="new"} 12`, `window_rebuild_files_done{window="new"} 3`, `window_rebuild_rows{window="new"} 90000`} {
		if !strings.Contains(body, "lakeloader_"+line+"\n") {
			t.Errorf("the metrics have no line %s", line)
		}
	}
	if strings.Contains(body, `window_keys{window="new"}`) {
		t.Error("the number of keys is not known, and is told")
	}
}
