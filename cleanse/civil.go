package cleanse

// The calendar is the proleptic Gregorian one, as Iceberg's.

const (
	secondMicros = int64(1_000_000)
	dayMicros    = 86400 * secondMicros
)

// civil is a parsed date and time, with the offset from UTC if the text gave one.
type civil struct {
	year, month, day   int
	hour, minute, secs int
	micros             int // of the second
	offset             int // seconds east of UTC
	hasOffset          bool
	hasDate, hasTime   bool
}

// daysOf gives the days since 1970-01-01.
func daysOf(year, month, day int) int64 {
	y, m := int64(year), int64(month)
	if m <= 2 {
		y--
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	mp := (m + 9) % 12
	doy := (153*mp+2)/5 + int64(day) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

// dateOf turns days since 1970-01-01 into a date.
func dateOf(days int64) (year int64, month, day int) {
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	year = yoe + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 { return a - floorDiv(a, b)*b }

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// ok reports whether the date and the time of day exist.
func (c *civil) ok() bool {
	return c.month >= 1 && c.month <= 12 && c.day >= 1 && c.day <= daysIn(c.year, c.month) &&
		c.hour >= 0 && c.hour < 24 && c.minute >= 0 && c.minute < 60 && c.secs >= 0 && c.secs < 60 &&
		c.offset > -86400 && c.offset < 86400
}

// local gives microseconds since 1970-01-01T00:00:00 on the clock of the text.
func (c *civil) local() int64 {
	return daysOf(c.year, c.month, c.day)*dayMicros + c.timeOfDay()
}

func (c *civil) timeOfDay() int64 {
	return int64(c.hour*3600+c.minute*60+c.secs)*secondMicros + int64(c.micros)
}

// digits2 reads two digits, or gives a negative number.
func digits2(s []byte) int {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return -1000
	}
	return int(a)*10 + int(b)
}

// parseISO reads ISO 8601's extended format: 2018-12-04, 2018-12-04T10:15[:30[.123456789]], also with a space for
// the T and a comma for the point, and then optionally Z, +01, +01:00 or +0100; or the time of day alone. Digits
// beyond microseconds are cut off.
func parseISO(s []byte, c *civil) bool {
	*c = civil{}
	if len(s) >= 10 && s[4] == '-' && s[7] == '-' {
		hi, lo := digits2(s), digits2(s[2:])
		if hi < 0 || lo < 0 {
			return false
		}
		c.year, c.month, c.day = hi*100+lo, digits2(s[5:]), digits2(s[8:])
		c.hasDate = true
		s = s[10:]
		if len(s) == 0 {
			return c.ok()
		}
		if s[0] != 'T' && s[0] != ' ' && s[0] != 't' {
			return false
		}
		s = s[1:]
	} else {
		c.year, c.month, c.day = 1970, 1, 1
	}
	if len(s) < 5 || s[2] != ':' {
		return false
	}
	c.hour, c.minute, c.hasTime = digits2(s), digits2(s[3:]), true
	s = s[5:]
	if len(s) >= 3 && s[0] == ':' {
		c.secs = digits2(s[1:])
		s = s[3:]
		if len(s) >= 2 && (s[0] == '.' || s[0] == ',') {
			micros, n := fraction(s[1:])
			if n == 0 {
				return false
			}
			c.micros = micros
			s = s[1+n:]
		}
	}
	if len(s) > 0 {
		n := offset(s, c)
		if n == 0 || n < len(s) {
			return false
		}
	}
	return c.ok()
}

// fraction reads the digits behind the point as microseconds and says how many there were (0: none, or over 18).
func fraction(s []byte) (micros, n int) {
	scale := 100_000
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		micros += int(s[n]-'0') * scale
		scale /= 10
		n++
	}
	if n > 18 {
		return 0, 0
	}
	return micros, n
}

// offset reads Z, +01, +0100 or +01:00 and returns the bytes it took, 0 if it is none.
func offset(s []byte, c *civil) int {
	switch {
	case s[0] == 'Z' || s[0] == 'z':
		c.hasOffset = true
		return 1
	case s[0] != '+' && s[0] != '-', len(s) < 3:
		return 0
	}
	h, m, n := digits2(s[1:]), 0, 3
	if len(s) >= 6 && s[3] == ':' {
		m, n = digits2(s[4:]), 6
	} else if len(s) >= 5 && s[3] != ':' {
		m, n = digits2(s[3:]), 5
	}
	if h < 0 || h > 18 || m < 0 || m > 59 {
		return 0
	}
	c.offset, c.hasOffset = h*3600+m*60, true
	if s[0] == '-' {
		c.offset = -c.offset
	}
	return n
}

// appendDate writes 2006-01-02; years beyond four digits get a sign.
func appendDate(b []byte, days int64) []byte {
	y, m, d := dateOf(days)
	switch {
	case y < 0:
		b = append(b, '-')
		y = -y
	case y > 9999:
		b = append(b, '+')
	}
	b = appendPadded(b, int(y), 4)
	b = append(b, '-')
	b = appendPadded(b, m, 2)
	b = append(b, '-')
	return appendPadded(b, d, 2)
}

// appendTime writes 15:04:05, with six digits of fraction if it is not zero.
func appendTime(b []byte, micros int64) []byte {
	s := int(micros / secondMicros)
	b = appendPadded(b, s/3600, 2)
	b = append(b, ':')
	b = appendPadded(b, s/60%60, 2)
	b = append(b, ':')
	b = appendPadded(b, s%60, 2)
	if f := int(micros % secondMicros); f != 0 {
		b = append(b, '.')
		b = appendPadded(b, f, 6)
	}
	return b
}

func appendTimestamp(b []byte, micros int64) []byte {
	b = appendDate(b, floorDiv(micros, dayMicros))
	b = append(b, 'T')
	return appendTime(b, floorMod(micros, dayMicros))
}

func appendPadded(b []byte, v, width int) []byte {
	var d [20]byte
	n := len(d)
	for v > 0 || n > len(d)-width {
		n--
		d[n] = byte('0' + v%10)
		v /= 10
	}
	return append(b, d[n:]...)
}
