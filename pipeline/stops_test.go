package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// refused checks that a loader ends for a person, and says why with these words.
func refused(t *testing.T, l *pipelinetest.Loader, words ...string) {
	t.Helper()
	err := l.Ended()
	if !errors.Is(err, pipeline.ErrStop) {
		t.Fatalf("ended with %v\n%s", err, l.Log())
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v\ndoes not say %q", err, w)
		}
	}
	if st := l.State.Status().Pipelines[0]; st.LastError == nil || !st.LastError.NextTry.IsZero() {
		t.Errorf("the status says %+v", st.LastError)
	}
}

// A table whose offsets are gone must never be loaded from the first offset again.
func TestStopsAtATableThatLostItsOffsets(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 5)...)
	cfg := pipelinetest.Pipeline("id long required", nil, "a")
	l := e.Start(t, cfg, nil)
	l.Read(5)
	stop(t, l)
	props := e.Base(t, primary).Props
	mine := slices.DeleteFunc(slices.Sorted(maps.Keys(props)), func(k string) bool { return !strings.HasPrefix(k, table.Prefix) })
	if len(mine) < 4 {
		t.Fatalf("only %v", mine)
	}
	t.Run("one part", func(t *testing.T) {
		e.Swap(t, primary, table.Change{Unset: []string{"lakeloader.p.offsets.0"}})
		refused(t, e.Start(t, cfg, nil), "lake.t", "lakeloader.p.offsets.0", "earlier metadata file")
	})
	t.Run("the ledger only", func(t *testing.T) {
		e.Swap(t, primary, table.Change{Unset: []string{"lakeloader.p.ledger"}})
		refused(t, e.Start(t, cfg, nil), "lake.t", "lakeloader.p.ledger", "removed")
	})
	t.Run("all", func(t *testing.T) {
		e.Swap(t, primary, table.Change{Unset: mine})
		refused(t, e.Start(t, cfg, nil), "lake.t", "5 rows", `no offsets of pipeline "p"`)
	})
	t.Run("all but that the table was loaded", func(t *testing.T) {
		e.Swap(t, primary, table.Change{Props: func(int64) map[string]string { return map[string]string{"lakeloader.pipeline.p": "1"} }})
		e.Foreign(t, primary, func(ctx context.Context, tx *icetable.Transaction) error { // and the rows are gone as well
			files := e.Files(t, primary)
			var paths []string
			for _, f := range files {
				paths = append(paths, f.Path)
			}
			return tx.ReplaceDataFiles(ctx, paths, nil, nil)
		})
		refused(t, e.Start(t, cfg, nil), "lake.t", "0 rows", "no offsets")
	})
	t.Run("brought back", func(t *testing.T) {
		e.Swap(t, primary, table.Change{Props: func(int64) map[string]string { return props }})
		e.SetMain(t, primary, e.Ledger(t, "p", primary).Move)
		e.Produce(t, "a", 0, numbered(5, 7)...)
		l := e.Start(t, cfg, nil)
		l.Read(2)
		stop(t, l)
		whole(t, e, cfg, "a-0 [0, 7) 7 rows")
	})
}

// load loads what was produced so far, in one round.
func load(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, records int64) {
	t.Helper()
	e.Load(t, cfg, records)
}

// eager is a pipeline that commits whatever it has read.
func eager() *configs.Config {
	return pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Commit.Records = 1 }, "a")
}

// After a rollback the offsets say that rows are there which are not: going on would lose them.
func TestStopsAtATableThatWasRolledBack(t *testing.T) {
	t.Parallel()
	for _, id := range []table.Ident{primary, dead} {
		t.Run(id.Name, func(t *testing.T) {
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			cfg := eager()
			e.Produce(t, "a", 0, `{"id":0}`, "{{")
			load(t, e, cfg, 2)
			before := e.Base(t, id).Snapshot
			e.Produce(t, "a", 0, `{"id":2}`, "{{")
			load(t, e, cfg, 2)
			after := e.Base(t, id).Snapshot

			e.SetMain(t, id, before)
			e.Produce(t, "a", 0, `{"id":4}`, "{{")
			refused(t, e.Start(t, cfg, nil), "table "+id.String()+" was rolled back", fmt.Sprint("main snapshot is ", before), fmt.Sprint("snapshot ", after))

			e.SetMain(t, id, after) // rolled forward
			l := e.Start(t, cfg, nil)
			l.Loaded("a", 0, 6)
			stop(t, l)
			whole(t, e, cfg, "a-0 [0, 6) 3 rows 3 dead")
		})
	}
}

// The snapshot of the last move may expire. Then only verify can tell whether the table was rolled back before.
func TestChecksATableWhoseLastMoveHasExpired(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := eager()
	e.Produce(t, "a", 0, `{"id":0}`, "{{")
	load(t, e, cfg, 2)
	first := e.Base(t, primary).Snapshot
	e.Produce(t, "a", 0, `{"id":2}`, "{{")
	load(t, e, cfg, 2)

	// Another engine compacts twice and expires the rest: that is right.
	for _, id := range []table.Ident{primary, dead} {
		for range 2 {
			f := e.Files(t, id)[0]
			e.Edit(t, id, f.Path, func(*pipelinetest.FileRows) {})
		}
		e.Expire(t, id)
	}
	if b := e.Base(t, primary); b.Has(e.Ledger(t, "p", primary).Move) || b.Has(first) {
		t.Fatal("not expired")
	}
	e.Produce(t, "a", 0, `{"id":4}`, "{{")
	l := e.Start(t, cfg, nil)
	l.Loaded("a", 0, 6)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 6) 3 rows 3 dead")

	// Rolled back, and what it was rolled back from expired: verify finds the rows that are gone.
	now := e.Base(t, primary).Snapshot
	e.Produce(t, "a", 0, `{"id":6}`)
	load(t, e, cfg, 1)
	e.SetMain(t, primary, now)
	e.Edit(t, primary, e.Files(t, primary)[0].Path, func(*pipelinetest.FileRows) {})
	e.Expire(t, primary)
	e.Produce(t, "a", 0, `{"id":7}`)
	refused(t, e.Start(t, cfg, nil), "has expired", "lake.t", "lost: lake.t: a-0 epoch 0 offsets 6")
}

// Somebody may drop the table and let the pipeline make it again, even while it runs: it begins anew.
func TestBeginsAnewWhenTheTableWasDropped(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 5)...)
	cfg := pipelinetest.Pipeline("id long required", nil, "a")
	load(t, e, cfg, 5)
	l := e.Start(t, cfg, nil)
	e.Produce(t, "a", 0, numbered(5, 8)...)
	l.Read(3)
	e.Drop(t, primary)
	if err := l.Stop(); err == nil || !strings.Contains(err.Error(), "lake.t") {
		t.Fatalf("drained into a table that is gone: %v", err)
	}
	load(t, e, cfg, 8)
	whole(t, e, cfg, "a-0 [0, 8) 8 rows")
}
