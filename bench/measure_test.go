//go:build stack

package bench

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/usage"
)

// figures are what a run took.
type figures struct {
	records int
	cpu     time.Duration // user and system
	wall    time.Duration
	peak    int64 // VmHWM, bytes
	stored  int64 // bytes in Parquet files; 0: none are written
	rows    int   // in those files
}

func (f figures) report(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(f.cpu.Seconds()/float64(f.records)*1e6, "cpu-s/M")
	b.ReportMetric(float64(f.records)/f.cpu.Seconds(), "records/cpu-s")
	b.ReportMetric(float64(f.records)/f.wall.Seconds(), "records/s")
	b.ReportMetric(float64(f.peak)/(1<<20), "MiB-peak")
	if f.stored > 0 {
		b.ReportMetric(float64(f.stored)/float64(f.rows), "B/row")
	}
}

// here measures a function of this process. The peak of memory is this process's while f runs, with what it held before.
func here(b *testing.B, records int, f func()) figures {
	b.Helper()
	usage.ResetPeak(b)
	began, cpu := time.Now(), usage.CPU(b)
	f()
	return figures{records: records, cpu: usage.CPU(b) - cpu, wall: time.Since(began), peak: usage.Memory(b, usage.Peak)}
}

// child is a process that is measured.
type child struct {
	b     *testing.B
	cmd   *exec.Cmd
	log   string // file with what it prints
	began time.Time
	peak  chan int64
	done  chan struct{}
	err   error
}

// start starts a program whose output goes to the file log.
func start(b *testing.B, log, path string, args ...string) *child {
	b.Helper()
	out, err := os.Create(log)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	c := &child{b: b, cmd: exec.Command(path, args...), log: log, began: time.Now(), peak: make(chan int64, 1), done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = out, out
	if err := c.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	go c.watch()
	b.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it has ended already unless something failed
		<-c.done
	})
	return c
}

func (c *child) watch() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	peak := int64(0)
	for {
		if p, err := usage.MemoryOf(c.cmd.Process.Pid, usage.Peak); err == nil { // fails once the process is gone
			peak = max(peak, p)
		}
		select {
		case <-c.done:
			c.peak <- peak
			return
		case <-tick.C:
		}
	}
}

// wait waits for the process's end, which must be a success.
func (c *child) wait(records int) figures {
	c.b.Helper()
	select {
	case <-c.done:
	case <-time.After(10 * time.Minute):
		_ = c.cmd.Process.Kill()
		<-c.done
		c.b.Fatalf("%s did not end:\n%s", c.cmd, c.text())
	}
	if c.err != nil {
		c.b.Fatalf("%s: %v\n%s", c.cmd, c.err, c.text())
	}
	s := c.cmd.ProcessState
	return figures{records: records, cpu: s.UserTime() + s.SystemTime(), wall: time.Since(c.began), peak: <-c.peak}
}

func (c *child) text() string {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
