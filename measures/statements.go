package measures

import (
	"fmt"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// Statement is one SELECT over the relation source. Its first columns are the keys, by which it is in order; all statements
// of a plan have the same groups in the same order.
type Statement struct {
	SQL     string
	Columns []Column
	out     *out // of a sketch's; nil: the exact measures
	dense   bool // the sketch comes as a bitmap
}

// denseBytes is what the dense form of a statement takes for a group.
const denseBytes = 1 << (precision + 5) / 8

// Statements are the SELECTs for one day: the exact measures, then one for each sketch. Groups is about how many groups
// there are, as far as that is known, and budget how many bytes the engine may take for the sketches of one statement while
// it groups: within it DuckDB is asked in a way that takes half the time, but cannot spill to disk. 0: never.
func (p *Plan) Statements(d Dialect, day time.Time, groups, budget int64) ([]Statement, error) {
	from, err := p.from(d, day)
	if err != nil {
		return nil, err
	}
	out := []Statement{p.exact(d, from)}
	for _, o := range p.outs {
		switch o.fn {
		case fnDistinct:
			dense := d == DuckDB && groups*denseBytes <= budget && budget > 0
			out = append(out, p.distinct(d, from, o, dense))
		case fnPercentile:
			out = append(out, p.buckets(d, from, o))
		}
	}
	return out, nil
}

// from is what all statements read: FROM and WHERE.
func (p *Plan) from(d Dialect, day time.Time) (string, error) {
	cond, err := DayCondition(d, p.time.typ, p.time.path, p.zone, day)
	if err != nil {
		return "", err
	}
	if p.where != nil {
		cond += " AND " + d.render(p.where)
	}
	return "\nFROM source\nWHERE " + cond, nil
}

// keyList writes the keys as they are calculated, with their short names, and keyColumns their columns.
func (p *Plan) keyList(d Dialect) (items []string, columns []Column) {
	for i, k := range p.keys {
		name := fmt.Sprintf("k%d", i+1)
		items = append(items, d.as(k.e, k.e.typ)+" AS "+name)
		columns = append(columns, Column{name, k.e.typ})
	}
	return items, columns
}

// keyNames are k1, k2 ... with something behind each.
func (p *Plan) keyNames(suffix string) []string {
	out := make([]string, len(p.keys))
	for i := range out {
		out[i] = fmt.Sprintf("k%d%s", i+1, suffix)
	}
	return out
}

// grouped ends a statement. Without keys a day without rows would still have a row of zeros: it is left out by how, the
// number of its rows.
func (p *Plan) grouped(how string) string {
	if p.Keys == 0 {
		return "\nHAVING " + how + " > 0"
	}
	numbers := make([]string, p.Keys)
	for i := range numbers {
		numbers[i] = fmt.Sprint(i + 1)
	}
	return "\nGROUP BY " + strings.Join(numbers, ", ") + "\nORDER BY " + strings.Join(p.keyNames(" NULLS FIRST"), ", ")
}

func (p *Plan) exact(d Dialect, from string) Statement {
	items, columns := p.keyList(d)
	add := func(t *batch.Type, sql string) {
		name := fmt.Sprintf("v%d", len(columns)-p.Keys+1)
		items = append(items, sql+" AS "+name)
		columns = append(columns, Column{name, t})
	}
	long := batch.Prim(batch.Long)
	for _, o := range p.outs {
		switch o.fn {
		case fnCount:
			arg := "*"
			if len(o.args) > 0 {
				arg = d.render(o.args[0])
			}
			add(long, "count("+arg+")")
		case fnSum:
			add(p.sum(d, o))
		case fnAvg:
			add(p.sum(d, o))
			add(long, "count("+d.render(o.args[0])+")")
		case fnMin, fnMax:
			add(o.typ, string(o.fn)+"("+d.as(o.args[0], o.typ)+")")
		case fnFirst, fnLast:
			value, at := p.ends(d, o)
			add(o.typ, value)
			add(p.time.typ, at)
		}
	}
	if len(columns) == p.Keys {
		add(long, "count(*)") // a statement needs a column
	}
	return Statement{SQL: "SELECT " + strings.Join(items, ", ") + from + p.grouped("count(*)"), Columns: columns}
}

// sum: DuckDB adds whole numbers in 128 bits by itself; the others are given decimals, so that nothing wraps around.
func (p *Plan) sum(d Dialect, o *out) (*batch.Type, string) {
	t := sumType(o.args[0].typ)
	arg := d.render(o.args[0])
	if d != DuckDB || floating(t) {
		arg = d.as(o.args[0], t)
	}
	return t, "CAST(sum(" + arg + ") AS " + d.typeName(t) + ")"
}

// ends are the value of the first or last row that has one, and its time. Rows of the same time are ordered by their
// place in Kafka, and where there is none by the value.
func (p *Plan) ends(d Dialect, o *out) (value, at string) {
	x := d.render(o.args[0])
	order := d.list(p.order)
	if len(p.order) == 1 {
		order += ", " + x
	}
	row, by, end := "ROW(", "min_by", "min"
	if d == Spark {
		row = "struct("
	}
	if o.fn == fnLast {
		by, end = "max_by", "max"
	}
	filter := ") FILTER (WHERE " + x + " IS NOT NULL)"
	return by + "(" + x + ", " + row + order + ")" + filter, end + "(" + d.render(p.time) + filter
}
