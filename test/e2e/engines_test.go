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
	w, config := killed(t, l, 2, roundFile, "", finished)
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
