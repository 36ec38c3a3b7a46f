package current_test

import (
	"fmt"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/current"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// After a person was forgotten the changes are looked at again only if another edit came before that is not known yet, such as letters that
// were replayed.
func TestForgetIsNoRescan(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	limited := func(limit int) *configs.Config {
		return config(func(p *configs.Pipeline) {
			p.Cleanse = []configs.Step{{Name: "limit", Validate: &configs.ValidateStep{Expression: fmt.Sprintf(`id < %d`, limit)}}}
		})
	}
	cfg := limited(100)
	forgotten := func(id int, rescan bool, rows map[int64]string) {
		t.Helper()
		keys := []forget.Key{{{Column: "id", Text: fmt.Sprint(id)}}}
		rep, err := pipeline.Forget(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.ForgetOptions{Keys: keys, Letters: pipeline.LettersMatch})
		if err != nil || !rep.Done {
			t.Fatalf("%+v, %v", rep, err)
		}
		f, err := applier(e).Forget(t.Context(), keys, pipeline.ParseTexts, current.Edit{Number: rep.Round, Before: rep.Before}, false)
		if err != nil || !f.Done || f.Rows != 1 {
			t.Fatalf("%+v, %v", f, err)
		}
		if r := run(t, applier(e)); r.Rescan != rescan {
			t.Errorf("%+v", r)
		}
		want(t, e, rows)
	}
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, event("c", 1, 1, "a"), event("c", 2, 2, "b"), event("c", 3, 30, "c"), event("c", 4, 4, "d"))
	load(t, e, limited(10), 4)
	run(t, applier(e))
	want(t, e, map[int64]string{1: "a x1", 2: "b x2", 4: "d x1"})
	forgotten(2, false, map[int64]string{1: "a x1", 4: "d x1"})
	if _, err := pipeline.Replay(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.ReplayOptions{Filter: pipeline.AnyLetter()}); err != nil {
		t.Fatal(err)
	}
	forgotten(1, true, map[int64]string{4: "d x1", 30: "c x0"})
}
