package cleanse

import (
	"math/big"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func (a int128) big() *big.Int {
	b := new(big.Int).Lsh(big.NewInt(a.hi), 64)
	return b.Add(b, new(big.Int).SetUint64(a.lo))
}

func drawInt128(t *rapid.T) int128 {
	digits := rapid.StringMatching(`-?[0-9]{1,38}`).Draw(t, "digits")
	v, why := parseDecimal([]byte(digits), 0)
	if want, _ := new(big.Int).SetString(digits, 10); why != "" || v.big().Cmp(want) != 0 {
		t.Fatalf("%s is parsed as %s (%s)", digits, v.big(), why)
	}
	return v
}

func TestInt128(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawInt128(t), drawInt128(t)
		if got, want := a.cmp(b), a.big().Cmp(b.big()); got != want {
			t.Fatalf("%s compared with %s is %d", a.big(), b.big(), got)
		}
		if got := string(a.appendText(nil, 0)); got != a.big().String() {
			t.Fatalf("%s is written %s", a.big(), got)
		}
		if got := be16(a.appendBE(nil)); got != a {
			t.Fatalf("%s is read back as %s", a.big(), got.big())
		}
		scale := rapid.IntRange(0, 38).Draw(t, "scale")
		if again, why := parseDecimal(a.appendText(nil, scale), scale); why != "" || again != a {
			t.Fatalf("%s is read back as %s (%s)", a.appendText(nil, scale), again.big(), why)
		}
		to := rapid.IntRange(0, 38).Draw(t, "to")
		r, exact, ok := a.rescale(scale, to)
		want := new(big.Rat).SetFrac(a.big(), pow10[scale].big())
		want.Mul(want, new(big.Rat).SetInt(pow10[to].big()))
		towardsZero := new(big.Int).Quo(want.Num(), want.Denom())
		if fits := len(new(big.Int).Abs(towardsZero).String()) <= 38; ok != fits || ok && (exact != want.IsInt() || r.big().Cmp(towardsZero) != 0) {
			t.Fatalf("%s from scale %d to %d: %s, exact %v, ok %v", a.big(), scale, to, r.big(), exact, ok)
		}
	})
}

func TestParseInt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[+-]?[0-9 _x]{0,21}`).Draw(t, "text")
		got, ok := parseInt([]byte(s))
		want, err := strconv.ParseInt(s, 10, 64)
		if ok != (err == nil) || ok && got != want {
			t.Fatalf("%q: %d, %v; strconv says %d, %v", s, got, ok, want, err)
		}
	})
}

func TestCalendar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.Int64Range(-3_000_000, 3_000_000).Draw(t, "days")
		at := time.Unix(days*86400, 0).UTC()
		y, m, d := dateOf(days)
		if int(y) != at.Year() || m != int(at.Month()) || d != at.Day() || daysOf(int(y), m, d) != days {
			t.Fatalf("day %d is %d-%d-%d, not %s", days, y, m, d, at)
		}
	})
}

// TestZones compares with package time around changes of the clock.
func TestZones(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "America/Caracas", "Africa/Monrovia"} {
		z, err := newZone(name)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			local := rapid.Int64Range(-5_000_000_000, 5_000_000_000).Draw(t, "seconds")
			if rapid.Bool().Draw(t, "near a change") {
				_, end := time.Unix(local, 0).In(z.loc).ZoneBounds()
				if !end.IsZero() {
					_, off := end.Zone()
					local = end.Unix() + int64(off) + rapid.Int64Range(-100_000, 100_000).Draw(t, "distance")
				}
			}
			got := z.instant(local * secondMicros)
			if got%secondMicros != 0 {
				t.Fatalf("%d becomes %d", local, got)
			}
			if want := slowInstant(z.loc, local); got/secondMicros != want {
				t.Fatalf("%s %s: instant %d, not %d", name, time.Unix(local, 0).UTC(), got/secondMicros, want)
			}
			_, off := time.Unix(local, 0).In(z.loc).Zone()
			if back := z.local(local * secondMicros); back != (local+int64(off))*secondMicros {
				t.Fatalf("%s: the clock at %d shows %d", name, local, back/secondMicros)
			}
		})
	}
}

// slowInstant tries every offset that the zone has within two days, the earliest instant first.
func slowInstant(loc *time.Location, local int64) int64 {
	best, found := int64(0), false
	before := int64(0)
	for u := local - 2*86400; u <= local+2*86400; u += 900 {
		_, off := time.Unix(u, 0).In(loc).Zone()
		c := local - int64(off)
		if _, o := time.Unix(c, 0).In(loc).Zone(); o == off && (!found || c < best) {
			best, found = c, true
		}
	}
	if found {
		return best
	}
	// The reading was skipped: the last offset before the change, which is the one at the reading taken with it.
	for u := local - 2*86400; ; u += 900 {
		_, off := time.Unix(u, 0).In(loc).Zone()
		if u+int64(off) > local {
			return local - before
		}
		before = int64(off)
	}
}

// TestStrftime reads what package time wrote.
func TestStrftime(t *testing.T) {
	layouts := map[string]string{
		"%Y-%m-%d %H:%M:%S": "2006-01-02 15:04:05", "%d/%b/%Y:%T %z": "02/Jan/2006:15:04:05 -0700", "%a, %d %B %Y %I:%M:%S %p": "Mon, 02 January 2006 03:04:05 PM",
		"%A %F %R:%S": "Monday 2006-01-02 15:04:05", "%Y%m%d%H%M%S.%f": "20060102150405.000000", "%j %Y %H%M%S%%": "002 2006 150405%", "%D%n%T": "01/02/06\n15:04:05",
		"%e.%m.%Y%t%H:%M:%S": "_2.01.2006\t15:04:05", "%h %d %Y at %T": "Jan 02 2006 at 15:04:05",
	}
	for format, layout := range layouts {
		parse, err := newTimeParser(format)
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) {
			at := time.Unix(rapid.Int64Range(0, 1_900_000_000).Draw(t, "unix"), 0).In(time.FixedZone("", 5400))
			text := at.Format(layout)
			var c civil
			if !parse([]byte(text), &c) {
				t.Fatalf("%s does not read %q", format, text)
			}
			_, off := at.Zone()
			if c.local() != (at.Unix()+int64(off))*secondMicros || c.hasOffset && c.offset != off {
				t.Fatalf("%s reads %q as %+v", format, text, c)
			}
			if parse([]byte(text+"x"), &c) || parse([]byte("x"+text), &c) {
				t.Fatalf("%s reads %q with an x before or behind it", format, text)
			}
		})
	}
}

// TestParsersNeverPanic feeds parsers with anything.
func TestParsersNeverPanic(t *testing.T) {
	formats := []string{"iso8601", "%Y-%m-%d %H:%M:%S.%f %z %p%I", "%b %e %j %y", "2006-01-02T15:04:05.000Z07:00", "Jan _2"}
	var parsers []timeParser
	for _, f := range formats {
		p, err := newTimeParser(f)
		if err != nil {
			t.Fatal(err)
		}
		parsers = append(parsers, p)
	}
	rapid.Check(t, func(t *rapid.T) {
		var text []byte
		if rapid.Bool().Draw(t, "any") {
			text = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		} else {
			text = []byte(rapid.StringMatching(`[0-9]{0,4}-?[0-9]{0,2}[-T :+Z.,a-zA-Z0-9]{0,20}`).Draw(t, "text"))
		}
		for i, p := range parsers {
			var c civil
			if p(text, &c) && !c.ok() {
				t.Fatalf("%s takes %q for %+v", formats[i], text, c)
			}
		}
		if local, ok := isoMillis(text); ok {
			var c civil
			if !parseISO(text, &c) || c.local() != local {
				t.Fatalf("%q is read in two ways", text)
			}
		}
		for unit := range map[int64]bool{1: true, 1000: true, 1_000_000_000: true} {
			unixText(text, unit)
		}
		parseDecimal(text, 5)
		appendMaskedIP(nil, text)
		appendMaskedEmail(nil, text)
	})
}
