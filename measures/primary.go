package measures

import (
	"strconv"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

func (p *parser) primary() (*expr, error) {
	t := p.peek()
	switch {
	case p.accept("("):
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	case t.kind == tokNumber:
		p.next()
		return p.numberLiteral(t)
	case t.kind == tokString:
		p.next()
		if strings.Contains(t.text, `\`) {
			return nil, p.errorf("a backslash in a text means another thing in Spark: leave it out")
		}
		return &expr{op: opLiteral, text: t.text, typ: batch.Prim(batch.String)}, nil
	case t.is("TRUE") || t.is("FALSE"):
		p.next()
		return &expr{op: opLiteral, text: strings.ToLower(t.text), typ: batch.Prim(batch.Boolean)}, nil
	case t.is("NULL"):
		return nil, p.errorf("NULL alone has no type: leave out the ELSE, or use nullif")
	case t.is("{{day}}"):
		return nil, p.errorf("{{day}} belongs to the SQL form; here the column named by time decides")
	case (t.is("DATE") || t.is("TIMESTAMP")) && p.tokens[p.at+1].kind == tokString:
		return p.timeLiteral(t)
	case t.is("CASE"):
		p.next()
		return p.caseWhen()
	case t.is("CAST"):
		p.next()
		return p.cast()
	case t.is("EXTRACT"):
		p.next()
		return p.extract()
	case t.kind == tokWord && p.tokens[p.at+1].is("("):
		p.next()
		return p.list(&expr{op: opCall, text: strings.ToLower(t.text)})
	case t.kind == tokWord || t.kind == tokQuoted:
		return p.column()
	}
	return nil, p.errorf("a column or a value expected, and not %s", t)
}

func (p *parser) numberLiteral(t token) (*expr, error) {
	e := &expr{op: opLiteral, text: t.text}
	switch whole, frac, point := strings.Cut(t.text, "."); {
	case strings.ContainsAny(t.text, "eE"):
		if _, err := strconv.ParseFloat(t.text, 64); err != nil {
			return nil, p.errorf("%s is beyond a double", t.text)
		}
		e.typ = batch.Prim(batch.Double)
	case point && len(whole)+len(frac) <= 38:
		if frac == "" || whole == "" {
			return nil, p.errorf("write digits on both sides of the point: %s", t)
		}
		e.typ = batch.DecimalOf(len(strings.TrimLeft(whole, "0"))+len(frac), len(frac))
	case point:
		return nil, p.errorf("%s has more than 38 digits", t.text)
	default:
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			return nil, p.errorf("%s is beyond 64 bits: write it with a point and a zero, which makes it a decimal", t.text)
		}
		e.text, e.typ = strconv.FormatInt(n, 10), batch.Prim(batch.Long)
		if n < 1<<31 {
			e.typ = batch.Prim(batch.Int)
		}
	}
	return e, nil
}

func (p *parser) timeLiteral(word token) (*expr, error) {
	p.next()
	t := p.next()
	layout, k := "2006-01-02", batch.Date
	if word.is("TIMESTAMP") {
		layout, k = "2006-01-02 15:04:05.999999", batch.Timestamp
	}
	at, err := time.Parse(layout, t.text)
	if err != nil {
		return nil, p.errorf("%s '%s' expected, and not '%s'", strings.ToUpper(word.text), strings.TrimSuffix(layout, ".999999"), t.text)
	}
	return &expr{op: opLiteral, text: at.Format(layout), typ: batch.Prim(k)}, nil
}

func (p *parser) caseWhen() (*expr, error) {
	e := &expr{op: opCase}
	if !p.peek().is("WHEN") {
		return nil, p.errorf("WHEN expected after CASE: write CASE WHEN x = 1 THEN ... END")
	}
	for p.accept("WHEN") {
		cond, err := p.expression()
		if err != nil {
			return nil, err
		}
		if err := p.expect("THEN"); err != nil {
			return nil, err
		}
		value, err := p.expression()
		if err != nil {
			return nil, err
		}
		e.args = append(e.args, cond, value)
	}
	if p.accept("ELSE") {
		value, err := p.expression()
		if err != nil {
			return nil, err
		}
		e.args = append(e.args, value)
	}
	if err := p.expect("END"); err != nil {
		return nil, err
	}
	return p.typed(e)
}

// castTypes are the names of types that a cast takes.
var castTypes = map[string]batch.Kind{"INT": batch.Int, "INTEGER": batch.Int, "BIGINT": batch.Long, "LONG": batch.Long, "DOUBLE": batch.Double,
	"VARCHAR": batch.String, "STRING": batch.String, "DATE": batch.Date, "DECIMAL": batch.Decimal}

func (p *parser) cast() (*expr, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	if err := p.expect("AS"); err != nil {
		return nil, err
	}
	name := p.next()
	k, ok := castTypes[strings.ToUpper(name.text)]
	if !ok {
		return nil, p.errorf("a cast to %s is not supported: INTEGER, BIGINT, DOUBLE, DECIMAL(p,s), VARCHAR or DATE", name)
	}
	to := batch.Prim(k)
	if k == batch.Decimal {
		if to, err = p.decimal(); err != nil {
			return nil, err
		}
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	if err := castable(x.typ, to); err != nil {
		return nil, p.errorf("%v", err)
	}
	return &expr{op: opCast, args: []*expr{x}, typ: to}, nil
}

func (p *parser) decimal() (*batch.Type, error) {
	var n [2]int
	if err := p.expect("("); err != nil {
		return nil, p.errorf("write the digits of the decimal: DECIMAL(38,2)")
	}
	for i := range n {
		t := p.next()
		v, err := strconv.Atoi(t.text)
		if err != nil || v > 38 {
			return nil, p.errorf("DECIMAL(p,s) has at most 38 digits")
		}
		n[i] = v
		if i == 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
	}
	if n[0] < 1 || n[1] > n[0] {
		return nil, p.errorf("DECIMAL(%d,%d): the first number counts all digits, the second those behind the point", n[0], n[1])
	}
	return batch.DecimalOf(n[0], n[1]), p.expect(")")
}

func (p *parser) extract() (*expr, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	field := strings.ToUpper(p.next().text)
	switch field {
	case "YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE":
	default:
		return nil, p.errorf("extract takes YEAR, QUARTER, MONTH, DAY, HOUR or MINUTE, and not %s", field)
	}
	if err := p.expect("FROM"); err != nil {
		return nil, err
	}
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	return p.typed(&expr{op: opCall, text: "extract", path: []string{field}, args: []*expr{x}})
}

// column resolves a path: each part as it is written, or the only one that differs by case alone.
func (p *parser) column() (*expr, error) {
	e := &expr{op: opColumn, typ: p.row}
	for {
		t := p.next()
		if t.kind != tokWord && t.kind != tokQuoted {
			return nil, p.errorf("a column's name expected, and not %s", t)
		}
		if e.typ.Kind != batch.Struct {
			return nil, p.errorf("%s is a %s and has no field %s", strings.Join(e.path, "."), e.typ, t.text)
		}
		i, err := p.field(e.typ, t.text)
		if err != nil {
			return nil, err
		}
		e.path = append(e.path, e.typ.Fields[i].Name)
		e.typ = e.typ.Fields[i].Type
		if !p.accept(".") {
			return e, nil
		}
	}
}

func (p *parser) field(row *batch.Type, name string) (int, error) {
	found := -1
	for i, f := range row.Fields {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		if found >= 0 {
			return 0, p.errorf("the columns %s and %s differ in case only: engines cannot tell them apart", row.Fields[found].Name, f.Name)
		}
		found = i
	}
	if found >= 0 {
		return found, nil
	}
	var names []string
	for _, f := range row.Fields {
		names = append(names, f.Name)
	}
	if len(names) > 30 {
		names = append(names[:30], "...")
	}
	return 0, p.errorf("there is no column %s; there are %s", name, strings.Join(names, ", "))
}
