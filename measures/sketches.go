package measures

import (
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// The engines make the sketches: they hash or bucket each value and group by the result, and then write a group's registers
// or buckets into one text, so that few rows leave the engine. All dialects give the same numbers.

// words are what each dialect writes differently here.
type words struct {
	bits   string // the upper bits, from 49 on, of h
	rank   string // zeros at the end of the lower 32 bits of h
	joined string // all values of a column in one text with commas; %s is the value
}

const low32 = "((h & 4294967295) | 2147483648)"

func (d Dialect) words() words {
	switch d {
	case Trino:
		low := "bitwise_or(bitwise_and(h, 4294967295), 2147483648)"
		return words{
			bits:   "bitwise_right_shift(h, 49)",
			rank:   "bit_count(bitwise_xor(" + low + ", " + low + " - 1), 64) - 1",
			joined: "array_join(array_agg(%s), ',')",
		}
	case Spark:
		return words{
			bits:   "shiftright(h, 49)",
			rank:   "bit_count(" + low32 + " ^ (" + low32 + " - 1)) - 1",
			joined: "array_join(collect_list(%s), ',')",
		}
	}
	return words{
		bits:   "(h >> 49)",
		rank:   "bit_count(xor(" + low32 + ", " + low32 + " - 1)) - 1",
		joined: "string_agg(%s, ',')",
	}
}

// hashed is the 60 bits of a row's values, null where one is null.
func (p *Plan) hashed(d Dialect, o *out) string {
	var h string
	if p.hash(d) == hashDuckDB {
		parts := make([]string, len(o.args))
		for i, a := range o.args {
			parts[i] = d.as(a, wide(a.typ))
		}
		h = "CAST(hash(" + strings.Join(parts, ", ") + ") >> 4 AS BIGINT)"
	} else {
		h = d.md5(o.args)
	}
	var nulls []string
	for _, a := range o.args {
		nulls = append(nulls, d.render(a)+" IS NOT NULL")
	}
	return "CASE WHEN " + strings.Join(nulls, " AND ") + " THEN " + h + " END"
}

func (p *Plan) hash(d Dialect) hash {
	if d == DuckDB && !p.portable {
		return hashDuckDB
	}
	return hashMD5
}

// wide is the type that a value is hashed as, so that a column that was widened has the hashes that it had.
func wide(t *batch.Type) *batch.Type {
	switch t.Kind {
	case batch.Int:
		return batch.Prim(batch.Long)
	case batch.Decimal:
		return batch.DecimalOf(38, t.Scale)
	}
	return t
}

// md5 of the values' texts; of several values each has its length before it, so that no two rows run together alike.
func (d Dialect) md5(args []*expr) string {
	text := batch.Prim(batch.String)
	whole := d.as(args[0], text)
	if len(args) > 1 {
		var parts []string
		for _, a := range args {
			t := d.as(a, text)
			parts = append(parts, "CAST(length("+t+") AS "+d.typeName(text)+") || ':' || "+t)
		}
		whole = strings.Join(parts, " || ")
	}
	switch d {
	case Trino:
		return "bitwise_right_shift(from_big_endian_64(substr(md5(to_utf8(" + whole + ")), 1, 8)), 4)"
	case Spark:
		return "CAST(conv(substr(md5(CAST(" + whole + " AS BINARY)), 1, 15), 16, 10) AS BIGINT)"
	}
	return "CAST('0x' || substr(md5(" + whole + "), 1, 15) AS BIGINT)"
}

// distinct asks for register*32 + rank-1 of all registers of each group.
func (p *Plan) distinct(d Dialect, from string, o *out, dense bool) Statement {
	items, columns := p.keyList(d)
	w := d.words()
	items = append(items, p.hashed(d, o)+" AS h")
	inner := "SELECT " + strings.Join(append(p.keyNames(""), w.bits+" * 32 + "+w.rank+" AS p"), ", ") +
		"\nFROM (SELECT " + strings.Join(items, ", ") + from + ") a"
	if dense {
		sql := "SELECT " + strings.Join(append(p.keyNames(""), fmt.Sprintf("CAST(bitstring_agg(CAST(p AS INTEGER), 0, %d) AS BLOB) AS v1", registers*ranks-1)), ", ") +
			"\nFROM (" + inner + ") b" + p.grouped("count(*)")
		return Statement{SQL: sql, Columns: append(columns, Column{"v1", batch.Prim(batch.Binary)}), out: o, dense: true}
	}
	slot := ""
	switch d {
	case DuckDB:
		slot = "p >> 5"
	case Trino:
		slot = "bitwise_right_shift(p, 5)"
	case Spark:
		slot = "shiftright(p, 5)"
	}
	greatest := "SELECT " + strings.Join(append(p.keyNames(""), slot+" AS r", "max(p) AS m"), ", ") +
		"\nFROM (" + inner + ") b" + p.groupedBy(slot)
	return p.joined(d, o, greatest, "CAST(m AS "+d.typeName(batch.Prim(batch.String))+")", columns)
}

// groupedBy groups an inner statement by the keys and one column more.
func (p *Plan) groupedBy(what string) string {
	return "\nGROUP BY " + strings.Join(append(p.keyNames(""), what), ", ")
}

// joined writes the rows that an inner statement has of a group into one text.
func (p *Plan) joined(d Dialect, o *out, inner, item string, columns []Column) Statement {
	sql := "SELECT " + strings.Join(append(p.keyNames(""), fmt.Sprintf(d.words().joined, item)+" AS v1"), ", ") +
		"\nFROM (" + inner + ") c" + p.grouped("count(*)")
	return Statement{SQL: sql, Columns: append(columns, Column{"v1", batch.Prim(batch.String)}), out: o}
}

// logGamma is ln(1.01/0.99).
const logGamma = "CAST('0.020000666706669435' AS DOUBLE)"

// buckets asks for the buckets of each group and how many numbers are in each.
func (p *Plan) buckets(d Dialect, from string, o *out) Statement {
	items, columns := p.keyList(d)
	items = append(items, d.as(o.args[0], batch.Prim(batch.Double))+" AS x")
	double := func(s string) string { return "CAST('" + s + "' AS DOUBLE)" }
	least, most := double("1e-9"), double("1.7976931348623157e308")
	number := func(x string) string {
		return fmt.Sprintf("CAST(ceil(ln(%s) / %s) AS BIGINT) + %d", x, logGamma, binOffset)
	}
	bucket := fmt.Sprintf("CASE WHEN x IS NULL THEN NULL WHEN x >= %s AND x <= %s THEN %s WHEN x <= -%s AND x >= -%s THEN -(%s) WHEN x > -%s AND x < %s THEN 0 ELSE %d END",
		least, most, number("x"), least, most, number("-x"), least, least, binOther)
	inner := "SELECT " + strings.Join(append(p.keyNames(""), bucket+" AS b"), ", ") + "\nFROM (SELECT " + strings.Join(items, ", ") + from + ") a"
	counted := "SELECT " + strings.Join(append(p.keyNames(""), "b", "count(*) AS n"), ", ") + "\nFROM (" + inner + ") d" + p.groupedBy("b")
	text := d.typeName(batch.Prim(batch.String))
	return p.joined(d, o, counted, "CAST(b AS "+text+") || ':' || CAST(n AS "+text+")", columns)
}

// decode makes a sketch of what a statement gives for a group: the keys and the sketch's bytes.
func (s *Statement) decode(row []any, keys int, h hash) ([]any, error) {
	out := make([]any, keys+1)
	for i := range keys {
		out[i] = keep(row[i])
	}
	var err error
	switch v := row[keys].(type) {
	case nil:
		out[keys], err = s.sketch("", nil, h)
	case string:
		out[keys], err = s.sketch(v, nil, h)
	case []byte:
		out[keys], err = s.sketch("", v, h)
	default:
		err = fmt.Errorf("a %T came instead of a sketch", v)
	}
	if err != nil {
		return nil, fmt.Errorf("measure %s, group %v: %w", s.out.name, out[:keys], err)
	}
	return out, nil
}

func (s *Statement) sketch(text string, bitmap []byte, h hash) ([]byte, error) {
	if s.out.fn == fnPercentile {
		q := &Quantiles{}
		err := q.addText(text)
		return q.Bytes(), err
	}
	d := &Distinct{hash: h}
	err := d.addText(text)
	if bitmap != nil {
		err = d.addBitmap(bitmap)
	}
	return d.Bytes(), err
}
