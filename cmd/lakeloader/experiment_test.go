package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/pipeline"
)

// Each experiment of the clicks does what it says: its claims hold, and verify agrees afterwards.
func TestExperiments(t *testing.T) {
	for name, says := range map[string][]string{
		"new-group":  {"kc-clicks-mysql began at offset 0 of every partition, and has the 10000 clicks from before it went live"},
		"kill-one":   {"is killed with kill -9", "moved to consumer 1", "kc-clicks-persistor: partitions", "kc-clicks-mysql: partitions"},
		"slow-group": {"the slow group did not delay the fast one", "the fast group did not delay the slow one", "the status shows each group's lag: 0 and "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r := lakeloader(t, "demo", "clicks", "--experiment", name, "--records", "20000", "--dir", dir).
				ends(exitOK, append(says, "both stores have the same offsets of every partition", "table lake.clicks of group kc-clicks-persistor", "table sqlite.clicks of group kc-clicks-mysql")...)
			if strings.Contains(r.stdout, "FAILED") || strings.Count(r.stdout, "PASSED") < 4 {
				t.Errorf("not every claim holds:\n%s", r.stdout)
			}
			config := filepath.Join(dir, "lakeloader.yaml")
			for _, p := range []string{archiver, secondStore} {
				lakeloader(t, "verify", "-c", config, "--pipeline", p).ends(exitOK, "OK: all ")
			}
		})
	}
	lakeloader(t, "demo", "clicks", "--experiment", "none", "--dir", t.TempDir()).ends(exitUsage, "new-group, kill-one or slow-group")
	lakeloader(t, "demo", "ratings", "--experiment", "kill-one", "--dir", t.TempDir()).ends(exitUsage, "kill-one")
}

// A claim that does not hold is printed, and counted.
func TestClaims(t *testing.T) {
	var out strings.Builder
	x := &experiment{w: &out}
	x.claim(true, "one")
	x.claim(false, "two")
	if x.failed != 1 || out.String() != "  PASSED  one\n  FAILED  two\n" {
		t.Errorf("%d: %q", x.failed, out.String())
	}
}

// fed gives a number of records with every fetch, and notes how long it is asked to serve rebalances.
type fed struct {
	pipeline.Consumer
	served time.Duration
}

// Poll implements pipeline.Consumer.
func (f *fed) Poll(_ context.Context, r *batch.Records, _ time.Duration) error {
	for range 100 {
		r.Offset = append(r.Offset, 0)
	}
	return nil
}

// Serve implements pipeline.Consumer.
func (f *fed) Serve(_ context.Context, wait time.Duration) error {
	f.served += wait
	return nil
}

// A consumer that is held to a rate spends the time between fetches serving rebalances, until the brake is taken off.
func TestLimitedConsumer(t *testing.T) {
	off := make(chan struct{})
	f := &fed{}
	l := &limited{Consumer: f, rate: 1000, off: off}
	var r batch.Records
	poll := func(n int) {
		for range n {
			if err := l.Poll(t.Context(), &r, time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	poll(6) // 100 records are a tenth of a second
	if r.Len() != 300 || f.served != 300*time.Millisecond {
		t.Errorf("%d records, rebalances were served for %v", r.Len(), f.served)
	}
	close(off)
	poll(3)
	if r.Len() != 600 {
		t.Errorf("%d records without the brake", r.Len())
	}
}
