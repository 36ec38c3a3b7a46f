package engines

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
)

// ValueError says that a value of a result does not fit its column.
type ValueError struct {
	Column aggregate.Column
	Why    string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("column %s, of type %v: %s", e.Column.Name, e.Column.Type, e.Why)
}

// Row converts the values that an engine gave, in place. They are nil, bool, int64, float64, string, []byte or time.Time;
// numbers, times and UUIDs may also be text.
func Row(row []any, columns []aggregate.Column) error {
	if len(row) != len(columns) {
		return fmt.Errorf("the result has %d columns instead of %d: check the names and the number of what is selected", len(row), len(columns))
	}
	for i, c := range columns {
		v, why := value(row[i], c.Type)
		if why != "" {
			return &ValueError{c, why}
		}
		row[i] = v
	}
	return nil
}

// value converts one; why is not empty where that is impossible.
func value(v any, t *batch.Type) (out any, why string) {
	if v == nil {
		return nil, ""
	}
	switch t.Kind {
	case batch.Boolean:
		return boolean(v)
	case batch.Int:
		return integer(v, math.MinInt32, math.MaxInt32)
	case batch.Long:
		return integer(v, math.MinInt64, math.MaxInt64)
	case batch.Float, batch.Double:
		return float(v)
	case batch.Decimal:
		return decimal(v, t)
	case batch.Date, batch.Timestamp, batch.TimestampTZ:
		return moment(v, t.Kind)
	case batch.String:
		if s, ok := v.(string); ok {
			return s, ""
		}
	case batch.UUID:
		return uuid(v)
	case batch.Fixed, batch.Binary:
		b, ok := v.([]byte)
		if ok && t.Kind == batch.Fixed && len(b) != t.Length {
			return nil, fmt.Sprintf("it has %d bytes", len(b))
		}
		if ok {
			return b, ""
		}
	}
	return unlike(v)
}

func unlike(v any) (any, string) {
	return nil, fmt.Sprintf("the engine gives a %T, %.60v: cast it in the SQL", v, v)
}

func boolean(v any) (any, string) {
	switch v := v.(type) {
	case bool:
		return v, ""
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b, ""
		}
	}
	return unlike(v)
}

// exact gives a number as a fraction; whole says whether it is one without decimals.
func exact(v any) (n *big.Rat, ok bool) {
	switch v := v.(type) {
	case int64:
		return new(big.Rat).SetInt64(v), true
	case float64:
		n = new(big.Rat).SetFloat64(v)
		return n, n != nil
	case string:
		if len(v) > 400 || strings.ContainsAny(v, "/xXpP_") { // SetString knows more than numbers
			return nil, false
		}
		if i := strings.IndexAny(v, "eE"); i >= 0 {
			if e, err := strconv.Atoi(v[i+1:]); err != nil || e > 400 || e < -400 { // it would be written out
				return nil, false
			}
		}
		return new(big.Rat).SetString(v)
	}
	return nil, false
}

func integer(v any, least, most int64) (any, string) {
	if n, ok := v.(int64); ok && n >= least && n <= most {
		return n, ""
	}
	r, ok := exact(v)
	if !ok {
		return unlike(v)
	}
	if !r.IsInt() {
		return nil, fmt.Sprintf("%v has decimals: cast it in the SQL", v)
	}
	if n := r.Num(); n.IsInt64() && n.Int64() >= least && n.Int64() <= most {
		return n.Int64(), ""
	}
	return nil, fmt.Sprintf("%v is beyond the type: cast it to a decimal in the SQL", v)
}

func float(v any) (any, string) {
	switch v := v.(type) {
	case float64:
		return v, ""
	case int64:
		return float64(v), ""
	case string:
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			return f, ""
		}
	}
	return unlike(v)
}

var ten = big.NewInt(10)

// decimal gives the unscaled value. Digits that the column has no place for must be zeros.
func decimal(v any, t *batch.Type) (any, string) {
	r, ok := exact(v)
	if _, binary := v.(float64); !ok || binary {
		return unlike(v)
	}
	r = new(big.Rat).Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(ten, big.NewInt(int64(t.Scale)), nil)))
	if !r.IsInt() {
		return nil, fmt.Sprintf("%v has more than %d decimals: cast or round it in the SQL", v, t.Scale)
	}
	if n := r.Num(); n.CmpAbs(new(big.Int).Exp(ten, big.NewInt(int64(t.Precision)), nil)) < 0 {
		return new(big.Int).Set(n), ""
	}
	return nil, fmt.Sprintf("%v has more than %d digits", v, t.Precision)
}

// layouts are how engines write points in time, after what follows them was cut off: a zone is UTC.
var layouts = []string{"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02"}

func moment(v any, kind batch.Kind) (any, string) {
	var at time.Time
	switch v := v.(type) {
	case time.Time:
		at = v.UTC()
	case string:
		text := strings.TrimSuffix(strings.TrimSuffix(v, " UTC"), "Z")
		parsed := false
		for _, l := range layouts {
			t, err := time.Parse(l, text)
			if err == nil {
				at, parsed = t, true
				break
			}
		}
		if !parsed {
			return unlike(v)
		}
	default:
		return unlike(v)
	}
	if at.Nanosecond()%1000 != 0 {
		return nil, fmt.Sprintf("%v has more than microseconds: cast it in the SQL", v)
	}
	if h, m, s := at.Clock(); kind == batch.Date && (h != 0 || m != 0 || s != 0 || at.Nanosecond() != 0) {
		return nil, fmt.Sprintf("%v is no date: cast it in the SQL", v)
	}
	return at, ""
}

func uuid(v any) (any, string) {
	switch v := v.(type) {
	case []byte:
		if len(v) == 16 {
			return v, ""
		}
	case string:
		b, err := hex.DecodeString(strings.ReplaceAll(v, "-", ""))
		if err == nil && len(b) == 16 {
			return b, ""
		}
	}
	return unlike(v)
}
