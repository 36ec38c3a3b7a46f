package current_test

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

var deletes = flag.Int("deletes", 100_000, "deleted keys that are remembered")

// BenchmarkStep applies 100,000 changes of as many rows, about 200 bytes each, beside many deletes that are remembered. peak-MiB is the most that was
// live on the heap, measured in runs of their own.
func BenchmarkStep(b *testing.B) {
	const changed, part = 100_000, 50_000
	e, cfg, lsn := pipelinetest.New(b), config(nil), 0
	e.Create(b, "a", 1)
	some := func(n int, change func(i int) string) {
		var events []string
		for i := range n {
			lsn++
			events = append(events, change(i))
		}
		e.Produce(b, "a", 0, events...)
		load(b, e, cfg, int64(n))
	}
	for first := 0; first < *deletes; first += part {
		some(min(part, *deletes-first), func(i int) string { return event("d", lsn, int64(10_000_000+first+i), "") })
		run(b, applier(e))
	}
	pad := strings.Repeat("x", 100)
	changes := func() {
		some(changed, func(i int) string { return event("u", lsn, int64(i), fmt.Sprint(pad, lsn)) })
	}
	changes()
	run(b, applier(e))
	for _, memory := range []int64{64 << 20, 128 << 20} {
		b.Run(fmt.Sprintf("%dMiB", memory>>20), func(b *testing.B) {
			peak, swaps := 0.0, 0
			for b.Loop() {
				b.StopTimer()
				changes()
				a := applier(e)
				a.Memory = memory
				b.StartTimer()
				swaps = run(b, a).Swaps
				b.StopTimer()
				changes()
				peak = max(peak, live(func() { run(b, a) }))
				b.StartTimer()
			}
			b.ReportMetric(peak, "peak-MiB")
			b.ReportMetric(float64(swaps), "swaps")
		})
	}
}

// live is how much more is live on the heap at most while something is done, MiB.
func live(do func()) float64 {
	heap := func() int64 {
		runtime.GC()
		m := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(m)
		return int64(m[0].Value.Uint64())
	}
	before, ended, most := heap(), make(chan struct{}), make(chan int64)
	go func() {
		peak := before
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				most <- peak
				return
			case <-tick.C:
				peak = max(peak, heap())
			}
		}
	}()
	do()
	close(ended)
	return float64(<-most-before) / (1 << 20)
}
