package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/lookups"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/source"
)

// join begins to fill the lookups of pipelines, until close.
func (d *daemon) join(ctx context.Context, pipelines []configs.Pipeline) error {
	deps := lookups.Deps{Files: files(d.cfg), Namespace: d.cfg.Catalog.Namespace, Log: d.log, Now: point.Now, Held: d.memory.Lookups}
	if d.lake != nil { // else no lookup is of a table
		deps.Catalog, deps.Objects = d.lake.catalog, d.lake.objects
	}
	var err error
	if deps.Registry, err = registry(d.cfg); err != nil {
		return err
	}
	if d.admin == nil && ofTopics(d.cfg, pipelines) {
		if d.admin, err = source.NewAdmin(d.cfg.Kafka, d.log); err != nil {
			return fail(exitUsage, err)
		}
	}
	deps.Topics = d.admin
	deps.NewConsumer = func(lookup string) (lookups.Consumer, error) {
		return source.NewAlone(source.Options{Kafka: d.cfg.Kafka, Pipeline: "lookup-" + lookup, Memory: d.memory.Limits().Fetch, Log: d.log})
	}
	d.lookups = lookups.New(d.cfg, pipelines, deps)
	d.state.Lookups(d.lookups.Status)
	ctx, d.unjoin = context.WithCancel(ctx)
	d.bg.Go(func() { d.lookups.Run(ctx) })
	return nil
}

// files opens the store of a lookup's file: the warehouse may be in another one.
func files(cfg *configs.Config) func(path string) (objects.Store, error) {
	return func(path string) (objects.Store, error) {
		if strings.HasPrefix(path, "s3://") {
			return objects.NewS3(cfg.Warehouse.S3)
		}
		return objects.NewLocal(), nil
	}
}

// ofTopics reports whether pipelines have lookups for which Kafka must be asked.
func ofTopics(cfg *configs.Config, pipelines []configs.Pipeline) bool {
	for _, p := range pipelines {
		for _, j := range p.Enrich {
			for _, l := range cfg.Lookups {
				if l.Name == j.Lookup && l.Topic != nil {
					return true
				}
			}
		}
	}
	return false
}

// chosen are the pipelines of a name; all: without one.
func chosen(cfg *configs.Config, only string) (out []configs.Pipeline) {
	for _, p := range cfg.Pipelines {
		if only == "" || p.Name == only {
			out = append(out, p)
		}
	}
	return out
}

// errNotKnown: what a lookup's columns are cannot be told without asking a server.
var errNotKnown = errors.New("its columns are not known here")

// defined are a pipeline's lookups without rows, to check joins against their columns. unknown names those whose columns cannot be
// known here.
func defined(ctx context.Context, cfg *configs.Config, p *configs.Pipeline, offline bool) (named func(string) *enrich.Lookup, unknown []string) {
	all := map[string]*enrich.Lookup{}
	for _, j := range p.Enrich {
		for i := range cfg.Lookups {
			l := &cfg.Lookups[i]
			if l.Name != j.Lookup || all[l.Name] != nil {
				continue
			}
			x := enrich.New(l, point.Now)
			if err := define(ctx, cfg, x, offline); err != nil {
				unknown = append(unknown, fmt.Sprintf("lookup %s: %v", l.Name, err))
				continue
			}
			all[l.Name] = x
		}
	}
	return func(name string) *enrich.Lookup { return all[name] }, unknown
}

func define(ctx context.Context, cfg *configs.Config, l *enrich.Lookup, offline bool) error {
	c := l.Config()
	row, err := lookups.Row(ctx, c, files(cfg))
	if err != nil || row == nil && offline {
		return errors.Join(err, errNotKnown)
	}
	if row != nil {
		return l.Define(row)
	}
	if c.Topic != nil {
		d, err := decoder(ctx, cfg, &configs.Pipeline{Source: configs.Source{Topics: []string{c.Topic.Name}}, Decode: c.Topic.Decode}, offline)
		if err != nil || !d.Known() {
			return errors.Join(err, errNotKnown)
		}
		if row, err = lookups.TopicRow(c, d); err != nil {
			return err
		}
		return l.Define(row)
	}
	lake, err := openLake(ctx, cfg)
	if err != nil {
		return err
	}
	info, err := lake.catalog.Info(ctx, named(cfg, c.Table.Name))
	if err = errors.Join(err, lake.catalog.Close()); err != nil {
		return err
	}
	if row, err = lookups.Cleansed(c, info.Row); err != nil {
		return err
	}
	return l.Define(row)
}
