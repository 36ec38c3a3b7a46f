package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/sqlsink"
	"github.com/lakeloader/lakeloader/verify"
)

// database has a pipeline write to its database, if it names one. A wrong address or password is told at once.
func (d *daemon) database(p *configs.Pipeline, deps *pipeline.Deps) error {
	if p.SQL == nil {
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
