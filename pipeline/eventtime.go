package pipeline

import (
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// eventTimes follows the time column of a table, the one that its time partitions are made from: for each topic partition
// the greatest time of a row. Filtered rows and dead letters do not count, so progress is never further than it would be with them.
//
// A time later than Kafka's timestamp of the record, or than the clock where there is none, counts as that: one clock that is
// wrong by a year must not complete the year.
type eventTimes struct {
	path []string
	date bool
	cols []*batch.Column // of the present batch, from the outermost struct to the column
}

// newEventTimes finds the column of a table in rows.
func newEventTimes(info table.Info, row *batch.Type) (*eventTimes, error) {
	at, _ := info.TimeField()
	if at < 0 {
		return nil, fmt.Errorf("table %s has no time partitions (partition_by year, month, day or hour of a column, or a date): it cannot be said of them that they are complete", info.Ident)
	}
	e := &eventTimes{path: info.PartitionBy[at].SourcePath()}
	t := row
	for _, name := range e.path {
		i := t.Index(name)
		if i < 0 {
			return nil, fmt.Errorf("table %s is partitioned by the time in %s, which the rows do not have", info.Ident, info.PartitionBy[at].Source)
		}
		t = t.Fields[i].Type
	}
	e.date = t.Kind == batch.Date
	return e, nil
}

// checkComplete says what keeps it from being said of a table what is complete.
func checkComplete(c *configs.Complete, info table.Info) (hint string, err error) {
	at, _ := info.TimeField()
	switch {
	case at < 0:
		return "add day(ts) to partition_by, or leave complete out", errors.New("the table has no time partitions: no column without a transform is a date")
	case at > 0 && c.Marker:
		return "put it first", fmt.Errorf("a marker needs the time, %s, to be first in partition_by: else a time has many folders", info.PartitionBy[at].Source)
	}
	return "", nil
}

// observe takes in the rows of a batch with all its columns; runs are those of its fetch.
func (e *eventTimes) observe(b *batch.Batch, runs []run, now time.Time) {
	e.cols = e.cols[:0]
	c := b.Root
	for _, name := range e.path {
		c = c.Children[c.Type.Index(name)]
		e.cols = append(e.cols, c)
	}
	row := 0
	for _, x := range runs {
		from := row
		row += sort.Search(b.Rows-row, func(i int) bool { return int(b.Record[from+i]) >= x.to })
		if ms := e.latest(b, from, row, now.UnixMilli()); ms > x.t.event && x.t.stopped == nil {
			x.t.event = ms
		}
	}
}

// latest is the greatest time of the rows [from, to), Unix milliseconds, none later than Kafka had it; 0: there is none
// after 1970.
func (e *eventTimes) latest(b *batch.Batch, from, to int, now int64) int64 {
	const msPerDay = 24 * 3600 * 1000
	c := e.cols[len(e.cols)-1]
	if e.date {
		return latest(e, b, c.Int32, from, to, now, func(v int32) int64 { return int64(v) * msPerDay }, func(ms int64) int32 { return int32(ms / msPerDay) })
	}
	return latest(e, b, c.Int64, from, to, now, func(v int64) int64 { return v / 1000 }, func(ms int64) int64 { return ms*1000 + 999 })
}

// latest does as the method says. ms tells the time of a value, value the greatest one of a time.
func latest[T int32 | int64](e *eventTimes, b *batch.Batch, values []T, from, to int, now int64, ms func(T) int64, value func(int64) T) int64 {
	best, known := int64(0), value(0)
	values = values[from:to]
	for i := len(values) - 1; i >= 0; i-- { // the last is the latest, mostly
		if values[i] <= known {
			continue
		}
		i := from + i
		if b.Fate[i] != batch.Keep || !e.valid(i) {
			continue
		}
		limit := now
		if sent := b.Timestamp[b.Record[i]]; sent >= 0 {
			limit = min(sent, now)
		}
		if t := min(ms(values[i-from]), limit); t > best {
			best, known = t, value(t)
		}
	}
	return best
}

func (e *eventTimes) valid(i int) bool {
	for _, c := range e.cols {
		if c.Valid != nil && !c.Valid[i] {
			return false
		}
	}
	return true
}
