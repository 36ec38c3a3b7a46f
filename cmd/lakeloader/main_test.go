package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// asProgram makes the test's own binary behave as lakeloader, so that tests run the real thing, with its own signals and
// exit codes, and need no build.
const asProgram = "LAKELOADER_TEST_AS_PROGRAM=1"

func TestMain(m *testing.M) {
	if os.Getenv("LAKELOADER_TEST_AS_PROGRAM") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for something that must happen.
const patience = 90 * time.Second

// result is how a command ended.
type result struct {
	t              *testing.T
	args           []string
	stdout, stderr string
	code           int
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asProgram)
	return cmd
}

// lakeloader runs a command to its end.
func lakeloader(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := program(t, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{t, args, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ends checks the exit code, and that what was printed holds the texts.
func (r result) ends(code int, texts ...string) result {
	r.t.Helper()
	if r.code != code {
		r.t.Errorf("%q: exit code %d, want %d:\n%s%s", r.args, r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stdout+r.stderr, text) {
			r.t.Errorf("%q does not say %q:\n%s%s", r.args, text, r.stdout, r.stderr)
		}
	}
	return r
}

// running is a command that runs.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string
	stderr bytes.Buffer
	seen   strings.Builder
}

// start starts a command; its standard output is to be read with line.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: program(t, args...), lines: make(chan string, 1<<16)}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	return r
}

// line waits for a line that matches and returns its groups.
func (r *running) line(pattern string) []string {
	r.t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		select {
		case text, ok := <-r.lines:
			r.seen.WriteString(text + "\n")
			if !ok {
				r.t.Fatalf("it ended without a line like %s:\n%s%s", pattern, r.seen.String(), r.stderr.String())
			}
			if m := re.FindStringSubmatch(text); m != nil {
				return m
			}
		case <-limit.C:
			r.t.Fatalf("no line like %s:\n%s", pattern, r.seen.String())
		}
	}
}

func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// wait waits for the end.
func (r *running) wait() result {
	r.t.Helper()
	for text := range r.lines {
		r.seen.WriteString(text + "\n")
	}
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return result{r.t, r.cmd.Args[1:], r.seen.String(), r.stderr.String(), r.cmd.ProcessState.ExitCode()}
}

// lakeConfig writes a configuration of the test's Kafka and lake, and what comes after these.
func lakeConfig(t *testing.T, e *pipelinetest.Env, rest string) string {
	t.Helper()
	return write(t, "lakeloader.yaml", fmt.Sprintf("kafka: {brokers: [%q]}\nwarehouse: {location: %q}", strings.Join(e.Config.Brokers, ","), filepath.Join(e.Dir, "lake"))+rest)
}

// write makes a file in a folder of the test's own and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
