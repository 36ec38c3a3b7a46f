package cleanse_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/goccy/go-yaml"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
)

// TestCases runs the text files in testdata/cases. Each case has the row type, steps in YAML as in a configuration, and
// rows in JSON, set apart by lines of dashes; and then the row type after the steps, what became of each row, and how
// expressions run; or the problems.
func TestCases(t *testing.T) {
	datadriven.Walk(t, "testdata/cases", func(t *testing.T, path string) { datadriven.RunTest(t, path, runCase) })
}

func runCase(t *testing.T, d *datadriven.TestData) string {
	if d.Cmd != "cleanse" {
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	parts := strings.Split(d.Input, "\n---\n")
	if len(parts) < 2 {
		d.Fatalf(t, "row type, steps and rows are set apart by ---")
	}
	row, err := batch.ParseType("struct<" + parts[0] + ">")
	if err != nil {
		d.Fatalf(t, "%s", err)
	}
	var steps []configs.Step
	if err := yaml.UnmarshalWithOptions([]byte(parts[1]), &steps, yaml.Strict()); err != nil {
		d.Fatalf(t, "%s", err)
	}
	return runSteps(t, d, row, steps, parts[2:])
}

// runSteps shows what steps make of rows, in JSON; without rows, of the row type.
func runSteps(t *testing.T, d *datadriven.TestData, row *batch.Type, steps []configs.Step, in []string) string {
	p, problems := cleanse.CompileAll(row, steps)
	if len(problems) > 0 {
		return showProblems(problems)
	}
	out := showType(p.Row())
	for _, e := range p.Explain() {
		if e.Kernels {
			out += fmt.Sprintf("%s runs as kernels\n", e.Step)
		} else {
			out += fmt.Sprintf("%s runs in cel-go: %s\n", e.Step, e.Why)
		}
	}
	if len(in) == 0 {
		return out
	}
	rows := parseRows(t, d, row, in[0])
	return out + apply(t, p, row, steps, rows)
}

func showProblems(problems []cleanse.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "step %d, %s: %s\n", p.Step, p.Field, p.Message)
		if p.Hint != "" {
			fmt.Fprintf(&b, "    hint: %s\n", p.Hint)
		}
	}
	return b.String()
}

func showType(t *batch.Type) string {
	s := t.String()
	return strings.TrimSuffix(strings.TrimPrefix(s, "struct<"), ">") + "\n"
}

func parseRows(t *testing.T, d *datadriven.TestData, row *batch.Type, text string) []any {
	var rows []any
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			d.Fatalf(t, "%s: %s", line, err)
		}
		r, err := fromJSON(row, v)
		if err != nil {
			d.Fatalf(t, "%s: %s", line, err)
		}
		rows = append(rows, r)
	}
	return rows
}

// apply runs the program and shows each row; the interpreter must agree.
func apply(t *testing.T, p *cleanse.Program, row *batch.Type, steps []configs.Step, rows []any) string {
	b := newBatch(row, rows, nil)
	if err := p.Apply(b); err != nil {
		t.Fatal(err)
	}
	checkColumn(t, "row", p.Row(), b.Root, true, len(rows), len(b.Mem))
	compare(t, row, steps, rows, nil, b)
	var out strings.Builder
	for i := range rows {
		switch b.Fate[i] {
		case batch.Keep:
			fmt.Fprintln(&out, toJSON(p.Row(), readValue(b.Records, p.Row(), b.Root, i)))
		case batch.Filtered:
			for step, recs := range b.FilteredBy {
				if slices.Contains(recs, int32(i)) {
					fmt.Fprintf(&out, "filtered by %s\n", step)
				}
			}
		case batch.Dead:
			for _, r := range b.Rejects {
				if r.Record == int32(i) {
					fmt.Fprintf(&out, "rejected by %s: %s\n", r.Step, r.Reason)
				}
			}
		}
	}
	return out.String()
}
