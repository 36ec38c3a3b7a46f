package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/obs"
)

type demoFlags struct {
	records int64
	rate    int
	length  time.Duration
	dir     string
	seed    uint64
	verbose bool
}

func newDemo() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo NAME",
		Short: "Run a published system with nothing installed",
		Long: `demo starts an embedded Kafka and schema registry, a generator, and the loader with a lake in a local folder, and
shows the progress. It runs until Ctrl-C, or until --records are loaded or --for has passed.

  clicks         an ad-click stream (JSON): cleansed, addresses hashed, partitioned by day
  ratings        ratings of flights (Avro with the registry): test channels filtered
  visitor-spend  purchases (JSON): exact money

The folder keeps the lake and a lakeloader.yaml, with which query and verify work afterwards.`,
		Example: `  lakeloader demo clicks --records 1000000 --dir ./demo
  lakeloader verify -c ./demo/lakeloader.yaml
  lakeloader query -c ./demo/lakeloader.yaml "SELECT country, count(*) FROM clicks GROUP BY 1 ORDER BY 2 DESC"`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: demo.Names(),
	}
	var f demoFlags
	c.Flags().Int64Var(&f.records, "records", 0, "load exactly this many records, then exit; 0: no end")
	c.Flags().IntVar(&f.rate, "rate", -1, "records a second; 0: as fast as possible (default: 50000 without --records, else 0)")
	c.Flags().DurationVar(&f.length, "for", 0, "how long to run; 0: no end")
	c.Flags().StringVar(&f.dir, "dir", "", "folder for the lake and the configuration (default ./lakeloader-demo-NAME)")
	c.Flags().Uint64Var(&f.seed, "seed", 1, "seed of the generator")
	c.Flags().BoolVar(&f.verbose, "verbose", false, "show the loader's log instead of the progress")
	c.RunE = func(c *cobra.Command, args []string) error {
		if f.records < 0 || f.length < 0 {
			return fail(exitUsage, errors.New("--records and --for cannot be negative"))
		}
		return runDemo(c.OutOrStdout(), args[0], f)
	}
	return c
}

func runDemo(w io.Writer, name string, f demoFlags) (err error) {
	if f.dir == "" {
		f.dir = "lakeloader-demo-" + name
	}
	if f.rate < 0 {
		f.rate = 0
		if f.records == 0 {
			f.rate = 50000
		}
	}
	d, err := demo.Start(name, f.seed, time.Now().Truncate(time.Millisecond))
	if err != nil {
		return fail(exitUsage, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := freshFolder(f.dir); err != nil {
		return fail(exitUsage, err)
	}
	path, err := d.WriteConfig(f.dir)
	if err != nil {
		return fail(exitFailed, err)
	}
	cfg, _, err := load(path)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if f.verbose {
		log = obs.NewLogger(cfg.Log, os.Stderr, configs.NewRedactor(cfg))
	}
	stop, hard, release := signals(time.Duration(cfg.Shutdown))
	defer release()
	r := &demoRun{w: w, d: d, f: f, cfg: cfg, path: path}
	return r.run(hard, stop, log)
}

// freshFolder makes the folder; one that holds an earlier lake is refused, since the embedded Kafka begins anew.
func freshFolder(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "lake")); err == nil {
		return fmt.Errorf("%s holds an earlier demo's lake: remove it or choose another --dir", dir)
	}
	return os.MkdirAll(dir, 0o755)
}

// demoRun is a running demo.
type demoRun struct {
	w    io.Writer
	d    *demo.Demo
	f    demoFlags
	cfg  *configs.Config
	path string
}

func (r *demoRun) run(hard context.Context, stop chan struct{}, log *slog.Logger) error {
	ended := make(chan struct{}) // tells the loader to stop
	dm, err := startDaemon(hard, ended, r.cfg, log)
	if err != nil {
		return err
	}
	began := time.Now()
	fmt.Fprintf(r.w, "%s: embedded Kafka at %s, lake in %s, status at http://%s/api/status\n", r.cfg.Pipelines[0].Name, r.d.Brokers(), r.f.dir, dm.server.Addr())
	ctx, cancel := context.WithCancel(hard)
	defer cancel()
	if r.f.length > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.f.length)
		defer cancel()
	}
	produced := make(chan int64, 1)
	var produceErr error
	go func() {
		n, err := r.d.Produce(ctx, r.f.records, r.f.rate)
		produceErr = err
		produced <- n
	}()
	total := r.watch(ctx, cancel, stop, dm, produced)
	close(ended)
	err = errors.Join(dm.wait(hard, ended), produceErr)
	all := dm.state.Status().Pipelines
	if err = errors.Join(err, dm.close()); err != nil {
		return err
	}
	r.summary(all, total, time.Since(began))
	for _, st := range all {
		if accounted := st.Rows + st.Filtered + st.DeadLetters; accounted != total {
			err = errors.Join(err, fail(exitFailed, fmt.Errorf("pipeline %s: %d records were produced and %d are accounted for", st.Name, total, accounted)))
		}
	}
	return err
}

// watch shows the progress until everything that was produced is in the lake, or stop. It returns the number produced.
func (r *demoRun) watch(ctx context.Context, cancel func(), stop <-chan struct{}, dm *daemon, produced <-chan int64) int64 {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	total := int64(-1)
	for {
		select {
		case total = <-produced:
		case <-stop:
			cancel()
			stop = nil
		case <-dm.done: // the loader has given up; its error is reported by wait
			cancel()
			if total < 0 {
				total = <-produced
			}
			return total
		case <-tick.C:
			r.progress(dm)
		}
		if total >= 0 && readAll(dm, total) {
			r.progress(dm)
			return total
		}
	}
}

// readAll: every pipeline has read the records that were produced.
func readAll(dm *daemon, total int64) bool {
	return !slices.ContainsFunc(dm.state.Status().Pipelines, func(st obs.PipelineStatus) bool { return st.Records < total })
}

func (r *demoRun) progress(dm *daemon) {
	all := dm.state.Status().Pipelines
	for _, st := range all {
		if r.f.verbose {
			break
		}
		fmt.Fprintln(r.w, r.line(st, len(all) > 1))
		if st.LastError != nil && st.Phase == obs.Failing {
			fmt.Fprintln(r.w, "  ", st.LastError.Message)
		}
	}
	if below := committedByAll(all); len(below) > 0 && r.f.records == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := r.d.Trim(ctx, below); err != nil {
			fmt.Fprintln(r.w, "trimming the embedded Kafka:", err)
		}
	}
}

func (r *demoRun) line(st obs.PipelineStatus, named bool) string {
	name, where := "", "in the lake"
	if named {
		name = fmt.Sprintf("%-13s ", st.Name)
	}
	if r.database(st.Name) {
		where = "in the table"
	}
	return fmt.Sprintf("%s%-8s read %11d  %s %11d  filtered %9d  dead letters %6d  %9.0f records/s  unpublished %9d",
		name, st.Phase, st.Records, where, st.Rows, st.Filtered, st.DeadLetters, st.RecordsPerSecond, st.UnpublishedRows)
}

// database: the pipeline writes to a database.
func (r *demoRun) database(name string) bool {
	return slices.ContainsFunc(r.cfg.Pipelines, func(p configs.Pipeline) bool { return p.Name == name && p.SQL != nil })
}

// committedByAll says up to where every pipeline has committed each partition.
func committedByAll(all []obs.PipelineStatus) map[int32]int64 {
	below, seen := map[int32]int64{}, map[int32]int{}
	for _, st := range all {
		for _, p := range st.Partitions {
			if before, ok := below[p.Partition]; p.Committed > 0 && (!ok || p.Committed < before) {
				below[p.Partition] = p.Committed
			}
			if p.Committed > 0 {
				seen[p.Partition]++
			}
		}
	}
	for p, n := range seen {
		if n < len(all) {
			delete(below, p)
		}
	}
	return below
}

func (r *demoRun) summary(all []obs.PipelineStatus, total int64, took time.Duration) {
	table, st := r.cfg.Pipelines[0].Table.Name, all[0]
	fmt.Fprintf(r.w, `
%d records were produced and loaded in %.1f s: %d rows, %d filtered, %d dead letters, %s, %.1f MB in %s

What to look at next:
  lakeloader verify -c %[9]s
  lakeloader query -c %[9]s "SELECT * FROM %[10]s LIMIT 5"
  lakeloader query -c %[9]s "SELECT _kafka_partition, count(*), min(_kafka_offset), max(_kafka_offset) FROM %[10]s GROUP BY 1 ORDER BY 1"
  find %[11]s -name '*.parquet'
`, total, took.Seconds(), st.Rows, st.Filtered, st.DeadLetters, count(st.Rounds, "round"), float64(st.WrittenBytes)/1e6, count(st.Files, "file"), r.path, table, filepath.Join(r.f.dir, "lake"))
	for _, st := range all[1:] {
		fmt.Fprintf(r.w, "\npipeline %s: %d rows, %d filtered, %d dead letters, %s, in %s\n", st.Name, st.Rows, st.Filtered, st.DeadLetters, count(st.Rounds, "round"), st.Table)
	}
}
