package current

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

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
		if t := row.Fields[at].Type; !t.KeyType() {
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
		to = c.AppendKey(to, k.b.Records, row)
		binary.BigEndian.PutUint32(to[at:], uint32(len(to)-at-4))
	}
	return to, true
}

// cutKey cuts the value of the first column off a key.
func cutKey(key string) (first, rest string) {
	n := uint32(key[0])<<24 | uint32(key[1])<<16 | uint32(key[2])<<8 | uint32(key[3])
	return key[4 : 4+n], key[4+n:]
}

// compareKeys compares keys as the rows are sorted: column by column.
func compareKeys(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a = cutKey(a)
		y, b = cutKey(b)
		if d := strings.Compare(x, y); d != 0 {
			return d
		}
	}
	return 0
}

// lead are the values of the key's first column, of some keys, in order: by them files are left out that have none of the keys.
type lead struct {
	field  batch.Field
	values []string
}

func leadOf(row *batch.Type, key []string, winners map[string]*change) lead {
	l := lead{field: row.Fields[row.Index(key[0])]}
	for k := range winners {
		first, _ := cutKey(k)
		l.values = append(l.values, first)
	}
	slices.Sort(l.values)
	return l
}

// mayBeIn reports whether a file may have one of the keys, by the bounds of the key's first column.
func (l *lead) mayBeIn(f *table.File) bool {
	lo, okLo := l.field.Type.KeyBound(f.LowerBounds[l.field.ID])
	hi, okHi := l.field.Type.KeyBound(f.UpperBounds[l.field.ID])
	if !okLo || !okHi {
		return true
	}
	at, _ := slices.BinarySearch(l.values, string(lo))
	return at < len(l.values) && l.values[at] <= string(hi)
}
