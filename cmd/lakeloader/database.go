package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/sqlsink"
	"github.com/lakeloader/lakeloader/verify"
)

// store has a pipeline write to the lake, or to its database, if it names one: then a wrong address or password is told at once.
func (d *daemon) store(p *configs.Pipeline, deps *pipeline.Deps) error {
	if p.SQL == nil {
		deps.Catalog, deps.Objects, deps.Root, deps.Audit = d.lake.catalog, d.lake.objects, d.lake.root, audit(d.cfg, p, d.lake)
		return nil
	}
	s, err := sqlsink.Open(sqlsink.Options{Pipeline: p, Log: deps.Log, Now: point.Now})
	if err != nil {
		return fail(exitUsage, err)
	}
	d.sinks = append(d.sinks, s)
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := s.Ping(ctx); err != nil {
		return fail(exitUnreachable, err)
	}
	deps.Catalog, deps.Objects, deps.Root, deps.Database = s, s.Objects(), "", s
	deps.Audit = func(context.Context) error {
		return errors.New("a database needs no audit: this is a defect of lakeloader")
	}
	return nil
}

// verifyOne verifies a pipeline, wherever its rows are.
func verifyOne(ctx context.Context, cfg *configs.Config, p *configs.Pipeline, l *lake) (*verify.Report, error) {
	if p.SQL == nil {
		return verify.Run(ctx, verifyInput(cfg, p, l))
	}
	s, err := sqlsink.Open(sqlsink.Options{Pipeline: p, Log: slog.New(slog.DiscardHandler), Now: point.Now})
	if err != nil {
		return nil, err
	}
	r, err := s.Verify(ctx)
	return r, errors.Join(err, s.Close())
}

// inLake refuses what only lake tables can do.
func inLake(p *configs.Pipeline) error {
	if p.SQL == nil {
		return nil
	}
	return fail(exitUsage, fmt.Errorf("pipeline %s writes to a table of a database (%s, table %s): this is for lake tables", p.Name, p.SQL.Kind(), p.SQL.Table))
}

// notInLake says, where a query that failed names a table of a database, that it is not in the lake.
func notInLake(cfg *configs.Config, query string) string {
	named := func(name string) bool {
		return slices.ContainsFunc(cfg.Pipelines, func(p configs.Pipeline) bool { return p.Table.Name == name })
	}
	for i := range cfg.Pipelines {
		p := &cfg.Pipelines[i]
		if p.SQL != nil && !named(p.SQL.Table) && strings.Contains(strings.ToLower(query), strings.ToLower(p.SQL.Table)) {
			return fmt.Sprintf("\ntable %s of pipeline %s is no lake table: ask its database (%s)", p.SQL.Table, p.Name, p.SQL.Kind())
		}
	}
	return ""
}
