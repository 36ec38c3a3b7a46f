package aggregate

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/measures"
)

// Day is a day of the calendar: the number of days since 1970-01-01.
type Day int32

// ParseDay reads a day: 2026-11-21.
func ParseDay(text string) (Day, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, fmt.Errorf("%q is no day: write it as 2026-11-21", text)
	}
	return dayOf(t), nil
}

// dayOf is the day that a clock shows.
func dayOf(t time.Time) Day {
	y, m, d := t.Date()
	return Day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// Date is midnight of the day in UTC.
func (d Day) Date() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

func (d Day) String() string { return d.Date().Format(time.DateOnly) }

// MarshalText implements encoding.TextMarshaler.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Day) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDay(string(text))
	return err
}

// tuple is the day as a partition's value.
func (d Day) tuple() []byte { return binary.LittleEndian.AppendUint32(nil, uint32(d)) }

// Begin is the first instant of the day by the clocks of a zone. Every instant is in exactly one day, [Begin, next Begin).
func (d Day) Begin(zone *time.Location) time.Time {
	from, _ := measures.DayBounds(d.Date(), zone)
	return from
}

// Period is what a target has rows of: a day, a week or a month. It is named by its first day.
type Period struct {
	Name   string
	Column string // of the target, a date
	begin  func(Day) Day
}

// Daily are days.
func Daily() Period { return Period{"day", ColumnDay, func(d Day) Day { return d }} }

// Weekly are ISO weeks, which begin on Monday.
func Weekly() Period {
	return Period{"week", "week", func(d Day) Day { return d - Day((d.Date().Weekday()+6)%7) }}
}

// Monthly are months of the calendar.
func Monthly() Period {
	return Period{"month", "month", func(d Day) Day { return d - Day(d.Date().Day()-1) }}
}

// Next is the first day of the period after the one that begins with a day.
func (p Period) Next(begin Day) Day {
	d := begin + 1
	for p.begin(d) == begin {
		d++
	}
	return d
}

// Clock says what days a time column has.
type Clock struct {
	kind batch.Kind     // of the column: date, timestamp or timestamptz
	zone *time.Location // for timestamptz; the others are taken as they are
}

// NewClock is the clock of a column's type.
func NewClock(kind batch.Kind, zone *time.Location) (Clock, error) {
	switch kind {
	case batch.Date, batch.Timestamp:
		return Clock{kind, time.UTC}, nil
	case batch.TimestampTZ:
		return Clock{kind, zone}, nil
	}
	return Clock{}, fmt.Errorf("a %s has no day: name a column of type timestamptz, timestamp or date", kind)
}

// day of a value of the column, in microseconds or, for a date, days.
func (c Clock) day(v int64) Day {
	if c.kind == batch.Date {
		return Day(v)
	}
	return c.at(time.UnixMicro(v))
}

// at is the day of an instant.
func (c Clock) at(t time.Time) Day {
	d := dayOf(t.In(c.zone))
	for t.Before(d.Begin(c.zone)) {
		d--
	}
	for !t.Before((d + 1).Begin(c.zone)) {
		d++
	}
	return d
}
