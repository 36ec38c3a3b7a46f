package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os/exec"
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", exitOK, "Available Commands"},
		{"--help", exitOK, "Available Commands"},
		{"run --help", exitOK, "Exit codes: 2"},
		{"frob", exitUsage, `unknown command "frob"`},
		{"run --frob", exitUsage, "unknown flag: --frob\nSee lakeloader run --help"},
		{"run extra", exitUsage, `unknown command "extra" for "lakeloader run"`},
		{"query", exitUsage, "See lakeloader query --help"},
		{"demo", exitUsage, "See lakeloader demo --help"},
		{"demo nothing", exitUsage, "clicks, ratings, visitor-spend"},
		{"demo clicks --records -1", exitUsage, "cannot be negative"},
		{"demo clicks --records many", exitUsage, "--records"},
		{"version -o xml", exitUsage, "text json"},
		{"status --address 127.0.0.1:bad", exitUnreachable, "127.0.0.1:bad"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			lakeloader(t, strings.Fields(c.args)...).ends(c.code, c.says)
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	lakeloader(t, "version").ends(exitOK, "lakeloader dev (go1.", "librdkafka 2.")
	var v struct{ Version, Go, Librdkafka, Platform string }
	got := lakeloader(t, "version", "-o", "json").ends(exitOK)
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || v.Version != "dev" || v.Go == "" || v.Librdkafka == "" || v.Platform == "" {
		t.Errorf("%v: %s", err, got.stdout)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := lakeloader(t, "completion", shell).ends(exitOK, "lakeloader")
		if shell != "bash" {
			continue
		}
		check := exec.CommandContext(t.Context(), "bash", "-n")
		check.Stdin = strings.NewReader(got.stdout)
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("bash cannot read its completion: %v\n%s", err, out)
		}
	}
	got := lakeloader(t, "__complete", "demo", "").ends(exitOK)
	for _, name := range []string{"clicks", "ratings", "visitor-spend"} {
		if !strings.Contains(got.stdout, name+"\n") {
			t.Errorf("demo is not completed with %s: %s", name, got.stdout)
		}
	}
}

const bad = `kafka: {brokers: [127.0.0.1:9092]}
pipelines:
- name: events
  source: {topics: [events]}
  decode: {value: {format: json, columns: [{name: id, type: long}]}}
  cleanse:
  - trim: [id]
  - cast: {columns: [ident], to: int}
  table: {name: events, partition_by: [day(id)]}
`

func TestValidate(t *testing.T) {
	t.Parallel()
	good := write(t, "good.yaml", strings.NewReplacer("[id]", "[name]", "ident", "id", "day(id)", `"bucket(4, id)"`, "long}", "long}, {name: name, type: string}").Replace(bad))
	lakeloader(t, "validate", "-c", good).ends(exitOK, good+": no problems")

	path := write(t, "bad.yaml", bad)
	want := []string{path + ":7:12: column id is a long (cast it to string first)", path + `:8:22: there is no column "ident"`, "the columns are id", path + " has 2 problems"}
	lakeloader(t, "validate", "-c", path).ends(exitUsage, want...)
	lakeloader(t, "run", "-c", path).ends(exitUsage, want[:3]...)

	for file, problems := range map[string]int{good: 0, path: 2} {
		got := lakeloader(t, "validate", "-c", file, "-o", "json", "--offline")
		var answer struct {
			Problems []struct {
				File, Path, Message string
				Line, Column        int
			}
			Unchecked []string
		}
		d := json.NewDecoder(bytes.NewReader([]byte(got.stdout)))
		d.DisallowUnknownFields()
		if err := d.Decode(&answer); err != nil && !strings.Contains(err.Error(), `"hint"`) {
			t.Fatalf("%v: %s", err, got.stdout)
		}
		if len(answer.Problems) != problems || answer.Problems == nil || answer.Unchecked == nil {
			t.Errorf("%s: %s", file, got.stdout)
		}
		for _, p := range answer.Problems {
			if p.File != path || p.Line == 0 || p.Column == 0 || p.Message == "" || !strings.HasPrefix(p.Path, "pipelines[0].cleanse[") {
				t.Errorf("%+v", p)
			}
		}
	}
	lakeloader(t, "validate", "-c", write(t, "empty.yaml", "")).ends(exitUsage, ":1:1: the configuration is empty")
	lakeloader(t, "validate", "-c", "none.yaml").ends(exitUsage, "none.yaml: cannot read the configuration")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // nobody listens any more
		t.Fatal(err)
	}
	avro := write(t, "avro.yaml", "registry: {url: http://"+l.Addr().String()+"}\n"+strings.ReplaceAll(bad, "{format: json, columns: [{name: id, type: long}]}", "{format: avro}"))
	lakeloader(t, "validate", "-c", avro).ends(exitUnreachable, "pipeline events", "registry cannot be asked", l.Addr().String(), "--offline")
	lakeloader(t, "validate", "-c", avro, "--offline").ends(exitOK, "not checked against the columns", "no problems")
}
