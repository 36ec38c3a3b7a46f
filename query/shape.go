package query

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// shape is a DuckDB type as its name tells it: values within lists, structs and maps come without one.
type shape struct {
	base   string   // TIMESTAMP, DECIMAL(5,2), LIST, STRUCT, MAP ...
	names  []string // a struct's
	fields []shape  // a struct's; a list's element; a map's key and value
}

// shapeOf reads a type's name. What it cannot read is taken for a type without members.
func shapeOf(typ string) shape {
	p := &shapeParser{text: typ}
	s := p.shape()
	if p.bad || p.text != "" {
		return shape{base: typ}
	}
	return s
}

type shapeParser struct {
	text string
	bad  bool
}

func (p *shapeParser) take(prefix string) bool {
	rest, ok := strings.CutPrefix(p.text, prefix)
	if ok {
		p.text = rest
	}
	return ok
}

func (p *shapeParser) want(prefix string) {
	p.bad = p.bad || !p.take(prefix)
}

func (p *shapeParser) shape() (s shape) {
	switch {
	case p.take("STRUCT("):
		s.base = "STRUCT"
		for more := true; more && !p.bad; more = p.take(", ") {
			s.names = append(s.names, p.quoted())
			p.want(" ")
			s.fields = append(s.fields, p.shape())
		}
		p.want(")")
	case p.take("MAP("):
		s.base = "MAP"
		s.fields = append(s.fields, p.shape())
		p.want(", ")
		s.fields = append(s.fields, p.shape())
		p.want(")")
	default:
		s.base = p.word()
	}
	for p.take("[") {
		if i := strings.IndexByte(p.text, ']'); i >= 0 { // a fixed length may stand there
			p.text = p.text[i+1:]
		} else {
			p.bad = true
		}
		s = shape{base: "LIST", fields: []shape{s}}
	}
	return s
}

func (p *shapeParser) quoted() string {
	if !p.take(`"`) {
		return p.word()
	}
	var b strings.Builder
	for !p.bad {
		part, rest, ok := strings.Cut(p.text, `"`)
		b.WriteString(part)
		p.text, p.bad = rest, !ok
		if !p.take(`"`) {
			break
		}
		b.WriteByte('"')
	}
	return b.String()
}

// word is a type's name with its parameters: up to a comma, a closing or an opening bracket, or (a field's name) a space.
func (p *shapeParser) word() string {
	end := strings.IndexAny(p.text, ",)[ (")
	switch {
	case end < 0:
		end = len(p.text)
	case p.text[end] == '(':
		n := strings.IndexByte(p.text[end:], ')')
		if n < 0 {
			p.bad = true
			return ""
		}
		end += n + 1
	}
	w := p.text[:end]
	p.text = p.text[end:]
	p.bad = p.bad || w == ""
	return w
}

// member gives the shape of a field, none if it is not known.
func (s shape) member(i int) shape {
	if i < len(s.fields) {
		return s.fields[i]
	}
	return shape{}
}

// object is a struct or map with its members in order.
type object struct {
	keys []string
	vals []any
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(k)
		if err != nil {
			return nil, err
		}
		val, err := marshal(o.vals[i])
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(val)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// marshal is json.Marshal that leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// plain turns a driver's value into one that JSON has, without loss.
func plain(v any, s shape) any {
	switch x := v.(type) {
	case duckdb.Decimal:
		return decimal(x)
	case float32:
		return finite(float64(x), v)
	case float64:
		return finite(x, v)
	case []byte:
		if s.base == "UUID" && len(x) == 16 {
			return fmt.Sprintf("%x-%x-%x-%x-%x", x[:4], x[4:6], x[6:8], x[8:10], x[10:])
		}
		return base64.StdEncoding.EncodeToString(x)
	case time.Time:
		return timeText(x, s.base)
	case duckdb.Interval:
		return fmt.Sprintf("%d months %d days %v", x.Months, x.Days, time.Duration(x.Micros)*time.Microsecond)
	case duckdb.Union:
		return plain(x.Value, shape{})
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = plain(x[i], s.member(0))
		}
		return out
	case duckdb.OrderedMap:
		var o object
		for i, k := range x.Keys() {
			o.keys = append(o.keys, fmt.Sprint(plain(k, s.member(0))))
			o.vals = append(o.vals, plain(x.Values()[i], s.member(1)))
		}
		return o
	case map[string]any:
		return structure(x, s)
	}
	return v
}

// structure is a struct in the order of its type, or JSON that DuckDB has parsed.
func structure(x map[string]any, s shape) any {
	if s.base != "STRUCT" {
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = plain(e, shape{})
		}
		return out
	}
	var o object
	for i, name := range s.names {
		o.keys = append(o.keys, name)
		o.vals = append(o.vals, plain(x[name], s.member(i)))
	}
	return o
}

// decimal has all digits of the scale.
func decimal(d duckdb.Decimal) string {
	text := d.Value.String()
	if d.Scale == 0 {
		return text
	}
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	if pad := int(d.Scale) + 1 - len(text); pad > 0 {
		text = strings.Repeat("0", pad) + text
	}
	at := len(text) - int(d.Scale)
	return sign + text[:at] + "." + text[at:]
}

// finite: JSON has no NaN and no infinities.
func finite(f float64, v any) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return v
}

func timeText(t time.Time, base string) string {
	switch base {
	case "DATE":
		return t.Format("2006-01-02")
	case "TIME", "TIME_NS":
		return t.Format("15:04:05.999999999")
	case "TIMETZ":
		return t.Format("15:04:05.999999Z07:00")
	case "TIMESTAMPTZ":
		return t.UTC().Format("2006-01-02T15:04:05.999999Z")
	}
	return t.Format("2006-01-02T15:04:05.999999999") // TIMESTAMP in its precisions
}
