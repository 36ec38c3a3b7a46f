package measures

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// raw is a row of source as DuckDB gives it.
type raw struct {
	id, campaign, part, off int64
	country, ip, city       *string
	price                   *big.Int
	ms                      *float64
	ts                      time.Time
}

func (l *lake) raws() (out []raw) {
	l.t.Helper()
	rows, err := l.db.Query(`SELECT id, campaign, _kafka_partition, _kafka_offset, country, ip, geo.city, CAST(price * 100 AS BIGINT), ms, ts FROM source`)
	if err != nil {
		l.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r raw
		var cents *int64
		if err := rows.Scan(&r.id, &r.campaign, &r.part, &r.off, &r.country, &r.ip, &r.city, &cents, &r.ms, &r.ts); err != nil {
			l.t.Fatal(err)
		}
		if cents != nil {
			r.price = big.NewInt(*cents)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		l.t.Fatal(err)
	}
	return out
}

// before orders rows by time and place.
func (r raw) before(o raw) bool {
	if !r.ts.Equal(o.ts) {
		return r.ts.Before(o.ts)
	}
	return r.part < o.part || r.part == o.part && r.off < o.off
}

var randomly = Definition{GroupBy: []string{"campaign", "upper(trim(country)) AS land"}, Time: "ts", TimeZone: "Europe/Berlin", Measures: []Measure{
	{"n", "count(*)"}, {"ids", "sum(id)"}, {"total", "sum(price)"}, {"lo", "min(price)"}, {"hi", "max(ip)"}, {"mean", "avg(price)"}, {"idmean", "avg(id)"},
	{"early", "first(geo.city)"}, {"late", "last(ip)"}, {"ips", "approx_distinct(ip)"}, {"ms", "percentile(ms, 0.5, 0.99)"}}}

// want is what a group's rows give, calculated without any of the code that is tested; the sketches' columns stay empty.
func want(rows []raw) map[string]any {
	out := map[string]any{"n": int64(len(rows)), "total": nil, "lo": nil, "hi": nil, "mean": nil, "early": nil, "late": nil}
	var ids int64
	var total *big.Int
	var priced int64
	var first, last *raw
	for i, r := range rows {
		ids += r.id
		if r.price != nil {
			priced++
			if total == nil {
				total = new(big.Int)
			}
			total.Add(total, r.price)
			if lo, ok := out["lo"].(*big.Int); !ok || r.price.Cmp(lo) < 0 {
				out["lo"] = r.price
			}
		}
		if r.ip != nil {
			if hi, ok := out["hi"].(string); !ok || *r.ip > hi {
				out["hi"] = *r.ip
			}
			if last == nil || last.before(r) {
				last = &rows[i]
				out["late"] = *r.ip
			}
		}
		if r.city != nil && (first == nil || r.before(*first)) {
			first = &rows[i]
			out["early"] = *r.city
		}
	}
	out["ids"] = ids
	out["idmean"] = rounded(big.NewInt(ids), int64(len(rows)))
	if total != nil {
		out["total"], out["mean"] = total, rounded(total, priced)
	}
	return out
}

// rounded divides with six digits more.
func rounded(sum *big.Int, n int64) *big.Int {
	r := new(big.Rat).SetFrac(new(big.Int).Mul(sum, big.NewInt(1_000_000)), big.NewInt(n))
	text := r.FloatString(0) // rounds half away from zero
	out, _ := new(big.Int).SetString(text, 10)
	return out
}

// TestRandomDays: random rows over days of a zone whose clocks changed, each day and all days merged, against a calculation
// of the test's own; both ways to ask DuckDB for sketches give the same bytes.
func TestRandomDays(t *testing.T) {
	l := open(t)
	def := randomly
	def.Where = "id >= 10 AND campaign <> 6"
	p := compile(t, def)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range 3 {
		l.fill(20_000, seed)
		groups := map[string][]raw{}
		var days []time.Time
		all := map[string][]raw{}
		for _, r := range l.raws() {
			if r.id < 10 || r.campaign == 6 {
				continue
			}
			land := "<nil>"
			if r.country != nil {
				land = strings.ToUpper(strings.Trim(*r.country, " "))
			}
			y, m, d := r.ts.In(berlin).Date()
			day := date(y, m, d)
			if !slices.ContainsFunc(days, day.Equal) {
				days = append(days, day)
			}
			k := fmt.Sprint(r.campaign, "/", land)
			groups[day.Format(time.DateOnly)+k] = append(groups[day.Format(time.DateOnly)+k], r)
			all[k] = append(all[k], r)
		}
		merged := map[string][][]any{}
		n := 0
		for _, day := range days {
			rows := l.day(p, day, 0)
			if dense := l.day(p, day, 1<<40); !reflect.DeepEqual(rows, dense) {
				t.Fatalf("seed %d, %s: the two ways to make sketches differ", seed, day)
			}
			for _, row := range rows {
				k := fmt.Sprint(row[0], "/", row[1])
				holds(t, p, row, groups[day.Format(time.DateOnly)+k])
				merged[k] = append(merged[k], row)
				n++
			}
		}
		if n != len(groups) || len(days) < 3 {
			t.Errorf("seed %d: %d groups, and not %d, on %d days", seed, n, len(groups), len(days))
		}
		for k, rows := range merged {
			row, err := p.Merge(rows)
			if err != nil {
				t.Fatal(err)
			}
			holds(t, p, row, all[k])
		}
	}
}

// holds compares a row with what its rows give.
func holds(t *testing.T, p *Plan, row []any, rows []raw) {
	t.Helper()
	expected := want(rows)
	for i, c := range p.Columns[p.Keys:] {
		w, ok := expected[c.Name]
		if !ok {
			continue
		}
		got := row[p.Keys+i]
		if (w == nil) != (got == nil) || w != nil && compare(got, w) != 0 {
			t.Errorf("group %v: %s is %v, and not %v", row[:p.Keys], c.Name, got, w)
		}
	}
	ips := map[string]bool{}
	var ms []float64
	for _, r := range rows {
		if r.ip != nil {
			ips[*r.ip] = true
		}
		if r.ms != nil {
			ms = append(ms, *r.ms)
		}
	}
	if got, n := float64(value(p, row, "ips").(int64)), float64(len(ips)); math.Abs(got-n) > max(4*DistinctError*n, 2) {
		t.Errorf("group %v: %v distinct addresses, and not %v", row[:p.Keys], got, n)
	}
	slices.Sort(ms)
	for _, q := range []float64{0.5, 0.99} {
		got := value(p, row, "ms_p"+map[float64]string{0.5: "50", 0.99: "99"}[q])
		if len(ms) == 0 {
			if got != nil {
				t.Errorf("a percentile of nothing is %v", got)
			}
			continue
		}
		if w := ms[int(q*float64(len(ms)-1))]; math.Abs(got.(float64)-w) > QuantileError*math.Abs(w)*(1+1e-9) {
			t.Errorf("group %v: percentile %v is %v, and not %v", row[:p.Keys], q, got, w)
		}
	}
}

func value(p *Plan, row []any, name string) any {
	return row[slices.IndexFunc(p.Columns, func(c Column) bool { return c.Name == name })]
}

// TestPortableHash: DuckDB makes the sketch that MD5 gives by Go's own, so that Trino and Spark can make it too.
func TestPortableHash(t *testing.T) {
	l := open(t)
	l.fill(5000, 4)
	def := Definition{Measures: []Measure{{"one", "approx_distinct(ip)"}, {"two", "approx_distinct(ip, campaign)"}, {"three", "approx_distinct(price)"}, {"four", "approx_distinct(born)"}}, PortableHash: true}
	p := compile(t, def)
	rows := l.day(p, date(2026, 11, 1), 0)
	if dense := l.day(p, date(2026, 11, 1), 1<<40); !reflect.DeepEqual(rows, dense) {
		t.Error("the two ways to make sketches differ")
	}
	one, two := &Distinct{hash: hashMD5}, &Distinct{hash: hashMD5}
	from, to := DayBounds(date(2026, 11, 1), nil)
	for _, r := range l.raws() {
		if r.ip == nil || r.ts.Before(from) || !r.ts.Before(to) {
			continue
		}
		hashed(t, one, *r.ip)
		hashed(t, two, fmt.Sprintf("%d:%s%d:%d", len(*r.ip), *r.ip, len(fmt.Sprint(r.campaign)), r.campaign))
	}
	if got := value(p, rows[0], "one__sketch"); !reflect.DeepEqual(got, one.Bytes()) {
		t.Error("the sketch of one column differs")
	}
	if got := value(p, rows[0], "two__sketch"); !reflect.DeepEqual(got, two.Bytes()) {
		t.Error("the sketch of two columns differs")
	}
}

// hashed adds a text as the package's comment says.
func hashed(t *testing.T, s *Distinct, text string) {
	t.Helper()
	sum := md5.Sum([]byte(text))
	note(t, s, binary.BigEndian.Uint64(sum[:8])>>4)
}

func note(t *testing.T, s *Distinct, h uint64) {
	t.Helper()
	zeros := uint64(0)
	for zeros < 31 && h>>zeros&1 == 0 {
		zeros++
	}
	if err := s.add(int64(h>>49*32 + zeros)); err != nil {
		t.Fatal(err)
	}
}

// TestDuckDBHashHolds: sketches that are stored rest on these values. If DuckDB changes its hash, a new number must be given
// to the new one (hashDuckDB).
func TestDuckDBHashHolds(t *testing.T) {
	l := open(t)
	var got string
	if err := l.db.QueryRow(`SELECT concat_ws(' ', hash('a'), hash('a text of more than twelve bytes'), hash(7::BIGINT), hash(true), hash(DATE '2026-11-01'),
		hash('00000000-0000-0000-0000-000000000001'::UUID), hash(1.5::DECIMAL(38,2)), hash('a', 7::BIGINT))`).Scan(&got); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/duckdb_hash.txt", got)
}
