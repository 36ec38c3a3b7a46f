package usage

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// TestWhatIsUsedCounts uses memory and CPU and finds both in the figures.
func TestWhatIsUsedCounts(t *testing.T) {
	ResetPeak(t)
	before, cpu := Memory(t, Anonymous), CPU(t)
	const size = 64 << 20
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
	}
	if CPU(t) <= cpu {
		t.Errorf("%d bytes were written, and took no CPU", size)
	}
	if now := Memory(t, Anonymous); now < before+size/2 {
		t.Errorf("%d bytes are resident, after %d, with %d more", now, before, size)
	}
	runtime.KeepAlive(b)
	if peak := Memory(t, Peak); peak < before+size/2 {
		t.Errorf("the peak is %d, of %d with %d more", peak, before, size)
	} else if ResetPeak(t); Memory(t, Peak) > peak-size/2 {
		t.Errorf("after it was reset the peak is %d, as before (%d)", Memory(t, Peak), peak)
	}
}

// TestProcessesThatHaveNoMemory: one that has ended, and a figure that there is not.
func TestProcessesThatHaveNoMemory(t *testing.T) {
	c := exec.Command("true")
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if n, err := MemoryOf(c.Process.Pid, Peak); err == nil {
		t.Errorf("a process that has ended has a peak of %d", n)
	}
	if n, err := MemoryOf(os.Getpid(), "VmNone"); err == nil {
		t.Errorf("there is no such figure, but it is %d", n)
	}
}
