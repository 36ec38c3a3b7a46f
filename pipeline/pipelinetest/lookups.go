package pipelinetest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/lookups"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/source"
)

// lookups keeps the lookups of cfg up to date until the end of the test.
func (e *Env) lookups(t testing.TB, cfg *configs.Config, log *slog.Logger, state *obs.State) func(string) *enrich.Lookup {
	d := lookups.Deps{Files: func(string) (objects.Store, error) { return objects.NewLocal(), nil }, Catalog: e.Catalog, Objects: e.Objects, Namespace: cfg.Catalog.Namespace,
		Topics: e.Admin, Log: log, Now: time.Now,
		NewConsumer: func(lookup string) (lookups.Consumer, error) {
			return source.NewAlone(source.Options{Kafka: e.Config, Pipeline: "lookup-" + lookup, Log: log})
		}}
	s := lookups.New(cfg, cfg.Pipelines, d)
	state.Lookups(s.Status)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s.Lookup
}
