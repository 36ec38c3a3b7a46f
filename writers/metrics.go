package writers

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
	"github.com/parquet-go/parquet-go/format"
)

// maxText is how many characters (of text) or bytes (of binaries) Iceberg keeps in a bound.
const maxText = 16

// addMetrics fills the metrics from a footer. Columns in lists and maps have no bounds and no NaN counts; feeds have counted
// these, and without feeds nobody has.
func addMetrics(f *table.File, leaves []*leaf, feeds []feed, meta *format.FileMetaData) {
	n := len(leaves)
	f.ColumnSizes, f.ValueCounts, f.NullCounts = make(map[int]int64, n), make(map[int]int64, n), make(map[int]int64, n)
	f.NaNCounts, f.LowerBounds, f.UpperBounds = map[int]int64{}, make(map[int][]byte, n), make(map[int][]byte, n)
	for _, g := range meta.RowGroups {
		f.SplitOffsets = append(f.SplitOffsets, g.FileOffset)
	}
	for i, l := range leaves {
		var size, values, nulls int64
		var lo, hi []byte
		known := l.rep == 0
		for _, g := range meta.RowGroups {
			m := &g.Columns[i].MetaData
			size += m.TotalCompressedSize
			values += m.NumValues
			nulls += m.Statistics.NullCount
			if m.NumValues == m.Statistics.NullCount {
				continue
			}
			a, b := m.Statistics.MinValue, m.Statistics.MaxValue
			if a == nil || b == nil || isNaN(l.typ, a) || isNaN(l.typ, b) {
				known = false
				continue
			}
			if lo == nil || compareValues(l.typ, a, lo) < 0 {
				lo = a
			}
			if hi == nil || compareValues(l.typ, b, hi) > 0 {
				hi = b
			}
		}
		f.ColumnSizes[l.id], f.ValueCounts[l.id], f.NullCounts[l.id] = size, values, nulls
		if (l.typ.Kind == batch.Float || l.typ.Kind == batch.Double) && l.rep == 0 && feeds != nil {
			f.NaNCounts[l.id] = feeds[i].nan
		}
		if !known || lo == nil {
			continue
		}
		f.LowerBounds[l.id] = lowerBound(l.typ, lo)
		if up := upperBound(l.typ, hi); up != nil {
			f.UpperBounds[l.id] = up
		}
	}
}

func isNaN(t *batch.Type, b []byte) bool {
	switch t.Kind {
	case batch.Float:
		return math.IsNaN(float64(float32Of(b)))
	case batch.Double:
		return math.IsNaN(float64Of(b))
	}
	return false
}

func float32Of(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
func float64Of(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }

// integer reads the little-endian physical value of an integer column.
func integer(b []byte) int64 {
	switch len(b) {
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case 8:
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// compareValues orders two values in Parquet's plain encoding.
func compareValues(t *batch.Type, a, b []byte) int {
	switch t.Kind {
	case batch.Float:
		return compareFloats(float64(float32Of(a)), float64(float32Of(b)))
	case batch.Double:
		return compareFloats(float64Of(a), float64Of(b))
	case batch.Boolean, batch.String, batch.Binary, batch.UUID, batch.Fixed:
		return bytes.Compare(a, b)
	case batch.Decimal:
		if t.Precision > batch.MaxInt64Precision {
			return compareSigned(a, b)
		}
	}
	x, y := integer(a), integer(b)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func compareFloats(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// lowerBound turns a minimum in Parquet's plain encoding into Iceberg's single-value serialization.
func lowerBound(t *batch.Type, b []byte) []byte {
	switch t.Kind {
	case batch.Float, batch.Double:
		return zero(t, b, true)
	case batch.Decimal:
		return decimalBound(t, b)
	case batch.String:
		return bytes.Clone(firstCharacters(b, maxText))
	case batch.Binary:
		return bytes.Clone(b[:min(len(b), maxText)])
	}
	return bytes.Clone(b)
}

// upperBound is lowerBound for a maximum; nil when there is no bound short enough.
func upperBound(t *batch.Type, b []byte) []byte {
	switch t.Kind {
	case batch.Float, batch.Double:
		return zero(t, b, false)
	case batch.Decimal:
		return decimalBound(t, b)
	case batch.String:
		if cut := firstCharacters(b, maxText); len(cut) < len(b) {
			return incrementText(cut)
		}
	case batch.Binary:
		if len(b) > maxText {
			return increment(bytes.Clone(b[:maxText]))
		}
	}
	return bytes.Clone(b)
}

// zero makes a bound that is zero cover both zeros, which Parquet takes for equal and Iceberg does not.
func zero(t *batch.Type, b []byte, lower bool) []byte {
	b = bytes.Clone(b)
	var v float64
	if t.Kind == batch.Float {
		v = float64(float32Of(b))
	} else {
		v = float64Of(b)
	}
	if v == 0 {
		clear(b)
		if lower {
			b[len(b)-1] = 0x80
		}
	}
	return b
}

// decimalBound is the shortest big-endian two's-complement form.
func decimalBound(t *batch.Type, b []byte) []byte {
	if t.Precision <= batch.MaxInt64Precision {
		b = binary.BigEndian.AppendUint64(nil, uint64(integer(b)))
	}
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:]
	}
	return bytes.Clone(b)
}

func firstCharacters(b []byte, n int) []byte {
	at := 0
	for ; n > 0 && at < len(b); n-- {
		_, size := utf8.DecodeRune(b[at:])
		at += size
	}
	return b[:at]
}

// incrementText gives the least text of at most that many characters that is greater than every text with the prefix
// b; nil when there is none.
func incrementText(b []byte) []byte {
	if !utf8.Valid(b) {
		return nil
	}
	text := []rune(string(b))
	for i := len(text) - 1; i >= 0; i-- {
		next := text[i] + 1
		if next >= 0xd800 && next <= 0xdfff {
			next = 0xe000 // the surrogates are no characters
		}
		if next <= utf8.MaxRune {
			text[i] = next
			return []byte(string(text[:i+1]))
		}
	}
	return nil
}
