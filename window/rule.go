// Package window keeps for each key a total over the last days, months or years: exact, in real time, and published to a
// compacted topic. Owner states what it rests on.
package window

import (
	"errors"
	"fmt"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// Day is a day of the local calendar, counted from 1970-01-01.
type Day int32

// DayOf is the day of t in its own zone.
func DayOf(t time.Time) Day {
	y, m, d := t.Date()
	return dayOf(y, m, d)
}

func dayOf(y int, m time.Month, d int) Day {
	return Day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

func (d Day) time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// String gives the day as 2026-11-22.
func (d Day) String() string { return d.time().Format(time.DateOnly) }

// Length is how far a window reaches back: calendar months, or days.
type Length struct{ Months, Days int }

// Floor is the last day that is not in the window of day d: a row counts if its day is later than Floor(d) and not later
// than d. Months are those of the calendar: 31 May less 3 months is the last day of February.
func (l Length) Floor(d Day) Day {
	if l.Months == 0 {
		return d - Day(l.Days)
	}
	y, m, day := d.time().Date()
	first := time.Date(y, m-time.Month(l.Months), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return dayOf(first.Year(), first.Month(), min(day, last))
}

// SQL is the last day that is not in the window, from an expression of the type DATE.
func (l Length) SQL(day string) string {
	if l.Months == 0 {
		return fmt.Sprintf("CAST(%s - INTERVAL '%d' DAY AS DATE)", day, l.Days)
	}
	return fmt.Sprintf("CAST(%s - INTERVAL '%d' MONTH AS DATE)", day, l.Months)
}

func (l Length) String() string {
	if l.Months == 0 {
		return fmt.Sprintf("%d days", l.Days)
	}
	return fmt.Sprintf("%d months", l.Months)
}

// days reads the day of a row from a time column.
type days struct {
	kind batch.Kind
	zone *time.Location
	// from and to are a stretch of time, seconds, within which all is of the day known: rows come in about the order of time.
	from, to int64
	known    Day
}

func newDays(t *batch.Type, zone *time.Location) (*days, error) {
	switch t.Kind {
	case batch.TimestampTZ, batch.Timestamp, batch.Date:
		return &days{kind: t.Kind, zone: zone, from: 1, to: 0}, nil
	}
	return nil, fmt.Errorf("it is a %s; a window needs a timestamptz, a timestamp or a date", t)
}

const (
	microseconds = 1_000_000
	secondsOfDay = 86400
)

// of is the day of slot i.
func (d *days) of(c *batch.Column, i int) Day {
	switch d.kind {
	case batch.Date:
		return Day(c.Int32[i])
	case batch.Timestamp:
		return Day(floorDiv(c.Int64[i], secondsOfDay*microseconds))
	}
	s := floorDiv(c.Int64[i], microseconds)
	if s < d.from || s > d.to {
		d.look(s)
	}
	return d.known
}

// look finds the day of a second, and the stretch of that day in which the zone has the same offset.
func (d *days) look(s int64) {
	t := time.Unix(s, 0).In(d.zone)
	_, offset := t.Zone()
	d.known = DayOf(t)
	d.from = int64(d.known)*secondsOfDay - int64(offset)
	d.to = d.from + secondsOfDay - 1
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		d.from = max(d.from, start.Unix())
	}
	if !end.IsZero() {
		d.to = min(d.to, end.Unix()-1)
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

var errOverflow = errors.New("the total has more than 38 digits")
