package table

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// Unit is the length of a table's time partitions, which are numbered from 1970, in UTC, as Iceberg's transforms do.
type Unit string

// The units.
const (
	Year  Unit = "year"
	Month Unit = "month"
	Day   Unit = "day"
	Hour  Unit = "hour"
)

// TimeField finds the partition field by time; -1: there is none. Identity of a date counts as days.
func (i Info) TimeField() (at int, unit Unit) {
	for n, p := range i.PartitionBy {
		switch p.Transform {
		case "year", "month", "day", "hour":
			return n, Unit(p.Transform)
		case "identity":
			if column(i.Row, p.SourcePath()) == batch.Date {
				return n, Day
			}
		}
	}
	return -1, ""
}

// column is the kind of a column within structs; Struct where there is none.
func column(row *batch.Type, path []string) batch.Kind {
	for _, name := range path {
		i := row.Index(name)
		if i < 0 {
			return batch.Struct
		}
		row = row.Fields[i].Type
	}
	return row.Kind
}

// TimeValue is the number of a time partition, from its value in Iceberg's single-value serialization; false: null, which
// has no time.
func TimeValue(value []byte) (n int, ok bool) {
	if len(value) != 4 {
		return 0, false
	}
	return int(int32(binary.LittleEndian.Uint32(value))), true
}

// Start is the first moment of a partition.
func (u Unit) Start(n int) time.Time {
	epoch := time.Unix(0, 0).UTC()
	switch u {
	case Year:
		return epoch.AddDate(n, 0, 0)
	case Month:
		return epoch.AddDate(0, n, 0)
	case Day:
		return epoch.AddDate(0, 0, n)
	}
	return time.Unix(int64(n)*3600, 0).UTC()
}

// Of is the number of the partition that a moment is in.
func (u Unit) Of(t time.Time) int {
	t = t.UTC()
	switch u {
	case Year:
		return t.Year() - 1970
	case Month:
		return (t.Year()-1970)*12 + int(t.Month()) - 1
	case Day:
		return int(math.Floor(float64(t.Unix()) / (24 * 3600)))
	}
	return int(math.Floor(float64(t.Unix()) / 3600))
}

var layouts = map[Unit]string{Year: "2006", Month: "2006-01", Day: "2006-01-02", Hour: "2006-01-02-15"}

// Label is how Iceberg writes the partition in folder names: 2026, 2026-11, 2026-11-20, 2026-11-20-05.
func (u Unit) Label(n int) string { return u.Start(n).Format(layouts[u]) }

// Parse reads a label.
func (u Unit) Parse(label string) (int, error) {
	t, err := time.Parse(layouts[u], label)
	if err != nil {
		return 0, fmt.Errorf("%q is not the name of a %s, such as %s", label, u, layouts[u])
	}
	return u.Of(t), nil
}

// SourcePath is the column that a partition field is made from, by the names of the structs that it is in.
func (f PartitionField) SourcePath() []string { return strings.Split(f.Source, ".") }
