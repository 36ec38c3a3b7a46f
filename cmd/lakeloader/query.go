package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/query"
)

func newQuery() *cobra.Command {
	c := &cobra.Command{
		Use:   "query 'SQL'",
		Short: "Query the tables with the embedded DuckDB",
		Long: `query answers one SQL statement (DuckDB's dialect) over the tables of the catalog: name them as they are, or with
their namespace. It reads exactly the files of the current snapshot, or of the one given.`,
		Example: `  lakeloader query -c lakeloader.yaml "SELECT country, count(*) FROM clicks GROUP BY 1 ORDER BY 2 DESC"
  lakeloader query "SELECT stage, error, count(*) FROM clicks_dead_letters GROUP BY ALL" -o json`,
		Args: cobra.ExactArgs(1),
	}
	path := configFlag(c)
	out := outputFlag(c, "table", "json", "csv")
	snapshot := c.Flags().Int64("snapshot", 0, "snapshot to read; 0: the current one")
	fetch := c.Flags().Int64("max-fetch", 2048, "MiB to fetch from an object store at most")
	memory := c.Flags().Int64("memory", 1024, "MiB of memory for DuckDB")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkOutput(*out, "table", "json", "csv"); err != nil {
			return err
		}
		return withLake(c.Context(), *path, func(cfg *configs.Config, l *lake) error {
			res, err := query.Run(c.Context(), args[0], query.Options{Catalog: l.catalog, Objects: l.objects, Namespace: cfg.Catalog.Namespace,
				Snapshot: *snapshot, MaxFetch: *fetch << 20, Memory: *memory << 20})
			if err != nil {
				return fail(exitFailed, fmt.Errorf("query: %w%s", err, notInLake(cfg, args[0])))
			}
			w := c.OutOrStdout()
			switch *out {
			case "json":
				return fail(exitFailed, res.WriteJSON(w))
			case "csv":
				return fail(exitFailed, res.WriteCSV(w))
			}
			return fail(exitFailed, res.WriteTable(w))
		})
	}
	return c
}
