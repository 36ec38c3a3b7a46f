package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/verify"
)

func newVerify() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove that every offset is accounted for exactly once",
		Long: `verify says, for each topic partition, what range of offsets is committed, and proves that every offset in it is
exactly one of: a row of the table, filtered, a dead letter, or a gap that Kafka itself shows (control records, aborted
transactions, compaction). The rows may be in several tables (table.route). It reads data files and round objects, not counters, and needs no broker.

Exit code 0: all are accounted for. 1: they are not, and the exact ranges are printed.`,
		Example: `  lakeloader verify -c lakeloader.yaml
  lakeloader verify -c lakeloader.yaml --pipeline clicks -o json`,
		Args: cobra.NoArgs,
	}
	path := configFlag(c)
	only := c.Flags().String("pipeline", "", "verify this pipeline only")
	out := outputFlag(c, "text", "json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkOutput(*out, "text", "json"); err != nil {
			return err
		}
		cfg, _, err := load(*path)
		if err != nil {
			return err
		}
		pipelines := chosen(cfg, *only)
		if len(pipelines) == 0 {
			return fail(exitUsage, fmt.Errorf("the configuration has no pipeline %q", *only))
		}
		verified := func(_ *configs.Config, l *lake) error {
			reports, err := verifyAll(c.Context(), cfg, pipelines, l)
			if err != nil {
				return err
			}
			return printReports(c.OutOrStdout(), *out, reports)
		}
		if slices.ContainsFunc(pipelines, func(p configs.Pipeline) bool { return p.SQL == nil }) {
			return inLakeOf(c.Context(), cfg, verified)
		}
		return verified(cfg, nil)
	}
	return c
}

// verifyAll verifies pipelines; l may be nil where all of them write to databases.
func verifyAll(ctx context.Context, cfg *configs.Config, pipelines []configs.Pipeline, l *lake) (reports []*verify.Report, err error) {
	for i := range pipelines {
		p := &pipelines[i]
		r, err := verifyOne(ctx, cfg, p, l)
		if errors.Is(err, table.ErrNoTable) {
			err = fmt.Errorf("%w: nothing was loaded yet, or catalog and table.name (for a database sql.url and sql.table) are not those that the daemon has", err)
		}
		if err != nil {
			return nil, fail(exitFailed, fmt.Errorf("pipeline %s: %w", p.Name, err))
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func verifyInput(cfg *configs.Config, p *configs.Pipeline, l *lake) verify.Input {
	primary, dead := pipeline.Idents(cfg, p)
	return verify.Input{Pipeline: p.Name, Primary: primary, DeadLetters: dead, Catalog: l.catalog, Objects: l.objects, Root: l.root}
}

func printReports(w io.Writer, format string, reports []*verify.Report) error {
	bad := 0
	for _, r := range reports {
		bad += len(r.Problems)
	}
	if format == "json" {
		if err := writeJSON(w, reports); err != nil {
			return err
		}
	} else {
		for _, r := range reports {
			if err := printReport(w, r); err != nil {
				return fail(exitFailed, err)
			}
		}
	}
	if bad > 0 {
		return fail(exitFailed, fmt.Errorf("verify found %s", count(bad, "problem")))
	}
	return nil
}

func printReport(w io.Writer, r *verify.Report) error {
	if r.Snapshot == 0 && r.Files == 0 { // of a database
		fmt.Fprintf(w, "pipeline %s, table %s: %s\n\n", r.Pipeline, r.Table, count(r.Rounds, "round"))
	} else {
		fmt.Fprintf(w, "pipeline %s, table %s, snapshot %d: %s, %s\n\n", r.Pipeline, r.Table, r.Snapshot, count(r.Rounds, "round"), count(r.Files, "file"))
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	var sum table.Counts
	all := int64(0)
	for _, p := range r.Partitions {
		sum = sum.Plus(table.Counts{Rows: p.Rows, Filtered: p.Filtered, Dead: p.Dead, Gaps: p.Gaps, Removed: p.Removed})
		all += p.Next - p.First
	}
	removed := func(n int64) string { // most tables never had any
		if sum.Removed == 0 {
			return ""
		}
		return fmt.Sprintf("%d\t", n)
	}
	fmt.Fprint(tw, "topic\tpartition\tepoch\tfirst\tnext\trows\tfiltered\tdead letters\tgaps\t")
	if sum.Removed > 0 {
		fmt.Fprint(tw, "removed\t")
	}
	fmt.Fprintln(tw)
	for _, p := range r.Partitions {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", p.Topic, p.Partition, p.Epoch, p.First, p.Next, p.Rows, p.Filtered, p.Dead, p.Gaps, removed(p.Removed))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	routed := int64(0)
	for _, t := range r.Routed {
		routed += t.Rows
	}
	for i, t := range r.Routed {
		if i == 0 {
			fmt.Fprintf(w, "rows by table:\n  %10d  %s\n", sum.Rows-routed, r.Table)
		}
		fmt.Fprintf(w, "  %10d  %s\n", t.Rows, t.Table)
	}
	if len(r.Routed) > 0 {
		fmt.Fprintln(w)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, p)
	}
	if r.OK() {
		fmt.Fprintf(w, "OK: all %d offsets are accounted for exactly once: %d rows, %d filtered, %d dead letters, %d gaps", all, sum.Rows, sum.Filtered, sum.Dead, sum.Gaps)
		if sum.Removed > 0 {
			fmt.Fprintf(w, ", %d removed", sum.Removed)
		}
		fmt.Fprintln(w)
	}
	return nil
}
