package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func testRunner(t *testing.T, run func(ctx context.Context) (*Report, error)) (*Runner, Job, *strings.Builder) {
	t.Helper()
	var ahead atomic.Int64
	var log strings.Builder
	j := Job{Name: "expire", Schedule: "@every 1s", Tasks: func(context.Context) ([]Task, error) {
		return []Task{{Job: "expire", Target: "lake.t", Run: run}, {Job: "expire", Target: "lake.u", Run: did("nothing")}}, nil
	}}
	return &Runner{Jobs: []Job{j}, Leases: leases(t.TempDir(), "one", &ahead), Log: slog.New(slog.NewTextHandler(&log, nil)), Zone: time.UTC, Tries: 3}, j, &log
}

// A task that fails is tried again, and in the end keeps no other from its turn.
func TestRunnerTriesAgain(t *testing.T) {
	n := 0
	r, j, log := testRunner(t, func(context.Context) (*Report, error) {
		if n++; n%3 != 0 {
			return nil, errors.New("throttled")
		}
		return &Report{Summary: "done"}, nil
	})
	var ended []string
	r.Ended = func(t Task, _ time.Time, did string, err error) {
		ended = append(ended, fmt.Sprint(t.Target, " ", did, " ", err))
	}
	if failed := r.Once(t.Context(), j); failed != 0 || n != 3 {
		t.Errorf("%d failed, %d tries\n%s", failed, n, log)
	}
	r.Tries = 2
	if failed := r.Once(t.Context(), j); failed != 1 {
		t.Errorf("%d failed\n%s", failed, log)
	}
	want := []string{"lake.t done <nil>", "lake.u nothing <nil>", "lake.t  throttled", "lake.u nothing <nil>"}
	if fmt.Sprint(ended) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", ended, want)
	}
	if h, err := r.Leases.History(t.Context(), "expire", "lake.t", 5); err != nil || len(h) != 2 || h[0].Error != "throttled" || h[1].Done.Summary != "done" {
		t.Errorf("%+v, %v", h, err)
	}
	j.Tasks = func(context.Context) ([]Task, error) { return nil, errors.New("no catalog") }
	if failed := r.Once(t.Context(), j); failed != 1 || !strings.Contains(log.String(), "no catalog") {
		t.Errorf("%d failed\n%s", failed, log)
	}
}

// What no further try can mend is not tried again.
func TestRunnerGivesUp(t *testing.T) {
	n := 0
	r, j, _ := testRunner(t, func(context.Context) (*Report, error) { n++; return nil, ErrRolledBack })
	if failed := r.Once(t.Context(), j); failed != 1 || n != 1 {
		t.Errorf("%d failed, %d tries", failed, n)
	}
}

func TestRunnerOnSchedule(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{}, 10)
	r, _, log := testRunner(t, func(ctx context.Context) (*Report, error) {
		ran <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	r.Jobs = append(r.Jobs, Job{Name: "orphans", Tasks: func(context.Context) ([]Task, error) { t.Error("without a schedule"); return nil, nil }})
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	<-ran
	cancel()
	if err := <-ended; err != nil || !strings.Contains(log.String(), "the job was stopped") || len(ran) != 0 {
		t.Errorf("%v, %d more\n%s", err, len(ran), log)
	}
	r.Jobs[0].Schedule = "hourly"
	if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "job expire") {
		t.Errorf("a schedule that is none: %v", err)
	}
}

// What was missed while no process was there is run at the start, and nothing else.
func TestRunnerCatchesUp(t *testing.T) {
	var ahead atomic.Int64
	root := t.TempDir()
	ran := make(chan string, 10)
	task := func(job, target string) Task {
		return Task{Job: job, Target: target, Run: func(context.Context) (*Report, error) { ran <- job + " " + target; return &Report{}, nil }}
	}
	var log strings.Builder
	r := &Runner{Leases: leases(root, "one", &ahead), Log: slog.New(slog.NewTextHandler(&log, nil)), Zone: time.UTC, CatchUp: true}
	for _, j := range []struct{ name, schedule string }{{"hourly", "@hourly"}, {"weekly", "@weekly"}, {"off", ""}} {
		r.Jobs = append(r.Jobs, Job{Name: j.name, Schedule: j.schedule, Tasks: func(context.Context) ([]Task, error) { return []Task{task(j.name, "known"), task(j.name, "new")}, nil }})
		if _, err := r.Leases.Do(t.Context(), j.name, "known", did("before")); err != nil {
			t.Fatal(err)
		}
	}
	ahead.Store(int64(2 * time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	first := <-ran
	cancel()
	if err := <-ended; err != nil || first != "hourly known" || len(ran) != 0 {
		t.Errorf("%v, %q ran, and %d more\n%s", err, first, len(ran), log.String())
	}
}

func TestRunnerDeadline(t *testing.T) {
	r, j, log := testRunner(t, func(ctx context.Context) (*Report, error) { <-ctx.Done(); return nil, ctx.Err() })
	r.Deadline = 2 * time.Second
	if failed := r.Once(t.Context(), j); failed != 1 || !strings.Contains(log.String(), "it took longer than its deadline, 2s") {
		t.Errorf("%d failed\n%s", failed, log)
	}
	if h, err := r.Leases.History(t.Context(), "expire", "lake.t", 1); err != nil || len(h) != 1 || !strings.Contains(h[0].Error, "deadline") {
		t.Errorf("%+v, %v", h, err)
	}
}
