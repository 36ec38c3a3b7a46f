package cleanse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
)

// TestHostileExpressions: what a record could make cost without bound is refused when the steps are compiled, or ends at
// the limit for a row.
func TestHostileExpressions(t *testing.T) {
	row, err := batch.ParseType("struct<s: string required, p: string required, l: list<long> required>")
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.TrimSuffix(strings.Repeat("0,", 3000), ",")
	hostile := `{"s":"` + strings.Repeat("a", 100_000) + `","p":"(a*)*","l":[` + zeros + `]}`
	harmless := `{"s":"a","p":"b","l":[1,2,3]}`
	rows := parseRows(t, &datadriven.TestData{}, row, harmless+"\n"+hostile)
	for expression, c := range map[string]struct {
		problem string // at compile time
		ends    bool   // the hostile row ends at the limit
	}{
		`l.all(x, l.all(y, x + y >= 0))`:                                    {ends: true},
		`l.exists(x, l.map(y, y + x).size() < 0)`:                           {ends: true},
		`l.map(x, s + s).size() > 0`:                                        {ends: true},
		`l.filter(x, s.matches('(a|aa)*b')).size() == 0`:                    {ends: true},
		`l.all(x, x >= 0)`:                                                  {},
		`s.matches('(a|aa|aaa)*b') || s.matches('(x+x+)+y') || size(s) > 0`: {},
		`s.matches(p)`:                 {problem: "the pattern of matches comes from the row"},
		`l.exists(x, matches(s, p))`:   {problem: "the pattern of matches comes from the row"},
		`s.replace('', s) == p`:        {problem: "the replacement of replace comes from the row"},
		`s.replace(p, s + s, 3) == ''`: {problem: "the replacement of replace comes from the row"},
		`s.replace(p, '') != ''`:       {},
		`s.matches('a{1000}{1000}')`:   {problem: "invalid nested repetition operator"},
		`[` + strings.Repeat("0,", 999) + `0].map(a, [` + strings.Repeat("0,", 999) + `0].map(b, a + b)).size() > 0`: {problem: "for every row"},
	} {
		t.Run(expression[:min(len(expression), 60)], func(t *testing.T) {
			steps := []configs.Step{{Filter: &configs.FilterStep{Expression: expression}}}
			began := time.Now()
			out := ""
			p, problems := cleanse.CompileAll(row, steps)
			if len(problems) > 0 {
				out = showProblems(problems)
			} else {
				b := newBatch(row, rows, nil) // without the interpreter, which knows no limits
				if err := p.Apply(b); err != nil {
					t.Fatal(err)
				}
				for _, r := range b.Rejects {
					out += r.Reason
				}
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			switch {
			case c.problem != "":
				if !strings.Contains(out, c.problem) {
					t.Errorf("%.500s, want the problem %q", out, c.problem)
				}
			case c.ends != strings.Contains(out, "cost"):
				t.Errorf("%.1500s", out)
			}
		})
	}
}
