package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// events are JSON records of types, in order, with ids from first on.
func events(first int, types ...string) (values []string) {
	for i, typ := range types {
		v := fmt.Sprintf(`{"id":%d,"type":%q}`, first+i, typ)
		if typ == "" {
			v = fmt.Sprintf(`{"id":%d}`, first+i)
		}
		values = append(values, v)
	}
	return values
}

func routed(r configs.Route, change func(*configs.Pipeline)) *configs.Config {
	if r.By == "" {
		r.By = "type"
	}
	return pipelinetest.Pipeline("id long required, type string", func(p *configs.Pipeline) {
		p.Table.Route = &r
		if change != nil {
			change(p)
		}
	}, "a")
}

func lake(name string) table.Ident { return table.Ident{Namespace: "lake", Name: name} }

// holds checks which ids a table has, as a list such as "0 3 4"; "-": there is no such table.
func holds(t *testing.T, e *pipelinetest.Env, name, want string) {
	t.Helper()
	got := "-"
	if _, err := e.Catalog.Info(t.Context(), lake(name)); err == nil {
		var ids []string
		for _, r := range e.Rows(t, lake(name), "id") {
			ids = append(ids, fmt.Sprint(r.Values[0]))
		}
		got = strings.Join(ids, " ")
	} else if !errors.Is(err, table.ErrNoTable) {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("table %s has %q, want %q", name, got, want)
	}
}

func listed(t *testing.T, e *pipelinetest.Env) string {
	t.Helper()
	var list []string
	for _, r := range e.Ledger(t, "p", primary).Tables {
		list = append(list, strings.TrimSuffix(r.Name+"="+r.Value, "="))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestRoutesByAColumn(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := routed(configs.Route{Tables: map[string]string{"click": "clicks", "tap": "clicks", "view": "other.views"}, Template: "events_${value}", Allow: []string{"buy_*"}}, nil)
	e.Produce(t, "a", 0, events(0, "click", "view", "", "buy_Now", "tap", "nothing", "buy_now", "click", "drop_me")...)
	e.Produce(t, "a", 0, "{{")
	load(t, e, cfg, 10)
	whole(t, e, cfg, "a-0 [0, 10) 9 rows 1 dead")
	holds(t, e, "clicks", "0 4 7")
	holds(t, e, "events_buy_now", "3")
	holds(t, e, "t", "2 5 6 8") // buy_now would share the table of buy_Now
	if rows := e.Rows(t, table.Ident{Namespace: "other", Name: "views"}, "id"); len(rows) != 1 || rows[0].Values[0] != int64(1) {
		t.Errorf("other.views has %v", rows)
	}
	if got := listed(t, e); got != "clicks events_buy_now=buy_Now views" {
		t.Errorf("the ledger lists %s", got)
	}
	// After a restart the same value has the table; a value that comes first does not take it.
	e.Produce(t, "a", 0, events(10, "buy_now", "buy_Now", "buy_it")...)
	load(t, e, cfg, 3)
	whole(t, e, cfg, "a-0 [0, 13) 12 rows 1 dead")
	holds(t, e, "events_buy_now", "3 11")
	holds(t, e, "events_buy_it", "12")
	holds(t, e, "t", "2 5 6 8 10")
	// The route is taken away: the tables stay listed, and verify counts their rows.
	cfg = routed(configs.Route{}, func(p *configs.Pipeline) { p.Table.Route = nil })
	e.Produce(t, "a", 0, events(13, "click")...)
	load(t, e, cfg, 1)
	whole(t, e, cfg, "a-0 [0, 14) 13 rows 1 dead")
	holds(t, e, "t", "2 5 6 8 10 13")
}

func TestRoutesByTopic(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	cfg := routed(configs.Route{By: pipeline.ColumnTopic, Template: "from_${value}", Allow: []string{"*"}}, func(p *configs.Pipeline) { p.Source.Topics = []string{"a", "b.c"} })
	for i, topic := range cfg.Pipelines[0].Source.Topics {
		e.Create(t, topic, 2)
		e.Produce(t, topic, 0, events(10*i, "x", "y")...)
		e.Produce(t, topic, 1, events(10*i+5, "x")...)
	}
	load(t, e, cfg, 6)
	whole(t, e, cfg, "a-0 [0, 2) 2 rows", "a-1 [0, 1) 1 rows", "b.c-0 [0, 2) 2 rows", "b.c-1 [0, 1) 1 rows")
	holds(t, e, "from_a", "0 1 5")
	holds(t, e, "from_b_c", "10 11 15")
	holds(t, e, "t", "")
}

// What no table takes becomes dead letters, if the configuration says so, with the reason.
func TestRouteOtherwiseDeadLetters(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := routed(configs.Route{Template: "events_${value}", Allow: []string{"?*"}, Limit: 2, Otherwise: "dead_letter"}, nil)
	e.Produce(t, "a", 0, events(0, "x", "X", "", "y", "z", strings.Repeat("long", 50), "x")...)
	load(t, e, cfg, 7)
	whole(t, e, cfg, "a-0 [0, 7) 3 rows 4 dead")
	holds(t, e, "events_x", "0 6")
	holds(t, e, "events_y", "3")
	holds(t, e, "t", "")
	var got []string
	for _, r := range e.Rows(t, dead, "stage", "error") {
		got = append(got, fmt.Sprint(r.Offset, " ", r.Values[0], ": ", r.Values[1]))
	}
	for i, want := range []string{`1 route: type "X" would go to table lake.events_x, which has the rows of "x"`, "2 route: type is null",
		`4 route: type "z" would need a table beyond the limit of 2`, `5 route: no table is allowed for type "longlong`} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("dead letters %q, want %q", got, want)
		}
	}
}

// deathAt ends the loader at a swap, before it or when it has landed.
type deathAt struct {
	swap  int // counted from 1
	lands bool
	seen  int
	died  chan struct{}
}

var errDeath = errors.New("the loader died")

func (d *deathAt) use(deps *pipeline.Deps) {
	d.died = make(chan struct{})
	log := deps.Log
	deps.Catalog = &pipelinetest.Faults{Catalog: deps.Catalog, Swap: func(ctx context.Context, _ table.Ident, _ table.Change, next func() error) error {
		if d.seen++; d.seen < d.swap {
			return next()
		}
		if d.seen == d.swap {
			if d.lands {
				if err := next(); err != nil {
					return err
				}
			}
			close(d.died)
			log.Info("it died") // which wakes who waits
		}
		<-ctx.Done() // nothing more happens until it is killed
		return errDeath
	}}
}

// A loader that dies at any swap of a round, before or behind it: verify finds nothing wrong even then, and the next one
// finishes what the swap of the primary has decided.
func TestRoutedRoundSurvivesDeathAtEverySwap(t *testing.T) {
	t.Parallel()
	for swap := 1; swap <= 5; swap++ { // the primary, three routed tables, the dead letters
		for _, lands := range []bool{false, true} {
			t.Run(fmt.Sprint(swap, lands), func(t *testing.T) {
				t.Parallel()
				e := pipelinetest.New(t)
				e.Create(t, "a", 1)
				cfg := routed(configs.Route{Tables: map[string]string{"x": "xs", "y": "ys", "z": "zs"}}, func(p *configs.Pipeline) { p.Commit.Records = 6 })
				e.Produce(t, "a", 0, events(0, "x", "y", "z", "x", "w")...)
				e.Produce(t, "a", 0, "{{")
				d := &deathAt{swap: swap, lands: lands}
				l := e.Start(t, cfg, d.use)
				<-d.died
				if err := l.Kill(); err == nil {
					t.Fatal("it was not killed")
				}
				led := e.Ledger(t, "p", primary)
				if decided := led != nil; decided != (swap > 1 || lands) {
					t.Fatalf("after swap %d (landed: %v) the ledger is %+v", swap, lands, led)
				} else if decided {
					whole(t, e, cfg, "a-0 [0, 6) 5 rows 1 dead")
				}
				e.Produce(t, "a", 0, events(6, "y")...)
				l = e.Start(t, cfg, nil)
				l.Position("a", 0, 7)
				stop(t, l)
				whole(t, e, cfg, "a-0 [0, 7) 6 rows 1 dead")
				for name, want := range map[string]string{"t": "4", "xs": "0 3", "ys": "1 6", "zs": "2"} {
					holds(t, e, name, want)
				}
				if n := len(e.Rows(t, dead)); n != 1 {
					t.Errorf("%d dead letters", n)
				}
				if p := e.Ledger(t, "p", primary).Pending; len(p) > 0 {
					t.Errorf("still pending: %v", p)
				}
			})
		}
	}
}

// However the rows are split over tables, batches and rounds, with loaders that die: every offset is in one table, once, and
// in order.
func TestAnySplitLosesNothing(t *testing.T) {
	t.Parallel()
	for seed := range int64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewSource(seed))
			e := pipelinetest.New(t)
			e.Create(t, "a", 2)
			cfg := routed(configs.Route{Template: "e_${value}", Allow: []string{"v*"}, Limit: 4, Otherwise: []string{"primary", "dead_letter"}[seed%2]},
				func(p *configs.Pipeline) { p.Commit.Records = 1; p.Table.PartitionBy = []string{"bucket(2, id)"} })
			var next [2]int64
			for step := range 6 {
				for part := range int32(2) {
					var types []string
					for range r.Intn(60) {
						types = append(types, []string{"v1", "v2", "v3", "V1", "v4", "v5", "w", ""}[r.Intn(8)])
					}
					if r.Intn(2) == 0 {
						slices.Sort(types) // long runs
					}
					if len(types) > 0 {
						e.Produce(t, "a", part, events(int(next[part]), types...)...)
						next[part] += int64(len(types))
					}
				}
				if step == 5 || r.Intn(2) == 0 {
					l := e.Start(t, cfg, nil)
					for part := range int32(2) {
						if next[part] > 0 {
							l.Position("a", part, next[part])
						}
					}
					stop(t, l)
					continue
				}
				d := &deathAt{swap: 1 + r.Intn(4), lands: r.Intn(2) == 0}
				l := e.Start(t, cfg, d.use)
				for part := range int32(2) {
					l.Until("its death", func() bool {
						select {
						case <-d.died:
							return true
						default:
						}
						led := e.Ledger(t, "p", primary)
						return next[part] == 0 || led != nil && led.Records[key("a", part)].Next == next[part]
					})
				}
				_ = l.Kill() // or it had nothing left to do
			}
			if err := e.Verify(t, cfg, &cfg.Pipelines[0]).Err(); err != nil {
				t.Fatal(err)
			}
			seen := map[string]int{}
			tables := []table.Ident{primary, dead}
			for _, x := range e.Ledger(t, "p", primary).Tables {
				tables = append(tables, x.Ident)
			}
			for _, id := range tables {
				for _, row := range e.Rows(t, id) {
					seen[fmt.Sprint(row.Partition, "@", row.Offset)]++
				}
			}
			for part := range 2 {
				for off := range next[part] {
					if n := seen[fmt.Sprint(part, "@", off)]; n != 1 {
						t.Errorf("offset %d of partition %d is there %d times", off, part, n)
					}
				}
			}
			if len(seen) != int(next[0]+next[1]) || len(tables) < 4 {
				t.Errorf("%d offsets of %v in %v", len(seen), next, tables)
			}
		})
	}
}
