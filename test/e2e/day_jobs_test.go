//go:build stack

package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// dayJobs are those that run beside the loader.
var dayJobs = []string{"compact", "clicks_daily", "visitors_daily", "expire", "complete", "history", "fold", "retention", "orphans"}

// schedules is what a process is called that runs all jobs by their schedules.
const schedules = "(all by their schedules)"

// dayRuns are the runs of a job.
type dayRuns struct {
	killed, ended int
	took          time.Duration // by the last run that ended by itself
	at            []float64     // the moments of the kills, as parts of took
}

// letThrough is what a run may take that is to end by itself.
const letThrough = time.Minute

// killer runs jobs, one process at a time, and kills most of them with kill -9, at any moment of the time that they take: some when
// they have hardly begun, some when they are almost done. Every third run of a job may end by itself, which also says how long it takes.
type killer struct {
	binary, config string
	schedules      time.Duration      // the longest that jobs run by their schedules
	asked          chan chan struct{} // for jobs that may end
	ended          chan struct{}      // closed when no more jobs are run
	fail           func(string, ...any)
	rnd            *rand.Rand
	runs           map[string]*dayRuns
}

func newKiller(binary, config string, schedules time.Duration, fail func(string, ...any)) *killer {
	return &killer{binary: binary, config: config, fail: fail, schedules: schedules, asked: make(chan chan struct{}), ended: make(chan struct{})}
}

// run goes on until the context ends.
func (k *killer) run(ctx context.Context) map[string]*dayRuns {
	defer close(k.ended)
	k.rnd, k.runs = rand.New(rand.NewPCG(7, 11)), map[string]*dayRuns{schedules: {took: k.schedules}}
	for _, name := range dayJobs {
		k.runs[name] = &dayRuns{took: 400 * time.Millisecond}
	}
	for ok := true; ok && ctx.Err() == nil; {
		ok = k.round(ctx)
	}
	return k.runs
}

// tidy has the jobs run to their end that keep files and metadata few, and waits for them.
func (k *killer) tidy() {
	done := make(chan struct{})
	select {
	case k.asked <- done:
		<-done
	case <-k.ended:
	}
}

// round runs each job once by itself, in a random order, and in between all of them by their schedules.
func (k *killer) round(ctx context.Context) bool {
	for i, at := range k.rnd.Perm(len(dayJobs)) {
		name := dayJobs[at]
		if !k.one(ctx, name, false, "job", "run", name, "-c", k.config) {
			return false
		}
		if i%3 == 1 && !k.one(ctx, schedules, false, "jobs", "-c", k.config) {
			return false
		}
		select {
		case done := <-k.asked:
			ok := true
			for _, name := range []string{"compact", "complete", "expire"} {
				ok = ok && k.one(ctx, name, true, "job", "run", name, "-c", k.config)
			}
			close(done)
			if !ok {
				return false
			}
		default:
		}
	}
	return true
}

// one runs a command, and kills it at a moment of its own, unless it is let. It says whether to go on.
func (k *killer) one(ctx context.Context, name string, let bool, args ...string) bool {
	r := k.runs[name]
	forever := name == schedules
	part := k.rnd.Float64()
	wait := time.Duration(part * float64(r.took))
	switch {
	case let:
		wait = time.Hour
	case !forever && (r.killed+r.ended)%3 == 2:
		part, wait = 1, letThrough
	}
	var log strings.Builder
	cmd := exec.Command(k.binary, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		k.fail("%v", err)
		return false
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ProcessState tells
		close(done)
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	killed := false
	select {
	case <-timer.C:
		killed = true
	case <-ctx.Done():
	case <-done:
		if forever || !cmd.ProcessState.Success() {
			k.fail("%v ended by itself: %v\n%s", args, cmd.ProcessState, log.String())
			return false
		}
		r.ended++
		r.took = time.Since(began)
		return true
	}
	_ = cmd.Process.Kill() // it may be gone
	<-done
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			k.fail("a job failed: %s", line)
		}
	}
	if killed {
		r.killed++
		r.at = append(r.at, part)
	}
	return true
}

// reportRuns tells how often each job was killed, and when. In a day of many commits each must have been, time and again.
func reportRuns(t *testing.T, runs map[string]*dayRuns, commits int) string {
	t.Helper()
	var out strings.Builder
	all := 0
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		r := runs[name]
		all += r.killed
		if r.killed < commits/500 {
			t.Errorf("the job %s was killed %d times only", name, r.killed)
		}
		var thirds [3]int
		for _, part := range r.at {
			thirds[min(2, int(3*part))]++
		}
		fmt.Fprintf(&out, "%-25s killed %3d times (in the first, second, last third of its time: %d, %d, %d), ended by itself %d times, in %v the last time\n",
			name, r.killed, thirds[0], thirds[1], thirds[2], r.ended, r.took.Round(time.Millisecond))
	}
	if all == 0 {
		t.Error("no job was killed")
	}
	return out.String()
}
