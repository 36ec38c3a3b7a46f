package pipeline_test

import (
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// fold folds as if some time had passed.
func fold(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, ahead time.Duration, dry bool) pipeline.FoldReport {
	t.Helper()
	d := e.Deps(t, cfg)
	d.Now = func() time.Time { return time.Now().Add(ahead) }
	r, err := pipeline.FoldRounds(t.Context(), &cfg.Pipelines[0], d, dry)
	if err != nil {
		t.Fatal(err)
	}
	return *r
}

// What rounds decided stays known when their objects are folded: to verify, and to everything that changes decisions.
func TestFold(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := amended(nil)
	rounds := func(first, next int) {
		t.Helper()
		for at := first; at < next; at += 10 {
			e.Produce(t, "a", 0, mixed(at, at+10)...)
			load(t, e, cfg, 10)
		}
	}
	objects := func() int {
		t.Helper()
		list, err := e.Objects.List(t.Context(), e.Root+"/_lakeloader/p/")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	rounds(0, 50)
	const soon, later = pipeline.FoldAge - time.Minute, pipeline.FoldAge + time.Hour
	had := objects()
	if r := fold(t, e, cfg, soon, false); r != (pipeline.FoldReport{}) || had < 10 {
		t.Errorf("young rounds, with %d objects, are folded: %+v", had, r)
	}
	want := fold(t, e, cfg, later, true)
	if want.Folded < 5 || want.Removed != 0 || objects() != had {
		t.Errorf("a dry run: %+v, and %d objects of %d", want, objects(), had)
	}
	if r := fold(t, e, cfg, later, false); r != want || objects() != had+1 {
		t.Errorf("folded: %+v, and %d objects of %d", r, objects(), had)
	}
	whole(t, e, cfg, "a-0 [0, 50) 40 rows 5 filtered 5 dead")
	if r := fold(t, e, cfg, soon, false); r.Folded != 0 || r.Removed != 0 {
		t.Errorf("once more, while someone may read them: %+v", r)
	}
	rounds(50, 100)
	whole(t, e, cfg, "a-0 [0, 100) 80 rows 10 filtered 10 dead")
	if r := fold(t, e, cfg, later, false); r.Folded != want.Folded || r.Removed != had {
		t.Errorf("the second time: %+v, of %d", r, had)
	}
	whole(t, e, cfg, "a-0 [0, 100) 80 rows 10 filtered 10 dead")
	if r := fold(t, e, cfg, later, false); r.Folded != 0 || objects() != 1 {
		t.Errorf("the third time: %+v, and %d objects", r, objects())
	}
	whole(t, e, cfg, "a-0 [0, 100) 80 rows 10 filtered 10 dead")

	// an edit rests on what was folded
	if r := backfill(t, e, cfg, pipeline.BackfillOptions{Topic: "a", From: at(20), To: at(40)}); !r.Done {
		t.Fatalf("%+v", r)
	}
	whole(t, e, cfg, "a-0 [0, 100) 80 rows 10 filtered 10 dead")
	if r := rewind(t, e, cfg, pipeline.RewindOptions{Topic: "a", To: at(95)}); !r.Done {
		t.Fatalf("%+v", r)
	}
	load(t, e, cfg, 5)
	folded := []string{"a-0 [0, 100) 76 rows 10 filtered 9 dead 5 removed", "a-0 epoch 1 [95, 100) 4 rows 1 dead"}
	whole(t, e, cfg, folded...)
	if r := fold(t, e, cfg, later, false); r.Folded < 2 {
		t.Errorf("edits: %+v", r)
	}
	fold(t, e, cfg, later, false)
	whole(t, e, cfg, folded...)
	if n := objects(); n != 1 {
		t.Errorf("%d objects are left", n)
	}
}
