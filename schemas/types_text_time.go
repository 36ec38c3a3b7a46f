package schemas

import (
	"errors"
	"time"
)

const (
	microsPerSecond = 1_000_000
	dayMicros       = 86400 * microsPerSecond
)

var (
	errNotDate = errors.New("is no date (yyyy-mm-dd)")
	errNotTime = errors.New("is no time of day (hh:mm:ss, with a fraction or not)")
	errNotISO  = errors.New("is no ISO 8601 date and time (yyyy-mm-ddThh:mm:ss, with a fraction and a zone or not)")
)

// number2 reads two digits; more than 99 if they are none.
func number2(b []byte) int {
	h, l := b[0]-'0', b[1]-'0'
	if h > 9 || l > 9 {
		return 1000
	}
	return int(h)*10 + int(l)
}

// dateText reads yyyy-mm-dd as days since 1970-01-01. Years are 0001 to 9999, in the Gregorian calendar throughout.
func dateText(b []byte) (int32, error) {
	if len(b) != 10 || b[4] != '-' || b[7] != '-' {
		return 0, errNotDate
	}
	century, year, month, day := number2(b), number2(b[2:]), number2(b[5:]), number2(b[8:])
	if century > 99 || year > 99 {
		return 0, errNotDate
	}
	return dateOf(century*100+year, month, day)
}

// dateOf is the days since 1970-01-01 of a day that exists.
func dateOf(year, month, day int) (int32, error) {
	if year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, errNotDate
	}
	// Counted from the first of March, so that the leap day is the last of its year.
	if month <= 2 {
		year, month = year-1, month+12
	}
	return int32(365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468), nil
}

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

// clock reads hh:mm, hh:mm:ss or hh:mm:ss.f at the start of b: microseconds since midnight, and how many bytes it took
// (0: none). Digits beyond microseconds are cut off.
func clock(b []byte) (micros int64, n int) {
	if len(b) < 5 || b[2] != ':' {
		return 0, 0
	}
	hour, minute, second := number2(b), number2(b[3:]), 0
	if n = 5; len(b) >= 8 && b[5] == ':' {
		second, n = number2(b[6:]), 8
	}
	if hour > 23 || minute > 59 || second > 59 {
		return 0, 0
	}
	micros = int64(hour*3600+minute*60+second) * microsPerSecond
	if n == 5 || n == len(b) || b[n] != '.' && b[n] != ',' {
		return micros, n
	}
	k := digits(b[n+1:])
	if k == 0 {
		return 0, 0
	}
	fraction := int64(0)
	for i := range 6 {
		fraction *= 10
		if i < k {
			fraction += int64(b[n+1+i] - '0')
		}
	}
	return micros + fraction, n + 1 + k
}

// timeText reads a time of day: microseconds since midnight. A zone must be UTC.
func timeText(b []byte) (int64, error) {
	micros, n := clock(b)
	if n == 0 {
		return 0, errNotTime
	}
	if n < len(b) {
		if offset, ok := zone(b[n:]); !ok || offset != 0 {
			return 0, errNotTime
		}
	}
	return micros, nil
}

// zone reads Z, +hh, +hhmm or +hh:mm: microseconds to the east of UTC.
func zone(b []byte) (int64, bool) {
	if len(b) == 1 && b[0]|0x20 == 'z' {
		return 0, true
	}
	if len(b) < 3 || b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	hour, minute := number2(b[1:]), 0
	switch {
	case len(b) == 5:
		minute = number2(b[3:])
	case len(b) == 6 && b[3] == ':':
		minute = number2(b[4:])
	case len(b) != 3:
		return 0, false
	}
	if hour > 18 || minute > 59 {
		return 0, false
	}
	offset := int64(hour*3600+minute*60) * microsPerSecond
	if b[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// basicLayouts are the forms without punctuation, which are rare.
var basicLayouts = [...]string{"20060102T150405Z0700", "20060102T150405"}

// timestampText reads an ISO 8601 date and time. With a zone the microseconds since the epoch are of UTC, without one of
// the local clock. Digits beyond microseconds are cut off.
func timestampText(b []byte) (micros int64, zoned bool, err error) {
	if len(b) >= 16 && (b[10] == 'T' || b[10] == ' ' || b[10] == 't') {
		days, err := dateText(b[:10])
		if err != nil {
			return 0, false, errNotISO
		}
		micros, n := clock(b[11:])
		if n == 0 {
			return 0, false, errNotISO
		}
		micros += int64(days) * dayMicros
		if b = b[11+n:]; len(b) == 0 {
			return micros, false, nil
		}
		offset, ok := zone(b)
		if !ok {
			return 0, false, errNotISO
		}
		return micros - offset, true, nil
	}
	if len(b) >= 15 && b[8] == 'T' {
		for i, layout := range basicLayouts {
			if t, err := time.Parse(layout, string(b)); err == nil && t.Year() > 0 {
				return t.UnixMicro(), i == 0, nil
			}
		}
	}
	return 0, false, errNotISO
}

// Units of numbers that stand for dates and times.
type timeUnit uint8

const (
	unitDefault timeUnit = iota // days of a date, else milliseconds
	unitMillis
	unitMicros
	unitNanos
)

// epochText reads a number in a unit as microseconds, exactly; nanoseconds are cut off.
func epochText(b []byte, u timeUnit) (int64, error) {
	scale := 3
	switch u {
	case unitMicros, unitNanos:
		scale = 0
	}
	v, err := decimalText(b, scale)
	if err == errNotExact {
		return 0, errors.New("is finer than a microsecond")
	}
	if err != nil {
		return 0, err
	}
	n, ok := v.int64()
	if !ok {
		return 0, errTooLarge
	}
	if u == unitNanos {
		return floorDiv(n, 1000), nil
	}
	return n, nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
