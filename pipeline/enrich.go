package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/obs"
)

// lookups are what the chain joins rows with. Where only a sample is tried, no row waits.
func (s *stages) lookups() lookupsOf {
	l := lookupsOf{named: s.d.Lookup, now: s.d.Now}
	if s.sampling {
		l.now = nil
	}
	return l
}

// barrier waits until every lookup that rows are joined with has caught up with where it stood when the process began: what a row
// sees must not depend on how fast the lookup is loaded. It comes before the loader has joined its group, so nobody waits for it.
func barrier(ctx context.Context, stop <-chan struct{}, cfg *configs.Pipeline, d Deps) error {
	for _, j := range cfg.Enrich {
		var l *enrich.Lookup
		if d.Lookup != nil {
			l = d.Lookup(j.Lookup)
		}
		if l == nil {
			return fmt.Errorf("%w: pipeline %s: %s: there is no lookup %s", ErrStop, cfg.Name, j.Name, j.Lookup)
		}
		said := ""
		for {
			changed, st := l.Changed(), l.Status()
			if st.Ready {
				break
			}
			if st.Waits != said {
				said = st.Waits
				d.Recorder.Waiting(fmt.Sprintf("the lookup %s is not ready: %s", j.Lookup, st.Waits))
				d.Log.Info("waiting for a lookup", "lookup", j.Lookup, "reason", st.Waits)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-stop:
				return errStopped
			case <-changed:
			}
		}
	}
	return nil
}

// through brings a batch through the chain, waiting as long as rows of it wait for a lookup.
func (s *stages) through(ctx context.Context, b *batch.Batch) error {
	for said := 0; ; {
		err := s.chain.Apply(b)
		var w *enrich.Wait
		if !errors.As(err, &w) {
			s.d.Recorder.Joined(joined(s.chain.counts()))
			switch {
			case err == nil:
				return nil
			case errors.Is(err, enrich.ErrNotReady), errors.Is(err, enrich.ErrRows): // the next loader waits for the lookup
				return fmt.Errorf("pipeline %s: %w", s.cfg.Name, err)
			}
			return fmt.Errorf("%w: pipeline %s: %w", ErrStop, s.cfg.Name, err)
		}
		if w.Rows != said {
			said = w.Rows
			s.d.Recorder.Waiting(w.Error())
			s.d.Log.Info("rows wait for a lookup", "lookup", w.Lookup.Name(), "rows", w.Rows, "until", w.Until)
		}
		if err := s.wait(ctx, w); err != nil {
			return err
		}
	}
}

// waitSlice is how long rebalances may go unserved, and how long a lookup that has got a key may go unnoticed.
const waitSlice = 50 * time.Millisecond

func (s *stages) wait(ctx context.Context, w *enrich.Wait) error {
	left := min(w.Until.Sub(s.d.Now()), waitSlice)
	if s.hold != nil {
		return s.hold(ctx, left)
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	case <-w.Lookup.Changed():
	}
	return nil
}

// errGivenUp: the round was dropped while rows waited for a lookup; the batch with them is fetched again.
var errGivenUp = errors.New("the batch was given up")

// hold lets a moment pass in the middle of a batch, whose positions are accounted for while nothing is decided about its rows: so
// the round cannot be committed, and a rebalance drops it (Revoked).
func (l *Loader) hold(ctx context.Context, wait time.Duration) error {
	l.inside = true
	defer func() { l.inside = false }()
	if err := l.consumer.Serve(ctx, wait); err != nil {
		return err
	}
	switch {
	case l.failed != nil:
		return l.failed
	case ctx.Err() != nil:
		return ctx.Err()
	case l.stopping() && !l.reseek:
		l.drop() // the next loader reads it again
	}
	if l.reseek {
		return errGivenUp
	}
	return nil
}

func joined(counts []enrich.JoinCounts) (out []obs.JoinStatus) {
	for _, c := range counts {
		out = append(out, obs.JoinStatus{Name: c.Join, Lookup: c.Lookup, Rows: c.Rows, Misses: c.Misses, Waited: c.Waited})
	}
	return out
}
