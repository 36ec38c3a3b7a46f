package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

func letterTopic(change func(*configs.Pipeline)) *configs.Config {
	return pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.DeadLetters.Topic = "dead"
		if change != nil {
			change(p)
		}
	}, "a")
}

func headerOf(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// The topic gets what the table gets, with everything as it was and Kafka Connect's headers behind the record's own.
func TestLettersGoToTheTopic(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Create(t, "dead", 1)
	cfg := letterTopic(nil)
	at := time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)
	e.Send(t, "a", 1, &kgo.Record{Key: []byte("k"), Value: []byte("{{"), Timestamp: at, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "h"}}},
		&kgo.Record{Value: []byte(`{"id":1}`)}, &kgo.Record{Key: []byte{}, Timestamp: at})
	load(t, e, cfg, 3)
	whole(t, e, cfg, "a-1 [0, 3) 1 rows 2 dead")
	rs := e.Records(t, "dead", 2)
	if len(rs) != 2 {
		t.Fatalf("%d records", len(rs))
	}
	first, second := rs[0], rs[1]
	if string(first.Key) != "k" || string(first.Value) != "{{" || !first.Timestamp.Equal(at) || second.Key == nil || len(second.Key) > 0 || second.Value != nil {
		t.Errorf("not as they were: %+v\n%+v", first, second)
	}
	if h := first.Headers[:2]; h[0].Key != "h" || string(h[0].Value) != "v" || h[1].Key != "h" || h[1].Value != nil {
		t.Errorf("headers %v", first.Headers)
	}
	for name, want := range map[string]string{"topic": "a", "partition": "1", "offset": "0", "connector.name": "p", "task.id": "0", "stage": "decode", "class.name": "decode: value",
		"exception.class.name": "lakeloader.decode"} {
		if got := headerOf(first, "__connect.errors."+name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	rows := e.Rows(t, dead, "error")
	if got := headerOf(second, "__connect.errors.exception.message"); got != rows[1].Values[0] {
		t.Errorf("the topic says %q, the table %q", got, rows[1].Values[0])
	}
	if a, b := headerOf(first, pipeline.HeaderID), headerOf(second, pipeline.HeaderID); a != "a-1-0" || b != "a-1-2" {
		t.Errorf("ids %q and %q", a, b)
	}
}

// The topic has a round's letters before the round is committed; if it then is not, they are sent again with the same id.
func TestLettersAreInTheTopicBeforeTheSwap(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "dead", 1)
	cfg := letterTopic(func(p *configs.Pipeline) { p.Commit.Records = 2 })
	e.Produce(t, "a", 0, `{"id":1}`, "{{")
	var swaps atomic.Int32
	sent := make(chan []*kgo.Record, 1)
	faults := &pipelinetest.Faults{Catalog: e.Catalog, Swap: func(_ context.Context, id table.Ident, ch table.Change, next func() error) error {
		if id == primary && len(ch.Add) > 0 && swaps.Add(1) == 1 {
			sent <- e.Records(t, "dead", 1)
			return errors.New("the catalog is broken")
		}
		return next()
	}}
	l := e.Start(t, cfg, func(d *pipeline.Deps) { d.Catalog = faults })
	if rs := <-sent; len(rs) != 1 || headerOf(rs[0], pipeline.HeaderID) != "a-0-1" {
		t.Fatalf("before the swap the topic has %v", rs)
	}
	l.Loaded("a", 0, 2)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 2) 1 rows 1 dead")
	var ids []string
	for _, r := range e.Records(t, "dead", 2) {
		ids = append(ids, headerOf(r, pipeline.HeaderID))
	}
	if want := []string{"a-0-1", "a-0-1"}; !slices.Equal(ids, want) {
		t.Errorf("ids %q, want %q", ids, want)
	}
}

// Without the topic nothing is committed and nothing is dropped: the pipeline is failing until it is there.
func TestLetterTopicIsMissing(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := letterTopic(nil)
	e.Produce(t, "a", 0, "{{")
	l := e.Start(t, cfg, nil)
	l.Said("the pipeline failed", "dead_letters.topic", "topic dead", "create the topic")
	if p := l.State.Status().Pipelines[0]; p.LastError == nil || !strings.Contains(p.LastError.Message, "create the topic") || p.LastError.NextTry.IsZero() {
		t.Errorf("%+v", p.LastError)
	}
	e.Create(t, "dead", 1)
	l.Read(1)
	stop(t, l)
	whole(t, e, cfg, "a-0 [0, 1) 0 rows 1 dead")
	if rs := e.Records(t, "dead", 1); headerOf(rs[0], pipeline.HeaderID) != "a-0-0" {
		t.Errorf("%v", rs)
	}
}

// What lies before the window does not count, and neither does a round that was dropped and is read again.
func TestThresholdForgets(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.DeadLetters.MaxCount, p.Commit.Records = 3, 3
	}, "a")
	var swaps atomic.Int32
	faults := &pipelinetest.Faults{Catalog: e.Catalog, Swap: func(_ context.Context, id table.Ident, _ table.Change, next func() error) error {
		if id == primary && swaps.Add(1) == 1 {
			return errors.New("the catalog is broken")
		}
		return next()
	}}
	c := &clock{}
	l := e.Start(t, cfg, func(d *pipeline.Deps) {
		c.use(d)
		d.Catalog = faults
	})
	e.Produce(t, "a", 0, bad(3)...)
	l.Said("committed", "round=1")
	c.jump(11 * time.Minute)
	e.Produce(t, "a", 0, bad(3)...)
	l.Said("committed", "round=2")
	e.Produce(t, "a", 0, bad(1)...)
	if err := l.Ended(); !errors.Is(err, pipeline.ErrStop) || !strings.Contains(err.Error(), "4 of the last 4 records") {
		t.Errorf("ended with %v", err)
	}
	whole(t, e, cfg, "a-0 [0, 6) 0 rows 6 dead")
}

// bad are n values that cannot be decoded.
func bad(n int) (values []string) {
	for range n {
		values = append(values, "{{")
	}
	return values
}

// Too many dead letters stop the pipeline: what came before stays, the round that crosses the threshold is read again after
// the cause was mended.
func TestThresholdStops(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set      configs.DeadLetters
		first    int // bad ones of the committed round, of 200
		then     int // bad ones of the round after it, of 100
		crossing string
	}{
		"count": {configs.DeadLetters{MaxCount: 12}, 10, 3, "dead_letters.max_count is 12"},
		"share": {configs.DeadLetters{MaxShare: 50_000}, 10, 6, "dead_letters.max_share is 0.05"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
				p.DeadLetters, p.Commit.Records = c.set, 200
			}, "a")
			l := e.Start(t, cfg, nil)
			e.Produce(t, "a", 0, append(numbered(0, 200-c.first), bad(c.first)...)...)
			l.Loaded("a", 0, 200)
			e.Produce(t, "a", 0, append(numbered(0, 100-c.then), bad(c.then)...)...)
			err := l.Ended()
			want := fmt.Sprintf("%d of the last 300 records became dead letters, and %s (within 10m)", c.first+c.then, c.crossing)
			if !errors.Is(err, pipeline.ErrStop) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("%d times decode: value: ", c.first+c.then)) {
				t.Fatalf("ended with %v, want %s", err, want)
			}
			whole(t, e, cfg, fmt.Sprintf("a-0 [0, 200) %d rows %d dead", 200-c.first, c.first))
			cfg.Pipelines[0].DeadLetters.MaxCount, cfg.Pipelines[0].DeadLetters.MaxShare = 0, 0
			load(t, e, cfg, 100)
			whole(t, e, cfg, fmt.Sprintf("a-0 [0, 300) %d rows %d dead", 300-c.first-c.then, c.first+c.then))
		})
	}
}
