package scan

import (
	"errors"
	"math"

	"github.com/lakeloader/lakeloader/batch"
)

// putFlat is put for a column in no list, whole runs of entries that have a value at a time, where values are stored as they
// are read. It reports whether it did that.
func (l *leaf) putFlat(entries int, c *batch.Column, rec *batch.Records) (bool, error) {
	switch l.conv {
	case toBool, toInt32, toFloat, toBytes:
	case toInt64, toDecimal:
		if l.int64s == nil {
			return false, nil
		}
	case toDouble:
		if l.doubles == nil {
			return false, nil
		}
	default:
		return false, nil
	}
	for end := l.next + entries; l.next < end; {
		n := l.present(end)
		if n == 0 {
			if err := l.node.absent(l.definition(l.next), c.AppendNull, c.AppendZero); err != nil {
				return false, err
			}
			l.next++
			continue
		}
		if err := l.putRun(n, c, rec); err != nil {
			return false, err
		}
		l.next, l.value = l.next+n, l.value+n
	}
	return true, nil
}

// present counts the entries from the next one on that have a value.
func (l *leaf) present(end int) int {
	if l.def == 0 {
		return end - l.next
	}
	for i, d := range l.def16[l.next:end] {
		if int(d) != l.def {
			return i
		}
	}
	return end - l.next
}

// putRun appends the next n values.
func (l *leaf) putRun(n int, c *batch.Column, rec *batch.Records) error {
	from, to := l.value, l.value+n
	switch l.conv {
	case toBool:
		c.Bools = append(c.Bools, l.bools[from:to]...)
	case toInt32:
		c.Int32 = append(c.Int32, l.int32s[from:to]...)
	case toInt64, toDecimal:
		c.Int64 = append(c.Int64, l.int64s[from:to]...)
	case toFloat:
		c.Float32 = append(c.Float32, l.floats[from:to]...)
	case toDouble:
		c.Float64 = append(c.Float64, l.doubles[from:to]...)
	default:
		if err := l.views(from, to, c, rec); err != nil {
			return err
		}
	}
	c.Len += n
	if c.Valid != nil {
		for range n {
			c.Valid = append(c.Valid, true)
		}
	}
	return nil
}

// views copies values into the arena, those that were met shortly before once.
func (l *leaf) views(from, to int, c *batch.Column, rec *batch.Records) error {
	mem, v := rec.Mem, l.last
	for i := from; i < to; i++ {
		b := l.raw(i)
		if uint64(len(mem))+uint64(len(b)) > math.MaxUint32 {
			return errors.New("the values of a few rows have more than 4 GiB")
		}
		mem, v = l.recent.Append(mem, b)
		c.Views = append(c.Views, v)
	}
	rec.Mem, l.last = mem, v
	return nil
}
