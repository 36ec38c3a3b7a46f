package rewrite

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// MayHold reports whether a data file can have rows of any of the spans, as far as its metrics tell: no means no, and yes
// that it must be read. row is the table's row type.
func MayHold(row *batch.Type, f table.File, spans ...batch.Span) bool {
	if f.Rows == 0 {
		return false
	}
	for _, s := range spans {
		if s.First < s.Next && within(row, f, table.ColumnOffset, s.First, s.Next-1) && within(row, f, table.ColumnPartition, int64(s.Partition), int64(s.Partition)) && mayHoldTopic(row, f, s.Topic) {
			return true
		}
	}
	return false
}

// within reports whether the values of an int or long column can lie in [lo, hi].
func within(row *batch.Type, f table.File, column string, lo, hi int64) bool {
	i := row.Index(column)
	if i < 0 {
		return true
	}
	id := row.Fields[i].ID
	least, ok := integer(f.LowerBounds[id])
	if ok && hi < least {
		return false
	}
	greatest, ok := integer(f.UpperBounds[id])
	return !ok || lo <= greatest
}

// integer reads a bound. The column may have been an int when the file was written.
func integer(b []byte) (int64, bool) {
	switch len(b) {
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case 8:
		return int64(binary.LittleEndian.Uint64(b)), true
	}
	return 0, false
}

// mayHoldTopic compares with bounds that are cut to 16 characters: the lower one is a prefix of the least name, and so not
// greater than it. The upper one is greater than the greatest name, or, as some programs write it, a prefix of that.
func mayHoldTopic(row *batch.Type, f table.File, topic string) bool {
	i := row.Index(table.ColumnTopic)
	if i < 0 {
		return true
	}
	id := row.Fields[i].ID
	if lo, ok := f.LowerBounds[id]; ok && bytes.Compare([]byte(topic), lo) < 0 {
		return false
	}
	hi, ok := f.UpperBounds[id]
	return !ok || topic <= string(hi) || len(hi) > 0 && strings.HasPrefix(topic, string(hi))
}
