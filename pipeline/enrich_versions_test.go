package pipeline_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// second is a moment of the test's own time.
func second(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC) }

// versioned is a pipeline whose rows are joined with what a topic said at their time, by a key.
func versioned(topic *configs.LookupTopic, versions configs.Versions, key string) *configs.Config {
	cfg := pipelinetest.Pipeline("n long required, email string, id long, at timestamptz", func(p *configs.Pipeline) {
		p.Enrich = []configs.Join{{Lookup: "customers", At: "at", Columns: []string{"level"}}}
	}, "a")
	cfg.Lookups = []configs.Lookup{{Name: "customers", Key: []string{key}, Columns: []string{"level"}, Topic: topic, Versions: &versions}}
	configs.ApplyDefaults(cfg)
	return cfg
}

// asked is a row that asks for what was true in a second.
func asked(n, id int, email string, at int) string {
	return fmt.Sprintf(`{"n":%d,"id":%d,"email":%q,"at":%q}`, n, id, email, second(at).Format(time.RFC3339))
}

// TestVersionsOfATopic: by the time of its records, with deletes and a key that changes.
func TestVersionsOfATopic(t *testing.T) {
	t.Parallel()
	value := configs.Format{Format: "json", Columns: []configs.ColumnDef{{Name: "id", Type: "long"}, {Name: "email", Type: "string"}, {Name: "level", Type: "int"}}}
	for _, c := range []struct{ key, want string }{
		{"id", "0 <nil>\n1 1\n2 1\n3 2\n4 <nil>\n5 3\n6 7\n7 <nil>"},
		{"email", "0 <nil>\n1 1\n2 1\n3 <nil>\n4 <nil>\n5 3\n6 7\n7 <nil>"},
	} {
		t.Run(c.key, func(t *testing.T) {
			t.Parallel()
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			e.Create(t, "customers", 2)
			said := func(at, id int, email string, level int) *kgo.Record {
				r := customer(id, email, level)
				r.Timestamp = second(at)
				return r
			}
			e.Send(t, "customers", 0, said(10, 1, "x", 1), said(20, 1, "y", 2), said(30, 1, "", 0), said(40, 1, "x", 3))
			e.Send(t, "customers", 1, said(15, 2, "z", 7))
			cfg := versioned(&configs.LookupTopic{Name: "customers", Decode: configs.Decode{Value: value}}, configs.Versions{}, c.key)
			e.Produce(t, "a", 0, asked(0, 1, "x", 9), asked(1, 1, "x", 10), asked(2, 1, "x", 19), asked(3, 1, "x", 20), asked(4, 1, "x", 30), asked(5, 1, "x", 99), asked(6, 2, "z", 15), `{"n":7,"id":1,"email":"x"}`)
			l := e.Start(t, cfg, nil)
			l.Until("all rows to be joined", func() bool { return joinStatus(l).Rows == 8 })
			stop(t, l)
			same(t, rowsOf(t, e, "n", "level"), c.want)
		})
	}
}

// TestVersionsOfChanges: by the time in the database. A tombstone behind a delete ends nothing that began since, and a truncate ends all.
func TestVersionsOfChanges(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "db.customers", 1)
	columns := []configs.ColumnDef{{Name: "id", Type: "long"}, {Name: "email", Type: "string"}, {Name: "level", Type: "int"}}
	change := func(op string, at int, before, after int) *kgo.Record {
		row := func(level int) string {
			if level == 0 {
				return "null"
			}
			return fmt.Sprintf(`{"id":1,"email":"x","level":%d}`, level)
		}
		ms := second(at).UnixMilli()
		return &kgo.Record{Key: []byte(`{"id":1}`), Timestamp: second(at + 5), Value: fmt.Appendf(nil, `{"before":%s,"after":%s,"op":%q,"ts_ms":%d,"source":{"ts_ms":%d}}`, row(before), row(after), op, ms+700, ms)}
	}
	e.Send(t, "db.customers", 0, change("c", 10, 0, 1), change("u", 20, 1, 2), change("d", 30, 2, 0), &kgo.Record{Key: []byte(`{"id":1}`), Timestamp: second(36)},
		change("c", 32, 0, 4), change("t", 50, 0, 0), change("c", 60, 0, 5))
	cfg := versioned(&configs.LookupTopic{Name: "db.customers", Decode: configs.Decode{Value: configs.Format{Format: "json", Columns: columns}, Changes: &configs.Changes{Form: "debezium"}}},
		configs.Versions{By: "_source_ts"}, "id")
	var rows []string
	for n, at := range []int{9, 10, 20, 29, 30, 32, 37, 49, 50, 60, 99} {
		rows = append(rows, asked(n, 1, "x", at))
	}
	e.Produce(t, "a", 0, rows...)
	l := e.Start(t, cfg, nil)
	l.Until("all rows to be joined", func() bool { return joinStatus(l).Rows == int64(len(rows)) })
	stop(t, l)
	same(t, rowsOf(t, e, "n", "level"), "0 <nil>\n1 1\n2 2\n3 2\n4 <nil>\n5 4\n6 4\n7 4\n8 <nil>\n9 5\n10 5")
}

// TestVersionsThatAreKept: what was replaced long ago goes.
func TestVersionsThatAreKept(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "customers", 1)
	value := configs.Format{Format: "json", Columns: []configs.ColumnDef{{Name: "id", Type: "long"}, {Name: "email", Type: "string"}, {Name: "level", Type: "int"}}}
	var rs []*kgo.Record
	for i := range 1000 {
		r := customer(1, "x", i)
		r.Timestamp = second(i)
		rs = append(rs, r)
	}
	e.Send(t, "customers", 0, rs...)
	cfg := versioned(&configs.LookupTopic{Name: "customers", Decode: configs.Decode{Value: value}}, configs.Versions{Keep: configs.Duration(time.Minute)}, "id")
	e.Produce(t, "a", 0, asked(0, 1, "x", 939), asked(1, 1, "x", 950), asked(2, 1, "x", 5))
	l := e.Start(t, cfg, nil)
	l.Until("all rows to be joined", func() bool { return joinStatus(l).Rows == 3 })
	if s := l.State.Status().Lookups[0]; s.Rows != 61 {
		t.Errorf("%d versions are kept of the last minute, at one a second", s.Rows)
	}
	stop(t, l)
	same(t, rowsOf(t, e, "n", "level"), "0 939\n1 950\n2 <nil>")
}

// TestLookupThatBreaks: a pipeline waits for a lookup whose rows were lost, says why, and goes on when they are there again.
func TestLookupThatBreaks(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := ratings([]configs.Lookup{customers()}, []configs.Join{{Lookup: "customers", On: map[string]string{"user_id": "id"}, Columns: []string{"email"}}},
		func(p *configs.Pipeline) { p.Commit.Interval = configs.Duration(200 * time.Millisecond) })
	x := enrich.New(&cfg.Lookups[0], time.Now)
	row := batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)}, batch.Field{Name: "email", Type: batch.Prim(batch.String)})
	fill := func(version string) {
		t.Helper()
		made, err := x.Empty(false)
		if err != nil {
			t.Fatal(err)
		}
		b := batch.New(&batch.Records{}, row)
		b.Root.Children[0].AppendInt64(1)
		b.Root.Children[1].AppendView(b.AppendString(version))
		if err := made.Put(b.Mem, b.Root.Children, 0, [2]uint64{}); err != nil {
			t.Fatal(err)
		}
		if err := x.Replace(made, version); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Define(row); err != nil {
		t.Fatal(err)
	}
	fill("first")
	e.Produce(t, "a", 0, rated(0, 1))
	l := e.Start(t, cfg, func(d *pipeline.Deps) { d.Lookup = func(string) *enrich.Lookup { return x } })
	l.Until("the first row to be committed", func() bool { return l.State.Status().Pipelines[0].Rows == 1 })
	if err := x.Break(errors.New("the disk is full")); err != nil {
		t.Fatal(err)
	}
	e.Produce(t, "a", 0, rated(1, 1))
	l.Until("the pipeline to wait", func() bool { return strings.Contains(l.State.Status().Pipelines[0].Reason, "the disk is full") })
	fill("second")
	l.Until("the second row", func() bool { return joinStatus(l).Rows >= 2 })
	stop(t, l)
	same(t, rowsOf(t, e, "id", "email"), "0 first\n1 second")
	whole(t, e, cfg, "a-0 [0, 2) 2 rows")
}
