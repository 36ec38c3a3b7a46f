package table

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Attempt decides from a fresh base what to swap. done: nothing (any more), which is also how a change that
// landed although its reply was lost is found: by looking for it in the base.
type Attempt func(base *Base) (ch Change, done bool, err error)

// Wait pauses between attempts; it returns early with the context's error.
type Wait func(ctx context.Context, attempt int) error

// Commit is the only retry loop around a swap. Every attempt starts from a fresh base and the attempt's checks are
// made against that base, so a change is never replayed on a table that its maker has not seen. It returns nil when
// an attempt landed or said done, and else the attempt's error, a fatal one of the store, or the context's, with the
// last outcome.
func Commit(ctx context.Context, s Store, wait Wait, attempt Attempt) error {
	var last error
	for n := 0; ; n++ {
		if n > 0 {
			if err := wait(ctx, n); err != nil {
				return fmt.Errorf("gave up after %d attempts: %w (last outcome: %w)", n, err, last)
			}
		}
		base, err := s.Load(ctx)
		if err == nil {
			ch, done, aerr := attempt(base)
			if aerr != nil || done {
				return aerr
			}
			if err = s.Swap(ctx, base, ch); err == nil {
				return nil
			}
		}
		if !Passing(err) {
			return err
		}
		last = err
	}
}

// Passing reports whether another attempt with a fresh base may succeed.
func Passing(err error) bool {
	return errors.Is(err, ErrConflict) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrRetry)
}

// Backoff waits 20 ms, then twice as long each time, up to max.
func Backoff(max time.Duration) Wait {
	return func(ctx context.Context, attempt int) error {
		if ctx.Err() != nil {
			return ctx.Err() // select may choose a timer that has run out as well
		}
		d := min(max, 20*time.Millisecond<<min(attempt-1, 20))
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		}
	}
}
