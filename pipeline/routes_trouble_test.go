package pipeline_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

var xys = configs.Route{Tables: map[string]string{"x": "xs", "y": "ys"}}

func failing(t *testing.T, l *pipelinetest.Loader, words ...string) {
	t.Helper()
	l.Said(words...)
	if s := l.State.Status().Pipelines[0]; s.Phase != obs.Failing || s.LastError == nil || !strings.Contains(s.LastError.Message, words[0]) {
		t.Errorf("the state is %s: %+v", s.Phase, s.LastError)
	}
}

// A routed table is dropped while a loader runs: nothing of a round that needs it is decided, the pipeline is failing, and goes
// on when there is a table again.
func TestDroppedRoutedTableFails(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := routed(xys, func(p *configs.Pipeline) { p.Commit.Records = 1 })
	l := e.Start(t, cfg, nil)
	e.Produce(t, "a", 0, events(0, "x", "y")...)
	l.Loaded("a", 0, 2)
	l.Until("the round to be finished", func() bool { return len(e.Files(t, lake("ys"))) > 0 })
	e.Drop(t, lake("xs"))
	e.Produce(t, "a", 0, events(2, "x", "z")...)
	failing(t, l, "table lake.xs is gone", "register it again")
	if next := e.Ledger(t, "p", primary).Records[key("a", 0)].Next; next != 2 {
		t.Fatalf("committed up to %d", next)
	}
	if _, err := e.Catalog.Ensure(t.Context(), table.Def{Ident: lake("xs"), Row: batch.StructOf(batch.Field{Name: "extra", Type: batch.Prim(batch.Int)})}); err != nil {
		t.Fatal(err)
	}
	l.Loaded("a", 0, 4)
	stop(t, l)
	holds(t, e, "xs", "2")
	holds(t, e, "ys", "1")
	holds(t, e, "t", "3")
	if r := e.Verify(t, cfg, &cfg.Pipelines[0]); r.OK() || len(r.Problems) != 1 || r.Problems[0].String() != "lost: lake.xs: a-0 epoch 0 offsets 0: routed to the table by their rounds, but not in it" {
		t.Errorf("verify: %v", r.Problems)
	}
}

// A table is dropped while it lacks a round that was decided, and made anew: the rows of the round are lost with those that it
// had, which the log and verify say, and the pipeline goes on.
func TestRoutedTableDroppedBeforeItHasTheRound(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := routed(xys, func(p *configs.Pipeline) { p.Commit.Records = 2 })
	d := &deathAt{swap: 2}
	l := e.Start(t, cfg, d.use)
	e.Produce(t, "a", 0, events(0, "x", "y")...)
	<-d.died
	if err := l.Kill(); err == nil {
		t.Fatal("it was not killed")
	}
	e.Drop(t, lake("xs"))
	e.Produce(t, "a", 0, events(2, "x", "x")...)
	l = e.Start(t, cfg, nil)
	failing(t, l, "table lake.xs is gone")
	if _, err := e.Catalog.Ensure(t.Context(), table.Def{Ident: lake("xs"), Row: batch.StructOf(batch.Field{Name: "other", Type: batch.Prim(batch.Int)})}); err != nil {
		t.Fatal(err)
	}
	l.Said("rows are lost", "1 rows of round 1 went to table lake.xs, which was dropped")
	l.Loaded("a", 0, 4)
	stop(t, l)
	holds(t, e, "xs", "2 3")
	holds(t, e, "ys", "1")
	if r := e.Verify(t, cfg, &cfg.Pipelines[0]); r.OK() || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].String(), "lost: lake.xs: a-0 epoch 0 offsets 0:") {
		t.Errorf("verify: %v", r.Problems)
	}
}

// A table that was dropped and made anew between the files and the commit numbers its columns differently: nothing is decided.
func TestRecreatedRoutedTableIsNoticedBeforeTheSwap(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := routed(xys, func(p *configs.Pipeline) { p.Commit.Records = 2 })
	var once atomic.Bool
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Load: func(_ context.Context, id table.Ident, next func() (*table.Base, error)) (*table.Base, error) {
			if id == lake("xs") && once.CompareAndSwap(false, true) { // the first thing that a commit does
				e.Drop(t, id)
				if _, err := e.Catalog.Ensure(t.Context(), table.Def{Ident: id, Row: batch.StructOf(batch.Field{Name: "other", Type: batch.Prim(batch.Int)})}); err != nil {
					return nil, err
				}
			}
			return next()
		}}
	})
	e.Produce(t, "a", 0, events(0, "x", "y")...)
	l.Said("reading table lake.xs", "it was dropped and created again", "after files were written for it")
	l.Loaded("a", 0, 2)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 2) 2 rows")
	holds(t, e, "xs", "0")
	holds(t, e, "ys", "1")
}

// Tables that are not ours, or cannot take the rows, stop the pipeline with a reason; nothing is written anywhere.
func TestUnfitRoutedTablesStop(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(t *testing.T, e *pipelinetest.Env)
		words   []string
	}{
		"rows of something else": {func(t *testing.T, e *pipelinetest.Env) {
			other := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Name, p.Table.Name = "o", "os" }, "a")
			load(t, e, other, 1)
			f := e.Files(t, lake("os"))[0]
			if _, err := e.Catalog.Ensure(t.Context(), table.Def{Ident: lake("xs"), Row: batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long), Required: true})}); err != nil {
				t.Fatal(err)
			}
			e.Swap(t, lake("xs"), table.Change{Add: []table.File{f}})
		}, []string{"lake.xs, but it has 1 rows that the offsets in table lake.t do not cover"}},
		"the table of another pipeline": {func(t *testing.T, e *pipelinetest.Env) {
			load(t, e, pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Name, p.Table.Name = "o", "xs" }, "a"), 1)
		}, []string{"lake.xs, but pipeline o writes it"}},
		"the dead letters of another pipeline": {func(t *testing.T, e *pipelinetest.Env) {
			e.Produce(t, "a", 0, "{{")
			load(t, e, pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Name, p.Table.Name, p.DeadLetters.Table = "o", "os", "xs" }, "a"), 2)
		}, []string{"lake.xs, but pipeline o writes it"}},
		"a column of another type": {func(t *testing.T, e *pipelinetest.Env) {
			if _, err := e.Catalog.Ensure(t.Context(), table.Def{Ident: lake("xs"), Row: batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Boolean)})}); err != nil {
				t.Fatal(err)
			}
		}, []string{"table lake.xs", "id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			e.Produce(t, "a", 0, events(0, "y")...)
			c.prepare(t, e)
			e.Produce(t, "a", 0, events(5, "x")...)
			before := len(e.Files(t, lake("xs")))
			l := e.Start(t, routed(xys, nil), nil)
			if err := l.Ended(); err == nil || !strings.Contains(err.Error(), "stopped") {
				t.Fatalf("it ended with %v", err)
			}
			failing(t, l, c.words...)
			if led := e.Ledger(t, "p", primary); led != nil && led.Number > 0 || len(e.Files(t, lake("xs"))) != before {
				t.Errorf("something was committed: %+v", led)
			}
		})
	}
}

// The primary is dropped on purpose, the routed tables are not: loading from the first offset would duplicate their rows.
func TestRoutedRowsOfAnEarlierPrimaryStop(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, events(0, "x", "z")...)
	cfg := routed(xys, nil)
	load(t, e, cfg, 2)
	e.Drop(t, primary)
	l := e.Start(t, cfg, nil)
	if err := l.Ended(); err == nil {
		t.Fatal("it went on")
	}
	failing(t, l, "lake.xs, but it has 1 rows that the offsets in table lake.t do not cover", "or drop this one")
	e.Drop(t, lake("xs"))
	load(t, e, cfg, 2)
	whole(t, e, cfg, "a-0 [0, 2) 2 rows")
	holds(t, e, "xs", "0")
}

// A routed table was rolled back: that is noticed before the next round is decided.
func TestRolledBackRoutedTableStops(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := routed(xys, nil)
	e.Produce(t, "a", 0, events(0, "x", "z")...)
	load(t, e, cfg, 2)
	first := e.Base(t, lake("xs")).Snapshot
	e.Produce(t, "a", 0, events(2, "x", "z")...)
	load(t, e, cfg, 2)
	last := e.Base(t, lake("xs")).Snapshot
	e.SetMain(t, lake("xs"), first)
	e.Produce(t, "a", 0, events(4, "x", "z")...)
	l := e.Start(t, routed(xys, func(p *configs.Pipeline) { p.Commit.Records = 1 }), nil)
	if err := l.Ended(); err == nil {
		t.Fatal("it went on")
	}
	failing(t, l, "lake.xs was rolled back")
	if led := e.Ledger(t, "p", primary); led.Records[key("a", 0)].Next != 4 || len(led.Pending) > 0 {
		t.Errorf("committed: %+v", led)
	}
	e.SetMain(t, lake("xs"), last)
	load(t, e, cfg, 2)
	whole(t, e, cfg, "a-0 [0, 6) 6 rows")
}

// Two loaders meet values that make the same name at the same time: one of them has the table, for both.
func TestLoadersAgreeOnWhoseTableItIs(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	cfg := routed(configs.Route{Template: "e_${value}", Allow: []string{"*"}, Limit: 1}, nil)
	ls := []*pipelinetest.Loader{e.Start(t, cfg, nil), e.Start(t, cfg, nil)}
	for _, l := range ls {
		l.Until("one partition each", func() bool {
			return len(ls[0].State.Status().Pipelines[0].Partitions) == 1 && len(ls[1].State.Status().Pipelines[0].Partitions) == 1
		})
	}
	e.Produce(t, "a", 0, events(0, "v", "w")...)
	e.Produce(t, "a", 1, events(10, "V", "v")...)
	for _, l := range ls {
		l.Read(2)
	}
	stop(t, ls[0])
	// The other one is given its partition in the middle of a round, with a ledger that has a table for another value.
	ls[1].Until("both partitions", func() bool { return len(ls[1].State.Status().Pipelines[0].Partitions) == 2 })
	stop(t, ls[1])
	cfg.Pipelines[0].Commit.Records = 1
	l := e.Start(t, cfg, nil) // one may have been fenced when it was told to stop
	l.Loaded("a", 0, 2)
	l.Loaded("a", 1, 2)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 2) 2 rows", "a-1 [0, 2) 2 rows")
	switch got := listed(t, e); got {
	case "e_v=v":
		holds(t, e, "e_v", "0 11")
		holds(t, e, "t", "1 10")
	case "e_v=V":
		holds(t, e, "e_v", "10")
		holds(t, e, "t", "0 1 11")
	default:
		t.Errorf("the ledger lists %s", got)
	}
}

// What the deduplicate step remembers comes from all tables.
func TestDeduplicatesOverRoutedTables(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg := dedupConfig("k string", func(p *configs.Pipeline) {
		p.Table.Route = &configs.Route{By: "k", Tables: map[string]string{"x": "xs"}}
	})
	clicks(t, e, 0, at, "x", "y", "x")
	load(t, e, cfg, 3)
	clicks(t, e, 0, at.Add(3*time.Minute), "x", "y", "z")
	load(t, e, cfg, 3)
	whole(t, e, cfg, "a-0 [0, 6) 3 rows 3 filtered")
	wantKeys(t, e, "0@1 y", "0@5 z")
	if rows := e.Rows(t, lake("xs"), "k"); len(rows) != 1 || rows[0].Offset != 0 {
		t.Errorf("xs has %v", rows)
	}
}

// Every routed table gets the columns of a new schema before its next files, those that were not touched since too. What
// the table of another value cannot take, none can.
func TestRoutedTablesEvolve(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	r := newRegistry(t, e)
	e.Create(t, "a", 1)
	v1 := r.Register("a-value", userV1)
	cfg := avro(func(p *configs.Pipeline) {
		p.Table.Route = &configs.Route{By: "id", Template: "users_${value}", Allow: []string{"?"}}
		p.Table.PartitionBy = []string{"bucket(2, id)"}
	})
	e.Produce(t, "a", 0, user(v1, 1, ""), user(v1, 2, ""), user(v1, 3, ""))
	load(t, e, cfg, 3)
	l := e.Start(t, cfg, nil)
	e.Produce(t, "a", 0, user(v1, 1, ""))
	l.Read(1)
	v2, v3 := r.Register("a-value", userV2), r.Register("a-value", userV3)
	bad := string(binary.BigEndian.AppendUint32([]byte{0}, uint32(v3))) + "\x02x"
	e.Produce(t, "a", 0, user(v2, 1, "Ann"), user(v1, 2, ""), bad, user(v2, 4, "Dan"))
	l.Read(5)
	stop(t, l)
	e.Produce(t, "a", 0, user(v2, 3, "Cid"), user(v2, 2, "Bob"))
	load(t, e, cfg, 2)
	whole(t, e, cfg, "a-0 [0, 10) 9 rows 1 dead")
	for name, want := range map[string][]string{"users_1": {"0 1 <nil>", "3 1 <nil>", "4 1 Ann"}, "users_2": {"1 2 <nil>", "5 2 <nil>", "9 2 Bob"},
		"users_3": {"2 3 <nil>", "8 3 Cid"}, "users_4": {"7 4 Dan"}} {
		var got []string
		for _, row := range e.Rows(t, lake(name), "id", "name") {
			got = append(got, fmt.Sprint(row.Offset, " ", row.Values[0], " ", row.Values[1]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
}

// A routed table that was made by hand may be stricter than the primary: what only it cannot take becomes dead letters.
func TestStricterRoutedTable(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long, type string", func(p *configs.Pipeline) { p.Table.Route = &xys }, "a")
	cfg.Pipelines[0].Table.Route.By = "type"
	configs.ApplyDefaults(cfg)
	if _, err := e.Catalog.Ensure(t.Context(), table.Def{Ident: lake("xs"), Row: batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)}),
		PartitionBy: []table.PartitionField{{Source: "id", Transform: "truncate[10]", Name: "id_trunc"}}}); err != nil {
		t.Fatal(err)
	}
	const least = "-9223372036854775808"
	e.Produce(t, "a", 0, `{"id":1,"type":"x"}`, `{"id":`+least+`,"type":"x"}`, `{"id":`+least+`,"type":"y"}`, `{"id":11,"type":"x"}`, `{"id":`+least+`}`)
	load(t, e, cfg, 5)
	whole(t, e, cfg, "a-0 [0, 5) 4 rows 1 dead")
	holds(t, e, "xs", "1 11")
	holds(t, e, "ys", least)
	holds(t, e, "t", least)
	if rows := e.Rows(t, dead, "stage", "error"); len(rows) != 1 || rows[0].Offset != 1 || rows[0].Values[0] != "partition" {
		t.Errorf("dead letters %v", rows)
	}
}

// Files of all tables count: little memory makes small files, and the size limit ends the round.
func TestRoutedFilesCountIntoLimits(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := routed(xys, func(p *configs.Pipeline) { p.Commit.Size = 16 << 10 })
	l := e.Start(t, cfg, func(d *pipeline.Deps) { d.Memory = tight{} })
	for i := range 40 {
		e.Produce(t, "a", 0, events(100*i, []string{"x", "y", strings.Repeat(fmt.Sprint("rest", i), 100)}...)...)
		l.Position("a", 0, int64(3*i+3))
	}
	led := e.Ledger(t, "p", primary)
	stop(t, l)
	if led == nil || led.Number == 0 {
		t.Error("the size limit did not end a round")
	}
	if n := len(e.Files(t, lake("xs"))); n < 2 {
		t.Errorf("%d files of xs", n)
	}
	whole(t, e, cfg, "a-0 [0, 120) 120 rows")
}

// The table of dead letters is dropped when it had got those of a round that is pending still, and made anew. Compaction and expiry may
// have deleted the round's files by then: the new table must not name them.
func TestDeadLettersOfADroppedTableDoNotReturn(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Commit.Records = 2 }, "a")
	d := &deathAt{swap: 2, lands: true} // the swap of the dead letters
	l := e.Start(t, cfg, d.use)
	e.Produce(t, "a", 0, "{{", `{"id":1}`)
	<-d.died
	if err := l.Kill(); err == nil {
		t.Fatal("it was not killed")
	}
	for _, f := range e.Files(t, dead) {
		if err := e.Objects.Delete(t.Context(), f.Path); err != nil {
			t.Fatal(err)
		}
	}
	e.Drop(t, dead)
	e.Produce(t, "a", 0, "{{", `{"id":3}`)
	l = e.Start(t, cfg, nil)
	l.Said("rows are lost", "1 rows of round 1 went to table lake.t_dead_letters, which was dropped")
	l.Loaded("a", 0, 4)
	stop(t, l)
	if got := offsets(t, e, dead); got != "2" {
		t.Errorf("dead letters of offsets %s", got)
	}
	if r := e.Verify(t, cfg, &cfg.Pipelines[0]); r.OK() || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].String(), "lost: lake.t_dead_letters: a-0 epoch 0 offsets 0") {
		t.Errorf("verify: %v", r.Problems)
	}
}

// Dead letters of a round that was not decided are written anew for a table that was made anew meanwhile: none is lost.
func TestDeadLetterTableMadeAnewBeforeTheSwap(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Commit.Records = 2 }, "a")
	var armed atomic.Bool
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Load: func(_ context.Context, id table.Ident, next func() (*table.Base, error)) (*table.Base, error) {
			if id == dead && armed.CompareAndSwap(true, false) { // the first thing that the commit does
				e.Drop(t, id)
			}
			return next()
		}}
	})
	e.Produce(t, "a", 0, "{{")
	l.Said("partitions assigned")
	armed.Store(true)
	e.Produce(t, "a", 0, `{"id":1}`)
	l.Loaded("a", 0, 2)
	l.Said("lake.t_dead_letters", "which gets rows of round")
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 2) 1 rows 1 dead")
}
