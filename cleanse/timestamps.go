package cleanse

import (
	"bytes"
	"math"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// timestampStep parses text, and numbers since the epoch, into dates and times.
type timestampStep struct {
	paths   []*path
	scratch []colScratch
	formats []timeFormat
	iso     bool // the first format is iso8601
	zone    *zone
	to      *batch.Type
	toNull  bool
	shown   string // the formats, for reasons
}

// timeFormat is a text format, or a unit of numbers.
type timeFormat struct {
	parse timeParser
	// unit is how many of the numbers are a second; 0: text.
	unit int64
}

var units = map[string]int64{"unix_s": 1, "unix_ms": 1000, "unix_us": 1_000_000, "unix_ns": 1_000_000_000}

func (c *compiler) parseTimestamp(s *configs.TimestampStep) {
	t := &timestampStep{toNull: c.onError(s.OnError)}
	formats := s.Formats
	if len(formats) == 0 {
		formats = []string{"iso8601"}
	}
	t.shown = strings.Join(formats, ", ")
	t.iso = formats[0] == "iso8601"
	numbers := true
	for i, f := range formats {
		tf := timeFormat{unit: units[f]}
		if tf.unit == 0 {
			numbers = false
			var err error
			if tf.parse, err = newTimeParser(f); err != nil {
				hint := ""
				if best := nearest(f, []string{"iso8601", "unix_s", "unix_ms", "unix_us", "unix_ns"}); best != "" {
					hint = "did you mean " + best + "?"
				}
				c.problem("formats["+itoa(i)+"]", hint, "%s", err)
			}
		}
		t.formats = append(t.formats, tf)
	}
	var err error
	if t.zone, err = newZone(s.Zone); err != nil {
		c.problem("zone", "use a name of the IANA database, like Europe/Berlin", "%s", err)
	}
	switch s.To {
	case "", "timestamptz":
		t.to = batch.Prim(batch.TimestampTZ)
	case "timestamp", "date", "time":
		t.to, _ = batch.ParseType(s.To)
	default:
		c.problem("to", "", "%q is none of timestamptz, timestamp, date, time", s.To)
		t.to = batch.Prim(batch.TimestampTZ)
	}
	for _, p := range c.typed(s.Columns, "only strings, ints and longs can be parsed", batch.String, batch.Int, batch.Long) {
		if p.typ.Kind != batch.String && !numbers {
			c.problem("formats", "use unix_s, unix_ms, unix_us or unix_ns", "column %s is a %s, for which a text format makes no sense", p.text, p.typ)
			continue
		}
		t.paths = append(t.paths, p)
		p.leaf.typ = t.to
		p.leaf.version++
		p.leaf.required = p.leaf.required && !t.toNull
	}
	t.scratch = make([]colScratch, len(t.paths))
	c.add(t)
}

func (t *timestampStep) apply(r *run) error {
	for k, p := range t.paths {
		t.column(r, p, &t.scratch[k])
	}
	return nil
}

func (t *timestampStep) column(r *run, p *path, scratch *colScratch) {
	col := r.column(p, scratch)
	present := col.present(scratch)
	out := newSlots(t.to, col.Len, &scratch.made)
	out.Valid = col.Valid
	scratch.made = *out
	var failed []int
	for i := range col.Len {
		var v int64
		ok := present == nil || present[i]
		if ok {
			if v, ok = t.value(r, p, col.Column, i); !ok {
				if failed = append(failed, i); !t.toNull {
					col.reject(i, func() string { return col.value(i) + " is not a time in the format " + t.shown })
				}
			}
		}
		if out.Int32 != nil {
			out.Int32[i] = int32(v)
		} else {
			out.Int64[i] = v
		}
	}
	col.replaceWith(out)
	if t.toNull {
		for _, i := range failed {
			out.SetNull(i)
		}
	}
}

// value reads slot i; 0 and false if it fits no format.
func (t *timestampStep) value(r *run, p *path, col *batch.Column, i int) (int64, bool) {
	switch {
	case col.Int32 != nil:
		return t.number(int64(col.Int32[i]))
	case col.Int64 != nil:
		return t.number(col.Int64[i])
	}
	v := col.Views[i]
	text := r.b.Mem[v.Off : v.Off+v.Len]
	if t.iso && len(text) >= 19 {
		if local, ok := isoMillis(text); ok {
			return t.fromLocal(local), true
		}
	}
	var c civil
	for k := range t.formats {
		f := &t.formats[k]
		if f.unit > 0 {
			if us, ok := unixText(text, f.unit); ok {
				return t.fromInstant(us)
			}
			continue
		}
		if f.parse(text, &c) && (c.hasDate || t.to.Kind == batch.Time) && (c.hasTime || t.to.Kind != batch.Time) {
			if c.hasOffset && c.hasDate {
				return t.fromInstant(c.local() - int64(c.offset)*secondMicros)
			}
			return t.fromLocal(c.local()), true
		}
	}
	return 0, false
}

func (t *timestampStep) number(n int64) (int64, bool) {
	for k := range t.formats {
		if us, ok := micros(n, t.formats[k].unit); ok {
			return t.fromInstant(us)
		}
	}
	return 0, false
}

// fromLocal takes what a clock in the zone showed.
func (t *timestampStep) fromLocal(local int64) int64 {
	if t.to.Kind == batch.TimestampTZ {
		return t.zone.instant(local)
	}
	return t.part(local)
}

func (t *timestampStep) fromInstant(us int64) (int64, bool) {
	if t.to.Kind == batch.TimestampTZ {
		return us, true
	}
	local := t.zone.local(us)
	// The clock may be beyond the last microsecond that a timestamp can say.
	if (local > us) != (t.zone.last.off > 0) && local != us && !t.zone.utc {
		return 0, false
	}
	return t.part(local), true
}

func (t *timestampStep) part(local int64) int64 {
	switch t.to.Kind {
	case batch.Date:
		return floorDiv(local, dayMicros)
	case batch.Time:
		return floorMod(local, dayMicros)
	}
	return local
}

// isoMillis reads 2018-12-04T10:15:30 and 2018-12-04T10:15:30.123 by position.
func isoMillis(s []byte) (int64, bool) {
	if len(s) != 19 && len(s) != 23 || s[4] != '-' || s[7] != '-' || s[10] != 'T' && s[10] != ' ' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	c := civil{month: digits2(s[5:]), day: digits2(s[8:]), hour: digits2(s[11:]), minute: digits2(s[14:]), secs: digits2(s[17:])}
	hi, lo := digits2(s), digits2(s[2:])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	c.year = hi*100 + lo
	if len(s) == 23 {
		ms, d := digits2(s[20:]), s[22]-'0'
		if s[19] != '.' || ms < 0 || d > 9 {
			return 0, false
		}
		c.micros = (ms*10 + int(d)) * 1000
	}
	if !c.ok() {
		return 0, false
	}
	return c.local(), true
}

// micros turns a number of units since the epoch into microseconds; finer units are cut off towards the past.
func micros(n, unit int64) (int64, bool) {
	if unit > 1_000_000 {
		return floorDiv(n, unit/1_000_000), true
	}
	f := 1_000_000 / unit
	if n > math.MaxInt64/f || n < math.MinInt64/f {
		return 0, false
	}
	return n * f, true
}

// unixText reads a number of units as text, with a fraction if need be: 1543918530.123.
func unixText(s []byte, unit int64) (int64, bool) {
	whole, frac, point := bytes.Cut(s, []byte{'.'})
	if point && len(frac) == 0 {
		return 0, false
	}
	v, ok := parseInt(whole)
	if !ok {
		return wideNanos(whole, frac, unit)
	}
	us, ok := micros(v, unit)
	// The digits that are whole microseconds, and whether there are more.
	part, rest := int64(0), false
	scale := 1_000_000 / unit
	for _, c := range frac {
		if c < '0' || c > '9' {
			return 0, false
		}
		if scale /= 10; scale > 0 {
			part += int64(c-'0') * scale
		} else if c != '0' {
			rest = true
		}
	}
	if !ok || whole[0] != '-' {
		return us + part, ok && us <= math.MaxInt64-part
	}
	if rest && (unit <= 1_000_000 || v%1000 == 0) { // else micros has gone towards the past already
		part++
	}
	return us - part, us >= math.MinInt64+part
}

// wideNanos reads nanoseconds that an int64 does not hold, of a time that microseconds reach all the same.
func wideNanos(whole, frac []byte, unit int64) (int64, bool) {
	cut := len(whole) - 3
	if unit != 1_000_000_000 || cut < 2 {
		return 0, false
	}
	us, ok := parseInt(whole[:cut])
	if !ok {
		return 0, false
	}
	more := false
	for _, digits := range [][]byte{whole[cut:], frac} {
		for _, c := range digits {
			if c < '0' || c > '9' {
				return 0, false
			}
			more = more || c != '0'
		}
	}
	if more && whole[0] == '-' { // towards the past
		return us - 1, us > math.MinInt64
	}
	return us, true
}
