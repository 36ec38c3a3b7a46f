package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// latest reads a topic as a table, until it has a number of records.
func latest(t *testing.T, brokers []string, topic string, records int) string {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := map[string]string{}
	for n := 0; n < records; {
		f := c.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			n++
			if r.Value == nil {
				delete(got, string(r.Key))
			} else {
				got[string(r.Key)] = string(r.Value)
			}
		})
	}
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(got)) {
		lines = append(lines, k+" "+got[k])
	}
	return strings.Join(lines, "\n")
}

// An aggregate's job sends to Kafka what changed, and nothing else.
func TestAggregatesArePublished(t *testing.T) {
	e := pipelinetest.New(t)
	e.Create(t, "sales", 1)
	e.Create(t, "daily", 3)
	e.Create(t, "totals", 1)
	cfg := pipelinetest.Pipeline("id long required, ts timestamptz, country string, price double", nil, "sales")
	load := func(sales ...string) {
		for _, s := range sales {
			e.Produce(t, "sales", 0, s)
		}
		e.Load(t, cfg, int64(len(sales)))
	}
	file := lakeConfig(t, e, `
pipelines:
  - {name: p, source: {topics: [sales]}, decode: {value: {format: json, columns: [{name: id, type: long required}]}}, table: {name: t, partition_by: []}}
aggregates:
  - name: daily
    source: t
    time: ts
    table: daily
    group_by: [country]
    measures: [{name: sales, measure: count(*)}, {name: mean, measure: avg(price)}]
    publish: {topic: daily}
  - name: totals
    source: t
    time: ts
    table: totals
    sql: "SELECT country, CAST(sum(CAST(price AS DECIMAL(12, 2))) AS DECIMAL(12, 2)) AS total FROM source WHERE {{day}} GROUP BY country"
    publish: {topic: totals, key: [country], value: total}
`)
	load(`{"id":1,"ts":"2026-11-01T10:00:00Z","country":"DE","price":1.5}`, `{"id":2,"ts":"2026-11-02T10:00:00Z","country":"DE","price":2.25}`, `{"id":3,"ts":"2026-11-02T10:00:00Z","country":"FR","price":3}`)
	lakeloader(t, "job", "run", "daily", "-c", file).ends(exitOK, "3 rows and 0 gone keys sent to daily")
	lakeloader(t, "job", "run", "daily", "-c", file).ends(exitOK, "0 rows and 0 gone keys sent to daily")
	lakeloader(t, "job", "run", "totals", "-c", file).ends(exitOK, "2 rows and 0 gone keys sent to totals")
	load(`{"id":4,"ts":"2026-11-02T11:00:00Z","country":"FR","price":4}`)
	lakeloader(t, "job", "run", "daily", "-c", file).ends(exitOK, "1 row and 0 gone keys sent to daily")
	lakeloader(t, "job", "run", "totals", "-c", file).ends(exitOK, "1 row and 0 gone keys sent to totals")
	want := `{"day":"2026-11-01","country":"DE"} {"day":"2026-11-01","country":"DE","sales":1,"mean":1.5}
{"day":"2026-11-02","country":"DE"} {"day":"2026-11-02","country":"DE","sales":1,"mean":2.25}
{"day":"2026-11-02","country":"FR"} {"day":"2026-11-02","country":"FR","sales":2,"mean":3.5}`
	if got := latest(t, e.Config.Brokers, "daily", 4); got != want {
		t.Errorf("daily has\n%s", got)
	}
	if got := latest(t, e.Config.Brokers, "totals", 3); got != "DE 2.25\nFR 7.00" {
		t.Errorf("totals has\n%s", got)
	}
}
