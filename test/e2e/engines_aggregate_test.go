//go:build stack && engines

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestEnginesAggregate: an aggregate is the same whichever engine calculates it, also after late rows came, value by value and type by type.
func TestEnginesAggregate(t *testing.T) {
	l, topic := restLake(t), stacktest.Topic(t, 2)
	engines := map[string]string{"embedded": "", "trino": fmt.Sprintf("{name: trino, type: trino, url: %q, catalog: lake}", stacktest.TrinoURL(t)),
		"spark": fmt.Sprintf("{name: spark, type: spark, url: %q, catalog: lake}", stacktest.StartSpark(t))}
	l.yaml += "jobs: {in_daemon: false}\nengines: [" + engines["trino"] + ", " + engines["spark"] + "]\naggregates:\n"
	for name := range engines {
		l.yaml += fmt.Sprintf(`- name: daily_%[1]s
  source: clicks
  time: ts
  time_zone: Europe/Berlin
  table: daily_%[1]s
  engine: %[1]s
  sql: >
    SELECT campaignId, country, count(*) AS clicks, count(DISTINCT uuid) AS different, sum(pubId) AS publishers, min(ts) AS first, max(ts) AS last,
    max(browser) AS browser, avg(CAST(pubId AS DOUBLE)) AS average, sum(CAST(pubId AS DECIMAL(12, 2))) AS money, min(uuid) AS least, max(_kafka_offset) AS reached
    FROM source WHERE {{day}} AND country IS NOT NULL GROUP BY campaignId, country
- name: short_%[1]s
  source: clicks
  time: ts
  table: short_%[1]s
  engine: %[1]s
  where: country IS NOT NULL
  group_by: [country, browser]
  measures:
  - {name: clicks, measure: count(*)}
  - {name: publishers, measure: sum(pubId)}
  - {name: mean, measure: avg(campaignId)}
  - {name: visitors, measure: approx_distinct(ip)}
  - {name: campaigns, measure: "percentile(campaignId, 0.5, 0.95)"}
  - {name: first_city, measure: first(city)}
`, name)
	}
	config := configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s]}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [day(ts), country]}
  commit: {interval: 1s}
%s`, topic, stacktest.ClickSteps))
	c, w, kafka := stacktest.NewClicks(t, topic, 2), stacktest.NewTruth(), stacktest.Producer(t)
	for range 2 {
		d := stacktest.StartDaemon(t, config)
		sent(t, kafka, w, c.Some(1000)...)
		loaded(t, "clicks", w.Reached(), d)
		stopped(t, d)
		for name := range engines {
			for _, form := range []string{"daily_", "short_"} {
				if out := job(t, config, form+name); !strings.Contains(out, "engine "+name+", now ") {
					t.Errorf("%s: %s", name, out)
				}
			}
		}
		agree(t, l, "daily_embedded", []string{"daily_trino", "daily_spark"}, "clicks", "publishers", "money", "reached")
		agree(t, l, "short_trino", []string{"short_spark"}, "clicks", "publishers", "visitors")
		// the embedded engine hashes in its own way, so its sketches of distinct values are others, within their error
		embedded, trino := stacktest.PyIceberg(t, l.named("short_embedded"), stacktest.Read{Rows: true}), stacktest.PyIceberg(t, l.named("short_trino"), stacktest.Read{Rows: true})
		for i := range embedded.Data {
			a, b := embedded.Data[i], trino.Data[i]
			x, errX := a["visitors"].(json.Number).Float64()
			y, errY := b["visitors"].(json.Number).Float64()
			if errX != nil || errY != nil || math.Abs(x-y) > 0.1*x {
				t.Errorf("visitors: %v and %v", a["visitors"], b["visitors"])
			}
			for _, r := range []map[string]any{a, b} {
				delete(r, "visitors")
				delete(r, "visitors__sketch")
			}
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%v\nand %v", a, b)
			}
		}
	}
}

// agree compares tables that several engines calculated.
func agree(t *testing.T, l lake, one string, others []string, sums ...string) {
	t.Helper()
	read := stacktest.Read{Rows: true, Sums: sums}
	want := stacktest.PyIceberg(t, l.named(one), read)
	if len(want.Data) < 12 {
		t.Fatalf("%d rows in %s", len(want.Data), one)
	}
	for _, name := range others {
		got := stacktest.PyIceberg(t, l.named(name), read)
		if d := want.Differences(got); d != nil {
			t.Errorf("%s: %v", name, d)
		}
		if fmt.Sprint(want.Schema) != fmt.Sprint(got.Schema) {
			t.Errorf("%s: the columns are %v\nand not %v", name, got.Schema, want.Schema)
		}
	}
}
