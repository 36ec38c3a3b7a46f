package pipeline_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// Loaders come and go while records keep coming; in the end each offset is there once.
func TestLoadersComeAndGo(t *testing.T) {
	t.Parallel()
	const parts = 4
	e := pipelinetest.New(t)
	e.Create(t, "a", parts)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Commit.Records = 7
		p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: "id % 5 != 0"}}}
	}, "a")
	next := 0
	more := func() {
		for p := range int32(parts) {
			e.Produce(t, "a", p, append(numbered(next, next+9), "{{")...)
		}
		next += 10
	}
	more()
	one := e.Start(t, cfg, nil)
	one.Read(10)
	two := e.Start(t, cfg, nil)
	more()
	two.Owns(1)
	more()
	two.Read(10)
	three := e.Start(t, cfg, nil)
	more()
	three.Owns(1)
	more()
	three.Read(5)
	if err := one.Kill(); err == nil { // as in a crash: what it had not committed is read by the others
		t.Fatal("killed without an error")
	}
	more()
	stop(t, two)
	more()
	for p := range int32(parts) {
		three.Position("a", p, int64(next))
	}
	stop(t, three)
	var want []string
	for p := range parts {
		want = append(want, fmt.Sprintf("a-%d [0, %d) %d rows %d filtered %d dead", p, next, next-next/10*3, next/10*2, next/10))
	}
	whole(t, e, cfg, want...)
}

// A loader that sleeps through a rebalance is a zombie: another one has its partitions and has moved on. Its swap must
// not land when it wakes up.
func TestSleeperIsFenced(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 5)...)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Commit.Records = 5 }, "a")
	asleep, wake := make(chan struct{}), make(chan struct{})
	var once sync.Once
	one := e.Start(t, cfg, func(d *pipeline.Deps) {
		d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, _ table.Ident, _ table.Change, next func() error) error {
			once.Do(func() {
				close(asleep)
				<-wake
			})
			return next()
		}}
	})
	<-asleep
	other := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Source.Group, p.Commit.Records = "another", 5 }, "a")
	two := e.Start(t, other, nil) // in another group, so that nothing but the table stands between them
	two.Loaded("a", 0, 5)
	close(wake)
	one.Said("the round is dropped", "fenced", "a-0 was read from offset 0 (epoch 0), but the table is at 5 (epoch 0)")
	e.Produce(t, "a", 0, numbered(5, 10)...)
	two.Loaded("a", 0, 10) // whichever of them
	stop(t, two)
	stop(t, one)
	whole(t, e, cfg, "a-0 [0, 10) 10 rows")
}
