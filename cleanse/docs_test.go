package cleanse_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

const manual = "../docs/cleanse.md"

// TestManual runs the examples of the manual: they have the form of the cases, in blocks of their own. With
// UPDATE_MANUAL=1 what comes out is written anew.
func TestManual(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "```cleanse\n", "```\n"
	parts := strings.Split(string(text), begin)
	out, n := parts[0], 0
	for _, part := range parts[1:] {
		example, rest, ok := strings.Cut(part, end)
		if !ok {
			t.Fatalf("%s: a block without an end", manual)
		}
		in, want, _ := strings.Cut(example, "----\n")
		got := outcome(t, in)
		if got != want && os.Getenv("UPDATE_MANUAL") == "" {
			t.Errorf("%s:\n%s----\n%s\nand not:\n%s", manual, in, got, want)
		}
		out += begin + in + "----\n" + got + end + rest
		n++
	}
	if n < 15 {
		t.Errorf("%s has only %d examples", manual, n)
	}
	if os.Getenv("UPDATE_MANUAL") != "" {
		if err := os.WriteFile(manual, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// outcome is what an example gives.
func outcome(t *testing.T, in string) string {
	t.Helper()
	parts := strings.Split(in, "---\n")
	if len(parts) != 3 {
		t.Fatalf("%s: columns, steps and rows are set apart by ---:\n%s", manual, in)
	}
	row, err := batch.ParseType("struct<" + strings.TrimSpace(parts[0]) + ">")
	if err != nil {
		t.Fatal(err)
	}
	config := "kafka: {brokers: [host:9092]}\npipelines:\n- name: p\n  source: {topics: [t]}\n  decode: {value: {format: json}}\n  table: {name: t}\n" +
		"  cleanse:\n  " + strings.ReplaceAll(parts[1], "\n", "\n  ")
	cfg, _, err := configs.Parse("lakeloader.yaml", []byte(config))
	if err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	return runSteps(t, &datadriven.TestData{}, row, cfg.Pipelines[0].Cleanse, parts[2:])
}
