package query

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/duckdb/duckdb-go/v2"
)

// WriteJSON writes one JSON object a row, a line each. Decimals are text, so that nothing is rounded.
func (r *Result) WriteJSON(w io.Writer) error {
	for _, row := range r.Rows {
		var b strings.Builder
		for i, c := range r.Columns {
			name, err := json.Marshal(c)
			if err != nil {
				return err
			}
			val, err := json.Marshal(plain(row[i], r.Types[i]))
			if err != nil {
				return fmt.Errorf("column %s: %w", c, err)
			}
			fmt.Fprintf(&b, "%c%s:%s", "{,"[min(i, 1)], name, val)
		}
		if _, err := fmt.Fprintln(w, b.String()+"}"); err != nil {
			return err
		}
	}
	return nil
}

// WriteCSV writes a header and the rows.
func (r *Result) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write(r.Columns); err != nil {
		return err
	}
	for _, row := range r.Rows {
		if err := c.Write(r.text(row, "")); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// WriteTable writes aligned columns for people, numbers to the right.
func (r *Result) WriteTable(w io.Writer) error {
	width := make([]int, len(r.Columns))
	lines := make([][]string, 0, len(r.Rows))
	for i, c := range r.Columns {
		width[i] = utf8.RuneCountInString(c)
	}
	for _, row := range r.Rows {
		line := r.text(row, "NULL")
		for i, s := range line {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
		lines = append(lines, line)
	}
	var b strings.Builder
	put := func(cells []string, right bool) {
		for i, s := range cells {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			switch {
			case right && numeric(r.Types[i]):
				b.WriteString(pad + s)
			case i == len(cells)-1:
				b.WriteString(s)
			default:
				b.WriteString(s + pad)
			}
			if i < len(cells)-1 {
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
	}
	put(r.Columns, true)
	for _, n := range width {
		b.WriteString(strings.Repeat("-", n) + "  ")
	}
	b.WriteByte('\n')
	for _, l := range lines {
		put(l, true)
	}
	fmt.Fprintf(&b, "(%d rows)\n", len(r.Rows))
	_, err := io.WriteString(w, b.String())
	return err
}

func numeric(t string) bool {
	return strings.HasSuffix(t, "INT") || strings.HasSuffix(t, "INTEGER") || strings.HasPrefix(t, "DECIMAL") || t == "DOUBLE" || t == "FLOAT"
}

func (r *Result) text(row []any, null string) []string {
	out := make([]string, len(row))
	for i, v := range row {
		switch p := plain(v, r.Types[i]).(type) {
		case nil:
			out[i] = null
		case string:
			out[i] = p
		case map[string]any, []any:
			b, err := json.Marshal(p)
			if err != nil {
				b = []byte(fmt.Sprint(p))
			}
			out[i] = string(b)
		default:
			out[i] = fmt.Sprint(p)
		}
	}
	return out
}

// plain turns a driver's value into one that JSON has, without loss.
func plain(v any, typ string) any {
	switch x := v.(type) {
	case duckdb.Decimal:
		return x.String()
	case []byte:
		if typ == "UUID" && len(x) == 16 {
			return fmt.Sprintf("%x-%x-%x-%x-%x", x[:4], x[4:6], x[6:8], x[8:10], x[10:])
		}
		return base64.StdEncoding.EncodeToString(x)
	case time.Time:
		switch typ {
		case "DATE":
			return x.Format("2006-01-02")
		case "TIME":
			return x.Format("15:04:05.999999")
		case "TIMESTAMP":
			return x.Format("2006-01-02T15:04:05.999999")
		}
		return x.UTC().Format("2006-01-02T15:04:05.999999Z")
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = plain(x[i], "")
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = plain(e, "")
		}
		return out
	case duckdb.Map:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[fmt.Sprint(plain(k, ""))] = plain(e, "")
		}
		return out
	}
	return v
}
