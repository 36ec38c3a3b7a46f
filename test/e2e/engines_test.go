//go:build stack && engines

package e2e

import (
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestEnginesAgreeAfterKill: what PyIceberg found to be exactly what was produced, DuckDB, Spark and Trino find too: the
// same offsets, sums and (Spark) values.
func TestEnginesAgreeAfterKill(t *testing.T) {
	l := restLake(t)
	w, config := killed(t, l, "batch", 2, roundFile, "", finished)
	judged(t, l, config, w)
	read := stacktest.Read{Sums: []string{"campaignId", "pubId", "_kafka_offset"}}
	for _, name := range []string{"clicks", "clicks_dead_letters"} {
		if name != "clicks" {
			read.Sums = nil
		}
		iceberg := stacktest.PyIceberg(t, l.named(name), read)
		if d := iceberg.Differences(stacktest.Trino(t, l.named(name), read)); d != nil {
			t.Errorf("Trino on %s: %v", name, d)
		}
		read.Rows = true
		iceberg = stacktest.PyIceberg(t, l.named(name), read)
		if d := iceberg.Differences(stacktest.Spark(t, l.named(name), read)); d != nil {
			t.Errorf("Spark on %s: %v", name, d)
		}
		read.Rows = false
	}
}

// TestEnginesReadEveryType: values of all types that Spark has; it knows no time of day, so the tables are without those
// columns.
func TestEnginesReadEveryType(t *testing.T) {
	l := restLake(t)
	for name, w := range matrix(t, l, "clock_ms", "clock_us", "clock", "clock_number") {
		w.Holds(t, stacktest.Spark(t, l.named(name), stacktest.Read{Rows: true}))
		if r := stacktest.Trino(t, l.named(name), stacktest.Read{}); r.Rows != int64(len(w.Rows)) {
			t.Errorf("Trino counts %d rows of %s, and not %d", r.Rows, name, len(w.Rows))
		}
	}
}

// TestEnginesReadAnEvolvedTable: files from before a column was added and another one widened are read with those after it.
func TestEnginesReadAnEvolvedTable(t *testing.T) {
	l := restLake(t)
	open, _ := evolved(t, l)
	read := stacktest.Read{Sums: []string{"id"}}
	iceberg := stacktest.PyIceberg(t, l.named("open"), read)
	if d := iceberg.Differences(stacktest.Trino(t, l.named("open"), read)); d != nil {
		t.Errorf("Trino: %v", d)
	}
	open.Holds(t, stacktest.Spark(t, l.named("open"), stacktest.Read{Rows: true}))
}

// TestEnginesAgreeOnTheDay: DuckDB and Trino make the same aggregates of the raw table.
func TestEnginesAgreeOnTheDay(t *testing.T) {
	d := loadDay(t)
	d.judge(t, "DuckDB", stacktest.DuckDB, duckdbDay)
	d.judge(t, "Trino", stacktest.Trino, daySQL{date: "CAST(ts AT TIME ZONE 'UTC' AS date)", micros: "CAST(round(to_unixtime(%s) * 1000000) AS bigint)"})
}
