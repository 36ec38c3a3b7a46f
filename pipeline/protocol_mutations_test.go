package pipeline

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A mutation takes one rule out of the protocol: in the function named, old becomes new. The text must be there just once.
type mutation struct{ name, function, old, new string }

// control is the mutation that changes nothing: it must survive, or the others prove nothing.
const control = "nothing"

// mutantSeeds is how many histories are tried at most: some of those that the simulation goes through without mutations.
const mutantSeeds = 2000

// TestProtocolNeedsEachRule compiles the simulation with a second copy of each function that has mutations, one for each of
// them, and shows that there is a history in which something is lost, duplicated, or never finished. Production code has no
// hooks for this: the copies exist in an overlay of the compiler only.
func TestProtocolNeedsEachRule(t *testing.T) {
	program := buildMutants(t)
	results := make([]string, len(mutations))
	todo := make(chan int, len(mutations))
	for i := range mutations {
		todo <- i
	}
	close(todo)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range todo {
				seeds := mutantSeeds
				if mutations[i].name == control {
					seeds = 50
				}
				cmd := exec.CommandContext(t.Context(), program, fmt.Sprint(i+1), fmt.Sprint(seeds))
				cmd.Env = append(os.Environ(), "GOGC=800")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("%s: %v\n%s", mutations[i].name, err, out)
				}
				results[i] = strings.TrimSpace(string(out))
			}
		})
	}
	wg.Wait()
	for i, m := range mutations {
		if survived := results[i] == "survived"; survived != (m.name == control) {
			t.Errorf("%s: %s", m.name, results[i])
		} else {
			t.Logf("%s: %s", m.name, results[i])
		}
	}
}

// mutantsMain is the program: it says with which seed a mutant fails, and how. A mutant may do what the code around it
// never expects.
const mutantsMain = `package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/lakeloader/lakeloader/jobs/mutants"
	pipeline "github.com/lakeloader/lakeloader/pipeline/mutants"
)

func main() {
	mutant, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	seeds, err := strconv.ParseInt(os.Args[2], 10, 64)
	if err != nil {
		panic(err)
	}
	pipeline.Mutant, jobs.Mutant = mutant, mutant
	fmt.Println(pipeline.Simulate(seeds))
}
`

const mutantsSimulate = `package pipeline

import "fmt"

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
	_, err = runSim(seed, nil)
	return err
}
`

// buildMutants compiles the program with all mutants.
func buildMutants(t *testing.T) string {
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
	found := map[string]bool{}
	for _, pkg := range []string{"pipeline", "jobs"} {
		files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			base := filepath.Base(file)
			if strings.HasSuffix(base, "_test.go") && (!strings.HasPrefix(base, "sim_") || strings.HasPrefix(base, "sim_seeds")) {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			mutated := mutate(t, pkg, string(text), found)
			mutated = strings.Replace(mutated, `"github.com/lakeloader/lakeloader/jobs"`, `"github.com/lakeloader/lakeloader/jobs/mutants"`, 1)
			put(filepath.Join(here, "..", pkg, "mutants", strings.TrimSuffix(base, "_test.go")+"_.go"), mutated)
		}
		put(filepath.Join(here, "..", pkg, "mutants", "mutant.go"), "package "+pkg+"\n\nvar Mutant int\n")
	}
	for _, m := range mutations {
		if !found[m.name] {
			t.Errorf("%s: there is no function %s", m.name, m.function)
		}
	}
	put(filepath.Join(here, "mutants", "simulate.go"), mutantsSimulate)
	put(filepath.Join(here, "mutants", "main", "main.go"), mutantsMain)
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(filepath.Join(tmp, "overlay.json"), overlay, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(tmp, "mutants")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-buildvcs=false", "-overlay", filepath.Join(tmp, "overlay.json"), "-o", program, "./mutants/main")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// mutate gives each function that has mutations a copy for each of them, which takes its place when it is chosen.
func mutate(t *testing.T, pkg, text string, found map[string]bool) string {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	done := 0
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		var mine []int
		for i, m := range mutations {
			if m.function == pkg+"."+functionName(f) {
				mine = append(mine, i)
				found[m.name] = true
			}
		}
		if len(mine) == 0 {
			continue
		}
		at := func(p token.Pos) int { return set.Position(p).Offset }
		head, name, tail := text[at(f.Pos()):at(f.Name.Pos())], f.Name.Name, text[at(f.Name.End()):at(f.End())]
		b.WriteString(text[done:at(f.Pos())])
		b.WriteString(head + name + text[at(f.Name.End()):at(f.Body.Pos())] + "{\n\tswitch Mutant {\n")
		for _, i := range mine {
			fmt.Fprintf(&b, "\tcase %d:\n\t\t%s\n", i+1, callOf(f, fmt.Sprintf("%s_%d", name, i+1)))
		}
		b.WriteString("\tdefault:\n\t\t" + callOf(f, name+"_0") + "\n\t}\n}\n\n" + head + name + "_0" + tail + "\n")
		for _, i := range mine {
			m := mutations[i]
			if n := strings.Count(tail, m.old); n != 1 {
				t.Fatalf("%s: %s has %q %d times", m.name, m.function, m.old, n)
			}
			fmt.Fprintf(&b, "\n%s%s_%d%s\n", head, name, i+1, strings.Replace(tail, m.old, m.new, 1))
		}
		done = at(f.End())
	}
	return b.String() + text[done:]
}

// functionName is Type.method or function.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	return typ.(*ast.Ident).Name + "." + f.Name.Name
}

// callOf calls a copy of f with its own parameters.
func callOf(f *ast.FuncDecl, name string) string {
	var args []string
	for _, p := range f.Type.Params.List {
		for _, n := range p.Names {
			args = append(args, n.Name)
		}
	}
	if f.Recv != nil {
		name = f.Recv.List[0].Names[0].Name + "." + name
	}
	call := name + "(" + strings.Join(args, ", ") + ")"
	if f.Type.Results == nil {
		return call
	}
	return "return " + call
}

// TestMutationsHaveNames: each is told by its own.
func TestMutationsHaveNames(t *testing.T) {
	var names []string
	for _, m := range mutations {
		if slices.Contains(names, m.name) {
			t.Errorf("two mutations are called %q", m.name)
		}
		names = append(names, m.name)
	}
}
