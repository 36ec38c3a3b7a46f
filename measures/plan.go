package measures

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// Plan is a compiled Definition. It is immutable.
type Plan struct {
	// Columns of the result: the keys, the measures in their order, then the hidden ones.
	Columns []Column
	// Keys is how many of the columns are keys.
	Keys int

	keys  []key
	outs  []*out
	where *expr
	time  *expr
	zone  *time.Location
	// order is what settles which of two rows was first: the time, and the place in Kafka where the source has it.
	order    []*expr
	portable bool
}

type key struct {
	name string
	e    *expr
}

// out is a measure with the places of its columns in a row of the result.
type out struct {
	*call
	typ   *batch.Type // of what it yields
	cols  []int       // those that users read
	sum   int         // avg
	count int         // avg
	at    int         // first, last
	sk    int         // sketches
}

var asName = regexp.MustCompile(`(?is)^(.*\S)\s+as\s+("[^"]*"|\w+)\s*$`)

// Compile reads a definition over the row type of its source.
func Compile(def Definition, source *batch.Type) (*Plan, error) {
	p := &Plan{portable: def.PortableHash}
	var err error
	if p.zone, err = Zone(def.TimeZone); err != nil {
		return nil, fmt.Errorf("time_zone: %w", err)
	}
	if p.time, err = timeColumn(def.Time, source); err != nil {
		return nil, err
	}
	if strings.TrimSpace(def.Where) != "" {
		if p.where, err = parseExpr(def.Where, source); err != nil {
			return nil, fmt.Errorf("where: %w", err)
		}
		if p.where.typ.Kind != batch.Boolean {
			return nil, fmt.Errorf("where: a condition expected, and not a %s", p.where.typ)
		}
	}
	for _, text := range def.GroupBy {
		k, err := groupKey(text, source)
		if err != nil {
			return nil, fmt.Errorf("group_by: %q: %w", text, err)
		}
		p.keys = append(p.keys, k)
		p.Columns = append(p.Columns, Column{k.name, k.e.typ})
	}
	p.Keys = len(p.keys)
	p.order = append([]*expr{p.time}, places(source)...)
	if len(def.Measures) == 0 {
		return nil, fmt.Errorf("measures: there is none: name what to calculate, such as {name: rows, measure: count(*)}")
	}
	for _, m := range def.Measures {
		c, err := parseMeasure(m, source)
		if err != nil {
			return nil, err
		}
		o, err := newOut(c)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %q: %w", m.Name, m.Text, err)
		}
		p.visible(o)
	}
	p.hidden()
	return p, p.distinctNames()
}

// timeColumn resolves the column whose day counts.
func timeColumn(text string, source *batch.Type) (*expr, error) {
	e, err := parseExpr(text, source)
	if err != nil {
		return nil, fmt.Errorf("time: %w", err)
	}
	if e.op != opColumn || !moment(e.typ) {
		return nil, fmt.Errorf("time: %s: name a column of type timestamptz, timestamp or date", text)
	}
	return e, nil
}

func groupKey(text string, source *batch.Type) (key, error) {
	var k key
	body := text
	if m := asName.FindStringSubmatch(text); m != nil {
		body, k.name = m[1], strings.Trim(m[2], `"`)
	}
	e, err := parseExpr(body, source)
	if err != nil {
		return key{}, err
	}
	k.e = e
	switch t := e.typ; {
	case t.Nested():
		return key{}, fmt.Errorf("a %s cannot be grouped by: name one of its fields", t.Kind)
	case floating(t):
		return key{}, fmt.Errorf("a %s is a poor key, since nearly equal numbers are different ones: cast it to DECIMAL(p,s)", t)
	case t.Kind == batch.Binary || t.Kind == batch.Fixed || t.Kind == batch.Time:
		return key{}, fmt.Errorf("a %s cannot be grouped by in all engines", t)
	}
	if k.name == "" {
		if e.op != opColumn {
			return key{}, fmt.Errorf("an expression needs a name: %s AS name", text)
		}
		k.name = strings.Join(e.path, "_")
	}
	if err := goodName(k.name); err != nil {
		return key{}, fmt.Errorf("%w; give it another one: %s AS name", err, body)
	}
	return k, nil
}

// places are the columns by which rows of the same time are in order.
func places(source *batch.Type) (out []*expr) {
	for _, name := range []string{"_kafka_topic", "_kafka_partition", "_kafka_epoch", "_kafka_offset"} {
		if i := source.Index(name); i >= 0 && !source.Fields[i].Type.Nested() {
			out = append(out, &expr{op: opColumn, path: []string{name}, typ: source.Fields[i].Type})
		}
	}
	return out
}

// newOut says what a measure yields.
func newOut(c *call) (*out, error) {
	o := &out{call: c, sum: -1, count: -1, at: -1, sk: -1}
	switch c.fn {
	case fnCount, fnDistinct:
		o.typ = batch.Prim(batch.Long)
		return o, nil
	case fnPercentile:
		o.typ = batch.Prim(batch.Double)
		return o, nil
	}
	t := c.args[0].typ
	switch c.fn {
	case fnSum:
		o.typ = sumType(t)
		if whole(t) {
			o.typ = batch.Prim(batch.Long)
		}
	case fnAvg:
		o.typ = averageType(t)
	default:
		o.typ = t
	}
	return o, nil
}

// sumType is the type that engines are asked for: exact, and as wide as can be.
func sumType(t *batch.Type) *batch.Type {
	if floating(t) {
		return batch.Prim(batch.Double)
	}
	return batch.DecimalOf(38, t.Scale)
}

// averageType has six more digits behind the point than the numbers, as far as 38 digits allow.
func averageType(t *batch.Type) *batch.Type {
	if floating(t) {
		return batch.Prim(batch.Double)
	}
	before, behind := digits(t)
	return batch.DecimalOf(38, min(behind+6, 38-before))
}

func (p *Plan) visible(o *out) {
	p.outs = append(p.outs, o)
	if o.fn != fnPercentile {
		o.cols = []int{p.column(o.name, o.typ)}
		return
	}
	for _, name := range o.exact {
		o.cols = append(o.cols, p.column(o.name+"_"+name, o.typ))
	}
}

func (p *Plan) column(name string, t *batch.Type) int {
	p.Columns = append(p.Columns, Column{name, t})
	return len(p.Columns) - 1
}

// hidden adds the columns that rows are merged by.
func (p *Plan) hidden() {
	for _, o := range p.outs {
		switch o.fn {
		case fnAvg:
			o.sum = p.column(o.name+"__sum", sumType(o.args[0].typ))
			o.count = p.column(o.name+"__count", batch.Prim(batch.Long))
		case fnFirst, fnLast:
			o.at = p.column(o.name+"__at", p.time.typ)
		case fnPercentile, fnDistinct:
			o.sk = p.column(o.name+"__sketch", batch.Prim(batch.Binary))
		}
	}
}

// Hidden reports whether a column of the result is there for merging only.
func (p *Plan) Hidden(i int) bool {
	for _, o := range p.outs {
		for _, c := range []int{o.sum, o.count, o.at, o.sk} {
			if c == i {
				return true
			}
		}
	}
	return false
}

// RollupColumns are those of a table of weeks or months: all of the days', so that it can be merged further.
func (p *Plan) RollupColumns() []Column { return p.Columns }

func (p *Plan) distinctNames() error {
	seen := map[string]bool{}
	for _, c := range p.Columns {
		if low := strings.ToLower(c.Name); seen[low] {
			return fmt.Errorf("two columns would be named %s (names are the same in any case): give one another name", c.Name)
		}
		seen[strings.ToLower(c.Name)] = true
	}
	return nil
}
