package measures

import (
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// TestStatements: the SQL of each dialect.
func TestStatements(t *testing.T) {
	p := compile(t, Definition{
		GroupBy:  []string{"campaign", "lower(country) AS land", "geo.city", "extract(hour FROM ts) AS hour", "CAST(ts AS DATE) AS utc_day", "key"},
		Where:    "country IS NOT NULL AND NOT (ip LIKE '%x' OR campaign IN (1, 2)) AND price BETWEEN 0.5 AND 9 AND born >= DATE '2026-01-31' AND country <> 'it''s'",
		TimeZone: "America/New_York",
		Measures: []Measure{{"n", "count(*)"}, {"ids", "sum(id)"}, {"total", "sum(price * campaign)"}, {"per", "sum(ms / campaign)"}, {"r", "sum(ratio)"}, {"lo", "min(seen)"}, {"hi", "max(coalesce(campaign, 0))"},
			{"mean", "avg(price)"}, {"early", "first(ip)"}, {"late", "last(trim(ip) || '-' || substr(country, 1, 2))"}, {"state", "max(CASE WHEN ms > 1e3 THEN 'slow' WHEN good THEN 'good' END)"},
			{"ips", "approx_distinct(ip)"}, {"pairs", "approx_distinct(campaign, price, good)"}, {"ms", "percentile(ms, 0.5, 0.999, 0, 1)"}},
	})
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(columns(p), ", ", "\n") + "\n")
	for _, d := range []Dialect{DuckDB, Trino, Spark} {
		statements, err := p.Statements(d, date(2026, 11, 1), 100, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range statements {
			b.WriteString("\n-- " + string(d) + "\n" + s.SQL + "\n")
		}
	}
	golden(t, "testdata/statements.txt", b.String())
	l := open(t)
	l.fill(40_000, 9)
	if rows := l.day(p, date(2026, 11, 1), 0); len(rows) == 0 {
		t.Error("no rows")
	}
}

// TestCompileRefuses: field, text and what the error says.
func TestCompileRefuses(t *testing.T) {
	for _, line := range lines(t, "testdata/short.txt") {
		text, want, _ := strings.Cut(line, " => ")
		what, text, _ := strings.Cut(text, ": ")
		def := Definition{Time: "ts", Measures: []Measure{{"n", "count(*)"}}}
		switch what {
		case "where":
			def.Where = text
		case "group":
			def.GroupBy = strings.Split(text, "; ")
		case "time":
			def.Time = text
		case "zone":
			def.TimeZone = text
		default:
			def.Measures = append(def.Measures, Measure{what, text})
		}
		if _, err := Compile(def, rowType); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  says %v\n  and not %s", line, err, want)
		}
	}
	if _, err := Compile(Definition{Time: "ts"}, rowType); err == nil || !strings.Contains(err.Error(), "measures: there is none") {
		t.Errorf("no measures: %v", err)
	}
}

// TestDays: the bounds of days whose clocks change, in UTC, and that days neither overlap nor leave gaps.
func TestDays(t *testing.T) {
	for _, c := range []struct{ zone, day, from, to string }{
		{"UTC", "2026-11-01", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"},
		{"Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},     // 23 hours
		{"Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},     // 25 hours
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}, // no midnight
		{"America/Havana", "2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},    // two midnights
		{"Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"},      // a day left out
		{"Asia/Kathmandu", "2026-05-05", "2026-05-04T18:15:00Z", "2026-05-05T18:15:00Z"},
	} {
		zone, err := Zone(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		day, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			t.Fatal(err)
		}
		from, to := DayBounds(day, zone)
		if got := from.Format(time.RFC3339); got != c.from {
			t.Errorf("%s in %s begins at %s, and not %s", c.day, c.zone, got, c.from)
		}
		if got := to.Format(time.RFC3339); got != c.to {
			t.Errorf("%s in %s ends at %s, and not %s", c.day, c.zone, got, c.to)
		}
		for range 800 {
			_, end := DayBounds(day, zone)
			day = day.AddDate(0, 0, 1)
			if start, _ := DayBounds(day, zone); !start.Equal(end) {
				t.Fatalf("%s in %s begins at %s, and the day before ends at %s", day, c.zone, start, end)
			}
		}
	}
}

// TestLocalDays: a timestamp without a zone and a date are taken as they are, whatever the zone.
func TestLocalDays(t *testing.T) {
	l := open(t)
	l.exec("CREATE TABLE source (" + rowColumns + ")")
	l.exec(`INSERT INTO source BY NAME SELECT 1 id, TIMESTAMP '2026-11-01 00:00:00' seen, DATE '2026-11-01' born UNION ALL SELECT 2, TIMESTAMP '2026-11-01 23:59:59.999999', DATE '2026-11-02'
	 UNION ALL SELECT 4, TIMESTAMP '2026-11-02 00:00:00', DATE '2026-10-31' UNION ALL SELECT 8, NULL, NULL`)
	for column, want := range map[string]int64{"seen": 3, "born": 1} {
		p := compile(t, Definition{Time: column, TimeZone: "Asia/Tokyo", Measures: []Measure{{"ids", "sum(id)"}, {"last_id", "last(id)"}}})
		if rows := l.day(p, date(2026, 11, 1), 0); len(rows) != 1 || rows[0][0] != want {
			t.Errorf("%s: %v", column, rows)
		}
	}
	if _, err := DayCondition(DuckDB, batch.Prim(batch.String), []string{"ip"}, nil, date(2026, 11, 1)); err == nil {
		t.Error("days of a string")
	}
}

// TestOverflow: what does not fit is an error that names the measure, in a day and when days are merged.
func TestOverflow(t *testing.T) {
	l := open(t)
	l.exec("CREATE TABLE source (" + rowColumns + ")")
	l.exec(`INSERT INTO source BY NAME SELECT 9000000000000000000 id, 1 campaign, TIMESTAMPTZ '2026-11-01 12:00:00+00' + to_days(i::INT) ts FROM range(2) t(i)`)
	p := compile(t, Definition{Measures: []Measure{{"ids", "sum(id)"}}})
	a, b := l.day(p, date(2026, 11, 1), 0), l.day(p, date(2026, 11, 2), 0)
	if _, err := p.Merge([][]any{a[0], b[0]}); err == nil || !strings.Contains(err.Error(), "measure ids") || !strings.Contains(err.Error(), "beyond 64 bits") {
		t.Errorf("merging: %v", err)
	}
	l.exec("UPDATE source SET ts = TIMESTAMPTZ '2026-11-01 12:00:00+00'")
	err := p.Assemble(t.Context(), DuckDB, date(2026, 11, 1), 0, l.Select, func([]any) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "measure ids: the sum 18000000000000000000 is beyond 64 bits") {
		t.Errorf("a day: %v", err)
	}
	wide := compile(t, Definition{Measures: []Measure{{"ids", "sum(CAST(id AS DECIMAL(38,0)))"}, {"mean", "avg(id)"}}})
	if rows := l.day(wide, date(2026, 11, 1), 0); show(wide, rows) != "18000000000000000000e-0 | 9000000000000000000000000e-6 | 18000000000000000000e-0 | 2\n" {
		t.Error(show(wide, rows))
	}
}
