//go:build stack

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// owns waits until the daemons together own all partitions of the pipeline, and each some.
func owns(t *testing.T, pipeline string, partitions int, daemons ...*stacktest.Daemon) {
	t.Helper()
	until(t, fmt.Sprintf("%d daemons own %d partitions", len(daemons), partitions), func() (bool, any) {
		all, least := map[stacktest.Place]int64{}, partitions
		for _, d := range daemons {
			own, err := committed(d, pipeline)
			if err != nil {
				return false, err
			}
			least = min(least, len(own))
			for p, next := range own {
				all[p] = next
			}
		}
		return least > 0 && len(all) == partitions, all
	})
}

// TestPartitionsMoveBetweenDaemons: two daemons in one group, while one hangs for longer than its session and goes on in
// the middle of a commit, is killed, joins, and leaves.
func TestPartitionsMoveBetweenDaemons(t *testing.T) {
	t.Parallel()
	l, topic := restLake(t), stacktest.Topic(t, 4)
	c := stacktest.NewClicks(t, topic, 4)
	c.Spoilt = true
	config := configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [day(ts)]}
  commit: {interval: 1s}
%s`, topic, stacktest.ClickSteps))
	f := flow(t, c, 25*time.Millisecond, 8)
	f.more(t, 1)

	zombie := stacktest.StartDaemon(t, config)
	appears(t, l, roundFile)
	appears(t, l, roundFile) // the swap of this round is about to be sent
	zombie.Pause()
	second := stacktest.StartDaemon(t, config)
	loaded(t, "clicks", f.truth.Reached(), second) // it has taken over and is ahead of the other's offsets
	zombie.Resume()
	owns(t, "clicks", 4, zombie, second)
	loaded(t, "clicks", f.truth.Reached(), zombie, second)

	second.Kill()
	loaded(t, "clicks", f.truth.Reached(), zombie)
	third := stacktest.StartDaemon(t, config)
	owns(t, "clicks", 4, zombie, third)
	loaded(t, "clicks", f.truth.Reached(), zombie, third)
	stopped(t, zombie)
	w := f.end(t)
	loaded(t, "clicks", w.Reached(), third)
	stopped(t, third)
	judged(t, l, config, w)
}
