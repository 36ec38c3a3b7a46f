package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
)

func newDLQ() *cobra.Command {
	c := &cobra.Command{
		Use:   "dlq",
		Short: "List, show, replay and purge dead letters",
		Long: `dlq works on the dead letters of a pipeline: the records that a stage refused, with their original bytes and the reason. None
of its commands asks Kafka; loaders may be running.`,
		Example: `  lakeloader dlq list -c lakeloader.yaml
  lakeloader dlq show -c lakeloader.yaml orders-3-1234
  lakeloader dlq replay -c lakeloader.yaml --stage cleanse --dry-run
  lakeloader dlq purge -c lakeloader.yaml --until 2026-01-01 --yes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newDLQList(), newDLQShow(), newDLQReplay(), newDLQPurge())
	return c
}

// letterFlags choose dead letters.
type letterFlags struct {
	// joins: letters go through the pipeline, so its lookups are needed.
	joins bool

	config, out, pipeline, stage, step, reason, topic, since, until *string
	partition                                                       *int32
}

func newLetterFlags(c *cobra.Command) *letterFlags {
	f := c.Flags()
	return &letterFlags{config: configFlag(c), out: outputFlag(c, "text", "json"),
		pipeline:  f.String("pipeline", "", "the pipeline; may be left out if there is only one"),
		stage:     f.String("stage", "", "only those that this stage refused: decode, resolve, evolve, changes, cleanse, enrich, partition or encode"),
		step:      f.String("step", "", "only those that this step refused"),
		reason:    f.String("error", "", "only those whose reason contains this text"),
		topic:     f.String("topic", "", "this topic only"),
		partition: f.Int32("partition", -1, "this partition only"),
		since:     f.String("since", "", "only those that failed at or after this day, time, or duration ago (2026-11-20, 2026-11-20T12:00:00Z, 2h)"),
		until:     f.String("until", "", "only those that failed before this day, time, or duration ago")}
}

// replayedFlag adds --replayed.
func replayedFlag(c *cobra.Command) *string {
	return c.Flags().String("replayed", "all", "yes: only those that were replayed; no: only those that were not; all")
}

func (f *letterFlags) filter(replayed string) (pipeline.LetterFilter, error) {
	out := pipeline.AnyLetter()
	out.Stage, out.Step, out.Error, out.Topic, out.Partition = *f.stage, *f.step, *f.reason, *f.topic, *f.partition
	var err error
	if out.Since, err = parseMoment("since", *f.since); err != nil {
		return out, err
	}
	if out.Until, err = parseMoment("until", *f.until); err != nil {
		return out, err
	}
	yes := replayed == "yes"
	switch replayed {
	case "yes", "no":
		out.Replayed = &yes
	case "all":
	default:
		return out, fail(exitUsage, fmt.Errorf("--replayed %q is none of yes, no and all", replayed))
	}
	return out, checkOutput(*f.out, "text", "json")
}

// parseMoment reads a day, a time, or how long ago; empty: the zero time.
func parseMoment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if d, err := configs.ParseDuration(text); err == nil {
		return time.Now().Add(-time.Duration(d)), nil
	}
	return time.Time{}, fail(exitUsage, fmt.Errorf("--%s %q is neither a day (2006-01-02, UTC), a time (2006-01-02T15:04:05Z) nor a duration (2h, 7d)", flag, text))
}

// parseRecord reads topic-partition-offset into a filter.
func parseRecord(text string, f *pipeline.LetterFilter) error {
	parts := strings.Split(text, "-")
	if n := len(parts); n >= 3 {
		partition, err := strconv.ParseInt(parts[n-2], 10, 32)
		offset, err2 := strconv.ParseInt(parts[n-1], 10, 64)
		if err == nil && err2 == nil && partition >= 0 && offset >= 0 {
			f.Topic, f.Partition, f.Offset = strings.Join(parts[:n-2], "-"), int32(partition), offset
			return nil
		}
	}
	return fail(exitUsage, fmt.Errorf("%q does not name a record: write TOPIC-PARTITION-OFFSET, such as orders-3-1234", text))
}

// run opens the lake, and gives the chosen pipeline what it works with, but for Kafka.
func (f *letterFlags) run(c *cobra.Command, do func(ctx context.Context, p *configs.Pipeline, deps pipeline.Deps) error) error {
	return withPipeline(c, *f.config, *f.pipeline, func(d *daemon, p *configs.Pipeline) (err error) {
		if d.lake, err = openLake(c.Context(), d.cfg); err != nil {
			return err
		}
		if f.joins {
			if err := d.join(c.Context(), []configs.Pipeline{*p}); err != nil {
				return err
			}
		}
		deps, err := d.deps(p)
		if err != nil {
			return err
		}
		err = do(c.Context(), p, deps)
		if errors.Is(err, table.ErrNoTable) {
			err = fmt.Errorf("%w: nothing was loaded yet, or catalog and table names are not those that the daemon has", err)
		}
		return inPipeline(p, err)
	})
}

func newDLQList() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "Count dead letters by stage, step and reason",
		Long: `list counts the dead letters by stage, step and reason, the most frequent first, with the times of the first and the last
failure and one record of each group, for dlq show.`,
		Example: `  lakeloader dlq list -c lakeloader.yaml --since 24h
  lakeloader dlq list -c lakeloader.yaml --replayed no --stage cleanse -o json`,
		Args: cobra.NoArgs,
	}
	f := newLetterFlags(c)
	replayed := replayedFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		filter, err := f.filter(*replayed)
		if err != nil {
			return err
		}
		return f.run(c, func(ctx context.Context, _ *configs.Pipeline, deps pipeline.Deps) error {
			list, err := pipeline.ListLetters(ctx, deps, filter)
			if err != nil {
				return err
			}
			if *f.out == "json" {
				return writeJSON(c.OutOrStdout(), list)
			}
			return printGroups(c.OutOrStdout(), list)
		})
	}
	return c
}

func newDLQShow() *cobra.Command {
	c := &cobra.Command{
		Use:   "show [TOPIC-PARTITION-OFFSET]",
		Short: "Show dead letters whole",
		Long: `show prints one record, or the first ones that the flags choose: where it came from, why it was refused and by which version
of the configuration, its key, value and headers as text where they are text, and in hexadecimal digits.`,
		Example: `  lakeloader dlq show -c lakeloader.yaml orders-3-1234
  lakeloader dlq show -c lakeloader.yaml --stage decode -n 3`,
		Args: cobra.MaximumNArgs(1),
	}
	f := newLetterFlags(c)
	replayed := replayedFlag(c)
	n := c.Flags().IntP("count", "n", 10, "how many are shown at most")
	c.RunE = func(c *cobra.Command, args []string) error {
		filter, err := f.filter(*replayed)
		if err == nil && len(args) > 0 {
			err = parseRecord(args[0], &filter)
		}
		if err == nil && *n < 1 {
			err = fail(exitUsage, fmt.Errorf("-n %d: at least one must be shown", *n))
		}
		if err != nil {
			return err
		}
		return f.run(c, func(ctx context.Context, _ *configs.Pipeline, deps pipeline.Deps) error {
			list, err := pipeline.ShowLetters(ctx, deps, filter, *n)
			switch {
			case err != nil:
				return err
			case len(list) == 0 && len(args) > 0:
				return fmt.Errorf("%s is no dead letter", args[0])
			case *f.out == "json":
				return writeJSON(c.OutOrStdout(), list)
			}
			return printLetters(c.OutOrStdout(), list)
		})
	}
	return c
}

func newDLQReplay() *cobra.Command {
	c := &cobra.Command{
		Use:   "replay [TOPIC-PARTITION-OFFSET]",
		Short: "Send dead letters through today's pipeline, exactly once",
		Long: `replay takes the dead letters that were not replayed yet, from their table, and sends them through the pipeline as the
configuration is now: decode, cleanse, partition, write. Those that pass become rows (or are filtered) and are marked in the
dead-letter table, in one round; those that are refused again stay as they are, and the new reasons are printed. Loaders may
be running. Repeating it, or breaking it off, loses and duplicates nothing.`,
		Example: `  lakeloader dlq replay -c lakeloader.yaml --dry-run
  lakeloader dlq replay -c lakeloader.yaml --stage cleanse --step "cleanse[2] validate" --since 2026-11-20`,
		Args: cobra.MaximumNArgs(1),
	}
	f := newLetterFlags(c)
	f.joins = true
	dry := c.Flags().Bool("dry-run", false, "only show what would become of them; nothing is written")
	c.RunE = func(c *cobra.Command, args []string) error {
		filter, err := f.filter("no")
		if err == nil && len(args) > 0 {
			err = parseRecord(args[0], &filter)
		}
		if err != nil {
			return err
		}
		return f.run(c, func(ctx context.Context, p *configs.Pipeline, deps pipeline.Deps) error {
			rep, err := pipeline.Replay(ctx, p, deps, pipeline.ReplayOptions{Filter: filter, DryRun: *dry})
			if rep == nil {
				return err
			}
			if *f.out == "json" {
				return errors.Join(writeJSON(c.OutOrStdout(), rep), err)
			}
			return errors.Join(printReplay(c.OutOrStdout(), rep, *dry), err)
		})
	}
	return c
}

func newDLQPurge() *cobra.Command {
	c := &cobra.Command{
		Use:   "purge",
		Short: "Remove dead letters from their table",
		Long: `purge removes dead letters that were replayed, or with --all those too that were not, which then are lost. Without --yes it
only says how many. verify goes on to account for their offsets.`,
		Example: `  lakeloader dlq purge -c lakeloader.yaml --until 30d --yes
  lakeloader dlq purge -c lakeloader.yaml --all --stage decode --yes`,
		Args: cobra.NoArgs,
	}
	f := newLetterFlags(c)
	all := c.Flags().Bool("all", false, "also those that were never replayed")
	yes := c.Flags().Bool("yes", false, "do it; without it only what would be removed is shown")
	c.RunE = func(c *cobra.Command, _ []string) error {
		which := "yes"
		if *all {
			which = "all"
		}
		filter, err := f.filter(which)
		if err != nil {
			return err
		}
		return f.run(c, func(ctx context.Context, p *configs.Pipeline, deps pipeline.Deps) error {
			rep, err := pipeline.Purge(ctx, p, deps, pipeline.PurgeOptions{Filter: filter, DryRun: !*yes})
			if rep == nil {
				return err
			}
			if *f.out == "json" {
				return errors.Join(writeJSON(c.OutOrStdout(), rep), err)
			}
			return errors.Join(printPurge(c.OutOrStdout(), rep), err)
		})
	}
	return c
}
