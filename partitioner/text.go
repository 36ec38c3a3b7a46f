package partitioner

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// intText is the value of a path segment, as Iceberg's Java library prints it.
func (f *field) intText(v int64) string {
	switch f.transform {
	case "year":
		return fmt.Sprintf("%04d", 1970+v)
	case "month":
		return fmt.Sprintf("%04d-%02d", 1970+floorDiv(v, 12), v-12*floorDiv(v, 12)+1)
	case "day":
		return dayText(v)
	case "hour":
		d := floorDiv(v, 24)
		return fmt.Sprintf("%s-%02d", dayText(d), v-24*d)
	case "bucket":
		return strconv.FormatInt(v, 10)
	}
	switch f.typ.Kind {
	case batch.Boolean:
		return strconv.FormatBool(v != 0)
	case batch.Date:
		return dayText(v)
	case batch.Time:
		return clockText(v)
	case batch.Timestamp, batch.TimestampTZ:
		d := floorDiv(v, microsPerDay)
		t := isoDay(d) + "T" + clockText(v-d*microsPerDay)
		if f.typ.Kind == batch.TimestampTZ {
			t += "Z"
		}
		return t
	case batch.Decimal:
		return decimalText(big.NewInt(v), f.typ.Scale)
	}
	return strconv.FormatInt(v, 10)
}

func (f *field) bytesText(b []byte) string {
	switch f.typ.Kind {
	case batch.String:
		return string(b)
	case batch.Decimal:
		return decimalText(bigOf(b), f.typ.Scale)
	case batch.UUID:
		h := hex.EncodeToString(b)
		if len(h) == 32 {
			h = h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
		}
		return h
	}
	return base64.StdEncoding.EncodeToString(b)
}

func dayText(day int64) string {
	t := time.Unix(day*86400, 0).UTC()
	return fmt.Sprintf("%04d-%02d-%02d", t.Year(), t.Month(), t.Day())
}

// isoDay is dayText with the sign that ISO 8601 asks for from the year 10000 on.
func isoDay(day int64) string {
	s := dayText(day)
	if len(s) > len("2006-01-02") && s[0] != '-' {
		s = "+" + s
	}
	return s
}

// clockText prints as much of a time of day as is not zero: 10:15, 10:15:30, 10:15:30.500, 10:15:30.000250.
func clockText(micros int64) string {
	s := fmt.Sprintf("%02d:%02d", micros/microsPerHour, micros/60e6%60)
	if rest := micros % 60e6; rest != 0 {
		s += fmt.Sprintf(":%02d", rest/1e6)
		switch frac := rest % 1e6; {
		case frac == 0:
		case frac%1000 == 0:
			s += fmt.Sprintf(".%03d", frac/1000)
		default:
			s += fmt.Sprintf(".%06d", frac)
		}
	}
	return s
}

// decimalText prints as java.math.BigDecimal does, with an exponent for very small numbers.
func decimalText(v *big.Int, scale int) string {
	sign, digits := "", new(big.Int).Abs(v).String()
	if v.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + digits
	}
	if exp := len(digits) - 1 - scale; exp < -6 {
		if len(digits) > 1 {
			digits = digits[:1] + "." + digits[1:]
		}
		return fmt.Sprintf("%s%sE%d", sign, digits, exp)
	}
	if pad := scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	at := len(digits) - scale
	return sign + digits[:at] + "." + digits[at:]
}

// maxSegment keeps folder names below the 255 bytes that file systems allow. A longer one is cut and ends in a hash;
// Iceberg takes values from the metadata, never from the path.
const maxSegment = 240

func segment(name, value string) string {
	s := escape(name) + "=" + escape(value)
	if len(s) > maxSegment {
		h := fnv.New64a()
		h.Write([]byte(s)) // never fails
		s = fmt.Sprintf("%s-%016x", strings.TrimRight(s[:maxSegment-20], "%"), h.Sum64())
	}
	return s
}

// escape is java.net.URLEncoder's form encoding, which Iceberg uses for paths.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '*', c == '_':
			b.WriteByte(c)
		case c == ' ':
			b.WriteByte('+')
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
