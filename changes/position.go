package changes

import (
	"strconv"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// positions makes the position of each change from what the source tells, as text that sorts bytewise. Changes of one key are in the
// order of the database's log, since a row is locked until the transaction ends that has changed it. Those that have the same position are
// in the order of their offsets: Debezium gives all changes of a transaction of MariaDB the position where it began, and their number
// (row) begins anew with each statement, so that it orders nothing.
type positions struct {
	found bool
	cols  [fieldCount]place
}

// place of a column in a record: a field of the struct at parent, or of the record itself.
type place struct {
	there      bool
	parent, at int
	kind       batch.Kind
}

const (
	fieldLSN       = iota // PostgreSQL: a number
	fieldFile             // MySQL, MariaDB: the binary log and its position
	fieldPos              //
	fieldCommitLSN        // SQL Server: text in hexadecimal
	fieldChangeLSN        //
	fieldSerial           //
	fieldSCN              // Oracle: text of digits
	fieldTime             // any: milliseconds
	fieldCount
)

var fieldNames = [fieldCount]string{"lsn", "file", "pos", "commit_lsn", "change_lsn", "event_serial_no", "scn", "ts_ms"}

// find looks for the fields of a position. The first place where one is counts.
func (p *positions) find(cfg configs.Changes, t *batch.Type, parent int, prefix string) {
	if cfg.Position == "offset" {
		return
	}
	for f, name := range fieldNames {
		i := t.Index(prefix + name)
		if i < 0 || p.cols[f].there {
			continue
		}
		k := t.Fields[i].Type.Kind
		if whole := k == batch.Int || k == batch.Long; whole || k == batch.String && f != fieldPos && f != fieldTime && f != fieldSerial && f != fieldLSN {
			p.cols[f], p.found = place{true, parent, i, k}, true
		}
	}
}

// column of a record; nil: there is none.
func (p place) column(root *batch.Column) *batch.Column {
	switch {
	case !p.there:
		return nil
	case p.parent >= 0:
		return root.Children[p.parent].Children[p.at]
	}
	return root.Children[p.at]
}

// source reads the fields of a batch.
type source struct {
	b     *batch.Batch
	cols  [fieldCount]*batch.Column
	under [fieldCount]*batch.Column // the struct around a column
}

func (p *positions) of(b *batch.Batch) *source {
	s := &source{b: b}
	for f, c := range p.cols {
		if s.cols[f] = c.column(b.Root); c.there && c.parent >= 0 {
			s.under[f] = b.Root.Children[c.parent]
		}
	}
	return s
}

func (s *source) has(field, row int) bool {
	c := s.cols[field]
	return c != nil && !c.IsNull(row) && (s.under[field] == nil || !s.under[field].IsNull(row))
}

func (s *source) number(field, row int) uint64 {
	c := s.cols[field]
	if c.Type.Kind == batch.Int {
		return uint64(uint32(c.Int32[row]))
	}
	return uint64(c.Int64[row])
}

func (s *source) text(field, row int) []byte { return s.b.Bytes(s.cols[field].Views[row]) }

// append appends the position of a row; false: the record has none.
func (s *source) append(to []byte, row int) ([]byte, bool) {
	isText := func(f int) bool {
		return s.has(f, row) && s.cols[f].Type.Kind == batch.String && len(s.text(f, row)) > 0
	}
	switch {
	case s.has(fieldLSN, row):
		return hex16(to, s.number(fieldLSN, row)), true
	case isText(fieldFile) && s.has(fieldPos, row):
		// mysql-bin.999999 is followed by mysql-bin.1000000
		to = digits(to, trailingDigits(s.text(fieldFile, row)), 12)
		return hex16(append(to, ':'), s.number(fieldPos, row)), true
	case isText(fieldCommitLSN):
		to = append(to, s.text(fieldCommitLSN, row)...)
		if isText(fieldChangeLSN) {
			to = append(append(to, '/'), s.text(fieldChangeLSN, row)...)
		}
		if s.has(fieldSerial, row) {
			to = hex16(append(to, '/'), s.number(fieldSerial, row))
		}
		return to, true
	case isText(fieldSCN):
		return digits(to, s.text(fieldSCN, row), 40), true
	case s.has(fieldTime, row):
		return hex16(to, s.number(fieldTime, row)), true
	}
	return to, false
}

// hex16 appends sixteen hexadecimal digits.
func hex16(to []byte, v uint64) []byte {
	const hex = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		to = append(to, hex[v>>shift&15])
	}
	return to
}

// digits appends text with zeros in front.
func digits(to, text []byte, width int) []byte {
	for n := len(text); n < width; n++ {
		to = append(to, '0')
	}
	return append(to, text...)
}

func trailingDigits(b []byte) []byte {
	i := len(b)
	for i > 0 && b[i-1]-'0' <= 9 {
		i--
	}
	return b[i:]
}

// timeColumn is a column with the time of a change, and how many of its units a microsecond has, or microseconds its unit.
type timeColumn struct {
	place
	times, divide int64
}

// findTimes looks for times, the most exact first.
func (u *Unwrapper) findTimes(t *batch.Type, parent int, prefix string) {
	for _, c := range []struct {
		name          string
		times, divide int64
	}{{"ts_us", 1, 1}, {"ts_ns", 1, 1000}, {"ts_ms", 1000, 1}} {
		if i := t.Index(prefix + c.name); i >= 0 && t.Fields[i].Type.Kind == batch.Long {
			u.times = append(u.times, timeColumn{place{true, parent, i, batch.Long}, c.times, c.divide})
		}
	}
}

// offsetPosition is the position where the source has none.
func offsetPosition(to []byte, offset int64) []byte { return hex16(to, uint64(offset)) }

func quote(b []byte) string { return strconv.Quote(string(b[:min(len(b), 40)])) }
