package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/memory"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// clock is real time that can be set forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time               { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) jump(d time.Duration)         { c.ahead.Add(int64(d)) }
func (c *clock) use(d *pipeline.Deps)         { d.Now = c.now }
func (c *clock) pipeline(p *configs.Pipeline) { p.Commit.Interval = configs.Duration(time.Hour) }

func TestCommitsAtEachThreshold(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 2000)
	for name, c := range map[string]struct {
		commit configs.Commit
		early  func(l *pipelinetest.Loader, c *clock)
	}{
		"records":  {configs.Commit{Records: 4}, nil},
		"size":     {configs.Commit{Size: 16 << 10}, nil},
		"interval": {configs.Commit{}, func(l *pipelinetest.Loader, c *clock) { l.Read(4); c.jump(time.Hour + time.Second) }},
	} {
		t.Run(name, func(t *testing.T) {
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			var now clock
			cfg := pipelinetest.Pipeline("id long required, text string", func(p *configs.Pipeline) {
				p.Commit = c.commit
				now.pipeline(p)
			}, "a")
			l := e.Start(t, cfg, now.use)
			e.Produce(t, "a", 0, numbered(0, 1)...)
			l.Read(1)
			if led := e.Ledger(t, "p", primary); led != nil && led.Number > 0 {
				t.Fatalf("committed at once: %+v", led)
			}
			for i := 1; i < 4; i++ {
				e.Produce(t, "a", 0, fmt.Sprintf(`{"id":%d,"text":"%s"}`, i, long))
			}
			if c.early != nil {
				c.early(l, &now)
			}
			l.Loaded("a", 0, 2) // where a fetch ends is Kafka's affair
			stop(t, l)
			whole(t, e, cfg, "a-0 [0, 4) 4 rows")
		})
	}
}

// A position that moved without rows is committed when nothing comes for a while: Kafka may delete what it passed.
func TestIdlePositionIsCommitted(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 2)...)
	var now clock
	cfg := pipelinetest.Pipeline("id long required", now.pipeline, "a")
	load(t, e, cfg, 2)
	l := e.Start(t, cfg, now.use)
	e.Transaction(t, false, "a", 0, numbered(2, 5)...) // 2-4 aborted, 5 the control record
	l.Position("a", 0, 6)
	if next := e.Ledger(t, "p", primary).Records[key("a", 0)].Next; next != 2 {
		t.Fatalf("committed at once up to %d", next)
	}
	now.jump(11 * time.Minute)
	l.Loaded("a", 0, 6)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 6) 2 rows 4 gaps")
	if led := e.Ledger(t, "p", primary); led.Number != 2 {
		t.Errorf("%d rounds", led.Number)
	}
}

// Records that wait for a commit which does not end: the watchdog gives the partitions up, and a new loader reads on.
func TestStalledCommitIsGivenUp(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 5)...)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Commit = configs.Commit{Records: 5, Interval: configs.Duration(100 * time.Millisecond), StallTimeout: configs.Duration(100 * time.Millisecond)}
	}, "a")
	stuck := make(chan struct{})
	var swaps atomic.Int32
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(ctx context.Context, _ table.Ident, _ table.Change, next func() error) error {
			if swaps.Add(1) == 1 {
				close(stuck)
				<-ctx.Done()
				return ctx.Err()
			}
			return next()
		}}
	})
	<-stuck
	l.Said("stalled", "records have waited for a commit since", "next_try")
	l.Loaded("a", 0, 5)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 5) 5 rows")
}

// What was read is committed when the loader is told to stop, and the group is left: the next one starts at once.
func TestDrainsWhenItStops(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", nil, "a")
	for i := range 3 {
		e.Produce(t, "a", 0, numbered(2*i, 2*i+2)...)
		l := e.Start(t, cfg, nil)
		l.Read(2)
		stop(t, l)
		if !strings.Contains(l.Log(), "partitions revoked") {
			t.Errorf("the group was not left\n%s", l.Log())
		}
		if next := e.Ledger(t, "p", primary).Records[key("a", 0)].Next; next != int64(2*i+2) {
			t.Fatalf("committed up to %d", next)
		}
	}
	whole(t, e, cfg, "a-0 [0, 6) 6 rows")
	l := e.Start(t, cfg, nil) // killed instead: nothing is committed, and everything read again
	e.Produce(t, "a", 0, numbered(6, 8)...)
	l.Read(2)
	if err := l.Kill(); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed: %v", err)
	}
	load(t, e, cfg, 2)
	whole(t, e, cfg, "a-0 [0, 8) 8 rows")
}

// flaky fails the first calls of a kind, before or after they had their effect.
type flaky struct {
	left  atomic.Int32
	lands bool
	err   error
	id    table.Ident // empty: any
}

func (f *flaky) swap(_ context.Context, id table.Ident, _ table.Change, next func() error) error {
	if f.id.Name != "" && id != f.id || f.left.Add(-1) < 0 {
		return next()
	}
	if f.lands {
		if err := next(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: made by the test", f.err)
}

// Whatever the catalog answers, and whether or not the swap landed: the table says what holds, and nothing is lost or there
// twice.
func TestFailingCatalog(t *testing.T) {
	t.Parallel()
	fatal := errors.New("the catalog is broken")
	for name, f := range map[string]*flaky{
		"conflicts":                                   {err: table.ErrConflict},
		"refuses for a passing reason":                {err: table.ErrRetry},
		"answers are lost, nothing landed":            {err: table.ErrUnknown},
		"answers are lost, swaps landed":              {err: table.ErrUnknown, lands: true},
		"fails, nothing landed":                       {err: fatal},
		"fails, but the swap landed":                  {err: fatal, lands: true},
		"fails for the dead letters, nothing landed":  {err: fatal, id: dead},
		"fails for the dead letters, but it landed":   {err: fatal, id: dead, lands: true},
		"loses answers of the dead letters' swaps":    {err: table.ErrUnknown, id: dead, lands: true},
		"loses answers of the dead letters' failures": {err: table.ErrUnknown, id: dead},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.left.Store(2)
			e := pipelinetest.New(t)
			e.Create(t, "a", 2)
			cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Commit.Records = 4 }, "a")
			e.Produce(t, "a", 0, `{"id":0}`, "{{", `{"id":2}`, `{"id":3}`)
			l := e.Start(t, cfg, func(d *pipeline.Deps) { d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: f.swap} })
			l.Loaded("a", 0, 4)
			e.Produce(t, "a", 1, `{"id":0}`, "{{", `{"id":2}`, `{"id":3}`)
			l.Loaded("a", 1, 4)
			l.Until("the dead letters to be there", func() bool { return len(e.Rows(t, dead)) == 2 })
			err := l.Stop()
			if err != nil && !errors.Is(err, f.err) { // the last answer may have come when it was told to stop already
				t.Fatal(err)
			}
			if len(e.Ledger(t, "p", primary).Pending) > 0 { // or it was stopped while it paused after a failure: the next one finishes
				l := e.Start(t, cfg, nil)
				l.Until("the last round to be finished", func() bool { return len(e.Ledger(t, "p", primary).Pending) == 0 })
				stop(t, l)
			}
			whole(t, e, cfg, "a-0 [0, 4) 3 rows 1 dead", "a-1 [0, 4) 3 rows 1 dead")
			if left := f.left.Load(); left > 0 {
				t.Errorf("%d failures were not used", left)
			}
			if pending := e.Ledger(t, "p", primary).Pending; len(pending) > 0 {
				t.Errorf("still pending: %v", pending)
			}
		})
	}
}

// A loader that has committed since it failed last pauses no longer than the first time.
func TestPausesAreShortAgainAfterACommit(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	var fails atomic.Bool
	swap := func(_ context.Context, _ table.Ident, _ table.Change, next func() error) error {
		if fails.CompareAndSwap(true, false) {
			return errors.New("the test says so")
		}
		return next()
	}
	l := e.Start(t, eager(), func(d *pipeline.Deps) { d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: swap} })
	for i := range 4 {
		fails.Store(i > 0)
		e.Produce(t, "a", 0, fmt.Sprintf(`{"id":%d}`, i))
		l.Loaded("a", 0, int64(i+1))
	}
	stop(t, l)
	if log := l.Log(); strings.Count(log, "starts again from what the table says") != 3 || strings.Count(log, "next_try=1s") != 3 {
		t.Errorf("not three pauses of one second:\n%s", log)
	}
}

// The catalog cannot be read for a while: the loader waits, says so, and goes on.
func TestCatalogCannotBeRead(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 3)...)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Commit.Records = 3 }, "a")
	var left atomic.Int32
	left.Store(2)
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Load: func(_ context.Context, id table.Ident, next func() (*table.Base, error)) (*table.Base, error) {
			if left.Add(-1) >= 0 {
				return nil, fmt.Errorf("%w: the server is starting", table.ErrRetry)
			}
			return next()
		}}
	})
	l.Said("the server is starting")
	l.Loaded("a", 0, 3)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 3) 3 rows")
}

// Rounds that are all rows need no object; what was filtered, dead or a gap must be kept in one.
func TestRoundsHaveObjectsOnlyWhenNeeded(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: "id < 100"}}}
	}, "a")
	want := 0
	for _, c := range []struct {
		values []string
		object bool
	}{{numbered(0, 3), false}, {numbered(99, 101), true}, {numbered(3, 5), false}, {[]string{"{{"}, true}, {numbered(200, 202), true}} {
		e.Produce(t, "a", 0, c.values...)
		load(t, e, cfg, int64(len(c.values)))
		if c.object {
			want++
		}
		rounds, committed := e.RoundObjects(t, "p")
		if len(rounds) != want || len(committed) != want {
			t.Fatalf("after %q there are %d objects and %d marks, want %d", c.values, len(rounds), len(committed), want)
		}
	}
	whole(t, e, cfg, "a-0 [0, 10) 6 rows 3 filtered 1 dead")
	if led := e.Ledger(t, "p", primary); led.Number != 5 || len(led.Pending) > 0 {
		t.Errorf("%+v", led)
	}
}

// tight wants all that open files take.
type tight struct{}

func (tight) Set(u memory.Use) int64 { return u.Files }

// With little memory open files are finished early, and still belong to the round: it is committed whole.
func TestLittleMemoryMakesSmallFiles(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Table.PartitionBy = []string{"bucket(4, id)"} }, "a")
	l := e.Start(t, cfg, func(d *pipeline.Deps) { d.Memory = tight{} })
	for i := range 5 {
		e.Produce(t, "a", 0, append(numbered(10*i, 10*i+9), "{{")...)
		l.Position("a", 0, int64(10*i+10))
	}
	if led := e.Ledger(t, "p", primary); led != nil && led.Number > 0 {
		t.Fatalf("committed before the end: %+v", led)
	}
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 50) 45 rows 5 dead")
	if n := len(e.Files(t, primary)); n <= 4 || e.Ledger(t, "p", primary).Number != 1 {
		t.Errorf("%d files in %d rounds", n, e.Ledger(t, "p", primary).Number)
	}
}

// roomy wants all that open files take while fetched records, and what writing them needs, take more than 4 MiB.
type roomy struct{}

func (roomy) Set(u memory.Use) int64 {
	if u.Batches > 4<<20 {
		return u.Files
	}
	return 0
}

// Before a large record is written, of which there are several copies for a moment, open files are finished.
func TestLargeRecordsAreGivenRoom(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", nil, "a")
	l := e.Start(t, cfg, func(d *pipeline.Deps) { d.Memory = roomy{} })
	e.Produce(t, "a", 0, numbered(0, 3)...)
	l.Position("a", 0, 3)
	e.Produce(t, "a", 0, fmt.Sprintf(`{"id":3,"pad":%q}`, strings.Repeat("x", 900_000)))
	l.Position("a", 0, 4)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 4) 4 rows")
	var rows []int64
	for _, f := range e.Files(t, primary) {
		rows = append(rows, f.Rows)
	}
	if slices.Sort(rows); !slices.Equal(rows, []int64{1, 3}) || e.Ledger(t, "p", primary).Number != 1 {
		t.Errorf("files of %v rows in %d rounds", rows, e.Ledger(t, "p", primary).Number)
	}
}
