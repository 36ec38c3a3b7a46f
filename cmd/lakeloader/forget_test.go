package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2/ocf"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// register is a lake of persons, whose table with the present rows is in it too, written without compression: so a search for the bytes of
// a name means something.
type register struct {
	t    *testing.T
	env  *pipelinetest.Env
	cfg  *configs.Config
	file string
	lsn  int
}

func newRegister(t *testing.T) *register {
	t.Helper()
	r := &register{t: t, env: pipelinetest.New(t)}
	r.env.Create(t, "a", 1)
	r.cfg = pipelinetest.Pipeline("id long, name string", func(p *configs.Pipeline) {
		p.Decode.Changes = &configs.Changes{Form: "debezium"}
		p.Table.Current = &configs.Current{Table: "now", Key: []string{"id"}}
		p.Files.Compression = "none"
	}, "a")
	r.file = lakeConfig(t, r.env, `
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long}, {name: name, type: string}]}, changes: {form: debezium}}
    table: {name: t, partition_by: [], current: {table: now, key: [id]}}
    files: {compression: none}
`)
	return r
}

func (r *register) load(values ...string) {
	r.t.Helper()
	r.env.Produce(r.t, "a", 0, values...)
	r.env.Load(r.t, r.cfg, int64(len(values)))
	lakeloader(r.t, "job", "run", "current", "-c", r.file).ends(exitOK)
}

func (r *register) event(op string, id int, name string) string {
	r.lsn++
	row := fmt.Sprintf(`{"id":%d,"name":%q}`, id, name)
	before, after := "null", row
	if op == "d" {
		before, after = row, "null"
	}
	return fmt.Sprintf(`{"before":%s,"after":%s,"op":%q,"source":{"lsn":%d,"ts_ms":1000}}`, before, after, op, r.lsn)
}

// having are the files below a folder that have some bytes, also in the blocks of Avro files.
func having(t *testing.T, dir, text string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), "catalog.db") { // closing it here would end SQLite's locks
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".avro") {
			d, err := ocf.NewDecoder(bytes.NewReader(data))
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			for d.HasNext() {
				var v any
				if err := d.Decode(&v); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				data = append(data, fmt.Sprintf("%s", v)...)
			}
		}
		if bytes.Contains(data, []byte(text)) {
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Nothing below the tables' folders has the name of a person who was forgotten, --now; and all others are as they were.
func TestForgetCommand(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	const who = "Anna Gramm-Muster"
	r.load(r.event("c", 1, who), r.event("c", 2, "Bert"), r.event("c", 3, "Carla"), r.event("c", 4, who), r.event("c", 5, "Zoe"))
	r.load(r.event("u", 2, "Bertram"), r.event("u", 1, who), r.event("d", 4, who))
	r.load(r.event("c", 6, "Emil"), r.event("c", 7, "Fritz"))
	lake := filepath.Join(r.env.Dir, "lake")
	if len(having(t, lake, who)) == 0 || len(having(t, lake, who[:16])) == 0 {
		t.Fatal("the search finds nothing")
	}
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who).ends(exitOK, "4 rows, 0 dead letters", "add --yes", "Kafka: the topics")
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who, "--prove").ends(exitFailed, "the table has it", "held: ")
	lakeloader(t, "forget", "-c", r.file, "--table", "t", "--key", "name="+who, "--yes", "--reason", "case 7").ends(exitOK, "Done, in round", "Older snapshots have the rows")
	lakeloader(t, "verify", "-c", r.file).ends(exitOK, "OK: all 10 offsets are accounted for exactly once: 6 rows", "4 removed")
	lakeloader(t, "job", "run", "current", "-c", r.file).ends(exitOK)
	lakeloader(t, "query", "-c", r.file, "SELECT string_agg(name, '+' ORDER BY id) AS names FROM now").ends(exitOK, "Bertram+Carla+Zoe+Emil+Fritz")
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who, "--prove").ends(exitFailed, "refers to it; job expire deletes it", "not before")
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who, "--now").ends(exitUsage, "it needs --yes")

	code, out, errs := command("forget", "-c", r.file, "--key", "name="+who, "--yes", "--now", "-o", "json")
	var rep struct {
		Proved  bool
		Holders []struct{ URI, Why string }
		Expired int `json:"expired_snapshots"`
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil || code != exitOK || !rep.Proved || rep.Expired == 0 {
		t.Errorf("%d, %v\n%s%s", code, err, out, errs)
	}
	for _, text := range []string{who, who[:16]} {
		if list := having(t, lake, text); len(list) > 0 {
			t.Errorf("%q is still in %v", text, list)
		}
	}
	lakeloader(t, "verify", "-c", r.file).ends(exitOK, "OK: all 10 offsets are accounted for exactly once: 6 rows", "4 removed")
	r.load(r.event("c", 8, "Gerd")) // loading goes on
	lakeloader(t, "query", "-c", r.file, "SELECT string_agg(name, '+' ORDER BY id) AS names FROM now").ends(exitOK, "Bertram+Carla+Zoe+Emil+Fritz+Gerd")
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who, "--yes", "--now").ends(exitOK, "There is nothing to do.", "Proved")
}

// Rows of the table with the present rows that another engine has deleted, by position, are gone for a run of forget too: those of the person
// leave the file, and those of others do not come back, until all changes are looked at again for something else. A change that is loaded
// afterwards makes a row again, whatever its position, and is forgotten by another run.
func TestForgetDeletedByOthers(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	const who = "Anna Gramm-Muster"
	late := r.event("u", 4, who) // is told by the source before all others, and comes last
	r.load(r.event("c", 1, who), r.event("c", 2, "Bert"), r.event("c", 3, "Carla"), r.event("c", 4, who), r.event("c", 5, "Zoe"))
	now := table.Ident{Namespace: "lake", Name: "now"}
	files := r.env.Files(t, now)
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	rows := r.env.ReadFile(t, files[0].Path)
	r.env.DeletePositions(t, now, files[0], int64(rows.Find("a", 0, 1)), int64(rows.Find("a", 0, 3))) // Bert, and one of hers
	names := func(want string) {
		t.Helper()
		lakeloader(t, "query", "-c", r.file, "-o", "csv", "SELECT string_agg(id || ' ' || name, '+' ORDER BY id) AS names FROM now").ends(exitOK, "\n"+want+"\n")
	}
	names("1 " + who + "+3 Carla+5 Zoe")
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who).ends(exitOK, "lake.now  1 ", "2 rows,", "1 file in which delete files hide rows")
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who, "--yes").ends(exitOK, "Done, in round")
	names("3 Carla+5 Zoe")
	lakeloader(t, "job", "run", "current", "-c", r.file).ends(exitOK)
	names("3 Carla+5 Zoe")
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who, "--yes", "--now").ends(exitOK, "There is nothing to do.", "Proved")
	if list := having(t, filepath.Join(r.env.Dir, "lake"), who); len(list) > 0 {
		t.Errorf("still in %v", list)
	}

	r.load(late, r.event("u", 3, "Carola"))
	names("3 Carola+4 " + who + "+5 Zoe")
	lakeloader(t, "forget", "-c", r.file, "--key", "name="+who, "--yes", "--now").ends(exitOK, "1 row,", "Done, in round", "Proved")
	names("3 Carola+5 Zoe")
	r.load(late, r.event("d", 4, who), late) // nothing comes behind a delete that was loaded
	names("3 Carola+5 Zoe")
	lakeloader(t, "verify", "-c", r.file).ends(exitOK, "OK: all 10 offsets")
	lakeloader(t, "job", "run", "current", "-c", r.file, "--table", "lake.now", "--rebuild").ends(exitOK)
	names("2 Bert+3 Carola+5 Zoe")
}

// A deleted key is remembered by the table with the present rows: it goes with the person. Keys come from a file, too.
func TestForgetRemembered(t *testing.T) {
	t.Parallel()
	r := newRegister(t)
	r.load(r.event("c", 1, "Anna"), r.event("c", 2, "Bert"), r.event("d", 1, "Anna"), r.event("c", 3, "Carla"), r.event("d", 3, "Carla"))
	keys := write(t, "keys.csv", "id\n1\n99\n")
	lakeloader(t, "forget", "-c", r.file, "--keys-file", keys, "--prove").ends(exitFailed, "1 remembered delete in", "it remembers a delete")
	lakeloader(t, "forget", "-c", r.file, "--keys-file", keys, "--yes", "--now").ends(exitOK, "Proved")
	lakeloader(t, "forget", "-c", r.file, "--key", "id=3").ends(exitOK, "1 remembered delete in")
	r.load(r.event("u", 2, "Bertram"))
	lakeloader(t, "query", "-c", r.file, "SELECT string_agg(name, '+' ORDER BY id) AS names FROM now").ends(exitOK, "Bertram")
	for want, args := range map[string][]string{
		"there is no key":           {},
		"is no COLUMN=VALUE":        {"--key", "secret"},
		"no such column: city":      {"--key", "city=secret"},
		"do not fit the columns id": {"--key", "id=secret"},
		"is none of match":          {"--key", "id=1", "--dead-letters", "all"},
		`loads the table "x"`:       {"--key", "id=1", "--table", "x"},
		"line 2 has no value":       {"--keys-file", write(t, "empty.csv", "id\n\"\"\n")},
		"no keys":                   {"--keys-file", write(t, "none.csv", "id\n")},
	} {
		code, out, errs := command(append([]string{"forget", "-c", r.file}, args...)...)
		if code == exitOK || !strings.Contains(errs, want) || strings.Contains(out+errs, "secret") && !strings.Contains(want, "COLUMN") {
			t.Errorf("%v: %d, want %q\n%s%s", args, code, want, out, errs)
		}
	}
}

// Aggregates recalculate the days of persons who were forgotten, also where the snapshots that tell so have expired.
func TestForgetInAggregates(t *testing.T) {
	t.Parallel()
	s := newSales(t, "")
	s.load("2199-01-01T10:00:00Z", "2199-01-01T11:00:00Z", "2199-01-02T10:00:00Z", "2199-01-03T10:00:00Z", "2199-01-04T10:00:00Z")
	s.run("daily lake.daily: 4 days")
	lakeloader(t, "forget", "-c", s.file, "--key", "id=2", "--yes").ends(exitOK, "1 row,", "aggregate daily: its next run recalculates")
	s.run("daily lake.daily: 1 day", "changed: 2199-01-01")
	s.right()
	lakeloader(t, "forget", "-c", s.file, "--key", "id=3", "--yes", "--now").ends(exitOK, "Proved")
	s.run("1 day removed", "without rows: 2199-01-02")
	s.right()
	lakeloader(t, "verify", "-c", s.file).ends(exitOK, "3 rows", "2 removed")
}

// Rows that another engine's delete files hide are in no file either, in the end; what a tag names is said to hold them.
func TestForgetHidden(t *testing.T) {
	t.Parallel()
	s := newSales(t, "")
	s.load("2199-01-01T10:00:00Z", "2199-01-01T11:00:00Z", "2199-01-01T12:00:00Z")
	id := table.Ident{Namespace: "lake", Name: "t"}
	s.env.DeletePositions(t, id, s.env.Files(t, id)[0], 1)
	lakeloader(t, "forget", "-c", s.file, "--key", "id=2", "--prove").ends(exitFailed, "1 file in which delete files hide rows", "the table has it")
	s.env.Tag(t, id, "audit-2025", s.env.Base(t, id).Snapshot)
	lakeloader(t, "forget", "-c", s.file, "--key", "id=2", "--yes").ends(exitOK, "1 file in which delete files hide rows", "Done.")
	lakeloader(t, "query", "-c", s.file, "-o", "csv", "SELECT string_agg(id::text, '+' ORDER BY id) AS ids FROM t").ends(exitOK, "1+3")
	lakeloader(t, "forget", "-c", s.file, "--key", "id=3", "--yes").ends(exitOK, "1 row,")
	lakeloader(t, "forget", "-c", s.file, "--key", "id=2", "--prove").ends(exitFailed, "which does not expire: it has the name audit-2025")
	lakeloader(t, "forget", "-c", s.file, "--key", "id=2", "--yes", "--now").ends(exitFailed, "it has the name audit-2025")
	s.env.Tag(t, id, "audit-2025", 0)
	lakeloader(t, "forget", "-c", s.file, "--key", "id=2", "--yes", "--now").ends(exitOK, "Proved")
	lakeloader(t, "query", "-c", s.file, "-o", "csv", "SELECT string_agg(id::text, '+' ORDER BY id) AS ids FROM t").ends(exitOK, "1")
}

// The object of a round names files with the bounds of their columns, until it is folded.
func TestForgetInRounds(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, `{"id":4711}`, `{`, `{"id":4712}`)
	e.Load(t, pipelinetest.Pipeline("id long required", nil, "a"), 3)
	file := lakeConfig(t, e, `
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: json, columns: [{name: id, type: long required}]}}
    table: {name: t, partition_by: []}
`)
	lakeloader(t, "forget", "-c", file, "--key", "id=4711", "--yes", "--now").ends(exitFailed, "Done, in round", "this round's object names", "1 object may still hold")
	for _, ahead := range []time.Duration{25 * time.Hour, 50 * time.Hour} {
		runJob(t, later(t, file, ahead), "fold")
	}
	lakeloader(t, "forget", "-c", file, "--key", "id=4711", "--prove").ends(exitOK, "Proved")
	lakeloader(t, "forget", "-c", file, "--key", "id=1", "--prove").ends(exitFailed, "  a-0-1\n", "take --dead-letters remove or ignore")
	lakeloader(t, "forget", "-c", file, "--key", "id=1", "--prove", "--dead-letters", "ignore").ends(exitOK, "Proved")
	lakeloader(t, "verify", "-c", file).ends(exitOK, "1 rows, 0 filtered, 1 dead letters, 0 gaps, 1 removed")
}

// Dead letters that cannot be read keep a proof from being one, until somebody says that they were looked at.
func TestForgetUnread(t *testing.T) {
	t.Parallel()
	reg := pipelinetest.StartRegistry(t)
	id := reg.Register("a-value", `{"type":"record","name":"user","fields":[{"name":"id","type":"long"}]}`)
	e := pipelinetest.New(t)
	e.Registry = reg.URL()
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline("x long", func(p *configs.Pipeline) { p.Decode.Value = configs.Format{Format: "avro"} }, "a")
	file := lakeConfig(t, e, fmt.Sprintf(`
registry: {url: %q}
pipelines:
  - name: p
    source: {topics: [a]}
    decode: {value: {format: avro}}
    table: {name: t, partition_by: []}
`, reg.URL()))
	user := func(body string) string { return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(id))) + body }
	e.Produce(t, "a", 0, user("\xce\x49"), user("\xd0\x49")) // 4711 and 4712
	e.Load(t, cfg, 2)
	e.Produce(t, "a", 0, user("\x80"), user(""))
	e.Load(t, cfg, 2)
	args := []string{"forget", "-c", file, "--key", "id=4711", "--yes", "--now"}
	lakeloader(t, args...).ends(exitFailed, "1 row, 0 dead letters", "Done, in round", "2 dead letters could not be read", "the first is a-0-2, its value: its bytes cannot be read as schema id",
		"what cannot be read may be anybody's", "1 object may still hold")
	lakeloader(t, append(args, "--dead-letters", "ignore")...).ends(exitOK, "2 dead letters could not be read", "Proved: ", "but for dead letters that could not be read")
	lakeloader(t, "dlq", "purge", "-c", file, "--all", "--yes").ends(exitOK)
	lakeloader(t, args...).ends(exitOK, "holds the rows.\n")
	lakeloader(t, "verify", "-c", file).ends(exitOK, "OK: all 4 offsets", "1 rows", "2 dead letters", "1 removed")
}
