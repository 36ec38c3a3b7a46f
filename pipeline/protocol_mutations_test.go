package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A mutation takes one rule out of commit.go or settle.go: in the function named, old becomes new.
type mutation struct{ name, function, old, new string }

var mutations = []mutation{
	{"From is not compared with the table", "step3", "if known != m.Known || known && !now.Same(m.From) {", "if _ = known; false {"},
	{"From is compared by offset only", "step3", "!now.Same(m.From)", "now.Next != m.From.Next"},
	{"the uuid is not compared in a swap", "present", "base.UUID != c.uuid", "false"},
	{"a rollback is not noticed in a swap", "present", "return l, c.notRolledBack(ctx, c.Primary, base, l.Move)", "return l, nil"},
	{"files that may have been deleted are committed", "step3", "age > c.OrphanAge/2", "age > c.OrphanAge*1000"},
	{"rounds leave pending before they are finished", "step3", "return c.done[p.ID]", "return true"},
	{"a round with an object is not pending", "step3", "if r.needsObject() {", "if false {"},
	{"the object is not written before the swap", "Commit", "if r.needsObject() {", "if false {"},
	{"applied is not compared", "step4", "a.Number >= p.Number", "false"},
	{"applied of another primary counts", "step4", "switch a.UUID {", "if a.UUID != \"\" {\na.UUID = c.uuid\n}\nswitch a.UUID {"},
	{"a primary that is gone overwrites applied", "step4", "if err := c.samePrimary(ctx); err != nil {", "if false {\nvar err error"},
	{"a rollback is not noticed in another table", "applied", "return a, c.notRolledBack(ctx, t.Table, base, a.Snapshot)", "return a, nil"},
	{"rounds are not applied in ascending order", "Finish", "if rounds[i] == nil {", "if rounds[i] == nil || !rounds[i].movesAny(owned) {"},
	{"a round leaves pending without its mark", "Finish", "if err := c.Rounds.PutCommitted(ctx, c.uuid, p.Number, p.ID); err != nil {", "if err := error(nil); err != nil {"},
	{"a new epoch has the number of the one before", "applyEdits", "to.Epoch = now.Epoch + 1", "to.Epoch = now.Epoch"},
	{"the rest of pending is taken out before it is finished", "Settle", "return c.done[p.ID]", "return true"},
	{"a table that rows are routed to is not listed", "list", "l.Tables = append(l.Tables, table.Routed{Ident: t.Table, Value: t.Value})", "_ = l"},
	{"a table takes the rows of two values", "list", "t.Value != \"\" && t.Value != known.Value", "false"},
	{control, "move", "return table.Change{", "return table.Change{Add: nil,"},
}

// control is the mutation that changes nothing: it must survive, or the others prove nothing.
const control = "nothing"

// mutantSeeds is how many histories are tried at most.
const mutantSeeds = 3000

// TestProtocolNeedsEachRule compiles the protocol once for each mutation, with the same simulation, and shows that there
// is a history in which it loses or duplicates something. Production code has no hooks for this: the copies exist in an
// overlay of the compiler only.
func TestProtocolNeedsEachRule(t *testing.T) {
	out := runMutants(t, "package main\n\n"+mutantsMain(t))
	for i, m := range mutations {
		result, ok := out[fmt.Sprint(i)]
		if !ok {
			t.Fatalf("no result of %q in %v", m.name, out)
		}
		if survived := result == "survived"; survived != (m.name == control) {
			t.Errorf("%s: %s", m.name, result)
		} else {
			t.Logf("%s: %s", m.name, result)
		}
	}
}

// mutantsMain is a program that runs all mutants, each in a goroutine.
func mutantsMain(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("import (\n\t\"fmt\"\n\t\"sync\"\n\n")
	for i := range mutations {
		fmt.Fprintf(&b, "\tm%d %q\n", i, mutantPath(i))
	}
	b.WriteString(")\n\nfunc main() {\n\tvar wg sync.WaitGroup\n\tresults := make([]string, " + fmt.Sprint(len(mutations)) + ")\n")
	for i := range mutations {
		seeds := mutantSeeds
		if mutations[i].name == control {
			seeds = 60
		}
		fmt.Fprintf(&b, "\twg.Go(func() { results[%d] = m%[1]d.Simulate(%d) })\n", i, seeds)
	}
	b.WriteString("\twg.Wait()\n\tfor i, r := range results {\n\t\tfmt.Printf(\"%d\\t%s\\n\", i, r)\n\t}\n}\n")
	return b.String()
}

func mutantPath(i int) string {
	return fmt.Sprintf("github.com/lakeloader/lakeloader/pipeline/mutants/m%d", i)
}

// simulate is added to each mutant.
const simulate = `package pipeline

import "fmt"

// Simulate says with which seed the protocol breaks, and how. A mutant may do what the code around it never expects.
func Simulate(seeds int64) string {
	for seed := range seeds {
		if err := try(seed); err != nil {
			return fmt.Sprintf("seed %d: %v", seed, err)
		}
	}
	return "survived"
}

func try(seed int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	_, err = runSim(seed)
	return err
}
`

func runMutants(t *testing.T, program string) map[string]string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	replace := map[string]string{}
	put := func(at, text string) {
		name := filepath.Join(tmp, fmt.Sprintf("f%d.go", len(replace)))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[at] = name
	}
	source := map[string]string{}
	for _, f := range []string{"commit.go", "settle.go", "edits.go", "round.go", "rounds.go", "track.go", "sim_world_test.go", "sim_loader_test.go"} {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source[strings.TrimSuffix(strings.TrimSuffix(f, ".go"), "_test")+".go"] = string(text)
	}
	source["simulate.go"] = simulate
	for i, m := range mutations {
		file := "commit.go"
		if !strings.Contains(source[file], m.signature()) {
			file = "settle.go"
		}
		for name, text := range source {
			if name == file {
				text = m.apply(t, text)
			}
			put(filepath.Join(here, "mutants", fmt.Sprint("m", i), name), text)
		}
	}
	put(filepath.Join(here, "mutants", "main", "main.go"), program)
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(filepath.Join(tmp, "overlay.json"), overlay, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return goRun(t, filepath.Join(tmp, "overlay.json"))
}

func goRun(t *testing.T, overlay string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "-overlay", overlay, "./mutants/main")
	text, err := cmd.Output()
	if err != nil {
		stderr := ""
		if e, ok := err.(*exec.ExitError); ok {
			stderr = string(e.Stderr)
		}
		t.Fatalf("%v\n%s", err, stderr)
	}
	results := map[string]string{}
	for line := range strings.Lines(string(text)) {
		n, result, _ := strings.Cut(strings.TrimSpace(line), "\t")
		results[n] = result
	}
	return results
}

func (m mutation) signature() string {
	if m.function == "applyEdits" {
		return "func applyEdits("
	}
	return "func (c *Committer) " + m.function + "("
}

// apply changes one function. The text must be there, just once.
func (m mutation) apply(t *testing.T, text string) string {
	t.Helper()
	at := strings.Index(text, m.signature())
	if at < 0 {
		t.Fatalf("%s: there is no function %s", m.name, m.function)
	}
	end := at + strings.Index(text[at:], "\n}\n")
	body := text[at:end]
	if n := strings.Count(body, m.old); n != 1 {
		t.Fatalf("%s: %s has %q %d times", m.name, m.function, m.old, n)
	}
	return text[:at] + strings.Replace(body, m.old, m.new, 1) + text[end:]
}
