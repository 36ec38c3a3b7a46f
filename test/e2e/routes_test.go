//go:build stack

package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// One pipeline whose rows go to tables by browser: some named by the configuration, some by a template, the rest in the
// pipeline's own table. The loader is killed in the middle of commits, between the swaps of its tables among others. Each
// row is in the one table of its browser.
func TestRoutedRowsOfAKilledLoader(t *testing.T) {
	t.Parallel()
	l := restLake(t)
	const partitions = 2
	topic := stacktest.Topic(t, partitions)
	c := stacktest.NewClicks(t, topic, partitions)
	c.Spoilt = true
	config := configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table:
    name: clicks
    partition_by: [day(ts)]
    route: {by: browser, tables: {Chrome: chrome}, template: "clicks_${value}", allow: [Firefox, "S*"], limit: 2}
  commit: {interval: 1s}
%s`, topic, stacktest.ClickSteps))
	f := flow(t, c, 25*time.Millisecond, 12*partitions/4)
	f.more(t, 1)
	for _, m := range []string{"chrome/metadata/snap-", "", "clicks_firefox/metadata/snap-", finished} {
		d := stacktest.StartDaemon(t, config)
		if m == "" {
			until(t, "the daemon commits", func() (bool, any) {
				p, err := ask(d)
				return err == nil && p.Pipelines[0].Rounds > 0, err
			})
			f.more(t, 1+rand.IntN(300))
		} else {
			appears(t, l, m)
		}
		d.Kill()
	}
	d := stacktest.StartDaemon(t, config)
	f.more(t, 200)
	w := f.end(t)
	loaded(t, "clicks", w.Reached(), d)
	stopped(t, d)

	left := len(w.Rows)
	for _, name := range []string{"chrome", "clicks_firefox", "clicks_safari", "clicks"} {
		want := stacktest.NewTruth()
		for at, row := range w.Rows {
			if tableOf(row["browser"]) == name {
				want.Rows[at] = row
			}
		}
		if len(want.Rows) < 10 {
			t.Errorf("only %d rows go to %s: the test says little", len(want.Rows), name)
		}
		left -= len(want.Rows)
		want.Holds(t, stacktest.PyIceberg(t, l.named(name), stacktest.Read{Rows: true}))
	}
	if left != 0 {
		t.Errorf("%d rows are in no table", left)
	}
	w.Buried(t, "clicks", stacktest.PyIceberg(t, l.named("clicks_dead_letters"), stacktest.Read{Rows: true}))
	accounted(t, config, w)
	t.Logf("%d rows, %d dead letters, %d filtered", len(w.Rows), len(w.Dead), w.Filtered)
}

func tableOf(browser any) string {
	switch browser {
	case "Chrome":
		return "chrome"
	case "Firefox":
		return "clicks_firefox"
	case "Safari":
		return "clicks_safari"
	}
	return "clicks"
}
