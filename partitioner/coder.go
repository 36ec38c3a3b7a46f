package partitioner

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// field computes one partition field. It numbers the values that it meets (0 is null), so that combining fields and
// finding a row's partition are operations on small numbers.
type field struct {
	name      string
	path      []string
	transform string
	param     int64
	typ       *batch.Type // of the source column, as the table has it

	chain []*batch.Column // of the current batch, from the outermost struct to the column; nil: the batch has none

	values [][]byte // by code: Iceberg single-value serialization
	texts  []string // by code: path segment
	ints   map[int64]uint32
	slices map[string]uint32
	recent [256]uint32 // codes of values met before, by quickHash; 0: none

	scratch []int64
	decimal [16]byte
}

func (f *field) reset() {
	f.values, f.texts = [][]byte{nil}, []string{segment(f.name, "null")}
	f.ints, f.slices, f.recent = map[int64]uint32{}, map[string]uint32{}, [256]uint32{}
}

// bind finds the column in a batch. A batch without it has null there.
func (f *field) bind(root *batch.Column) error {
	f.chain = f.chain[:0]
	c := root
	for _, name := range f.path {
		if c.Type.Kind != batch.Struct {
			return fmt.Errorf("partition field %s: a column on the path %s is a %s in the batch", f.name, strings.Join(f.path, "."), c.Type)
		}
		i := c.Type.Index(name)
		if i < 0 {
			f.chain = f.chain[:0]
			return nil
		}
		c = c.Children[i]
		f.chain = append(f.chain, c)
	}
	if !fits(c.Type, f.typ) {
		return fmt.Errorf("partition field %s: column %s is a %s in the batch but a %s in the table", f.name, strings.Join(f.path, "."), c.Type, f.typ)
	}
	return nil
}

// fits reports whether a batch's column can be taken for the table's, which may have been widened since.
func fits(have, want *batch.Type) bool {
	switch {
	case have.Kind == batch.Int && want.Kind == batch.Long:
		return true
	case have.Kind == batch.Decimal && want.Kind == batch.Decimal:
		return have.Scale == want.Scale && have.Precision <= want.Precision
	}
	return have.Kind == want.Kind && have.Length == want.Length
}

// codes writes the number of each row's value to out, which has one entry per row.
func (f *field) codes(b *batch.Batch, rows []int32, out []uint32) {
	if len(f.chain) == 0 || f.transform == "void" {
		clear(out)
		return
	}
	c := f.chain[len(f.chain)-1]
	if c.Type.Store() == batch.StoreView && f.transform != "bucket" {
		f.sliceCodes(b.Mem, c, rows, out)
	} else {
		f.transformed(b.Mem, c, rows)
		last, code := int64(0), uint32(0)
		for i, v := range f.scratch {
			if code == 0 || v != last {
				last, code = v, f.intCode(v)
			}
			out[i] = code
		}
	}
	for _, c := range f.chain {
		if c.Valid == nil {
			continue
		}
		for i, r := range rows {
			if !c.Valid[r] {
				out[i] = 0
			}
		}
	}
}

// transformed fills scratch with the transform of each row, of rows with null too.
func (f *field) transformed(mem []byte, c *batch.Column, rows []int32) {
	if cap(f.scratch) < len(rows) {
		f.scratch = make([]int64, len(rows))
	}
	s := f.scratch[:len(rows)]
	f.scratch = s
	switch c.Type.Store() {
	case batch.StoreView:
		f.bucketViews(mem, c, rows)
		return
	case batch.StoreBool:
		for i, r := range rows {
			s[i] = 0
			if c.Bools[r] {
				s[i] = 1
			}
		}
	case batch.StoreInt32:
		for i, r := range rows {
			s[i] = int64(c.Int32[r])
		}
	case batch.StoreInt64:
		for i, r := range rows {
			s[i] = c.Int64[r]
		}
	}
	if units[f.transform] {
		f.timeUnits(s, c.Type.Kind == batch.Date)
		return
	}
	switch f.transform {
	case "truncate":
		for i, v := range s {
			s[i] = truncInt(v, f.param)
		}
		if f.typ.Kind == batch.Int {
			for i, v := range s {
				s[i] = int64(int32(v))
			}
		}
	case "bucket":
		if f.typ.Kind == batch.Decimal {
			for i, v := range s {
				s[i] = bucketOf(murmur3(shortest(binary.BigEndian.AppendUint64(f.decimal[:0], uint64(v)))), f.param)
			}
			return
		}
		for i, v := range s {
			s[i] = bucketOf(murmur3Long(v), f.param)
		}
	}
}

func (f *field) bucketViews(mem []byte, c *batch.Column, rows []int32) {
	for i, r := range rows {
		v := bytesAt(mem, c.Views[r])
		if f.typ.Kind == batch.Decimal {
			v = shortest(v)
		}
		f.scratch[i] = bucketOf(murmur3(v), f.param)
	}
}

func (f *field) timeUnits(s []int64, date bool) {
	switch {
	case f.transform == "hour":
		for i, v := range s {
			s[i] = floorDiv(v, microsPerHour)
		}
		return
	case !date:
		for i, v := range s {
			s[i] = floorDiv(v, microsPerDay)
		}
	}
	if f.transform == "day" {
		return
	}
	last, month := int64(0), int64(0)
	for i, day := range s {
		if day != last {
			last, month = day, monthOf(day)
		}
		if s[i] = month; f.transform == "year" {
			s[i] = floorDiv(month, 12)
		}
	}
}

func (f *field) intCode(v int64) uint32 {
	code, ok := f.ints[v]
	if !ok {
		code = f.add(f.serialize(v), f.intText(v))
		f.ints[v] = code
	}
	return code
}

func (f *field) add(value []byte, text string) uint32 {
	f.values = append(f.values, value)
	f.texts = append(f.texts, segment(f.name, text))
	return uint32(len(f.values) - 1)
}

func (f *field) serialize(v int64) []byte {
	if units[f.transform] || f.transform == "bucket" {
		return binary.LittleEndian.AppendUint32(nil, uint32(v))
	}
	switch f.typ.Kind {
	case batch.Boolean:
		return []byte{byte(v)}
	case batch.Int, batch.Date:
		return binary.LittleEndian.AppendUint32(nil, uint32(v))
	case batch.Decimal:
		return shortest(bigEndian(v))
	}
	return binary.LittleEndian.AppendUint64(nil, uint64(v))
}

func (f *field) sliceCodes(mem []byte, c *batch.Column, rows []int32, out []uint32) {
	decimal, text, truncate := f.typ.Kind == batch.Decimal, f.typ.Kind == batch.String, f.transform == "truncate"
	for i, r := range rows {
		v := bytesAt(mem, c.Views[r])
		switch {
		case decimal:
			if n := copy(f.decimal[:], v); truncate {
				v = f.decimal[:n]
				truncDecimal(v, f.param)
			}
			v = shortest(v)
		case truncate && text:
			v = truncText(v, f.param)
		case truncate && int64(len(v)) > f.param:
			v = v[:f.param]
		}
		at := &f.recent[quickHash(v)]
		if *at == 0 || !bytes.Equal(v, f.values[*at]) {
			*at = f.sliceCode(v)
		}
		out[i] = *at
	}
}

func (f *field) sliceCode(v []byte) uint32 {
	code, ok := f.slices[string(v)]
	if !ok {
		code = f.add(append([]byte{}, v...), f.bytesText(v))
		f.slices[string(v)] = code
	}
	return code
}

func quickHash(v []byte) uint8 {
	if len(v) == 0 {
		return 0
	}
	return uint8(len(v))*31 ^ v[0]*7 ^ v[len(v)/2]*3 ^ v[len(v)-1]
}

func bytesAt(mem []byte, v batch.View) []byte { return mem[v.Off : v.Off+v.Len] }
