package cleanse

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unsafe"
)

// timeParser reads one format into c and reports whether the text is in it.
type timeParser func(s []byte, c *civil) bool

// newTimeParser compiles iso8601, a strftime format or a Go layout.
func newTimeParser(format string) (timeParser, error) {
	switch {
	case format == "iso8601":
		return parseISO, nil
	case strings.Contains(format, "%"):
		return newStrftime(format)
	}
	return newGoLayout(format)
}

func newGoLayout(layout string) (timeParser, error) {
	// Two times that differ in every part: a layout that shows no difference has no element that Go knows.
	a := time.Date(2021, 10, 13, 17, 48, 59, 987654321, time.FixedZone("", 5*3600+1800))
	b := time.Date(1998, 2, 6, 4, 5, 7, 123456789, time.FixedZone("", -3*3600))
	if a.Format(layout) == b.Format(layout) {
		return nil, fmt.Errorf("%q is neither a name nor a format: a Go layout is written with the time Mon Jan 2 15:04:05 2006, strftime with %%Y-%%m-%%d", layout)
	}
	if strings.Contains(layout, "MST") {
		return nil, fmt.Errorf("%q reads a zone's abbreviation, which does not say the offset: use -0700 or Z07:00, or give the zone", layout)
	}
	hasOffset := strings.Contains(layout, "Z07") || strings.Contains(layout, "-07")
	hasDate := time.Date(2021, 10, 13, 0, 0, 0, 0, time.UTC).Format(layout) != time.Date(1998, 2, 6, 0, 0, 0, 0, time.UTC).Format(layout)
	return func(s []byte, c *civil) bool {
		// The string lives only for this call, in which the bytes do not change; time.Parse keeps no part of it.
		t, err := time.Parse(layout, unsafe.String(unsafe.SliceData(s), len(s)))
		if err != nil {
			return false
		}
		*c = civil{hasOffset: hasOffset, hasDate: hasDate, hasTime: true}
		if hasOffset {
			_, c.offset = t.Zone()
		}
		y, m, d := t.Date()
		c.year, c.month, c.day = y, int(m), d
		if !hasDate {
			c.year, c.month, c.day = 1970, 1, 1
		}
		c.hour, c.minute, c.secs = t.Clock()
		c.micros = t.Nanosecond() / 1000
		return y >= 0
	}, nil
}

// directive is one element of a strftime format: a conversion, or literal text.
type directive struct {
	conv byte
	text []byte
}

var (
	monthNames = []string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}
	dayNames   = []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
)

// newStrftime compiles %Y %y %m %d %e %j %H %I %p %M %S %f (1 to 9 digits) %z %b %h %B %a %A %T %R %F %D %n %t %%.
// Numbers may have fewer digits than usual; names are read without regard to case, in English.
func newStrftime(format string) (timeParser, error) {
	var ds []directive
	expand := strings.NewReplacer("%T", "%H:%M:%S", "%R", "%H:%M", "%F", "%Y-%m-%d", "%D", "%m/%d/%y", "%h", "%b", "%%", "%%")
	date, clock := false, false
	for s := expand.Replace(format); s != ""; {
		if s[0] != '%' {
			n := strings.IndexByte(s, '%')
			if n < 0 {
				n = len(s)
			}
			ds = append(ds, directive{text: []byte(s[:n])})
			s = s[n:]
			continue
		}
		if len(s) == 1 {
			return nil, fmt.Errorf("%q ends with a lone %%", format)
		}
		switch c := s[1]; c {
		case '%':
			ds = append(ds, directive{text: []byte("%")})
		case 'n', 't':
			ds = append(ds, directive{text: []byte{map[byte]byte{'n': '\n', 't': '\t'}[c]}})
		case 'Z':
			return nil, fmt.Errorf("%q reads a zone's abbreviation, which does not say the offset: use %%z, or give the zone", format)
		default:
			if !strings.ContainsRune("YymdejHIpMSfzbBaA", rune(c)) {
				return nil, fmt.Errorf("%q has the unknown conversion %%%c: known are %%Y %%y %%m %%d %%e %%j %%H %%I %%p %%M %%S %%f %%z %%b %%B %%a %%A %%T %%R %%F %%D", format, c)
			}
			date = date || strings.ContainsRune("YymdejbB", rune(c))
			clock = clock || strings.ContainsRune("HIpMSf", rune(c))
			ds = append(ds, directive{conv: c})
		}
		s = s[2:]
	}
	if !date && !clock {
		return nil, fmt.Errorf("%q reads neither a date nor a time", format)
	}
	return func(s []byte, c *civil) bool { return strftime(ds, s, c, date) }, nil
}

// partial is what strftime has read that is no field of civil yet.
type partial struct {
	yearDay int // 0: none
	half    int // 0 am, 1 pm, -1 none
	hour12  bool
}

func strftime(ds []directive, s []byte, c *civil, date bool) bool {
	*c = civil{year: 1970, month: 1, day: 1, hasDate: date, hasTime: true}
	p := partial{half: -1}
	for i := range ds {
		n := ds[i].read(s, c, &p)
		if n == 0 {
			return false
		}
		s = s[n:]
	}
	if p.hour12 && (c.hour < 1 || c.hour > 12) {
		return false
	}
	if p.hour12 && p.half >= 0 {
		c.hour = c.hour%12 + 12*p.half
	}
	if len(s) > 0 || !c.ok() {
		return false
	}
	if p.yearDay > 0 {
		y, m, d := dateOf(daysOf(c.year, 1, 1) + int64(p.yearDay) - 1)
		if y != int64(c.year) {
			return false
		}
		c.month, c.day = m, d
	}
	return true
}

// read takes the directive's text from the beginning of s and says how long it was; 0: it is not there.
func (d *directive) read(s []byte, c *civil, p *partial) (n int) {
	switch d.conv {
	case 0:
		if bytes.HasPrefix(s, d.text) {
			n = len(d.text)
		}
	case 'Y':
		c.year, n = number(s, 4)
	case 'y':
		if c.year, n = number(s, 2); c.year < 69 {
			c.year += 100
		}
		c.year += 1900
	case 'm':
		c.month, n = number(s, 2)
	case 'd':
		c.day, n = number(s, 2)
	case 'e':
		if len(s) > 0 && s[0] == ' ' {
			if c.day, n = number(s[1:], 1); n > 0 {
				n++
			}
			return n
		}
		c.day, n = number(s, 2)
	case 'j':
		if p.yearDay, n = number(s, 3); p.yearDay == 0 {
			return 0
		}
	case 'H', 'I':
		c.hour, n = number(s, 2)
		p.hour12 = d.conv == 'I'
	case 'M':
		c.minute, n = number(s, 2)
	case 'S':
		c.secs, n = number(s, 2)
	case 'f':
		if c.micros, n = fraction(s); n > 9 {
			return 0
		}
	case 'z':
		if len(s) > 0 {
			n = offset(s, c)
		}
	case 'p':
		p.half, n = word(s, []string{"am", "pm"}, 2)
	default:
		n = d.readName(s, c)
	}
	return n
}

func (d *directive) readName(s []byte, c *civil) (n int) {
	switch d.conv {
	case 'b':
		c.month, n = word(s, monthNames, 3)
		c.month++
	case 'B':
		c.month, n = word(s, monthNames, 0)
		c.month++
	case 'a':
		_, n = word(s, dayNames, 3)
	case 'A':
		_, n = word(s, dayNames, 0)
	}
	return n
}

// number reads up to width digits and says how many there were.
func number(s []byte, width int) (v, n int) {
	for n < len(s) && n < width && s[n] >= '0' && s[n] <= '9' {
		v = v*10 + int(s[n]-'0')
		n++
	}
	return v, n
}

// word reads one of the names, cut to size if that is not 0, and returns its index and length.
func word(s []byte, names []string, size int) (index, n int) {
	for i, w := range names {
		if size > 0 {
			w = w[:size]
		}
		if len(s) >= len(w) && strings.EqualFold(unsafe.String(unsafe.SliceData(s), len(w)), w) {
			return i, len(w)
		}
	}
	return 0, 0
}
