package cleanse

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// What casts do, all exact unless said otherwise; a value that does not fit is an error, never cut or wrapped:
//
//	any scalar -> string     true; 12; shortest float; decimals with all digits of their scale; ISO 8601 (timestamptz with Z);
//	                         uuid in groups; binary and fixed must be UTF-8
//	string -> any scalar     the same forms; boolean takes true, false, 1, 0; timestamps without an offset are UTC
//	int, long, decimal       among each other; a fraction that is not zero, and overflow, are errors
//	int, long -> float, double      the number must be representable
//	decimal, double -> float, decimal -> double     the nearest value: the only casts that round
//	float, double -> int, long, decimal             by the number's shortest decimal text
//	boolean <-> int, long    1 and 0
//	date -> timestamp(tz)    midnight;  timestamp(tz) -> date, time: its part;  timestamp <-> timestamptz: UTC
//	uuid, fixed -> binary;  binary, fixed -> uuid: 16 bytes;  binary -> fixed[N]: N bytes
//
// Numbers to timestamps is parse_timestamp's work, as only it says the unit.

// converter turns a value into another type; why is not empty if it cannot. Bytes of the result may use buf.
type converter func(s scalar, buf []byte) (out scalar, why string)

// newConverter returns nil if there is no such cast.
func newConverter(from, to *batch.Type) converter {
	switch {
	case from.Nested() || to.Nested():
		return nil
	case to.Kind == batch.String:
		return func(s scalar, buf []byte) (scalar, string) {
			b, ok := appendScalar(buf[:0], from, &s)
			if !ok {
				return s, "is not UTF-8"
			}
			return scalar{b: b}, ""
		}
	case from.Kind == batch.String:
		return func(s scalar, buf []byte) (scalar, string) { return parseScalar(to, s.b, buf) }
	}
	switch from.Kind {
	case batch.Boolean:
		if to.Kind == batch.Int || to.Kind == batch.Long {
			return same
		}
	case batch.Int, batch.Long:
		return fromWhole(to)
	case batch.Float, batch.Double:
		return fromFloat(from, to)
	case batch.Decimal:
		return fromDecimal(from, to)
	case batch.Date, batch.Timestamp, batch.TimestampTZ:
		return fromTime(from, to)
	case batch.UUID, batch.Fixed, batch.Binary:
		return fromBytes(to)
	}
	return nil
}

func same(s scalar, _ []byte) (scalar, string) { return s, "" }

func fromWhole(to *batch.Type) converter {
	switch to.Kind {
	case batch.Boolean:
		return func(s scalar, _ []byte) (scalar, string) {
			if s.i != 0 && s.i != 1 {
				return s, "is neither 0 nor 1"
			}
			return s, ""
		}
	case batch.Int, batch.Long:
		return func(s scalar, _ []byte) (scalar, string) { return checkRange(to, s) }
	case batch.Float, batch.Double:
		return func(s scalar, _ []byte) (scalar, string) {
			s.f = float64(s.i)
			if to.Kind == batch.Float {
				s.f = float64(float32(s.i))
			}
			// 2^63 is a float and no int64: the conversion back would be undefined.
			if s.f >= 1<<63 || int64(s.f) != s.i {
				return s, "is not exactly representable as " + to.String()
			}
			return s, ""
		}
	case batch.Decimal:
		return func(s scalar, _ []byte) (scalar, string) {
			var ok bool
			if s.d, _, ok = from64(s.i).rescale(0, to.Scale); !ok {
				return s, "has too many digits for " + to.String()
			}
			return checkRange(to, s)
		}
	}
	return nil
}

func fromFloat(from, to *batch.Type) converter {
	size := 64
	if from.Kind == batch.Float {
		size = 32
	}
	switch to.Kind {
	case batch.Double:
		return same
	case batch.Float:
		return func(s scalar, _ []byte) (scalar, string) {
			f := float64(float32(s.f))
			if math.IsInf(f, 0) && !math.IsInf(s.f, 0) {
				return s, "is out of the range of float"
			}
			return scalar{f: f}, ""
		}
	case batch.Int, batch.Long:
		return func(s scalar, _ []byte) (scalar, string) {
			if s.f != math.Trunc(s.f) || s.f < -(1<<63) || s.f >= 1<<63 { // NaN differs from itself
				return s, "is not a whole number in the range of " + to.String()
			}
			return checkRange(to, scalar{i: int64(s.f)})
		}
	case batch.Decimal:
		return func(s scalar, buf []byte) (scalar, string) {
			if math.IsNaN(s.f) || math.IsInf(s.f, 0) {
				return s, "is not finite"
			}
			buf = strconv.AppendFloat(buf[:0], s.f, 'e', -1, size)
			var why string
			if s.d, why = parseDecimal(buf, to.Scale); why != "" {
				return s, why + " for " + to.String()
			}
			return checkRange(to, s)
		}
	}
	return nil
}

func fromDecimal(from, to *batch.Type) converter {
	switch to.Kind {
	case batch.Decimal, batch.Int, batch.Long:
		return func(s scalar, _ []byte) (scalar, string) {
			d, exact, ok := s.d.rescale(from.Scale, to.Scale)
			if !exact {
				return s, "has a fraction that does not fit into " + to.String()
			}
			var fits bool
			s.d = d
			if s.i, fits = d.int64(); !ok || !fits && to.Kind != batch.Decimal {
				return s, "is out of the range of " + to.String()
			}
			return checkRange(to, s)
		}
	case batch.Float, batch.Double:
		return func(s scalar, buf []byte) (scalar, string) {
			// 38 digits are in the range of both.
			return parseFloat(to, s.d.appendText(buf[:0], from.Scale))
		}
	}
	return nil
}

func fromTime(from, to *batch.Type) converter {
	if from.Kind == batch.Date {
		if to.Kind == batch.Timestamp || to.Kind == batch.TimestampTZ {
			return func(s scalar, _ []byte) (scalar, string) {
				if s.i > math.MaxInt64/dayMicros || s.i < math.MinInt64/dayMicros {
					return s, "is out of the range of " + to.String()
				}
				return scalar{i: s.i * dayMicros}, ""
			}
		}
		return nil
	}
	switch to.Kind {
	case batch.Timestamp, batch.TimestampTZ:
		return same
	case batch.Date:
		return func(s scalar, _ []byte) (scalar, string) { return scalar{i: floorDiv(s.i, dayMicros)}, "" }
	case batch.Time:
		return func(s scalar, _ []byte) (scalar, string) { return scalar{i: floorMod(s.i, dayMicros)}, "" }
	}
	return nil
}

func fromBytes(to *batch.Type) converter {
	switch to.Kind {
	case batch.Binary:
		return same
	case batch.UUID, batch.Fixed:
		n := to.Length
		if to.Kind == batch.UUID {
			n = 16
		}
		return func(s scalar, _ []byte) (scalar, string) {
			if len(s.b) != n {
				return s, fmt.Sprintf("has %d bytes, not %d", len(s.b), n)
			}
			return s, ""
		}
	}
	return nil
}

// castStep converts columns.
type castStep struct {
	casts  []castColumn
	toNull bool
}

type castColumn struct {
	path    *path
	scratch colScratch
	to      *batch.Type
	convert converter
	// keep: bytes stay where they are, only the type changes, maybe after a check.
	keep bool
}

func (c *compiler) cast(s *configs.CastStep) {
	to, err := batch.ParseType(s.To)
	if err != nil {
		c.problem("to", "use boolean, int, long, float, double, decimal(P,S), date, time, timestamp, timestamptz, string, uuid or binary", "%s", err)
	}
	op := &castStep{toNull: c.onError(s.OnError)}
	for _, p := range c.paths(s.Columns) {
		if to == nil || p.typ.Equal(to) {
			continue
		}
		col := castColumn{path: p, to: to, convert: newConverter(p.typ, to)}
		if col.convert == nil {
			c.problem(c.columnField(s.Columns, p), c.castHint(p, to), "column %s is a %s, which cannot be cast to %s", p.text, p.typ, to)
			continue
		}
		col.keep = bytesKept(p.typ.Kind, to.Kind)
		p.leaf.typ = to
		p.leaf.version++
		if op.toNull && canFail(p.typ, to) {
			p.leaf.required = false
		}
		op.casts = append(op.casts, col)
	}
	c.add(op)
}

func (c *compiler) castHint(p *path, to *batch.Type) string {
	whole := p.typ.Kind == batch.Int || p.typ.Kind == batch.Long
	if whole && (to.Kind == batch.Timestamp || to.Kind == batch.TimestampTZ || to.Kind == batch.Date) {
		return "use parse_timestamp with unix_s, unix_ms, unix_us or unix_ns"
	}
	return c.kindHint(p, "")
}

func bytesKept(from, to batch.Kind) bool {
	raw := func(k batch.Kind) bool { return k == batch.Binary || k == batch.Fixed }
	return from == batch.String && raw(to) || raw(from) && (to == batch.String || raw(to) || to == batch.UUID) || from == batch.UUID && raw(to)
}

// canFail says whether the cast can meet a value that does not fit.
func canFail(from, to *batch.Type) bool {
	switch from.Kind {
	case batch.Int:
		return to.Kind != batch.Long && to.Kind != batch.Double && to.Kind != batch.String
	case batch.Binary, batch.Fixed:
		return to.Kind != batch.Binary
	case batch.Float:
		return to.Kind != batch.Double && to.Kind != batch.String
	case batch.Decimal:
		return to.Kind != batch.String && to.Kind != batch.Double && to.Kind != batch.Float &&
			(to.Kind != batch.Decimal || to.Scale < from.Scale || to.Precision-to.Scale < from.Precision-from.Scale)
	case batch.String:
		return to.Kind != batch.Binary
	case batch.Date:
		return to.Kind != batch.String
	case batch.Boolean, batch.Time, batch.Timestamp, batch.TimestampTZ:
		return false
	case batch.UUID:
		return to.Kind != batch.String && to.Kind != batch.Binary
	}
	return to.Kind != batch.String // long, double
}

func (op *castStep) apply(r *run) error {
	for k := range op.casts {
		op.casts[k].apply(r, op.toNull)
	}
	return nil
}

func (cc *castColumn) apply(r *run, toNull bool) {
	col := r.column(cc.path, &cc.scratch)
	present := col.present(&cc.scratch)
	from := cc.path.typ
	if cc.keep && !canFail(from, cc.to) {
		return
	}
	out := col.Column
	if !cc.keep {
		out = newSlots(cc.to, col.Len, &cc.scratch.made)
		out.Valid = col.Valid
	}
	var failed []int
	for i := range col.Len {
		if present != nil && !present[i] {
			setZero(out, i)
			continue
		}
		if cc.keep && cc.to.Kind == batch.String {
			v := col.Views[i]
			if !utf8.Valid(r.b.Mem[v.Off : v.Off+v.Len]) {
				failed = cc.fail(&col, i, "is not UTF-8", toNull, failed)
			}
			continue
		}
		s, why := cc.convert(getScalar(from, col.Column, i, r.b.Mem), r.text[:])
		if why != "" {
			failed = cc.fail(&col, i, why, toNull, failed)
			continue
		}
		if !cc.keep {
			r.b.Mem = setScalar(cc.to, out, i, s, r.b.Mem)
		}
	}
	if !cc.keep {
		cc.scratch.made = *out
		col.replaceWith(out)
	}
	for _, i := range failed {
		setZero(out, i)
		if toNull {
			out.SetNull(i)
		}
	}
}

// fail rejects the row of slot i, while the old value is still there to be shown, and remembers the slot.
func (cc *castColumn) fail(col *column, i int, why string, toNull bool, failed []int) []int {
	if !toNull {
		col.reject(i, func() string { return col.value(i) + " " + why })
	}
	return append(failed, i)
}
