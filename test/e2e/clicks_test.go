//go:build stack

package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// produce sends messages and notes them.
func produce(ctx context.Context, c *kgo.Client, w *stacktest.Truth, ms ...stacktest.Message) error {
	if err := stacktest.Send(ctx, c, ms); err != nil {
		return err
	}
	w.Note(ms...)
	return nil
}

// sent is produce for the test's own goroutine.
func sent(t *testing.T, c *kgo.Client, w *stacktest.Truth, ms ...stacktest.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := produce(ctx, c, w, ms...); err != nil {
		t.Fatalf("producing %d records to %s: %v", len(ms), ms[0].Topic, err)
	}
}

// traffic is clicks that keep coming, with and without Kafka transactions, some of which are aborted.
type traffic struct {
	truth *stacktest.Truth
	noted atomic.Int64 // records in the truth so far
	stop  context.CancelFunc
	ended chan error
}

// flow starts traffic. It comes in small steps, so that commits of the loader fall between and into transactions.
func flow(t *testing.T, c *stacktest.Clicks, pace time.Duration, step int) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &traffic{truth: stacktest.NewTruth(), stop: cancel, ended: make(chan error, 1)}
	bare, trans := stacktest.Producer(t), stacktest.Producer(t, kgo.TransactionalID(stacktest.Name("tx")), kgo.TransactionTimeout(30*time.Second))
	go func() {
		f.ended <- f.run(ctx, c, bare, trans, pace, step)
	}()
	return f
}

func (f *traffic) run(ctx context.Context, c *stacktest.Clicks, bare, trans *kgo.Client, pace time.Duration, step int) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// What was begun is ended, so that it is known what Kafka holds.
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		var err error
		switch i % 4 {
		case 0, 1:
			err = produce(work, bare, f.truth, c.Some(step)...)
		default:
			err = f.transaction(work, trans, c, step, i%4 == 2)
		}
		cancel()
		if err != nil {
			return err
		}
		f.noted.Store(int64(f.truth.Size()))
	}
}

func (f *traffic) transaction(ctx context.Context, trans *kgo.Client, c *stacktest.Clicks, step int, commit bool) error {
	if err := trans.BeginTransaction(); err != nil {
		return err
	}
	ms := c.Some(step)
	if err := stacktest.Send(ctx, trans, ms); err != nil {
		return errors.Join(err, trans.EndTransaction(ctx, kgo.TryAbort))
	}
	if err := trans.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
		return err
	}
	if commit {
		f.truth.Note(ms...)
	}
	return nil
}

// end stops the traffic and returns what is in Kafka then.
func (f *traffic) end(t *testing.T) *stacktest.Truth {
	t.Helper()
	f.stop()
	if err := <-f.ended; err != nil {
		t.Fatalf("producing: %v", err)
	}
	return f.truth
}

// more waits until n further records were produced.
func (f *traffic) more(t *testing.T, n int) {
	t.Helper()
	target := f.noted.Load() + int64(n)
	until(t, fmt.Sprintf("%d more records were produced", n), func() (bool, any) {
		select {
		case err := <-f.ended:
			t.Fatalf("producing ended: %v", err)
		default:
		}
		return f.noted.Load() >= target, f.noted.Load()
	})
}
