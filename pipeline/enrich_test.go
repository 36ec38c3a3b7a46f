package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// ratings is a pipeline whose rows are joined.
func ratings(lookups []configs.Lookup, joins []configs.Join, change func(*configs.Pipeline)) *configs.Config {
	cfg := pipelinetest.Pipeline("id long required, user_id long", func(p *configs.Pipeline) {
		p.Enrich = joins
		if change != nil {
			change(p)
		}
	}, "a")
	cfg.Lookups = lookups
	configs.ApplyDefaults(cfg)
	return cfg
}

// customers is a lookup in a compacted topic; its records have the id as their key.
func customers() configs.Lookup {
	value := configs.Format{Format: "json", Columns: []configs.ColumnDef{{Name: "id", Type: "long"}, {Name: "email", Type: "string"}, {Name: "level", Type: "int"}}}
	return configs.Lookup{Name: "customers", Key: []string{"id"}, Topic: &configs.LookupTopic{Name: "customers", Decode: configs.Decode{Value: value}}}
}

// customer is a record of customers; without an email it is deleted.
func customer(id int, email string, level int) *kgo.Record {
	r := &kgo.Record{Key: []byte(fmt.Sprint(id))}
	if email != "" {
		r.Value = []byte(fmt.Sprintf(`{"id":%d,"email":%q,"level":%d}`, id, email, level))
	}
	return r
}

func rated(id, user int) string { return fmt.Sprintf(`{"id":%d,"user_id":%d}`, id, user) }

// table writes the rows of the pipeline's table.
func rowsOf(t *testing.T, e *pipelinetest.Env, columns ...string) string {
	t.Helper()
	var out []string
	for _, r := range e.Rows(t, primary, columns...) {
		out = append(out, strings.Trim(fmt.Sprint(r.Values), "[]"))
	}
	return strings.Join(out, "\n")
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("the table has\n%s\nwant\n%s", got, want)
	}
}

func joinStatus(l *pipelinetest.Loader) obs.JoinStatus {
	if joins := l.State.Status().Pipelines[0].Joins; len(joins) > 0 {
		return joins[0]
	}
	return obs.JoinStatus{}
}

// TestJoinWithATopic: rows see what the topic said last, whatever partition it is in, and nothing of the topic is missed.
func TestJoinWithATopic(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "customers", 2)
	e.Send(t, "customers", 0, customer(1, "one@old", 1), customer(3, "three@x", 3), customer(1, "one@x", 2))
	e.Send(t, "customers", 1, customer(2, "two@x", 2), customer(4, "four@x", 4), customer(4, "", 0))
	cfg := ratings([]configs.Lookup{customers()}, []configs.Join{{Lookup: "customers", On: map[string]string{"user_id": "id"}, Prefix: "customer_", Version: "seen", Matched: "known"}}, nil)
	e.Produce(t, "a", 0, rated(0, 1), rated(1, 2), rated(2, 4), `{"id":3}`, rated(4, 3), rated(5, 99))
	l := e.Start(t, cfg, nil)
	l.Until("all rows to be joined", func() bool { return joinStatus(l).Rows == 6 })
	e.Send(t, "customers", 0, customer(3, "", 0), customer(1, "one@new", 9))
	e.Send(t, "customers", 1, customer(4, "four@back", 4))
	l.Until("the lookup to follow", func() bool {
		s := l.State.Status().Lookups[0]
		return s.Version == "0:5,1:4"
	})
	e.Produce(t, "a", 0, rated(6, 1), rated(7, 3), rated(8, 4))
	l.Until("the next rows", func() bool { return joinStatus(l).Rows == 9 })
	stop(t, l)
	same(t, rowsOf(t, e, "id", "customer_email", "customer_level", "known", "seen"), `0 one@x 2 true 0:3,1:3
1 two@x 2 true 0:3,1:3
2 <nil> <nil> false 0:3,1:3
3 <nil> <nil> false 0:3,1:3
4 three@x 3 true 0:3,1:3
5 <nil> <nil> false 0:3,1:3
6 one@new 9 true 0:5,1:4
7 <nil> <nil> false 0:5,1:4
8 four@back 4 true 0:5,1:4`)
	if j := joinStatus(l); j.Misses != 4 || j.Name != "enrich[0] customers" {
		t.Errorf("%+v", j)
	}
	whole(t, e, cfg, "a-0 [0, 9) 9 rows")
}

// TestJoinsWithFiles: several joins one after the other, each of which sees the columns of those before, and what they do with rows
// without a match.
func TestJoinsWithFiles(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lookups := []configs.Lookup{
		{Name: "users", Key: []string{"id"}, File: &configs.LookupFile{Path: write("users.csv", "\xef\xbb\xbfid;country;born\n1;de;1970-01-02\n2;fr;\n3;\"u\"\"k\";1999-12-31\n"), Separator: ";",
			Columns: []configs.ColumnDef{{Name: "id", Type: "int"}, {Name: "country", Type: "string"}, {Name: "born", Type: "date"}}}},
		{Name: "countries", Key: []string{"code"}, File: &configs.LookupFile{Path: write("countries.jsonl", `{"code":"de","name":"Germany","vat":"19.0"}`+"\n\n"+`{"code":"fr","name":"France","vat":"20.0"}`),
			Columns: []configs.ColumnDef{{Name: "code", Type: "string"}, {Name: "name", Type: "string"}, {Name: "vat", Type: "decimal(4,1)"}}}},
		{Name: "banned", Key: []string{"id"}, File: &configs.LookupFile{Path: write("banned.csv", "id\n7\n")}, Cleanse: []configs.Step{{Cast: &configs.CastStep{Columns: []string{"id"}, To: "long"}}}},
	}
	joins := []configs.Join{
		{Lookup: "banned", Join: "anti", On: map[string]string{"user_id": "id"}},
		{Lookup: "users", Join: "inner", On: map[string]string{"user_id": "id"}},
		{Lookup: "countries", On: map[string]string{"country": "code"}, Columns: []string{"name", "vat"}, Miss: "default", Defaults: map[string]string{"name": "elsewhere"}},
		{Name: "strict", Lookup: "countries", On: map[string]string{"country": "code"}, Columns: []string{"name"}, Prefix: "again_", Miss: "dead_letter"},
	}
	cfg := ratings(lookups, joins, nil)
	e.Produce(t, "a", 0, rated(0, 1), rated(1, 7), rated(2, 2), rated(3, 3), rated(4, 99), `{"id":5}`)
	l := e.Start(t, cfg, nil)
	l.Read(6)
	stop(t, l)
	same(t, rowsOf(t, e, "id", "country", "born", "name", "vat", "again_name"), "0 de 1 Germany 190 Germany\n2 fr <nil> France 200 France")
	whole(t, e, cfg, "a-0 [0, 6) 2 rows 3 filtered 1 dead")
	s := l.State.Status().Pipelines[0]
	if s.FilteredBy["enrich[0] banned"] != 1 || s.FilteredBy["enrich[1] users"] != 2 || s.DeadBy[0].Stage != "enrich" || s.DeadBy[0].Step != "strict" {
		t.Errorf("filtered %v, dead %+v", s.FilteredBy, s.DeadBy)
	}
}

// TestJoinWithAFileThatChanges: a broken file is not taken, and the last good one stays.
func TestJoinWithAFileThatChanges(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	path := filepath.Join(t.TempDir(), "users.csv")
	replace := func(text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	cfg := ratings([]configs.Lookup{{Name: "users", Key: []string{"id"}, File: &configs.LookupFile{Path: path, Reload: configs.Duration(20 * time.Millisecond),
		Columns: []configs.ColumnDef{{Name: "id", Type: "long"}, {Name: "name", Type: "string"}}}}},
		[]configs.Join{{Lookup: "users", On: map[string]string{"user_id": "id"}}}, nil)
	l := e.Start(t, cfg, nil)
	l.Until("the missing file to be waited for", func() bool { return strings.Contains(l.State.Status().Pipelines[0].Reason, "there is no file") })
	replace("id,name\n1,one\n")
	e.Produce(t, "a", 0, rated(0, 1))
	l.Until("the first row", func() bool { return joinStatus(l).Rows == 1 })
	replace("id,name\n1,uno\nx,broken\n")
	status := func() obs.LookupStatus { return l.State.Status().Lookups[0] }
	l.Until("the broken file to be told", func() bool { return strings.Contains(status().Trouble, "line 3") })
	e.Produce(t, "a", 0, rated(1, 1))
	l.Until("the second row", func() bool { return joinStatus(l).Rows == 2 })
	replace("name,id\nuno,1\n")
	l.Until("the mended file", func() bool { return status().Trouble == "" })
	e.Produce(t, "a", 0, rated(2, 1))
	l.Until("the third row", func() bool { return joinStatus(l).Rows == 3 })
	stop(t, l)
	same(t, rowsOf(t, e, "id", "name"), "0 one\n1 one\n2 uno")
}

// TestJoinWithATable: the lookup is what another pipeline has loaded.
func TestJoinWithATable(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "u", 1)
	source := pipelinetest.Pipeline("id long, name string, tags list<string>", func(p *configs.Pipeline) { p.Name, p.Table.Name = "users", "users" }, "u")
	e.Produce(t, "u", 0, `{"id":1,"name":"one"}`, `{"id":2,"name":"two"}`, `{"name":"nobody"}`)
	load(t, e, source, 3)
	cfg := ratings([]configs.Lookup{{Name: "users", Key: []string{"id"}, Columns: []string{"name"}, Table: &configs.LookupTable{Name: "users", Refresh: configs.Duration(20 * time.Millisecond)}}},
		[]configs.Join{{Lookup: "users", On: map[string]string{"user_id": "id"}, Version: "snapshot"}}, nil)
	e.Produce(t, "a", 0, rated(0, 1), rated(1, 2), rated(2, 3))
	l := e.Start(t, cfg, nil)
	l.Until("the first rows", func() bool { return joinStatus(l).Rows == 3 })
	first := l.State.Status().Lookups[0]
	if first.Rows != 2 || first.Skipped != 1 {
		t.Errorf("%+v", first)
	}
	e.Produce(t, "u", 0, `{"id":3,"name":"three"}`)
	load(t, e, source, 1)
	l.Until("the new snapshot", func() bool { return l.State.Status().Lookups[0].Version != first.Version })
	e.Produce(t, "a", 0, rated(3, 3))
	l.Until("the last row", func() bool { return joinStatus(l).Rows == 4 })
	stop(t, l)
	second := l.State.Status().Lookups[0]
	same(t, rowsOf(t, e, "id", "name", "snapshot"), strings.NewReplacer("A", first.Version, "B", second.Version).Replace("0 one A\n1 two A\n2 <nil> A\n3 three B"))
}

// TestRowsWaitForALookup: a row whose key comes a moment later is joined with it; one that has waited in vain gets what is set.
func TestRowsWaitForALookup(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "customers", 1)
	cfg := ratings([]configs.Lookup{customers()}, []configs.Join{{Lookup: "customers", On: map[string]string{"user_id": "id"}, Miss: "wait", Wait: configs.Duration(time.Minute), Waited: "dead_letter"}}, nil)
	l := e.Start(t, cfg, nil)
	l.Owns(1)
	old := &kgo.Record{Value: []byte(rated(0, 7)), Timestamp: time.Now().Add(-time.Hour)} // it has waited long enough
	e.Send(t, "a", 0, old)
	l.Until("the old row", func() bool { return joinStatus(l).Rows == 1 })
	e.Produce(t, "a", 0, rated(1, 7), rated(2, 8), `{"id":3}`)
	l.Until("rows to wait", func() bool {
		return strings.Contains(l.State.Status().Pipelines[0].Reason, "rows wait for the lookup customers")
	})
	e.Send(t, "customers", 0, customer(7, "seven@x", 7))
	l.Until("one row to wait", func() bool { return strings.Contains(l.State.Status().Pipelines[0].Reason, " 1 rows wait") })
	e.Send(t, "customers", 0, customer(8, "eight@x", 8))
	l.Until("all rows", func() bool { return joinStatus(l).Rows == 4 })
	stop(t, l)
	same(t, rowsOf(t, e, "id", "email"), "1 seven@x\n2 eight@x")
	whole(t, e, cfg, "a-0 [0, 4) 2 rows 2 dead")
}

// TestStopWhileRowsWait: a batch that waits is not accounted for when the loader stops, or is killed, or loses its partitions.
func TestStopWhileRowsWait(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Create(t, "customers", 1)
	e.Send(t, "customers", 0, customer(1, "one@x", 1))
	cfg := ratings([]configs.Lookup{customers()}, []configs.Join{{Lookup: "customers", On: map[string]string{"user_id": "id"}, Miss: "wait", Wait: configs.Duration(time.Minute), Waited: "null"}}, nil)
	l := e.Start(t, cfg, nil)
	l.Owns(1)
	e.Produce(t, "a", 0, rated(0, 1))
	l.Until("the first row", func() bool { return joinStatus(l).Rows == 1 })
	e.Produce(t, "a", 0, rated(1, 7))
	e.Produce(t, "a", 1, rated(2, 7))
	waiting := func(l *pipelinetest.Loader) func() bool {
		return func() bool { return strings.Contains(l.State.Status().Pipelines[0].Reason, "rows wait") }
	}
	l.Until("rows to wait", waiting(l))
	second := e.Start(t, cfg, nil) // takes a partition away from the first one
	second.Owns(1)
	l.Until("rows to wait again", waiting(l))
	stop(t, l)
	second.Owns(2)
	second.Until("rows to wait", waiting(second))
	if err := second.Kill(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	e.Send(t, "customers", 0, customer(7, "seven@x", 7))
	load(t, e, cfg, 3)
	same(t, rowsOf(t, e, "id", "email"), "0 one@x\n1 seven@x\n2 seven@x")
	whole(t, e, cfg, "a-0 [0, 2) 2 rows", "a-1 [0, 1) 1 rows")
}

// TestBatchThatWasGivenUp: what was done to a batch before it was given up half way, when its partitions were handed over, leaves
// nothing behind for the next one.
func TestBatchThatWasGivenUp(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Create(t, "customers", 1)
	e.Send(t, "customers", 0, customer(1, "one@x", 1))
	cfg := ratings([]configs.Lookup{customers()}, []configs.Join{{Lookup: "customers", On: map[string]string{"user_id": "id"}, Miss: "wait", Wait: configs.Duration(time.Minute), Waited: "null"}},
		func(p *configs.Pipeline) {
			p.Cleanse = []configs.Step{{Name: "twice", Derive: &configs.DeriveStep{Column: "twice", Expression: "2 * id", Type: "long"}}, {Name: "order", Select: &configs.ColumnsStep{Columns: []string{"twice", "user_id", "id"}}}}
		})
	l := e.Start(t, cfg, nil)
	l.Owns(1)
	e.Produce(t, "a", 0, rated(1, 7))
	e.Produce(t, "a", 1, rated(2, 7))
	waits := func(l *pipelinetest.Loader) func() bool {
		return func() bool { return strings.Contains(l.State.Status().Pipelines[0].Reason, "rows wait") }
	}
	l.Until("rows to wait", waits(l))
	second := e.Start(t, cfg, nil)
	second.Owns(1)
	second.Until("rows to wait", waits(second))
	l.Until("rows to wait again", waits(l))
	e.Send(t, "customers", 0, customer(7, "seven@x", 7))
	l.Until("its row", func() bool { return joinStatus(l).Rows == 1 })
	second.Until("its row", func() bool { return joinStatus(second).Rows == 1 })
	stop(t, l)
	stop(t, second)
	same(t, rowsOf(t, e, "id", "twice", "email"), "1 2 seven@x\n2 4 seven@x")
	whole(t, e, cfg, "a-0 [0, 1) 1 rows", "a-1 [0, 1) 1 rows")
}

// TestPlanJoins: what is tried only does not wait, and sees the lookups.
func TestPlanJoins(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Create(t, "customers", 1)
	e.Send(t, "customers", 0, customer(1, "one@x", 1))
	e.Produce(t, "a", 0, rated(0, 1), rated(1, 7))
	cfg := ratings([]configs.Lookup{customers()}, []configs.Join{{Lookup: "customers", On: map[string]string{"user_id": "id"}, Miss: "wait", Waited: "dead_letter"}}, nil)
	d := e.Deps(t, cfg)
	for d.Lookup("customers").Status().Ready == false {
		<-d.Lookup("customers").Changed()
	}
	rep, err := pipeline.Plan(t.Context(), cfg, 0, 10, d)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Rows != 1 || len(rep.Rejected) != 1 || len(rep.Columns) < 4 || rep.Columns[2].Name != "email" {
		t.Errorf("%+v", rep)
	}
}

// change is a record of Debezium in plain JSON.
func change(op string, id int, before, after string) *kgo.Record {
	row := func(email string) string {
		if email == "" {
			return "null"
		}
		return fmt.Sprintf(`{"id":%d,"email":%q}`, id, email)
	}
	return &kgo.Record{Key: []byte(fmt.Sprintf(`{"id":%d}`, id)), Value: []byte(fmt.Sprintf(`{"before":%s,"after":%s,"op":%q,"ts_ms":1,"source":{"ts_ms":1}}`, row(before), row(after), op))}
}

// TestRekeyedChanges: a lookup of a database's changes, by another column than its primary key. A row whose column changes, or that
// is deleted, is found no longer by the old value; of two with the same value the newer one counts, and the older one again when that is gone.
func TestRekeyedChanges(t *testing.T) {
	t.Parallel()
	columns := []configs.ColumnDef{{Name: "id", Type: "long"}, {Name: "email", Type: "string"}}
	value := configs.Format{Format: "json", Columns: columns}
	key := configs.Format{Format: "json", Columns: columns[:1]}
	none := ""
	key.Prefix = &none
	const withSchema = "decoded key with its schema"
	for name, decode := range map[string]configs.Decode{
		"bytes of the key": {Value: value, Changes: &configs.Changes{Form: "debezium"}},
		"decoded key":      {Value: value, Key: &key, Changes: &configs.Changes{Form: "debezium"}},
		withSchema:         {Value: value, Key: &key, Changes: &configs.Changes{Form: "debezium"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := pipelinetest.New(t)
			e.Create(t, "a", 1)
			e.Create(t, "db.customers", 1)
			cfg := pipelinetest.Pipeline("n long, email string", func(p *configs.Pipeline) {
				p.Enrich = []configs.Join{{Lookup: "customers", Columns: []string{"id"}, Prefix: "customer_"}}
			}, "a")
			cfg.Lookups = []configs.Lookup{{Name: "customers", Key: []string{"email"}, Topic: &configs.LookupTopic{Name: "db.customers", Decode: decode}}}
			configs.ApplyDefaults(cfg)
			l := e.Start(t, cfg, nil)
			n, sent := 0, int64(0)
			var wants []string
			says := func(want string, rs ...*kgo.Record) {
				t.Helper()
				if name == withSchema { // as Kafka Connect writes it with schemas.enable
					for _, r := range rs {
						r.Key = []byte(`{"schema":{"type":"struct","optional":false,"fields":[{"type":"int64","optional":false,"field":"id"}]},"payload":` + string(r.Key) + `}`)
					}
				}
				if len(rs) > 0 {
					e.Send(t, "db.customers", 0, rs...)
					sent += int64(len(rs))
				}
				version := fmt.Sprintf("0:%d", sent)
				l.Until("the lookup to be at "+version, func() bool { return l.State.Status().Lookups[0].Version == version })
				e.Produce(t, "a", 0, `{"n":0,"email":"x"}`, `{"n":1,"email":"y"}`)
				n += 2
				l.Until("the rows", func() bool { return joinStatus(l).Rows == int64(n) })
				wants = append(wants, strings.Split(want, " ")...)
			}
			says("1 <nil>", change("c", 1, "", "x"))
			says("2 <nil>", change("c", 2, "", "x"))
			says("1 2", change("u", 2, "x", "y"))
			says("<nil> 1", change("u", 1, "x", "y"))
			says("<nil> 2", change("d", 1, "y", ""), &kgo.Record{Key: []byte(`{"id":1}`)})
			says("<nil> 2")
			says("<nil> <nil>", change("t", 0, "", ""))
			stop(t, l)
			same(t, rowsOf(t, e, "customer_id"), strings.Join(wants, "\n"))
		})
	}
}

// TestReenrich: rows that had no match are joined once more, and no others, exactly once.
func TestReenrich(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Create(t, "customers", 1)
	e.Send(t, "customers", 0, customer(1, "one@x", 1))
	cfg := ratings([]configs.Lookup{customers()}, []configs.Join{{Lookup: "customers", On: map[string]string{"user_id": "id"}, Columns: []string{"email"}, Matched: "known", Version: "seen"}}, nil)
	e.Produce(t, "a", 0, rated(0, 1), rated(1, 7), "{{", rated(2, 1), rated(3, 8))
	e.Produce(t, "a", 1, rated(4, 7), rated(5, 1))
	load(t, e, cfg, 7)
	e.Send(t, "customers", 0, customer(7, "seven@x", 1), customer(1, "one@new", 1))
	rep, err := pipeline.Reenrich(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.ReenrichOptions{DryRun: true})
	if err != nil || rep.Missed != 3 || rep.Gone != 0 || rep.Done {
		t.Fatalf("%+v, %v", rep, err)
	}
	for range 2 { // the second time there is one row less without a match, and nothing else changes
		if rep, err = pipeline.Reenrich(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.ReenrichOptions{}); err != nil || !rep.Done {
			t.Fatalf("%+v, %v", rep, err)
		}
		same(t, rowsOf(t, e, "id", "email", "known", "seen"), `0 one@x true 0:1
1 seven@x true 0:3
2 one@x true 0:1
3 <nil> false 0:3
4 seven@x true 0:3
5 one@x true 0:1`)
		whole(t, e, cfg, "a-0 [0, 5) 4 rows 1 dead", "a-1 [0, 2) 2 rows")
	}
	if rep.Missed != 1 {
		t.Errorf("%+v", rep)
	}
	e.Produce(t, "a", 0, rated(6, 1))
	load(t, e, cfg, 1)
	whole(t, e, cfg, "a-0 [0, 6) 5 rows 1 dead", "a-1 [0, 2) 2 rows")
}
