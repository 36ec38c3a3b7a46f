package measures

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/lakeloader/lakeloader/batch"
)

// lake is a DuckDB with a table source.
type lake struct {
	t  *testing.T
	db *sql.DB
}

// rowType is the type of source in most tests.
var rowType = batch.StructOf(
	field("id", batch.Prim(batch.Long)), field("campaign", batch.Prim(batch.Int)), field("country", batch.Prim(batch.String)),
	field("price", batch.DecimalOf(12, 2)), field("ms", batch.Prim(batch.Double)), field("ratio", batch.Prim(batch.Float)), field("ip", batch.Prim(batch.String)),
	field("good", batch.Prim(batch.Boolean)), field("born", batch.Prim(batch.Date)), field("seen", batch.Prim(batch.Timestamp)),
	field("key", batch.Prim(batch.UUID)), field("raw", batch.Prim(batch.Binary)),
	field("geo", batch.StructOf(field("city", batch.Prim(batch.String)), field("zip", batch.Prim(batch.Int)))),
	field("tags", batch.ListOf(batch.Prim(batch.String), false)),
	field("ts", batch.Prim(batch.TimestampTZ)), field("_kafka_partition", batch.Prim(batch.Int)), field("_kafka_offset", batch.Prim(batch.Long)))

const rowColumns = `id BIGINT, campaign INTEGER, country VARCHAR, price DECIMAL(12,2), ms DOUBLE, ratio FLOAT, ip VARCHAR, good BOOLEAN, born DATE,
 seen TIMESTAMP, key UUID, raw BLOB, geo STRUCT(city VARCHAR, zip INTEGER), tags VARCHAR[], ts TIMESTAMPTZ, _kafka_partition INTEGER, _kafka_offset BIGINT`

func field(name string, t *batch.Type) batch.Field { return batch.Field{Name: name, Type: t} }

func open(t *testing.T) *lake {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(8)
	l := &lake{t, db}
	l.exec("SET GLOBAL TimeZone = 'UTC'")
	return l
}

func (l *lake) exec(text string) {
	l.t.Helper()
	if _, err := l.db.Exec(text); err != nil {
		l.t.Fatalf("%s: %v", text, err)
	}
}

// Select is what an engine does.
func (l *lake) Select(ctx context.Context, s Statement, each func(row []any) error) (err error) {
	rows, err := l.db.QueryContext(ctx, s.SQL)
	if err != nil {
		return fmt.Errorf("%s: %w", s.SQL, err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	if len(types) != len(s.Columns) {
		return fmt.Errorf("%d columns, and not %d", len(types), len(s.Columns))
	}
	row, ptrs := make([]any, len(types)), make([]any, len(types))
	for i := range row {
		if got, want := types[i].DatabaseTypeName(), duckType(s.Columns[i].Type); got != want {
			return fmt.Errorf("%s: column %s is a %s, and not a %s", s.SQL, s.Columns[i].Name, got, want)
		}
		ptrs[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(ptrs...); err != nil {
			return err
		}
		for i := range row {
			row[i] = plainValue(row[i])
		}
		if err := each(row); err != nil {
			return err
		}
		for i := range row {
			if b, ok := row[i].([]byte); ok { // a row is good during the call only
				clear(b)
			}
		}
	}
	return rows.Err()
}

func plainValue(v any) any {
	switch x := v.(type) {
	case int32:
		return int64(x)
	case float32:
		return float64(x)
	case duckdb.Decimal:
		return x.Value
	case time.Time:
		return x.UTC()
	}
	return v
}

// duckType is what DuckDB says of a column of a type of ours.
func duckType(t *batch.Type) string {
	switch t.Kind {
	case batch.Float:
		return "FLOAT"
	case batch.UUID:
		return "UUID"
	case batch.Binary:
		return "BLOB"
	}
	return DuckDB.typeName(t)
}

// day runs a plan over a day.
func (l *lake) day(p *Plan, day time.Time, budget int64) [][]any {
	l.t.Helper()
	var out [][]any
	err := p.Assemble(l.t.Context(), DuckDB, day, budget, l.Select, func(row []any) error {
		out = append(out, row)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// show writes rows as text: decimals with their unscaled value, sketches by their length.
func show(p *Plan, rows [][]any) string {
	var b strings.Builder
	for _, row := range rows {
		for i, v := range row {
			if i > 0 {
				b.WriteString(" | ")
			}
			switch x := v.(type) {
			case time.Time:
				b.WriteString(x.Format("2006-01-02T15:04:05.999999"))
			case *big.Int:
				fmt.Fprintf(&b, "%se-%d", x, p.Columns[i].Type.Scale)
			case []byte:
				fmt.Fprintf(&b, "%d bytes", len(x))
			default:
				fmt.Fprint(&b, v)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func compile(t *testing.T, def Definition) *Plan {
	t.Helper()
	if def.Time == "" {
		def.Time = "ts"
	}
	p, err := Compile(def, rowType)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func date(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// TestDay: one small day by hand, with nulls, ties and rows of the days beside it.
func TestDay(t *testing.T) {
	l := open(t)
	l.exec("CREATE TABLE source (" + rowColumns + ")")
	l.exec(`INSERT INTO source BY NAME
	 SELECT 1 id, 7 campaign, 'de' country, 1.10 price, 5.0 ms, 'a' ip, {'city': 'Bonn', 'zip': 1} geo, TIMESTAMPTZ '2026-11-01 00:00:00+00' ts, 0 _kafka_partition, 5 _kafka_offset UNION ALL
	 SELECT 2, 7, 'DE', 2.25, 15.0, 'b', {'city': 'Ulm', 'zip': 2}, TIMESTAMPTZ '2026-11-01 23:59:59.999999+00', 0, 6 UNION ALL
	 SELECT 3, 7, 'de', NULL, NULL, 'a', NULL, TIMESTAMPTZ '2026-11-01 23:59:59.999999+00', 1, 2 UNION ALL
	 SELECT 4, 7, 'de', 100, 1, 'zz', NULL, TIMESTAMPTZ '2026-11-02 00:00:00+00', 1, 3 UNION ALL
	 SELECT 5, 7, 'de', 100, 1, 'zz', NULL, TIMESTAMPTZ '2026-10-31 23:59:59.999999+00', 1, 1 UNION ALL
	 SELECT 6, NULL, NULL, 3, 0, NULL, {'city': NULL, 'zip': 9}, TIMESTAMPTZ '2026-11-01 12:00:00+00', 2, 1 UNION ALL
	 SELECT 7, 9, 'fr', 9, 9, 'q', NULL, TIMESTAMPTZ '2026-11-01 12:00:00+00', 2, 2`)
	p := compile(t, Definition{GroupBy: []string{"campaign", "lower(country) AS land"}, Where: "country IS NULL OR country <> 'fr'", Measures: []Measure{
		{"n", "count(*)"}, {"priced", "count(price)"}, {"ids", "sum(id)"}, {"total", "SUM(price)"}, {"twice", "sum(price * 2)"}, {"lo", "min(price)"}, {"hi", "max(ts)"},
		{"mean", "avg(price)"}, {"slow", "avg(ms)"}, {"first_city", "first(geo.city)"}, {"last_ip", "last(ip)"}, {"visitors", "approx_distinct(ip)"},
		{"pairs", "approx_distinct(ip, geo.city)"}, {"lat", "percentile(ms, 0.5, 1)"}}})
	want := `<nil> | <nil> | 1 | 1 | 6 | 300e-2 | 600e-2 | 300e-2 | 2026-11-01T12:00:00 | 300000000e-8 | 0 | <nil> | <nil> | 0 | 0 | 0 | 0 | 300e-2 | 1 | 0 | 1 | <nil> | <nil> | 4 bytes | 4 bytes | 5 bytes
7 | de | 3 | 2 | 6 | 335e-2 | 670e-2 | 110e-2 | 2026-11-01T23:59:59.999999 | 167500000e-8 | 10 | Bonn | a | 2 | 2 | 5.002829575110703 | 15.0298817517697 | 335e-2 | 2 | 20 | 2 | 2026-11-01T00:00:00 | 2026-11-01T23:59:59.999999 | 9 bytes | 10 bytes | 9 bytes
`
	for _, budget := range []int64{0, 1 << 30} {
		if got := show(p, l.day(p, date(2026, 11, 1), budget)); got != want {
			t.Errorf("budget %d:\n%s\nand not\n%s", budget, got, want)
		}
	}
	if got := l.day(p, date(2026, 11, 3), 0); len(got) != 0 {
		t.Errorf("a day without rows has %v", got)
	}
	names := "campaign int, land string, n long, priced long, ids long, total decimal(38,2), twice decimal(38,2), lo decimal(12,2), hi timestamptz, mean decimal(38,8), " +
		"slow double, first_city string, last_ip string, visitors long, pairs long, lat_p50 double, lat_p100 double, mean__sum decimal(38,2), mean__count long, slow__sum double, " +
		"slow__count long, first_city__at timestamptz, last_ip__at timestamptz, visitors__sketch binary, pairs__sketch binary, lat__sketch binary"
	if got := columns(p); got != names {
		t.Errorf("the columns are %s", got)
	}
}

func columns(p *Plan) string {
	var names []string
	for _, c := range p.Columns {
		names = append(names, c.Name+" "+c.Type.String())
	}
	return strings.Join(names, ", ")
}
