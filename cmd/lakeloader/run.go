package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
)

func newRun() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the loader daemon",
		Long: `run loads the topics of all pipelines into their tables until it is told to stop.

SIGTERM or SIGINT: commit what was read, leave the consumer groups, and exit 0; after shutdown_timeout, or at a second
signal, exit at once with 4. What was not committed is read again at the next start: nothing is lost or duplicated.

Exit codes: 2 the configuration has problems; 3 a server cannot be reached or refuses us at start; 4 the shutdown took too
long; 5 every pipeline has stopped for a reason that needs a person.`,
		Example: `  lakeloader run -c lakeloader.yaml`,
		Args:    cobra.NoArgs,
	}
	path := configFlag(c)
	c.RunE = func(*cobra.Command, []string) error {
		cfg, err := loadChecked(*path)
		if err != nil {
			return err
		}
		stop, hard, release := signals(time.Duration(cfg.Shutdown))
		defer release()
		return runDaemon(hard, stop, cfg, obs.NewLogger(cfg.Log, os.Stderr, configs.NewRedactor(cfg)))
	}
	return c
}

// signals: the first one closes stop; the second, or the time after the first, ends hard.
func signals(limit time.Duration) (stop chan struct{}, hard context.Context, release func()) {
	hard, cancel := context.WithCancelCause(context.Background())
	stop = make(chan struct{})
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-c:
		case <-done:
			return
		}
		close(stop)
		t := time.NewTimer(limit)
		defer t.Stop()
		select {
		case <-done:
		case <-c:
			cancel(errors.New("stopped at once by a second signal"))
		case <-t.C:
			cancel(fmt.Errorf("the shutdown took longer than shutdown_timeout (%v)", limit))
		}
	}()
	return stop, hard, func() { signal.Stop(c); close(done); cancel(nil) }
}

// runDaemon runs all pipelines until stop is closed and they have ended, or ctx ends.
func runDaemon(ctx context.Context, stop <-chan struct{}, cfg *configs.Config, log *slog.Logger) error {
	d, err := startDaemon(ctx, stop, cfg, log)
	if err != nil {
		return err
	}
	err = d.wait(ctx, stop)
	return errors.Join(err, d.close())
}

// wait ends when every pipeline has ended.
func (d *daemon) wait(ctx context.Context, stop <-chan struct{}) error {
	select {
	case <-d.done:
	case <-ctx.Done():
		// Pipelines end with ctx; one that is stuck in a call into a library must not hold the process up.
		t := time.NewTimer(5 * time.Second)
		defer t.Stop()
		select {
		case <-d.done:
		case <-t.C:
		}
	}
	if ctx.Err() != nil { // also when the pipelines ended at that before it was noticed here
		return fail(exitDeadline, fmt.Errorf("%w: what was not committed is read again at the next start", context.Cause(ctx)))
	}
	err := d.errors()
	select {
	case <-stop:
		if err != nil {
			return fail(exitDeadline, fmt.Errorf("not everything could be committed before stopping; it is read again at the next start: %w", err))
		}
		d.log.Info("stopped", "committed", "everything that was read")
		return nil
	default:
		return fail(exitStopped, err)
	}
}
