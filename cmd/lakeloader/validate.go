package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/schemas"
)

func newValidate() *cobra.Command {
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check a configuration and print every problem",
		Long: `validate checks the whole configuration and prints every problem with file, line, column and a hint. Steps, partitions and
sorting are checked against the columns: those of schema files and declared columns always, those of the registry's schemas
unless --offline.

Exit code 0: no problems. 2: problems. 3: the registry cannot be asked.`,
		Example: `  lakeloader validate -c lakeloader.yaml
  lakeloader validate -c lakeloader.yaml --offline -o json`,
		Args: cobra.NoArgs,
	}
	path := configFlag(c)
	out := outputFlag(c, "text", "json")
	offline := c.Flags().Bool("offline", false, "do not ask the registry")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), 30*time.Second)
		defer cancel()
		problems, unchecked, err := validate(ctx, *path, *offline)
		if err != nil {
			return err
		}
		w := c.OutOrStdout()
		if *out == "json" {
			// empty lists, not null
			answer := map[string]any{"problems": append(configs.Problems{}, problems...), "unchecked": append([]string{}, unchecked...)}
			if err := writeJSON(w, answer); err != nil {
				return err
			}
		} else {
			for _, p := range problems {
				fmt.Fprintln(w, p)
			}
			for _, u := range unchecked {
				fmt.Fprintln(w, u)
			}
			if len(problems) == 0 {
				fmt.Fprintf(w, "%s: no problems\n", *path)
			}
		}
		if len(problems) > 0 {
			return fail(exitUsage, fmt.Errorf("%s has %s", *path, count(len(problems), "problem")))
		}
		return nil
	}
	return c
}

// validate returns every problem, and what could not be checked.
func validate(ctx context.Context, path string, offline bool) (problems configs.Problems, unchecked []string, err error) {
	cfg, pos, err := configs.Load(path)
	if errors.As(err, &problems) {
		return problems, []string{"the steps were not checked against the columns, since the configuration cannot be read"}, nil
	}
	if err != nil {
		return nil, nil, fail(exitUsage, err)
	}
	if problems, unchecked, err = check(ctx, cfg, pos, offline); err != nil {
		return nil, nil, err
	}
	more, unknown, err := checkAggregates(ctx, cfg, pos, offline)
	return append(problems, more...).Sort(), append(unchecked, unknown...), err
}

// check is validate for a configuration that could be read.
func check(ctx context.Context, cfg *configs.Config, pos *configs.Positions, offline bool) (problems configs.Problems, unchecked []string, err error) {
	for i := range cfg.Pipelines {
		p := &cfg.Pipelines[i]
		d, err := decoder(ctx, cfg, p, offline)
		if errors.Is(err, schemas.ErrRegistry) {
			return nil, nil, fail(exitUnreachable, fmt.Errorf("pipeline %s: %w (use --offline to check without it)", p.Name, err))
		}
		if err != nil {
			problems = append(problems, pos.Problem(fmt.Sprintf("pipelines[%d].decode", i), err.Error(), ""))
			continue
		}
		if !d.Known() {
			unchecked = append(unchecked, fmt.Sprintf("pipeline %s: its steps were not checked against the columns: the schema is not known here", p.Name))
			continue
		}
		lookup, unknown := defined(ctx, cfg, p, offline)
		if len(unknown) > 0 {
			unchecked = append(unchecked, fmt.Sprintf("pipeline %s: its steps were not checked against the columns: %s", p.Name, strings.Join(unknown, "; ")))
			continue
		}
		checked, ps := pipeline.Check(cfg, pos, i, d.Row(), d.KeyRow(), lookup)
		problems = append(problems, ps...)
		if checked != nil {
			problems = append(problems, checkRoutes(p, pos, i, checked.Table)...)
		}
	}
	return problems.Sort(), unchecked, nil
}

// decoder knows a pipeline's columns as far as they can be known without records.
func decoder(ctx context.Context, cfg *configs.Config, p *configs.Pipeline, offline bool) (*schemas.Decoder, error) {
	reg, err := registry(cfg)
	if err != nil {
		return nil, err
	}
	d, err := schemas.NewDecoder(p.Decode, reg, schemas.Options{Clock: time.Now})
	if err != nil || offline || len(p.Source.Topics) == 0 {
		return d, err
	}
	return d, d.Bootstrap(ctx, p.Source.Topics)
}

// registry is nil when the configuration has none.
func registry(cfg *configs.Config) (schemas.Registry, error) {
	if cfg.Registry.URL == "" {
		return nil, nil
	}
	client, err := schemas.NewRegistryClient(cfg.Registry)
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("registry: %w", err))
	}
	return client, nil
}
