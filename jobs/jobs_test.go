package jobs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

func rewriteOf(l *lake) *Rewrite {
	t := l.tables[primary]
	return &Rewrite{Table: primary, UUID: t.uuid, Snapshot: t.main, Inputs: []string{"a", "b"}, Deletes: t.deletes[t.main],
		Output: []table.File{{Path: "ab", CreatedMS: began.UnixMilli()}}, Summary: map[string]string{"lakeloader.job": "compact"}}
}

func TestRewrite(t *testing.T) {
	const age = 72 * time.Hour
	for name, c := range map[string]struct {
		meanwhile func(l *lake, call string) error // before each call
		want      error
		says      string
		files     string // of main then
		swaps     int
	}{
		"lands": {func(*lake, string) error { return nil }, nil, "", "c ab", 1},
		"a loader was faster": {once("swap t", func(l *lake) error {
			l.tables[primary].commit([]string{"a", "b", "c", "d"}, []string{"old deletes"})
			return nil
		}), nil, "", "c d ab", 2},
		"an input was rewritten": {once("swap t", func(l *lake) error {
			l.tables[primary].commit([]string{"b", "c", "a2"}, []string{"old deletes"})
			return nil
		}), ErrStale, "the input a was removed", "b c a2", 1},
		"rows were deleted": {once("load t", func(l *lake) error {
			l.tables[primary].commit([]string{"a", "b", "c"}, []string{"old deletes", "new deletes"})
			return nil
		}), ErrStale, "new deletes", "a b c", 0},
		"the table is another": {once("load t", func(l *lake) error {
			l.tables[primary].uuid = "another"
			return nil
		}), ErrStale, "created again", "a b c", 0},
		"the table was rolled back": {once("load t", func(l *lake) error {
			l.tables[primary].props = table.Applied{UUID: "u", Number: 1, Snapshot: l.tables[primary].commit(nil, nil)}.Property("p")
			l.tables[primary].main = 1
			return nil
		}), ErrRolledBack, "roll forward", "a b c", 0},
		"the output is old": {once("swap t", func(l *lake) error {
			l.now = began.Add(age/2 + time.Second)
			return table.ErrConflict
		}), ErrStale, "half the orphan age", "a b c", 1},
		"unknown, and landed":   {once("swap t", func(*lake) error { return errLanded }), table.ErrUnknown, "leaves its output", "c ab", 1},
		"unknown, did not land": {once("swap t", func(*lake) error { return table.ErrUnknown }), table.ErrUnknown, "leaves its output", "a b c", 1},
		"the catalog fails for ever": {func(_ *lake, call string) error {
			if call == "swap t" {
				return table.ErrRetry
			}
			return nil
		}, table.ErrRetry, "gave up", "a b c", 6},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLake()
			l.tables[primary].commit([]string{"a", "b", "c"}, []string{"old deletes"})
			rw := rewriteOf(l)
			l.before = func(call string) error { return c.meanwhile(l, call) }
			r := &Rewriter{Tables: l, Now: func() time.Time { return l.now }, Wait: noWait, OrphanAge: age}
			err := r.Commit(t.Context(), rw)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %v saying %q", err, c.want, c.says)
			}
			main := l.tables[primary]
			if got := strings.Join(main.files[main.main], " "); got != c.files {
				t.Errorf("files %s, want %s", got, c.files)
			}
			n := 0
			for _, call := range l.calls {
				if call == "swap t" {
					n++
				}
			}
			if n != c.swaps {
				t.Errorf("%d swaps, want %d", n, c.swaps)
			}
		})
	}
}

// once does something before the first such call.
func once(call string, f func(l *lake) error) func(*lake, string) error {
	done := false
	return func(l *lake, c string) error {
		if c != call || done {
			return nil
		}
		done = true
		return f(l)
	}
}

// fails gives the error to such calls.
func fails(call string, err error) func(string) error {
	return func(c string) error {
		if c == call {
			return err
		}
		return nil
	}
}

// orphanLake has one file of each kind in the primary's folder, all of them old unless they say young.
func orphanLake(t *testing.T) (*lake, *Orphans) {
	t.Helper()
	l := newLake()
	main := l.tables[primary]
	main.commit([]string{"live"}, nil)
	led := table.Ledger{Number: 9, CommitID: "done", Pending: []table.Pending{{Number: 8, ID: "waits"}}, Records: map[table.Key]table.Record{{Topic: "t"}: {Next: 3}}, Move: main.main}
	main.props, _ = led.Properties("p", nil)
	main.commit([]string{"live", "compacted"}, nil)
	l.tables[dead].commit([]string{"dead live"}, nil)
	const old = 100 * time.Hour
	for _, f := range []string{"live", "compacted", "of waiting", "dropped", "data/ts_day=2026-01-01/_SUCCESS"} {
		l.folders[primary] = append(l.folders[primary], at(f, old))
	}
	l.folders[primary] = append(l.folders[primary], at("young", 71*time.Hour))
	for _, f := range []string{"dead live", "dead of waiting", "dead dropped", "of earlier", "of earlier, finished"} {
		l.folders[dead] = append(l.folders[dead], at(f, old+time.Hour))
	}
	l.rounds = map[string]map[string]objects.Info{
		main.uuid: {"waits": at("rounds/waits", old), "done": at("rounds/done", old), "lost": at("rounds/lost", old), "now": at("rounds/now", time.Hour)},
		"earlier": {"e1": at("rounds/e1", old), "e2": at("rounds/e2", old)},
	}
	l.named = map[string][]string{"waits": {"of waiting", "dead of waiting"}, "lost": {"dropped", "dead dropped"}, "e1": {"of earlier"}, "e2": {"of earlier, finished"}}
	l.committed = map[string]map[int64]string{main.uuid: {9: "done"}, "earlier": {1: "e2"}}
	return l, &Orphans{Lake: l, Tables: []table.Ident{primary, dead}, Writers: []Writer{{"p", primary, roundFiles{l}}}, Age: 72 * time.Hour,
		Now: func() time.Time { return l.now }, Wait: noWait}
}

func TestOrphans(t *testing.T) {
	l, o := orphanLake(t)
	l.before = func(string) error { l.now = l.now.Add(10 * time.Hour); return nil } // reading takes long
	plan, err := o.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range plan.Orphans {
		got = append(got, x.URI)
		if !strings.Contains(x.Why, "refers to it") && !strings.Contains(x.Why, "never committed") {
			t.Errorf("%s: %s", x.URI, x.Why)
		}
	}
	if want := []string{"dead dropped", "of earlier, finished", "dropped", "rounds/lost"}; !slices.Equal(got, want) {
		t.Errorf("orphans %q, want %q", got, want)
	}
	if !plan.Cutoff.Equal(began.Add(-72*time.Hour)) || plan.Bytes() != 40 || plan.Listed != 17 {
		t.Errorf("cutoff %v, %d bytes, %d listed", plan.Cutoff, plan.Bytes(), plan.Listed)
	}
	// fences, then what is pending, then the tables, then what there is
	if got := strings.Join(l.calls, ", "); got != "load t, swap t, load t_dead, swap t_dead, load t, rounds, references t, references t_dead, list t, list t_dead" {
		t.Errorf("calls: %s", got)
	}
}

func TestOrphansAreDeleted(t *testing.T) {
	l, o := orphanLake(t)
	var deleted []string
	var fault error
	o.Delete = func(_ context.Context, uris []string) error { deleted = uris; return fault }
	plan, err := o.Run(t.Context())
	if want := []string{"dead dropped", "of earlier, finished", "dropped", "rounds/lost"}; err != nil || len(plan.Orphans) != 4 || !slices.Equal(deleted, want) {
		t.Errorf("%+v, %v, deleted %q", plan, err, deleted)
	}
	fault = errors.New("access denied")
	if _, err := o.Run(t.Context()); !errors.Is(err, fault) {
		t.Errorf("%v", err)
	}
	deleted = nil
	l.tables[primary].props["lakeloader.p.offsets.0"] = "x"
	if _, err := o.Run(t.Context()); err == nil || deleted != nil {
		t.Errorf("in doubt: %v, deleted %q", err, deleted)
	}
}

func TestOrphansAreNotLookedForInDoubt(t *testing.T) {
	broken := errors.New("access denied")
	for name, c := range map[string]struct {
		damage func(l *lake)
		want   error
		says   string
	}{
		"rolled back": {func(l *lake) {
			l.tables[dead].main = 0
			l.tables[dead].props = table.Applied{UUID: "u", Number: 1, Snapshot: 1}.Property("p")
		}, ErrRolledBack, "lake.t_dead"},
		"a round object is gone":   {func(l *lake) { delete(l.rounds[l.tables[primary].uuid], "waits") }, nil, "pending round waits is missing"},
		"the ledger is damaged":    {func(l *lake) { l.tables[primary].props["lakeloader.p.offsets.0"] = "x" }, nil, "lakeloader.p.offsets.0"},
		"a table cannot be read":   {func(l *lake) { l.before = fails("references t_dead", broken) }, broken, "lake.t_dead"},
		"a folder cannot be read":  {func(l *lake) { l.before = fails("list t", broken) }, broken, "lake.t"},
		"the rounds are not there": {func(l *lake) { l.before = fails("rounds", broken) }, broken, "pipeline p"},
		"a pipeline that is not known applied a round": {func(l *lake) {
			maps.Copy(l.tables[dead].props, table.Applied{UUID: "u", Number: 1, Snapshot: 1}.Property("stranger"))
		}, nil, "pipeline stranger writes into table lake.t_dead too"},
		"a pipeline that is not known has something pending": {func(l *lake) {
			led := table.Ledger{Number: 2, CommitID: "c", Pending: []table.Pending{{Number: 2, ID: "c"}}, Records: map[table.Key]table.Record{{Topic: "t"}: {Next: 3}}}
			set, _ := led.Properties("stranger", nil)
			maps.Copy(l.tables[primary].props, set)
		}, nil, "pipeline stranger writes into table lake.t too"},
		"the primary is gone": {func(l *lake) { delete(l.tables, primary) }, table.ErrNoTable, "lake.t"},
	} {
		t.Run(name, func(t *testing.T) {
			l, o := orphanLake(t)
			c.damage(l)
			plan, err := o.Plan(t.Context())
			if err == nil || plan != nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%+v, %v", plan, err)
			}
		})
	}
	l, o := orphanLake(t)
	l.tables[dead].props["gc.enabled"] = "false"
	if plan, err := o.Plan(t.Context()); err != nil || len(plan.Orphans) != 2 || strings.Contains(strings.Join(l.calls, " "), "swap t_dead") {
		t.Fatalf("a table whose files must stay: %+v, %v, %v", plan, err, l.calls)
	}
	l, o = orphanLake(t)
	led := table.Ledger{Number: 2, CommitID: "c", Records: map[table.Key]table.Record{{Topic: "t"}: {Next: 3}}}
	set, _ := led.Properties("given up", nil) // nothing of it is pending
	maps.Copy(l.tables[primary].props, set)
	delete(l.tables, dead) // there was never a dead letter
	if plan, err := o.Plan(t.Context()); err != nil || len(plan.Orphans) != 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
}

func TestExpiryKeepsTheWayToTheLastMove(t *testing.T) {
	l := newLake()
	main := l.tables[primary]
	for range 6 {
		main.commit(nil, nil)
	}
	led := table.Ledger{Number: 1, CommitID: "c", Records: map[table.Key]table.Record{{Topic: "t"}: {Next: 3}}, Move: 4}
	main.props, _ = led.Properties("p", nil)
	maps.Copy(main.props, table.Applied{UUID: "u", Number: 1, Snapshot: 99}.Property("q")) // it has expired
	for id := int64(1); id <= 6; id++ {
		main.at[id] = began.Add(time.Duration(id) * time.Hour)
	}
	plan := func(keep Retention) ([]int64, error) {
		s, err := l.Open(t.Context(), primary)
		if err != nil {
			t.Fatal(err)
		}
		base, err := s.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return PlanExpiry(base, keep)
	}
	for name, c := range map[string]struct {
		keep Retention
		want []int64
	}{
		"all but the way":     {Retention{Before: began.Add(24 * time.Hour)}, []int64{1, 2, 3}},
		"by age":              {Retention{Before: began.Add(3 * time.Hour)}, []int64{1, 2}},
		"the last five":       {Retention{Before: began.Add(24 * time.Hour), Last: 5}, []int64{1}},
		"everything is young": {Retention{Before: began}, nil},
		"more than there are": {Retention{Before: began.Add(24 * time.Hour), Last: 50}, nil},
	} {
		if got, err := plan(c.keep); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}
	main.props["gc.enabled"] = "false"
	if got, err := plan(Retention{Before: began.Add(24 * time.Hour)}); err != nil || got != nil {
		t.Errorf("where nothing may be deleted: %v, %v", got, err)
	}
	delete(main.props, "gc.enabled")
	main.tag = 2
	if got, err := plan(Retention{Before: began.Add(24 * time.Hour)}); err != nil || !slices.Equal(got, []int64{1, 3}) {
		t.Errorf("with a tag: %v, %v", got, err)
	}
	main.main = 3
	if got, err := plan(Retention{Before: began.Add(24 * time.Hour)}); !errors.Is(err, ErrRolledBack) || got != nil {
		t.Errorf("rolled back: %v, %v", got, err)
	}
	main.props["lakeloader.p.ledger"] = "{"
	if _, err := plan(Retention{}); err == nil {
		t.Error("a damaged ledger went unnoticed")
	}
}
