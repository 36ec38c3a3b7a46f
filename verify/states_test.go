package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/verify"
)

func (l *lake) input() verify.Input {
	return verify.Input{Pipeline: "p", Primary: l.primary, DeadLetters: l.dead, Catalog: l.Catalog, Objects: l.Objects, Root: l.Root}
}

// What must be told apart from a corruption, on one lake.
func TestVerifyStates(t *testing.T) {
	l := build(t)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, l *lake)
	}{
		{"the report of a healthy lake", healthy},
		{"compaction by another engine moves rows", compacted},
		{"what cannot be looked at is an error, not a report", unreachable},
		{"a table that is not this pipeline's", notOurs},
		{"damaged bytes never end the process", flipped},
		{"a broken ledger", brokenLedger},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.restore(t)
			c.run(t, l)
		})
	}
}

func healthy(t *testing.T, l *lake) {
	r := l.verify(t)
	want := []verify.Partition{
		{Topic: "a", Partition: 0, Next: 40, Rows: 32, Filtered: 4, Dead: 4},
		{Topic: "a", Partition: 1, Next: 40, Rows: 27, Filtered: 4, Dead: 3, Gaps: 6},
		{Topic: "a", Partition: 2, Next: 40, Rows: 28, Filtered: 4, Dead: 8},
		{Topic: "b", Partition: 0, Next: 15, Rows: 15}, {Topic: "b", Partition: 1, Next: 15, Rows: 15}}
	if !slices.Equal(r.Partitions, want) || !r.OK() || r.Rounds != 3 || r.Pending != 0 || r.Files != 5 || r.Snapshot == 0 {
		t.Fatalf("%+v", r)
	}
	for _, p := range r.Partitions {
		if p.Rows+p.Filtered+p.Dead+p.Gaps != p.Next-p.First {
			t.Errorf("%+v does not add up", p)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"problems":[]`, `"partitions":[{"topic":"a","partition":0,"epoch":0,"first":0,"next":40,"rows":32,"filtered":4,"dead_letters":4,"gaps":0,"removed":0}`, `"rounds":3`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s lacks %s", text, part)
		}
	}
}

// compacted: rows in other files and another order, and snapshots expired.
func compacted(t *testing.T, l *lake) {
	files := l.Files(t, l.primary)
	for _, f := range files {
		l.Edit(t, l.primary, f.Path, func(r *pipelinetest.FileRows) {
			order := rand.New(rand.NewSource(1)).Perm(r.Len())
			r.Keep(order...)
		})
	}
	l.Expire(t, l.primary)
	l.Expire(t, l.dead)
	if r := l.verify(t); !r.OK() || r.Partitions[0].Rows != 32 {
		t.Fatal(r.Err())
	}
}

// broken is a store that cannot be read at the moment.
type broken struct{ objects.Store }

func (broken) Open(_ context.Context, uri string) (objects.Reader, error) {
	return nil, errors.Join(errors.New("reading "+uri), objects.ErrRetry)
}

func unreachable(t *testing.T, l *lake) {
	in := l.input()
	in.Objects = broken{l.Objects}
	if r, err := verify.Run(t.Context(), in); r != nil || !errors.Is(err, objects.ErrRetry) {
		t.Errorf("objects: %v, %v", r, err)
	}
	// An object store that cannot be reached must not look like lost rows when only data files are read from it.
	for _, uri := range []string{"_lakeloader", "lake.db/t/", "lake.db/t_dead_letters/"} {
		in.Objects = partly{l.Objects, uri}
		if r, err := verify.Run(t.Context(), in); r != nil || !errors.Is(err, objects.ErrRetry) {
			t.Errorf("objects with %s: %v, %v", uri, r, err)
		}
	}
	in = l.input()
	in.Catalog = &pipelinetest.Faults{Catalog: l.Catalog, Load: func(context.Context, table.Ident, func() (*table.Base, error)) (*table.Base, error) {
		return nil, table.ErrRetry
	}}
	if r, err := verify.Run(t.Context(), in); r != nil || !errors.Is(err, table.ErrRetry) {
		t.Errorf("catalog: %v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := verify.Run(ctx, l.input()); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v, %v", r, err)
	}
}

// partly is a store of which one part cannot be read at the moment.
type partly struct {
	objects.Store
	part string
}

func (p partly) Open(ctx context.Context, uri string) (objects.Reader, error) {
	if strings.Contains(uri, p.part) {
		return nil, errors.Join(errors.New("reading "+uri), objects.ErrRetry)
	}
	return p.Store.Open(ctx, uri)
}

func notOurs(t *testing.T, l *lake) {
	in := l.input()
	in.Pipeline = "q"
	if _, err := verify.Run(t.Context(), in); err == nil || !strings.Contains(err.Error(), `no offsets of pipeline "q"`) {
		t.Errorf("another pipeline: %v", err)
	}
	in = l.input()
	in.Primary.Name = "nothing"
	if _, err := verify.Run(t.Context(), in); !errors.Is(err, table.ErrNoTable) || !strings.Contains(err.Error(), "lake.nothing") {
		t.Errorf("no table: %v", err)
	}
}

func brokenLedger(t *testing.T, l *lake) {
	l.Swap(t, l.primary, table.Change{Unset: []string{"lakeloader.p.offsets.0"}})
	if _, err := verify.Run(t.Context(), l.input()); err == nil || !strings.Contains(err.Error(), "lakeloader.p.offsets.0 is missing") {
		t.Errorf("%v", err)
	}
}

// flipped: bytes of data files, delete files and round objects changed at random. Whatever verify says, it says it.
func flipped(t *testing.T, l *lake) {
	f, _ := l.file(t, l.primary, "b", 0, 10)
	dead, _ := l.file(t, l.dead, "a", 2, 9)
	r := rand.New(rand.NewSource(3))
	found := 0
	paths := []string{l.path(t, f.Path), l.path(t, dead.Path), l.object(t, 1)}
	const rounds = 90
	for i := range rounds {
		path := paths[i%len(paths)]
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data := slices.Clone(whole)
		for range 1 + r.Intn(3) {
			data[r.Intn(len(data))] ^= byte(1 + r.Intn(255))
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		rep, err := verify.Run(t.Context(), l.input())
		if err != nil || !rep.OK() {
			found++
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found < rounds/10 { // most bytes belong to columns and statistics that verify does not read
		t.Errorf("only %d of %d damages were noticed", found, rounds)
	}
	if rep := l.verify(t); !rep.OK() {
		t.Errorf("restored: %v", rep.Err())
	}
}

// A pending round is committed: its dead letters may not be in their table yet, and what it filtered counts.
func TestVerifyPendingRoundsAreOK(t *testing.T) {
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	l := &lake{Lake: e.Lake, cfg: config()}
	l.cfg.Pipelines[0].Source.Topics = []string{"a"}
	l.primary, l.dead = pipeline.Idents(l.cfg, &l.cfg.Pipelines[0])
	produce(t, e.Kafka, "a", 0, 0, 10)
	run(t, e, l.cfg, 10, nil)
	if r := l.verify(t); !r.OK() || r.Pending != 0 {
		t.Fatalf("%d pending, %v", r.Pending, r.Err())
	}
	produce(t, e.Kafka, "a", 0, 10, 30)
	stuck := func(d *pipeline.Deps) {
		d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(ctx context.Context, id table.Ident, ch table.Change, next func() error) error {
			if id == l.dead {
				return errors.New("the dead-letter table cannot be reached")
			}
			return next()
		}}
	}
	loader := e.Start(t, l.cfg, stuck)
	loader.Read(20)
	if err := loader.Stop(); err == nil || !strings.Contains(err.Error(), "the dead-letter table cannot be reached") {
		t.Fatalf("stopped with %v", err)
	}
	r := l.verify(t)
	if !r.OK() || r.Pending != 1 || r.Partitions[0].Dead != 3 || r.Partitions[0].Next != 30 {
		t.Fatalf("%+v: %v", r, r.Err())
	}
	for _, row := range l.Rows(t, l.dead) {
		if row.Offset > 9 {
			t.Fatalf("the round was applied: %v", row)
		}
	}
	// What is missing of a round that is not pending is missing.
	l.edit(t, l.dead, "a", 0, 7, func(r *pipelinetest.FileRows, i int) { r.Set(i, pipeline.ColumnOffset, int64(17)) })
	if got := say(l.verify(t)); !slices.Equal(got, []string{"lost lake.t_dead_letters a-0 7"}) {
		t.Fatalf("%v", got) // 17 is a dead letter of the pending round
	}
}

func run(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, records int64, change func(*pipeline.Deps)) {
	t.Helper()
	l := e.Start(t, cfg, change)
	l.Read(records)
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
}

// Epochs that have ended are accounted for like the present one.
func TestVerifyEpochs(t *testing.T) {
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	l := &lake{Lake: e.Lake, cfg: config()}
	p := &l.cfg.Pipelines[0]
	p.Source.Topics, p.Source.OnReset = []string{"a"}, "earliest"
	l.primary, l.dead = pipeline.Idents(l.cfg, p)
	produce(t, e.Kafka, "a", 0, 0, 20)
	run(t, e, l.cfg, 20, nil)
	e.Delete(t, "a")
	e.Create(t, "a", 1)
	produce(t, e.Kafka, "a", 0, 0, 15)
	run(t, e, l.cfg, 15, nil)
	r := l.verify(t)
	want := []verify.Partition{{Topic: "a", Epoch: 0, Next: 20, Rows: 16, Filtered: 2, Dead: 2}, {Topic: "a", Epoch: 1, Next: 15, Rows: 12, Filtered: 2, Dead: 1}}
	if !r.OK() || !slices.Equal(r.Partitions, want) {
		t.Fatalf("%+v: %v", r.Partitions, r.Err())
	}
	for _, f := range l.Files(t, l.primary) { // in the file of the first epoch
		rows := l.ReadFile(t, f.Path)
		if rows.Find("a", 0, 15) < 0 {
			continue
		}
		l.Edit(t, l.primary, f.Path, func(r *pipelinetest.FileRows) { r.Remove(r.Find("a", 0, 14)) })
	}
	if got := say(l.verify(t)); !slices.Equal(got, []string{"lost lake.t a-0 14"}) {
		t.Fatalf("%v", got)
	}
}

// Loaders may commit while verify reads: what they do then is no problem.
func TestVerifyBesideALoader(t *testing.T) {
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	l := &lake{Lake: e.Lake, cfg: config()}
	l.cfg.Pipelines[0].Source.Topics = []string{"a"}
	l.primary, l.dead = pipeline.Idents(l.cfg, &l.cfg.Pipelines[0])
	produce(t, e.Kafka, "a", 0, 0, 10)
	run(t, e, l.cfg, 10, nil)
	next := 10
	in := l.input()
	moves := 0
	in.Catalog = &pipelinetest.Faults{Catalog: l.Catalog, Load: func(_ context.Context, id table.Ident, load func() (*table.Base, error)) (*table.Base, error) {
		b, err := load()
		if moves < 8 { // after each of the first reads, a loader commits a round with dead letters
			moves++
			produce(t, e.Kafka, "a", 0, next, next+10)
			next += 10
			run(t, e, l.cfg, 10, nil)
		}
		return b, err
	}}
	r, err := verify.Run(t.Context(), in)
	if err != nil || !r.OK() {
		t.Fatalf("%v, %v", err, r.Err())
	}
	if r.Partitions[0].Next < 30 || moves < 8 {
		t.Fatalf("%+v after %d rounds", r.Partitions, moves)
	}
}

func TestReportSaysTheFirstProblems(t *testing.T) {
	r := &verify.Report{}
	for range 8 {
		p := verify.Problem{Kind: verify.Lost, Table: "lake.t", Topic: "a", Message: "m"}
		for i := range int64(25) {
			p.Ranges = append(p.Ranges, verify.Range{First: 10 * i, Next: 10*i + 1 + i%2})
		}
		r.Problems = append(r.Problems, p)
	}
	text := r.Err().Error()
	if strings.Count(text, "lost: lake.t: a-0 epoch 0 offsets 0, 10-11, 20") != 5 || !strings.Contains(text, "and 5 more ranges: m") || !strings.HasSuffix(text, "and 3 more problems") {
		t.Fatal(text)
	}
}
