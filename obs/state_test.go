package obs

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// clock is a hand-driven one.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func (c *clock) ms(before time.Duration) int64 { return c.now().Add(-before).UnixMilli() }

// TestRound follows a pipeline through reading, committing and being fenced.
func TestRound(t *testing.T) {
	c := newClock()
	s := NewState("1.0", c.now)
	r := s.Pipeline("clicks", "lake.clicks", time.Minute)
	r.Assigned([]Ownership{{"clicks", 0, 1, 100, c.ms(time.Hour)}, {"clicks", 1, 1, 50, -1}})
	r.HighWatermark("clicks", 0, 400)
	r.HighWatermark("clicks", 1, 50)
	r.HighWatermark("clicks", 7, 99)
	r.Running()
	p := r.Status()
	if p.LagRecords != 300 || p.LagSeconds != 3600 {
		t.Errorf("before reading the lag is from the last row in the table: %d records, %v s", p.LagRecords, p.LagSeconds)
	}

	r.Read(Batch{Records: 150, Bytes: 15_000, Partitions: []Progress{{"clicks", 0, 250, 150, c.ms(20 * time.Second)}, {"clicks", 1, 50, 0, -1}}})
	c.pass(10 * time.Second)
	r.Read(Batch{Records: 100, Bytes: 10_000, Rejected: 2, Last: RejectStatus{Stage: "decode", Reason: "short"},
		Partitions: []Progress{{"clicks", 0, 350, 100, c.ms(5 * time.Second)}}})
	r.Unpublished(248, 9000)
	r.Memory(MemoryUse{Files: 1 << 20})
	p = r.Status()
	if p.Records != 250 || p.Bytes != 25_000 || p.UnpublishedRows != 248 || p.UnpublishedBytes != 9000 || p.Memory.Files != 1<<20 {
		t.Errorf("counts: %+v", p)
	}
	if p.LagRecords != 300 || p.LagSeconds != 30 {
		t.Errorf("lag is to the first record not committed: %d records, %v s", p.LagRecords, p.LagSeconds)
	}
	if want := 250.0 / 11; math.Abs(p.RecordsPerSecond-want) > 1e-9 {
		t.Errorf("got %v records a second, want %v", p.RecordsPerSecond, want)
	}
	if p.LastReject == nil || p.LastReject.Reason != "short" || !p.LastReject.Time.Equal(c.now()) {
		t.Errorf("last reject: %+v", p.LastReject)
	}

	// The round ends behind the first batch.
	r.Committed(Commit{ID: "r1", Number: 7, Took: 200 * time.Millisecond, Rows: 149, Bytes: 4000, Files: 2, Filtered: map[string]int64{"f": 1}, Routed: map[string]int64{"lake.xs": 40},
		Dead: []DeadStatus{{"decode", "", 1}, {"cleanse", "cleanse[0] cast", 2}}, Offsets: []CommittedOffset{{"clicks", 0, 1, 250, c.ms(25 * time.Second)}}})
	p = r.Status()
	want := []PartitionStatus{{"clicks", 0, 1, 250, 350, 400, 150, 5, ""}, {"clicks", 1, 1, 50, 50, 50, 0, 0, ""}}
	if !reflect.DeepEqual(p.Partitions, want) {
		t.Errorf("got %+v\nwant %+v", p.Partitions, want)
	}
	if p.Rows != 149 || p.Filtered != 1 || p.FilteredBy["f"] != 1 || p.RoutedRows["lake.xs"] != 40 || p.DeadLetters != 3 || len(p.DeadBy) != 2 || p.Rounds != 1 || p.UnpublishedRows != 0 {
		t.Errorf("after the commit: %+v", p)
	}
	if p.LastCommit == nil || p.LastCommit.ID != "r1" || p.LastCommit.Number != 7 || p.LastCommit.Seconds != 0.2 {
		t.Errorf("last commit: %+v", p.LastCommit)
	}
	if !p.UnpublishedSince.Equal(c.now()) {
		t.Errorf("the second batch still waits, since %v", p.UnpublishedSince)
	}

	r.Dropped(true)
	r.Dropped(false)
	r.Assigned([]Ownership{{"clicks", 0, 2, 300, -1}})
	r.Revoked("clicks", 1)
	p = r.Status()
	want = []PartitionStatus{{"clicks", 0, 2, 300, 300, 400, 100, 0, ""}}
	if !reflect.DeepEqual(p.Partitions, want) || p.Fences != 1 || p.DroppedRounds != 2 || !p.UnpublishedSince.IsZero() {
		t.Errorf("after the fence: %+v", p)
	}
}

// TestLagOfQuietPartition checks that a record that comes after a long silence is not taken for old.
func TestLagOfQuietPartition(t *testing.T) {
	c := newClock()
	r := NewState("", c.now).Pipeline("p", "t", time.Minute)
	r.Assigned([]Ownership{{"a", 0, 0, 10, c.ms(24 * time.Hour)}})
	r.HighWatermark("a", 0, 10)
	c.pass(3 * time.Second)
	r.HighWatermark("a", 0, 12)
	if p := r.Status(); p.LagRecords != 2 || p.LagSeconds != 3 {
		t.Errorf("got %d records, %v s", p.LagRecords, p.LagSeconds)
	}
	// What was there turns out to be control records: offsets are missing, but nothing that a lake could have.
	r.Read(Batch{Partitions: []Progress{{"a", 0, 12, 0, -1}}})
	c.pass(time.Hour)
	if p := r.Status(); p.LagRecords != 2 || p.LagSeconds != 0 || !p.UnpublishedSince.IsZero() {
		t.Errorf("got %d records, %v s, unpublished since %v", p.LagRecords, p.LagSeconds, p.UnpublishedSince)
	}
	// Records without a timestamp age by our clock.
	r.Read(Batch{Records: 1, Partitions: []Progress{{"a", 0, 13, 1, -1}}})
	c.pass(4 * time.Second)
	if p := r.Status(); p.LagSeconds != 4 {
		t.Errorf("got %v s", p.LagSeconds)
	}
}

// TestManyBatches checks that memory is bounded between commits, and what was joined stays an upper bound.
func TestManyBatches(t *testing.T) {
	c := newClock()
	r := NewState("", c.now).Pipeline("p", "t", time.Minute)
	r.Assigned([]Ownership{{"a", 0, 0, 0, -1}})
	for i := range int64(10 * mostMarks) {
		r.Read(Batch{Records: 1, Partitions: []Progress{{"a", 0, i + 1, 1, c.ms(0)}}})
		c.pass(time.Second)
	}
	if n := len(r.partitions[partitionKey{"a", 0}].marks); n != mostMarks {
		t.Errorf("%d marks", n)
	}
	if p := r.Status(); p.LagSeconds != 10*mostMarks {
		t.Errorf("lag %v s", p.LagSeconds)
	}
	r.Committed(Commit{Offsets: []CommittedOffset{{"a", 0, 0, 10 * mostMarks, c.ms(time.Second)}}})
	if p := r.Status(); p.LagSeconds != 0 || p.LagRecords != 0 || !p.UnpublishedSince.IsZero() {
		t.Errorf("after the commit: %+v", p)
	}
}

func TestReady(t *testing.T) {
	if NewState("v", nil).Status().Ready {
		t.Error("a daemon without pipelines is ready")
	}
	const never = ""
	for name, c := range map[string]struct {
		do   func(r *Recorder, c *clock)
		want string
	}{
		"starting":      {func(*Recorder, *clock) {}, "starting"},
		"idle for long": {func(r *Recorder, c *clock) { r.Running(); c.pass(time.Hour) }, never},
		"stopped":       {func(r *Recorder, _ *clock) { r.Stopped() }, "stopped"},
		"waiting":       {func(r *Recorder, _ *clock) { r.Waiting("the registry does not answer") }, "waiting: the registry does not answer"},
		"failing":       {func(r *Recorder, _ *clock) { r.Failing(errors.New("disk full"), time.Time{}) }, "failing: disk full"},
		"recovered": {func(r *Recorder, c *clock) {
			r.Failing(errors.New("disk full"), time.Time{})
			c.pass(calm)
			r.Running()
		}, never},
		"rows wait, but not for long": {func(r *Recorder, c *clock) {
			r.Running()
			r.Read(Batch{Records: 1})
			c.pass(2 * time.Minute)
		}, never},
		"rows wait": {func(r *Recorder, c *clock) {
			r.Running()
			r.Read(Batch{Records: 1})
			c.pass(2 * time.Minute)
			r.Read(Batch{Records: 1})
			c.pass(time.Minute)
		}, "rows wait to be committed since 3m00s, which is due every 1m00s"},
		"rows were committed": {func(r *Recorder, c *clock) {
			r.Running()
			r.Read(Batch{Records: 1})
			r.Committed(Commit{})
			c.pass(time.Hour)
		}, never},
		"nothing is read": {func(r *Recorder, c *clock) {
			r.Running()
			r.Assigned([]Ownership{{"a", 3, 0, 5, -1}})
			r.HighWatermark("a", 3, 9)
			c.pass(4 * time.Minute)
		}, "nothing was read for 4m00s, though 4 records wait in a-3"},
		"waited long, then reads": {func(r *Recorder, c *clock) {
			r.Assigned([]Ownership{{"a", 3, 0, 5, -1}})
			r.HighWatermark("a", 3, 9)
			c.pass(time.Hour)
			r.Running()
		}, never},
	} {
		clock := newClock()
		s := NewState("", clock.now)
		r := s.Pipeline("p", "t", time.Minute)
		c.do(r, clock)
		if p := r.Status(); p.NotReady != c.want || p.Ready != (c.want == "") || s.Status().Ready != p.Ready {
			t.Errorf("%s: got %q, want %q", name, p.NotReady, c.want)
		}
	}
}

func TestNextTryEndsWithTheFailure(t *testing.T) {
	c := newClock()
	r := NewState("", c.now).Pipeline("p", "t", time.Minute)
	r.Failing(errors.New("no"), c.now().Add(time.Second))
	if e := r.Status().LastError; e.Message != "no" || e.NextTry.Sub(e.Time) != time.Second {
		t.Errorf("got %+v", e)
	}
	c.pass(calm)
	r.Running()
	if e := r.Status().LastError; e == nil || !e.NextTry.IsZero() {
		t.Errorf("got %+v", e)
	}
}

func TestPipelinesAreSortedAndKept(t *testing.T) {
	s := NewState("", nil)
	b, a := s.Pipeline("b", "t", 0), s.Pipeline("a", "t", 0)
	if s.Pipeline("b", "t", 0) != b || a == b {
		t.Error("a name should keep its recorder")
	}
	var names []string
	for _, p := range s.Status().Pipelines {
		names = append(names, p.Name)
	}
	if strings.Join(names, ",") != "a,b" {
		t.Errorf("got %v", names)
	}
}

// TestMeter compares the buckets with a list of all events.
func TestMeter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m meter
		c := newClock()
		first := c.now().Unix()
		events := map[int64]int64{}
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			n := rapid.Int64Range(0, 1000).Draw(t, "n")
			m.add(c.now(), n)
			events[c.now().Unix()] += n
			c.pass(time.Duration(rapid.IntRange(0, 70_000).Draw(t, "ms")) * time.Millisecond)
		}
		now, sum := c.now().Unix(), int64(0)
		for at, n := range events {
			if at > now-window {
				sum += n
			}
		}
		want := float64(sum) / float64(min(window, now-first+1))
		if got := m.perSecond(c.now()); math.Abs(got-want) > 1e-9 {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// TestConcurrentUse is for the race detector, and checks that nothing is lost.
func TestConcurrentUse(t *testing.T) {
	s := NewState("", nil)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := s.Pipeline("p", "t", time.Minute)
			topic := fmt.Sprint("t", i)
			r.Assigned([]Ownership{{topic, 0, 0, 0, -1}})
			for n := range int64(200) {
				r.Read(Batch{Records: 1, Partitions: []Progress{{topic, 0, n + 1, 1, 0}}})
				r.Committed(Commit{Rows: 1, Filtered: map[string]int64{"f": 1}, Offsets: []CommittedOffset{{topic, 0, 0, n + 1, 0}}})
				if s.Status().Pipelines[0].Rows == 0 {
					t.Error("no rows")
				}
			}
		})
	}
	wg.Wait()
	p := s.Status().Pipelines[0]
	if p.Records != 800 || p.Rows != 800 || p.Filtered != 800 || p.LagRecords != 0 || len(p.Partitions) != 4 {
		t.Errorf("got %+v", p)
	}
}
