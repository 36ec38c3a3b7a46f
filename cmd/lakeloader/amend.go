package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// amendFlags are those of commands that change what was decided about offsets.
type amendFlags struct {
	config, out, pipeline, topic *string
	partitions                   *[]int32
	yes                          *bool
}

func newAmendFlags(c *cobra.Command) *amendFlags {
	return &amendFlags{config: configFlag(c), out: outputFlag(c, "text", "json"),
		pipeline:   c.Flags().String("pipeline", "", "the pipeline; may be left out if there is only one"),
		topic:      c.Flags().String("topic", "", "this topic only"),
		partitions: c.Flags().Int32Slice("partition", nil, "these partitions only, e.g. 0,3"),
		yes:        c.Flags().Bool("yes", false, "do it; without it only what would be done is shown")}
}

// run connects to everything that the chosen pipeline works with. group names the consumer group of what is read.
func (f *amendFlags) run(c *cobra.Command, group string, do func(ctx context.Context, p *configs.Pipeline, deps pipeline.Deps) error) error {
	if err := checkOutput(*f.out, "text", "json"); err != nil {
		return err
	}
	return withPipeline(c, *f.config, *f.pipeline, func(d *daemon, p *configs.Pipeline) error {
		if err := d.connect(c.Context(), nil); err != nil {
			return err
		}
		if err := d.join(c.Context(), []configs.Pipeline{*p}); err != nil {
			return err
		}
		deps, err := d.deps(p)
		if err != nil {
			return err
		}
		own := p.Source
		own.Group = "lakeloader-" + group + "-" + uuid.NewString()
		deps.NewConsumer = func(h source.Handler) (pipeline.Consumer, error) {
			return source.New(source.Options{Kafka: d.cfg.Kafka, Source: own, Pipeline: p.Name, Memory: d.memory.Limits().Fetch, Log: d.log}, h)
		}
		return inPipeline(p, do(c.Context(), p, deps))
	})
}

// withPipeline gives a command that works on one pipeline, beside its loaders, what it needs to connect. Warnings go to
// standard error.
func withPipeline(c *cobra.Command, config, name string, do func(d *daemon, p *configs.Pipeline) error) (err error) {
	cfg, err := loadChecked(config)
	if err != nil {
		return err
	}
	p, err := onePipeline(cfg, name)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	d := &daemon{cfg: cfg, log: log, state: obs.NewState(version, time.Now)}
	defer func() { err = errors.Join(err, d.close()) }()
	if d.memory, err = limitMemory(cfg); err != nil {
		return err
	}
	return do(d, p)
}

// inPipeline says which pipeline a command failed for.
func inPipeline(p *configs.Pipeline, err error) error {
	if err == nil {
		return nil
	}
	return fail(exitFailed, fmt.Errorf("pipeline %s: %w", p.Name, err))
}

// onePipeline finds a pipeline by name; without a name there must be only one.
func onePipeline(cfg *configs.Config, name string) (*configs.Pipeline, error) {
	var names []string
	for i := range cfg.Pipelines {
		if p := &cfg.Pipelines[i]; p.Name == name || name == "" && len(cfg.Pipelines) == 1 {
			return p, inLake(p)
		}
		names = append(names, cfg.Pipelines[i].Name)
	}
	if name == "" {
		return nil, fail(exitUsage, fmt.Errorf("the configuration has several pipelines: choose one of %v with --pipeline", names))
	}
	return nil, fail(exitUsage, fmt.Errorf("the configuration has no pipeline %q: choose one of %v", name, names))
}

// parsePosition reads earliest, latest, an offset, or a time.
func parsePosition(flag, text string) (pipeline.Position, error) {
	switch text {
	case "earliest":
		return pipeline.Position{Earliest: true}, nil
	case "latest":
		return pipeline.Position{Latest: true}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return pipeline.Position{Offset: n}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return pipeline.Position{Time: t}, nil
		}
	}
	return pipeline.Position{}, fail(exitUsage, fmt.Errorf("--%s %q is neither earliest, latest, an offset, a day (2006-01-02, UTC) nor a time (2006-01-02T15:04:05Z)", flag, text))
}

func newRewind() *cobra.Command {
	c := &cobra.Command{
		Use:   "rewind",
		Short: "Move a pipeline's offsets on purpose",
		Long: `rewind moves the offsets of a pipeline to an offset, a time, or the earliest that Kafka has, so that its loaders read from
there again. It shows first what would be read again, and how many rows the table has of it. Those are removed in the same
swap (--rows remove, the default), or kept, so that they will be there twice, with different _kafka_epoch (--rows keep).
Loaders may be running: they notice within a commit interval, at most a minute, drop what they have read, and go on from there.
Moving ahead skips records for ever and needs --skip.`,
		Example: `  lakeloader rewind -c lakeloader.yaml --to 2026-11-20T00:00:00Z
  lakeloader rewind -c lakeloader.yaml --topic clicks --partition 3 --to 120000 --yes`,
		Args: cobra.NoArgs,
	}
	f := newAmendFlags(c)
	to := c.Flags().String("to", "", "earliest, latest, an offset, a day or a time")
	rows := c.Flags().String("rows", "remove", "what happens to rows that are read again: remove or keep")
	skip := c.Flags().Bool("skip", false, "allow moving ahead of what was loaded")
	_ = c.MarkFlagRequired("to") // fails for unknown flags only
	c.RunE = func(c *cobra.Command, _ []string) error {
		at, err := parsePosition("to", *to)
		if err != nil {
			return err
		}
		if *rows != "remove" && *rows != "keep" {
			return fail(exitUsage, fmt.Errorf("--rows %q is neither remove nor keep", *rows))
		}
		return f.run(c, "rewind", func(ctx context.Context, p *configs.Pipeline, deps pipeline.Deps) error {
			rep, err := pipeline.Rewind(ctx, p, deps, pipeline.RewindOptions{Topic: *f.topic, Partitions: *f.partitions, To: at, Keep: *rows == "keep", Skip: *skip, DryRun: !*f.yes})
			if rep == nil {
				return err
			}
			if *f.out == "json" {
				return errors.Join(writeJSON(c.OutOrStdout(), rep), err)
			}
			return errors.Join(printRewind(c.OutOrStdout(), rep), err)
		})
	}
	return c
}

func printRewind(w io.Writer, r *pipeline.RewindReport) error {
	fmt.Fprintf(w, "pipeline %s, table %s\n\n", r.Pipeline, r.Table)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "topic\tpartition\tepoch\tfrom\tto\tread again\tskipped\trows\tdead letters\t")
	var sum pipeline.RewindPartition
	for _, p := range r.Partitions {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", p.Topic, p.Partition, p.Epoch, p.From, p.To, p.Reread, p.Skipped, p.Rows, p.DeadLetters)
		sum.Reread, sum.Skipped, sum.Rows, sum.DeadLetters = sum.Reread+p.Reread, sum.Skipped+p.Skipped, sum.Rows+p.Rows, sum.DeadLetters+p.DeadLetters
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	rows := "are removed"
	if r.Keep {
		rows = "stay, and will be there twice"
	}
	fmt.Fprintf(w, "\n%d offsets are read again, %d are skipped; %d rows and %d dead letters %s.\n", sum.Reread, sum.Skipped, sum.Rows, sum.DeadLetters, rows)
	return conclude(w, r.Done, r.Round, len(r.Partitions))
}

// conclude says whether anything was changed.
func conclude(w io.Writer, done bool, round int64, partitions int) (err error) {
	switch {
	case done:
		_, err = fmt.Fprintf(w, "Done, in round %d.\n", round)
	case partitions == 0:
		_, err = fmt.Fprintln(w, "There is nothing to do.")
	default:
		_, err = fmt.Fprintln(w, "Nothing was changed: add --yes to do it.")
	}
	return err
}

func newBackfill() *cobra.Command {
	c := &cobra.Command{
		Use:   "backfill",
		Short: "Load a range of offsets once more and replace what the table has of it",
		Long: `backfill reads a range of offsets or of time again, sends it through the pipeline as it is configured now, and replaces what
the table and its dead letters have of the range, in one swap. Loaders go on meanwhile, beside it. The range ends at what they
have committed; it may begin before the offset that the pipeline began with. It repairs a table that lost files, too.`,
		Example: `  lakeloader backfill -c lakeloader.yaml --from 2026-11-19 --to 2026-11-20
  lakeloader backfill -c lakeloader.yaml --topic clicks --partition 3 --from 120000 --to 130000 --yes`,
		Args: cobra.NoArgs,
	}
	f := newAmendFlags(c)
	from := c.Flags().String("from", "", "earliest, an offset, a day or a time")
	to := c.Flags().String("to", "latest", "an offset, a day or a time, not included; latest: all that was loaded")
	_ = c.MarkFlagRequired("from") // fails for unknown flags only
	c.RunE = func(c *cobra.Command, _ []string) error {
		first, err := parsePosition("from", *from)
		if err != nil {
			return err
		}
		next, err := parsePosition("to", *to)
		if err != nil {
			return err
		}
		return f.run(c, "backfill", func(ctx context.Context, p *configs.Pipeline, deps pipeline.Deps) error {
			rep, err := pipeline.Backfill(ctx, p, deps, pipeline.BackfillOptions{Topic: *f.topic, Partitions: *f.partitions, From: first, To: next, DryRun: !*f.yes})
			if rep == nil {
				return err
			}
			if *f.out == "json" {
				return errors.Join(writeJSON(c.OutOrStdout(), rep), err)
			}
			return errors.Join(printBackfill(c.OutOrStdout(), rep), err)
		})
	}
	return c
}

func printBackfill(w io.Writer, r *pipeline.BackfillReport) error {
	fmt.Fprintf(w, "pipeline %s, table %s\n\n", r.Pipeline, r.Table)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "topic\tpartition\tepoch\tfrom\tto\t\trows\tfiltered\tdead letters\tgaps\t")
	line := func(p pipeline.BackfillPartition, what string, n table.Counts) {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t\n", p.Topic, p.Partition, p.Epoch, p.From, p.To, what, n.Rows, n.Filtered, n.Dead, n.Gaps)
	}
	for _, p := range r.Partitions {
		line(p, "was", p.Was)
		if p.Is != nil {
			line(p, "is", *p.Is)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return conclude(w, r.Done, r.Round, len(r.Partitions))
}
