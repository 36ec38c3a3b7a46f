package window

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/lakeloader/lakeloader/batch"
)

func duckdb(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func do(t *testing.T, db *sql.DB, text string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatalf("%v\n%s", err, text[:min(len(text), 2000)])
	}
}

// TestRuleIsSQL: on random days, the ends of months and leap years among them, the rows that count are those of the SQL, also around the
// hours at which clocks change.
func TestRuleIsSQL(t *testing.T) {
	db := duckdb(t)
	row := batch.StructOf(batch.Field{Name: "visitor", Type: batch.Prim(batch.String)}, batch.Field{Name: "timestamp", Type: batch.Prim(batch.TimestampTZ)},
		batch.Field{Name: "value", Type: batch.DecimalOf(18, 2)}, batch.Field{Name: "quantity", Type: batch.Prim(batch.Long)})
	rnd := rand.New(rand.NewPCG(7, 7))
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 25 {
			o := Options{Key: "visitor", Time: "timestamp", Sum: "value * quantity - 0.5", Decimals: 3, Zone: zone, Length: Length{Months: 1 + rnd.IntN(30)}}
			if rnd.IntN(4) == 0 {
				o.Length = Length{Days: 1 + rnd.IntN(400)}
			}
			today := dayOf(2007+rnd.IntN(20), time.Month(1+rnd.IntN(12)), 1) - Day(rnd.IntN(3)) // the ends of months
			if rnd.IntN(3) == 0 {
				today = Day(14000 + rnd.IntN(7000))
			}
			ruleOnce(t, db, &o, row, today, rnd)
		}
	}
}

func ruleOnce(t *testing.T, db *sql.DB, o *Options, row *batch.Type, today Day, rnd *rand.Rand) {
	t.Helper()
	v, err := o.newView(row)
	if err != nil {
		t.Fatal(err)
	}
	floor := o.Length.Floor(today)
	b := batch.New(&batch.Records{}, row)
	var values []string
	for i := range 300 {
		edge := floor
		if rnd.IntN(2) == 0 {
			edge = today
		}
		at := edge.time().Add(time.Duration(rnd.Int64N(int64(96*time.Hour))) - 48*time.Hour).Add(time.Duration(rnd.IntN(3)) * 500 * time.Millisecond)
		if rnd.IntN(3) == 0 {
			at = floor.time().Add(time.Duration(rnd.Int64N(int64(today-floor+3))) * 24 * time.Hour)
		}
		visitor, value, quantity := fmt.Sprint("v", rnd.IntN(5)), rnd.Int64N(200_000)-50_000, rnd.Int64N(5)
		c := b.Root.Children
		c[0].AppendView(b.AppendString(visitor))
		c[1].AppendInt64(at.UnixMicro())
		c[2].AppendInt64(value)
		text := fmt.Sprint(quantity)
		if rnd.IntN(20) == 0 {
			text = "NULL"
			c[3].AppendNull()
		} else {
			c[3].AppendInt64(quantity)
		}
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
		values = append(values, fmt.Sprintf("('%s', make_timestamptz(%d), %s, %s)", visitor, at.UnixMicro(), small(value).appendText(nil, 2), text))
	}
	do(t, db, `CREATE OR REPLACE TABLE purchases (visitor VARCHAR, "timestamp" TIMESTAMPTZ, value DECIMAL(18,2), quantity BIGINT)`)
	do(t, db, "INSERT INTO purchases VALUES "+strings.Join(values, ", "))
	amounts, err := v.amounts(b)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]buckets{}
	for i, keep := range v.keep {
		if !keep {
			continue
		}
		a, _ := amounts[i].times(v.lift)
		key := string(v.keyText(b, i))
		if keys[key], err = keys[key].add(v.days.of(b.Root.Children[1], i), a); err != nil {
			t.Fatal(err)
		}
	}
	query, err := o.SQL("purchases", row, today)
	if err != nil {
		t.Fatal(err)
	}
	want := ask(t, db, query)
	for key, bs := range keys {
		total, err := bs.total(floor, today)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(total.appendText(nil, 3)); bs.any(floor, today) && got != want[key] || !bs.any(floor, today) && want[key] != "" {
			t.Fatalf("%s on %s in %s: %s has %s, and by SQL %q\n%s", o.Length, today, o.Zone, key, got, want[key], query)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Fatalf("only SQL knows %v", want)
	}
}

func ask(t *testing.T, db *sql.DB, query string) map[string]string {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), "SELECT key, CAST(total AS VARCHAR) FROM ("+query+")")
	if err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var key, total string
		if err := rows.Scan(&key, &total); err != nil {
			t.Fatal(err)
		}
		out[key] = total
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFloor(t *testing.T) {
	for _, c := range []struct {
		l         Length
		day, want string
	}{
		{Length{Months: 3}, "2026-05-31", "2026-02-28"},
		{Length{Months: 3}, "2024-05-31", "2024-02-29"},
		{Length{Months: 3}, "2024-05-29", "2024-02-29"},
		{Length{Months: 3}, "2026-01-15", "2025-10-15"},
		{Length{Months: 12}, "2024-02-29", "2023-02-28"},
		{Length{Months: 13}, "2026-01-31", "2024-12-31"},
		{Length{Days: 1}, "2026-03-01", "2026-02-28"},
		{Length{Days: 30}, "2026-03-30", "2026-02-28"},
	} {
		d, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.l.Floor(DayOf(d)).String(); got != c.want {
			t.Errorf("%s less %s is %s, want %s", c.day, c.l, got, c.want)
		}
	}
}

// TestAmounts compares the arithmetic with that of big integers.
func TestAmounts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	draw := func() Amount {
		a := Amount{int64(rnd.Uint64()) >> rnd.IntN(64), rnd.Uint64()}
		if rnd.IntN(2) == 0 {
			a = small(int64(a.lo) >> rnd.IntN(64))
		}
		return a
	}
	toBig := func(a Amount) *big.Int {
		v := new(big.Int).Lsh(big.NewInt(a.hi), 64)
		return v.Add(v, new(big.Int).SetUint64(a.lo))
	}
	fits := func(v *big.Int) bool { return v.BitLen() < 128 }
	for range 200_000 {
		a, b := draw(), draw()
		sum, ok := a.plus(b)
		if want := new(big.Int).Add(toBig(a), toBig(b)); ok != fits(want) && want.Sign() >= 0 || ok && toBig(sum).Cmp(want) != 0 {
			t.Fatalf("%v + %v = %v, %v", toBig(a), toBig(b), toBig(sum), ok)
		}
		product, ok := a.times(b)
		if want := new(big.Int).Mul(toBig(a), toBig(b)); ok != fits(want) && toBig(a).BitLen() < 128 && toBig(b).BitLen() < 128 || ok && toBig(product).Cmp(want) != 0 {
			t.Fatalf("%v * %v = %v, %v", toBig(a), toBig(b), toBig(product), ok)
		}
		back, rest, err := readVarint(append(a.appendVarint(nil), 7))
		if err != nil || back != a || len(rest) != 1 {
			t.Fatalf("%v is read as %v, %v", toBig(a), toBig(back), err)
		}
		if a.hi == -1<<63 {
			continue
		}
		if got, ok := new(big.Int).SetString(strings.Replace(string(a.appendText(nil, 2)), ".", "", 1), 10); !ok || got.Cmp(toBig(a)) != 0 {
			t.Fatalf("%v is written as %s", toBig(a), a.appendText(nil, 2))
		}
	}
}

// TestSlot: the hashes are those of the tests of Kafka's Java client.
func TestSlot(t *testing.T) {
	for key, want := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}
