package aggregate

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// timeline says which days a file of the source may have rows of, by metadata alone.
type timeline struct {
	clock Clock
	field int // id of the time column
	info  table.Info
}

func newTimeline(info table.Info, column string, zone *time.Location) (*timeline, error) {
	clock, err := ClockOf(info.Row, column, zone)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", info.Ident, err)
	}
	f, err := columnAt(info.Row, column)
	return &timeline{clock, f.ID, info}, err
}

// ClockOf is the clock of a column, by its path in a row type.
func ClockOf(row *batch.Type, column string, zone *time.Location) (Clock, error) {
	f, err := columnAt(row, column)
	if err != nil {
		return Clock{}, err
	}
	c, err := NewClock(f.Type.Kind, zone)
	if err != nil {
		return c, fmt.Errorf("column %s: %w", column, err)
	}
	return c, nil
}

// columnAt finds a column by its path.
func columnAt(row *batch.Type, path string) (batch.Field, error) {
	var f batch.Field
	for name := range strings.SplitSeq(path, ".") {
		i := -1
		if row != nil && row.Kind == batch.Struct {
			i = row.Index(name)
		}
		if i < 0 {
			return f, fmt.Errorf("it has no column %s", path)
		}
		f = row.Fields[i]
		row = f.Type
	}
	return f, nil
}

// span is a range of days, both included; none when to < from.
type span struct{ from, to Day }

func (s span) has(d Day) bool { return s.from <= d && d <= s.to }

// What is before the year 1 or after 9999 belongs to no day: dialects do not write it alike.
const (
	firstDay Day = -719162 // 0001-01-01
	lastDay  Day = 2932896 // 9999-12-31
)

var (
	noDays  = span{0, -1}
	anyDays = span{firstDay, lastDay}
)

func (s span) and(o span) span { return span{max(s.from, o.from), min(s.to, o.to)} }

// days of the rows that a data file may have. anyDays: its metadata does not tell.
func (t *timeline) days(f table.File) span {
	if n, ok := f.NullCounts[t.field]; ok && n >= f.Rows {
		return noDays
	}
	days := t.partition(f)
	low, hasLow := t.value(f.LowerBounds[t.field])
	high, hasHigh := t.value(f.UpperBounds[t.field])
	if hasLow {
		days.from = max(days.from, t.clock.day(low))
	}
	if hasHigh {
		days.to = min(days.to, t.clock.day(high))
	}
	if days.to < days.from {
		return noDays
	}
	return days
}

// value reads a bound of the time column.
func (t *timeline) value(raw []byte) (int64, bool) {
	switch len(raw) {
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(raw))), true
	case 8:
		return int64(binary.LittleEndian.Uint64(raw)), true
	}
	return 0, false
}

// partition gives the days that a file's partition leaves.
func (t *timeline) partition(f table.File) span {
	days := anyDays
	if f.SpecID != t.info.SpecID || len(f.Partition) != len(t.info.PartitionBy) {
		return days // of another spec: the bounds tell
	}
	for i, p := range t.info.PartitionBy {
		if p.SourceID != t.field {
			continue
		}
		v, ok := t.value(f.Partition[i])
		if !ok {
			if f.Partition[i] == nil {
				return noDays // null
			}
			continue
		}
		if from, to, ok := t.instants(p.Transform, v); ok {
			days = days.and(span{t.clock.day(from), t.clock.day(to - 1)})
		}
	}
	return days
}

// instants are the values [from, to) of the time column that a transform makes v of.
func (t *timeline) instants(transform string, v int64) (from, to int64, ok bool) {
	var a, b time.Time
	switch transform {
	case "identity":
		return v, v + 1, true
	case "hour":
		a, b = time.Unix(v*3600, 0), time.Unix((v+1)*3600, 0)
	case "day":
		a, b = time.Unix(v*86400, 0), time.Unix((v+1)*86400, 0)
	case "month":
		a, b = time.Date(1970, time.Month(1+v), 1, 0, 0, 0, 0, time.UTC), time.Date(1970, time.Month(2+v), 1, 0, 0, 0, 0, time.UTC)
	case "year":
		a, b = time.Date(1970+int(v), 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1971+int(v), 1, 1, 0, 0, 0, 0, time.UTC)
	default:
		return 0, 0, false
	}
	if t.clock.kind == batch.Date {
		return a.Unix() / 86400, b.Unix() / 86400, true
	}
	return a.UnixMicro(), b.UnixMicro(), true
}

// widest is how many days a file may span before it is asked which of them it has: there may be rows of few.
const widest = 31

// calendar is the files of a snapshot by the first day of a period.
type calendar struct {
	days    map[Day][]int // indexes into files, ascending
	files   []table.File
	deletes []string
}

// add notes that a file may have rows of a period.
func (c *calendar) add(d Day, file int) {
	if at := c.days[d]; len(at) == 0 || at[len(at)-1] != file {
		c.days[d] = append(at, file)
	}
}

// newCalendar sorts a snapshot's files by the periods that they may have rows of. wide is asked for the days of files whose
// metadata tell too little.
func (t *timeline) newCalendar(by Period, files []table.File, deletes []string, wide func(table.File) ([]Day, error)) (*calendar, error) {
	c := &calendar{map[Day][]int{}, files, deletes}
	slices.SortFunc(c.files, func(a, b table.File) int { return cmp.Compare(a.Path, b.Path) })
	slices.Sort(c.deletes)
	for i, f := range c.files {
		s := t.days(f)
		if int64(s.to)-int64(s.from) < widest {
			for d := s.from; d <= s.to; d++ {
				c.add(by.begin(d), i)
			}
			continue
		}
		days, err := wide(f)
		if err != nil {
			return nil, err
		}
		for _, d := range days {
			c.add(by.begin(d), i)
		}
	}
	return c, nil
}

// mark is the same for a day as long as the files of which it is calculated are, and what is calculated of them.
func (c *calendar) mark(d Day, definition string) string {
	h := sha256.New()
	h.Write([]byte(definition))
	for _, i := range c.days[d] {
		h.Write([]byte(c.files[i].Path + "\n"))
	}
	for _, path := range c.deletes {
		h.Write([]byte("-" + path + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}
