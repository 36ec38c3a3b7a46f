package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/window"
)

// checkWindows checks windows against the columns of their pipelines, as far as these are known.
func checkWindows(ctx context.Context, cfg *configs.Config, pos *configs.Positions, offline bool) (problems configs.Problems, unchecked []string) {
	if len(cfg.Windows) == 0 {
		return nil, nil
	}
	for i := range cfg.Windows {
		w := &cfg.Windows[i]
		o, p, err := windowOptions(cfg, w)
		if err != nil {
			problems = append(problems, pos.Problem(fmt.Sprintf("windows[%d]", i), err.Error(), ""))
			continue
		}
		row := windowRow(ctx, cfg, p, offline)
		if row == nil {
			unchecked = append(unchecked, fmt.Sprintf("window %s: it was not checked against the columns of pipeline %s, which are not known here", w.Name, p.Name))
			continue
		}
		if err := o.Check(row); err != nil {
			problems = append(problems, pos.Problem(fmt.Sprintf("windows[%d]", i), err.Error(), ""))
		}
	}
	return problems, unchecked
}

// windowRow is what the rows are that a window counts; nil: it is not known here, or the pipeline's own check says what is wrong.
func windowRow(ctx context.Context, cfg *configs.Config, p *configs.Pipeline, offline bool) *batch.Type {
	d, err := decoder(ctx, cfg, p, offline)
	if err != nil || !d.Known() {
		return nil
	}
	steps, err := pipeline.CompileSteps(d.Row(), d.KeyRow(), p)
	if err != nil {
		return nil
	}
	return steps.Row()
}

func newWindow() *cobra.Command {
	c := &cobra.Command{
		Use:   "window",
		Short: "Look at the windows that keep totals for each key",
	}
	c.AddCommand(newWindowSQL())
	return c
}

func newWindowSQL() *cobra.Command {
	c := &cobra.Command{
		Use:   "sql NAME",
		Short: "Print the SQL that calculates a window's totals from the lake",
		Long: `sql prints a query for lakeloader query, in the dialect of DuckDB: the totals of all keys on a day, as the window publishes them once
the loader has committed all rows.`,
		Example: `  lakeloader query "$(lakeloader window sql visitor-spend)"
  lakeloader window sql visitor-spend --day 2026-05-31`,
		Args: cobra.ExactArgs(1),
	}
	path := configFlag(c)
	day := c.Flags().String("day", "", "day of the totals, such as 2026-05-31 (default: today in the window's time zone)")
	c.RunE = func(c *cobra.Command, args []string) error {
		return withLake(c.Context(), *path, func(cfg *configs.Config, l *lake) error {
			i := slices.IndexFunc(cfg.Windows, func(w configs.Window) bool { return w.Name == args[0] })
			if i < 0 {
				return fail(exitUsage, fmt.Errorf("there is no window %s in %s", args[0], *path))
			}
			o, p, err := windowOptions(cfg, &cfg.Windows[i])
			if err != nil {
				return fail(exitUsage, err)
			}
			at := time.Now().In(o.Zone)
			if *day != "" {
				if at, err = time.Parse(time.DateOnly, *day); err != nil {
					return fail(exitUsage, fmt.Errorf("--day: %w", err))
				}
			}
			primary, _ := pipeline.Idents(cfg, p)
			info, err := l.catalog.Info(c.Context(), primary)
			if errors.Is(err, table.ErrNoTable) {
				return fail(exitFailed, fmt.Errorf("table %s is not there yet", primary))
			}
			if err != nil {
				return fail(exitUnreachable, err)
			}
			sql, err := o.SQL(primary.String(), info.Row, window.DayOf(at))
			if err != nil {
				return fail(exitFailed, err)
			}
			fmt.Fprintln(c.OutOrStdout(), sql)
			return nil
		})
	}
	return c
}
