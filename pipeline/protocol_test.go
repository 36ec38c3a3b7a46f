package pipeline

import (
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSimulation: whatever happens, every offset is in exactly one place, and in the end all are. protocol_mutations_test.go
// shows that it would notice if a check of the protocol were missing. SEEDS=n goes through n histories, SEED=n through one,
// and tells it.
func TestSimulation(t *testing.T) {
	if one := os.Getenv("SEED"); one != "" {
		seed, err := strconv.ParseInt(one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var trace strings.Builder
		_, err = runSim(seed, &trace)
		t.Logf("seed %d: %v\n%s", seed, err, trace.String())
		if err != nil {
			t.Fail()
		}
		return
	}
	seeds := int64(simSeeds)
	if many := os.Getenv("SEEDS"); many != "" {
		var err error
		if seeds, err = strconv.ParseInt(many, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	did := simulate(t, seeds)
	took := time.Since(start)
	for _, what := range []string{"audits", "conflicts", "deleted", "drops", "edits beneath loaders", "evictions", "expired", "expiries", "foreign", "forgotten", "jumps", "kills", "lost", "new partitions",
		"orphan plans", "rebalances", "recreations", "refused expiries", "removals", "restarts", "retentions", "revoked", "rewinds", "rewrites", "rollbacks", "stops", "unknown", "zombies"} {
		if os.Getenv("SEEDS") == "" && did[what] < int(seeds)/50 {
			t.Errorf("too few %s: %d", what, did[what])
		}
	}
	for _, what := range slices.Sorted(maps.Keys(did)) {
		t.Logf("%8d %s", did[what], what)
	}
	t.Logf("%d seeds in %v, %.0f a second", seeds, took.Round(time.Millisecond), float64(seeds)/took.Seconds())
}

// simulate runs seeds on all cores, and says how often what happened.
func simulate(t *testing.T, seeds int64) map[string]int {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // a seed is garbage when it is over
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	did := map[string]int{}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed < seeds; seed = next.Add(1) - 1 {
				w, err := runSim(seed, nil)
				mu.Lock()
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				for what, n := range w.did {
					did[what] += n
				}
				mu.Unlock()
				if t.Failed() {
					return
				}
			}
		})
	}
	wg.Wait()
	return did
}
