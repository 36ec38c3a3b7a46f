//go:build chaos

package point

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// The suite hands two pipes over: where steps are told, and where orders come from. Pipes keep what a process wrote
// before it was killed, and a full disk does not stop them.
const (
	stepsFD  = 3
	ordersFD = 4
	// env is set by the suite to say that the pipes are there; its lines are orders.
	env = "LAKELOADER_POINTS"
)

// state is the process's only one: points are spread over all packages.
var state = open()

type points struct {
	mu    sync.Mutex
	steps *os.File
	armed map[string]string // what to do at a step, once
	held  map[string]chan struct{}
	left  int // steps until it dies; 0: no number of them kills
	full  bool
	jump  time.Duration
}

func open() *points {
	p := &points{armed: map[string]string{}, held: map[string]chan struct{}{}}
	if os.Getenv(env) == "" {
		return p
	}
	syscall.CloseOnExec(stepsFD)
	syscall.CloseOnExec(ordersFD)
	p.steps = os.NewFile(stepsFD, "steps")
	for line := range strings.Lines(os.Getenv(env)) {
		p.order(strings.Fields(line))
	}
	go func() {
		for s := bufio.NewScanner(os.NewFile(ordersFD, "orders")); s.Scan(); {
			p.order(strings.Fields(s.Text()))
		}
	}()
	return p
}

// order obeys one of
//
//	arm STEP kill|stop|hold    do it when the step is reached next
//	after N kill               die at the Nth step from now on, whichever it is
//	disarm                     take back all that was armed
//	release                    let those go on that are held
//	disk full|free
//	clock DURATION             the clock is that far off from now on
//	echo TEXT                  tell TEXT as a step: all orders before it were obeyed
func (p *points) order(words []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(words) == 3 && words[0] == "arm":
		p.armed[words[1]] = words[2]
	case len(words) == 3 && words[0] == "after" && words[2] == "kill":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			p.tell("misunderstood", err.Error())
		}
		p.left = n
	case len(words) == 1 && words[0] == "disarm":
		clear(p.armed)
		p.left = 0
	case len(words) == 1 && words[0] == "release":
		for step, c := range p.held {
			close(c)
			delete(p.held, step)
		}
	case len(words) == 2 && words[0] == "disk":
		p.full = words[1] == "full"
	case len(words) == 2 && words[0] == "clock":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			p.tell("misunderstood", err.Error())
		}
		p.jump = d
	case len(words) == 0, len(words) == 1 && words[0] == "on":
	case len(words) == 2 && words[0] == "echo":
		p.tell("echo", words[1])
	default:
		p.tell("misunderstood", strings.Join(words, " "))
	}
}

// tell writes one line: the time in Unix nanoseconds, what, and the step. The suite reads all of it; should it be gone,
// there is nobody left to tell.
func (p *points) tell(what, step string) {
	if p.steps != nil {
		_, _ = fmt.Fprintf(p.steps, "%d %s %s\n", time.Now().UnixNano(), what, step)
	}
}

// Hit says that the process is at a named step.
func Hit(step string) {
	p := state
	p.mu.Lock()
	p.tell("step", step)
	do := p.armed[step]
	delete(p.armed, step)
	if p.left--; p.left == 0 {
		do = "kill"
	}
	p.left = max(0, p.left)
	if do != "" {
		p.tell(do, step)
	}
	var held chan struct{}
	switch do {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "hold":
		if held = p.held[step]; held == nil {
			held = make(chan struct{})
			p.held[step] = held
		}
	}
	p.mu.Unlock()
	if held != nil {
		<-held
	}
}

// Disk is what a write to the local disk fails with before it is tried; nil: it is tried.
func Disk() error {
	p := state
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.full {
		return nil
	}
	p.tell("full", "disk")
	return syscall.ENOSPC
}

// Now is the time. When the clock has jumped, the wall clock alone differs: as on a real machine, the monotonic clock,
// which differences between two times use, goes on as before.
func Now() time.Time {
	p := state
	p.mu.Lock()
	jump := p.jump
	p.mu.Unlock()
	t := time.Now()
	const seconds = 30 // package time keeps 33 bits of seconds above 30 bits of nanoseconds, if there is a monotonic clock
	(*struct{ wall uint64 })(unsafe.Pointer(&t)).wall += uint64(int64(jump/time.Second)) << seconds
	return t
}
