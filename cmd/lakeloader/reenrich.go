package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
)

func newReenrich() *cobra.Command {
	c := &cobra.Command{
		Use:   "reenrich",
		Short: "Join rows once more that had no match in a lookup",
		Long: `reenrich finds the rows that had no match in a join (enrich, with a column matched), reads their records from Kafka again, sends them
through the pipeline as it is configured now, and replaces these rows in one swap. Rows that had a match stay as they are. Loaders go on
meanwhile. Without --yes it only says how many rows there are.`,
		Example: `  lakeloader reenrich -c lakeloader.yaml
  lakeloader reenrich -c lakeloader.yaml --pipeline ratings --join "enrich[0] customers" --yes`,
		Args: cobra.NoArgs,
	}
	f := &amendFlags{config: configFlag(c), out: outputFlag(c, "text", "json"),
		pipeline: c.Flags().String("pipeline", "", "the pipeline; may be left out if there is only one"),
		yes:      c.Flags().Bool("yes", false, "do it; without it only what would be done is shown")}
	join := c.Flags().String("join", "", "the name of a join; left out: all that have a column matched")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return f.run(c, "reenrich", func(ctx context.Context, p *configs.Pipeline, deps pipeline.Deps) error {
			rep, err := pipeline.Reenrich(ctx, p, deps, pipeline.ReenrichOptions{Join: *join, DryRun: !*f.yes})
			if rep == nil {
				return err
			}
			if *f.out == "json" {
				return errors.Join(writeJSON(c.OutOrStdout(), rep), err)
			}
			w := c.OutOrStdout()
			fmt.Fprintf(w, "pipeline %s, table %s: %s without a match, of which Kafka has %d no longer\n\n", rep.Pipeline, rep.Table, count(rep.Missed, "row"), rep.Gone)
			return errors.Join(conclude(w, rep.Done, rep.Round, len(rep.Partitions)), err)
		})
	}
	return c
}
