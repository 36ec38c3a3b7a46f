package pipeline_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/source"
)

// recreated is an env where topic a was loaded up to 6 and then made again with 4 records, and b has 3 more.
func recreated(t *testing.T, cfg *configs.Config, running bool) (*pipelinetest.Env, *pipelinetest.Loader) {
	t.Helper()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Create(t, "b", 1)
	e.Produce(t, "a", 0, numbered(0, 6)...)
	e.Produce(t, "a", 1, numbered(0, 1)...)
	e.Produce(t, "b", 0, numbered(0, 5)...)
	l := e.Start(t, cfg, nil)
	l.Loaded("a", 0, 6)
	l.Loaded("a", 1, 1)
	l.Loaded("b", 0, 5)
	if !running {
		stop(t, l)
	}
	e.Delete(t, "a")
	e.Create(t, "a", 2)
	e.Produce(t, "a", 0, numbered(100, 104)...)
	e.Produce(t, "b", 0, numbered(5, 8)...)
	if !running {
		l = e.Start(t, cfg, nil)
	}
	return e, l
}

func resetConfig(onReset string) *configs.Config {
	return pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Source.OnReset, p.Commit.Records = onReset, 1
	}, "a", "b")
}

// A topic that was made again is another one: by default it stops, and the others go on.
func TestRecreatedTopicStops(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(map[bool]string{false: "while stopped", true: "while loaded"}[running], func(t *testing.T) {
			cfg := resetConfig("fail")
			e, l := recreated(t, cfg, running)
			l.Said("a topic is stopped", "topic=a", "on_reset")
			l.Loaded("b", 0, 8)
			stop(t, l)
			whole(t, e, cfg, "a-0 [0, 6) 6 rows", "a-1 [0, 1) 1 rows", "b-0 [0, 8) 8 rows")
			for _, r := range e.Rows(t, primary, "id") {
				if r.Values[0].(int64) >= 100 {
					t.Errorf("a row of the new topic: %v", r)
				}
			}
			// Told to, it goes on.
			cfg.Pipelines[0].Source.OnReset = "earliest"
			l = e.Start(t, cfg, nil)
			l.Loaded("b", 0, 8)
			l.Until("the new topic to be loaded", func() bool {
				return e.Ledger(t, "p", primary).Records[key("a", 0)].Epoch == 1 && e.Ledger(t, "p", primary).Records[key("a", 0)].Next == 4
			})
			stop(t, l)
			whole(t, e, cfg, "a-0 [0, 6) 6 rows", "a-0 epoch 1 [0, 4) 4 rows", "a-1 [0, 1) 1 rows", "a-1 epoch 1 [0, 0) 0 rows", "b-0 [0, 8) 8 rows")
		})
	}
}

// answers are Kafka's about topics, with what happens behind them: ids may change those that are told, and marks is called when it was told
// where partitions begin and end.
type answers struct {
	pipeline.Topics
	ids   func(map[string]string)
	marks func()
}

func (a *answers) TopicIDs(ctx context.Context, topics []string) (map[string]string, error) {
	ids, err := a.Topics.TopicIDs(ctx, topics)
	if a.ids != nil {
		a.ids(ids)
	}
	return ids, err
}

func (a *answers) Watermarks(ctx context.Context, ps []source.Partition) (map[source.Partition]source.Watermarks, error) {
	marks, err := a.Topics.Watermarks(ctx, ps)
	if a.marks != nil {
		a.marks()
	}
	return marks, err
}

// What a broker says that has not heard of a new topic yet must not have the new one loaded again.
func TestRecreatedTopicIsNewsToABroker(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "b", 1)
	before, err := e.Admin.TopicIDs(t.Context(), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	e.Produce(t, "a", 0, numbered(0, 6)...)
	cfg := resetConfig("earliest")
	l := e.Start(t, cfg, nil)
	l.Loaded("a", 0, 6)
	stop(t, l)
	e.Delete(t, "a")
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(100, 104)...)
	l = e.Start(t, cfg, nil)
	upTo := func(next int64) {
		t.Helper()
		l.Until("the new topic to be loaded", func() bool {
			r := e.Ledger(t, "p", primary).Records[key("a", 0)]
			return r.Epoch == 1 && r.Next == next
		})
	}
	upTo(4)
	stop(t, l)
	l = e.Start(t, cfg, func(d *pipeline.Deps) {
		var told atomic.Int64
		d.Topics = &answers{Topics: d.Topics, ids: func(ids map[string]string) { // as of a broker that has not heard of the new topic yet
			if _, there := ids["a"]; there && told.Add(1) <= 2 {
				ids["a"] = before["a"]
			}
		}}
	})
	l.Said("starts again", "ids never return")
	e.Produce(t, "a", 0, numbered(104, 107)...)
	upTo(7)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 6) 6 rows", "a-0 epoch 1 [0, 7) 7 rows")
}

// What is known of a topic's id when the first offsets are committed must not be older than they are.
func TestTopicMadeAnewDuringTheFirstStart(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "b", 1)
	cfg := resetConfig("earliest")
	cfg.Pipelines[0].Source.Start = "latest"
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		anew := sync.OnceFunc(func() { e.Delete(t, "a"); e.Create(t, "a", 1) })
		d.Topics = &answers{Topics: d.Topics, ids: func(map[string]string) { anew() }}
	})
	l.Said("first start")
	e.Produce(t, "a", 0, numbered(0, 3)...)
	l.Until("the new topic to be loaded", func() bool {
		led := e.Ledger(t, "p", primary)
		return led != nil && led.Records[key("a", 0)].Next == 3
	})
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 0) 0 rows", "a-0 epoch 1 [0, 3) 3 rows", "b-0 [0, 0) 0 rows")
}

// A topic that is made anew may end where the one before it was read to: then no record and no error tells of it.
func TestRecreatedTopicIsIdle(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "b", 1)
	e.Produce(t, "a", 0, numbered(0, 6)...)
	cfg := resetConfig("earliest")
	var ahead atomic.Int64
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		d.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	l.Loaded("a", 0, 6)
	e.Delete(t, "a")
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(100, 106)...)
	ahead.Store(int64(time.Minute))
	l.Said("starts again", "a new Kafka client is needed", "topic a was deleted and created again")
	l.Until("the new topic to be loaded", func() bool {
		r := e.Ledger(t, "p", primary).Records[key("a", 0)]
		return r.Epoch == 1 && r.Next == 6
	})
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 6) 6 rows", "a-0 epoch 1 [0, 6) 6 rows")
}

func TestRecreatedTopicFromItsEnd(t *testing.T) {
	t.Parallel()
	cfg := resetConfig("latest")
	e, l := recreated(t, cfg, false)
	l.Loaded("b", 0, 8)
	l.Until("the new epoch", func() bool { return e.Ledger(t, "p", primary).Records[key("a", 0)].Epoch == 1 })
	e.Produce(t, "a", 0, numbered(104, 106)...)
	l.Loaded("a", 0, 6)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 6) 6 rows", "a-0 epoch 1 [4, 6) 2 rows", "a-1 [0, 1) 1 rows", "a-1 epoch 1 [0, 0) 0 rows", "b-0 [0, 8) 8 rows")
}

// Records that retention took before they were loaded are gone: never skipped without a word.
func TestRetentionOvertookTheLoader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		onReset string
		want    []string
	}{
		{"fail", []string{"a-0 [0, 6) 6 rows", "b-0 [0, 2) 2 rows"}},
		{"earliest", []string{"a-0 [0, 6) 6 rows", "a-0 epoch 1 [9, 12) 3 rows", "b-0 [0, 2) 2 rows"}},
		{"latest", []string{"a-0 [0, 6) 6 rows", "a-0 epoch 1 [12, 12) 0 rows", "b-0 [0, 2) 2 rows"}},
	} {
		t.Run(c.onReset, func(t *testing.T) {
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			e.Create(t, "b", 1)
			e.Produce(t, "a", 0, numbered(0, 6)...)
			cfg := resetConfig(c.onReset)
			l := e.Start(t, cfg, nil)
			l.Loaded("a", 0, 6)
			stop(t, l)
			e.Produce(t, "a", 0, numbered(6, 12)...)
			e.Trim(t, "a", 0, 9)
			l = e.Start(t, cfg, nil)
			if c.onReset == "fail" {
				l.Said("a topic is stopped", "topic=a", "offset 6", "9 to 12", "retention")
			} else {
				l.Said("offsets begin anew", "topic=a", "retention")
			}
			e.Produce(t, "b", 0, numbered(0, 2)...)
			l.Loaded("b", 0, 2)
			if c.onReset == "earliest" {
				l.Loaded("a", 0, 12)
			}
			stop(t, l)
			whole(t, e, cfg, c.want...)
		})
	}
}

// A topic that is stopped goes on, in a loader that runs, when its offsets are moved on purpose.
func TestStoppedTopicGoesOnAfterARewind(t *testing.T) {
	t.Parallel()
	for _, busy := range []bool{false, true} {
		t.Run(map[bool]string{false: "idle", true: "while others are loaded"}[busy], func(t *testing.T) {
			e := pipelinetest.New(t)
			e.Create(t, "a", 2)
			e.Create(t, "b", 1)
			e.Produce(t, "a", 0, numbered(0, 6)...)
			e.Produce(t, "a", 1, numbered(0, 2)...)
			cfg := resetConfig("fail")
			cfg.Pipelines[0].Commit.Interval = configs.Duration(100 * time.Millisecond)
			load(t, e, cfg, 8)
			e.Produce(t, "a", 0, numbered(6, 12)...)
			e.Trim(t, "a", 0, 9)
			l := e.Start(t, cfg, nil)
			l.Said("a topic is stopped", "topic=a", "9 to 12")
			e.Produce(t, "a", 1, numbered(2, 5)...)
			rewind(t, e, cfg, pipeline.RewindOptions{Topic: "a", Partitions: []int32{0}, To: at(9), Skip: true})
			if busy {
				e.Produce(t, "b", 0, numbered(0, 3)...)
			}
			l.Loaded("a", 0, 12)
			l.Loaded("a", 1, 5)
			l.Said("is stopped, but its offsets were moved to 9 since")
			stop(t, l)
			b := []string{"b-0 [0, 3) 3 rows"}
			if !busy {
				b = nil
			}
			whole(t, e, cfg, append([]string{"a-0 [0, 6) 6 rows", "a-0 epoch 1 [9, 12) 3 rows", "a-1 [0, 5) 5 rows"}, b...)...)
		})
	}
}

// Records of which nothing was loaded may go while a loader starts: it begins after them, as it would a moment later.
func TestRetentionBeforeTheFirstFetch(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "b", 1)
	e.Produce(t, "a", 0, numbered(0, 6)...)
	cfg := resetConfig("fail")
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		d.Topics = &answers{Topics: d.Topics, marks: sync.OnceFunc(func() { e.Trim(t, "a", 0, 4) })}
	})
	l.Loaded("a", 0, 6)
	l.Said("begins after them", "topic=a", "offset=4", "records=4")
	stop(t, l)
	whole(t, e, cfg, "a-0 [4, 6) 2 rows")
}

// A loader is given a partition before the one that had it commits its last round, and retention takes those records: nothing is missing.
func TestLateCommitOfTheLoaderBefore(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "b", 1)
	cfg, before := resetConfig("fail"), resetConfig("fail")
	before.Pipelines[0].Source.Group = "before"
	e.Produce(t, "a", 0, numbered(0, 2)...)
	load(t, e, before, 2)
	e.Produce(t, "a", 0, numbered(2, 5)...)
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		d.Topics = &answers{Topics: d.Topics, marks: sync.OnceFunc(func() { // the table says 2
			load(t, e, before, 3)
			e.Trim(t, "a", 0, 5)
		})}
	})
	l.Said("partitions assigned")
	e.Produce(t, "a", 0, numbered(5, 7)...)
	l.Loaded("a", 0, 7)
	if strings.Contains(l.Log(), "a topic is stopped") {
		t.Error(l.Log())
	}
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 7) 7 rows")
}

// Rows that were read of a topic before it was deleted and made again must not be committed under the new one, nor the
// new one's under the old: the round is dropped.
func TestTopicRecreatedInTheMiddleOfARound(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "b", 1)
	e.Produce(t, "a", 0, numbered(0, 3)...)
	e.Produce(t, "b", 0, numbered(0, 2)...)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Source.OnReset = "earliest" }, "a", "b")
	load(t, e, cfg, 5)
	l := e.Start(t, cfg, nil)
	e.Produce(t, "a", 0, numbered(3, 6)...)
	e.Produce(t, "b", 0, numbered(2, 4)...)
	l.Read(5)
	e.Delete(t, "a")
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(100, 108)...)
	if err := l.Stop(); err == nil {
		// The loader may have noticed before it was told to stop; then it committed nothing of the old topic either.
		t.Log("noticed before the end")
	}
	l = e.Start(t, cfg, nil)
	l.Read(10)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 3) 3 rows", "a-0 epoch 1 [0, 8) 8 rows", "b-0 [0, 4) 4 rows")
	for _, r := range e.Rows(t, primary, "id") {
		if r.Topic == "a" && (r.Epoch == 1) != (r.Values[0].(int64) >= 100) {
			t.Errorf("%v", r)
		}
	}
}

// Records of a stopped topic go on arriving. They wait for no commit, so the watchdog must not take the loader for stalled.
func TestStoppedTopicIsNoStall(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "b", 1)
	e.Produce(t, "a", 0, numbered(0, 2)...)
	cfg := resetConfig("fail")
	load(t, e, cfg, 2)
	e.Delete(t, "a")
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(100, 105)...) // those from 2 on are delivered
	p := &cfg.Pipelines[0]
	p.Commit.Interval, p.Commit.StallTimeout = configs.Duration(50*time.Millisecond), configs.Duration(2*time.Second)
	var now clock
	l := e.Start(t, cfg, now.use)
	l.Said("a topic is stopped", "topic=a")
	l.Position("a", 0, 5)
	now.jump(time.Hour)
	ticks := time.NewTicker(100 * time.Millisecond) // the watchdog's: a twentieth of its limit
	defer ticks.Stop()
	for range 5 {
		<-ticks.C
	}
	e.Produce(t, "b", 0, numbered(0, 2)...)
	l.Loaded("b", 0, 2)
	stop(t, l)
	if strings.Contains(l.Log(), "stalled") {
		t.Errorf("stalled\n%s", l.Log())
	}
	whole(t, e, cfg, "a-0 [0, 2) 2 rows", "b-0 [0, 2) 2 rows")
}
