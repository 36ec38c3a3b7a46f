package sqlsink

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/batch"
)

// Layouts of times as text.
const (
	dateText      = "2006-01-02"
	timestampText = "2006-01-02 15:04:05.000000"
	isoText       = "2006-01-02T15:04:05.999999"
)

// orNull is v for slots that have a value.
func orNull(v value) value {
	return func(c *batch.Column, mem []byte, i int) any {
		if c.IsNull(i) {
			return nil
		}
		return v(c, mem, i)
	}
}

func bytesOf(c *batch.Column, mem []byte, i int) []byte {
	v := c.Views[i]
	return mem[v.Off : v.Off+v.Len : v.Off+v.Len]
}

func text(c *batch.Column, mem []byte, i int) string { return string(bytesOf(c, mem, i)) }

func day(c *batch.Column, i int) time.Time { return time.Unix(int64(c.Int32[i])*86400, 0).UTC() }

func instant(c *batch.Column, i int) time.Time { return time.UnixMicro(c.Int64[i]).UTC() }

func clock(us int64) string {
	return time.UnixMicro(us).UTC().Format("15:04:05.000000")
}

func uuidText(c *batch.Column, mem []byte, i int) string {
	return uuid.UUID(bytesOf(c, mem, i)).String()
}

// unscaled is the integer of a decimal.
func unscaled(c *batch.Column, mem []byte, i int) *big.Int {
	if c.Type.Precision <= batch.MaxInt64Precision {
		return big.NewInt(c.Int64[i])
	}
	b := bytesOf(c, mem, i)
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}

// decimal is a decimal as text, all digits of its scale.
func decimal(c *batch.Column, mem []byte, i int) string {
	n := unscaled(c, mem, i)
	digits := new(big.Int).Abs(n).String()
	if s := c.Type.Scale; s > 0 {
		if len(digits) <= s {
			digits = strings.Repeat("0", s-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-s] + "." + digits[len(digits)-s:]
	}
	if n.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// jsonText is a nested value as JSON. Numbers that JSON's readers would round (longs beyond 2^53 do not, where the reader is a database;
// decimals do) and those that it has not are text; bytes are base64.
func jsonText(c *batch.Column, mem []byte, i int) string {
	return string(appendJSON(nil, c, mem, i))
}

func appendJSON(b []byte, c *batch.Column, mem []byte, i int) []byte {
	if c.IsNull(i) {
		return append(b, "null"...)
	}
	switch c.Type.Kind {
	case batch.Struct:
		b = append(b, '{')
		for j, f := range c.Type.Fields {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, f.Name), ':')
			b = appendJSON(b, c.Children[j], mem, i)
		}
		return append(b, '}')
	case batch.List:
		b = append(b, '[')
		for j := c.Starts[i]; j < c.Starts[i+1]; j++ {
			if j > c.Starts[i] {
				b = append(b, ',')
			}
			b = appendJSON(b, c.Children[0], mem, int(j))
		}
		return append(b, ']')
	case batch.Map: // keys need not be text
		b = append(b, '[')
		for j := c.Starts[i]; j < c.Starts[i+1]; j++ {
			if j > c.Starts[i] {
				b = append(b, ',')
			}
			b = appendJSON(append(b, `{"key":`...), c.Children[0], mem, int(j))
			b = appendJSON(append(b, `,"value":`...), c.Children[1], mem, int(j))
			b = append(b, '}')
		}
		return append(b, ']')
	}
	return appendScalar(b, c, mem, i)
}

func appendScalar(b []byte, c *batch.Column, mem []byte, i int) []byte {
	float := func(f float64, bits int) []byte {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return appendText(b, strconv.FormatFloat(f, 'g', -1, bits))
		}
		return strconv.AppendFloat(b, f, 'g', -1, bits)
	}
	switch c.Type.Kind {
	case batch.Boolean:
		return strconv.AppendBool(b, c.Bools[i])
	case batch.Int:
		return strconv.AppendInt(b, int64(c.Int32[i]), 10)
	case batch.Long:
		return strconv.AppendInt(b, c.Int64[i], 10)
	case batch.Float:
		return float(float64(c.Float32[i]), 32)
	case batch.Double:
		return float(c.Float64[i], 64)
	case batch.Decimal:
		return appendText(b, decimal(c, mem, i))
	case batch.Date:
		return appendText(b, day(c, i).Format(dateText))
	case batch.Time:
		return appendText(b, clock(c.Int64[i]))
	case batch.Timestamp:
		return appendText(b, instant(c, i).Format(isoText))
	case batch.TimestampTZ:
		return appendText(b, instant(c, i).Format(isoText)+"Z")
	case batch.UUID:
		return appendText(b, uuidText(c, mem, i))
	case batch.String:
		return appendText(b, text(c, mem, i))
	}
	return appendText(b, base64.StdEncoding.EncodeToString(bytesOf(c, mem, i)))
}

// appendText quotes as encoding/json does; it replaces what is no UTF-8, which decoders let pass nowhere.
func appendText(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // cannot fail: it is a string
	return append(b, q...)
}

// asText is value for databases that are given times as text.
func asText(t *batch.Type) value {
	switch t.Kind {
	case batch.Boolean:
		return func(c *batch.Column, _ []byte, i int) any {
			if c.Bools[i] {
				return int64(1)
			}
			return int64(0)
		}
	case batch.Int:
		return func(c *batch.Column, _ []byte, i int) any { return int64(c.Int32[i]) }
	case batch.Long:
		return func(c *batch.Column, _ []byte, i int) any { return c.Int64[i] }
	case batch.Float:
		return func(c *batch.Column, _ []byte, i int) any { return float64(c.Float32[i]) }
	case batch.Double:
		return func(c *batch.Column, _ []byte, i int) any { return c.Float64[i] }
	case batch.Decimal:
		return func(c *batch.Column, mem []byte, i int) any { return decimal(c, mem, i) }
	case batch.Date:
		return func(c *batch.Column, _ []byte, i int) any { return day(c, i).Format(dateText) }
	case batch.Time:
		return func(c *batch.Column, _ []byte, i int) any { return clock(c.Int64[i]) }
	case batch.Timestamp, batch.TimestampTZ:
		return func(c *batch.Column, _ []byte, i int) any { return instant(c, i).Format(timestampText) }
	case batch.String:
		return func(c *batch.Column, mem []byte, i int) any { return text(c, mem, i) }
	case batch.UUID:
		return func(c *batch.Column, mem []byte, i int) any { return uuidText(c, mem, i) }
	case batch.Struct, batch.List, batch.Map:
		return func(c *batch.Column, mem []byte, i int) any { return jsonText(c, mem, i) }
	}
	return func(c *batch.Column, mem []byte, i int) any { return append([]byte{}, bytesOf(c, mem, i)...) }
}
