//go:build stack && engines

package e2e

import (
	"fmt"
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
		for form, sums := range map[string][]string{"daily_": {"clicks", "publishers", "money", "reached"}, "short_": {"clicks", "publishers", "visitors"}} {
			read := stacktest.Read{Rows: true, Sums: sums}
			want := stacktest.PyIceberg(t, l.named(form+"embedded"), read)
			if len(want.Data) < 12 {
				t.Fatalf("%d rows", len(want.Data))
			}
			for _, name := range []string{"trino", "spark"} {
				got := stacktest.PyIceberg(t, l.named(form+name), read)
				if d := want.Differences(got); d != nil {
					t.Errorf("%s%s: %v", form, name, d)
				}
				if fmt.Sprint(want.Schema) != fmt.Sprint(got.Schema) {
					t.Errorf("%s%s: the columns are %v\nand not %v", form, name, got.Schema, want.Schema)
				}
			}
		}
	}
}
