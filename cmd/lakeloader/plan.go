package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/source"
)

func newPlan() *cobra.Command {
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what the pipelines would do with real records",
		Long: `plan connects, samples real records from the ends of the topics (in a consumer group of its own), and shows the table that
each pipeline would create, its partitions, the expected size of files, which records would be filtered or become dead letters
and why, and how expressions run. It changes nothing.`,
		Example: `  lakeloader plan -c lakeloader.yaml --sample 10000`,
		Args:    cobra.NoArgs,
	}
	path := configFlag(c)
	out := outputFlag(c, "text", "json")
	n := c.Flags().Int("sample", 1000, "records to sample, per pipeline")
	only := c.Flags().String("pipeline", "", "plan this pipeline only")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		cfg, err := loadChecked(*path)
		if err != nil {
			return err
		}
		reports, err := plan(c.Context(), cfg, *only, *n)
		if err != nil {
			return err
		}
		if *out == "json" {
			return writeJSON(c.OutOrStdout(), reports)
		}
		for _, r := range reports {
			if err := printPlan(c.OutOrStdout(), r); err != nil {
				return fail(exitFailed, err)
			}
		}
		return nil
	}
	return c
}

func plan(ctx context.Context, cfg *configs.Config, only string, n int) (reports []*planned, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d := &daemon{cfg: cfg, log: slog.New(slog.DiscardHandler), state: obs.NewState(version, time.Now)}
	defer func() {
		if cerr := d.close(); err == nil {
			err = cerr
		}
	}()
	if d.memory, err = limitMemory(cfg); err != nil {
		return nil, err
	}
	if err := d.connect(ctx, nil); err != nil {
		return nil, err
	}
	if err := d.join(ctx, chosen(cfg, only)); err != nil {
		return nil, err
	}
	for i := range cfg.Pipelines {
		p := &cfg.Pipelines[i]
		if only != "" && p.Name != only {
			continue
		}
		deps, err := d.deps(p)
		if err != nil {
			return nil, err
		}
		sampling := p.Source
		sampling.Group = "lakeloader-plan-" + uuid.NewString()
		deps.NewConsumer = func(h source.Handler) (pipeline.Consumer, error) {
			return source.New(source.Options{Kafka: cfg.Kafka, Source: sampling, Pipeline: p.Name, Memory: 16 << 20, Log: d.log}, h)
		}
		sent := sampleRoutes(p, &deps)
		r, err := pipeline.Plan(ctx, cfg, i, n, deps)
		for _, s := range sent {
			err = errors.Join(err, s.ended())
		}
		if err != nil {
			return nil, fail(exitFailed, fmt.Errorf("pipeline %s: %w", p.Name, err))
		}
		reports = append(reports, &planned{r, sent})
	}
	if len(reports) == 0 {
		return nil, fail(exitUsage, fmt.Errorf("the configuration has no pipeline %q", only))
	}
	return reports, nil
}

func printPlan(w io.Writer, r *planned) error {
	made := "would be created"
	if r.Exists {
		made = "exists"
	}
	fmt.Fprintf(w, "pipeline %s, table %s (%s), partitioned by %v\n\n", r.Pipeline, r.Table, made, r.PartitionBy)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Columns {
		req := ""
		if c.Required {
			req = "required"
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", c.Name, c.Type, req)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%d records sampled from %d partitions: %d rows in %d partitions of the table, %.1f bytes a record\n", r.Sampled, r.Partitions, r.Rows, len(r.TablePartitions), r.BytesPerRecord)
	fmt.Fprintf(w, "%.0f records a second over the last hour: files of about %.1f MiB\n", r.RecordsPerSecond, float64(r.FileBytes)/(1<<20))
	counts := func(title string, m map[string]int) {
		for i, k := range slices.Sorted(maps.Keys(m)) {
			if i == 0 {
				fmt.Fprintln(w, title)
			}
			fmt.Fprintf(w, "  %6d  %s\n", m[k], k)
		}
	}
	counts("rows by table:", r.Routed)
	printRoutes(w, r.Routes)
	counts("filtered:", r.Filtered)
	counts("dead letters:", r.Rejected)
	counts("partitions:", r.TablePartitions)
	for _, e := range r.Expressions {
		how := "over whole columns"
		if !e.Kernels {
			how = "row by row, since " + e.Why
		}
		fmt.Fprintf(w, "expression of %s: %s: %s\n", e.Step, e.Expression, how)
	}
	for _, h := range r.Hints {
		fmt.Fprintln(w, "hint:", h)
	}
	_, err := fmt.Fprintln(w)
	return err
}
