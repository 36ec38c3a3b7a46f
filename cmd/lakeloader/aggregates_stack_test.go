//go:build stack

package main

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// group is what the test itself finds of a day's clicks by its keys.
type group struct {
	clicks      int
	visitors    map[any]bool
	first, last string
}

func keyOf(row map[string]any, day string) string {
	return fmt.Sprint(day, "|", row["campaignId"], "|", row["pubId"], "|", row["country"], "|", row["platform"])
}

// The clicks system's aggregate, read by PyIceberg, is what this test makes of the raw rows that PyIceberg reads, also of those of
// the snapshot that the rows name.
func TestAggregateWithOtherReaders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "lakeloader.yaml")
	lakeloader(t, "demo", "clicks", "--records", "4000", "--dir", dir).ends(exitOK)
	lakeloader(t, "job", "run", "clicks_daily", "-c", config).ends(exitOK, "lake.clicks_daily: ", "lake.clicks_weekly: 1 week", "lake.clicks_monthly: ")
	at := func(table string) stacktest.Table {
		return stacktest.Table{Catalog: "sqlite", URI: filepath.Join(dir, "lake", "catalog.db"), Table: "lake." + table}
	}
	daily := stacktest.PyIceberg(t, at("clicks_daily"), stacktest.Read{Rows: true})
	if len(daily.Spec) != 1 || daily.Spec[0].Source != "day" || daily.Spec[0].Transform != "identity" || daily.Schema[0].Name != "day" || daily.Schema[0].Type != "date" {
		t.Errorf("the table is partitioned by %v, and has the columns %v", daily.Spec, daily.Schema)
	}
	var snapshot int64
	if _, err := fmt.Sscan(fmt.Sprint(daily.Data[0]["_source_snapshot"]), &snapshot); err != nil {
		t.Fatal(err)
	}
	raw := stacktest.PyIceberg(t, at("clicks"), stacktest.Read{Rows: true, Snapshot: snapshot})
	want := map[string]*group{}
	for _, r := range raw.Data {
		when := fmt.Sprint(r["timestamp"])
		g := want[keyOf(r, when[:len("2026-11-21")])]
		if g == nil {
			g = &group{visitors: map[any]bool{}, first: when, last: when}
			want[keyOf(r, when[:len("2026-11-21")])] = g
		}
		g.clicks++
		g.visitors[r["ip"]] = true
		g.first, g.last = min(g.first, when), max(g.last, when)
	}
	if raw.Rows != 4000 || len(daily.Data) != len(want) {
		t.Fatalf("%d clicks in %d groups, the aggregate has %d rows", raw.Rows, len(want), len(daily.Data))
	}
	for _, r := range daily.Data {
		key := keyOf(r, fmt.Sprint(r["day"]))
		g := want[key]
		if g == nil {
			t.Fatalf("no click is of %s", key)
		}
		var visitors float64
		if _, err := fmt.Sscan(fmt.Sprint(r["visitors"]), &visitors); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(r["clicks"]) != fmt.Sprint(g.clicks) || fmt.Sprint(r["first_click"]) != g.first || fmt.Sprint(r["last_click"]) != g.last ||
			math.Abs(visitors-float64(len(g.visitors))) > 1 {
			t.Errorf("%s: %v, want %d clicks of %d visitors from %s to %s", key, r, g.clicks, len(g.visitors), g.first, g.last)
		}
	}
	for _, table := range []string{"clicks_weekly", "clicks_monthly"} {
		if sum := stacktest.DuckDB(t, at(table), stacktest.Read{Sums: []string{"clicks"}}).Columns["clicks"].Sum; sum != "4000" {
			t.Errorf("%s has %s clicks", table, sum)
		}
	}
}
