package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// The commands work on a lake alone: Kafka is gone by then.
func TestDLQCommands(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a-b", 1)
	cfg := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Cleanse = []configs.Step{{Name: "small", Validate: &configs.ValidateStep{Expression: "id < 3"}}}
	}, "a-b")
	for i := range 6 {
		e.Produce(t, "a-b", 0, fmt.Sprintf(`{"id":%d}`, i))
	}
	e.Send(t, "a-b", 0, &kgo.Record{Key: []byte("k"), Value: []byte("\x00\x1b[2J"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "n"}}})
	e.Load(t, cfg, 7)
	e.Cluster.Close()
	config := func(limit string) string {
		return write(t, "lakeloader.yaml", fmt.Sprintf(`
kafka: {brokers: ["127.0.0.1:1"]}
warehouse: {location: %q}
pipelines:
  - name: p
    source: {topics: [a-b]}
    decode: {value: {format: json, columns: [{name: id, type: long required}]}}
    cleanse: [{name: small, validate: {expression: id < %s}}]
    table: {name: t, partition_by: []}
`, filepath.Join(e.Dir, "lake"), limit))
	}
	old, now := config("3"), config("5")

	lakeloader(t, "dlq", "list", "-c", old).ends(exitOK, "3", "cleanse", "small", "a-b-0-3", "decode", "a-b-0-6", "4 dead letters")
	lakeloader(t, "dlq", "list", "-c", old, "--stage", "decode", "--since", "1h", "--until", "2100-01-01").ends(exitOK, "1 dead letter\n")
	lakeloader(t, "dlq", "list", "-c", old, "--replayed", "yes").ends(exitOK, "0 dead letters")
	lakeloader(t, "dlq", "show", "-c", old, "a-b-0-6").ends(exitOK, "record", "a-b-0-6", "refused by", "decode, value", "key", "value (hex)", "001b5b324a", "header h", "header n", "null")
	var shown []pipeline.Letter
	code, out, errs := command("dlq", "show", "-c", old, "-n", "2", "--step", "small", "-o", "json")
	if err := json.Unmarshal([]byte(out), &shown); code != exitOK || err != nil || len(shown) != 2 || *shown[0].Value.Text != `{"id":3}` {
		t.Fatalf("%d, %v\n%s%s", code, err, out, errs)
	}

	lakeloader(t, "dlq", "replay", "-c", now, "--dry-run").ends(exitOK, "4 dead letters: 2 rows, 2 refused again.", "a-b-0-5", "Nothing was changed (--dry-run).")
	lakeloader(t, "dlq", "replay", "-c", now, "a-b-0-4").ends(exitOK, "1 dead letter: 1 row, 0 refused again.", "Done, in round 2.")
	var rep pipeline.ReplayReport
	code, out, errs = command("dlq", "replay", "-c", now, "-o", "json")
	if err := json.Unmarshal([]byte(out), &rep); code != exitOK || err != nil || !rep.Done || rep.Rows != 1 || len(rep.Failed) != 2 {
		t.Fatalf("%d, %v\n%s%s", code, err, out, errs)
	}
	lakeloader(t, "dlq", "replay", "-c", now).ends(exitOK, "2 dead letters: 0 rows, 2 refused again.", "There was nothing to change.")
	lakeloader(t, "verify", "-c", now).ends(exitOK, "OK: all 7 offsets are accounted for exactly once: 5 rows, 0 filtered, 2 dead letters")
	lakeloader(t, "dlq", "show", "-c", now, "a-b-0-4").ends(exitOK, "replayed", "round 2")

	lakeloader(t, "dlq", "purge", "-c", now).ends(exitOK, "2 dead letters: 2 replayed, 0 never replayed.", "add --yes")
	lakeloader(t, "dlq", "purge", "-c", now, "--yes").ends(exitOK, "Done, in round 4.")
	lakeloader(t, "dlq", "purge", "-c", now, "--all", "--stage", "decode", "--yes").ends(exitOK, "1 dead letter: 0 replayed, 1 never replayed.", "Done, in round 5.")
	lakeloader(t, "dlq", "list", "-c", now).ends(exitOK, "1 dead letter\n")
	lakeloader(t, "verify", "-c", now).ends(exitOK, "OK: all 7 offsets are accounted for exactly once: 5 rows, 0 filtered, 2 dead letters")

	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, `--since "yesterday" is neither`, []string{"list", "--since", "yesterday"}},
		{exitUsage, `--replayed "maybe"`, []string{"list", "--replayed", "maybe"}},
		{exitUsage, "does not name a record", []string{"show", "a-b-0"}},
		{exitUsage, "at least one", []string{"show", "-n", "0"}},
		{exitFailed, "a-b-0-0 is no dead letter", []string{"show", "a-b-0-0"}},
		{exitUsage, `no pipeline "q"`, []string{"replay", "--pipeline", "q"}},
		{exitUsage, "unknown output format", []string{"purge", "-o", "xml"}},
	} {
		lakeloader(t, append(append([]string{"dlq"}, c.args...), "-c", now)...).ends(c.code, c.want)
	}
	empty := write(t, "lakeloader.yaml", fmt.Sprintf(`
kafka: {brokers: ["127.0.0.1:1"]}
warehouse: {location: %q}
pipelines:
  - {name: p, source: {topics: [a]}, decode: {value: {format: json}}, table: {name: none}}
`, filepath.Join(t.TempDir(), "lake")))
	lakeloader(t, "dlq", "list", "-c", empty).ends(exitFailed, "nothing was loaded yet")
}
