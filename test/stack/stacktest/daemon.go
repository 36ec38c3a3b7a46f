//go:build stack

package stacktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for something that must happen.
const patience = 90 * time.Second

// Binary builds lakeloader as it stands, once for all packages that are tested together, and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	return shipped.path(t)
}

// ChaosBinary is Binary with the build tag chaos: it has the points of internal/point.
func ChaosBinary(t testing.TB) string {
	t.Helper()
	return struck.path(t)
}

var shipped, struck = &program{name: "lakeloader"}, &program{name: "lakeloader-chaos", tags: "chaos"}

// program is built at most once by a test process: even to find it up to date takes go a second.
type program struct {
	name, tags string
	once       sync.Once
	err        error
}

func (b *program) path(t testing.TB) string {
	t.Helper()
	path, err := b.build(env(t, "STACK_DIR"), Root(t))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (b *program) build(dir, root string) (path string, err error) {
	path = filepath.Join(dir, b.name) // go build leaves it alone when it is up to date
	b.once.Do(func() {
		lock, err := os.OpenFile(filepath.Join(dir, b.name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			b.err = err
			return
		}
		defer func() { _ = lock.Close() }() // gives the lock back
		if b.err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); b.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", b.tags, "-o", path, "./cmd/lakeloader")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("building lakeloader: %w\n%s", err, out)
		}
	})
	return path, b.err
}

// Lakeloader runs a command of lakeloader to its end and returns what it printed and its exit code.
func Lakeloader(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return command(t, Binary(t), args)
}

// ChaosLakeloader is Lakeloader for a test that needs the other binary anyway.
func ChaosLakeloader(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return command(t, ChaosBinary(t), args)
}

func command(t testing.TB, path string, args []string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Daemon is a running `lakeloader run`. It is killed when the test ends.
type Daemon struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{} // closed when the process is gone
}

// StartDaemon starts `lakeloader run -c config` with further environment variables (NAME=value). It does not wait until
// the daemon is ready. Its log is shown when the test fails.
func StartDaemon(t testing.TB, config string, environ ...string) *Daemon {
	t.Helper()
	cmd := exec.Command(Binary(t), "run", "-c", config)
	cmd.Env = append(os.Environ(), environ...)
	d := startDaemon(t, cmd)
	t.Cleanup(func() {
		d.Kill()
		if t.Failed() {
			t.Logf("log of lakeloader run -c %s:\n%s", config, d.Log())
		}
	})
	return d
}

// StartChaosDaemon starts `lakeloader run -c config` with the points of internal/point: the process tells its steps to the
// file steps and takes its orders from the other, both pipes or /dev/null (a pipe that nobody reads would hold it up).
// Beforehand it obeys first. The log is for the caller to show.
func StartChaosDaemon(t testing.TB, config string, steps, orders *os.File, first string) *Daemon {
	t.Helper()
	return StartChaosCommand(t, steps, orders, first, "run", "-c", config)
}

// StartChaosCommand is StartChaosDaemon for any command of lakeloader.
func StartChaosCommand(t testing.TB, steps, orders *os.File, first string, args ...string) *Daemon {
	t.Helper()
	cmd := exec.Command(ChaosBinary(t), args...)
	cmd.Env = append(os.Environ(), "LAKELOADER_POINTS=on\n"+first)
	cmd.ExtraFiles = []*os.File{steps, orders}
	d := startDaemon(t, cmd)
	t.Cleanup(d.Kill)
	return d
}

func startDaemon(t testing.TB, cmd *exec.Cmd) *Daemon {
	t.Helper()
	d := &Daemon{t: t, cmd: cmd, log: newLogBuffer(), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // the exit code is read from ProcessState
		d.log.close()
		close(d.done)
	}()
	return d
}

// PID is the process's id.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Kill ends the daemon at once with SIGKILL, and returns when it is gone.
func (d *Daemon) Kill() {
	d.t.Helper()
	d.signal(syscall.SIGKILL)
	<-d.done
}

// Stop asks the daemon to stop with SIGTERM and returns its exit code.
func (d *Daemon) Stop() int {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	return d.Wait()
}

// Wait returns the exit code of a daemon that ends by itself; -1 after a signal that it did not handle.
func (d *Daemon) Wait() int {
	d.t.Helper()
	select {
	case <-d.done:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		d.t.Fatalf("the daemon still runs after %v; its log:\n%s", patience, d.Log())
		return -1
	}
}

// Pause stops the process where it is (SIGSTOP), as a machine does that hangs, until Resume.
func (d *Daemon) Pause() {
	d.t.Helper()
	d.signal(syscall.SIGSTOP)
}

// Resume lets a paused process go on.
func (d *Daemon) Resume() {
	d.t.Helper()
	d.signal(syscall.SIGCONT)
}

// Running reports whether the process is there still.
func (d *Daemon) Running() bool {
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

func (d *Daemon) signal(s os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.t.Fatal(err)
	}
}

// Done is closed when the process is gone.
func (d *Daemon) Done() <-chan struct{} { return d.done }

// Log is what the daemon has written so far.
func (d *Daemon) Log() string { return d.log.String() }

// WaitLog waits for a line of the log that holds all the texts, and returns it; the test fails when the daemon ends
// without one.
func (d *Daemon) WaitLog(texts ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	line, ok := d.log.wait(ctx, texts)
	if !ok {
		d.t.Fatalf("no line with %q in the daemon's log:\n%s", texts, d.Log())
	}
	return line
}

// HTTP is the address (host:port) of the daemon's endpoint for health, metrics and status, as its log tells: tests
// configure port 0.
func (d *Daemon) HTTP() string {
	d.t.Helper()
	var line struct{ Address string }
	text := d.WaitLog(`"msg":"listening"`)
	if err := json.Unmarshal([]byte(text), &line); err != nil || line.Address == "" {
		d.t.Fatalf("no address in the log line %s: %v", text, err)
	}
	return line.Address
}

// Address is what HTTP returns, if the daemon has said so yet.
func (d *Daemon) Address() (string, bool) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	text, ok := d.log.wait(ctx, []string{`"msg":"listening"`})
	var line struct{ Address string }
	ok = ok && json.Unmarshal([]byte(text), &line) == nil && line.Address != ""
	return line.Address, ok
}

// logBuffer collects a process's output and wakes those who wait for a line.
type logBuffer struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{} // closed and replaced at every write; nil after close
}

func newLogBuffer() *logBuffer { return &logBuffer{changed: make(chan struct{})} }

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.text.Write(p)
}

func (b *logBuffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) wait(ctx context.Context, texts []string) (string, bool) {
	for {
		b.mu.Lock()
		text, changed := b.text.String(), b.changed
		b.mu.Unlock()
		for line := range strings.Lines(text) {
			if strings.HasSuffix(line, "\n") && containsAll(line, texts) {
				return line, true
			}
		}
		if changed == nil {
			return "", false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", false
		}
	}
}

func containsAll(line string, texts []string) bool {
	for _, t := range texts {
		if !strings.Contains(line, t) {
			return false
		}
	}
	return true
}
