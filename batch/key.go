package batch

import "encoding/binary"

// AppendKey appends bytes that compare as the values of a column do, and are the same for the same value, also after the column was
// widened. The row must not be null, and the column no float, struct or list.
func (c *Column) AppendKey(to []byte, r *Records, row int) []byte {
	const top = 1 << 63
	switch c.Type.Store() {
	case StoreBool:
		if c.Bools[row] {
			return append(to, 1)
		}
		return append(to, 0)
	case StoreInt32:
		return binary.BigEndian.AppendUint64(to, uint64(int64(c.Int32[row]))^top)
	case StoreInt64:
		if c.Type.Kind == Decimal { // as wide as the widest
			to = binary.BigEndian.AppendUint64(to, uint64(c.Int64[row]>>63)^top)
			return binary.BigEndian.AppendUint64(to, uint64(c.Int64[row]))
		}
		return binary.BigEndian.AppendUint64(to, uint64(c.Int64[row])^top)
	}
	v := r.Bytes(c.Views[row])
	if c.Type.Kind == Decimal {
		at := len(to)
		to = append(to, v...)
		to[at] ^= 0x80
		return to
	}
	return append(to, v...)
}

// KeyBound brings a bound, as Iceberg's manifests have it, to the form of AppendKey; false: it says nothing.
func (t *Type) KeyBound(raw []byte) ([]byte, bool) {
	const top = 1 << 63
	switch t.Kind {
	case Int, Date, Long, Time, Timestamp, TimestampTZ:
		switch len(raw) { // a file may be older than the widening of its column
		case 4:
			return binary.BigEndian.AppendUint64(nil, uint64(int64(int32(binary.LittleEndian.Uint32(raw))))^top), true
		case 8:
			return binary.BigEndian.AppendUint64(nil, binary.LittleEndian.Uint64(raw)^top), true
		}
	case String, UUID, Fixed, Binary:
		return raw, raw != nil
	}
	return nil, false
}

// KeyType reports whether values of the type can tell rows apart.
func (t *Type) KeyType() bool {
	switch t.Kind {
	case Float, Double, Struct, List, Map:
		return false
	}
	return true
}
