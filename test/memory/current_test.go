//go:build stack

package memory

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// rows is a database's table that is changed at random, after many other rows of it were deleted: the last change of each, 0 where there is none.
type rows struct {
	version []int64
	deleted int
	rnd     *rand.Rand
	note    []byte
	at      string
}

func newRows(ids, deleted int) *rows {
	return &rows{version: make([]int64, ids), deleted: deleted, rnd: rand.New(rand.NewPCG(1, 2)), note: make([]byte, 300), at: time.Now().UTC().Format(time.RFC3339)}
}

// change is the i-th one, as Debezium tells it. A quarter of those of rows that are there deletes them.
func (r *rows) change(i int) *kgo.Record {
	if i < r.deleted {
		return &kgo.Record{Partition: int32(i % 4), Value: fmt.Appendf(nil, `{"before": {"id": %d}, "after": null, "op": "d", "source": {"lsn": %d, "ts_ms": 1000}}`, 1_000_000+i, i+1)}
	}
	id, version := r.rnd.IntN(len(r.version)), int64(i+1)
	out := &kgo.Record{Partition: int32(id % 4)}
	if r.version[id] > 0 && r.rnd.IntN(4) == 0 {
		r.version[id] = 0
		out.Value = fmt.Appendf(nil, `{"before": {"id": %d}, "after": null, "op": "d", "source": {"lsn": %d, "ts_ms": 1000}}`, id, version)
		return out
	}
	for k := range r.note {
		r.note[k] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[r.rnd.IntN(64)]
	}
	r.version[id] = version
	out.Value = fmt.Appendf(nil, `{"before": null, "after": {"id": %d, "version": %d, "visitor": "visitor-%d", "at": %q, "note": %q}, "op": "u", "source": {"lsn": %d, "ts_ms": 1000}}`,
		id, version, id%20_000, r.at, r.note, version)
	return out
}

// ofChanges makes the work one of change data, with a table of the present rows, for which the job looks all the time.
func (w *work) ofChanges() {
	w.columns = "[{name: id, type: long}, {name: version, type: long}, {name: visitor, type: string}, {name: at, type: timestamptz}, {name: note, type: string}]"
	w.partitionBy, w.commit = "[]", "{interval: 2s}"
	w.decode, w.table = ", changes: {form: debezium}", ", current: {table: present, key: [id]}"
	w.sections = "jobs: {current: {schedule: \"@every 1s\"}}\n"
}

// applied waits until the job has applied n changes.
func (d *daemon) applied(n int) {
	d.w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for began := time.Now(); ; {
		did, runs := d.changes()
		if did >= n {
			d.w.t.Logf("%d changes were applied in %d runs, the last %v after they were all in the log", did, runs, time.Since(began))
			return
		}
		select {
		case <-tick.C:
		case <-d.Done():
			d.w.t.Fatalf("the daemon ended when it had applied %d changes of %d; its log:\n%s", did, n, d.Log())
		case <-end.C:
			d.w.t.Fatalf("after %v the job has applied %d changes of %d; the daemon's log:\n%s", patience, did, n, d.Log())
		}
	}
}

// changes adds up what the job says in the log that it has applied.
func (d *daemon) changes() (n, runs int) {
	for line := range strings.Lines(d.Log()) {
		var l struct{ Msg, Job, Did string }
		if json.Unmarshal([]byte(line), &l) != nil || l.Msg != "the job ended" || l.Job != "current" {
			continue
		}
		var some int
		if _, err := fmt.Sscanf(l.Did, "%d changes:", &some); err != nil {
			continue // there were none
		}
		n, runs = n+some, runs+1
	}
	return n, runs
}

// present compares the table of the present rows with those of the database, with DuckDB.
func (w *work) present(r *rows) {
	w.t.Helper()
	got := stacktest.DuckDB(w.t, stacktest.Table{Catalog: "sqlite", URI: filepath.Join(w.dir, "catalog.db"), Table: "lake.present"},
		stacktest.Read{SQL: []string{"SELECT id, version FROM {source} ORDER BY id"}}).Results[0]
	var have, want []string
	for _, row := range got {
		have = append(have, fmt.Sprintf("%v in version %v", row[0], row[1]))
	}
	for id, v := range r.version {
		if v > 0 {
			want = append(want, fmt.Sprintf("%d in version %d", id, v))
		}
	}
	if !slices.Equal(have, want) {
		at := 0
		for at < min(len(have), len(want)) && have[at] == want[at] {
			at++
		}
		w.t.Errorf("the table has %d rows, the database %d; they differ from row %d on: %q instead of %q", len(have), len(want), at,
			have[at:min(len(have), at+3)], want[at:min(len(want), at+3)])
	}
}

// TestPresentRows: the job that keeps the present rows works beside the pipeline that loads the changes. It remembers many deletes, and as every
// row is changed all the time, each step writes the whole table anew.
func TestPresentRows(t *testing.T) {
	const n, ids, deleted = 460_000, 20_000, 400_000
	w, r := newWork(t, 4, 256*mib, nil), newRows(ids, deleted)
	w.ofChanges()
	w.produce(n, r.change)
	d := w.start()
	d.until("everything is committed", func(p obs.PipelineStatus) bool { return p.Rows >= n })
	d.applied(n)
	d.loaded(n)
	w.present(r)
}

// TestPresentRowsAndWindow: the same beside a window over the changes, with the lake in S3.
func TestPresentRowsAndWindow(t *testing.T) {
	const n, ids, deleted = 160_000, 20_000, 100_000
	w, r := newWork(t, 4, 288*mib, nil), newRows(ids, deleted)
	w.ofChanges()
	w.inS3(stacktest.S3(t), stacktest.NewBucket(t))
	totals := stacktest.Name("totals")
	stacktest.CreateTopic(t, stacktest.Kafka(t), totals, 4, map[string]string{"cleanup.policy": "compact"})
	w.sections += fmt.Sprintf("windows:\n- {name: %s, pipeline: events, key: visitor, time: at, sum: version, window: {days: 30}, topic: %s, state: ./window, memory: 32MiB}\n", totals, totals)
	w.produce(n, r.change)
	d := w.start()
	d.until("everything is committed", func(p obs.PipelineStatus) bool { return p.Rows >= n })
	d.applied(n)
	d.published()
	d.loaded(n)
	w.present(r)
}

// published waits until the window has published all that was loaded.
func (d *daemon) published() {
	d.w.t.Helper()
	d.untilAll("the window has published everything", func(st obs.Status) bool {
		return len(st.Windows) == 1 && len(st.Windows[0].Partitions) > 0 && !slices.ContainsFunc(st.Windows[0].Partitions, func(p obs.WindowPartition) bool {
			return p.HighWatermark < 0 || p.Published < p.HighWatermark
		})
	})
}
