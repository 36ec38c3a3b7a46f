package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/measures"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/query"
	"github.com/lakeloader/lakeloader/table"
)

// checkAggregates checks aggregates against the columns of their sources, as far as these are known without asking the catalog:
// those of the pipelines' tables.
func checkAggregates(ctx context.Context, cfg *configs.Config, pos *configs.Positions, offline bool) (problems configs.Problems, unchecked []string, err error) {
	if len(cfg.Aggregates) == 0 {
		return nil, nil, nil
	}
	engine, err := query.NewEngine(query.EngineOptions{Memory: 64 << 20})
	if err != nil {
		return nil, nil, fail(exitFailed, fmt.Errorf("opening the embedded engine: %w", err))
	}
	defer func() { err = errors.Join(err, fail(exitFailed, engine.Close())) }()
	rows := tableRows(ctx, cfg, pos, offline)
	for i := range cfg.Aggregates {
		a, path := &cfg.Aggregates[i], fmt.Sprintf("aggregates[%d]", i)
		row := rows[named(cfg, a.Source)]
		if row == nil {
			unchecked = append(unchecked, fmt.Sprintf("aggregate %s: it was not checked against the columns of its source %s, which are not known here", a.Name, a.Source))
			continue
		}
		setting, err := checkAggregate(ctx, a, row, engine)
		if err != nil {
			problems = append(problems, pos.Problem(path+setting, err.Error(), ""))
		}
	}
	return problems, unchecked, nil
}

// checkAggregate gives the first problem of an aggregate over a row type, and the setting that has it.
func checkAggregate(ctx context.Context, a *configs.Aggregate, row *batch.Type, r aggregate.Reader) (setting string, err error) {
	zone, err := measures.Zone(a.TimeZone)
	if err != nil {
		return ".time_zone", err
	}
	clock, err := aggregate.ClockOf(row, a.Time, zone)
	if err != nil {
		return ".time", err
	}
	calc, err := calculation(ctx, a, row, clock, r)
	if err != nil && a.SQL != "" {
		return ".sql", err
	}
	if err != nil {
		return ".measures", err
	}
	for setting, by := range map[string]aggregate.Period{".rollups.week": aggregate.Weekly(), ".rollups.month": aggregate.Monthly()} {
		days, ok := calc.(*aggregate.Measured)
		if !ok || setting == ".rollups.week" && a.Rollups.Week == "" || setting == ".rollups.month" && a.Rollups.Month == "" {
			continue
		}
		if _, err := aggregate.NewRollup(days, by); err != nil {
			return setting, err
		}
	}
	return "", nil
}

// tableRows are the row types of the tables of pipelines whose columns are known. Their own problems are told elsewhere.
func tableRows(ctx context.Context, cfg *configs.Config, pos *configs.Positions, offline bool) map[table.Ident]*batch.Type {
	rows := map[table.Ident]*batch.Type{}
	for i := range cfg.Pipelines {
		p := &cfg.Pipelines[i]
		d, err := decoder(ctx, cfg, p, offline)
		if err != nil || !d.Known() {
			continue
		}
		lookup, unknown := defined(ctx, cfg, p, offline)
		if len(unknown) > 0 {
			continue
		}
		checked, problems := pipeline.Check(cfg, pos, i, d.Row(), d.KeyRow(), lookup)
		if checked == nil || len(problems) > 0 {
			continue
		}
		primary, _ := pipeline.Idents(cfg, p)
		rows[primary] = checked.Table
		if r := p.Table.Route; r != nil {
			for _, name := range slices.Sorted(maps.Values(r.Tables)) {
				rows[named(&configs.Config{Catalog: configs.Catalog{Namespace: primary.Namespace}}, name)] = checked.Table
			}
		}
	}
	return rows
}
