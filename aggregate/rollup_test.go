package aggregate_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/measures"
	"github.com/lakeloader/lakeloader/table"
)

// rollup makes an aggregate of measures, and the one that rolls its days up.
func (w *world) rollup(by aggregate.Period) *aggregate.Aggregator {
	def := measures.Definition{GroupBy: []string{"country"}, Where: "price < 100", Time: "ts", Measures: []measures.Measure{{Name: "sales", Text: "count(*)"}, {Name: "total", Text: "sum(price)"},
		{Name: "mean", Text: "avg(price)"}, {Name: "first_id", Text: "first(id)"}, {Name: "prices", Text: "approx_distinct(price)"}, {Name: "price", Text: "percentile(price, 0.5, 0.9)"}}}
	days := func(info table.Info) (*aggregate.Measured, error) {
		return aggregate.NewMeasured(def, info.Row, 1<<20, false)
	}
	w.agg.Define = func(_ context.Context, info table.Info, _ aggregate.Clock) (aggregate.Calculation, error) {
		return days(info)
	}
	r := *w.agg
	r.Name, r.Period, r.Source, r.Target, r.Time = "daily."+by.Name, by, target, table.Ident{Namespace: "lake", Name: by.Name + "s"}, "day"
	r.Define = func(ctx context.Context, _ table.Info, _ aggregate.Clock) (aggregate.Calculation, error) {
		info, err := w.env.Catalog.Info(ctx, source)
		if err != nil {
			return nil, err
		}
		d, err := days(info)
		if err != nil {
			return nil, err
		}
		return aggregate.NewRollup(d, by)
	}
	return &r
}

// Weeks and months are what would be calculated of them at once: exactly, or within the errors of sketches. Only those of days
// that changed are.
func TestRollups(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "day(ts)")
	weeks, months := w.rollup(aggregate.Weekly()), w.rollup(aggregate.Monthly())
	random := rand.New(rand.NewPCG(1, 2))
	var sales []string
	for range 2000 {
		at := time.Date(2026, 9, 28, 0, 0, 0, 0, time.UTC).Add(time.Duration(random.Int64N(int64(40 * 24 * time.Hour)))).Truncate(time.Millisecond)
		sales = append(sales, fmt.Sprintf("%s %s %d.%02d", at.Format(time.RFC3339Nano), []string{"DE", "FR", "IT"}[random.IntN(3)], random.IntN(120), random.IntN(100)))
	}
	w.load(sales...)
	ran := func(a *aggregate.Aggregator, want string) {
		t.Helper()
		r, err := a.Run(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := did(r); got != want {
			t.Errorf("%s: %s, want %s", a.Name, got, want)
		}
	}
	if _, err := w.agg.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ran(weeks, "09-28 10-05 10-12 10-19 10-26 11-02")
	ran(months, "09-01 10-01 11-01")
	right := func() {
		t.Helper()
		for _, a := range []*aggregate.Aggregator{w.agg, weeks, months} {
			by := a.Period.Name
			const exact = "country, sales, total, first_id"
			want := w.ask(fmt.Sprintf(`SELECT CAST(date_trunc('%s', ts) AS DATE) AS %s, country, count(*) AS sales, sum(price) AS total, min_by(id, (ts, _kafka_offset)) AS first_id FROM t WHERE price < 100 GROUP BY ALL ORDER BY ALL`, by, by))
			if got := w.ask(fmt.Sprintf("SELECT %s, %s FROM %s ORDER BY ALL", by, exact, a.Target.Name)); got != want {
				t.Errorf("%s:\n%s\nwant\n%s", by, got, want)
			}
			if by == "day" {
				continue // whose groups are so small that a sketch's error is a whole value
			}
			off := w.ask(fmt.Sprintf(`SELECT max(abs(a.prices - b.prices) / b.prices) AS d, max(abs(a.price_p50 - b.p50) / b.p50) AS m, max(abs(a.price_p90 - b.p90) / b.p90) AS n, max(abs(a.mean - b.mean)) AS o FROM %s a JOIN (
				SELECT CAST(date_trunc('%s', ts) AS DATE) AS by, country, count(DISTINCT price) AS prices, quantile_disc(CAST(price AS DOUBLE), 0.5) AS p50, quantile_disc(CAST(price AS DOUBLE), 0.9) AS p90,
				avg(price) AS mean FROM t WHERE price < 100 GROUP BY ALL) b ON a.%s = b.by AND a.country = b.country`, a.Target.Name, by, by))
			var d, m, n, o float64
			if _, err := fmt.Sscanf(strings.NewReplacer(`"`, "", "{", "", "}", "", ",", " ").Replace(off), "d:%g m:%g n:%g o:%g", &d, &m, &n, &o); err != nil {
				t.Fatalf("%s: %v", off, err)
			}
			if d > 0.05 || math.Max(m, n) > 0.25 || o > 1e-6 {
				t.Errorf("%s: errors of %s", by, off)
			}
		}
	}
	right()
	ran(weeks, "")
	w.load("2026-10-13T10:00:00Z DE 17.00", "2026-10-14T10:00:00Z DE 18.00")
	ran(w.agg, "10-13 10-14")
	ran(weeks, "10-12")
	ran(months, "10-01")
	right()
	w.remove(func(f table.File) bool { return strings.Contains(f.Path, "2026-11-") })
	if _, err := w.agg.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ran(weeks, "10-26 -11-02")
	ran(months, "-11-01")
	right()
}
