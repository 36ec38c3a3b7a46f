//go:build stack && engines

package measures

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// engineRow is the part of rowType that the sources of TestEngines have.
var engineRow = batch.StructOf(field("id", batch.Prim(batch.Long)), field("campaign", batch.Prim(batch.Int)), field("country", batch.Prim(batch.String)),
	field("price", batch.DecimalOf(12, 2)), field("ms", batch.Prim(batch.Double)), field("ip", batch.Prim(batch.String)), field("good", batch.Prim(batch.Boolean)),
	field("born", batch.Prim(batch.Date)), field("seen", batch.Prim(batch.Timestamp)), field("key", batch.Prim(batch.UUID)),
	field("geo", batch.StructOf(field("city", batch.Prim(batch.String)))), field("ts", batch.Prim(batch.TimestampTZ)),
	field("_kafka_partition", batch.Prim(batch.Int)), field("_kafka_offset", batch.Prim(batch.Long)))

// source is a relation of the same rows in another engine's SQL: all rows in one text, which is cut up there.
func (l *lake) source(d Dialect) string {
	l.t.Helper()
	var data string
	if err := l.db.QueryRow(`SELECT string_agg(concat_ws('|', id, campaign, coalesce(replace(country, '''', ''''''), ''), coalesce(price::VARCHAR, ''), coalesce(ms::VARCHAR, ''), coalesce(ip, ''), good, born, seen,
		key, coalesce(geo.city, ''), strftime(ts, '%Y-%m-%d %H:%M:%S.%f'), _kafka_partition, _kafka_offset), ';') FROM source`).Scan(&data); err != nil {
		l.t.Fatal(err)
	}
	var items []string
	for i, f := range engineRow.Fields {
		x := fmt.Sprintf("nullif(x[%d], '')", i+1)
		if d == Spark {
			x = fmt.Sprintf("nullif(x[%d], '')", i)
		}
		switch f.Type.Kind {
		case batch.TimestampTZ:
			x = "CAST(" + x + " || ' UTC' AS " + d.typeName(f.Type) + ")"
		case batch.Struct:
			x = map[Dialect]string{Trino: "CAST(ROW(" + x + ") AS ROW(city VARCHAR))", Spark: "named_struct('city', " + x + ")"}[d]
		case batch.UUID:
			x = map[Dialect]string{Trino: "CAST(" + x + " AS UUID)", Spark: x}[d]
		case batch.String:
		default:
			x = "CAST(" + x + " AS " + d.typeName(f.Type) + ")"
		}
		items = append(items, x+" AS "+d.Ident(f.Name))
	}
	if d == Spark {
		return "SELECT " + strings.Join(items, ", ") + " FROM (SELECT split(line, '[|]') AS x FROM (SELECT explode(split('" + strings.ReplaceAll(data, "''", `\'`) + "', ';')) AS line))"
	}
	return "SELECT " + strings.Join(items, ", ") + " FROM (SELECT split(line, '|') AS x FROM UNNEST(split('" + data + "', ';')) AS u(line))"
}

// TestEnginesAnswerAlike: the statements of all measures, and the SQL form, give the same rows in DuckDB, Trino and Spark,
// sketches included; sums of doubles within their rounding, buckets but for numbers on their edges.
func TestEnginesAnswerAlike(t *testing.T) {
	l := open(t)
	l.fill(2500, 21)
	def := Definition{
		GroupBy:  []string{"campaign", "upper(trim(country)) AS land", "CAST(ts AS DATE) AS utc_day"},
		Where:    "campaign IN (1, 2, 3) AND NOT (ip LIKE '%7' OR good AND campaign = 2) AND born >= DATE '2026-01-03' AND (country <> 'it''s' OR id > 5) AND length(country) BETWEEN 1 AND 5",
		Time:     "ts",
		TimeZone: "Europe/Berlin",
		Measures: []Measure{{"n", "count(*)"}, {"ids", "sum(id)"}, {"total", "sum(price * campaign)"}, {"per", "sum(ms / campaign)"}, {"lo", "min(seen)"}, {"hi", "max(coalesce(campaign, 0))"},
			{"mean", "avg(price)"}, {"msmean", "avg(ms)"}, {"early", "first(geo.city)"}, {"late", "last(trim(ip) || '-' || substr(country, 1, 2))"}, {"state", "max(CASE WHEN ms > 1e3 THEN 'slow' WHEN good THEN 'good' END)"},
			{"hour", "min(extract(HOUR FROM ts))"}, {"cut", "max(date_trunc('hour', ts))"}, {"month", "min(date_trunc('month', born))"}, {"keys", "count(key)"}, {"some", "max(nullif(abs(price), 1.50))"},
			{"down", "min(floor(ms))"}, {"low", "min(born)"}, {"ips", "approx_distinct(ip)"}, {"pairs", "approx_distinct(campaign, price, good)"}, {"births", "approx_distinct(born, key)"}, {"p", "percentile(ms, 0.5, 0.99)"}},
		PortableHash: true,
	}
	p, err := Compile(def, engineRow)
	if err != nil {
		t.Fatal(err)
	}
	want := l.day(p, date(2026, 11, 1), 0)
	if len(want) < 10 {
		t.Fatalf("only %d rows", len(want))
	}
	for _, d := range []Dialect{Trino, Spark} {
		with := "WITH source AS (" + l.source(d) + ") "
		query := func(sql string) [][]any { return trino(t, sql) }
		if d == Spark { // it takes long to start
			query = l.spark(p, with)
		}
		var got [][]any
		err := p.Assemble(t.Context(), d, date(2026, 11, 1), 0, func(_ context.Context, s Statement, each func([]any) error) error {
			for _, row := range query(with + s.SQL) {
				for i := range row {
					row[i] = fromText(t, s.Columns[i].Type, row[i])
				}
				if err := each(row); err != nil {
					return err
				}
			}
			return nil
		}, func(row []any) error { got = append(got, row); return nil })
		if err != nil {
			t.Errorf("%s: %v", d, err)
			continue
		}
		same(t, d, p.Columns, want, got)
		for _, text := range lines(t, "testdata/accepted.sql") {
			l.form(text, d, with, query)
		}
	}
}

// rendered is a statement of the SQL form in a dialect, its rows in order.
func (l *lake) rendered(text string, d Dialect) (string, []string) {
	l.t.Helper()
	s, err := ParseSQL(l.tree(text), engineRow)
	if err != nil {
		l.t.Fatal(err)
	}
	day, err := DayCondition(d, batch.Prim(batch.TimestampTZ), []string{"ts"}, nil, date(2026, 11, 1))
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := s.Render(d, day)
	if err != nil {
		l.t.Fatal(err)
	}
	return "SELECT * FROM (" + out + ") z ORDER BY " + strings.Join(d.idents(s.Names), " NULLS FIRST, ") + " NULLS FIRST", s.Names
}

// form compares what DuckDB and another engine answer to a statement of the SQL form.
func (l *lake) form(text string, d Dialect, with string, query func(string) [][]any) {
	l.t.Helper()
	statement, names := l.rendered(text, DuckDB)
	rows, err := l.db.Query(statement)
	if err != nil {
		l.t.Fatal(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		l.t.Fatal(err)
	}
	var columns []Column
	for i, c := range types {
		name := c.DatabaseTypeName()
		kind := map[string]*batch.Type{"BIGINT": batch.Prim(batch.Long), "INTEGER": batch.Prim(batch.Int), "HUGEINT": batch.DecimalOf(38, 0), "VARCHAR": batch.Prim(batch.String), "DOUBLE": batch.Prim(batch.Double),
			"TIMESTAMPTZ": batch.Prim(batch.TimestampTZ), "BOOLEAN": batch.Prim(batch.Boolean)}[name]
		if strings.HasPrefix(name, "DECIMAL") {
			kind, err = batch.ParseType(strings.ToLower(name))
		}
		if kind == nil || err != nil {
			l.t.Fatalf("%s: column %s is a %s: %v", text, c.Name(), name, err)
		}
		columns = append(columns, Column{names[i], kind})
	}
	var want [][]any
	for rows.Next() {
		row, ptrs := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			ptrs[i] = &row[i]
		}
		if err := rows.Scan(ptrs...); err != nil {
			l.t.Fatal(err)
		}
		for i := range row {
			row[i] = plainValue(row[i])
		}
		want = append(want, row)
	}
	if err := rows.Err(); err != nil || len(want) == 0 {
		l.t.Fatalf("%s: %d rows: %v", text, len(want), err)
	}
	statement, _ = l.rendered(text, d)
	got := query(with + statement)
	for _, row := range got {
		for i := range row {
			row[i] = fromText(l.t, columns[i].Type, row[i])
		}
	}
	same(l.t, d, columns, want, got)
}

func (d Dialect) idents(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = d.Ident(n)
	}
	return out
}

func same(t *testing.T, d Dialect, columns []Column, want, got [][]any) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, and not %d", d, len(got), len(want))
		return
	}
	for i := range want {
		for c := range columns {
			a, b := want[i][c], got[i][c]
			if x, ok := a.(float64); ok {
				if y, ok := b.(float64); ok && math.Abs(x-y) <= 1e-12*math.Abs(x) {
					continue
				}
			}
			if (a == nil) != (b == nil) || a != nil && !reflect.DeepEqual(a, b) && compare(a, b) != 0 {
				t.Errorf("%s, row %d: %s is %v (%T), and not %v (%T)", d, i, columns[c].Name, b, b, a, a)
			}
		}
	}
}

// fromText reads a value as Trino and Spark write it.
func fromText(t *testing.T, typ *batch.Type, v any) any {
	t.Helper()
	if v == nil {
		return nil
	}
	s := fmt.Sprint(v)
	fail := func(err error) {
		if err != nil {
			t.Fatalf("%q is no %s: %v", s, typ, err)
		}
	}
	switch typ.Kind {
	case batch.Int, batch.Long:
		n, err := strconv.ParseInt(s, 10, 64)
		fail(err)
		return n
	case batch.Double:
		f, err := strconv.ParseFloat(s, 64)
		fail(err)
		return f
	case batch.Boolean:
		b, err := strconv.ParseBool(s)
		fail(err)
		return b
	case batch.Decimal:
		whole, frac, _ := strings.Cut(s, ".")
		n, ok := new(big.Int).SetString(whole+frac+strings.Repeat("0", typ.Scale-len(frac)), 10)
		if !ok {
			fail(fmt.Errorf("no number"))
		}
		return n
	case batch.UUID:
		b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
		fail(err)
		return b
	case batch.Date, batch.Timestamp, batch.TimestampTZ:
		s = strings.NewReplacer(" UTC", "", "T", " ", "+00:00", "").Replace(s)
		layout := "2006-01-02 15:04:05.999999"
		if typ.Kind == batch.Date {
			layout = time.DateOnly
		}
		at, err := time.Parse(layout, s)
		fail(err)
		return at
	}
	return s
}

// trino runs a statement by Trino's protocol: each answer names the address of the next one.
func trino(t *testing.T, sql string) (rows [][]any) {
	t.Helper()
	address := os.Getenv("LAKELOADER_TEST_TRINO")
	if address == "" {
		t.Fatal("LAKELOADER_TEST_TRINO is not set: see make test-engines")
	}
	method, url, body := http.MethodPost, address+"/v1/statement", sql
	for url != "" {
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Trino-User", "test")
		req.Header.Set("X-Trino-Time-Zone", "UTC")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode >= 502 { // overloaded: ask again
			continue
		}
		var answer struct {
			NextURI string
			Data    [][]any
			Error   *struct{ Message string }
		}
		dec := json.NewDecoder(strings.NewReader(string(b)))
		dec.UseNumber()
		if err := dec.Decode(&answer); err != nil {
			t.Fatalf("%s: %s", err, b)
		}
		if answer.Error != nil {
			t.Fatalf("Trino: %s\n%s", answer.Error.Message, sql[strings.Index(sql, ") SELECT"):])
		}
		rows = append(rows, answer.Data...)
		method, url, body = http.MethodGet, answer.NextURI, ""
	}
	return rows
}

// spark runs all statements at once and gives the rows of each.
func (l *lake) spark(p *Plan, with string) func(sql string) [][]any {
	l.t.Helper()
	var all []string
	statements, err := p.Statements(Spark, date(2026, 11, 1), 0, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, s := range statements {
		all = append(all, with+s.SQL)
	}
	for _, text := range lines(l.t, "testdata/accepted.sql") {
		s, _ := l.rendered(text, Spark)
		all = append(all, with+s)
	}
	file := filepath.Join(l.t.TempDir(), "statements.json")
	b, err := json.Marshal(all)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		l.t.Fatal(err)
	}
	var results [][][]any
	if err := json.Unmarshal(stacktest.SparkSQL(l.t, file), &results); err != nil {
		l.t.Fatal(err)
	}
	return func(sql string) [][]any { return results[slices.Index(all, sql)] }
}
