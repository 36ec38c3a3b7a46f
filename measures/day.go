package measures

import (
	"fmt"
	"sort"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// DayBounds gives the instants at which a day of a zone begins and ends. Where clocks change it has 23 or 25 hours. A day
// begins at the first instant whose date there is that day or a later one, so that days never overlap and leave no gap: one
// without midnight begins when the clocks were put forward, one that was skipped altogether is empty. Of day only the date
// counts.
func DayBounds(day time.Time, zone *time.Location) (from, to time.Time) {
	y, m, d := day.Date()
	return dayStart(y, m, d, zone), dayStart(y, m, d+1, zone)
}

// dayStart takes no zone for UTC.
func dayStart(y int, m time.Month, d int, zone *time.Location) time.Time {
	if zone == nil {
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	}
	const reach = 16 * 3600 // zones are never farther from UTC, seconds
	midnight := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	base := midnight.Unix() - reach
	n := sort.Search(2*reach, func(i int) bool {
		y, m, d := time.Unix(base+int64(i), 0).In(zone).Date()
		return !time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Before(midnight)
	})
	return time.Unix(base+int64(n), 0).UTC()
}

// Zone reads a time zone's name; empty is UTC. Local is refused: it is another one on each machine.
func Zone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	if name == "Local" {
		return nil, fmt.Errorf("the time zone Local is another one on each machine: name it, as in Europe/Berlin")
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("the time zone %q is not known: write a name such as UTC or Europe/Berlin", name)
	}
	return z, nil
}

// DayCondition is the condition that {{day}} stands for: that a column, given by its path, lies in a day of a zone. For a
// timestamptz it is a range of instants. Other types are local times, taken as they are.
func DayCondition(d Dialect, t *batch.Type, path []string, zone *time.Location, day time.Time) (string, error) {
	col := d.render(&expr{op: opColumn, path: path, typ: t})
	var from, to string
	switch y, m, dd := day.Date(); t.Kind {
	case batch.Date:
		return fmt.Sprintf("(%s = DATE '%04d-%02d-%02d')", col, y, m, dd), nil
	case batch.Timestamp:
		start := time.Date(y, m, dd, 0, 0, 0, 0, time.UTC)
		from, to = d.localTime(start), d.localTime(start.AddDate(0, 0, 1))
	case batch.TimestampTZ:
		a, b := DayBounds(day, zone)
		from, to = d.instant(a), d.instant(b)
	default:
		return "", fmt.Errorf("the column %s is a %s: days are those of a timestamptz, a timestamp or a date", col, t)
	}
	return fmt.Sprintf("(%s >= %s AND %s < %s)", col, from, col, to), nil
}

func (d Dialect) localTime(t time.Time) string {
	word := "TIMESTAMP"
	if d == Spark {
		word = "TIMESTAMP_NTZ"
	}
	return word + t.Format(" '2006-01-02 15:04:05'")
}

func (d Dialect) instant(t time.Time) string {
	switch d {
	case Trino:
		return t.UTC().Format("TIMESTAMP '2006-01-02 15:04:05 UTC'")
	case Spark:
		return t.UTC().Format("TIMESTAMP '2006-01-02 15:04:05Z'")
	}
	return t.UTC().Format("TIMESTAMPTZ '2006-01-02 15:04:05+00'")
}
