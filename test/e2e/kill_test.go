//go:build stack

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// killed loads clicks while the loader is killed again and again, and returns what the table must hold.
//
// consume is the way of consuming, batch or poll. moments are parts of the names of objects: the loader is killed as soon
// as a new one of that name is there, which is in the middle of a commit; "" stands for any moment.
func killed(t *testing.T, l lake, consume string, partitions int, moments ...string) (w *stacktest.Truth, config string) {
	t.Helper()
	topic := stacktest.Topic(t, partitions)
	c := stacktest.NewClicks(t, topic, partitions)
	c.Spoilt = true
	config = configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s], consume: %s}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [day(ts), country]}
  commit: {interval: 1s}
%s`, topic, consume, stacktest.ClickSteps))
	f := flow(t, c, 25*time.Millisecond, 12*partitions/4)
	f.more(t, 1)
	for _, m := range moments {
		d := stacktest.StartDaemon(t, config)
		if m == "" {
			// between the first commit of this run and some time later
			until(t, "the daemon commits", func() (bool, any) {
				p, err := ask(d)
				return err == nil && p.Pipelines[0].Rounds > 0, err
			})
			f.more(t, 1+rand.IntN(600))
		} else {
			appears(t, l, m)
		}
		d.Kill()
	}
	d := stacktest.StartDaemon(t, config)
	f.more(t, 300)
	w = f.end(t)
	loaded(t, "clicks", w.Reached(), d)
	stopped(t, d)
	return w, config
}

// appears waits for a new object whose name has the part.
func appears(t *testing.T, l lake, part string) {
	t.Helper()
	before := l.objects(t)
	until(t, "an object "+part+" appears", func() (bool, any) {
		for name := range l.objects(t) {
			if strings.Contains(name, part) && !before[name] {
				return true, name
			}
		}
		return false, len(before)
	})
}

// judged compares both tables with the truth, with two readers and lakeloader's own proof.
func judged(t *testing.T, l lake, config string, w *stacktest.Truth) {
	t.Helper()
	sums := []string{"campaignId", "pubId", "_kafka_offset"}
	iceberg := stacktest.PyIceberg(t, l.named("clicks"), stacktest.Read{Sums: sums, Rows: true})
	w.Holds(t, iceberg)
	if d := iceberg.Differences(stacktest.DuckDB(t, l.named("clicks"), stacktest.Read{Sums: sums})); d != nil {
		t.Errorf("DuckDB: %v", d)
	}
	w.Buried(t, "clicks", stacktest.PyIceberg(t, l.named("clicks_dead_letters"), stacktest.Read{Rows: true}))
	accounted(t, config, w)
}

// accounted has lakeloader verify prove the table, and count what was produced.
func accounted(t *testing.T, config string, w *stacktest.Truth) {
	t.Helper()
	verified(t, config)
	stdout, stderr, code := stacktest.Lakeloader(t, "verify", "-c", config, "-o", "json")
	var reports []struct {
		Partitions []struct {
			Rows, Filtered int
			Dead           int `json:"dead_letters"`
			Gaps           int
		}
	}
	if err := json.Unmarshal([]byte(stdout), &reports); err != nil || code != 0 {
		t.Fatalf("verify -o json ends with %d: %v\n%s%s", code, err, stdout, stderr)
	}
	rows, filtered, dead, gaps := 0, 0, 0, 0
	for _, p := range reports[0].Partitions {
		rows, filtered, dead, gaps = rows+p.Rows, filtered+p.Filtered, dead+p.Dead, gaps+p.Gaps
	}
	if rows != len(w.Rows) || filtered != w.Filtered || dead != len(w.Dead) || gaps == 0 {
		t.Errorf("verify counts %d rows, %d filtered, %d dead letters, %d gaps; produced were %d, %d, %d, and transactions",
			rows, filtered, dead, gaps, len(w.Rows), w.Filtered, len(w.Dead))
	}
}

// The names of what a commit stores, in the order of the protocol.
const (
	dataFile  = ".parquet"
	roundFile = "/rounds/"
	manifest  = "-m"
	snapshot  = "/snap-"
	metadata  = ".metadata.json" // of either table
	finished  = "/committed/"
)

func TestKilledInS3BehindREST(t *testing.T) {
	t.Parallel()
	l := restLake(t)
	w, config := killed(t, l, "batch", 4, dataFile, roundFile, "", "clicks/metadata/snap-", "dead_letters/metadata/snap-", finished, "", metadata)
	judged(t, l, config, w)
	t.Logf("%d rows, %d dead letters, %d filtered", len(w.Rows), len(w.Dead), w.Filtered)
}

func TestKilledInAFolder(t *testing.T) {
	t.Parallel()
	l := folderLake(t)
	w, config := killed(t, l, "poll", 2, roundFile, "", manifest)
	judged(t, l, config, w)
}

func TestKilledInS3BehindPostgres(t *testing.T) {
	t.Parallel()
	l := postgresLake(t)
	w, config := killed(t, l, "batch", 2, snapshot, finished, "")
	judged(t, l, config, w)
}
