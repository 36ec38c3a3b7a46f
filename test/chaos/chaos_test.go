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
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestChaos plays one short round with a fixed seed; or rounds with the seeds in CHAOS_SEEDS (separated by commas), or with
// fresh ones for CHAOS_MINUTES. CHAOS_KINDS names the only kinds of faults that may strike, by parts of their names.
func TestChaos(t *testing.T) {
	p := readPlan(t)
	tally := &tally{kinds: map[string]*count{}}
	defer func() { tally.print(t) }()
	var players sync.WaitGroup
	for range p.atOnce {
		players.Go(func() {
			for seed, ok := p.next(); ok; seed, ok = p.next() {
				playOne(t, seed, p.options, tally)
			}
		})
	}
	players.Wait()
}

func playOne(t *testing.T, seed uint64, o options, tally *tally) {
	ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
		events, v := play(t, seed, o)
		tally.add(events, v)
		t.Logf("%d records, %d faults, %d lost, %d duplicated", v.records, len(events), v.lost, v.duplicated)
		if len(events) < o.strikes/2 {
			t.Errorf("only %d of %d faults struck: the round proves little", len(events), o.strikes)
		}
	})
	if !ok {
		t.Logf("play it again with: make chaos SEEDS=%d", seed)
	}
}

// plan is what to play.
type plan struct {
	options
	until  time.Time // when fresh seeds end; zero: there are none
	atOnce int       // rounds, of which each mostly waits

	mu    sync.Mutex
	seeds []uint64
}

// next gives the seed of the next round, if there shall be one.
func (p *plan) next() (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seeds) > 0 {
		seed := p.seeds[0]
		p.seeds = p.seeds[1:]
		return seed, true
	}
	now := time.Now()
	return uint64(now.UnixNano()), now.Before(p.until)
}

// readPlan reads the environment.
func readPlan(t *testing.T) *plan {
	t.Helper()
	seeds, minutes := os.Getenv("CHAOS_SEEDS"), os.Getenv("CHAOS_MINUTES")
	p := &plan{atOnce: 2, options: options{lakes: []string{"rest", "rest", "postgres", "sqlite"}, loaders: 4, strikes: 12, keep: filepath.Join(stacktest.Root(t), "build", "chaos")}}
	if kinds := os.Getenv("CHAOS_KINDS"); kinds != "" {
		p.kinds = strings.Split(kinds, ",")
	}
	switch {
	case seeds != "":
		for s := range strings.SplitSeq(seeds, ",") {
			seed, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
			if err != nil {
				t.Fatalf("CHAOS_SEEDS: %v", err)
			}
			p.seeds = append(p.seeds, seed)
		}
	case minutes != "":
		m, err := strconv.ParseFloat(minutes, 64)
		if err != nil {
			t.Fatalf("CHAOS_MINUTES: %v", err)
		}
		p.until = time.Now().Add(time.Duration(m * float64(time.Minute)))
	default:
		t.Parallel()
		p.atOnce, p.seeds, p.lakes, p.loaders, p.strikes = 1, []uint64{1}, []string{"rest"}, 2, 5
		p.kinds = []string{"kill -9 at before-apply", "kill -9 at before-catalog", "SIGSTOP", "its answer is lost", "upload is cut short"}
		return p
	}
	// on a machine that is short of processors the broker's own heartbeats come late
	p.broker = &broker{Server: stacktest.StartKafka(t, "broker.session.timeout.ms=9000")}
	if minutes != "" { // they do not run while the binary is built
		built := time.Now()
		stacktest.ChaosBinary(t)
		p.until = p.until.Add(time.Since(built))
	}
	return p
}

// tally counts over all rounds.
type tally struct {
	mu              sync.Mutex
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
	c.mu.Lock()
	defer c.mu.Unlock()
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
