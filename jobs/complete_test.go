package jobs

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// days is a lake whose tables are partitioned by day. Its files are named after theirs: 2026-05-01/a.
type days struct {
	*lake
	by map[table.Ident]string // the column of the times; ts if it is none of these
}

func (d days) Info(_ context.Context, id table.Ident) (table.Info, error) {
	row := batch.StructOf(batch.Field{Name: "ts", Type: batch.Prim(batch.TimestampTZ)})
	return table.Info{Ident: id, UUID: "uuid-" + id.Name, Row: row, PartitionBy: []table.PartitionField{{Source: cmp.Or(d.by[id], "ts"), Transform: "day", Name: "ts_day"}}}, nil
}

func (d days) file(path string) table.File {
	day, _, _ := strings.Cut(path, "/")
	n, err := table.Day.Parse(day)
	if err != nil {
		return table.File{Path: path, Partition: [][]byte{nil}}
	}
	return table.File{Path: path, Partition: [][]byte{binary.LittleEndian.AppendUint32(nil, uint32(n))}}
}

func (d days) Files(_ context.Context, id table.Ident, snapshot int64) (files []table.File, _ []string, _ error) {
	t := d.tables[id]
	if snapshot == 0 {
		snapshot = t.main
	}
	for _, f := range t.files[snapshot] {
		files = append(files, d.file(f))
	}
	return files, nil, nil
}

func (d days) Changed(_ context.Context, id table.Ident, since, until int64) (*table.Changes, error) {
	if err := d.call("changed %s %d %d", id.Name, since, until); err != nil {
		return nil, err
	}
	t, out := d.tables[id], &table.Changes{Until: until}
	for at := until; at != since; at = t.parents[at] {
		parent, ok := t.parents[at]
		if !ok {
			return out, nil
		}
		for _, side := range []struct {
			in, from int64
			removed  bool
		}{{at, parent, false}, {parent, at, true}} {
			for _, f := range t.files[side.in] {
				if !slices.Contains(t.files[side.from], f) {
					x := d.file(f)
					x.AddedMS = d.now.UnixMilli()
					out.Files = append(out.Files, table.FileChange{File: x, Snapshot: at, Removed: side.removed})
				}
			}
		}
	}
	out.Known = true
	return out, nil
}

// completing is a completer of such a lake, whose pipeline has loaded all that Kafka has.
type completing struct {
	*Completer
	l      days
	heard  []string
	ledger *table.Ledger
	ends   []End
}

func newCompleting() *completing {
	c := &completing{l: days{newLake(), map[table.Ident]string{}}, ledger: &table.Ledger{Records: map[table.Key]table.Record{{Topic: "t"}: {TopicID: "id", Next: 10}}, Number: 1}}
	c.l.tables[primary].commit([]string{"2026-05-01/a", "2026-05-03/a", "null/a"}, nil)
	c.ends = []End{{Key: table.Key{Topic: "t"}, TopicID: "id", High: 10}}
	c.save()
	c.Completer = &Completer{Tables: c.l, Pipeline: "p", Primary: primary, Receiver: "topic x", Lateness: time.Hour, Quiet: 10 * time.Minute, Refresh: time.Hour,
		Ends:      func(context.Context) ([]End, error) { return c.ends, c.l.call("ends") },
		Committed: func(_ context.Context, uuid string, n int64) (bool, error) { return c.l.committed[uuid][n] != "", nil },
		Now:       func() time.Time { return c.l.now }, Wait: noWait, Seen: &Seen{}}
	c.Tell = func(_ context.Context, _ table.Info, notices []Notice) error {
		if err := c.l.call("tell"); err != nil {
			return err
		}
		for _, n := range notices {
			c.heard = append(c.heard, fmt.Sprintf("%s %v %d", n.Partition, n.Complete, n.Revision))
		}
		return nil
	}
	return c
}

func (c *completing) save() {
	t := c.l.tables[primary]
	c.ledger.Move = t.main
	set, _ := c.ledger.Properties("p", t.props)
	maps.Copy(t.props, set)
}

func (c *completing) state(t *testing.T, id table.Ident) string {
	t.Helper()
	s, err := ParseComplete("p", c.l.tables[id].props)
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		return "nothing"
	}
	out := fmt.Sprintf("%d: %s", s.Revision, s.Through.Format(time.DateOnly))
	for _, d := range s.Dirty {
		out += " dirty " + d.First + ".." + d.Last
	}
	if s.Told != nil {
		out += fmt.Sprintf(" told %d", s.Told.Revision)
	}
	return out
}

func (c *completing) swaps() (n int) {
	for _, call := range c.l.calls {
		if strings.HasPrefix(call, "swap") {
			n++
		}
	}
	return n
}

func TestCompleter(t *testing.T) {
	broken := errors.New("broken")
	cases := map[string]struct {
		before  func(c *completing, call string) error
		fails   error
		first   string // after a run in which that happens
		heard   string
		second  string // and after another run, in which nothing does
		then    string // what is heard in it
		swapped int    // in both
	}{
		"nothing happens": {nil, nil, "1: 2026-05-04 told 1", "2026-05-01 true 1, 2026-05-03 true 1", "1: 2026-05-04 told 1", "", 2},
		"Kafka is not there": {func(_ *completing, call string) error { return map[string]error{"ends": broken}[call] }, broken,
			"nothing", "", "1: 2026-05-04 told 1", "2026-05-01 true 1, 2026-05-03 true 1", 2},
		"the topic is not there": {func(_ *completing, call string) error { return map[string]error{"tell": broken}[call] }, broken,
			"1: 2026-05-04", "", "1: 2026-05-04 told 1", "2026-05-01 true 1, 2026-05-03 true 1", 2},
		"a loader was faster": {func(c *completing, call string) error {
			if call == "swap t" && c.swaps() == 1 {
				c.l.tables[primary].commit([]string{"2026-05-01/a", "2026-05-02/a"}, nil)
			}
			return nil
		}, nil, "1: 2026-05-04 told 1", "2026-05-01 true 1, 2026-05-02 true 1", "1: 2026-05-04 told 1", "", 3},
		"the reply is lost": {func(c *completing, call string) error {
			if call == "swap t" && c.swaps() == 1 {
				return errLanded
			}
			return nil
		}, nil, "1: 2026-05-04 told 1", "2026-05-01 true 1, 2026-05-03 true 1", "1: 2026-05-04 told 1", "", 2},
		"it is killed after the message": {func(c *completing, call string) error {
			if call == "swap t" && c.swaps() == 2 {
				return broken
			}
			return nil
		}, broken, "1: 2026-05-04", "2026-05-01 true 1, 2026-05-03 true 1", "1: 2026-05-04 told 1", "2026-05-01 true 1, 2026-05-03 true 1", 3},
		"it was rolled back": {func(c *completing, call string) error {
			if call == "ends" {
				c.ledger.Move = 2
				c.l.tables[primary].commit(nil, nil)
				c.save()
				c.l.tables[primary].main = 1
			}
			return nil
		}, ErrRolledBack, "nothing", "", "nothing", "", 0},
	}
	for name, x := range cases {
		t.Run(name, func(t *testing.T) {
			c := newCompleting()
			if x.before != nil {
				c.l.before = func(call string) error { return x.before(c, call) }
			}
			if _, err := c.Run(t.Context(), primary); !errors.Is(err, x.fails) {
				t.Errorf("it ends with %v, want %v", err, x.fails)
			}
			if got := c.state(t, primary); got != x.first {
				t.Errorf("it says %s, want %s", got, x.first)
			}
			if got := strings.Join(c.heard, ", "); got != x.heard {
				t.Errorf("it tells %s, want %s", got, x.heard)
			}
			c.heard, c.l.before = nil, func(string) error { return nil }
			if _, err := c.Run(t.Context(), primary); err != nil && !errors.Is(err, ErrRolledBack) {
				t.Error(err)
			}
			if got := c.state(t, primary); got != x.second {
				t.Errorf("then it says %s, want %s", got, x.second)
			}
			if got := strings.Join(c.heard, ", "); got != x.then {
				t.Errorf("then it tells %s, want %s", got, x.then)
			}
			if n := c.swaps(); n != x.swapped {
				t.Errorf("%d swaps, want %d", n, x.swapped)
			}
		})
	}
}

// Late files, and ones that were taken out, make their days dirty, whichever process looks; what is said is renewed before its
// snapshot expires; and where that has expired, everything is dirty.
func TestCompleterFindsLateFiles(t *testing.T) {
	c := newCompleting()
	run := func(want, heard string) {
		t.Helper()
		c.heard = nil
		if _, err := c.Run(t.Context(), primary); err != nil {
			t.Fatal(err)
		}
		if got := c.state(t, primary); got != want {
			t.Errorf("it says %s, want %s", got, want)
		}
		if got := strings.Join(c.heard, ", "); got != heard {
			t.Errorf("it tells %s, want %s", got, heard)
		}
	}
	p := c.l.tables[primary]
	run("1: 2026-05-04 told 1", "2026-05-01 true 1, 2026-05-03 true 1")
	p.commit([]string{"2026-05-03/a", "2026-05-03/b", "2026-05-04/a", "null/b"}, nil)
	run("2: 2026-05-04 dirty 2026-05-01..2026-05-01 dirty 2026-05-03..2026-05-03 told 2", "2026-05-01 false 2, 2026-05-03 false 2")
	c.Seen = &Seen{} // another process
	c.l.now = c.l.now.Add(9 * time.Minute)
	run("2: 2026-05-04 dirty 2026-05-01..2026-05-01 dirty 2026-05-03..2026-05-03 told 2", "")
	p.commit([]string{"2026-05-03/a", "2026-05-03/c", "2026-05-04/a"}, nil)
	c.l.now = c.l.now.Add(2 * time.Minute)
	run("3: 2026-05-04 dirty 2026-05-03..2026-05-03 told 3", "2026-05-01 true 3")
	c.l.now = c.l.now.Add(11 * time.Minute)
	run("4: 2026-05-04 told 4", "2026-05-03 true 4")

	// Files of a day that is not complete say nothing; what was looked at is noted once an hour.
	n := c.swaps()
	for range 30 {
		p.commit(append(slices.Clone(p.files[p.main]), fmt.Sprintf("2026-05-04/%d", p.last)), nil)
		c.l.now = c.l.now.Add(3 * time.Minute)
		run("4: 2026-05-04 told 4", "")
	}
	if n = c.swaps() - n; n != 1 {
		t.Errorf("%d swaps in 90 minutes, want 1", n)
	}
	delete(p.parents, p.main) // all others have expired
	p.commit([]string{"2026-05-02/a"}, nil)
	c.Seen = &Seen{}
	for id := range p.parents {
		if id < p.main {
			delete(p.parents, id)
		}
	}
	run("5: 2026-05-04 dirty 2026-05-02..2026-05-03 told 5", "2026-05-02 false 5, 2026-05-03 false 5")
}

// A loader that went on since Kafka was asked is no truncated log, and one whose log ends before what is loaded is not complete.
func TestCompleterOfTruncatedLogs(t *testing.T) {
	for name, c := range map[string]struct {
		then int64 // where the log ends when it is asked for again
		want string
	}{"went on": {12, "1: 2026-05-04"}, "truncated": {8, "nothing"}} {
		t.Run(name, func(t *testing.T) {
			x := newCompleting()
			x.Receiver, x.ends[0].High = "", 8
			x.l.before = func(call string) error {
				if call == "load t" {
					x.ends = []End{{Key: table.Key{Topic: "t"}, TopicID: "id", High: c.then}}
				}
				return nil
			}
			done, err := x.Run(t.Context(), primary)
			if got := x.state(t, primary); err != nil || got != c.want || strings.Contains(done.Held, "truncated") != (c.then < 10) {
				t.Errorf("%s, held by %q, %v", got, done.Held, err)
			}
		})
	}
}

// Expiry leaves what was not looked at yet, unless nobody has looked for a day.
func TestExpiryLeavesWhatIsToBeLookedAt(t *testing.T) {
	c := newCompleting()
	c.Receiver = ""
	p := c.l.tables[primary]
	p.at[1] = c.l.now
	if _, err := c.Run(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
	p.at[p.main] = c.l.now
	for n := range 5 {
		p.commit(nil, nil)
		p.at[p.main] = c.l.now.Add(time.Duration(n) * time.Hour)
	}
	c.ledger.Move = p.main
	set, _ := c.ledger.Properties("p", p.props)
	maps.Copy(p.props, set)
	plan := func() []int64 {
		s, err := c.l.Open(t.Context(), primary)
		if err != nil {
			t.Fatal(err)
		}
		base, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		gone, err := PlanExpiry(base, Retention{Before: c.l.now.Add(1000 * time.Hour), Last: 1})
		if err != nil {
			t.Fatal(err)
		}
		return gone
	}
	if got := plan(); !slices.Equal(got, []int64{1}) {
		t.Errorf("%v expire, and only 1 was before what was looked at", got)
	}
	p.at[p.main] = c.l.now.Add(25 * time.Hour)
	if got := plan(); len(got) != 6 {
		t.Errorf("%v expire a day later, want all but main", got)
	}
}

// A table that rows are routed to is complete only when every round is in it; retention's own partitions are told of.
func TestCompleterOfRoutedTables(t *testing.T) {
	c := newCompleting()
	c.l.tables[dead].commit([]string{"2026-05-02/x"}, nil)
	c.ledger.Pending = []table.Pending{{Number: 1, ID: "one"}}
	c.save()
	if x, err := c.Run(t.Context(), dead); err != nil || x.State != nil || !strings.Contains(x.Held, "round 1") {
		t.Errorf("with a round pending: %+v, %v", x, err)
	}
	if x, err := c.Run(t.Context(), primary); err != nil || x.State == nil {
		t.Errorf("the primary itself: %+v, %v", x, err)
	}
	c.l.committed["uuid-t"] = map[int64]string{1: "one"}
	c.heard = nil
	if x, err := c.Run(t.Context(), dead); err != nil || x.State == nil || strings.Join(c.heard, ", ") != "2026-05-02 true 1" {
		t.Errorf("with the round in all tables: %+v, %v, %v", x, err, c.heard)
	}
	c.l.by[dead] = "other"
	if _, err := c.Run(t.Context(), dead); err == nil || !strings.Contains(err.Error(), "lake.t_dead is partitioned by the time in other") {
		t.Errorf("with the time of another column: %v", err)
	}
	delete(c.l.by, dead)
	c.Retention = 24 * time.Hour
	var gone []string
	c.Dropped = func(_ context.Context, _ table.Info, partitions []string) error { gone = partitions; return nil }
	c.l.tables[dead].commit(nil, nil)
	if x, err := c.Run(t.Context(), dead); err != nil || x.Changed || strings.Join(gone, ", ") != "2026-05-02" {
		t.Errorf("after retention: %+v, %v, %v", x, err, gone)
	}
}
