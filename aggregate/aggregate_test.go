package aggregate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/jobs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/query"
	"github.com/lakeloader/lakeloader/rewrite"
	"github.com/lakeloader/lakeloader/table"
)

var (
	source = table.Ident{Namespace: "lake", Name: "t"}
	target = table.Ident{Namespace: "lake", Name: "daily"}
)

// world is a lake with a table of sales, and an aggregate over it.
type world struct {
	t   *testing.T
	env *pipelinetest.Env
	cfg *configs.Config
	n   int64
	agg *aggregate.Aggregator
}

const sums = "SELECT country, count(*) AS sales, sum(price) AS total, min(id) AS first_id FROM source WHERE {{day}} GROUP BY country"

// newWorld makes an empty table. partition as in partition_by.
func newWorld(t *testing.T, partition ...string) *world {
	t.Helper()
	w := &world{t: t, env: pipelinetest.New(t)}
	w.cfg = pipelinetest.Pipeline("id long required, ts timestamptz, country string", func(p *configs.Pipeline) {
		p.Table.PartitionBy = partition
		p.Decode.Value.Columns = append(p.Decode.Value.Columns, configs.ColumnDef{Name: "price", Type: "decimal(12,2)"})
	}, "a")
	w.env.Create(t, "a", 1)
	e, err := query.NewEngine(query.EngineOptions{Objects: w.env.Objects, Memory: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	var c configs.Aggregate
	cfg := &configs.Config{Aggregates: []configs.Aggregate{c}}
	configs.ApplyDefaults(cfg)
	w.agg = &aggregate.Aggregator{Name: "daily", Source: source, Target: target, Period: aggregate.Daily(), Time: "ts", Zone: time.UTC, Define: define(e, sums), Catalog: w.env.Catalog, Objects: w.env.Objects,
		Root: w.env.Root, Engine: e, EngineName: "embedded", Files: cfg.Aggregates[0].Files, Now: time.Now, Wait: table.Backoff(10 * time.Millisecond), OrphanAge: 72 * time.Hour, Batch: 100}
	return w
}

func define(e *query.Engine, sql string) func(context.Context, table.Info, aggregate.Clock) (aggregate.Calculation, error) {
	return func(ctx context.Context, info table.Info, clock aggregate.Clock) (aggregate.Calculation, error) {
		return aggregate.NewStatement(ctx, sql, "ts", info.Row, clock, e)
	}
}

// load appends sales, written as "2026-11-01T10:00:00Z DE 1.50", in one commit.
func (w *world) load(sales ...string) {
	w.t.Helper()
	for _, s := range sales {
		f := strings.Fields(s)
		w.n++
		w.env.Produce(w.t, "a", 0, fmt.Sprintf(`{"id":%d,"ts":%q,"country":%q,"price":%q}`, w.n, f[0], f[1], f[2]))
	}
	w.env.Load(w.t, w.cfg, int64(len(sales)))
}

func (w *world) ask(sql string) string {
	w.t.Helper()
	r, err := query.Run(w.t.Context(), sql, query.Options{Catalog: w.env.Catalog, Objects: w.env.Objects, Namespace: "lake", MaxFetch: 1 << 30, Memory: 256 << 20})
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	var b strings.Builder
	if err := r.WriteJSON(&b); err != nil {
		w.t.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), "\n", " ")
}

// right compares the target with what the source has, by day in a zone.
func (w *world) right() {
	w.t.Helper()
	want := w.ask(fmt.Sprintf(`SELECT CAST(timezone('%s', ts) AS DATE) AS day, country, count(*) AS sales, sum(price) AS total, min(id) AS first_id FROM t WHERE ts IS NOT NULL GROUP BY ALL ORDER BY ALL`, w.agg.Zone))
	if got := w.ask("SELECT day, country, sales, total, first_id FROM daily ORDER BY ALL"); got != want {
		w.t.Errorf("the aggregate is\n%s\nthe source has\n%s", got, want)
	}
}

// run runs the aggregate, and says which days it calculated and removed.
func (w *world) run(want string) *aggregate.Report {
	w.t.Helper()
	return w.ran(want, nil)
}

func (w *world) ran(want string, only *aggregate.Range) *aggregate.Report {
	w.t.Helper()
	plan, err := w.agg.Plan(w.t.Context(), only)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.agg.Run(w.t.Context(), only)
	if err != nil {
		w.t.Fatal(err)
	}
	for what, r := range map[string]*aggregate.Report{"plan": plan, "run": r} {
		if got := did(r); got != want {
			w.t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	return r
}

func did(r *aggregate.Report) string {
	var days []string
	for _, d := range r.Changed {
		days = append(days, d.String()[5:])
	}
	for _, d := range r.Removed {
		days = append(days, "-"+d.String()[5:])
	}
	return strings.Join(days, " ")
}

// files are the target's data files by day.
func (w *world) files() map[string][]string {
	w.t.Helper()
	byDay := map[string][]string{}
	for _, f := range w.env.Files(w.t, target) {
		day := filepath.Base(filepath.Dir(f.Path))
		byDay[day] = append(byDay[day], f.Path)
	}
	return byDay
}

// states are the objects that say what was calculated.
func (w *world) states() []aggregate.StateObject {
	w.t.Helper()
	list, err := aggregate.StateObjects(w.t.Context(), w.env.Objects, w.env.Root)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func day(t *testing.T, text string) aggregate.Day {
	t.Helper()
	d, err := aggregate.ParseDay(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// compact merges all files of the source.
func (w *world) compact() {
	w.t.Helper()
	files, deletes, err := w.env.Catalog.Files(w.t.Context(), source, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	byFolder := map[string][]table.File{}
	for _, f := range files {
		byFolder[filepath.Dir(f.Path)] = append(byFolder[filepath.Dir(f.Path)], f)
	}
	for _, some := range byFolder {
		w.merge(some, deletes)
	}
}

// Days are calculated when their rows change, and no others; of late rows too.
func TestChangedDays(t *testing.T) {
	t.Parallel()
	for _, partition := range [][]string{{"day(ts)"}, {}, {"month(ts)", "bucket(4, id)"}, {"day(_kafka_timestamp)"}} {
		t.Run(fmt.Sprint(partition), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, partition...)
			w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T10:00:00Z DE 2.20")
			w.load("2026-11-02T11:00:00Z FR 9999999999.99", "2026-11-02T11:00:00Z FR 9999999999.99", "2026-11-03T23:59:59.999999Z DE 0.01")
			r := w.run("11-01 11-02 11-03")
			w.right()
			if r.Rows != 4 || r.Files == 0 || r.Bytes == 0 || r.Fetched != 0 || r.Snapshot != w.env.Base(t, source).Snapshot {
				t.Errorf("%+v", r)
			}
			before, main := w.files(), w.env.Base(t, target).Snapshot
			w.run("")
			if is := w.env.Base(t, target).Snapshot; is != main {
				t.Errorf("a run without changes made snapshot %d of %d", is, main)
			}

			w.load("2026-11-01T12:00:00Z DE 3.30") // late
			w.run("11-01")
			w.right()
			after := w.files()
			if !slices.Equal(before["day=2026-11-02"], after["day=2026-11-02"]) || slices.Equal(before["day=2026-11-01"], after["day=2026-11-01"]) || len(after["day=2026-11-01"]) != 1 {
				t.Errorf("files were\n%v\nthey are\n%v", before, after)
			}
			if got := w.ask("SELECT count(DISTINCT _source_snapshot) AS n FROM daily"); got != `{"n":2}` {
				t.Errorf("snapshots: %s", got)
			}
			if s := w.states(); len(s) != 1 || s[0].Aggregate != "daily" {
				t.Errorf("states: %v", s)
			}

			main = w.env.Base(t, target).Snapshot
			w.compact()
			w.run("") // no row changed
			w.env.Expire(t, source)
			w.run("") // the state has moved along: it is still known that nothing changed
			if is := w.env.Base(t, target).Snapshot; is != main {
				t.Errorf("after compactions there is a snapshot %d, after %d", is, main)
			}
			w.right()
		})
	}
}

// merge rewrites files of one partition as one, as a compaction does.
func (w *world) merge(files []table.File, deletes []string) {
	w.t.Helper()
	info, err := w.env.Catalog.Info(w.t.Context(), source)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := rewrite.Merge(w.t.Context(), rewrite.MergeInput{Info: info, Store: w.env.Objects, Sources: files})
	if err != nil {
		w.t.Fatal(err)
	}
	base := w.env.Base(w.t, source)
	rw := &jobs.Rewrite{Table: source, UUID: base.UUID, Snapshot: base.Snapshot, Deletes: deletes, Output: m.Files, Summary: map[string]string{table.SummaryJob: table.JobCompact}}
	for _, f := range files {
		rw.Inputs = append(rw.Inputs, f.Path)
	}
	r := &jobs.Rewriter{Tables: w.env.Catalog, Now: time.Now, Wait: table.Backoff(10 * time.Millisecond), OrphanAge: 72 * time.Hour}
	if err := r.Commit(w.t.Context(), rw); err != nil {
		w.t.Fatal(err)
	}
}

// remove takes rows of whole files away, as a retention does.
func (w *world) remove(which func(table.File) bool) {
	w.t.Helper()
	var gone []string
	for _, f := range w.env.Files(w.t, source) {
		if which(f) {
			gone = append(gone, f.Path)
		}
	}
	w.env.Swap(w.t, source, table.Change{Remove: gone, Snapshot: true})
}

// Days whose rows are gone go too, or stay if that is asked for.
func TestVanishedDays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T10:00:00Z DE 2.20", "2026-11-03T10:00:00Z DE 2.20")
	w.run("11-01 11-02 11-03")
	old := func(f table.File) bool { return strings.Contains(f.Path, "2026-11-01") }
	w.remove(old)
	w.agg.KeepVanished = true
	w.run("")
	if got := w.ask("SELECT count(*) AS n FROM daily"); got != `{"n":3}` {
		t.Errorf("rows: %s", got)
	}
	w.agg.KeepVanished = false
	w.run("-11-01")
	w.right()
	w.run("")
	w.remove(func(table.File) bool { return true })
	w.run("-11-02 -11-03")
	w.right()
	w.run("")
	w.load("2026-11-02T10:00:00Z DE 7.00")
	w.run("11-02")
	w.right()
}

// What is found out by metadata alone when the source's snapshots have expired is rather too much than too little.
func TestExpiredSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T10:00:00Z DE 2.20", "2026-11-03T10:00:00Z DE 2.20")
	w.run("11-01 11-02 11-03")
	w.load("2026-11-02T12:00:00Z DE 1.00")
	w.remove(func(f table.File) bool { return strings.Contains(f.Path, "2026-11-01") })
	w.env.Expire(t, source)
	w.run("11-02 -11-01")
	w.right()
	w.load("2026-11-03T12:00:00Z DE 1.00")
	w.compact()
	w.env.Expire(t, source)
	w.run("11-02 11-03") // 11-02 was compacted, which nobody can tell from a change any more
	w.right()
}

// Rows that were deleted by position are not counted, and their day is calculated anew.
func TestDeletedRows(t *testing.T) {
	t.Parallel()
	for _, partition := range [][]string{{"day(ts)"}, {}} {
		w := newWorld(t, partition...)
		w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-01T00:00:01Z DE 2.20", "2026-11-02T10:00:00Z DE 2.20")
		w.run("11-01 11-02")
		for _, f := range w.env.Files(t, source) {
			if len(partition) == 0 || strings.Contains(f.Path, "2026-11-01") {
				w.env.DeletePositions(t, source, f, 0)
			}
		}
		w.run("11-01 11-02") // the delete files say no partition
		w.right()
		w.run("")
	}
}

// A range is calculated whether it changed or not, and what changed elsewhere is for the next run.
func TestRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T10:00:00Z DE 2.20", "2026-11-03T10:00:00Z DE 2.20")
	w.ran("11-02 11-03", &aggregate.Range{From: day(t, "2026-11-02"), To: day(t, "2026-11-20")})
	w.run("11-01")
	w.right()
	w.load("2026-11-03T11:00:00Z FR 1.00", "2026-11-04T11:00:00Z FR 1.00")
	w.ran("11-01", &aggregate.Range{From: day(t, "2026-11-01"), To: day(t, "2026-11-01")})
	w.run("11-03 11-04")
	w.right()
	w.run("")
}

// Another definition calculates all days anew, a few in each swap, and columns come to the table.
func TestDefinition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.agg.Batch = 2
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T10:00:00Z DE 2.20", "2026-11-03T10:00:00Z DE 2.20")
	w.run("11-01 11-02 11-03")
	if n := len(w.env.Base(t, target).Snapshots()); n != 2 {
		t.Errorf("%d snapshots, want 2", n)
	}
	e, ok := w.agg.Engine.(*query.Engine)
	if !ok {
		t.Fatalf("%T", w.agg.Engine)
	}
	w.agg.Define = define(e, strings.Replace(sums, "count(*)", "max(price) AS dearest, count(*)", 1))
	w.run("11-01 11-02 11-03")
	w.right()
	if got := w.ask("SELECT min(dearest) AS d FROM daily"); got != `{"d":"1.10"}` {
		t.Error(got)
	}
	w.agg.Define = define(e, strings.Replace(sums, "count(*)", "upper(country)", 1))
	if _, err := w.agg.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "column sales is long in the table") {
		t.Errorf("%v", err)
	}
	w.agg.Define = define(e, "SELECT count(*) AS day FROM source WHERE {{day}}")
	if _, err := w.agg.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "the name day is taken") {
		t.Errorf("%v", err)
	}
}

// Days are those of the zone, also where one has 23 or 25 hours.
func TestZone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.agg.Zone = zoneOf(t, "Europe/Berlin")
	w.load("2026-03-28T22:59:59.999999Z DE 1", "2026-03-28T23:00:00Z DE 2", "2026-03-29T21:59:59.999999Z DE 4", "2026-03-29T22:00:00Z DE 8",
		"2026-10-24T21:59:59.999999Z DE 1", "2026-10-24T22:00:00Z DE 2", "2026-10-25T22:59:59.999999Z DE 4", "2026-10-25T23:00:00Z DE 8")
	w.run("03-28 03-29 03-30 10-24 10-25 10-26")
	w.right()
	if got := w.ask("SELECT total FROM daily WHERE day IN (DATE '2026-03-29', DATE '2026-10-25')"); got != `{"total":"6.00"} {"total":"6.00"}` {
		t.Error(got)
	}
	w.load("2026-10-25T22:30:00Z DE 16")
	w.run("10-25")
	w.right()
}

func zoneOf(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// One absurd time in a file does not make every day between a day to calculate. The file is asked once.
func TestWideFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.load("2026-11-01T00:00:00Z DE 1.10", "1970-01-01T00:00:00Z DE 2.20", "9998-06-01T10:00:00Z DE 2.20")
	w.agg.Zone = zoneOf(t, "Asia/Kathmandu")
	want := "01-01 11-01 05-31 06-01" // as 10 o'clock in Kathmandu began the day before
	if r, err := w.agg.Run(t.Context(), nil); err != nil || len(r.Changed) > 4 || len(r.Changed) < 3 {
		t.Fatalf("%v, %v, want about %s", r, err, want)
	}
	w.right()
	w.run("")
	w.load("2026-11-02T00:00:00Z DE 1.10")
	w.run("11-02")
	w.right()
}

// A snapshot of the source that a day names gives that day again.
func TestReproduce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T00:00:00Z DE 1.10")
	w.run("11-01 11-02")
	before := w.ask("SELECT DISTINCT _source_snapshot AS s FROM daily WHERE day = DATE '2026-11-01'")
	w.load("2026-11-02T01:00:00Z FR 5")
	w.run("11-02")
	if got := w.ask("SELECT DISTINCT _source_snapshot AS s FROM daily WHERE day = DATE '2026-11-01'"); got != before {
		t.Errorf("the untouched day is of %s, it was of %s", got, before)
	}
	w.load("2026-11-02T01:30:00Z IT 6")
	var snapshot int64
	if _, err := fmt.Sscanf(w.ask("SELECT DISTINCT _source_snapshot AS s FROM daily WHERE day = DATE '2026-11-02'"), `{"s":%d}`, &snapshot); err != nil {
		t.Fatal(err)
	}
	r, err := query.Run(t.Context(), "SELECT country, count(*) AS sales, sum(price) AS total FROM t WHERE CAST(ts AS DATE) = DATE '2026-11-02' GROUP BY ALL ORDER BY ALL",
		query.Options{Catalog: w.env.Catalog, Objects: w.env.Objects, Namespace: "lake", Snapshot: snapshot, Memory: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if got := w.ask("SELECT country, sales, total FROM daily WHERE day = DATE '2026-11-02' ORDER BY ALL"); got != strings.ReplaceAll(strings.TrimSpace(b.String()), "\n", " ") {
		t.Errorf("%s, but the snapshot has %s", got, b.String())
	}
}

var errBroken = errors.New("broken by the test")

// Whatever breaks, and wherever a run is killed, the next one makes the table right, and no other run's work is undone.
func TestTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.agg.Batch = 1
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T00:00:00Z DE 1.10")
	w.run("11-01 11-02")
	real := w.agg.Catalog
	trouble := func(swap func(n int, next func() error) error) {
		n := 0
		w.agg.Catalog = &pipelinetest.Faults{Catalog: w.env.Catalog, Swap: func(_ context.Context, id table.Ident, _ table.Change, next func() error) error {
			if id != target {
				t.Errorf("%s was swapped", id)
			}
			n++
			return swap(n, next)
		}}
	}
	next := func(n int) {
		w.load(fmt.Sprintf("2026-11-01T01:00:0%dZ FR 1", n), fmt.Sprintf("2026-11-02T01:00:0%dZ FR 1", n))
	}
	fails := func(want error) {
		t.Helper()
		if _, err := w.agg.Run(t.Context(), nil); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		w.agg.Catalog = real
	}

	next(1) // it fails before the first swap, and leaves files and a state that nobody knows
	trouble(func(int, func() error) error { return errBroken })
	fails(errBroken)
	w.run("11-01 11-02")
	w.right()

	next(2) // it dies after the first of two swaps
	trouble(func(n int, next func() error) error {
		if n > 1 {
			return errBroken
		}
		return next()
	})
	fails(errBroken)
	w.run("11-02")
	w.right()

	next(3) // replies are lost, of swaps that landed and of swaps that did not
	trouble(func(n int, next func() error) error {
		if n%2 == 1 {
			return fmt.Errorf("%w: lost before", table.ErrUnknown)
		}
		return errors.Join(next(), fmt.Errorf("%w: lost after", table.ErrUnknown))
	})
	fails(nil)
	w.right()
	w.run("")

	next(4) // another run is faster
	trouble(func(n int, next func() error) error {
		if n == 1 {
			other := *w.agg
			other.Catalog = real
			if r, err := other.Run(t.Context(), nil); err != nil || did(r) != "11-01 11-02" {
				t.Errorf("the other run: %+v, %v", r, err)
			}
		}
		return next()
	})
	fails(nil)
	w.right()

	next(5) // another program compacts the target
	trouble(func(n int, next func() error) error {
		if n == 1 {
			w.env.Swap(t, target, table.Change{Snapshot: true, Props: func(int64) map[string]string { return map[string]string{table.Prefix + "fence": "1"} }})
		}
		return next()
	})
	fails(nil)
	w.right()
	// What failed has left states; those that the table does not name are old.
	if n := len(w.states()); n < 2 || n > 6 {
		t.Errorf("%d states", n)
	}
}

// What others do to the target is mended.
func TestTargetChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T00:00:00Z DE 1.10")
	w.run("11-01 11-02")
	first := w.env.Base(t, target).Snapshot
	w.load("2026-11-02T00:00:00Z DE 1.10")
	w.run("11-02")
	w.env.SetMain(t, target, first)
	w.run("11-02")
	w.right()
	w.env.Swap(t, target, table.Change{Remove: w.files()["day=2026-11-01"], Snapshot: true})
	w.run("11-01")
	w.right()
	for _, s := range w.states() {
		if err := w.env.Objects.Delete(t.Context(), s.URI); err != nil {
			t.Fatal(err)
		}
	}
	w.run("11-01 11-02")
	w.right()
	w.env.Drop(t, target)
	w.run("11-01 11-02")
	w.right()
}

// A source that was rolled back, or dropped and made anew, is followed.
func TestSourceChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	w.load("2026-11-01T00:00:00Z DE 1.10", "2026-11-02T00:00:00Z DE 1.10")
	first := w.env.Base(t, source).Snapshot
	w.load("2026-11-02T00:00:00Z DE 1.10", "2026-11-03T00:00:00Z DE 1.10")
	w.run("11-01 11-02 11-03")
	w.env.SetMain(t, source, first)
	w.run("11-02 -11-03")
	w.right()
	w.env.Drop(t, source)
	if _, err := w.agg.Run(t.Context(), nil); !errors.Is(err, table.ErrNoTable) {
		t.Errorf("%v", err)
	}
	w.n = 0
	w.cfg.Pipelines[0].Source.Topics = []string{"b"}
	w.env.Create(t, "b", 1)
	w.env.Produce(t, "b", 0, `{"id":1,"ts":"2026-11-02T00:00:00Z","country":"DE","price":"7"}`, `{"id":2,"ts":null,"country":"DE","price":"8"}`)
	w.env.Load(t, w.cfg, 2)
	w.run("11-02 -11-01")
	w.right()
	w.run("")
}

// Whatever is done to source and target, in whatever order, a run makes the target what the source has.
func TestRandomWorlds(t *testing.T) {
	t.Parallel()
	for seed, partition := range [][]string{{"day(ts)"}, {"month(ts)"}, {}} {
		t.Run(fmt.Sprint(partition), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(seed), 7))
			w := newWorld(t, partition...)
			w.agg.Zone = zoneOf(t, []string{"UTC", "America/New_York", "Asia/Kathmandu"}[seed])
			sale := func() string {
				at := time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC).Add(time.Duration(random.Int64N(int64(6 * 24 * time.Hour))))
				return fmt.Sprintf("%s %s %d.%02d", at.Format(time.RFC3339Nano), []string{"DE", "FR"}[random.IntN(2)], random.IntN(1000), random.IntN(100))
			}
			w.load(sale(), sale())
			actions := []func(){
				func() { w.load(sale()) },
				func() { w.load(sale(), sale(), sale()) },
				w.compact,
				func() { // a loader that finds its last move expired looks for all rows
					if seed == 1 {
						w.env.Expire(t, source)
					}
				},
				func() {
					if seed != 1 {
						w.remove(func(table.File) bool { return random.IntN(4) == 0 })
					}
				},
				func() {
					if seed == 1 {
						return
					}
					if files := w.env.Files(t, source); len(files) > 0 && files[0].Rows > 0 {
						w.env.DeletePositions(t, source, files[0], 0)
					}
				},
				func() {
					if _, err := w.agg.Run(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
				},
				func() { // a run that dies at one of its swaps
					left := random.IntN(3)
					dying := *w.agg
					dying.Batch = 1
					dying.Catalog = &pipelinetest.Faults{Catalog: w.env.Catalog, Swap: func(_ context.Context, _ table.Ident, _ table.Change, next func() error) error {
						if left--; left < 0 {
							return errBroken
						}
						return next()
					}}
					if _, err := dying.Run(t.Context(), nil); err != nil && !errors.Is(err, errBroken) {
						t.Fatal(err)
					}
				},
				func() { // another program takes a file of the target away
					if _, err := w.env.Catalog.Info(t.Context(), target); err != nil {
						return
					}
					if files := w.env.Files(t, target); len(files) > 0 {
						w.env.Swap(t, target, table.Change{Remove: []string{files[random.IntN(len(files))].Path}, Snapshot: true})
					}
				},
			}
			for range 30 {
				actions[random.IntN(len(actions))]()
			}
			for range 2 {
				if _, err := w.agg.Run(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				w.right()
			}
			w.run("")
		})
	}
}
