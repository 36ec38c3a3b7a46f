package current

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// keys makes bytes of the key of a row, the same for the same values, also after a column was widened.
type keys struct {
	cols []*batch.Column
	b    *batch.Batch
}

// keyTypes checks that the columns can be a key.
func keyTypes(row *batch.Type, key []string) error {
	for _, name := range key {
		at := row.Index(name)
		if at < 0 {
			return fmt.Errorf("the table has no column %s, which table.current.key lists", name)
		}
		switch t := row.Fields[at].Type; t.Kind {
		case batch.Float, batch.Double, batch.Struct, batch.List, batch.Map:
			return fmt.Errorf("the column %s is a %s, which cannot be a key", name, t)
		}
	}
	return nil
}

func keysOf(b *batch.Batch, key []string) keys {
	k := keys{b: b}
	for _, name := range key {
		k.cols = append(k.cols, b.Root.Children[b.Root.Type.Index(name)])
	}
	return k
}

// append appends the key of a row; false: a part of it is null.
func (k keys) append(to []byte, row int) ([]byte, bool) {
	for _, c := range k.cols {
		if c.IsNull(row) {
			return to, false
		}
		at := len(to)
		to = append(to, 0, 0, 0, 0)
		to = k.value(to, c, row)
		binary.BigEndian.PutUint32(to[at:], uint32(len(to)-at-4))
	}
	return to, true
}

// value appends bytes that compare as the values do.
func (k keys) value(to []byte, c *batch.Column, row int) []byte {
	const top = 1 << 63
	switch c.Type.Store() {
	case batch.StoreBool:
		if c.Bools[row] {
			return append(to, 1)
		}
		return append(to, 0)
	case batch.StoreInt32:
		return binary.BigEndian.AppendUint64(to, uint64(int64(c.Int32[row]))^top)
	case batch.StoreInt64:
		if c.Type.Kind == batch.Decimal { // as wide as the widest
			to = binary.BigEndian.AppendUint64(to, uint64(c.Int64[row]>>63)^top)
			return binary.BigEndian.AppendUint64(to, uint64(c.Int64[row]))
		}
		return binary.BigEndian.AppendUint64(to, uint64(c.Int64[row])^top)
	}
	v := k.b.Bytes(c.Views[row])
	if c.Type.Kind == batch.Decimal {
		at := len(to)
		to = append(to, v...)
		to[at] ^= 0x80
		return to
	}
	return append(to, v...)
}

// lead are the values of the key's first column, of some keys, in order: by them files are left out that have none of the keys.
type lead struct {
	field  batch.Field
	values [][]byte
}

func leadOf(row *batch.Type, key []string, winners map[string]*change) lead {
	l := lead{field: row.Fields[row.Index(key[0])]}
	for k := range winners {
		n := binary.BigEndian.Uint32([]byte(k[:4]))
		l.values = append(l.values, []byte(k[4:4+n]))
	}
	slices.SortFunc(l.values, bytes.Compare)
	return l
}

// mayBeIn reports whether a file may have one of the keys, by the bounds of the key's first column.
func (l *lead) mayBeIn(f *table.File) bool {
	lo, okLo := l.bound(f.LowerBounds[l.field.ID])
	hi, okHi := l.bound(f.UpperBounds[l.field.ID])
	if !okLo || !okHi {
		return true
	}
	at := sort.Search(len(l.values), func(i int) bool { return bytes.Compare(l.values[i], lo) >= 0 })
	return at < len(l.values) && bytes.Compare(l.values[at], hi) <= 0
}

// bound brings a bound of a manifest to the form of values; false: it says nothing.
func (l *lead) bound(raw []byte) ([]byte, bool) {
	const top = 1 << 63
	switch l.field.Type.Kind {
	case batch.Int, batch.Date, batch.Long, batch.Time, batch.Timestamp, batch.TimestampTZ:
		switch len(raw) { // a file may be older than the widening of its column
		case 4:
			return binary.BigEndian.AppendUint64(nil, uint64(int64(int32(binary.LittleEndian.Uint32(raw))))^top), true
		case 8:
			return binary.BigEndian.AppendUint64(nil, binary.LittleEndian.Uint64(raw)^top), true
		}
	case batch.String, batch.UUID, batch.Fixed, batch.Binary:
		return raw, raw != nil
	}
	return nil, false
}
