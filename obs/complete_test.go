package obs

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestComplete(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	s := NewState("test", func() time.Time { return now })
	s.Pipeline("clicks", "lake.clicks", time.Minute)
	s.Complete("gone", CompleteStatus{Table: "lake.clicks"}, true)
	s.Complete("clicks", CompleteStatus{Table: "lake.z", Held: "nothing is loaded yet"}, true)
	c := CompleteStatus{Table: "lake.clicks", Through: now.Add(-12 * time.Hour), Dirty: []string{"2026-11-18", "2026-11-01 to 2026-11-05"}, Count: 6, Revision: 7, Held: "clicks-3 is behind"}
	s.Complete("clicks", c, true)
	c.Held = "" // what the table says does not tell what holds it
	s.Complete("clicks", c, false)
	got := s.Status().Pipelines[0].Complete
	if len(got) != 2 || got[0].Table != "lake.clicks" || got[0].Held != "clicks-3 is behind" || got[1].Table != "lake.z" {
		t.Errorf("got %+v", got)
	}
	var text bytes.Buffer
	if err := RenderStatusWidth(&text, s.Status(), 0); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"complete: lake.clicks up to 2026-11-21T00:00:00Z (12h00m ago), but not in 6 dirty partitions: 2026-11-18, 2026-11-01 to 2026-11-05; held by clicks-3 is behind",
		"complete: lake.z: nothing is known yet; held by nothing is loaded yet"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("%q is not in\n%s", line, text.String())
		}
	}
	families, err := NewRegistry(s).Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if len(m.Label) == 2 && strings.HasPrefix(f.GetName(), "lakeloader_complete_") {
				values[strings.TrimPrefix(f.GetName(), "lakeloader_complete_")+" "+m.Label[0].GetValue()+" "+m.Label[1].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	for key, v := range map[string]float64{"through_timestamp_seconds clicks lake.clicks": float64(c.Through.Unix()), "dirty_partitions clicks lake.clicks": 6,
		"revision clicks lake.clicks": 7, "through_timestamp_seconds clicks lake.z": 0} {
		if got, ok := values[key]; !ok || got != v {
			t.Errorf("%s is %v (%v), want %v", key, got, ok, v)
		}
	}
	if s.Complete("clicks", CompleteStatus{Table: "lake.clicks", Held: ""}, true); s.Status().Pipelines[0].Complete[0].Held != "" {
		t.Error("it is still held")
	}
}
