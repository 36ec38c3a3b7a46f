package schemas

import (
	"bytes"
	"encoding/base64"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func (v int128) big() *big.Int {
	b := new(big.Int).Lsh(big.NewInt(v.hi), 64)
	return b.Add(b, new(big.Int).SetUint64(v.lo))
}

func TestDecimalText(t *testing.T) {
	nines := strings.Repeat("9", 38)
	for _, c := range []struct {
		text  string
		scale int
		want  string // or the error
	}{
		{"0", 2, "0"}, {"-0.00", 2, "0"}, {"1", 2, "100"}, {"-1.5", 2, "-150"}, {"12.34", 2, "1234"}, {"12.340", 2, "1234"}, {"0.001", 2, errNotExact.Error()},
		{"1.5e1", 2, "1500"}, {"150E-2", 1, "15"}, {"155e-2", 1, errNotExact.Error()}, {"1e-3", 3, "1"}, {"0e999999999999999999999", 2, "0"},
		{"1e999999999999999999999", 2, errTooLarge.Error()}, {"1e-999999999999999999999", 2, errNotExact.Error()}, {nines, 0, nines}, {"-" + nines, 0, "-" + nines},
		{nines + "9", 0, errTooLarge.Error()}, {nines, 1, errTooLarge.Error()}, {"1e37", 0, "1" + strings.Repeat("0", 37)}, {"1e38", 0, errTooLarge.Error()},
		{"0." + strings.Repeat("0", 37) + "1", 38, "1"}, {"+7", 0, "7"}, {".5", 1, "5"}, {"5.", 1, "50"}, {"", 0, errNotNumber.Error()}, {"-", 0, errNotNumber.Error()},
		{".", 0, errNotNumber.Error()}, {"1e", 0, errNotNumber.Error()}, {"1x", 0, errNotNumber.Error()}, {"e1", 0, errNotNumber.Error()}, {"1e1.5", 0, errNotNumber.Error()},
		{"123456789012345678901234567890", 0, "123456789012345678901234567890"}, {strings.Repeat("0", 100) + "7", 0, "7"},
	} {
		v, err := decimalText([]byte(c.text), c.scale)
		got := v.big().String()
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s at scale %d: %s, not %s", c.text, c.scale, got, c.want)
		}
	}
}

func TestDecimalTextAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,25}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "text")
		scale := rapid.IntRange(0, 20).Draw(t, "scale")
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%s is no test", text)
		}
		r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		v, err := decimalText([]byte(text), scale)
		switch {
		case !r.IsInt():
			// Beyond 38 digits either error is right.
			if err != errNotExact && err != errTooLarge {
				t.Fatalf("%s: %v, %v", text, v, err)
			}
		case len(new(big.Int).Abs(r.Num()).String()) > maxPrecision:
			if err != errTooLarge {
				t.Fatalf("%s: %v, %v", text, v, err)
			}
		case err != nil || v.big().Cmp(r.Num()) != 0:
			t.Fatalf("%s: %v, %v, not %v", text, v.big(), err, r.Num())
		}
	})
}

func TestInt64Text(t *testing.T) {
	for text, want := range map[string]int64{"9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64, "1.0": 1, "12e2": 1200, "-120e-1": -12} {
		if got, err := int64Text([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"9223372036854775808", "-9223372036854775809", "1.5", "1e19", "x"} {
		if got, err := int64Text([]byte(text)); err == nil {
			t.Errorf("%s: %d", text, got)
		}
	}
}

// TestTimestampText compares with the time package over random instants and spellings.
func TestTimestampText(t *testing.T) {
	layouts := []string{"2006-01-02T15:04:05Z07:00", "2006-01-02 15:04:05.000-0700", "2006-01-02T15:04:05.000000Z07:00", "2006-01-02T15:04:05.999999999-07", "20060102T150405Z0700",
		"2006-01-02T15:04:05.000000", "2006-01-02T15:04", "20060102T150405"}
	rapid.Check(t, func(t *rapid.T) {
		layout := rapid.SampledFrom(layouts).Draw(t, "layout")
		at := time.Unix(rapid.Int64Range(-62135510400, 253402214400).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanos"))
		at = at.In(time.FixedZone("", rapid.IntRange(-18, 18).Draw(t, "zone")*3600))
		text := at.Format(layout)
		want, err := time.Parse(layout, text)
		if err != nil {
			t.Fatal(err)
		}
		micros, zoned, err := timestampText([]byte(text))
		if err != nil || micros != want.UnixMicro() || zoned != strings.Contains(layout, "07") {
			t.Fatalf("%s: %d %v %v, not %d", text, micros, zoned, err, want.UnixMicro())
		}
		days, err := dateText([]byte(at.Format("2006-01-02")))
		if y, m, d := at.Date(); err != nil || int64(days) != floorDiv(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix(), 86400) {
			t.Fatalf("%v: %d %v", at, days, err)
		}
	})
}

func TestTimeTextErrors(t *testing.T) {
	for _, text := range []string{"", "2018-12-04", "2018-13-04T10:15:30", "2018-02-29T10:15:30", "2018-12-04T24:00:00", "2018-12-04T10:15:60", "2018-12-04T10:15:30.",
		"2018-12-04T10:15:30+", "2018-12-04T10:15:30+1", "2018-12-04T10:15:30+19:00", "2018-12-04T10:15:30Z ", "2018-12-04T10:15:30 UTC", "0000-01-01T00:00:00",
		"2018-12-04T1a:15:30", "+2018-12-4T10:15:30", "2018-12-04X10:15:30", "20181204T1015301234", "2018-12-04T10:15:3", "20181304T101530"} {
		if micros, _, err := timestampText([]byte(text)); err == nil {
			t.Errorf("%q: %d", text, micros)
		}
	}
	for _, text := range []string{"", "2018-1-04", "2018-02-30", "1900-02-29", "2018-12-04T", "0000-01-01", "18-12-2004"} {
		if days, err := dateText([]byte(text)); err == nil {
			t.Errorf("%q: %d", text, days)
		}
	}
	for _, text := range []string{"", "1:00:00", "24:00", "10:15:30+01:00", "10:15:30x", "10:15:", "10:60", "10:15.5"} {
		if micros, err := timeText([]byte(text)); err == nil {
			t.Errorf("%q: %d", text, micros)
		}
	}
	for text, want := range map[string]int64{"00:00": 0, "23:59:59.999999999": dayMicros - 1, "10:15:30Z": 36930e6, "10:15:30,5": 36930.5e6} {
		if micros, err := timeText([]byte(text)); err != nil || micros != want {
			t.Errorf("%q: %d, %v", text, micros, err)
		}
	}
}

func TestEpochText(t *testing.T) {
	for _, c := range []struct {
		text string
		unit timeUnit
		want int64
	}{{"1543918530123", unitDefault, 1543918530123000}, {"1543918530123.456", unitMillis, 1543918530123456}, {"-1", unitMicros, -1}, {"-1", unitNanos, -1}, {"1999", unitNanos, 1}, {"1.5e3", unitMillis, 1500000}} {
		if got, err := epochText([]byte(c.text), c.unit); err != nil || got != c.want {
			t.Errorf("%s: %d, %v", c.text, got, err)
		}
	}
	for _, text := range []string{"0.0001", "1e17", "x"} {
		if got, err := epochText([]byte(text), unitMillis); err == nil {
			t.Errorf("%s: %d", text, got)
		}
	}
}

func TestAppendBase64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			got, err := appendBase64([]byte("x"), []byte(enc.EncodeToString(want)))
			if err != nil || !bytes.Equal(got[1:], want) {
				t.Fatalf("%x: %x, %v", want, got, err)
			}
		}
	})
	for _, text := range []string{"a", "a===", "ab=", "ab cd", "ab\ncd", "+-aa", "=", "aä=="} {
		if got, err := appendBase64(nil, []byte(text)); err == nil {
			t.Errorf("%q: %x", text, got)
		}
	}
}
