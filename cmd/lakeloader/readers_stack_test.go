//go:build stack

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// Readers that are not ours find in a demo's lake what its summary and query say.
func TestDemosWithOtherReaders(t *testing.T) {
	for name, c := range map[string]struct{ table, column string }{
		"clicks": {"clicks", "campaignId"}, "ratings": {"ratings", "stars"}, "visitor-spend": {"purchases", "value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config := filepath.Join(dir, "lakeloader.yaml")
			lakeloader(t, "demo", name, "--records", "10000", "--dir", dir).ends(exitOK)
			at := stacktest.Table{Catalog: "sqlite", URI: filepath.Join(dir, "lake", "catalog.db"), Table: "lake." + c.table}
			duck := stacktest.DuckDB(t, at, stacktest.Read{Sums: []string{c.column}})
			for _, d := range duck.Differences(stacktest.PyIceberg(t, at, stacktest.Read{Sums: []string{c.column}})) {
				t.Errorf("DuckDB and PyIceberg differ: %s", d)
			}
			if duck.Rows == 0 || len(duck.Partitions) == 0 {
				t.Errorf("DuckDB finds %d rows of %d partitions", duck.Rows, len(duck.Partitions))
			}
			for _, p := range duck.Partitions {
				if p.Duplicates != 0 {
					t.Errorf("DuckDB finds %d offsets of partition %d more than once", p.Duplicates, p.Partition)
				}
			}
			got := lakeloader(t, "query", "-c", config, "-o", "csv", fmt.Sprintf("SELECT count(*) AS n, sum(%s) AS s FROM %s", c.column, c.table)).ends(exitOK)
			if want := fmt.Sprintf("n,s\n%d,%s\n", duck.Rows, duck.Columns[c.column].Sum); got.stdout != want {
				t.Errorf("query says %s, DuckDB %s", strings.TrimSpace(got.stdout), want)
			}
		})
	}
}
