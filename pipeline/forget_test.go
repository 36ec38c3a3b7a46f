package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

func people(change func(*configs.Pipeline)) *configs.Config {
	return pipelinetest.Pipeline("id long required, email string, at timestamptz", func(p *configs.Pipeline) {
		p.Commit.Interval = configs.Duration(100 * time.Millisecond)
		p.Table.PartitionBy = []string{"day(at)"}
		if change != nil {
			change(p)
		}
	}, "a")
}

func person(id, day int, email string) string {
	return fmt.Sprintf(`{"id":%d,"email":%q,"at":"2026-05-%02dT10:00:00Z"}`, id, email, day)
}

func anna() []forget.Key { return []forget.Key{{{Column: "email", Text: "anna@example.org"}}} }

func forgetting(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, o pipeline.ForgetOptions) *pipeline.ForgetReport {
	t.Helper()
	if o.Letters == "" {
		o.Letters = pipeline.LettersMatch
	}
	rep, err := pipeline.Forget(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// A person's rows leave the table beside a loader that goes on, all others stay as they were, and verify knows of every offset.
func TestForget(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	cfg := people(nil)
	for i := range 10 {
		who := "bert@example.org"
		if i%3 == 0 {
			who = "anna@example.org"
		}
		e.Produce(t, "a", 0, person(i, 1+i%2, who))
	}
	e.Produce(t, "a", 1, person(20, 1, "hanna@example.org"), person(21, 3, "anna@example.org"), `{"id":22}`)
	load(t, e, cfg, 13)
	l := e.Start(t, cfg, nil)
	l.Owns(1)
	before := map[string]string{}
	for _, r := range e.Rows(t, primary, "id", "email", "at", "_kafka_timestamp") {
		if r.Values[1] != "anna@example.org" {
			before[fmt.Sprint(r.Partition, r.Offset)] = r.String()
		}
	}
	if rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: anna(), DryRun: true}); rep.Done || rep.Rows != 5 || len(rep.Offsets) != 2 || rep.Offsets[0].Last != 9 {
		t.Errorf("%+v", rep)
	}
	rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: anna(), Reason: "case 12"})
	if !rep.Done || rep.Rows != 5 || rep.Tables[0].Files == 0 || rep.Letters != 0 {
		t.Errorf("%+v", rep)
	}
	if again := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: anna()}); again.Done || again.Rows != 0 {
		t.Errorf("once more: %+v", again)
	}
	e.Produce(t, "a", 1, person(23, 1, "bert@example.org"))
	l.Loaded("a", 1, 4)
	stop(t, l)
	after := map[string]string{}
	for _, r := range e.Rows(t, primary, "id", "email", "at", "_kafka_timestamp") {
		after[fmt.Sprint(r.Partition, r.Offset)] = r.String()
	}
	delete(after, "1 3")
	if !maps.Equal(before, after) {
		t.Errorf("%v, want %v", after, before)
	}
	whole(t, e, cfg, "a-0 [0, 10) 6 rows 4 removed", "a-1 [0, 4) 3 rows 1 removed")
	if n, before, err := pipeline.Reaffirm(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg)); n <= rep.Round || before != rep.Round || err != nil {
		t.Errorf("%d after %d, %v", n, before, err)
	}
	whole(t, e, cfg, "a-0 [0, 10) 6 rows 4 removed", "a-1 [0, 4) 3 rows 1 removed")
	if f := fold(t, e, cfg, 48*time.Hour, false); f.Folded == 0 {
		t.Errorf("%+v", f)
	}
	whole(t, e, cfg, "a-0 [0, 10) 6 rows 4 removed", "a-1 [0, 4) 3 rows 1 removed")
}

// Several keys at once, of several columns; rows that position deletes have removed count no more.
func TestForgetSeveral(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := people(func(p *configs.Pipeline) { p.Table.PartitionBy = []string{} })
	e.Produce(t, "a", 0, person(0, 1, "x"), person(1, 1, "x"), person(2, 1, "y"), person(3, 1, "x"), person(4, 1, "z"))
	load(t, e, cfg, 5)
	keys := []forget.Key{{{Column: "email", Text: "x"}, {Column: "id", Text: "1"}}, {{Column: "id", Text: "2"}, {Column: "email", Text: "x"}}, {{Column: "id", Text: "4"}}}
	e.DeletePositions(t, primary, e.Files(t, primary)[0], 4)
	if rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: keys}); rep.Rows != 1 {
		t.Errorf("%+v", rep)
	}
	if got := offsets(t, e, primary); got != "0 2 3" {
		t.Errorf("the table has the offsets %s", got)
	}
	for text, keys := range map[string][]forget.Key{
		"no such column: nobody":   {{{Column: "nobody", Text: "x"}}},
		"do not fit the columns":   {{{Column: "id", Text: "secret"}}},
		"has column id twice":      {{{Column: "id", Text: "1"}, {Column: "id", Text: "2"}}},
		"has no column":            {{}},
		"fields of structs cannot": {{{Column: "a.b", Text: "1"}}},
	} {
		_, err := pipeline.Forget(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.ForgetOptions{Keys: keys})
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %q", err, text)
		}
	}
}

// Dead letters: those of rows go with them, JSON that tells the key goes, what only has its text is named.
func TestForgetDeadLetters(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	refusing := func(limit string) *configs.Config {
		return people(func(p *configs.Pipeline) {
			p.Cleanse = []configs.Step{{Name: "limit", Validate: &configs.ValidateStep{Expression: "id < " + limit}}}
		})
	}
	e.Produce(t, "a", 0, person(0, 1, "anna@example.org"), person(50, 1, "anna@example.org"), person(99, 1, "anna@example.org"), person(98, 1, "bert@example.org"),
		`{{ anna@example.org`, `{{ hanna@example.org`, `{"id":"x","person":[{"email":"anna\u0040example.org"}]}`)
	load(t, e, refusing("10"), 7)
	if rep := replay(t, e, refusing("60"), everything()); rep.Rows != 1 {
		t.Errorf("%+v", rep)
	}
	cfg := refusing("60")
	rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: anna()})
	if rep.Rows != 2 || rep.Letters != 3 || !slices.Equal(rep.Doubtful, []string{"a-0-4"}) {
		t.Errorf("%+v", rep)
	}
	whole(t, e, cfg, "a-0 [0, 7) 0 rows 5 dead 2 removed")
	if left, replayed := lettersLeft(t, e); left != "3 4 5" || replayed != "" {
		t.Errorf("left %q, replayed %q", left, replayed)
	}
	if rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: anna(), Letters: pipeline.LettersIgnore}); rep.Done || len(rep.Doubtful) > 0 {
		t.Errorf("%+v", rep)
	}
	if rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: anna(), Letters: pipeline.LettersRemove}); rep.Letters != 1 || !rep.Done {
		t.Errorf("%+v", rep)
	}
	if rep := replay(t, e, refusing("1000"), everything()); rep.Rows != 1 { // nothing of hers comes again
		t.Errorf("%+v", rep)
	}
	whole(t, e, cfg, "a-0 [0, 7) 1 rows 4 dead 2 removed")
}

// A run that ends before or after any of its swaps, or whose answer is lost, leaves what the next one goes on with.
func TestForgetIsCutOff(t *testing.T) {
	t.Parallel()
	errCut := errors.New("cut off")
	for at := range 3 {
		for _, lands := range []bool{false, true} {
			t.Run(fmt.Sprint(at, lands), func(t *testing.T) {
				t.Parallel()
				e := pipelinetest.New(t)
				e.Create(t, "a", 1)
				cfg := people(nil)
				e.Produce(t, "a", 0, person(0, 1, "anna@example.org"), person(1, 1, "bert@example.org"), `{"id":"x","email":"anna@example.org"}`, person(3, 2, "anna@example.org"))
				load(t, e, cfg, 4)
				d, n := e.Deps(t, cfg), 0
				d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, _ table.Ident, _ table.Change, next func() error) error {
					if n++; n-1 != at {
						return next()
					}
					if lands {
						if err := next(); err != nil {
							return err
						}
					}
					return errCut
				}}
				_, err := pipeline.Forget(t.Context(), &cfg.Pipelines[0], d, pipeline.ForgetOptions{Keys: anna(), Letters: pipeline.LettersMatch})
				if err != nil && !errors.Is(err, errCut) {
					t.Fatal(err)
				}
				forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: anna()})
				if rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: anna()}); rep.Done || rep.Rows+rep.Letters != 0 {
					t.Errorf("%+v", rep)
				}
				whole(t, e, cfg, "a-0 [0, 4) 1 rows 1 dead 2 removed")
				if left, _ := lettersLeft(t, e); left != "" || offsets(t, e, primary) != "1" {
					t.Errorf("letters %q, rows %q", left, offsets(t, e, primary))
				}
			})
		}
	}
}

// Rows that were routed to other tables leave those.
func TestForgetRouted(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := routed(configs.Route{Tables: map[string]string{"x": "xs"}}, nil)
	e.Produce(t, "a", 0, `{"id":1,"type":"x"}`, `{"id":2,"type":"x"}`, `{"id":1}`, `{"id":3}`)
	load(t, e, cfg, 4)
	holds(t, e, "xs", "1 2")
	if rep := forgetting(t, e, cfg, pipeline.ForgetOptions{Keys: []forget.Key{{{Column: "id", Text: "1"}}}}); rep.Rows != 2 || len(rep.Tables) != 2 {
		t.Errorf("%+v", rep)
	}
	holds(t, e, "xs", "2")
	holds(t, e, "t", "3")
	whole(t, e, cfg, "a-0 [0, 4) 2 rows 2 removed")
}
