//go:build stack && engines

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/demo"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// storefront is the system retail, with its orders in a PostgreSQL, and what its clicks must come to.
type storefront struct {
	*system
	gen     *demo.Retail
	visits  map[string]map[string]bool // sessions by day, and whether they ended in an order
	changes int
}

// trade lets the shop go on until there were so many more changes of orders.
func (s *storefront) trade(changes int) {
	s.t.Helper()
	var rs []*kgo.Record
	flush := func() {
		s.produce(rs...)
		rs = rs[:0]
	}
	for goal := s.changes + changes; s.changes < goal; {
		r, err := s.gen.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		switch {
		case r.Change != nil:
			s.apply(r.Change.Op, r.Change.Row)
			s.changes++
		case r.Topic == s.database.Topic: // a tombstone, which is the connector's
		default:
			if r.Topic == "clickstream" {
				s.note(r.Value)
			}
			if rs = append(rs, &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}); len(rs) == 1000 {
				flush()
			}
		}
	}
	flush()
}

// note counts a click.
func (s *storefront) note(click []byte) {
	s.t.Helper()
	var c struct {
		Session string `json:"session_id"`
		Event   string
		At      time.Time
	}
	if err := json.Unmarshal(click, &c); err != nil {
		s.t.Fatal(err)
	}
	day := c.At.UTC().Format(time.DateOnly)
	if s.visits[day] == nil {
		s.visits[day] = map[string]bool{}
	}
	s.visits[day][c.Session] = s.visits[day][c.Session] || c.Event == "order"
}

// The orders are in a PostgreSQL, and Debezium tells of them, while the loader and the connector are killed again and again. In the end the
// lake's orders are the database's, and the daily figures are what the database, and the clicks themselves, come to.
func TestEnginesRetail(t *testing.T) {
	t.Parallel()
	db := stacktest.StartLogicalPostgres(t)
	// the visits go on past midnight
	s := &storefront{system: startSystem(t, "retail", db.URL(), "orders", "clickstream", "payments"),
		gen: demo.NewRetail(17, time.Date(2026, 11, 20, 22, 0, 0, 0, time.UTC)), visits: map[string]map[string]bool{}}
	s.trade(50) // which the connector reads as a snapshot
	connector := s.connect("io.debezium.connector.postgresql.PostgresConnector", db.URL(), map[string]string{"database.dbname": "lakeloader", "plugin.name": "pgoutput", "topic.prefix": "shop",
		"decimal.handling.mode": "string", "transforms": "route", "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
		"transforms.route.regex": `shop\\.public\\.(.*)`, "transforms.route.replacement": "$1"})
	config := s.configure(nil)
	loader := stacktest.StartDaemon(t, config)
	changes := setting(t, "RETAIL_CHANGES", 4000)
	rounds := setting(t, "RETAIL_ROUNDS", 4)
	for i := range rounds {
		s.trade(changes / rounds / 2)
		loader.Kill()
		loader = stacktest.StartDaemon(t, config)
		s.trade(changes / rounds / 2)
		if i%2 == 0 {
			connector.Kill()
			connector.Start()
		}
	}
	s.caughtUp(config)
	s.loaded(loader, "orders", "orders")
	s.loaded(loader, "clickstream", "clickstream")
	s.loaded(loader, "payments", "payments")
	stopped(t, loader)
	for _, name := range []string{"current", "daily_sales", "daily_products", "daily_conversion"} {
		job(t, config, name)
	}
	stdout, stderr, code := stacktest.Lakeloader(t, "reenrich", "-c", config, "--pipeline", "payments", "--yes")
	if code != 0 {
		t.Errorf("reenrich ends with %d:\n%s%s", code, stdout, stderr)
	}
	verified(t, config)
	t.Logf("%d changes of orders, %d kills of the loader; %s", s.changes, rounds, stdout)
	s.judge()
}

// caughtUp waits until the last change of the database is in the lake: a connector that was killed tells some twice, so they cannot be counted.
func (s *storefront) caughtUp(config string) {
	s.t.Helper()
	s.apply('c', (&demo.Order{ID: -1, Session: "the last", SKU: "none", Quantity: 1, UnitPrice: "0.00", Status: "cancelled",
		CreatedAt: "2026-11-20T22:00:00.000000Z", UpdatedAt: "2026-11-20T22:00:00.000000Z"}).Row())
	within(s.t, systemPatience, "the last change is in the lake", func() (bool, any) {
		out, stderr, code := stacktest.Lakeloader(s.t, "query", "-c", config, "-o", "csv", "SELECT count(*) AS n FROM orders WHERE order_id = -1")
		return code == 0 && out == "n\n1\n", out + stderr
	})
}

// judge compares the lake with the database's own SQL.
func (s *storefront) judge() {
	const day = `(created_at AT TIME ZONE 'UTC')::date`
	s.t.Helper()
	s.has("orders", `SELECT concat_ws('|', order_id, customer_id, session_id, sku, quantity, unit_price, status, epoch_us(created_at), epoch_us(updated_at)) FROM {source}`,
		s.lines(`SELECT concat_ws('|', order_id, customer_id, session_id, sku, quantity, unit_price, status, (extract(epoch FROM created_at) * 1000000)::bigint,
			(extract(epoch FROM updated_at) * 1000000)::bigint) FROM orders`))
	s.has("daily_sales", `SELECT concat_ws('|', day, orders, sales, abs(average_order_value - CAST(sales AS DOUBLE) / orders) < 0.000001) FROM {source}`,
		s.lines(`SELECT concat_ws('|', `+day+`, count(*), sum(quantity * unit_price), 'true') FROM orders WHERE status <> 'cancelled' GROUP BY `+day))
	top := func(table, day, pieces string) string {
		return `SELECT concat_ws('|', day, place, sku, sales, pieces) FROM (SELECT ` + day + ` AS day, sku, ` + pieces + `, rank() OVER (PARTITION BY ` + day +
			` ORDER BY sales DESC, sku) AS place FROM ` + table + `) AS ranked WHERE place <= 10`
	}
	s.has("daily_products", top("{source}", "day", "sales, pieces"),
		s.lines(top(`(SELECT `+day+` AS day, sku, sum(quantity * unit_price) AS sales, sum(quantity) AS pieces FROM orders WHERE status <> 'cancelled' GROUP BY `+day+`, sku) AS sold`, "day", "sales, pieces")))
	var conversion []string
	for day, visits := range s.visits {
		ordered := 0
		for _, yes := range visits {
			if yes {
				ordered++
			}
		}
		conversion = append(conversion, fmt.Sprintf("%s|%d|%d", day, len(visits), ordered))
	}
	slices.Sort(conversion)
	s.has("daily_conversion", `SELECT concat_ws('|', day, visits, visits_with_order) FROM {source}`, conversion)
	if len(conversion) < 2 {
		s.t.Errorf("the clicks are of one day only: %v", conversion)
	}
	// A payment is told the customer and the product of its order, which may be gone from the database since.
	orders := map[string]string{}
	for _, line := range s.lines(`SELECT concat_ws('|', order_id, customer_id, sku) FROM orders`) {
		id, rest, _ := strings.Cut(line, "|")
		orders[id] = rest
	}
	paid := stacktest.DuckDB(s.t, s.lake.named("payments"), stacktest.Read{SQL: []string{
		`SELECT CAST(order_id AS VARCHAR), order_known, concat_ws('|', order_customer_id, order_sku) FROM {source}`}}).Results[0]
	gone := 0
	for _, p := range paid {
		if order, there := orders[fmt.Sprint(p[0])]; !there {
			gone++
		} else if p[1] != true || p[2] != order {
			s.t.Errorf("the payment of the order %v, %s, has %v", p[0], order, p)
		}
	}
	s.t.Logf("%d payments; of %d the order is not in the database any more", len(paid), gone)
}
