package obs

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A loader that fails, starts again, reads, and fails again is failing all the while, since the first time; after the time
// set it is an alarm, said again every few minutes, until a commit ends it.
func TestTroubleIsOneUntilACommit(t *testing.T) {
	c := newClock()
	s := NewState("", c.now)
	r := s.Pipeline("p", "t", 10*time.Second)
	r.AlarmAfter(time.Minute)
	var b strings.Builder
	log := slog.New(slog.NewTextHandler(&b, nil))
	r.Running()
	r.Assigned([]Ownership{{"a", 0, 0, 0, -1}})
	began := c.now()
	for i := range 40 {
		r.Running()
		r.Read(Batch{Records: 1, Partitions: []Progress{{"a", 0, 1, 1, -1}}})
		r.Running()
		if p := r.Status(); i > 0 && (p.Phase != Failing || p.Ready) {
			t.Fatalf("attempt %d: %s", i, p.Phase)
		}
		c.pass(10 * time.Second)
		r.Failing(errors.New("S3 is away"), c.now().Add(time.Second))
		r.Check(log)
		r.Dropped(false)
		if p := r.Status(); p.Alarm != (i > 6) {
			t.Fatalf("after %v: alarm %v", c.now().Sub(began), p.Alarm)
		}
	}
	p := r.Status()
	if e := p.LastError; e.Attempts != 40 || !e.Since.Equal(began.Add(10*time.Second)) {
		t.Errorf("%+v", e)
	}
	if n := strings.Count(b.String(), "ALARM: commits make no progress"); n != 2 || !strings.Contains(b.String(), "S3 is away") || !strings.Contains(b.String(), "attempts=8") {
		t.Errorf("%d alarms\n%s", n, b.String())
	}
	var text strings.Builder
	if err := RenderStatusWidth(&text, s.Status(), 0); err != nil || !strings.Contains(text.String(), "ALARM") || !strings.Contains(text.String(), "40 times") {
		t.Errorf("%v\n%s", err, text.String())
	}
	r.Committed(Commit{Rows: 1, Offsets: []CommittedOffset{{"a", 0, 0, 1, -1}}})
	r.Running()
	r.Check(log)
	if p := r.Status(); p.Phase != Running || p.Alarm || !p.Ready || !strings.Contains(b.String(), "the alarm is over") {
		t.Errorf("%+v\n%s", p, b.String())
	}
}

// With nothing to commit a failure is over when nothing has failed for a while.
func TestTroubleOfAnIdlePipeline(t *testing.T) {
	c := newClock()
	r := NewState("", c.now).Pipeline("p", "t", 10*time.Second)
	r.Failing(errors.New("the catalog is away"), c.now())
	r.Running()
	if p := r.Status(); p.Phase != Failing {
		t.Fatal(p.Phase)
	}
	c.pass(calm)
	r.Running()
	if p := r.Status(); p.Phase != Running {
		t.Fatal(p.Phase)
	}
	r.Failing(errors.New("again"), c.now())
	if e := r.Status().LastError; e.Attempts != 1 || !e.Since.Equal(c.now()) {
		t.Errorf("%+v", e)
	}
}

func TestStoppedPartitionsAreNamed(t *testing.T) {
	c := newClock()
	s := NewState("", c.now)
	r := s.Pipeline("p", "t", 10*time.Second)
	r.Assigned([]Ownership{{"a", 0, 0, 0, -1}, {"a", 1, 0, 0, -1}, {"b", 0, 0, 0, -1}})
	r.StoppedPartition("a", 0, "made again")
	r.StoppedPartition("a", 1, "made again")
	r.StoppedPartition("c", 1, "not owned")
	if p := r.Status().Partitions; p[0].Stopped != "made again" || p[1].Stopped == "" || p[2].Stopped != "" {
		t.Errorf("%+v", p)
	}
	var text strings.Builder
	if err := RenderStatusWidth(&text, s.Status(), 0); err != nil || strings.Count(text.String(), "stopped: topic a: made again") != 1 {
		t.Errorf("%v\n%s", err, text.String())
	}
}
