package cleanse_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// convert casts one value; a value that does not fit rejects the row or gives nil.
func convert(from, to *batch.Type, v any, onError string) any {
	if v == nil || from.Equal(to) {
		return v
	}
	out, ok := cast(from, to, v)
	if !ok {
		if onError == "null" {
			return nil
		}
		panic(rejected{})
	}
	return out
}

func decimalRat(d *big.Int, scale int) *big.Rat {
	return new(big.Rat).SetFrac(d, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
}

// cast goes through text, through an exact number, or through microseconds.
func cast(from, to *batch.Type, v any) (any, bool) {
	if to.Kind == batch.String {
		return castToText(from, v)
	}
	switch x := v.(type) {
	case string:
		return castText(to, x)
	case []byte:
		switch to.Kind {
		case batch.UUID:
			return x, len(x) == 16
		case batch.Fixed:
			return x, len(x) == to.Length
		}
		return x, true
	case bool:
		if x {
			return int64(1), true
		}
		return int64(0), true
	case int64:
		switch from.Kind {
		case batch.Date:
			return x * 86400_000_000, true
		case batch.Timestamp, batch.TimestampTZ:
			return castTime(to, time.UnixMicro(x).UTC()), true
		}
		return castNumber(to, new(big.Rat).SetInt64(x), false)
	case *big.Int:
		return castNumber(to, decimalRat(x, from.Scale), true)
	case float64:
		switch to.Kind {
		case batch.Double:
			return x, true
		case batch.Float:
			return float64(float32(x)), math.IsInf(x, 0) || !math.IsInf(float64(float32(x)), 0)
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, false
		}
		size := 64
		if from.Kind == batch.Float {
			size = 32
		}
		r, _ := new(big.Rat).SetString(strconv.FormatFloat(x, 'g', -1, size))
		if to.Kind != batch.Decimal {
			r = new(big.Rat).SetFloat64(x)
		}
		return castNumber(to, r, false)
	}
	panic(fmt.Sprintf("cast of %T", v))
}

func castTime(to *batch.Type, at time.Time) any {
	midnight := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	switch to.Kind {
	case batch.Date:
		return midnight.Unix() / 86400
	case batch.Time:
		return at.Sub(midnight).Microseconds()
	}
	return at.UnixMicro()
}

// castNumber takes an exact number; round says that floats may be the nearest one.
func castNumber(to *batch.Type, r *big.Rat, round bool) (any, bool) {
	switch to.Kind {
	case batch.Boolean:
		return r.Sign() != 0, r.Sign() == 0 || r.Cmp(big.NewRat(1, 1)) == 0
	case batch.Int, batch.Long:
		if !r.IsInt() || !r.Num().IsInt64() {
			return nil, false
		}
		n := r.Num().Int64()
		return n, to.Kind == batch.Long || n >= math.MinInt32 && n <= math.MaxInt32
	case batch.Float:
		f, exact := r.Float32()
		return float64(f), exact || round
	case batch.Double:
		f, exact := r.Float64()
		return f, exact || round
	case batch.Decimal:
		scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(to.Scale)), nil)))
		if !scaled.IsInt() {
			return nil, false
		}
		return scaled.Num(), len(new(big.Int).Abs(scaled.Num()).String()) <= to.Precision
	}
	panic("no such cast")
}

func castToText(from *batch.Type, v any) (any, bool) {
	switch x := v.(type) {
	case bool:
		return strconv.FormatBool(x), true
	case *big.Int:
		return decimalRat(x, from.Scale).FloatString(from.Scale), true
	case float64:
		switch {
		case math.IsNaN(x):
			return "NaN", true
		case math.IsInf(x, 0):
			return strings.Replace(fmt.Sprintf("%vinity", x), "+", "", 1), true
		}
		size := 64
		if from.Kind == batch.Float {
			size = 32
		}
		if a := math.Abs(x); a >= 1e-6 && a < 1e21 || a == 0 {
			return strconv.FormatFloat(x, 'f', -1, size), true
		}
		return strconv.FormatFloat(x, 'e', -1, size), true
	case []byte:
		if from.Kind == batch.UUID {
			return uuidText(x), true
		}
		return string(x), utf8.Valid(x)
	}
	n := v.(int64)
	layout := "2006-01-02T15:04:05"
	if n%1_000_000 != 0 {
		layout += ".000000"
	}
	switch from.Kind {
	case batch.Date:
		return time.Unix(n*86400, 0).UTC().Format(time.DateOnly), true
	case batch.Time:
		return time.UnixMicro(n).UTC().Format(layout[11:]), true
	case batch.Timestamp:
		return time.UnixMicro(n).UTC().Format(layout), true
	case batch.TimestampTZ:
		return time.UnixMicro(n).UTC().Format(layout + "Z"), true
	}
	return strconv.FormatInt(n, 10), true
}

var (
	wholeText   = regexp.MustCompile(`^[+-]?[0-9]+$`)
	decimalText = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$`)
)

func castText(to *batch.Type, s string) (any, bool) {
	switch to.Kind {
	case batch.Boolean:
		low := strings.ToLower(s)
		return low == "true" || low == "1", low == "true" || low == "false" || low == "1" || low == "0"
	case batch.Int, batch.Long:
		if !wholeText.MatchString(s) {
			return nil, false
		}
		n, _ := new(big.Rat).SetString(s)
		return castNumber(to, n, false)
	case batch.Decimal:
		if !decimalText.MatchString(s) {
			return nil, false
		}
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			return nil, false
		}
		return castNumber(to, r, false)
	case batch.Float, batch.Double:
		if f, ok := map[string]float64{"NaN": math.NaN(), "Infinity": math.Inf(1), "+Infinity": math.Inf(1), "-Infinity": math.Inf(-1)}[s]; ok {
			return f, true
		}
		if !decimalText.MatchString(s) {
			return nil, false
		}
		size := 64
		if to.Kind == batch.Float {
			size = 32
		}
		f, err := strconv.ParseFloat(s, size)
		return f, err == nil
	case batch.UUID:
		plain := s
		if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
			plain = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
		}
		b, err := hex.DecodeString(plain)
		return b, err == nil && len(b) == 16
	case batch.Binary:
		return []byte(s), true
	case batch.Fixed:
		return []byte(s), len(s) == to.Length
	}
	return castTimeText(to, s)
}

// isoText is what iso8601 takes: an optional date, an optional time of day, an optional offset.
var isoText = regexp.MustCompile(`^(?:(\d{4}-\d\d-\d\d)(?:[Tt ]|$))?(?:(\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?([Zz]|[+-]\d\d(?::?\d\d)?)?)?$`)

// parseISO gives the clock reading as if it were UTC, and the offset if there is one.
func parseISO(s string) (local time.Time, hasDate, hasTime bool, offset *time.Duration, ok bool) {
	m := isoText.FindStringSubmatch(s)
	if m == nil || m[1] == "" && m[2] == "" || m[2] == "" && len(s) != 10 {
		return
	}
	day, clock, secs := m[1], m[2], m[3]
	if day == "" {
		day = "1970-01-01"
	}
	if clock == "" {
		clock = "00:00"
	}
	if secs == "" {
		secs = "00"
	}
	local, err := time.Parse("2006-01-02 15:04:05", day+" "+clock+":"+secs)
	if err != nil {
		return
	}
	digits := (m[4] + "000000")[:6]
	us, _ := strconv.Atoi(digits)
	local = local.Add(time.Duration(us) * time.Microsecond)
	if z := m[5]; z != "" {
		d := time.Duration(0)
		if z != "Z" && z != "z" {
			z = strings.Replace(z, ":", "", 1) + "00"
			h, _ := strconv.Atoi(z[1:3])
			min, _ := strconv.Atoi(z[3:5])
			if h > 18 || min > 59 {
				return
			}
			d = time.Duration(h)*time.Hour + time.Duration(min)*time.Minute
			if z[0] == '-' {
				d = -d
			}
		}
		offset = &d
	}
	return local, m[1] != "", m[2] != "", offset, true
}

func castTimeText(to *batch.Type, s string) (any, bool) {
	local, hasDate, _, offset, ok := parseISO(s)
	if !ok || hasDate == (to.Kind == batch.Time) {
		return nil, false
	}
	if offset != nil {
		local = local.Add(-*offset)
	}
	return castTime(to, local), true
}

// parseTime does parse_timestamp to one value.
func parseTime(s *configs.TimestampStep, v any) any {
	if v == nil {
		return nil
	}
	loc, err := time.LoadLocation(s.Zone)
	if err != nil {
		panic(err)
	}
	formats := s.Formats
	if len(formats) == 0 {
		formats = []string{"iso8601"}
	}
	for _, f := range formats {
		at, wall, ok := parseOne(f, v, s.To)
		if !ok {
			continue
		}
		if !wall {
			// An instant: what does the zone's clock show?
			l := at.In(loc)
			at = time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
			if s.To == "" || s.To == "timestamptz" {
				return l.UnixMicro()
			}
		}
		switch s.To {
		case "timestamp":
			return at.UnixMicro()
		case "date":
			return castTime(batch.Prim(batch.Date), at)
		case "time":
			return castTime(batch.Prim(batch.Time), at)
		}
		return instantOf(at, loc).UnixMicro()
	}
	if s.OnError == "null" {
		return nil
	}
	panic(rejected{})
}

// instantOf finds when a clock in loc showed the reading: the first time, or if never, with the offset before the gap.
func instantOf(wall time.Time, loc *time.Location) time.Time {
	for shift := -30 * time.Hour; shift <= 30*time.Hour; shift += 15 * time.Minute {
		_, off := wall.Add(shift).In(loc).Zone()
		u := wall.Add(-time.Duration(off) * time.Second)
		if l := u.In(loc); l.Hour() == wall.Hour() && l.Minute() == wall.Minute() && l.Day() == wall.Day() {
			return u
		}
	}
	_, off := wall.Add(-24 * time.Hour).In(loc).Zone()
	return wall.Add(-time.Duration(off) * time.Second)
}

// parseOne tries one format. wall: at is a clock reading, else an instant.
func parseOne(format string, v any, to string) (at time.Time, wall, ok bool) {
	unit := map[string]int64{"unix_s": 1e9, "unix_ms": 1e6, "unix_us": 1e3, "unix_ns": 1}[format]
	if unit > 0 {
		var r *big.Rat
		switch x := v.(type) {
		case int64:
			r = new(big.Rat).SetInt64(x)
		case string:
			if !regexp.MustCompile(`^[+-]?[0-9]+(\.[0-9]+)?$`).MatchString(x) {
				return
			}
			r, _ = new(big.Rat).SetString(x)
		}
		r.Mul(r, big.NewRat(unit, 1000))
		us := new(big.Int).Div(r.Num(), r.Denom())
		if !us.IsInt64() {
			return
		}
		return time.UnixMicro(us.Int64()), false, true
	}
	text := v.(string)
	if format == "iso8601" {
		local, hasDate, hasTime, offset, ok := parseISO(text)
		if !ok || !hasDate && to != "time" || !hasTime && to == "time" {
			return local, false, false
		}
		if offset != nil && hasDate {
			return local.Add(-*offset), false, true
		}
		return local, true, true
	}
	layout := strings.NewReplacer("%Y", "2006", "%m", "01", "%d", "02", "%H", "15", "%M", "04", "%S", "05", "%z", "-0700", "%b", "Jan", "%I", "03", "%p", "PM").Replace(format)
	at, err := time.Parse(layout, text)
	if err != nil {
		return at, false, false
	}
	if strings.Contains(layout, "-07") || strings.Contains(layout, "Z07") {
		return at, false, true
	}
	return at, true, true
}
