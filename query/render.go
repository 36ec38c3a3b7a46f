package query

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// WriteJSON writes one JSON object a row, a line each. Decimals are text, so that nothing is rounded; so are NaN and
// infinities, which JSON has not. Columns of the same name get a number.
func (r *Result) WriteJSON(w io.Writer) error {
	shapes, row := r.shapes(), object{keys: distinct(r.Columns), vals: make([]any, len(r.Columns))}
	for _, vals := range r.Rows {
		for i := range vals {
			row.vals[i] = plain(vals[i], shapes[i])
		}
		text, err := row.MarshalJSON()
		if err != nil {
			return err
		}
		if _, err := w.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return nil
}

func (r *Result) shapes() []shape {
	out := make([]shape, len(r.Types))
	for i, t := range r.Types {
		out[i] = shapeOf(t)
	}
	return out
}

// distinct numbers names that are there already.
func distinct(names []string) []string {
	seen := map[string]bool{}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n
		for k := 2; seen[out[i]]; k++ {
			out[i] = fmt.Sprintf("%s_%d", n, k)
		}
		seen[out[i]] = true
	}
	return out
}

// WriteCSV writes a header and the rows.
func (r *Result) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write(r.Columns); err != nil {
		return err
	}
	shapes := r.shapes()
	for _, row := range r.Rows {
		cells, err := text(row, shapes, "")
		if err == nil {
			err = c.Write(cells)
		}
		if err != nil {
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
	shapes, heads := r.shapes(), make([]string, len(r.Columns))
	for i, c := range r.Columns {
		heads[i] = printable(c)
		width[i] = utf8.RuneCountInString(heads[i])
	}
	for _, row := range r.Rows {
		line, err := text(row, shapes, "NULL")
		if err != nil {
			return err
		}
		for i, s := range line {
			line[i] = printable(s)
			width[i] = max(width[i], utf8.RuneCountInString(line[i]))
		}
		lines = append(lines, line)
	}
	var b strings.Builder
	put := func(cells []string) {
		for i, s := range cells {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			switch {
			case numeric(r.Types[i]):
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
	rules := make([]string, len(width))
	for i, n := range width {
		rules[i] = strings.Repeat("-", n)
	}
	for _, l := range append([][]string{heads, rules}, lines...) {
		put(l)
	}
	fmt.Fprintf(&b, "(%d rows)\n", len(r.Rows))
	_, err := io.WriteString(w, b.String())
	return err
}

func numeric(t string) bool {
	return strings.HasSuffix(t, "INT") || strings.HasSuffix(t, "INTEGER") || strings.HasPrefix(t, "DECIMAL") && !strings.HasSuffix(t, "]") || t == "DOUBLE" || t == "FLOAT"
}

// text gives the cells of a row.
func text(row []any, shapes []shape, null string) ([]string, error) {
	out := make([]string, len(row))
	for i, v := range row {
		switch p := plain(v, shapes[i]).(type) {
		case nil:
			out[i] = null
		case string:
			out[i] = p
		case object, map[string]any, []any:
			b, err := marshal(p)
			if err != nil {
				return nil, err
			}
			out[i] = string(b)
		default:
			out[i] = fmt.Sprint(p)
		}
	}
	return out, nil
}

// printable keeps a cell on its line, and what a terminal would take for a command from reaching it.
func printable(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if unicode.IsControl(c) {
			b.WriteString(strings.Trim(strconv.QuoteRune(c), "'"))
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}
