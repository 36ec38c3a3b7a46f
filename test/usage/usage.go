// Package usage says what a process has used, for benchmarks and tests of memory. It reads /proc, so it is for Linux only.
package usage

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// CPU is the user and system time of this process so far. Unlike the time that passes, it does not count other programs on the machine.
func CPU(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Figures of a process's memory, as the kernel names them.
const (
	// Peak is the greatest resident memory so far. The kernel's other figure, ru_maxrss, is of no use for children: it begins with the parent's.
	Peak = "VmHWM"
	// Anonymous is the resident memory without pages of files.
	Anonymous = "RssAnon"
)

// Memory reads a figure of this process's memory, bytes.
func Memory(t testing.TB, figure string) int64 {
	t.Helper()
	n, err := MemoryOf(os.Getpid(), figure)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// MemoryOf reads a figure of a process's memory, bytes. It fails for one that has ended.
func MemoryOf(pid int, figure string) (int64, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	status, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, figure+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %s: %w", path, figure, err)
			}
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s: the process has no memory any more", path, figure)
}

// ResetPeak has the Peak of this process begin with what it needs now, without garbage.
func ResetPeak(t testing.TB) {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}
