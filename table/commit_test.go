package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// scripted is a store whose calls end as a script says, and which notes them. A swap lands unless the script says otherwise.
type scripted struct {
	loads, swaps []error // outcomes in order; then success
	lands        bool    // a swap of unknown outcome landed
	state        int
	calls        []string
	seen         []int // states that bases had when they were swapped
}

func next(list *[]error) (err error) {
	if len(*list) > 0 {
		err, *list = (*list)[0], (*list)[1:]
	}
	return err
}

func (s *scripted) Load(context.Context) (*Base, error) {
	s.calls = append(s.calls, "load")
	if err := next(&s.loads); err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	return &Base{Handle: s.state}, nil
}

func (s *scripted) Swap(_ context.Context, b *Base, _ Change) error {
	s.calls = append(s.calls, "swap")
	s.seen = append(s.seen, b.Handle.(int))
	err := next(&s.swaps)
	if errors.Is(err, ErrConflict) { // someone else was quicker
		s.state += 10
	}
	if err == nil || errors.Is(err, ErrUnknown) && s.lands {
		s.state++
	}
	if err != nil {
		return fmt.Errorf("swapping: %w", err)
	}
	return nil
}

// noWait counts.
func noWait(waits *[]int) Wait {
	return func(_ context.Context, n int) error { *waits = append(*waits, n); return nil }
}

func TestCommitOutcomes(t *testing.T) {
	fatal := errors.New("the table's format is unknown")
	for name, c := range map[string]struct {
		store scripted
		want  error
		calls string
		waits []int
	}{
		"lands at once":             {scripted{}, nil, "load swap", nil},
		"conflict":                  {scripted{swaps: []error{ErrConflict, ErrConflict}}, nil, "load swap load swap load swap", []int{1, 2}},
		"unknown, did not land":     {scripted{swaps: []error{ErrUnknown}}, nil, "load swap load swap", []int{1}},
		"unknown, landed":           {scripted{swaps: []error{ErrUnknown}, lands: true}, nil, "load swap load", []int{1}},
		"passing failure of a load": {scripted{loads: []error{ErrRetry, ErrRetry}}, nil, "load load load swap", []int{1, 2}},
		"passing failure of a swap": {scripted{swaps: []error{ErrRetry}}, nil, "load swap load swap", []int{1}},
		"fatal load":                {scripted{loads: []error{fatal}}, fatal, "load", nil},
		"fatal swap":                {scripted{swaps: []error{ErrConflict, fatal}}, fatal, "load swap load swap", []int{1}},
		"no table":                  {scripted{loads: []error{ErrNoTable}}, ErrNoTable, "load", nil},
		"a joined error that passes": {scripted{swaps: []error{errors.Join(errors.New("reset by peer"), ErrUnknown)}}, nil,
			"load swap load swap", []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.store
			var waits []int
			var decided []int
			err := Commit(t.Context(), &s, noWait(&waits), func(b *Base) (Change, bool, error) {
				decided = append(decided, b.Handle.(int))
				return Change{}, b.Handle.(int)%10 == 1, nil // this change's own mark is in the base
			})
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if got := strings.Join(s.calls, " "); got != c.calls {
				t.Errorf("calls %s, want %s", got, c.calls)
			}
			if !slices.Equal(waits, c.waits) {
				t.Errorf("waits %v, want %v", waits, c.waits)
			}
			if c.want == nil && s.state%10 != 1 {
				t.Errorf("it landed %d times", s.state%10)
			}
			if len(s.seen) > len(decided) || !slices.Equal(s.seen, decided[:len(s.seen)]) {
				t.Errorf("bases %v were decided on, %v were swapped", decided, s.seen)
			}
		})
	}
}

// An attempt that refuses ends the loop with its own error, even one that would pass if it came from the store.
func TestCommitAttemptRefuses(t *testing.T) {
	for _, refused := range []error{errors.New("fenced"), fmt.Errorf("fenced: %w", ErrConflict)} {
		s := &scripted{swaps: []error{ErrConflict}}
		var waits []int
		n := 0
		err := Commit(t.Context(), s, noWait(&waits), func(*Base) (Change, bool, error) {
			if n++; n == 2 {
				return Change{}, false, refused
			}
			return Change{}, false, nil
		})
		if !errors.Is(err, refused) || n != 2 || len(s.seen) != 1 {
			t.Fatalf("%v after %d attempts and %d swaps", err, n, len(s.seen))
		}
	}
}

// When time is up the last outcome is told: an unknown one must not look like one that failed.
func TestCommitContextEnds(t *testing.T) {
	for _, outcome := range []error{ErrConflict, ErrUnknown, ErrRetry} {
		ctx, cancel := context.WithCancel(t.Context())
		s := &scripted{swaps: []error{outcome, outcome, outcome}}
		n := 0
		err := Commit(ctx, s, Backoff(time.Nanosecond), func(*Base) (Change, bool, error) {
			if n++; n == 2 {
				cancel()
			}
			return Change{}, false, nil
		})
		if !errors.Is(err, context.Canceled) || !errors.Is(err, outcome) || n != 2 || !strings.Contains(err.Error(), "gave up after 2 attempts") {
			t.Fatalf("%v after %d attempts", err, n)
		}
		cancel()
	}
}

func TestBackoffGrowsUpToItsLimit(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, n := range []int{1, 2, 30, 1 << 30} {
		if err := Backoff(time.Hour)(ctx, n); !errors.Is(err, context.Canceled) {
			t.Fatalf("attempt %d: %v", n, err)
		}
	}
	start := time.Now()
	for n := range 5 {
		if err := Backoff(time.Millisecond)(t.Context(), n+1); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 5*time.Millisecond || took > 10*time.Second {
		t.Fatalf("five waits of 1 ms took %v", took)
	}
	if !Passing(fmt.Errorf("x: %w", ErrUnknown)) || Passing(errors.New("x")) || Passing(nil) || Passing(ErrNoTable) {
		t.Fatal("what passes")
	}
}
