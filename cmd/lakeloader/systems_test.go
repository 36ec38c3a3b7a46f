package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/demo"
)

// answer queries a demo's lake; the rows are lines of CSV.
func answer(t *testing.T, config, sql string) string {
	t.Helper()
	got := lakeloader(t, "query", "-c", config, "-o", "csv", sql).ends(exitOK)
	_, rows, _ := strings.Cut(strings.TrimSpace(got.stdout), "\n")
	return rows
}

// Every unhappy platinum review reaches the webhook and the search index once, and the customers are those of the last changes.
func TestRatingsSystem(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ratings")
	config := filepath.Join(dir, "lakeloader.yaml")
	out := lakeloader(t, "demo", "ratings", "--records", "5000", "--dir", dir, "--seed", "11").ends(exitOK).stdout
	want := answer(t, config, "SELECT count(*) FROM ratings WHERE stars < 3 AND club_status = 'platinum'")
	if want == "0" || !strings.Contains(out, fmt.Sprintf("The webhook got %s messages, and none twice", want)) ||
		!strings.Contains(out, fmt.Sprintf("The search index alerts has %s documents", want)) {
		t.Errorf("%s unhappy platinum customers in the lake:\n%s", want, out)
	}
	all := answer(t, config, "SELECT count(*) FROM ratings")
	if m := regexp.MustCompile(`The search index ratings-[0-9.]+ has (\d+) documents`).FindStringSubmatch(out); m == nil || m[1] != all {
		t.Errorf("%s ratings in the lake:\n%s", all, out)
	}
	if got := answer(t, config, "SELECT count(*) FROM ratings WHERE customer_known IS DISTINCT FROM (club_status IS NOT NULL) OR customer_known AND customers_version IS NULL"); got != "0" {
		t.Errorf("%s ratings whose join does not fit", got)
	}
	// The customers as they are now are those of the last change of each in the log.
	if got := answer(t, config, `SELECT count(*) FROM (
		SELECT id, club_status FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY _position DESC) AS n FROM customers_log) WHERE n = 1 AND _op <> 'd'
		EXCEPT SELECT id, club_status FROM customers)`); got != "0" {
		t.Errorf("%s customers are not as they are in the database", got)
	}
}

// The shop's tables say what its database and its visitors did, by a calculation of their own.
func TestRetailSystem(t *testing.T) {
	t.Parallel()
	const records, seed = 20000, 13
	dir := filepath.Join(t.TempDir(), "retail")
	config := filepath.Join(dir, "lakeloader.yaml")
	lakeloader(t, "demo", "retail", "--records", fmt.Sprint(records), "--dir", dir, "--seed", fmt.Sprint(seed)).ends(exitOK, "20000 records were produced")
	lakeloader(t, "verify", "-c", config).ends(exitOK, "OK: all 20000 offsets are accounted for exactly once")
	for _, job := range []string{"daily_sales", "daily_products", "daily_conversion"} {
		lakeloader(t, "job", "run", job, "-c", config).ends(exitOK)
	}
	// The same records once more: the clock changes nothing but times.
	g := demo.NewRetail(seed, time.Now())
	orders, visits, ordered := map[int64]demo.Order{}, map[string]bool{}, map[string]bool{}
	for clicks := 0; clicks < records; {
		r, err := g.Next()
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Before, After *demo.Order
			Session       string `json:"session_id"`
			Event         string
		}
		if r.Value == nil {
			continue
		}
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatal(err)
		}
		switch r.Topic {
		case "orders":
			if v.After == nil {
				delete(orders, v.Before.ID)
			} else {
				orders[v.After.ID] = *v.After
			}
		case "clickstream":
			clicks++
			visits[v.Session] = true
			if v.Event == "order" {
				ordered[v.Session] = true
			}
		}
	}
	n, sales := 0, new(big.Rat)
	for _, o := range orders {
		if o.Status == "cancelled" {
			continue
		}
		n++
		price, ok := new(big.Rat).SetString(o.UnitPrice)
		if !ok {
			t.Fatal(o)
		}
		sales.Add(sales, price.Mul(price, big.NewRat(int64(o.Quantity), 1)))
	}
	for sql, want := range map[string]string{
		"SELECT count(*) FROM orders":                                           fmt.Sprint(len(orders)),
		"SELECT sum(orders), sum(sales) FROM daily_sales":                       fmt.Sprintf("%d,%s", n, sales.FloatString(2)),
		"SELECT sum(orders), sum(sales) FROM daily_products":                    fmt.Sprintf("%d,%s", n, sales.FloatString(2)),
		"SELECT sum(visits), sum(visits_with_order) FROM daily_conversion":      fmt.Sprintf("%d,%d", len(visits), len(ordered)),
		"SELECT count(*) FROM payments WHERE order_known AND order_sku IS NULL": "0",
	} {
		if got := answer(t, config, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}
