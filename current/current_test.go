package current_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/current"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

var (
	source = table.Ident{Namespace: "lake", Name: "t"}
	target = table.Ident{Namespace: "lake", Name: "now"}
)

func config(change func(*configs.Pipeline)) *configs.Config {
	return pipelinetest.Pipeline("id long, name string, tags list<string>", func(p *configs.Pipeline) {
		p.Decode.Changes = &configs.Changes{Form: "debezium"}
		p.Table.Current = &configs.Current{Table: "now", Key: []string{"id"}}
		if change != nil {
			change(p)
		}
	}, "a")
}

func applier(e *pipelinetest.Env) *current.Applier {
	return &current.Applier{Pipeline: "p", Source: source, Target: target, Key: []string{"id"}, DeletedFor: 24 * time.Hour, Catalog: e.Catalog, Objects: e.Objects, Root: e.Root,
		Now: time.Now, Wait: table.Backoff(time.Millisecond), OrphanAge: 72 * time.Hour}
}

func run(t testing.TB, a *current.Applier) *current.Report {
	t.Helper()
	r, err := a.Run(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func load(t testing.TB, e *pipelinetest.Env, cfg *configs.Config, n int64) {
	t.Helper()
	e.Load(t, cfg, n)
}

// rows reads the target: by id, the name and tags.
func rows(t *testing.T, e *pipelinetest.Env) map[int64]string {
	t.Helper()
	info, err := e.Catalog.Info(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	files, deletes, err := e.Catalog.Files(t.Context(), target, 0)
	if err != nil || len(deletes) > 0 {
		t.Fatalf("%v, %v", deletes, err)
	}
	out := map[int64]string{}
	for _, x := range files {
		f, err := scan.Open(t.Context(), e.Objects, x.Path, x.Size)
		if err != nil {
			t.Fatal(err)
		}
		r, err := f.Batches(info.Row)
		if err != nil {
			t.Fatal(err)
		}
		b := batch.New(&batch.Records{}, info.Row)
		for r.Next(b, 1000) == nil {
			id, name, tags := b.Root.Children[info.Row.Index("id")], b.Root.Children[info.Row.Index("name")], b.Root.Children[info.Row.Index("tags")]
			for i := range b.Rows {
				if _, twice := out[id.Int64[i]]; twice {
					t.Errorf("id %d is there twice", id.Int64[i])
				}
				text := "null"
				if !name.IsNull(i) {
					text = string(b.Bytes(name.Views[i]))
				}
				for k := tags.Starts[i]; k < tags.Starts[i+1]; k++ {
					text += " " + string(b.Bytes(tags.Children[0].Views[k]))
				}
				out[id.Int64[i]] = text
			}
		}
		if err := errors.Join(r.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func want(t *testing.T, e *pipelinetest.Env, model map[int64]string) {
	t.Helper()
	if got := rows(t, e); !maps.Equal(got, model) {
		for _, id := range slices.Sorted(maps.Keys(model)) {
			if got[id] != model[id] {
				t.Errorf("id %d: %q, want %q", id, got[id], model[id])
			}
		}
		t.Fatalf("%d rows, want %d: %v", len(got), len(model), got)
	}
}

// database makes changes with positions, as a connector tells them.
type database struct {
	rows map[int64]string
	lsn  int
	rnd  *rand.Rand
}

func event(op string, lsn int, id int64, name string) string {
	row := fmt.Sprintf(`{"id":%d,"name":%q,"tags":["x%d"]}`, id, name, id%3)
	before, after := "null", row
	switch op {
	case "d":
		before, after = fmt.Sprintf(`{"id":%d}`, id), "null"
	case "t":
		after = "null"
	}
	return fmt.Sprintf(`{"before":%s,"after":%s,"op":%q,"source":{"lsn":%d,"ts_ms":1000}}`, before, after, op, lsn)
}

// change makes one and says how it is told.
func (d *database) change(ids int64) string {
	d.lsn += 1 + d.rnd.IntN(3)
	id, name := d.rnd.Int64N(ids), fmt.Sprintf("n%d", d.lsn)
	_, there := d.rows[id]
	switch {
	case d.rnd.IntN(200) == 0:
		clear(d.rows)
		return event("t", d.lsn, 0, "")
	case there && d.rnd.IntN(3) == 0:
		delete(d.rows, id)
		return event("d", d.lsn, id, "")
	}
	d.rows[id] = fmt.Sprintf("%s x%d", name, id%3)
	op := "c"
	if there {
		op = "u"
	}
	return event(op, d.lsn, id, name)
}

// A connector that crashes tells its last changes again, and the applier is stopped before and after its swaps, and runs twice at once:
// the target is the database all the same.
func TestEqualsTheDatabase(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			e := pipelinetest.New(t)
			cfg := config(nil)
			e.Create(t, "a", 1)
			d := &database{rows: map[int64]string{}, rnd: rand.New(rand.NewPCG(seed, 1))}
			var told []string
			trouble := &faults{rnd: rand.New(rand.NewPCG(seed, 2))}
			for range 6 {
				var out []string
				for range 40 + d.rnd.IntN(80) {
					if len(told) > 0 && d.rnd.IntN(30) == 0 {
						out = append(out, told[max(0, len(told)-1-d.rnd.IntN(60)):]...)
					}
					told = append(told, d.change(50))
					out = append(out, told[len(told)-1])
				}
				e.Produce(t, "a", 0, out...)
				load(t, e, cfg, int64(len(out)))
				a := applier(e)
				a.Limit = int64(1 + d.rnd.IntN(200))
				a.Catalog, a.Objects = &faultyCatalog{Catalog: e.Catalog, faults: trouble}, &faultyStore{e.Objects, trouble}
				for range 30 {
					if _, err := a.Run(t.Context(), false); err != nil && !errors.Is(err, errInjected) && !errors.Is(err, table.ErrUnknown) {
						t.Fatal(err)
					} else if err == nil {
						break
					}
				}
				one, two := applier(e), applier(e)
				one.Limit = 7
				ended := make(chan error, 1)
				go func() {
					_, err := two.Run(context.WithoutCancel(t.Context()), false)
					ended <- err
				}()
				_, err := one.Run(t.Context(), false)
				if err := errors.Join(<-ended, err); err != nil && !errors.Is(err, current.ErrStale) {
					t.Fatal(err)
				}
				run(t, applier(e))
				want(t, e, d.rows)
				if r := run(t, applier(e)); r.Swaps != 0 {
					t.Errorf("a run without changes made %d swaps", r.Swaps)
				}
			}
		})
	}
}

// A change that comes after a later delete does not bring the row back, until the delete is forgotten.
func TestDeletedKeysStayDeleted(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	cfg := config(nil)
	e.Create(t, "a", 1)
	step := func(model map[int64]string, events ...string) {
		t.Helper()
		e.Produce(t, "a", 0, events...)
		load(t, e, cfg, int64(len(events)))
		run(t, applier(e))
		want(t, e, model)
	}
	step(map[int64]string{1: "a x1", 2: "b x2"}, event("c", 10, 1, "a"), event("c", 11, 2, "b"))
	step(map[int64]string{2: "b x2"}, event("d", 20, 1, ""))
	step(map[int64]string{2: "b x2"}, event("u", 15, 1, "late"))
	step(map[int64]string{2: "b x2"}, event("u", 10, 2, "late"))
	step(map[int64]string{1: "back x1", 2: "b x2"}, event("c", 30, 1, "back"))
	step(map[int64]string{}, event("t", 40, 0, ""))
	step(map[int64]string{3: "new x0"}, event("u", 39, 2, "late"), event("c", 41, 3, "new"))
	// Deletes are remembered in few objects.
	model := map[int64]string{3: "new x0"}
	var deletes []string
	for i := range 30 {
		deletes = append(deletes, event("d", 100+i, int64(100+i), ""))
	}
	e.Produce(t, "a", 0, deletes...)
	load(t, e, cfg, 30)
	each := applier(e)
	each.Limit = 1
	if r := run(t, each); r.Swaps != 30 {
		t.Errorf("%d swaps", r.Swaps)
	}
	want(t, e, model)
	all, err := current.StateObjects(t.Context(), e.Objects, e.Root)
	if err != nil || len(all) > 25 {
		t.Errorf("%d objects, %v", len(all), err)
	}
	named, err := current.Named(t.Context(), e.Objects, e.Root, "p", e.Base(t, target).Props)
	if err != nil || len(named) != len(all) {
		t.Errorf("%d objects are named, of %d: %v", len(named), len(all), err)
	}
	// And none of their keys comes back with a change from before, also out of those that were put into one.
	var late []string
	for i := range 30 {
		late = append(late, event("u", 70+i, int64(100+i), "late"))
	}
	e.Produce(t, "a", 0, late...)
	load(t, e, cfg, 30)
	if r := run(t, applier(e)); r.Late != 30 {
		t.Errorf("%+v", r)
	}
	want(t, e, model)
	a := applier(e)
	a.DeletedFor = time.Nanosecond
	e.Produce(t, "a", 0, event("c", 50, 4, "four"))
	load(t, e, cfg, 1)
	run(t, a)
	step(map[int64]string{1: "forgotten x1", 3: "new x0", 4: "four x1"}, event("u", 42, 1, "forgotten"))
}

// With little memory changes are applied in smaller steps, and come to the same. One that is larger than the window is applied by itself.
func TestLittleMemory(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	cfg := config(nil)
	e.Create(t, "a", 1)
	model, text := map[int64]string{}, strings.Repeat("long ", 2000)
	var events []string
	for i := range 300 {
		id := int64(i % 40)
		name := fmt.Sprint(text[:100+i*30], i)
		if i == 150 {
			name = strings.Repeat(text, 20)
		}
		events = append(events, event("u", i, id, name))
		model[id] = fmt.Sprintf("%s x%d", name, id%3)
	}
	e.Produce(t, "a", 0, events...)
	load(t, e, cfg, 300)
	a := applier(e)
	a.Memory = 1 << 20
	if r := run(t, a); r.Swaps < 5 || r.Swaps > 50 || r.Changes != 300 {
		t.Errorf("%+v", r)
	}
	want(t, e, model)
}

// Letters that are replayed are applied where they are the last of their key, also below the cursor.
func TestReplayedLetters(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	limited := func(limit int) *configs.Config {
		return config(func(p *configs.Pipeline) {
			p.Cleanse = []configs.Step{{Name: "limit", Validate: &configs.ValidateStep{Expression: fmt.Sprintf(`id < %d`, limit)}}}
		})
	}
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, event("c", 1, 1, "a"), event("c", 2, 20, "b"), event("c", 3, 30, "c"), event("c", 4, 2, "d"))
	load(t, e, limited(10), 4)
	run(t, applier(e))
	want(t, e, map[int64]string{1: "a x1", 2: "d x2"})
	e.Produce(t, "a", 0, event("u", 5, 20, "newer"))
	load(t, e, limited(25), 1)
	run(t, applier(e))
	cfg := limited(100)
	if _, err := pipeline.Replay(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.ReplayOptions{Filter: pipeline.AnyLetter()}); err != nil {
		t.Fatal(err)
	}
	if r := run(t, applier(e)); !r.Rescan {
		t.Errorf("%+v", r)
	}
	want(t, e, map[int64]string{1: "a x1", 2: "d x2", 20: "newer x2", 30: "c x0"})
}

// What a rewind loads again cannot be told from what was applied: it is refused, until the table is made anew.
func TestRewind(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	cfg := config(nil)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, event("c", 1, 1, "a"), event("c", 2, 2, "b"), event("c", 3, 3, "c"))
	load(t, e, cfg, 3)
	run(t, applier(e))
	if _, err := pipeline.Rewind(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.RewindOptions{To: pipeline.Position{Offset: 1}}); err != nil {
		t.Fatal(err)
	}
	_, err := applier(e).Run(t.Context(), false)
	if !errors.Is(err, current.ErrRewound) || !strings.Contains(err.Error(), "--rebuild") {
		t.Fatalf("%v", err)
	}
	filtered := config(func(p *configs.Pipeline) {
		p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: `id != 2`}}}
	})
	load(t, e, filtered, 2)
	if _, err := applier(e).Run(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	want(t, e, map[int64]string{1: "a x1", 3: "c x0"})
	run(t, applier(e))
}

// Columns that changes gain, the target gains.
func TestColumnsAndKeys(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	cfg := config(nil)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, event("c", 1, 1, "a"))
	load(t, e, cfg, 1)
	run(t, applier(e))
	wider := config(func(p *configs.Pipeline) {
		p.Decode.Value.Columns = append(p.Decode.Value.Columns, configs.ColumnDef{Name: "city", Type: "string"})
	})
	e.Produce(t, "a", 0, `{"after":{"id":2,"city":"Rome"},"op":"c","source":{"lsn":2}}`, `{"after":{"city":"Rome"},"op":"c","source":{"lsn":3}}`)
	load(t, e, wider, 2)
	if r := run(t, applier(e)); r.Keyless != 1 || r.First != "a-0, offset 2" {
		t.Errorf("%+v", r)
	}
	want(t, e, map[int64]string{1: "a x1", 2: "null"})
	other := applier(e)
	other.Key = []string{"id", "city"}
	if _, err := other.Run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "told apart by [id]") {
		t.Errorf("%v", err)
	}
	other.Key = []string{"tags"}
	if _, err := other.Run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "cannot be a key") {
		t.Errorf("%v", err)
	}
}
