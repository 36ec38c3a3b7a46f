package pipeline

import (
	"maps"
	"slices"
	"testing"
)

// simSeeds is how many histories the simulation goes through.
const simSeeds = 1000

// TestSimulation: whatever happens, every offset is in exactly one place. protocol_mutations_test.go shows that it would
// notice if a check of the protocol were missing.
func TestSimulation(t *testing.T) {
	did := map[string]int{}
	for seed := range int64(simSeeds) {
		w, err := runSim(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for what, n := range w.did {
			did[what] += n
		}
	}
	for _, what := range []string{"fences", "unknown", "jumps", "deleted", "foreign", "expired", "rollbacks", "drops", "resets", "stops", "audits"} {
		if did[what] < simSeeds/20 {
			t.Errorf("too few %s: %d", what, did[what])
		}
	}
	for _, what := range slices.Sorted(maps.Keys(did)) {
		t.Logf("%6d %s", did[what], what)
	}
}
