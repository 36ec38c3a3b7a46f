package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// amended is a pipeline that filters ids that end in 3, and commits soon.
func amended(change func(*configs.Pipeline)) *configs.Config {
	return pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Commit.Interval = configs.Duration(100 * time.Millisecond)
		p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: "id % 10 == 3", Drop: true}}}
		if change != nil {
			change(p)
		}
	}, "a")
}

// mixed are values of which those that end in 7 cannot be decoded.
func mixed(first, next int) []string {
	v := numbered(first, next)
	for i := range v {
		if (first+i)%10 == 7 {
			v[i] = "{{"
		}
	}
	return v
}

// offsets are those of a table's rows of a partition, with their epochs if not 0.
func offsets(t *testing.T, e *pipelinetest.Env, id table.Ident) string {
	t.Helper()
	rows := e.Rows(t, id)
	slices.SortFunc(rows, func(x, y pipelinetest.Row) int {
		return int(1000*(x.Offset-y.Offset)) + int(x.Epoch-y.Epoch)
	})
	var s []string
	for _, r := range rows {
		x := fmt.Sprint(r.Offset)
		if r.Epoch > 0 {
			x += fmt.Sprintf("/%d", r.Epoch)
		}
		s = append(s, x)
	}
	return strings.Join(s, " ")
}

func at(offset int64) pipeline.Position { return pipeline.Position{Offset: offset} }

func rewind(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, o pipeline.RewindOptions) *pipeline.RewindReport {
	t.Helper()
	rep, err := pipeline.Rewind(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func backfill(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, o pipeline.BackfillOptions) *pipeline.BackfillReport {
	t.Helper()
	rep, err := pipeline.Backfill(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// A loader with nothing to do notices that its partition was rewound, and loads the range again; what the table had of it
// left in the same swap.
func TestRewindBesideALoader(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	cfg := amended(nil)
	e.Produce(t, "a", 0, mixed(0, 20)...)
	e.Produce(t, "a", 1, mixed(0, 5)...)
	l := e.Start(t, cfg, nil)
	l.Loaded("a", 0, 20)
	l.Loaded("a", 1, 5)

	o := pipeline.RewindOptions{Topic: "a", Partitions: []int32{0}, To: at(12), DryRun: true}
	before := e.Ledger(t, "p", primary).Number
	rep := rewind(t, e, cfg, o)
	if want := (pipeline.RewindPartition{Topic: "a", From: 20, To: 12, Reread: 8, Rows: 6, DeadLetters: 1}); rep.Done || len(rep.Partitions) != 1 || rep.Partitions[0] != want {
		t.Fatalf("%+v", rep)
	}
	if n := e.Ledger(t, "p", primary).Number; n != before {
		t.Fatalf("a dry run made round %d", n)
	}
	o.DryRun = false
	if rep = rewind(t, e, cfg, o); !rep.Done || rep.Round == 0 {
		t.Fatalf("%+v", rep)
	}
	l.Said("the offsets were moved on purpose", "offset=12")
	l.Until("the range to be loaded again", func() bool {
		r := e.Ledger(t, "p", primary).Records[key("a", 0)]
		return r.Epoch == 1 && r.Next == 20
	})
	e.Produce(t, "a", 0, mixed(20, 22)...)
	l.Loaded("a", 0, 22)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 20) 10 rows 1 filtered 1 dead 8 removed", "a-0 epoch 1 [12, 22) 8 rows 1 filtered 1 dead", "a-1 [0, 5) 4 rows 1 filtered")
	if got := offsets(t, e, dead); got != "7 17/1" {
		t.Errorf("dead letters %s", got)
	}
}

// Rows may be kept: then they are there twice, and the epochs tell them apart.
func TestRewindThatKeepsRows(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := amended(nil)
	e.Produce(t, "a", 0, mixed(0, 9)...)
	load(t, e, cfg, 9)
	rewind(t, e, cfg, pipeline.RewindOptions{To: pipeline.Position{Earliest: true}, Keep: true})
	load(t, e, cfg, 9)
	whole(t, e, cfg, "a-0 [0, 9) 7 rows 1 filtered 1 dead", "a-0 epoch 1 [0, 9) 7 rows 1 filtered 1 dead")
	// Once more, with what both epochs have of it taken away.
	rep := rewind(t, e, cfg, pipeline.RewindOptions{To: at(5)})
	if p := rep.Partitions[0]; p.Rows != 6 || p.DeadLetters != 2 || p.Epoch != 1 {
		t.Errorf("%+v", p)
	}
	load(t, e, cfg, 4)
	whole(t, e, cfg, "a-0 [0, 9) 4 rows 1 filtered 4 removed", "a-0 epoch 1 [0, 9) 4 rows 1 filtered 4 removed", "a-0 epoch 2 [5, 9) 3 rows 1 dead")
	if got := offsets(t, e, primary); got != "0 0/1 1 1/1 2 2/1 4 4/1 5/2 6/2 8/2" {
		t.Errorf("rows %s", got)
	}
}

func TestRewindRefuses(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := amended(nil)
	e.Produce(t, "a", 0, mixed(0, 9)...)
	load(t, e, cfg, 9)
	e.Produce(t, "a", 0, mixed(9, 12)...)
	e.Trim(t, "a", 0, 2)
	for want, o := range map[string]pipeline.RewindOptions{
		"Kafka has 2 to 12":      {To: at(1)},
		"offset 13: Kafka has":   {To: at(13), Skip: true},
		"never loaded":           {To: pipeline.Position{Latest: true}},
		`no topic "b"`:           {Topic: "b", To: at(3)},
		`with partitions [1]`:    {Partitions: []int32{0, 1}, To: at(3)},
		"say that they may be s": {To: at(10)},
	} {
		if _, err := pipeline.Rewind(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if n := e.Ledger(t, "p", primary).Number; n != 1 {
		t.Fatalf("round %d", n)
	}
	if rep := rewind(t, e, cfg, pipeline.RewindOptions{To: at(9)}); rep.Done || len(rep.Partitions) > 0 {
		t.Errorf("nothing to do: %+v", rep)
	}
	rewind(t, e, cfg, pipeline.RewindOptions{To: at(11), Skip: true})
	load(t, e, cfg, 1)
	whole(t, e, cfg, "a-0 [0, 9) 7 rows 1 filtered 1 dead", "a-0 epoch 1 [11, 12) 1 rows")
	e.Delete(t, "a")
	e.Create(t, "a", 1)
	if _, err := pipeline.Rewind(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.RewindOptions{To: at(0)}); err == nil || !strings.Contains(err.Error(), "on_reset") {
		t.Errorf("another topic: %v", err)
	}
}

// The range goes through the pipeline as it is now, and replaces what was, while a loader goes on.
func TestBackfillBesideALoader(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	cfg := amended(nil)
	e.Produce(t, "a", 0, mixed(0, 20)...)
	e.Transaction(t, false, "a", 0, mixed(20, 22)...) // and a marker: offsets 20 to 22 are gaps
	e.Produce(t, "a", 0, mixed(23, 30)...)
	e.Produce(t, "a", 1, mixed(0, 5)...)
	l := e.Start(t, cfg, nil)
	l.Loaded("a", 0, 30)
	l.Loaded("a", 1, 5)
	now := amended(func(p *configs.Pipeline) { // what ends in 5 is filtered, and 3 no longer
		p.Cleanse[0].Filter = &configs.FilterStep{Expression: "id % 10 == 5", Drop: true}
	})
	o := pipeline.BackfillOptions{From: at(10), To: at(25), DryRun: true}
	rep := backfill(t, e, now, o)
	was := table.Counts{Rows: 9, Filtered: 2, Dead: 1, Gaps: 3}
	if len(rep.Partitions) != 1 || rep.Done || rep.Partitions[0].Was != was || rep.Partitions[0].To != 25 {
		t.Fatalf("%+v", rep)
	}
	o.DryRun = false
	rep = backfill(t, e, now, o)
	if is := (table.Counts{Rows: 10, Filtered: 1, Dead: 1, Gaps: 3}); !rep.Done || *rep.Partitions[0].Is != is {
		t.Fatalf("%+v %+v", rep, rep.Partitions[0].Is)
	}
	e.Produce(t, "a", 0, mixed(30, 32)...)
	l.Loaded("a", 0, 32)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 32) 24 rows 2 filtered 3 dead 3 gaps", "a-1 [0, 5) 4 rows 1 filtered")
	if got := offsets(t, e, primary); !strings.HasPrefix(got, "0 0 1 1 2 2 4 4 5 6 8 9 10 11 12 13 14 16 18 19 23 24 25 26 28 29 30 31") {
		t.Errorf("rows %s", got)
	}
	if got := offsets(t, e, dead); got != "7 17 27" {
		t.Errorf("dead letters %s", got)
	}
}

// A pipeline that began at the end can get its history later; what lies before the range of another epoch too.
func TestBackfillBeforeTheBeginning(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, mixed(0, 12)...)
	cfg := amended(func(p *configs.Pipeline) { p.Source.Start = "latest" })
	l := e.Start(t, cfg, nil)
	l.Until("the start to be committed", func() bool { led := e.Ledger(t, "p", primary); return led != nil && led.Number == 1 })
	e.Produce(t, "a", 0, mixed(12, 20)...)
	l.Loaded("a", 0, 20)
	if _, err := pipeline.Backfill(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.BackfillOptions{From: at(2), To: at(9)}); err == nil || !strings.Contains(err.Error(), "must reach up to there") {
		t.Errorf("a hole: %v", err)
	}
	backfill(t, e, cfg, pipeline.BackfillOptions{From: at(5), To: at(12)})
	backfill(t, e, cfg, pipeline.BackfillOptions{From: pipeline.Position{Earliest: true}, To: at(6)})
	e.Produce(t, "a", 0, mixed(20, 21)...)
	l.Loaded("a", 0, 21)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 21) 17 rows 2 filtered 2 dead")
	rewind(t, e, cfg, pipeline.RewindOptions{To: at(10), Keep: true})
	load(t, e, cfg, 11)
	backfill(t, e, cfg, pipeline.BackfillOptions{From: at(8), To: at(13)}) // the epoch before it gives its part up
	whole(t, e, cfg, "a-0 [0, 21) 12 rows 2 filtered 2 dead 5 removed", "a-0 epoch 1 [8, 21) 11 rows 1 filtered 1 dead")
}

// A backfill repairs what was lost.
func TestBackfillRepairs(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := amended(nil)
	for i := range 3 {
		e.Produce(t, "a", 0, mixed(10*i, 10*i+10)...)
		load(t, e, cfg, 10)
	}
	for _, f := range e.Files(t, primary) {
		if rows := e.ReadFile(t, f.Path); rows.Find("a", 0, 15) >= 0 {
			e.Swap(t, primary, table.Change{Remove: []string{f.Path}, Snapshot: true})
			if err := os.Remove(strings.TrimPrefix(f.Path, "file://")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r := e.Verify(t, cfg, &cfg.Pipelines[0]); r.OK() {
		t.Fatal("nothing was lost")
	}
	backfill(t, e, cfg, pipeline.BackfillOptions{From: at(10), To: at(20)})
	whole(t, e, cfg, "a-0 [0, 30) 24 rows 3 filtered 3 dead")
}

// The command ends between the swap of the primary table and the others': the loader finishes what it began.
func TestEditIsFinishedByTheLoader(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := amended(nil)
	e.Produce(t, "a", 0, mixed(0, 20)...)
	load(t, e, cfg, 20)
	gone := errors.New("the command was killed")
	d := e.Deps(t, cfg)
	d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, id table.Ident, _ table.Change, next func() error) error {
		if id == dead {
			return gone
		}
		return next()
	}}
	rep, err := pipeline.Rewind(t.Context(), &cfg.Pipelines[0], d, pipeline.RewindOptions{To: at(5)})
	if !errors.Is(err, gone) || !rep.Done || !strings.Contains(err.Error(), "finishes it") {
		t.Fatalf("%+v, %v", rep, err)
	}
	if got := offsets(t, e, dead); got != "7 17" {
		t.Fatalf("dead letters %s", got)
	}
	whole(t, e, cfg, "a-0 [0, 20) 4 rows 1 filtered 15 removed", "a-0 epoch 1 [5, 5) 0 rows") // they are ghosts
	load(t, e, cfg, 15)
	whole(t, e, cfg, "a-0 [0, 20) 4 rows 1 filtered 15 removed", "a-0 epoch 1 [5, 20) 12 rows 1 filtered 2 dead")
	if got := offsets(t, e, dead); got != "7/1 17/1" {
		t.Errorf("dead letters %s", got)
	}
	if p := e.Ledger(t, "p", primary).Pending; len(p) > 0 {
		t.Errorf("pending: %v", p)
	}
}

// What deduplicate steps remember holds no longer when rows came or went: the loader reads it anew.
func TestBackfillRenewsWhatStepsRemember(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	config := func(least int) *configs.Config {
		return pipelinetest.Pipeline("id long required, n long", func(p *configs.Pipeline) {
			p.Commit.Interval = configs.Duration(100 * time.Millisecond)
			p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: fmt.Sprintf("n >= %d", least)}}, {Deduplicate: &configs.DeduplicateStep{Key: []string{"id"}, Window: configs.Duration(time.Hour), MaxEntries: 1000}}}
		}, "a")
	}
	cfg := config(0)
	e.Produce(t, "a", 0, `{"id":1,"n":0}`, `{"id":2,"n":5}`)
	l := e.Start(t, cfg, nil)
	l.Loaded("a", 0, 2)
	backfill(t, e, config(3), pipeline.BackfillOptions{From: at(0), To: at(2)}) // now 1 is no row any more
	e.Produce(t, "a", 0, `{"id":1,"n":9}`, `{"id":2,"n":9}`)
	l.Loaded("a", 0, 4)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 4) 2 rows 2 filtered")
	if got := offsets(t, e, primary); got != "1 2" {
		t.Errorf("rows %s", got)
	}
}

// Rows that went to other tables leave those, and what comes instead may go elsewhere.
func TestEditsOfRoutedRows(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	config := func(tables map[string]string) *configs.Config {
		return pipelinetest.Pipeline("id long required, kind string", func(p *configs.Pipeline) {
			p.Table.Route = &configs.Route{By: "kind", Tables: tables}
		}, "a")
	}
	cfg := config(map[string]string{"x": "xs", "y": "ys"})
	xs, ys, zs := table.Ident{Namespace: "lake", Name: "xs"}, table.Ident{Namespace: "lake", Name: "ys"}, table.Ident{Namespace: "lake", Name: "zs"}
	for i := range 12 {
		e.Produce(t, "a", 0, fmt.Sprintf(`{"id":%d,"kind":%q}`, i, []string{"x", "y", "z"}[i%3]))
	}
	load(t, e, cfg, 12)
	now := config(map[string]string{"x": "xs", "y": "zs"})
	backfill(t, e, now, pipeline.BackfillOptions{From: at(3), To: at(9)})
	whole(t, e, now, "a-0 [0, 12) 12 rows")
	for id, want := range map[table.Ident]string{primary: "2 5 8 11", xs: "0 3 6 9", ys: "1 10", zs: "4 7"} {
		if got := offsets(t, e, id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	rewind(t, e, now, pipeline.RewindOptions{To: at(1)})
	load(t, e, now, 11)
	whole(t, e, now, "a-0 [0, 12) 1 rows 11 removed", "a-0 epoch 1 [1, 12) 11 rows")
	for id, want := range map[table.Ident]string{primary: "2/1 5/1 8/1 11/1", xs: "0 3/1 6/1 9/1", ys: "", zs: "1/1 4/1 7/1 10/1"} {
		if got := offsets(t, e, id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}
