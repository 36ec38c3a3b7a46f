package pipeline_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

var (
	primary = table.Ident{Namespace: "lake", Name: "t"}
	dead    = table.Ident{Namespace: "lake", Name: "t_dead_letters"}
)

// numbered are JSON values with ids from first up to next.
func numbered(first, next int) (values []string) {
	for i := first; i < next; i++ {
		values = append(values, fmt.Sprintf(`{"id":%d}`, i))
	}
	return values
}

// stop drains the loader, which must succeed.
func stop(t *testing.T, l *pipelinetest.Loader) {
	t.Helper()
	if err := l.Stop(); err != nil {
		t.Fatalf("stopping: %v\n%s", err, l.Log())
	}
}

// whole checks with verify that every offset is accounted for, and how far each partition of the topics is.
func whole(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, want ...string) {
	t.Helper()
	r := e.Verify(t, cfg, &cfg.Pipelines[0])
	if err := r.Err(); err != nil {
		t.Fatalf("not everything is accounted for: %v", err)
	}
	var got []string
	for _, p := range r.Partitions {
		s := fmt.Sprintf("%s-%d", p.Topic, p.Partition)
		if p.Epoch > 0 {
			s += fmt.Sprintf(" epoch %d", p.Epoch)
		}
		s += fmt.Sprintf(" [%d, %d) %d rows", p.First, p.Next, p.Rows)
		for _, n := range []struct {
			n    int64
			what string
		}{{p.Filtered, "filtered"}, {p.Dead, "dead"}, {p.Gaps, "gaps"}, {p.Removed, "removed"}} {
			if n.n > 0 {
				s += fmt.Sprintf(" %d %s", n.n, n.what)
			}
		}
		got = append(got, s)
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Fatalf("accounts\n%q\nwant\n%q", got, want)
	}
}

func TestStartsAtTheFirstOffset(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Produce(t, "a", 0, numbered(0, 10)...)
	e.Produce(t, "a", 1, numbered(0, 5)...)
	e.Trim(t, "a", 0, 4) // retention has taken some already
	cfg := pipelinetest.Pipeline("id long required", nil, "a")
	l := e.Start(t, cfg, nil)
	l.Read(11)
	stop(t, l)
	whole(t, e, cfg, "a-0 [4, 10) 6 rows", "a-1 [0, 5) 5 rows")
	for _, r := range e.Rows(t, primary, "id", pipeline.ColumnTimestamp) {
		if r.Values[0] != r.Offset || r.Values[1].(int64) < time.Now().Add(-time.Hour).UnixMicro() {
			t.Errorf("%v", r)
		}
	}
	stop(t, e.Start(t, cfg, nil)) // nothing new: nothing is committed
	if n := e.Ledger(t, "p", primary).Number; n != 1 {
		t.Errorf("%d rounds", n)
	}
}

// The end is resolved once, and committed before anything is read: a crash must not skip what came since.
func TestStartsAtTheEndOnlyOnce(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Produce(t, "a", 0, numbered(0, 7)...)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Source.Start = "latest" }, "a")
	l := e.Start(t, cfg, nil)
	l.Until("the start to be committed", func() bool { led := e.Ledger(t, "p", primary); return led != nil && led.Number == 1 })
	if err := l.Kill(); err == nil {
		t.Fatal("killed without an error")
	}
	e.Produce(t, "a", 0, numbered(7, 10)...)
	e.Produce(t, "a", 1, numbered(0, 4)...)
	e.Grow(t, "a", 3) // a partition that appears later begins at its first offset
	e.Produce(t, "a", 2, numbered(0, 6)...)
	l = e.Start(t, cfg, nil)
	l.Read(13)
	stop(t, l)
	whole(t, e, cfg, "a-0 [7, 10) 3 rows", "a-1 [0, 4) 4 rows", "a-2 [0, 6) 6 rows")
}

func TestStartsAtATime(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 10 {
		e.Send(t, "a", 0, &kgo.Record{Value: []byte(numbered(i, i+1)[0]), Timestamp: at.Add(time.Duration(i-6) * time.Minute)})
	}
	e.Send(t, "a", 1, &kgo.Record{Value: []byte(`{"id":0}`), Timestamp: at.Add(-time.Hour)}) // nothing since: the end
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Source.Start = at.Format(time.RFC3339) }, "a")
	l := e.Start(t, cfg, nil)
	l.Read(4)
	stop(t, l)
	whole(t, e, cfg, "a-0 [6, 10) 4 rows", "a-1 [1, 1) 0 rows")
	cfg.Pipelines[0].Source.Start = "yesterday"
	e.Drop(t, primary)
	if err := e.Start(t, cfg, nil).Ended(); !errors.Is(err, pipeline.ErrStop) {
		t.Fatalf("ended with %v", err)
	}
}

// Topics that match a pattern are taken up when they appear, while the loader runs.
func TestTakesUpNewTopicsOfAPattern(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "click-a", 1)
	e.Create(t, "other", 1)
	e.Produce(t, "click-a", 0, numbered(0, 3)...)
	e.Produce(t, "other", 0, numbered(0, 3)...)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Source.Pattern = "click-[a-z]" })
	l := e.Start(t, cfg, nil)
	l.Read(3)
	e.Create(t, "click-b", 1)
	e.Produce(t, "click-b", 0, numbered(0, 2)...)
	l.Read(5)
	stop(t, l)
	whole(t, e, cfg, "click-a-0 [0, 3) 3 rows", "click-b-0 [0, 2) 2 rows")
}

// What the loader never saw is not skipped: aborted transactions and control records are gaps.
func TestAbortedTransactionsAreGaps(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"batch", "poll"} {
		t.Run(mode, func(t *testing.T) {
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			e.Transaction(t, true, "a", 0, numbered(0, 4)...)  // 0-3, control record 4
			e.Transaction(t, false, "a", 0, numbered(5, 8)...) // 5-7, control record 8
			e.Produce(t, "a", 0, numbered(9, 12)...)
			cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Source.Consume = mode }, "a")
			l := e.Start(t, cfg, nil)
			l.Read(7)
			stop(t, l)
			whole(t, e, cfg, "a-0 [0, 12) 7 rows 5 gaps")
		})
	}
}

func key(topic string, partition int32) table.Key {
	return table.Key{Topic: topic, Partition: partition}
}
