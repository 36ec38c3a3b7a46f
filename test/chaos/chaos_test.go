//go:build stack

// Package chaos is the fault suite: the real binary against real servers, while loaders are killed and frozen at named
// steps of the protocol, servers break, and networks lose answers. After each round readers that are not ours compare
// the lake with what was produced.
package chaos

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestChaos plays rounds with the seeds in CHAOS_SEEDS (separated by commas), or with fresh ones for CHAOS_MINUTES, or a
// short one with a fixed seed.
func TestChaos(t *testing.T) {
	keep := filepath.Join(stacktest.Root(t), "build", "chaos")
	tally := &tally{kinds: map[string]*count{}}
	defer func() { tally.print(t) }()
	seeds, until := plan(t)
	o := options{lakes: []string{"rest"}, loaders: 2, strikes: 4, keep: keep}
	if len(seeds) == 0 || os.Getenv("CHAOS_SEEDS") != "" {
		o.lakes, o.loaders, o.strikes = []string{"rest", "rest", "postgres", "sqlite"}, 4, 12
		o.broker = stacktest.StartKafka(t)
	}
	for i := 0; ; i++ {
		seed := uint64(time.Now().UnixNano())
		switch {
		case len(seeds) > i:
			seed = seeds[i]
		case len(seeds) > 0 || time.Now().After(until):
			return
		}
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			events, v := play(t, seed, o)
			tally.add(events, v)
			t.Logf("%d records, %d faults, %d lost, %d duplicated", v.records, len(events), v.lost, v.duplicated)
		})
		if !ok {
			t.Logf("play it again with: make chaos SEEDS=%d", seed)
		}
	}
}

func plan(t *testing.T) (seeds []uint64, until time.Time) {
	t.Helper()
	for s := range strings.SplitSeq(os.Getenv("CHAOS_SEEDS"), ",") {
		if s == "" {
			continue
		}
		seed, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
		if err != nil {
			t.Fatalf("CHAOS_SEEDS: %v", err)
		}
		seeds = append(seeds, seed)
	}
	minutes := os.Getenv("CHAOS_MINUTES")
	switch {
	case len(seeds) > 0:
	case minutes == "":
		seeds = []uint64{6}
	default:
		m, err := strconv.ParseFloat(minutes, 64)
		if err != nil {
			t.Fatalf("CHAOS_MINUTES: %v", err)
		}
		until = time.Now().Add(time.Duration(m * float64(time.Minute)))
	}
	return seeds, until
}

// tally counts over all rounds.
type tally struct {
	rounds, records int
	all             verdict
	kinds           map[string]*count
}

type count struct {
	injected, lost, duplicated int
	recoveries                 []time.Duration
}

// add takes up a round. What is wrong with a lake is held against every fault that struck in its round.
func (c *tally) add(events []event, v verdict) {
	c.rounds++
	c.records += v.records
	c.all.lost, c.all.duplicated, c.all.other = c.all.lost+v.lost, c.all.duplicated+v.duplicated, c.all.other+v.other
	blamed := map[string]bool{}
	for _, e := range events {
		k := c.kinds[e.fault]
		if k == nil {
			k = &count{}
			c.kinds[e.fault] = k
		}
		k.injected++
		k.recoveries = append(k.recoveries, e.recovery)
		if !blamed[e.fault] {
			k.lost, k.duplicated = k.lost+v.lost, k.duplicated+v.duplicated
		}
		blamed[e.fault] = true
	}
}

// print shows the table, and writes it into the file CHAOS_REPORT.
func (c *tally) print(t *testing.T) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| fault | times | lost | duplicated | recovery median s | max s |\n|---|---|---|---|---|---|\n")
	n := 0
	for _, name := range sorted(c.kinds) {
		k := c.kinds[name]
		n += k.injected
		slices.Sort(k.recoveries)
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %.1f | %.1f |\n", name, k.injected, k.lost, k.duplicated, k.recoveries[len(k.recoveries)/2].Seconds(), k.recoveries[len(k.recoveries)-1].Seconds())
	}
	fmt.Fprintf(&b, "| **%d kinds** | **%d** | **%d** | **%d** | | |\n\n%d rounds, %d records, %d rows wrong in another way\n", len(c.kinds), n, c.all.lost, c.all.duplicated, c.rounds, c.records, c.all.other)
	t.Logf("\n%s", &b)
	if path := os.Getenv("CHAOS_REPORT"); path != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

func sorted(m map[string]*count) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(a, b) })
	return names
}
