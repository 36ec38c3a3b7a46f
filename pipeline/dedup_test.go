package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

func dedupConfig(columns string, change func(*configs.Pipeline)) *configs.Config {
	return pipelinetest.Pipeline(columns, func(p *configs.Pipeline) {
		p.Cleanse = []configs.Step{{Deduplicate: &configs.DeduplicateStep{Key: []string{"k"}, Window: configs.Duration(10 * time.Minute)}}}
		if change != nil {
			change(p)
		}
	}, "a")
}

// clicks sends records with keys, a minute apart from at on.
func clicks(t *testing.T, e *pipelinetest.Env, part int32, at time.Time, keys ...string) {
	t.Helper()
	for i, k := range keys {
		e.Send(t, "a", part, &kgo.Record{Value: fmt.Appendf(nil, `{"k":"%s"}`, k), Timestamp: at.Add(time.Duration(i) * time.Minute)})
	}
}

// keys are the keys in the table with their offsets.
func keys(t *testing.T, e *pipelinetest.Env) (list []string) {
	t.Helper()
	for _, r := range e.Rows(t, primary, "k") {
		list = append(list, fmt.Sprintf("%d@%d %v", r.Partition, r.Offset, r.Values[0]))
	}
	return list
}

func wantKeys(t *testing.T, e *pipelinetest.Env, want ...string) {
	t.Helper()
	if got := keys(t, e); !slices.Equal(got, want) {
		t.Fatalf("the table has\n%q\nwant\n%q", got, want)
	}
}

// What a loader remembers comes from the table: after a restart a key is still known, within the window.
func TestDeduplicatesOverARestart(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg := dedupConfig("k string", nil)
	clicks(t, e, 0, at, "x", "y", "x")
	clicks(t, e, 1, at, "z")
	load(t, e, cfg, 4)
	wantKeys(t, e, "0@0 x", "0@1 y", "1@0 z")
	clicks(t, e, 0, at.Add(5*time.Minute), "x", "z", "w") // z came in another partition of the same loader
	load(t, e, cfg, 3)
	wantKeys(t, e, "0@0 x", "0@1 y", "0@5 w", "1@0 z")
	clicks(t, e, 0, at.Add(40*time.Minute), "x") // long past the window
	load(t, e, cfg, 1)
	wantKeys(t, e, "0@0 x", "0@1 y", "0@5 w", "0@6 x", "1@0 z")
	whole(t, e, cfg, "a-0 [0, 7) 4 rows 3 filtered", "a-1 [0, 1) 1 rows")
}

// A row is a duplicate only of another offset: what is read again after a dropped round or a lost answer is kept.
func TestReadingAgainIsNoDuplicate(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		lands  bool
		rounds int64
	}{"the swap failed": {false, 1}, "the swap landed, but not its answer": {true, 2}} {
		t.Run(name, func(t *testing.T) {
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			cfg := dedupConfig("k string", func(p *configs.Pipeline) { p.Commit.Records = 3 })
			clicks(t, e, 0, at, "x", "y", "x")
			var swaps atomic.Int32
			l := e.Start(t, cfg, func(d *pipeline.Deps) {
				d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, id table.Ident, _ table.Change, next func() error) error {
					if id != primary || swaps.Add(1) > 1 {
						return next()
					}
					if c.lands {
						if err := next(); err != nil {
							return err
						}
					}
					return fmt.Errorf("the connection broke")
				}}
			})
			l.Said("starts again from what the table says", "the connection broke")
			l.Loaded("a", 0, 3)
			clicks(t, e, 0, at.Add(3*time.Minute), "y", "z", "z")
			l.Loaded("a", 0, 6)
			stop(t, l)
			wantKeys(t, e, "0@0 x", "0@1 y", "0@4 z")
			whole(t, e, cfg, "a-0 [0, 6) 3 rows 3 filtered")
			if n := e.Ledger(t, "p", primary).Number; n != 2 {
				t.Errorf("%d rounds", n)
			}
		})
	}
}

// The key may be a column that older files lack: their rows have none, and are remembered for nothing.
func TestDeduplicatesByAColumnAddedLater(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clicks(t, e, 0, at, "x", "y")
	load(t, e, pipelinetest.Pipeline("id long", nil, "a"), 2) // k is not known yet
	cfg := dedupConfig("id long, k string", nil)
	clicks(t, e, 0, at.Add(2*time.Minute), "x", "x", "z")
	load(t, e, cfg, 3)
	clicks(t, e, 0, at.Add(5*time.Minute), "x", "v")
	load(t, e, cfg, 2)
	whole(t, e, cfg, "a-0 [0, 7) 5 rows 2 filtered")
	var got []string
	for _, r := range e.Rows(t, primary, "k") {
		got = append(got, fmt.Sprint(r.Offset, " ", r.Values[0]))
	}
	if want := []string{"0 <nil>", "1 <nil>", "2 x", "4 z", "6 v"}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
}

// Partitions that a rebalance brings are remembered as well, and those it takes are forgotten.
func TestDeduplicatesOverARebalance(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg := dedupConfig("k string", func(p *configs.Pipeline) { p.Commit.Records = 1 })
	clicks(t, e, 0, at, "x")
	clicks(t, e, 1, at, "y")
	one := e.Start(t, cfg, nil)
	one.Loaded("a", 0, 1)
	one.Loaded("a", 1, 1)
	two := e.Start(t, cfg, nil)
	two.Owns(1)
	clicks(t, e, 0, at.Add(time.Minute), "x", "v")
	clicks(t, e, 1, at.Add(time.Minute), "y", "w")
	both(one, two, func() bool { return at3(t, e, 0) && at3(t, e, 1) })
	stop(t, one)
	two.Owns(2)
	clicks(t, e, 0, at.Add(3*time.Minute), "v", "w", "x", "y")
	two.Loaded("a", 0, 7)
	stop(t, two)
	wantKeys(t, e, "0@0 x", "0@2 v", "1@0 y", "1@2 w")
	whole(t, e, cfg, "a-0 [0, 7) 2 rows 5 filtered", "a-1 [0, 3) 2 rows 1 filtered")
}

func at3(t *testing.T, e *pipelinetest.Env, part int32) bool {
	return e.Ledger(t, "p", primary).Records[key("a", part)].Next >= 3
}

// both waits until cond holds, whichever loader makes it so.
func both(one, two *pipelinetest.Loader, cond func() bool) {
	one.Until("two loaders together", cond)
	two.Until("two loaders together", cond)
}
