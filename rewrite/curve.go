package rewrite

import (
	"encoding/binary"
	"math"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// newCurve is a z-order over columns of the row type. The range of each column's values comes from the bounds of the files, as
// far as all of them have any: then the first bits of a key tell as much of each column.
func newCurve(row *batch.Type, columns []string, files []table.File) (*order, error) {
	by := make([]table.SortField, len(columns))
	for i, c := range columns {
		by[i].Source = c
	}
	o, err := newOrder(row, by)
	if err != nil {
		return nil, err
	}
	for i := range o.fields {
		f := &o.fields[i]
		o.curve = append(o.curve, f.dimension(f.id(row), files))
	}
	return o, nil
}

func (f *orderField) id(row *batch.Type) (id int) {
	t := row
	for _, at := range f.child {
		id, t = t.Fields[at].ID, t.Fields[at].Type
	}
	return id
}

func (f *orderField) dimension(id int, files []table.File) dimension {
	all := dimension{lo: 0, hi: math.MaxUint64}
	var los, his [][]byte
	for _, x := range files {
		lo, hi := x.LowerBounds[id], x.UpperBounds[id]
		if lo == nil || hi == nil {
			if x.ValueCounts[id] > 0 && x.NullCounts[id] == x.ValueCounts[id] {
				continue // it has nulls only
			}
			return all
		}
		los, his = append(los, lo), append(his, hi)
	}
	if len(los) == 0 {
		return all
	}
	d := dimension{lo: math.MaxUint64}
	if k := f.typ.Kind; k == batch.String || k == batch.Binary {
		d.skip = common(append(los, his...))
	}
	for i := range los {
		lo, known := f.bound(los[i], d.skip)
		hi, too := f.bound(his[i], d.skip)
		if !known || !too {
			return all
		}
		d.lo, d.hi = min(d.lo, lo), max(d.hi, hi)
	}
	if d.lo > d.hi {
		return all
	}
	return d
}

// common is the length of what all values begin with.
func common(values [][]byte) int {
	n := len(values[0])
	for _, v := range values[1:] {
		n = min(n, len(v))
		for i := range n {
			if v[i] != values[0][i] {
				n = i
				break
			}
		}
	}
	return n
}

// bound reads a bound in Iceberg's single-value serialization as number does; ints may be from before the column was widened.
func (f *orderField) bound(b []byte, skip int) (uint64, bool) {
	const top = 1 << 63
	switch f.typ.Store() {
	case batch.StoreBool:
		return uint64(b[0]), len(b) == 1
	case batch.StoreInt32, batch.StoreInt64:
		if f.typ.Kind == batch.Decimal {
			break
		}
		switch len(b) {
		case 4:
			return uint64(int64(int32(binary.LittleEndian.Uint32(b)))) ^ top, true
		case 8:
			return binary.LittleEndian.Uint64(b) ^ top, true
		}
		return 0, false
	case batch.StoreFloat32, batch.StoreFloat64:
		switch len(b) {
		case 4:
			return batch.FloatRank(float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))), true
		case 8:
			return batch.FloatRank(math.Float64frombits(binary.LittleEndian.Uint64(b))), true
		}
		return 0, false
	}
	if f.typ.Kind != batch.Decimal {
		return f.bytesNumber(b, skip), true
	}
	if len(b) == 0 || len(b) > 16 {
		return 0, false
	}
	var wide [16]byte
	if b[0] >= 0x80 {
		for i := range wide {
			wide[i] = 0xff
		}
	}
	copy(wide[16-len(b):], b)
	return f.bytesNumber(wide[:], 0), true
}

// Span gives a function that tells the range of the values of the first sort column in a file, from its bounds, as numbers of the
// same order; of texts the first bytes tell. nil: rows are not sorted.
func Span(info table.Info, by []table.SortField) (func(f table.File) (lo, hi uint64, ok bool), error) {
	if len(by) == 0 {
		return nil, nil
	}
	o, err := newOrder(info.Row, by[:1])
	if err != nil {
		return nil, err
	}
	f := &o.fields[0]
	id := f.id(info.Row)
	return func(x table.File) (lo, hi uint64, ok bool) {
		a, b := x.LowerBounds[id], x.UpperBounds[id]
		if a == nil || b == nil {
			return 0, 0, false
		}
		lo, known := f.bound(a, 0)
		hi, too := f.bound(b, 0)
		return lo, hi, known && too
	}, nil
}
