package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
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
	servers bool
	// database is the URL of the one whose changes a connector tells; empty: none.
	database string
	// experiment of the system; empty: none.
	experiment string
}

func newDemo() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo NAME",
		Short: "Run a published system with nothing installed",
		Long: `demo starts an embedded Kafka and schema registry, a generator, and the loader with a lake in a local folder, and
shows the progress. It runs until Ctrl-C, or until --records are loaded or --for has passed.

  clicks         an ad-click stream (JSON): cleansed, addresses hashed, partitioned by day
  ratings        ratings of flights (Avro with the registry) joined with customers (Debezium), alerts
  visitor-spend  purchases (JSON): exact money, totals of three months
  retail         a shop: orders as a database changes them (Debezium), payments, clicks, daily figures

The folder keeps the lake and a lakeloader.yaml, with which query and verify work afterwards.`,
		Example: `  lakeloader demo clicks --records 1000000 --dir ./demo
  lakeloader verify -c ./demo/lakeloader.yaml
  lakeloader query -c ./demo/lakeloader.yaml "SELECT country, count(*) FROM clicks GROUP BY 1 ORDER BY 2 DESC"`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: demo.Names(),
	}
	var f demoFlags
	c.Flags().Int64Var(&f.records, "records", 0, "load exactly this many records of the main topic, then exit; 0: no end")
	c.Flags().IntVar(&f.rate, "rate", -1, "records a second; 0: as fast as possible (default: 0 with --records, else 50000, for clicks 10000)")
	c.Flags().DurationVar(&f.length, "for", 0, "how long to run; 0: no end")
	c.Flags().StringVar(&f.dir, "dir", "", "folder for the lake and the configuration (default ./lakeloader-demo-NAME)")
	c.Flags().Uint64Var(&f.seed, "seed", 1, "seed of the generator")
	c.Flags().BoolVar(&f.verbose, "verbose", false, "show the loader's log instead of the progress")
	c.Flags().BoolVar(&f.servers, "servers", false, "use the servers that the environment names, as the system's configuration does: LAKELOADER_BROKERS, LAKELOADER_REGISTRY, LAKELOADER_WAREHOUSE, ...")
	c.Flags().StringVar(&f.database, "database", "", "of ratings (mysql://...) and retail (postgres://...), with --servers: make the table there and write its changes to it; a connector such as Debezium brings them to the topic")
	c.Flags().StringVar(&f.experiment, "experiment", "", "of clicks: run "+experimentNames()+", check what it claims, and exit")
	c.RunE = func(c *cobra.Command, args []string) error {
		if f.experiment != "" {
			return runExperiment(c.OutOrStdout(), args[0], f)
		}
		if f.records < 0 || f.length < 0 {
			return fail(exitUsage, errors.New("--records and --for cannot be negative"))
		}
		if f.database != "" && !f.servers {
			return fail(exitUsage, errors.New("--database needs --servers: a connector cannot write to the embedded Kafka"))
		}
		return runDemo(c.OutOrStdout(), args[0], f)
	}
	return c
}

func runDemo(w io.Writer, name string, f demoFlags) (err error) {
	if f.rate < 0 {
		f.rate = 0
		if f.records == 0 {
			f.rate = demoRate(name)
		}
	}
	d, cfg, path, err := prepareDemo(name, &f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	log := slog.New(slog.DiscardHandler)
	if f.verbose {
		log = obs.NewLogger(cfg.Log, os.Stderr, configs.NewRedactor(cfg))
	}
	stop, hard, release := signals(time.Duration(cfg.Shutdown))
	defer release()
	r := &demoRun{w: w, d: d, name: name, f: f, cfg: cfg, path: path}
	if err := r.prepare(hard, stop); err != nil {
		return fail(exitFailed, err)
	}
	return r.run(hard, stop, log)
}

// prepare brings the first rows of the database to their topic.
func (r *demoRun) prepare(hard context.Context, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(hard)
	defer cancel()
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return r.d.Prepare(ctx, func(text string) { fmt.Fprintln(r.w, text) })
}

// demoRate is what a Kafka, a generator and the loaders of a system keep up with on two cores, records a second.
func demoRate(name string) int {
	if name == "clicks" { // one of its two groups writes to SQLite
		return 10_000
	}
	return 50_000
}

// prepareDemo starts the servers and writes the configuration. Whoever gets no error must close the demo.
func prepareDemo(name string, f *demoFlags) (d *demo.Demo, cfg *configs.Config, path string, err error) {
	if f.dir == "" {
		f.dir = "lakeloader-demo-" + name
	}
	o := demo.Options{Seed: f.seed, At: time.Now().Truncate(time.Millisecond), Database: f.database}
	if f.servers {
		o.Env = os.Getenv
	}
	started, err := demo.Start(name, o)
	if err != nil {
		return nil, nil, "", fail(exitUsage, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, started.Close())
		}
	}()
	if err = freshFolder(f.dir); err != nil {
		return nil, nil, "", fail(exitUsage, err)
	}
	if path, err = started.WriteConfig(f.dir); err != nil {
		return nil, nil, "", fail(exitFailed, err)
	}
	cfg, _, err = load(path)
	return started, cfg, path, err
}

// freshFolder makes the folder; one that holds an earlier lake is refused, since the embedded Kafka begins anew.
func freshFolder(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "lake")); err == nil {
		return fmt.Errorf("%s holds an earlier demo's lake: remove it or choose another --dir", dir)
	}
	return os.MkdirAll(dir, 0o755)
}

// demoDrain is how long routes may take at the end: what arrived is counted then, and servers take their time.
const demoDrain = 5 * time.Minute

// demoRun is a running demo.
type demoRun struct {
	w    io.Writer
	d    *demo.Demo
	name string
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
	dm.drainFor = demoDrain
	began := time.Now()
	fmt.Fprintf(r.w, "%s: embedded Kafka at %s, lake in %s, status at http://%s/api/status\n", r.name, r.d.Brokers(), r.f.dir, dm.server.Addr())
	ctx, cancel := context.WithCancel(hard)
	defer cancel()
	if r.f.length > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.f.length)
		defer cancel()
	}
	produced := make(chan map[string]int64, 1)
	var produceErr error
	go func() {
		n, err := r.d.Produce(ctx, r.f.records, r.f.rate)
		produceErr = err
		produced <- n
	}()
	sent := r.watch(ctx, cancel, stop, dm, produced)
	close(ended)
	err = errors.Join(dm.wait(hard, ended), produceErr)
	st := dm.state.Status().Pipelines
	if err == nil {
		err = r.present(hard, dm, log)
	}
	if err = errors.Join(err, dm.close()); err != nil {
		return err
	}
	r.summary(st, sent, time.Since(began))
	for _, p := range st {
		if accounted, total := p.Rows+p.Filtered+p.DeadLetters, r.total(p.Name, sent); accounted != total {
			return fail(exitFailed, fmt.Errorf("pipeline %s: %d records were produced and %d are accounted for", p.Name, total, accounted))
		}
	}
	return err
}

// present brings tables with the present rows up to date: the job does it every ten seconds, and the demo may have been shorter.
func (r *demoRun) present(ctx context.Context, dm *daemon, log *slog.Logger) error {
	tasks, err := newUpkeep(r.cfg, dm.lake, log).currents(ctx)
	for _, t := range tasks {
		if err == nil {
			_, err = t.Run(ctx)
		}
	}
	return err
}

// arrived tells what the embedded webhook and search index were sent.
func (r *demoRun) arrived() {
	got := r.d.Received()
	if n := len(got.Messages); n > 0 {
		fmt.Fprintf(r.w, "\nThe webhook got %s, and %s twice; the last one:\n  %s\n", count(n, "message"), repeated(got.Repeated), got.Messages[n-1])
	}
	for _, index := range slices.Sorted(maps.Keys(got.Indexed)) {
		fmt.Fprintf(r.w, "The search index %s has %s.\n", index, count(got.Indexed[index], "document"))
	}
}

// total is how many of the records that were sent a pipeline has to load.
func (r *demoRun) total(pipeline string, sent map[string]int64) (n int64) {
	for i := range r.cfg.Pipelines {
		if p := &r.cfg.Pipelines[i]; p.Name == pipeline {
			for _, t := range p.Source.Topics {
				n += sent[t]
			}
		}
	}
	return n
}

// loaded reports whether every pipeline has read all that was sent.
func (r *demoRun) loaded(dm *daemon, sent map[string]int64) bool {
	for _, p := range dm.state.Status().Pipelines {
		if p.Records < r.total(p.Name, sent) {
			return false
		}
	}
	return true
}

// watch shows the progress until everything that was produced was read, or stop. It returns how many were produced, by topic.
func (r *demoRun) watch(ctx context.Context, cancel func(), stop <-chan struct{}, dm *daemon, produced <-chan map[string]int64) (sent map[string]int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case sent = <-produced:
		case <-stop:
			cancel()
			stop = nil
		case <-dm.done: // the loader has given up; its error is reported by wait
			cancel()
			if sent == nil {
				sent = <-produced
			}
			return sent
		case <-tick.C:
			r.progress(dm)
		}
		if sent != nil && r.loaded(dm, sent) {
			r.progress(dm)
			return sent
		}
	}
}

// database: the pipeline writes to a database.
func (r *demoRun) database(name string) bool {
	return slices.ContainsFunc(r.cfg.Pipelines, func(p configs.Pipeline) bool { return p.Name == name && p.SQL != nil })
}

func (r *demoRun) progress(dm *daemon) {
	pipelines := dm.state.Status().Pipelines
	for _, st := range pipelines {
		if r.f.verbose {
			break
		}
		name, where := "", "in the lake"
		if len(pipelines) > 1 {
			name = fmt.Sprintf("%-14s ", st.Name)
		}
		if r.database(st.Name) {
			where = "in the table"
		}
		line := fmt.Sprintf("%s%-8s read %11d  %s %11d  filtered %9d  dead letters %6d  %9.0f records/s  unpublished %9d",
			name, st.Phase, st.Records, where, st.Rows, st.Filtered, st.DeadLetters, st.RecordsPerSecond, st.UnpublishedRows)
		fmt.Fprintln(r.w, line)
		if st.LastError != nil && st.Phase == obs.Failing {
			fmt.Fprintln(r.w, "  ", st.LastError.Message)
		}
	}
	if r.f.records > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for topic, below := range r.committed(pipelines) {
		if err := r.d.Trim(ctx, topic, below); err != nil {
			fmt.Fprintln(r.w, "trimming the embedded Kafka:", err)
		}
	}
}

// committed is up to where every pipeline that reads a topic has loaded it.
func (r *demoRun) committed(pipelines []obs.PipelineStatus) map[string]map[int32]int64 {
	all := map[string]map[int32]int64{}
	type partition struct {
		topic string
		n     int32
	}
	readers, known := map[string]int{}, map[partition]int{}
	for i := range r.cfg.Pipelines {
		for _, t := range r.cfg.Pipelines[i].Source.Topics {
			readers[t]++
		}
	}
	for _, st := range pipelines {
		for _, p := range st.Partitions {
			below := all[p.Topic]
			if below == nil {
				below = map[int32]int64{}
				all[p.Topic] = below
			}
			if at, ok := below[p.Partition]; !ok || p.Committed < at {
				below[p.Partition] = max(0, p.Committed)
			}
			known[partition{p.Topic, p.Partition}]++
		}
	}
	for topic, below := range all {
		for n := range below {
			if known[partition{topic, n}] < readers[topic] { // a pipeline has not begun with it
				delete(below, n)
			}
		}
	}
	return all
}

func (r *demoRun) summary(pipelines []obs.PipelineStatus, sent map[string]int64, took time.Duration) {
	topics := r.d.Topics()
	fmt.Fprintf(r.w, "\n%d records were produced and loaded in %.1f s", sent[topics[0].Name], took.Seconds())
	for _, t := range topics[1:] {
		fmt.Fprintf(r.w, ", with %d of %s", sent[t.Name], t.Name)
	}
	for _, st := range pipelines {
		name := ": "
		if len(pipelines) > 1 {
			name = "\n  " + st.Name + ", " + st.Table + ": "
		}
		fmt.Fprintf(r.w, "%s%d rows, %d filtered, %d dead letters, %s", name, st.Rows, st.Filtered, st.DeadLetters, count(st.Rounds, "round"))
		if !r.database(st.Name) {
			fmt.Fprintf(r.w, ", %.1f MB in %s", float64(st.WrittenBytes)/1e6, count(st.Files, "file"))
		}
	}
	fmt.Fprintln(r.w)
	r.arrived()
	fmt.Fprintf(r.w, `
What to look at next:
  lakeloader verify -c %[1]s
  lakeloader query -c %[1]s "SELECT * FROM %[2]s LIMIT 5"
  lakeloader query -c %[1]s "SELECT _kafka_partition, count(*), min(_kafka_offset), max(_kafka_offset) FROM %[2]s GROUP BY 1 ORDER BY 1"
`, r.path, r.cfg.Pipelines[0].Table.Name)
	if lake := filepath.Join(r.f.dir, "lake"); !r.f.servers {
		fmt.Fprintf(r.w, "  find %s -name '*.parquet'\n", lake)
	}
}

func repeated(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}
