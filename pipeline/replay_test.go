package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// below refuses ids from limit on, and filters 13.
func below(limit string) *configs.Config {
	return pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Commit.Interval = configs.Duration(100 * time.Millisecond)
		p.Include = configs.Include{Key: true, Headers: true}
		p.Cleanse = []configs.Step{{Name: "no 13", Filter: &configs.FilterStep{Expression: "id == 13", Drop: true}},
			{Name: "limit", Validate: &configs.ValidateStep{Expression: "id < " + limit}}}
		if limit == "10" { // 13 is refused before it is filtered
			p.Cleanse[0], p.Cleanse[1] = p.Cleanse[1], p.Cleanse[0]
		}
	}, "a")
}

func replay(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, o pipeline.ReplayOptions) *pipeline.ReplayReport {
	t.Helper()
	rep, err := pipeline.Replay(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), o)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func everything() pipeline.ReplayOptions {
	return pipeline.ReplayOptions{Filter: pipeline.AnyLetter()}
}

// lettersLeft are the offsets of letters that were not replayed, and those that were, with the round.
func lettersLeft(t *testing.T, e *pipelinetest.Env) (left, replayed string) {
	t.Helper()
	for _, r := range e.Rows(t, dead, "replayed_at", "replayed_round") {
		if (r.Values[0] == nil) != (r.Values[1] == nil) {
			t.Errorf("half marked: %v", r)
		}
		if r.Values[1] == nil {
			left += fmt.Sprintf("%d ", r.Offset)
		} else {
			replayed += fmt.Sprintf("%d@%v ", r.Offset, r.Values[1])
		}
	}
	return strings.TrimSpace(left), strings.TrimSpace(replayed)
}

// What passes today becomes a row with all that the record had, or is filtered; what is refused again stays.
func TestReplay(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	old := below("10")
	at := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)
	for i := range 20 {
		e.Send(t, "a", 0, &kgo.Record{Value: fmt.Appendf(nil, `{"id":%d}`, i), Key: []byte(fmt.Sprint("k", i)), Timestamp: at.Add(time.Duration(i) * time.Hour),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{byte(i)}}, {Key: "null"}}})
	}
	e.Produce(t, "a", 0, "{{")
	load(t, e, old, 21)
	whole(t, e, old, "a-0 [0, 21) 10 rows 11 dead")

	cfg := below("16")
	before, beforeDead := e.Base(t, primary).Snapshot, e.Base(t, dead).Snapshot
	dry := replay(t, e, cfg, pipeline.ReplayOptions{Filter: pipeline.AnyLetter(), DryRun: true})
	if e.Base(t, primary).Snapshot != before || e.Base(t, dead).Snapshot != beforeDead || dry.Done {
		t.Error("a dry run changed something")
	}
	rep := replay(t, e, cfg, everything())
	if !rep.Done || rep.Letters != 11 || rep.Rows != 5 || rep.Filtered["no 13"] != 1 || len(rep.Failed) != 2 {
		t.Fatalf("%+v", rep)
	}
	if f := rep.Failed[0]; f.Stage != "cleanse" || f.Step != "limit" || f.Count != 4 || f.Sample != "a-0-16" || rep.Failed[1].Stage != "decode" {
		t.Errorf("%+v", rep.Failed)
	}
	if dry.Rows != rep.Rows || dry.Letters != rep.Letters || !slices.Equal(dry.Failed, rep.Failed) {
		t.Errorf("the dry run said %+v, it was %+v", dry, rep)
	}
	whole(t, e, cfg, "a-0 [0, 21) 15 rows 1 filtered 5 dead")
	if left, marked := lettersLeft(t, e); left != "16 17 18 19 20" || marked != strings.ReplaceAll("10@R 11@R 12@R 13@R 14@R 15@R", "R", fmt.Sprint(rep.Round)) {
		t.Errorf("left %s; replayed %s", left, marked)
	}
	for i, r := range e.Rows(t, primary, "id", "_kafka_key", "_kafka_timestamp") {
		id := r.Values[0].(int64)
		if i >= 10 && (r.Offset != id || string(r.Values[1].([]byte)) != fmt.Sprint("k", id) || r.Values[2] != at.Add(time.Duration(id)*time.Hour).UnixMicro()) {
			t.Errorf("%v", r)
		}
	}
	if again := replay(t, e, cfg, everything()); again.Done || again.Letters != 5 || again.Rows != 0 {
		t.Errorf("a second replay: %+v", again)
	}
	e.Produce(t, "a", 0, `{"id":1}`) // loading goes on
	load(t, e, cfg, 1)
	whole(t, e, cfg, "a-0 [0, 22) 16 rows 1 filtered 5 dead")
}

// The filter chooses by stage, step, reason, record and time.
func TestReplayChooses(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Produce(t, "a", 0, numbered(10, 13)...)
	e.Produce(t, "a", 1, numbered(10, 13)...)
	e.Produce(t, "a", 1, "{{")
	load(t, e, below("10"), 7)
	cfg := below("100")
	count := func(want int64, change func(f *pipeline.LetterFilter)) {
		t.Helper()
		f := pipeline.AnyLetter()
		change(&f)
		if rep := replay(t, e, cfg, pipeline.ReplayOptions{Filter: f, DryRun: true}); rep.Letters != want {
			t.Errorf("%+v chooses %d letters, want %d", f, rep.Letters, want)
		}
	}
	count(7, func(*pipeline.LetterFilter) {})
	count(6, func(f *pipeline.LetterFilter) { f.Stage = "cleanse" })
	count(0, func(f *pipeline.LetterFilter) { f.Step = "no 13" })
	count(1, func(f *pipeline.LetterFilter) { f.Error = "bad JSON" })
	count(4, func(f *pipeline.LetterFilter) { f.Topic, f.Partition = "a", 1 })
	count(1, func(f *pipeline.LetterFilter) { f.Topic, f.Partition, f.Offset = "a", 0, 2 })
	count(0, func(f *pipeline.LetterFilter) { f.Topic = "b" })
	count(0, func(f *pipeline.LetterFilter) { f.Since = time.Now().Add(time.Hour) })
	count(0, func(f *pipeline.LetterFilter) { f.Until = time.Now().Add(-time.Hour) })
	f := pipeline.AnyLetter()
	f.Topic, f.Partition, f.Offset = "a", 0, 2
	if rep := replay(t, e, cfg, pipeline.ReplayOptions{Filter: f}); rep.Rows != 1 {
		t.Errorf("%+v", rep)
	}
	whole(t, e, cfg, "a-0 [0, 3) 1 rows 2 dead", "a-1 [0, 4) 0 rows 4 dead")
}

// Two replays at once, beside a loader that goes on: each letter becomes one row.
func TestReplayBesideOthers(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 300)...)
	load(t, e, below("10"), 300)
	cfg := below("10000")
	l := e.Start(t, cfg, nil)
	done := make(chan struct{})
	var producing, replaying sync.WaitGroup
	producing.Go(func() {
		for i := 300; ; i++ {
			select {
			case <-done:
				return
			default:
				e.Produce(t, "a", 0, numbered(i, i+1)...)
			}
		}
	})
	var rows atomic.Int64
	for range 2 {
		replaying.Go(func() {
			rep, err := pipeline.Replay(context.Background(), &cfg.Pipelines[0], e.Deps(t, cfg), everything())
			if err != nil {
				t.Error(err)
				return
			}
			rows.Add(rep.Rows)
		})
	}
	replaying.Wait()
	close(done)
	producing.Wait()
	stop(t, l)
	r := e.Verify(t, cfg, &cfg.Pipelines[0])
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if p := r.Partitions[0]; p.Dead != 0 || p.Filtered != 1 || p.Rows != p.Next-1 || rows.Load() != 289 {
		t.Errorf("%+v; %d rows were replayed", p, rows.Load())
	}
}

// Wherever a replay is cut off, everything stays accounted for, and repeating it gives each letter one row.
func TestReplayIsCutOff(t *testing.T) {
	t.Parallel()
	broken := errors.New("cut off")
	for name, c := range map[string]struct {
		table table.Ident
		lands bool
		err   error
	}{
		"before the swap":    {primary, false, broken},
		"after the swap":     {primary, true, broken},
		"reply lost":         {primary, true, table.ErrUnknown},
		"before the mark":    {dead, false, broken},
		"after the mark":     {dead, true, broken},
		"mark's reply lost":  {dead, true, table.ErrUnknown},
		"lost against other": {primary, false, table.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			e.Produce(t, "a", 0, numbered(0, 20)...)
			load(t, e, below("10"), 20)
			cfg := below("16")
			d := e.Deps(t, cfg)
			var struck atomic.Bool
			d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, id table.Ident, ch table.Change, next func() error) error {
				if id != c.table || len(ch.Add) == 0 || !struck.CompareAndSwap(false, true) {
					return next()
				}
				if c.lands {
					if err := next(); err != nil {
						return err
					}
				}
				return c.err
			}}
			_, err := pipeline.Replay(t.Context(), &cfg.Pipelines[0], d, everything())
			if fatal := errors.Is(c.err, broken); (err != nil) != fatal || !struck.Load() {
				t.Fatalf("struck %v, ended with %v", struck.Load(), err)
			}
			if err := e.Verify(t, cfg, &cfg.Pipelines[0]).Err(); err != nil {
				t.Fatalf("after it was cut off: %v", err)
			}
			replay(t, e, cfg, everything())
			whole(t, e, cfg, "a-0 [0, 20) 15 rows 1 filtered 4 dead")
			if left, marked := lettersLeft(t, e); left != "16 17 18 19" || strings.Count(marked, "@") != 6 {
				t.Errorf("left %s; replayed %s", left, marked)
			}
		})
	}
}

// A loader finishes the round of a replay that died between the swap and the mark.
func TestLoaderFinishesAReplay(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 20)...)
	load(t, e, below("10"), 20)
	cfg := below("16")
	d := e.Deps(t, cfg)
	d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, id table.Ident, _ table.Change, next func() error) error {
		if id == dead {
			return errors.New("cut off")
		}
		return next()
	}}
	rep, err := pipeline.Replay(t.Context(), &cfg.Pipelines[0], d, everything())
	if err == nil || rep == nil || !rep.Done || !strings.Contains(err.Error(), "a loader or the next command finishes it") {
		t.Fatalf("%+v %v", rep, err)
	}
	if left, _ := lettersLeft(t, e); left != "10 11 12 13 14 15 16 17 18 19" {
		t.Fatalf("left %s", left)
	}
	e.Produce(t, "a", 0, `{"id":1}`)
	load(t, e, cfg, 1)
	whole(t, e, cfg, "a-0 [0, 21) 16 rows 1 filtered 4 dead")
	if left, _ := lettersLeft(t, e); left != "16 17 18 19" {
		t.Errorf("left %s", left)
	}
}

// A letter is a duplicate of a row in its window, before it or behind it, and of another letter, however far the table has
// moved on since; never of a row out of the window.
func TestReplayDeduplicates(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	dedup := configs.Step{Name: "once", Deduplicate: &configs.DeduplicateStep{Key: []string{"k"}, Window: configs.Duration(10 * time.Minute)}}
	config := func(valid string) *configs.Config {
		return pipelinetest.Pipeline("k string, v long", func(p *configs.Pipeline) {
			p.Cleanse = []configs.Step{{Name: "valid", Validate: &configs.ValidateStep{Expression: valid}}, dedup}
		}, "a")
	}
	day := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(minute int, k string, v int) {
		e.Send(t, "a", 0, &kgo.Record{Value: fmt.Appendf(nil, `{"k":"%s","v":%d}`, k, v), Timestamp: day.Add(time.Duration(minute) * time.Minute)})
	}
	at(0, "before", 1)  // 0
	at(5, "before", 0)  // 1: a duplicate of 0
	at(5, "behind", 0)  // 2: a duplicate of 3
	at(10, "behind", 1) // 3
	at(5, "far", 0)     // 4: a row
	at(16, "far", 1)    // 5
	at(5, "twice", 0)   // 6: a row
	at(6, "twice", 0)   // 7: a duplicate of 6
	at(0, "both", 1)    // 8
	at(11, "both", 0)   // 9: neither of 8 nor of 10
	at(22, "both", 1)   // 10
	at(500, "later", 1) // 11
	load(t, e, config("v == 1"), 12)
	cfg := config("v < 2")
	rep := replay(t, e, cfg, everything())
	if rep.Rows != 3 || rep.Filtered["once"] != 3 || len(rep.Failed) > 0 {
		t.Errorf("%+v", rep)
	}
	whole(t, e, cfg, "a-0 [0, 12) 9 rows 3 filtered")
	if got := offsets(t, e, primary); got != "0 3 4 5 6 8 9 10 11" {
		t.Errorf("rows %s", got)
	}
}

// Rows of a replay go where rows of that kind go today.
func TestReplayRoutes(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	config := func(limit string) *configs.Config {
		return pipelinetest.Pipeline("id long required, type string", func(p *configs.Pipeline) {
			p.Cleanse = []configs.Step{{Name: "limit", Validate: &configs.ValidateStep{Expression: "id < " + limit}}}
			p.Table.Route = &configs.Route{By: "type", Tables: map[string]string{"x": "tx", "y": "ty"}}
		}, "a")
	}
	e.Produce(t, "a", 0, `{"id":1,"type":"x"}`, `{"id":20,"type":"x"}`, `{"id":20,"type":"y"}`, `{"id":20,"type":"z"}`, `{"id":99,"type":"x"}`)
	load(t, e, config("10"), 5)
	cfg := config("50")
	if rep := replay(t, e, cfg, everything()); rep.Rows != 3 || !rep.Done {
		t.Errorf("%+v", rep)
	}
	if err := e.Verify(t, cfg, &cfg.Pipelines[0]).Err(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"t": "3", "tx": "0 1", "ty": "2", "t_dead_letters": "1 2 3 4"} {
		if got := offsets(t, e, table.Ident{Namespace: "lake", Name: name}); got != want {
			t.Errorf("table %s has the offsets %s, want %s", name, got, want)
		}
	}
	if left, _ := lettersLeft(t, e); left != "4" {
		t.Errorf("left %s", left)
	}
}

// Letters of an epoch that has ended become rows of that epoch.
func TestReplayOfAPastEpoch(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(10, 12)...)
	load(t, e, below("10"), 2)
	e.Delete(t, "a")
	e.Create(t, "a", 1)
	old := below("10")
	old.Pipelines[0].Source.OnReset = "earliest"
	e.Produce(t, "a", 0, numbered(11, 13)...)
	load(t, e, old, 2)
	cfg := below("100")
	if rep := replay(t, e, cfg, everything()); rep.Rows != 4 || rep.Letters != 4 {
		t.Errorf("%+v", rep)
	}
	if err := e.Verify(t, cfg, &cfg.Pipelines[0]).Err(); err != nil {
		t.Fatal(err)
	}
	if got := offsets(t, e, primary); got != "0 0/1 1 1/1" {
		t.Errorf("rows %s", got)
	}
}

// Purge removes what was replayed, or everything when it is told to; verify knows in either case.
func TestPurge(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 20)...)
	load(t, e, below("10"), 20)
	cfg := below("16")
	purge := func(o pipeline.PurgeOptions) *pipeline.PurgeReport {
		t.Helper()
		rep, err := pipeline.Purge(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), o)
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	yes := true
	replayed := pipeline.PurgeOptions{Filter: pipeline.AnyLetter()}
	replayed.Filter.Replayed = &yes
	if rep := purge(replayed); rep.Done || rep.Letters != 0 {
		t.Errorf("nothing was replayed yet: %+v", rep)
	}
	replay(t, e, cfg, everything())
	dry := replayed
	dry.DryRun = true
	if rep := purge(dry); rep.Done || rep.Letters != 6 {
		t.Errorf("%+v", rep)
	}
	if rep := purge(replayed); !rep.Done || rep.Letters != 6 || rep.Replayed != 6 {
		t.Errorf("%+v", rep)
	}
	whole(t, e, cfg, "a-0 [0, 20) 15 rows 1 filtered 4 dead")
	if left, marked := lettersLeft(t, e); left != "16 17 18 19" || marked != "" {
		t.Errorf("left %s; replayed %s", left, marked)
	}
	all := pipeline.PurgeOptions{Filter: pipeline.AnyLetter()}
	all.Filter.Topic, all.Filter.Partition, all.Filter.Offset = "a", 0, 17
	if rep := purge(all); rep.Letters != 1 || rep.Replayed != 0 {
		t.Errorf("%+v", rep)
	}
	whole(t, e, cfg, "a-0 [0, 20) 15 rows 1 filtered 4 dead")
	if rep := replay(t, e, below("100"), everything()); rep.Rows != 3 {
		t.Errorf("what was purged is gone: %+v", rep)
	}
	whole(t, e, cfg, "a-0 [0, 20) 18 rows 1 filtered 1 dead")
}

// A purge that is cut off before the table of dead letters changed is finished by the next command.
func TestPurgeIsCutOff(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(8, 12)...)
	cfg := below("10")
	load(t, e, cfg, 4)
	d := e.Deps(t, cfg)
	d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, id table.Ident, _ table.Change, next func() error) error {
		if id == dead {
			return errors.New("cut off")
		}
		return next()
	}}
	if _, err := pipeline.Purge(t.Context(), &cfg.Pipelines[0], d, pipeline.PurgeOptions{Filter: pipeline.AnyLetter()}); err == nil {
		t.Fatal("it was not cut off")
	}
	whole(t, e, cfg, "a-0 [0, 4) 2 rows 2 dead")
	rep, err := pipeline.Purge(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.PurgeOptions{Filter: pipeline.AnyLetter()})
	if err != nil || rep.Letters != 0 {
		t.Errorf("%+v %v", rep, err)
	}
	whole(t, e, cfg, "a-0 [0, 4) 2 rows 2 dead")
	if rows := e.Rows(t, dead); len(rows) > 0 {
		t.Errorf("%v", rows)
	}
}

// The list groups by reason; one letter is shown as it is, even where it is no text.
func TestListAndShowLetters(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(9, 13)...)
	e.Send(t, "a", 0, &kgo.Record{Key: []byte("k"), Value: []byte("\x00\xff"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "n"}}})
	cfg := below("10")
	load(t, e, cfg, 5)
	d := e.Deps(t, cfg)
	list, err := pipeline.ListLetters(t.Context(), d, pipeline.AnyLetter())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v %v", list, err)
	}
	if g := list[0]; g.Stage != "cleanse" || g.Step != "limit" || g.Count != 3 || g.Sample != "a-0-1" || g.Table != "lake.t_dead_letters" || g.First.IsZero() || g.Last.Before(g.First) || g.Replayed != 0 {
		t.Errorf("%+v", g)
	}
	f := pipeline.AnyLetter()
	f.Topic, f.Partition, f.Offset = "a", 0, 4
	shown, err := pipeline.ShowLetters(t.Context(), d, f, 10)
	if err != nil || len(shown) != 1 {
		t.Fatalf("%+v %v", shown, err)
	}
	l := shown[0]
	if l.Value.Hex != "00ff" || l.Value.Text != nil || *l.Key.Text != "k" || len(l.Headers) != 2 || *l.Headers[0].Value.Text != "v" || l.Headers[1].Value != nil ||
		l.Stage != "decode" || l.Timestamp == nil || l.ReplayedAt != nil || !strings.HasPrefix(l.Version, "dev ") {
		t.Errorf("%+v", l)
	}
	if shown, err = pipeline.ShowLetters(t.Context(), d, pipeline.AnyLetter(), 2); err != nil || len(shown) != 2 {
		t.Errorf("%d letters, %v", len(shown), err)
	}
}

// A row that a loader adds while a replay is being planned counts for deduplicate steps: the replay is planned again.
func TestReplayRacesForAKey(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	config := func(valid string) *configs.Config {
		return pipelinetest.Pipeline("k string, v long", func(p *configs.Pipeline) {
			p.Cleanse = []configs.Step{{Validate: &configs.ValidateStep{Expression: valid}},
				{Name: "once", Deduplicate: &configs.DeduplicateStep{Key: []string{"k"}, Window: configs.Duration(10 * time.Minute)}}}
		}, "a")
	}
	e.Produce(t, "a", 0, `{"k":"x","v":0}`)
	load(t, e, config("v == 1"), 1)
	cfg := config("v < 2")
	d := e.Deps(t, cfg)
	var struck atomic.Bool
	d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, id table.Ident, ch table.Change, next func() error) error {
		if id == primary && len(ch.Add) > 0 && struck.CompareAndSwap(false, true) {
			e.Produce(t, "a", 0, `{"k":"x","v":1}`)
			load(t, e, cfg, 1)
		}
		return next()
	}}
	rep, err := pipeline.Replay(t.Context(), &cfg.Pipelines[0], d, everything())
	if err != nil || rep.Rows != 0 || rep.Filtered["once"] != 1 || !struck.Load() {
		t.Errorf("%+v %v", rep, err)
	}
	whole(t, e, cfg, "a-0 [0, 2) 1 rows 1 filtered")
}
