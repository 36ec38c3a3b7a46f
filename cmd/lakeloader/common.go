package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/table/iceberg"
)

// configFlag adds -c.
func configFlag(c *cobra.Command) *string {
	path := c.Flags().StringP("config", "c", "lakeloader.yaml", "configuration file")
	return path
}

// outputFlag adds -o with the formats given, the first being the default.
func outputFlag(c *cobra.Command, formats ...string) *string {
	return c.Flags().StringP("output", "o", formats[0], fmt.Sprintf("output format: %v", formats))
}

func checkOutput(format string, formats ...string) error {
	for _, f := range formats {
		if f == format {
			return nil
		}
	}
	return fail(exitUsage, fmt.Errorf("unknown output format %q: use one of %v", format, formats))
}

// load reads the configuration; its problems are printed, all of them.
func load(path string) (*configs.Config, *configs.Positions, error) {
	cfg, pos, err := configs.Load(path)
	if err != nil {
		return nil, nil, fail(exitUsage, err)
	}
	return cfg, pos, nil
}

// loadChecked is load, and the check of steps, partitions and sorting against the columns that are known without asking
// any server.
func loadChecked(path string) (*configs.Config, error) {
	cfg, pos, err := load(path)
	if err != nil {
		return nil, err
	}
	problems, _, err := check(context.Background(), cfg, pos, true)
	if err != nil {
		return nil, err
	}
	return cfg, fail(exitUsage, problems.Err())
}

// lake is where tables are.
type lake struct {
	catalog table.Catalog
	objects objects.Store
	root    string
}

func openLake(ctx context.Context, cfg *configs.Config) (*lake, error) {
	root, err := objects.Root(cfg.Warehouse)
	if err != nil {
		return nil, fail(exitUsage, err)
	}
	store, err := objects.Open(cfg.Warehouse)
	if err != nil {
		return nil, fail(exitUnreachable, fmt.Errorf("opening the warehouse: %w", err))
	}
	cat, err := iceberg.Open(ctx, cfg.Catalog, cfg.Warehouse)
	if err != nil {
		return nil, fail(exitUnreachable, fmt.Errorf("opening the catalog: %w", err))
	}
	return &lake{catalog: cat, objects: store, root: root}, nil
}

// withLake runs f with the lake of a configuration, which must have one.
func withLake(ctx context.Context, path string, f func(*configs.Config, *lake) error) error {
	cfg, _, err := load(path)
	if err != nil {
		return err
	}
	if !cfg.NeedsLake() {
		return fail(exitUsage, errNoLake)
	}
	return inLakeOf(ctx, cfg, f)
}

// errNoLake: all pipelines of a configuration write to databases.
var errNoLake = errors.New("all pipelines of the configuration write to tables of databases (sql), so there is no lake: this is for lake tables")

func inLakeOf(ctx context.Context, cfg *configs.Config, f func(*configs.Config, *lake) error) error {
	l, err := openLake(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(f(cfg, l), fail(exitFailed, l.catalog.Close()))
}

// count writes a number of things, in the singular for one.
func count[N int | int64](n N, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return fail(exitFailed, e.Encode(v))
}
