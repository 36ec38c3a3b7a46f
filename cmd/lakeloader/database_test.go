package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// Commands and the pipeline of a database: those that fit work, the others say why they do not.
func TestCommandsOfADatabase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, "demo", "clicks", "--rate", "2000", "--dir", dir)
	address := r.line(`status at http://([0-9.:]+)/api/status`)[1]
	r.line(`clicks-mysql +running +read +[1-9].*in the table +[1-9]`)
	config := filepath.Join(dir, "lakeloader.yaml")

	lakeloader(t, "status", "--address", address).ends(exitOK, "clicks-mysql", "sqlite.clicks")
	lakeloader(t, "plan", "-c", config, "--pipeline", "clicks-mysql", "--sample", "100").ends(exitOK, "pipeline clicks-mysql, table sqlite.clicks (exists)", "campaignId")
	lakeloader(t, "job", "list", "-c", config).ends(exitOK)
	lakeloader(t, "rewind", "-c", config, "--pipeline", "clicks-mysql", "--to", "earliest").ends(exitUsage, "pipeline clicks-mysql writes to a table of a database")
	lakeloader(t, "dlq", "list", "-c", config, "--pipeline", "clicks-mysql").ends(exitUsage, "this is for lake tables")
	if code, body := get(t, address, "/metrics"); code != 200 || !strings.Contains(body, `pipeline="clicks-mysql"`) {
		t.Errorf("metrics: %d", code)
	}
	r.signal(syscall.SIGTERM)
	r.wait().ends(exitOK, "clicks-mysql, sqlite.clicks: ")
	lakeloader(t, "verify", "-c", config, "-o", "json").ends(exitOK, `"table": "sqlite.clicks"`)

	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	i := strings.LastIndex(string(text), "table: clicks")
	other := filepath.Join(dir, "other.yaml")
	if err := os.WriteFile(other, []byte(string(text[:i])+"table: elsewhere\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	lakeloader(t, "query", "-c", other, "SELECT count(*) FROM elsewhere").ends(exitFailed, "table elsewhere of pipeline clicks-mysql is no lake table: ask its database (sqlite)")
	lakeloader(t, "verify", "-c", other, "--pipeline", "clicks-mysql").ends(exitFailed, "nothing was loaded yet")
	for url, says := range map[string]string{
		"postgres://u:hidden-password@127.0.0.1:1/d": "connecting to the database of pipeline clicks-mysql (postgres)",
		"mysql://u:hidden-password@127.0.0.1:1/d":    "connecting to the database of pipeline clicks-mysql (mysql)",
		"mysql://u:hidden-password@":                 "it is no URL of a MySQL database",
		"postgres://u:hidden-password@127.0.0.1:x/d": "it is no URL of a PostgreSQL database",
	} {
		if err := os.WriteFile(other, []byte(strings.Replace(string(text), "url: sqlite:clicks.db", "url: "+url, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		got := lakeloader(t, "verify", "-c", other, "--pipeline", "clicks-mysql")
		if out := fmt.Sprint(got.stdout, got.stderr); got.code == exitOK || strings.Contains(out, "hidden-password") {
			t.Errorf("%s: code %d\n%s", url, got.code, out)
		} else if !strings.Contains(says, "connecting") && !strings.Contains(out, says) {
			t.Errorf("%s does not say %q:\n%s", url, says, out)
		}
	}
}

// A configuration whose pipelines all write to databases needs no lake: none is opened, and commands for lakes say so.
func TestDatabasesNeedNoLake(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, `{"id":1}`, `{"id":2}`)
	dir := t.TempDir()
	file := filepath.Join(dir, "lakeloader.yaml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(`
kafka: {brokers: [%q]}
catalog: {type: rest, uri: "http://127.0.0.1:1"}
warehouse: {location: "s3://nowhere/lake", s3: {endpoint: "http://127.0.0.1:1"}}
http: {address: "127.0.0.1:0"}
pipelines:
- name: p
  source: {topics: [a]}
  decode: {value: {format: json, columns: [{name: id, type: long required}]}}
  sql: {url: "sqlite:rows.db", table: t}
  commit: {interval: 200ms}
`, strings.Join(e.Config.Brokers, ","))), 0o644); err != nil {
		t.Fatal(err)
	}
	lakeloader(t, "validate", "-c", file).ends(exitOK)
	lakeloader(t, "plan", "-c", file).ends(exitOK, "table sqlite.t")
	log := &output{}
	d := program(t, "run", "-c", file)
	d.Stdout, d.Stderr = log, log
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	address := log.after(t, `"msg":"listening","address":"`)
	until(t, func() bool {
		return strings.Contains(lakeloader(t, "status", "--address", address, "-o", "json").stdout, `"rows": 2`)
	})
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Fatalf("%v: %s", err, log)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, "2 rows")
	for _, args := range [][]string{{"query", "SELECT 1"}, {"job", "list"}, {"routes", "list"}} {
		lakeloader(t, append(args, "-c", file)...).ends(exitUsage, "so there is no lake")
	}
}
