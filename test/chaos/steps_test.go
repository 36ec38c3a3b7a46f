//go:build stack

package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lakeloader/lakeloader/internal/point"
)

// step is a line that a loader told: that it was at a step of the protocol, or what it did there by order.
type step struct {
	at   time.Time
	what string // step, kill, stop, hold, full, echo
	name string
}

// steps is what one process told, in order.
type steps struct {
	mu      sync.Mutex
	all     []step
	ended   bool
	changed chan struct{} // closed and replaced at every change
}

// follow reads what a process tells until it has ended.
func follow(r io.ReadCloser) *steps {
	s := &steps{changed: make(chan struct{})}
	go func() {
		defer r.Close()
		for lines := bufio.NewScanner(r); lines.Scan(); {
			at, rest, _ := strings.Cut(lines.Text(), " ")
			what, name, _ := strings.Cut(rest, " ")
			ns, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				what, name = "misunderstood", lines.Text()
			}
			s.change(func() { s.all = append(s.all, step{time.Unix(0, ns), what, name}) })
		}
		s.change(func() { s.ended = true })
	}()
	return s
}

func (s *steps) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait waits for a line, and returns it; false: the process or the context ended before.
func (s *steps) wait(ctx context.Context, wanted func(step) bool) (step, bool) {
	for seen := 0; ; {
		s.mu.Lock()
		fresh, ended, changed := s.all[seen:], s.ended, s.changed
		s.mu.Unlock()
		for _, x := range fresh {
			if wanted(x) {
				return x, true
			}
		}
		seen += len(fresh)
		if ended {
			return step{}, false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return step{}, false
		}
	}
}

// idle are the steps after which no round is open, and nothing is to be done.
var idle = map[string]bool{point.Committed: true, point.Assigned: true}

// around names the steps of the protocol between which a moment lies. ok: something was going on in between, a round or
// the settling of one. The later step may be of the next process: it is "" then.
func (s *steps) around(at time.Time) (before, after string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if x.what != "step" {
			continue
		}
		if x.at.After(at) {
			after = x.name
			break
		}
		before = x.name
	}
	return before, after, before != "" && !idle[before] && (after != "" || s.ended)
}

// after returns the steps after a moment.
func (s *steps) after(at time.Time) (out []step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if x.what == "step" && x.at.After(at) {
			out = append(out, x)
		}
	}
	return out
}

// last is the newest step.
func (s *steps) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.all) - 1; i >= 0; i-- {
		if s.all[i].what == "step" {
			return s.all[i].name
		}
	}
	return ""
}

func (s *steps) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, x := range s.all {
		fmt.Fprintf(&b, "%s %s %s\n", x.at.UTC().Format("15:04:05.000000"), x.what, x.name)
	}
	return b.String()
}
