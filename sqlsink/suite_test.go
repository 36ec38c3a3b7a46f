package sqlsink_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/sqlsink"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/verify"
)

// suite holds for every database. fresh gives the URL of an empty one.
func suite(t *testing.T, fresh func(t *testing.T) string) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, url string)
	}{
		{"loads exactly once through crashes", testCrashes},
		{"keeps every type", testTypes},
		{"accounts for every offset", testAccounts},
		{"evolves", testEvolution},
		{"fences", testFencing},
		{"refuses what is not its own", testOwnership},
		{"begins a new epoch", testReset},
		{"finds what is wrong", testDamage},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
}

// bench is a database, as others see it, and a Kafka.
type bench struct {
	*pipelinetest.Env
	t   testing.TB
	url string
	db  *sql.DB
}

func newBench(t testing.TB, address string) *bench {
	t.Helper()
	return newBenchOn(t, pipelinetest.New(t), address)
}

func newBenchOn(t testing.TB, e *pipelinetest.Env, address string) *bench {
	t.Helper()
	driver, dsn := "pgx", address
	switch u, err := url.Parse(address); {
	case err != nil:
		t.Fatal(err)
	case u.Scheme == "sqlite":
		driver, dsn = "sqlite", strings.TrimPrefix(address, "sqlite:")+"?_pragma=busy_timeout(10000)"
	case u.Scheme == "mysql":
		pass, _ := u.User.Password()
		driver, dsn = "mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", u.User.Username(), pass, u.Host, u.Path)
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{Env: e, t: t, url: address, db: db}
}

func (b *bench) config(columns string, change func(*configs.Pipeline), topics ...string) *configs.Config {
	return pipelinetest.Pipeline(columns, func(p *configs.Pipeline) {
		p.Table.Name = ""
		p.SQL = &configs.SQLSink{URL: b.url, Table: "clicks"}
		p.Commit.Records = 1 << 40 // tests say when
		if change != nil {
			change(p)
		}
	}, topics...)
}

func (b *bench) sink(cfg *configs.Config) *sqlsink.Sink {
	b.t.Helper()
	spool := b.t.TempDir()
	cfg.Pipelines[0].SQL.Spool = spool
	s, err := sqlsink.Open(sqlsink.Options{Pipeline: &cfg.Pipelines[0], Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
		if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
			b.t.Errorf("left in the spool: %v, %v", left, err)
		}
	})
	return s
}

// start runs a loader.
func (b *bench) start(cfg *configs.Config, change func(*pipeline.Deps)) *pipelinetest.Loader {
	b.t.Helper()
	s := b.sink(cfg)
	return b.Start(b.t, cfg, func(d *pipeline.Deps) {
		d.Catalog, d.Objects, d.Database = s, s.Objects(), s
		if change != nil {
			change(d)
		}
	})
}

// load runs a loader until it has read n records, and has it commit them.
func (b *bench) load(cfg *configs.Config, n int64) {
	b.t.Helper()
	l := b.start(cfg, nil)
	l.Read(n)
	if err := l.Stop(); err != nil {
		b.t.Fatalf("%v\n%s", err, l.Log())
	}
}

func (b *bench) exec(query string, args ...any) {
	b.t.Helper()
	if _, err := b.db.ExecContext(b.t.Context(), query, args...); err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
}

// lines are the rows that a query gives, with | between the values.
func (b *bench) lines(query string) (out []string) {
	b.t.Helper()
	rows, err := b.db.QueryContext(b.t.Context(), query)
	if err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			b.t.Error(err)
		}
	}()
	names, err := rows.Columns()
	if err != nil {
		b.t.Fatal(err)
	}
	for rows.Next() {
		values := make([]sql.NullString, len(names))
		var into []any
		for i := range values {
			into = append(into, &values[i])
		}
		if err := rows.Scan(into...); err != nil {
			b.t.Fatal(err)
		}
		var line []string
		for _, v := range values {
			if !v.Valid {
				v.String = "NULL"
			}
			line = append(line, v.String)
		}
		out = append(out, strings.Join(line, "|"))
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *bench) same(query string, want ...string) {
	b.t.Helper()
	if got := b.lines(query); !slices.Equal(got, want) {
		b.t.Errorf("%s\n got %q\nwant %q", query, got, want)
	}
}

// verify says what is accounted for, and which problems there are.
func (b *bench) verify(cfg *configs.Config) (partitions, problems []string) {
	b.t.Helper()
	r, err := b.sink(cfg).Verify(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range r.Partitions {
		partitions = append(partitions, fmt.Sprintf("%s-%d.%d [%d, %d) rows %d filtered %d dead %d gaps %d", p.Topic, p.Partition, p.Epoch, p.First, p.Next, p.Rows, p.Filtered, p.Dead, p.Gaps))
	}
	for _, p := range r.Problems {
		problems = append(problems, p.String())
	}
	return partitions, problems
}

// whole: all is accounted for, as wanted.
func (b *bench) whole(cfg *configs.Config, want ...string) {
	b.t.Helper()
	got, problems := b.verify(cfg)
	if !slices.Equal(got, want) || len(problems) > 0 {
		b.t.Errorf("verify says\n%s\nwant\n%s\nproblems: %q", strings.Join(got, "\n"), strings.Join(want, "\n"), problems)
	}
}

func ids(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf(`{"id":%d}`, i))
	}
	return out
}

// failing commits a round, and tells that it did not, or ends the loader before it does.
type failing struct {
	pipeline.Database
	before, after func() error
}

// Commit implements pipeline.Keeper.
func (f *failing) Commit(ctx context.Context, r *pipeline.Round, owned map[table.Key]bool) (*table.Ledger, error) {
	if f.before != nil {
		if err := f.before(); err != nil {
			return nil, err
		}
	}
	l, err := f.Database.Commit(ctx, r, owned)
	if err == nil && f.after != nil {
		err = f.after()
	}
	return l, err
}

var errCrash = errors.New("crash")

// testCrashes: loaders that die before and after the transaction, and one whose answer was lost.
func testCrashes(t *testing.T, url string) {
	b := newBench(t, url)
	b.Create(t, "a", 2)
	cfg := b.config("id long required", func(p *configs.Pipeline) { p.Commit.Records = 10 }, "a")
	sent := 0
	for _, fault := range []func(*failing){
		func(*failing) {},
		func(f *failing) { f.before = func() error { return errCrash } },
		func(f *failing) { f.after = func() error { return errCrash } },
		func(*failing) {},
	} {
		b.Produce(t, "a", 0, ids(sent, sent+20)...)
		b.Produce(t, "a", 1, ids(sent+20, sent+30)...)
		sent += 30
		f := &failing{}
		fault(f)
		l := b.start(cfg, func(d *pipeline.Deps) {
			f.Database = d.Database
			d.Database = f
		})
		if f.before != nil || f.after != nil {
			l.Said("crash")
		} else {
			l.Until("the rows", func() bool { return b.count() == sent })
		}
		_ = l.Kill() // whatever it ended with
	}
	b.same("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM clicks", fmt.Sprintf("%d|%d|0|%d", sent, sent, sent-1))
	b.whole(cfg, "a-0.0 [0, 80) rows 80 filtered 0 dead 0 gaps 0", "a-1.0 [0, 40) rows 40 filtered 0 dead 0 gaps 0")
}

func (b *bench) count() (n int) {
	if err := b.db.QueryRowContext(b.t.Context(), "SELECT count(*) FROM clicks").Scan(&n); err != nil {
		return -1 // not there yet
	}
	return n
}

// testTypes: values come back as SQL has them, nulls too.
func testTypes(t *testing.T, url string) {
	b := newBench(t, url)
	b.Create(t, "a", 1)
	cfg := b.config("b boolean, i int, l long, d double, m decimal(12,2), w decimal(38,4), da date, ti time, ts timestamp, tz timestamptz, s string, u uuid, by binary, li list<string>", nil, "a")
	b.Produce(t, "a", 0, `{}`, `{"b":true,"i":-7,"l":9007199254740993,"d":1.5,"m":-0.05,"w":1234567890123456789012345678901234.5678,"da":"2026-11-22","ti":"01:02:03.000004","ts":"2026-11-22T01:02:03.5",
 "tz":"2026-11-22T01:02:03.5+02:00","s":"J'ürgen \\ \"q\" `+"\\u20ac"+`","u":"550e8400-e29b-41d4-a716-446655440000","by":"AAEC","li":["x","y\"z"]}`)
	b.load(cfg, 2)
	const names = "b, i, l, d, m, w, da, ti, ts, tz, s, u, li"
	null := strings.TrimSuffix(strings.Repeat("NULL|", 13), "|")
	const text = `J'ürgen \ "q" €|550e8400-e29b-41d4-a716-446655440000`
	switch cfg.Pipelines[0].SQL.Kind() {
	case configs.Postgres:
		b.exec("SET TIME ZONE 'UTC'")
		b.same("SELECT b, i, l, d, m::text, w::text, da::text, ti::text, ts::text, (tz AT TIME ZONE 'UTC')::text, s, u::text, li::text FROM clicks ORDER BY _kafka_offset", null,
			`true|-7|9007199254740993|1.5|-0.05|1234567890123456789012345678901234.5678|2026-11-22|01:02:03.000004|2026-11-22 01:02:03.5|2026-11-21 23:02:03.5|`+text+`|["x", "y\"z"]`)
	case configs.MySQL:
		b.same("SELECT "+names+" FROM clicks ORDER BY _kafka_offset", null,
			`1|-7|9007199254740993|1.5|-0.05|1234567890123456789012345678901234.5678|2026-11-22|01:02:03.000004|2026-11-22 01:02:03.500000|2026-11-21 23:02:03.500000|`+text+`|["x","y\"z"]`)
	default:
		b.same("SELECT "+names+" FROM clicks ORDER BY _kafka_offset", null,
			`1|-7|9007199254740993|1.5|-0.05|1234567890123456789012345678901234.5678|2026-11-22|01:02:03.000004|2026-11-22 01:02:03.500000|2026-11-21 23:02:03.500000|`+text+`|["x","y\"z"]`)
	}
	var bytes []byte
	if err := b.db.QueryRowContext(t.Context(), "SELECT "+map[bool]string{true: "`by`", false: `"by"`}[cfg.Pipelines[0].SQL.Kind() == configs.MySQL]+" FROM clicks WHERE i = -7").Scan(&bytes); err != nil || !slices.Equal(bytes, []byte{0, 1, 2}) {
		t.Errorf("%v, %v", bytes, err)
	}
}

// testAccounts: rows, filtered, dead letters and gaps, in several rounds.
func testAccounts(t *testing.T, url string) {
	b := newBench(t, url)
	b.Create(t, "a", 1)
	cfg := b.config("id long required, s string, d double", func(p *configs.Pipeline) {
		p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: "id % 2 == 0"}}}
	}, "a")
	b.Produce(t, "a", 0, ids(0, 10)...) // 5 rows
	b.Transaction(t, false, "a", 0, ids(10, 14)...)
	b.load(cfg, 10)
	b.Produce(t, "a", 0, `{"id":20}`, `no json`, `{"id":22,"s":"a\u0000b"}`, `{"id":24}`)
	b.load(cfg, 4)
	b.same("SELECT id FROM clicks ORDER BY id", append([]string{"0", "2", "4", "6", "8", "20"}, map[bool][]string{true: {"24"}, false: {"22", "24"}}[cfg.Pipelines[0].SQL.Kind() == configs.Postgres]...)...)
	rows, dead := 8, 1
	if cfg.Pipelines[0].SQL.Kind() == configs.Postgres { // its text has no zero byte
		rows, dead = 7, 2
		b.same("SELECT stage, step FROM clicks_dead_letters ORDER BY _kafka_offset", "decode|value", "encode|s")
	} else {
		b.same("SELECT stage, pipeline FROM clicks_dead_letters ORDER BY _kafka_offset", "decode|p")
	}
	b.whole(cfg, fmt.Sprintf("a-0.0 [0, 19) rows %d filtered 5 dead %d gaps 5", rows, dead))
}

// testEvolution: columns are added, and widened.
func testEvolution(t *testing.T, url string) {
	b := newBench(t, url)
	b.Create(t, "a", 1)
	b.Produce(t, "a", 0, ids(0, 2)...)
	b.load(b.config("id int required", nil, "a"), 2)
	b.Produce(t, "a", 0, `{"id":9007199254740993,"name":"x"}`)
	cfg := b.config("id long, name string", nil, "a")
	b.load(cfg, 1)
	b.Produce(t, "a", 0, `{"id":5}`)
	b.load(b.config("id long", nil, "a"), 1) // the table keeps its column
	b.same("SELECT id, name FROM clicks ORDER BY _kafka_offset", "0|NULL", "1|NULL", "9007199254740993|x", "5|NULL")
	b.whole(cfg, "a-0.0 [0, 4) rows 4 filtered 0 dead 0 gaps 0")
}

// testFencing: of two that move a partition from the same offset, one does, and the other changes nothing.
func testFencing(t *testing.T, url string) {
	b := newBench(t, url)
	b.Create(t, "a", 1)
	cfg := b.config("id long required", nil, "a")
	b.Produce(t, "a", 0, ids(0, 5)...)
	b.load(cfg, 5)
	k := table.Key{Topic: "a"}
	one, two := b.sink(cfg), b.sink(cfg)
	l, err := one.Settle(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	round := func(id string, from table.Record, known bool, key table.Key) *pipeline.Round {
		to := from
		to.Next, to.Filtered = from.Next+3, from.Filtered+3
		set := &pipeline.Offsets{}
		set.AddRange(uint64(from.Next), uint64(to.Next))
		return &pipeline.Round{ID: id, Pipeline: "p", Tables: []pipeline.RoundFile{{}}, Moves: []pipeline.Move{{Key: key, Known: known, From: from, To: to, Filtered: map[string]*pipeline.Offsets{"step": set}}}}
	}
	from := l.Records[k]
	for range 2 { // its answer was lost, and it is sent again
		if l, err = one.Commit(t.Context(), round("one", from, true, k), nil); err != nil || l.Records[k].Next != 8 {
			t.Fatalf("%v, %v", l, err)
		}
	}
	if _, err := two.Commit(t.Context(), round("two", from, true, k), nil); !errors.Is(err, pipeline.ErrFenced) {
		t.Fatalf("a zombie was not fenced: %v", err)
	}
	fresh := table.Key{Topic: "a", Partition: 1}
	first := table.Record{Cluster: from.Cluster, TopicID: from.TopicID, MaxTimestamp: -1}
	for range 2 {
		if _, err := one.Commit(t.Context(), round("first", first, false, fresh), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := two.Commit(t.Context(), round("second", first, false, fresh), nil); !errors.Is(err, pipeline.ErrFenced) {
		t.Fatalf("a zombie was not fenced: %v", err)
	}
	b.whole(cfg, "a-0.0 [0, 8) rows 5 filtered 3 dead 0 gaps 0", "a-1.0 [0, 3) rows 0 filtered 3 dead 0 gaps 0")
}

// testOwnership: a table that is another's, or has lost its offsets, or is gone, is not written to.
func testOwnership(t *testing.T, url string) {
	b := newBench(t, url)
	b.Create(t, "a", 1)
	b.Produce(t, "a", 0, ids(0, 5)...)
	cfg := b.config("id long required", nil, "a")
	refused := func(cfg *configs.Config, words string) {
		t.Helper()
		if err := b.start(cfg, nil).Ended(); !errors.Is(err, pipeline.ErrStop) || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
	b.exec("CREATE TABLE clicks (id INTEGER)")
	refused(cfg, "was not made by lakeloader")
	b.exec("DROP TABLE clicks")
	b.load(cfg, 5)
	other := b.config("id long required", func(p *configs.Pipeline) { p.Name = "other" }, "a")
	refused(other, "belongs to pipeline p")
	moved := b.config("id long required", func(p *configs.Pipeline) { p.SQL.Table = "elsewhere" }, "a")
	refused(moved, "give the pipeline another name")
	b.exec("ALTER TABLE clicks RENAME TO kept")
	refused(cfg, "table clicks is gone")
	b.exec("ALTER TABLE kept RENAME TO clicks")
	b.exec("ALTER TABLE lakeloader_offsets RENAME TO kept")
	refused(cfg, "has no offsets of pipeline p")
	b.exec("DROP TABLE lakeloader_offsets")
	b.exec("ALTER TABLE kept RENAME TO lakeloader_offsets")
	b.whole(cfg, "a-0.0 [0, 5) rows 5 filtered 0 dead 0 gaps 0")
}

// testReset: a topic that was made again begins a new epoch, where the same offsets come once more.
func testReset(t *testing.T, url string) {
	b := newBench(t, url)
	b.Create(t, "a", 1)
	b.Produce(t, "a", 0, ids(0, 5)...)
	cfg := b.config("id long required", func(p *configs.Pipeline) { p.Source.OnReset = "earliest" }, "a")
	b.load(cfg, 5)
	b.Delete(t, "a")
	b.Create(t, "a", 1)
	b.Produce(t, "a", 0, ids(10, 13)...)
	b.load(cfg, 3)
	b.same("SELECT id, _kafka_epoch FROM clicks ORDER BY id", "0|0", "1|0", "2|0", "3|0", "4|0", "10|1", "11|1", "12|1")
	b.whole(cfg, "a-0.0 [0, 5) rows 5 filtered 0 dead 0 gaps 0", "a-0.1 [0, 3) rows 3 filtered 0 dead 0 gaps 0")
}

// testDamage: verify names exactly what others have changed.
func testDamage(t *testing.T, url string) {
	b := newBench(t, url)
	b.Create(t, "a", 1)
	b.Produce(t, "a", 0, ids(0, 10)...)
	cfg := b.config("id long required", nil, "a")
	b.load(cfg, 10)
	b.exec("DELETE FROM clicks WHERE id BETWEEN 3 AND 4")
	b.exec("UPDATE clicks SET _kafka_offset = 12 WHERE id = 9")
	if _, got := b.verify(cfg); !slices.Equal(got, []string{
		verify.Uncommitted + ": clicks: a-0 epoch 0 offsets 12: outside of the committed range 0 to 10",
		verify.Lost + ": clicks: a-0 epoch 0 offsets 3-4, 9: committed, but neither a row, filtered, a dead letter nor a gap"}) {
		t.Errorf("%q", got)
	}
	b.exec("UPDATE lakeloader_offsets SET next_offset = 13, row_count = 13")
	b.Produce(t, "a", 0, ids(10, 20)...)
	b.exec("UPDATE clicks SET _kafka_offset = 15 WHERE id = 9")
	l := b.start(cfg, nil)
	l.Read(7)
	if err := l.Stop(); !errors.Is(err, pipeline.ErrStop) || !strings.Contains(err.Error(), "somebody else has written them") {
		t.Errorf("rows beyond the offsets: %v", err)
	}
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	suite(t, func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "db") })
}
