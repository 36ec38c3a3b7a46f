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
	switch {
	case l.form == inDictionary:
		return l.coded(l.codes[from:to], c, rec)
	case l.form == inSpans && l.distinct(from, to):
		return l.all(l.spans[from:to], c, rec)
	}
	mem, v := rec.Mem, l.last
	for i := from; i < to; i++ {
		b := l.raw(i)
		if uint64(len(mem))+uint64(len(b)) > math.MaxUint32 {
			return errTooMuch
		}
		mem, v = l.recent.Append(mem, b)
		c.Views = append(c.Views, v)
	}
	rec.Mem, l.last = mem, v
	return nil
}

var errTooMuch = errors.New("the values of a few rows have more than 4 GiB")

// coded copies values of the dictionary into the arena, each once.
func (l *leaf) coded(codes []int32, c *batch.Column, rec *batch.Records) error {
	d := &l.chunk.dict
	for _, k := range codes {
		if d.marks[k] != d.mark {
			v := d.texts[k]
			b := d.mem[v.Off : v.Off+v.Len]
			if uint64(len(rec.Mem))+uint64(len(b)) > math.MaxUint32 {
				return errTooMuch
			}
			d.views[k], d.marks[k] = rec.Append(b), d.mark
		}
		c.Views = append(c.Views, d.views[k])
	}
	return nil
}

// distinct reports whether the first texts differ all. What is written without a dictionary does, as a rule.
func (l *leaf) distinct(from, to int) bool {
	for i := from + 1; i < min(to, from+8); i++ {
		for k := from; k < i; k++ {
			if l.spans[i].Len == l.spans[k].Len && string(l.raw(i)) == string(l.raw(k)) {
				return false
			}
		}
	}
	return true
}

// all copies texts into the arena together with what lies between them.
func (l *leaf) all(spans []batch.View, c *batch.Column, rec *batch.Records) error {
	first, last := spans[0], spans[len(spans)-1]
	b := l.spanned[first.Off : last.Off+last.Len]
	if uint64(len(rec.Mem))+uint64(len(b)) > math.MaxUint32 {
		return errTooMuch
	}
	at := uint32(len(rec.Mem))
	rec.Mem = append(rec.Mem, b...)
	for _, v := range spans {
		c.Views = append(c.Views, batch.View{Off: v.Off - first.Off + at, Len: v.Len})
	}
	return nil
}
