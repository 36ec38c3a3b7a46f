package routes

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
)

// appendJSON writes a slot of a column as JSON: decimals as strings with all digits, since readers make binary numbers of numbers;
// times in ISO 8601; bytes in base64; numbers that JSON does not have (NaN, infinity) as strings.
func appendJSON(out []byte, b *batch.Batch, c *batch.Column, i int) []byte {
	if c.IsNull(i) {
		return append(out, "null"...)
	}
	switch c.Type.Kind {
	case batch.Struct:
		out = append(out, '{')
		for n, f := range c.Type.Fields {
			if n > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, f.Name), ':')
			out = appendJSON(out, b, c.Children[n], i)
		}
		return append(out, '}')
	case batch.List:
		out = append(out, '[')
		for j := c.Starts[i]; j < c.Starts[i+1]; j++ {
			if j > c.Starts[i] {
				out = append(out, ',')
			}
			out = appendJSON(out, b, c.Children[0], int(j))
		}
		return append(out, ']')
	case batch.Map:
		out = append(out, '{')
		for j := c.Starts[i]; j < c.Starts[i+1]; j++ {
			if j > c.Starts[i] {
				out = append(out, ',')
			}
			out = append(appendString(out, string(appendText(nil, b, c.Children[0], int(j)))), ':')
			out = appendJSON(out, b, c.Children[1], int(j))
		}
		return append(out, '}')
	case batch.Boolean, batch.Int, batch.Long:
		return appendText(out, b, c, i)
	case batch.Float:
		if v := float64(c.Float32[i]); math.IsNaN(v) || math.IsInf(v, 0) {
			break
		}
		return appendText(out, b, c, i)
	case batch.Double:
		if v := c.Float64[i]; math.IsNaN(v) || math.IsInf(v, 0) {
			break
		}
		return appendText(out, b, c, i)
	case batch.String:
		return appendString(out, string(b.Bytes(c.Views[i])))
	}
	out = append(out, '"')
	return append(appendText(out, b, c, i), '"')
}

// appendText writes a value that is not null and not nested as plain text.
func appendText(out []byte, b *batch.Batch, c *batch.Column, i int) []byte {
	switch c.Type.Kind {
	case batch.Boolean:
		return strconv.AppendBool(out, c.Bools[i])
	case batch.Int:
		return strconv.AppendInt(out, int64(c.Int32[i]), 10)
	case batch.Long:
		return strconv.AppendInt(out, c.Int64[i], 10)
	case batch.Float:
		return strconv.AppendFloat(out, float64(c.Float32[i]), 'g', -1, 32)
	case batch.Double:
		return strconv.AppendFloat(out, c.Float64[i], 'g', -1, 64)
	case batch.Decimal:
		return appendDecimal(out, b, c, i)
	case batch.Date:
		return time.Unix(int64(c.Int32[i])*86400, 0).UTC().AppendFormat(out, "2006-01-02")
	case batch.Time:
		return time.UnixMicro(c.Int64[i]).UTC().AppendFormat(out, "15:04:05.999999")
	case batch.Timestamp:
		return time.UnixMicro(c.Int64[i]).UTC().AppendFormat(out, "2006-01-02T15:04:05.999999")
	case batch.TimestampTZ:
		return time.UnixMicro(c.Int64[i]).UTC().AppendFormat(out, "2006-01-02T15:04:05.999999Z")
	case batch.String:
		return append(out, b.Bytes(c.Views[i])...)
	case batch.UUID:
		return appendUUID(out, b.Bytes(c.Views[i]))
	}
	return base64.StdEncoding.AppendEncode(out, b.Bytes(c.Views[i]))
}

func appendUUID(out, id []byte) []byte {
	h := hex.EncodeToString(id)
	return append(out, h[:8]+"-"+h[8:12]+"-"+h[12:16]+"-"+h[16:20]+"-"+h[20:]...)
}

// unscaled is a decimal's number without its point.
func unscaled(b *batch.Batch, c *batch.Column, i int) *big.Int {
	if c.Type.Store() == batch.StoreInt64 {
		return big.NewInt(c.Int64[i])
	}
	raw := b.Bytes(c.Views[i])
	n := new(big.Int).SetBytes(raw)
	if int8(raw[0]) < 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	return n
}

func appendDecimal(out []byte, b *batch.Batch, c *batch.Column, i int) []byte {
	n := unscaled(b, c, i)
	if n.Sign() < 0 {
		out = append(out, '-')
		n.Neg(n)
	}
	digits, scale := n.String(), c.Type.Scale
	for len(digits) <= scale {
		digits = "0" + digits
	}
	out = append(out, digits[:len(digits)-scale]...)
	if scale > 0 {
		out = append(append(out, '.'), digits[len(digits)-scale:]...)
	}
	return out
}

const hexDigits = "0123456789abcdef"

// appendString writes text as a JSON string. What is no UTF-8 becomes the replacement character.
func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				out = append(out, '\\', c)
			case c == '\n':
				out = append(out, '\\', 'n')
			case c < 0x20 || c == 0x7f:
				out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				out = append(out, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			out = append(out, "\ufffd"...)
		} else {
			out = append(out, s[i:i+n]...)
		}
		i += n
	}
	return append(out, '"')
}

// appendObject writes columns of a row as a JSON object.
func appendObject(out []byte, b *batch.Batch, columns []int, i int) []byte {
	out = append(out, '{')
	for n, at := range columns {
		if n > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, b.Root.Type.Fields[at].Name), ':')
		out = appendJSON(out, b, b.Root.Children[at], i)
	}
	return append(out, '}')
}
