//go:build stack

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// said is the property of a table, as programs that are not ours read it.
type said struct {
	Through  time.Time
	Revision int64
	Dirty    []struct{ First, Last string }
}

func (s said) complete(day time.Time) bool {
	label := day.Format(time.DateOnly)
	return !s.Through.Before(day.AddDate(0, 0, 1)) && !slices.ContainsFunc(s.Dirty, func(d struct{ First, Last string }) bool {
		return d.First <= label && label <= d.Last
	})
}

// says reads the property with PyIceberg.
func says(t *testing.T, at stacktest.Table, pipeline string) (s said) {
	t.Helper()
	text := stacktest.PyIceberg(t, at, stacktest.Read{}).Properties["lakeloader.complete."+pipeline+".through"]
	if text == "" {
		return s
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

// heard follows a topic of messages about partitions: what was said of each, without what was said twice.
type heard struct {
	client *kgo.Client
	events map[string][]string // by partition
	last   map[string]int64
}

func listen(t *testing.T, topic string) *heard {
	t.Helper()
	c := stacktest.Producer(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	return &heard{c, map[string][]string{}, map[string]int64{}}
}

// until waits until the last events of a partition are those.
func (h *heard) until(t *testing.T, day time.Time, events ...string) {
	t.Helper()
	until(t, fmt.Sprintf("%s is %v", day.Format(time.DateOnly), events), func() (bool, any) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		h.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			var m struct {
				Table, Partition, Event string
				From                    time.Time
				Revision                int64
			}
			if err := json.Unmarshal(r.Value, &m); err != nil {
				t.Fatal(err)
			}
			if string(r.Key) != m.Table+"/"+m.Partition || m.From.Format(time.DateOnly) != m.Partition {
				t.Errorf("the message %s has the key %s", r.Value, r.Key)
			}
			seen := h.events[m.Partition]
			if len(seen) == 0 || seen[len(seen)-1] != m.Event || m.Event == "complete" && m.Revision > h.last[m.Partition] {
				h.events[m.Partition] = append(seen, m.Event)
			}
			if m.Revision < h.last[m.Partition] {
				t.Errorf("the revision went back: %s after %d", r.Value, h.last[m.Partition])
			}
			h.last[m.Partition] = m.Revision
		})
		return slices.Equal(h.events[day.Format(time.DateOnly)], events), h.events
	})
}

// marked says whether a day has a marker.
func (l lake) marked(t *testing.T, day time.Time) bool {
	t.Helper()
	for name := range l.objects(t) {
		if strings.HasSuffix(name, "/data/ts_day="+day.Format(time.DateOnly)+"/_SUCCESS") {
			return true
		}
	}
	return false
}

// TestComplete: three days of events, out of order, in two partitions. A day is complete when both have gone past it, which
// what waits in an open transaction has not; late events make it dirty, and complete again. The loader is killed meanwhile.
func TestComplete(t *testing.T) {
	t.Run("rest", func(t *testing.T) {
		t.Parallel()
		completes(t, restLake(t), func(*stacktest.Daemon, string) *stacktest.Daemon { return nil })
	})
	t.Run("folder, killed", func(t *testing.T) {
		t.Parallel()
		l := folderLake(t)
		completes(t, l, func(d *stacktest.Daemon, config string) *stacktest.Daemon {
			d.Kill()
			return stacktest.StartDaemon(t, config)
		})
	})
}

// completes plays the days. kill may kill a daemon, and returns the one that takes its place.
func completes(t *testing.T, l lake, kill func(d *stacktest.Daemon, config string) *stacktest.Daemon) {
	topic, told := stacktest.Topic(t, 2), stacktest.Topic(t, 1)
	l.yaml += "jobs: {complete: {schedule: \"@every 1s\"}}\n"
	config := configure(t, l, fmt.Sprintf(`
- name: events
  source: {topics: [%s]}
  decode: {value: {format: json, columns: [{name: id, type: long}, {name: ts, type: timestamptz}]}}
  table: {name: events, partition_by: [day(ts), "bucket(2, id)"], complete: {lateness: 2h, quiet: 5s, topic: %s, marker: true}}
  commit: {interval: 300ms, idle_interval: 1s}
`, topic, told))
	day1 := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -4)
	day2, day3 := day1.AddDate(0, 0, 1), day1.AddDate(0, 0, 2)
	id, next := 0, map[int32]int64{}
	events := func(partition int32, at ...time.Time) (rs []*kgo.Record) {
		for _, ts := range at {
			id++
			next[partition]++
			rs = append(rs, &kgo.Record{Topic: topic, Partition: partition, Timestamp: ts.Add(time.Second),
				Value: fmt.Appendf(nil, `{"id": %d, "ts": %q}`, id, ts.Format(time.RFC3339))})
		}
		return rs
	}
	plain, trans := stacktest.Producer(t), stacktest.Producer(t, kgo.TransactionalID(stacktest.Name("tx")), kgo.TransactionTimeout(10*time.Minute))
	send := func(c *kgo.Client, rs []*kgo.Record) {
		t.Helper()
		if err := c.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	begin := func() {
		t.Helper()
		if err := trans.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	commit := func() {
		t.Helper()
		if err := trans.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		next[1]++ // the record that ends it
	}
	reached := func() map[stacktest.Place]int64 {
		return map[stacktest.Place]int64{{Topic: topic, Partition: 0}: next[0], {Topic: topic, Partition: 1}: next[1]}
	}
	h := listen(t, told)
	hours := func(day time.Time, hs ...int) (ts []time.Time) {
		for _, x := range hs {
			ts = append(ts, day.Add(time.Duration(x)*time.Hour))
		}
		return ts
	}

	// Partition 0 has all three days, and one clock that is wrong. Partition 1 is loaded up to noon of the first.
	send(plain, events(0, append(hours(day1, 1, 9, 3, 23), append(hours(day2, 5, 2, 22), hours(day3, 9, 1)...)...)...))
	absurd := events(1, day1.AddDate(30, 0, 0))[0]
	absurd.Timestamp = day1.Add(time.Hour)
	send(plain, append([]*kgo.Record{absurd}, events(1, hours(day1, 4, 12, 2)...)...))
	loadable := reached()
	begin()
	send(trans, events(1, hours(day2, 1, 0, 4)...))
	d := stacktest.StartDaemon(t, config)
	loaded(t, "events", loadable, d)
	until(t, "it is said what is complete", func() (bool, any) { s := says(t, l.named("events"), "events"); return s.Revision > 0, s })
	if s := says(t, l.named("events"), "events"); !s.Through.Equal(day1) || l.marked(t, day1) {
		t.Errorf("while partition 1 is at noon of %s, it is said %+v; marked: %v", day1, s, l.marked(t, day1))
	}

	// Now it is loaded up to 4 o'clock of the second day, and what comes after waits.
	commit()
	begin()
	send(trans, events(1, hours(day3, 20)...))
	h.until(t, day1, "complete")
	if s := says(t, l.named("events"), "events"); !s.complete(day1) || s.complete(day2) || !l.marked(t, day1) || l.marked(t, day2) {
		t.Errorf("while partition 1 is at 4 o'clock of %s, it is said %+v", day2, s)
	}
	d = cmp.Or(kill(d, config), d)
	commit()
	h.until(t, day3, "complete")
	h.until(t, day2, "complete")
	if s := says(t, l.named("events"), "events"); !s.complete(day1) || !s.complete(day2) || !s.complete(day3) || s.complete(day1.AddDate(0, 0, 4)) {
		t.Errorf("all is loaded, but it is said %+v", s)
	}

	// Late events. The loader is killed at the moment when the day is said to be dirty.
	send(plain, events(0, hours(day1, 7)...))
	h.until(t, day1, "complete", "dirty")
	d = cmp.Or(kill(d, config), d)
	h.until(t, day1, "complete", "dirty", "complete")
	h.until(t, day2, "complete")
	if s := says(t, l.named("events"), "events"); !s.complete(day1) || !l.marked(t, day1) {
		t.Errorf("the late events are loaded and all is quiet, but it is said %+v", s)
	}
	loaded(t, "events", map[stacktest.Place]int64{{Topic: topic, Partition: 0}: next[0]}, d)
	metrics(t, d, fmt.Sprintf(`lakeloader_complete_through_timestamp_seconds{pipeline="events",table="%s"} `, l.named("events").Table))
	metrics(t, d, fmt.Sprintf(`lakeloader_complete_dirty_partitions{pipeline="events",table="%s"} 0`, l.named("events").Table))
	stopped(t, d)
	if did := job(t, config, "complete"); !strings.Contains(did, "complete through ") {
		t.Errorf("job run complete says %s", did)
	}
	verified(t, config)
}

// metrics must have a line.
func metrics(t *testing.T, d *stacktest.Daemon, line string) {
	t.Helper()
	until(t, "there is the metric "+line, func() (bool, any) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.HTTP()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(text), line), string(text)
	})
}

// TestCompleteRouted: tables that rows are routed to say it each for themselves, here for partitions by a date. What retention
// drops is no late change, and its marker goes too.
func TestCompleteRouted(t *testing.T) {
	t.Parallel()
	l, topic, told := postgresLake(t), stacktest.Topic(t, 2), stacktest.Topic(t, 1)
	l.yaml += "jobs: {in_daemon: false}\n"
	quiet := func(quiet string) string {
		return configure(t, l, fmt.Sprintf(`
- name: events
  source: {topics: [%s]}
  decode: {value: {format: json, columns: [{name: id, type: long}, {name: kind, type: string}, {name: ts_day, type: date}]}}
  table:
    name: events
    partition_by: [ts_day, kind]
    retention: 72h
    route: {by: kind, template: "events_${value}", allow: [a, b]}
    complete: {quiet: %s, topic: %s, marker: true}
  commit: {interval: 300ms, idle_interval: 1s}
`, topic, quiet, told))
	}
	config := quiet("1h")
	today := time.Now().UTC().Truncate(24 * time.Hour)
	old, young := today.AddDate(0, 0, -5), today.AddDate(0, 0, -2) // which is over, whatever the hour
	plain, at := stacktest.Producer(t), map[stacktest.Place]int64{}
	send := func(day time.Time, kinds ...string) {
		t.Helper()
		for i, kind := range kinds {
			p := stacktest.Place{Topic: topic, Partition: int32(i % 2)}
			r := &kgo.Record{Topic: topic, Partition: p.Partition, Value: fmt.Appendf(nil, `{"id": %d, "kind": %q, "ts_day": %q}`, i, kind, day.Format(time.DateOnly))}
			if err := plain.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			at[p]++
		}
	}
	judge := func(want map[string]map[time.Time]bool) {
		t.Helper()
		names := l.objects(t)
		for table, days := range want {
			s := says(t, l.named(table), "events")
			for day, complete := range days {
				found := false
				for name := range names {
					found = found || strings.HasSuffix(name, "/"+table+"/data/ts_day="+day.Format(time.DateOnly)+"/_SUCCESS")
				}
				if s.complete(day) != complete || found != complete {
					t.Errorf("%s of %s: complete %v and marked %v, want %v: %+v", day.Format(time.DateOnly), table, s.complete(day), found, complete, s)
				}
			}
		}
	}
	send(old, "a", "b", "c", "a")
	send(young, "a", "a", "c")
	d := stacktest.StartDaemon(t, config)
	loaded(t, "events", at, d)
	job(t, config, "complete")
	judge(map[string]map[time.Time]bool{"events": {old: true, young: true}, "events_a": {old: true, young: true}, "events_b": {old: true}})
	send(young, "b", "a")
	loaded(t, "events", at, d)
	if did := job(t, config, "complete"); !strings.Contains(did, "but not 1 partition: "+young.Format(time.DateOnly)) {
		t.Errorf("late rows came, and it says\n%s", did)
	}
	judge(map[string]map[time.Time]bool{"events": {old: true, young: true}, "events_a": {old: true, young: false}, "events_b": {old: true}})
	job(t, config, "retention")
	soon := quiet("1s")
	until(t, "events_a is quiet", func() (bool, any) {
		did := job(t, soon, "complete")
		return !strings.Contains(did, "but not"), did
	})
	judge(map[string]map[time.Time]bool{"events": {young: true}, "events_a": {young: true}})
	for name := range l.objects(t) {
		if strings.Contains(name, "ts_day="+old.Format(time.DateOnly)+"/_SUCCESS") {
			t.Errorf("%s is still there, after its rows were dropped", name)
		}
	}
	stopped(t, d)
	verified(t, config)
}
