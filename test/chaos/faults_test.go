//go:build stack

package chaos

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/internal/point"
)

// fault is one kind of what can break.
type fault struct {
	name string
	// fits says whether it can strike in this round of the suite; nil: always.
	fits func(r *round) bool
	// strike breaks something while the loader is at work, and mends it. It does not strike when what it waits for does
	// not come to pass; then nothing is broken.
	strike func(r *round, l *loader) (strike, bool)
}

// strike is when a fault struck and was lifted, and the process that it struck.
type strike struct {
	loader         *loader // of the process; nil: the one that the fault was meant for
	process        *process
	struck, lifted time.Time
}

// soon is how long a fault waits for the step or the request at which it strikes.
const soon = 15 * time.Second

// everyRound are steps that every round of a pipeline with dead letters takes.
var everyRound = []string{point.FirstRecord, point.BeforeFiles, point.AfterFiles, point.BeforeRoundObject, point.AfterRoundObject, point.BeforeSwap, point.BeforeCatalog,
	point.AfterSwap, point.BeforeApply, point.AfterApply, point.BeforeCommitted, point.AfterCommitted, point.BeforeLeavePending}

// faults are all kinds.
func faults() []fault {
	return slices.Concat(processFaults(), s3Faults(), serverFaults())
}

func within(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}

// arm has the process do something at a step, and waits until it does.
func (p *process) arm(at, do string) (step, bool) {
	ctx, cancel := within(soon)
	defer cancel()
	p.order("arm %s %s", at, do)
	began := time.Now()
	s, ok := p.wait(ctx, func(s step) bool { return s.what == do && s.name == at && s.at.After(began) })
	if !ok {
		p.order("disarm")
	}
	return s, ok
}

// hit waits until a bad answer was given for the first time.
func hit(struck <-chan time.Time) (time.Time, bool) {
	t := time.NewTimer(soon)
	defer t.Stop()
	select {
	case at := <-struck:
		return at, true
	case <-t.C:
		return time.Time{}, false
	}
}

// lasting waits while something is broken.
func lasting(d time.Duration) {
	ctx, cancel := within(d)
	defer cancel()
	<-ctx.Done()
}

// between draws a duration.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
