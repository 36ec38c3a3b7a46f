package obs

import (
	"strings"
	"unicode/utf8"
)

// column of a text table. rank 0 is always there; of the others the highest rank is left out first.
type column struct {
	title string
	right bool
	rank  int
}

type table struct {
	columns []column
	rows    [][]string
	notes   [][]string // lines under a row
}

const (
	gap      = 2 // spaces between columns
	leastLen = 8 // what text is shortened to at most
)

func (t *table) add(row, notes []string) {
	for i := range row {
		row[i] = printable(row[i])
	}
	for i := range notes {
		notes[i] = printable(notes[i])
	}
	t.rows = append(t.rows, row)
	t.notes = append(t.notes, notes)
}

// printable keeps what comes from elsewhere, such as error messages, from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// write appends an empty line and the table, if it has rows.
func (t *table) write(b *strings.Builder, width int) {
	if len(t.rows) == 0 {
		return
	}
	widths := t.widths()
	shown := t.fit(widths, width)
	line := func(cells func(i int) string) {
		text := ""
		for n, i := range shown {
			cell := shorten(cells(i), widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.columns[i].right {
				cell = pad + cell
			} else {
				cell += pad
			}
			if n > 0 {
				text += strings.Repeat(" ", gap)
			}
			text += cell
		}
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	b.WriteByte('\n')
	line(func(i int) string { return t.columns[i].title })
	for n, row := range t.rows {
		line(func(i int) string { return row[i] })
		for _, note := range t.notes[n] {
			b.WriteString("  " + note + "\n")
		}
	}
}

func (t *table) widths() []int {
	out := make([]int, len(t.columns))
	for i, c := range t.columns {
		out[i] = len(c.title)
		for _, row := range t.rows {
			out[i] = max(out[i], utf8.RuneCountInString(row[i]))
		}
	}
	return out
}

// fit chooses the columns that there is room for, and narrows those of text if even they are too wide.
func (t *table) fit(widths []int, width int) []int {
	least := 0
	for _, c := range t.columns {
		least = max(least, c.rank)
	}
	for {
		var shown []int
		total := -gap
		for i, c := range t.columns {
			if c.rank <= least {
				shown = append(shown, i)
				total += widths[i] + gap
			}
		}
		if width <= 0 || total <= width {
			return shown
		}
		if least == 0 {
			for over := total - width; over > 0; over-- {
				if !t.narrow(widths, shown) {
					break
				}
			}
			return shown
		}
		least--
	}
}

// narrow takes one character from the widest column of text.
func (t *table) narrow(widths, shown []int) bool {
	widest := -1
	for _, i := range shown {
		if !t.columns[i].right && widths[i] > leastLen && (widest < 0 || widths[i] > widths[widest]) {
			widest = i
		}
	}
	if widest < 0 {
		return false
	}
	widths[widest]--
	return true
}

func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-3]) + "..."
}
