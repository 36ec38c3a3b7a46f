package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/objects"
)

// leases are those of one process on a shared folder and clock.
func leases(root string, owner string, ahead *atomic.Int64) *Leases {
	return &Leases{Store: objects.NewLocal(), Root: "file://" + root, Owner: owner, TTL: time.Minute, Keep: 3,
		Now: func() time.Time { return began.Add(time.Duration(ahead.Load())) }}
}

func did(summary string) func(context.Context) (*Report, error) {
	return func(context.Context) (*Report, error) { return &Report{Summary: summary}, nil }
}

func TestLease(t *testing.T) {
	var ahead atomic.Int64
	root := t.TempDir()
	one, two := leases(root, "one", &ahead), leases(root, "two", &ahead)
	began := make(chan struct{})
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r, err := one.Do(t.Context(), "expire", "lake.t", func(context.Context) (*Report, error) {
			close(began)
			<-end
			return &Report{Summary: "nothing"}, nil
		})
		if err != nil || r.Summary != "nothing" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	<-began
	never := func(context.Context) (*Report, error) { t.Error("it ran twice"); return nil, nil }
	if _, err := two.Do(t.Context(), "expire", "lake.t", never); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "run by one since 2026-05-04T12:00:00Z") {
		t.Errorf("while it is held: %v", err)
	}
	if _, err := two.Do(t.Context(), "expire", "lake.u", did("u")); err != nil {
		t.Errorf("on another table: %v", err)
	}
	if _, err := two.Do(t.Context(), "orphans", "lake.t", did("o")); err != nil {
		t.Errorf("another job: %v", err)
	}
	running, err := two.History(t.Context(), "expire", "lake.t", 10)
	if err != nil || len(running) != 1 || running[0].Owner != "one" || !running[0].Ended.IsZero() {
		t.Errorf("while it runs: %+v, %v", running, err)
	}
	close(end)
	wg.Wait()
	ahead.Add(int64(time.Second))
	if _, err := two.Do(t.Context(), "expire", "lake.t", func(context.Context) (*Report, error) { return nil, errors.New("access denied") }); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("a run that fails: %v", err)
	}
	h, err := one.History(t.Context(), "expire", "lake.t", 10)
	if err != nil || len(h) != 2 || h[0].Error != "access denied" || h[0].Owner != "two" || h[1].Done == nil || h[1].Done.Summary != "nothing" || h[1].Ended.IsZero() {
		t.Errorf("history %+v, %v", h, err)
	}
}

// A process that dies leaves its lease, which ends by itself; the log does not grow for ever.
func TestLeaseOfADeadProcess(t *testing.T) {
	var ahead atomic.Int64
	root := t.TempDir()
	dead, alive := leases(root, "dead", &ahead), leases(root, "alive", &ahead)
	g := dead.log("expire", "lake.t")
	if err := g.next(t.Context(), Record{Started: began, Until: began.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if _, err := alive.Do(t.Context(), "expire", "lake.t", did("x")); !errors.Is(err, ErrHeld) {
		t.Errorf("before it ends: %v", err)
	}
	ahead.Store(int64(time.Minute))
	for i := range 10 {
		if _, err := alive.Do(t.Context(), "expire", "lake.t", did(fmt.Sprint("run ", i))); err != nil {
			t.Fatal(err)
		}
	}
	list, err := alive.Store.List(t.Context(), alive.Root+"/")
	if err != nil || len(list) > 4 {
		t.Errorf("%d objects are left (%v): %v", len(list), err, list)
	}
	h, err := alive.History(t.Context(), "expire", "lake.t", 2)
	if err != nil || len(h) != 2 || h[0].Done.Summary != "run 9" || h[1].Done.Summary != "run 8" {
		t.Errorf("history %+v, %v", h, err)
	}
}

// One that is known to be gone keeps nobody waiting.
func TestLeaseOfAGoneProcess(t *testing.T) {
	var ahead atomic.Int64
	root := t.TempDir()
	dead, alive := leases(root, "dead", &ahead), leases(root, "alive", &ahead)
	if err := dead.log("expire", "lake.t").next(t.Context(), Record{Started: began, Until: began.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	alive.Gone = func(owner string) bool { return owner == "another" }
	if _, err := alive.Do(t.Context(), "expire", "lake.t", did("x")); !errors.Is(err, ErrHeld) {
		t.Errorf("another one is gone: %v", err)
	}
	alive.Gone = func(owner string) bool { return owner == "dead" }
	if _, err := alive.Do(t.Context(), "expire", "lake.t", did("x")); err != nil {
		t.Errorf("the owner is gone: %v", err)
	}
}

// Whoever loses the lease is told, by the end of its context, and does not note an end.
func TestLeaseIsLost(t *testing.T) {
	var ahead atomic.Int64
	root := t.TempDir()
	one, two := leases(root, "one", &ahead), leases(root, "two", &ahead)
	one.TTL = 30 * time.Millisecond
	_, err := one.Do(t.Context(), "expire", "lake.t", func(ctx context.Context) (*Report, error) {
		ahead.Store(int64(time.Hour)) // it slept, as it seems
		for err := ErrHeld; err != nil; {
			if _, err = two.Do(t.Context(), "expire", "lake.t", func(context.Context) (*Report, error) { return &Report{Summary: "two"}, nil }); err != nil && !errors.Is(err, ErrHeld) {
				t.Fatal(err)
			}
			ahead.Add(int64(time.Hour))
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if !errors.Is(err, errLost) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	h, err := two.History(t.Context(), "expire", "lake.t", 10)
	if err != nil || len(h) != 1 || h[0].Done == nil || h[0].Done.Summary != "two" {
		t.Errorf("history %+v, %v", h, err)
	}
}

func TestLeaseRace(t *testing.T) {
	var ahead atomic.Int64
	root := t.TempDir()
	var ran, held atomic.Int64
	var wg sync.WaitGroup
	inside := make(chan struct{})
	for i := range 8 {
		wg.Go(func() {
			_, err := leases(root, fmt.Sprint(i), &ahead).Do(t.Context(), "expire", "lake.t", func(context.Context) (*Report, error) {
				ran.Add(1)
				<-inside
				return &Report{}, nil
			})
			if errors.Is(err, ErrHeld) {
				if held.Add(1) == 7 {
					close(inside)
				}
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if ran.Load() != 1 || held.Load() != 7 {
		t.Errorf("%d ran, %d were kept out", ran.Load(), held.Load())
	}
}
