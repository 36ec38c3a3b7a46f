// Package measures turns what a daily aggregate asks for into SQL for several engines, and their rows into the rows of the
// target table. It does no I/O: whoever runs a statement is handed in.
//
// A Definition is parsed and typed against the row type of the source (Compile), so that the columns of the result never
// depend on the engine. Each engine is asked one SELECT for all exact measures, and one for each sketch; Plan.Assemble puts
// their rows together.
//
// Beside each measure stand hidden columns, from which rows of days can be merged into weeks and months (Plan.Merge):
//
//	avg             <name>__sum, <name>__count
//	first, last     <name>__at: the time that orders them
//	approx_distinct <name>__sketch: a HyperLogLog, see Distinct
//	percentile      <name>__sketch: logarithmic buckets, see Quantiles
package measures

import (
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// Dialect is a way to write SQL. All share one subset; what they write differently is rendered for each.
type Dialect string

// The dialects. Athena speaks Trino's.
const (
	DuckDB Dialect = "duckdb"
	Trino  Dialect = "trino"
	Spark  Dialect = "spark"
)

// Column is one of a result.
type Column struct {
	Name string
	Type *batch.Type // not nested
}

// Definition is the short form of an aggregate.
type Definition struct {
	// GroupBy are columns, or expressions with a name: lower(country) AS country.
	GroupBy []string
	// Where is a condition of SQL; empty: all rows.
	Where string
	// Time is the column whose day counts, of type timestamptz, timestamp or date.
	Time string
	// TimeZone says where days begin for a timestamptz; empty: UTC. The other types are local times as they are.
	TimeZone string
	Measures []Measure
	// PortableHash has approx_distinct hash in DuckDB as it does in Trino and Spark, so that sketches of all three merge. It
	// takes about three times as long there.
	PortableHash bool
}

// Measure is a named aggregate.
type Measure struct{ Name, Text string }

// function is what a measure calls.
type function string

const (
	fnCount      function = "count"
	fnSum        function = "sum"
	fnMin        function = "min"
	fnMax        function = "max"
	fnAvg        function = "avg"
	fnPercentile function = "percentile"
	fnDistinct   function = "approx_distinct"
	fnFirst      function = "first"
	fnLast       function = "last"
)

const known = "count(*), count(x), sum(x), min(x), max(x), avg(x), percentile(x, 0.5, ...), approx_distinct(x, ...), first(x), last(x)"

// call is a parsed and typed measure.
type call struct {
	name  string
	fn    function
	args  []*expr // none for count(*)
	ps    []float64
	exact []string // the texts of ps, for the columns' names
}

// parseMeasure reads one measure over a source's row type.
func parseMeasure(m Measure, row *batch.Type) (*call, error) {
	c, err := measureOf(m, row)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %q: %w", m.Name, m.Text, err)
	}
	return c, nil
}

func measureOf(m Measure, row *batch.Type) (*call, error) {
	if err := goodName(m.Name); err != nil {
		return nil, err
	}
	p, err := newParser(m.Text, row)
	if err != nil {
		return nil, err
	}
	c := &call{name: m.Name, fn: function(strings.ToLower(p.peek().text))}
	switch c.fn {
	case fnCount, fnSum, fnMin, fnMax, fnAvg, fnPercentile, fnDistinct, fnFirst, fnLast:
	default:
		return nil, fmt.Errorf("%q is no measure: write one of %s", p.peek().text, known)
	}
	p.next()
	if err := p.expect("("); err != nil {
		return nil, err
	}
	if c.fn == fnCount && p.accept("*") {
		return c, p.finish(")")
	}
	for {
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, e)
		if !p.accept(",") {
			break
		}
	}
	if err := p.finish(")"); err != nil {
		return nil, err
	}
	return c, c.check()
}

// check holds the arguments against what the function takes.
func (c *call) check() error {
	switch c.fn {
	case fnPercentile:
		return c.percentiles()
	case fnDistinct:
		for _, a := range c.args {
			if err := hashable(a.typ); err != nil {
				return err
			}
		}
		return nil
	}
	if len(c.args) != 1 {
		return fmt.Errorf("%s takes one argument, not %d", c.fn, len(c.args))
	}
	t := c.args[0].typ
	if t.Nested() && c.fn != fnCount {
		return fmt.Errorf("%s cannot be taken of a %s: name one of its fields", c.fn, t.Kind)
	}
	switch c.fn {
	case fnSum, fnAvg:
		if !numeric(t) {
			return fmt.Errorf("%s needs a number, and not a %s: write %s(CAST(... AS DOUBLE)) or AS DECIMAL(p,s) if it holds numbers", c.fn, t, c.fn)
		}
	case fnMin, fnMax:
		if t.Kind == batch.Binary || t.Kind == batch.Fixed {
			return fmt.Errorf("%s cannot be taken of a %s: it has no order that all engines share", c.fn, t)
		}
	}
	return nil
}

func (c *call) percentiles() error {
	if len(c.args) < 2 {
		return fmt.Errorf("percentile needs a column and at least one fraction: percentile(x, 0.5, 0.95)")
	}
	if t := c.args[0].typ; !numeric(t) {
		return fmt.Errorf("percentile needs a number, and not a %s: write percentile(CAST(... AS DOUBLE), 0.5) if it holds numbers", t)
	}
	seen := map[string]bool{}
	for _, a := range c.args[1:] {
		q, ok := a.fraction()
		if !ok {
			return fmt.Errorf("a percentile's fraction must be a number from 0 to 1, such as 0.95")
		}
		name := percentName(a.text)
		if seen[name] {
			return fmt.Errorf("the fraction %s is there twice", a.text)
		}
		seen[name] = true
		c.ps, c.exact = append(c.ps, q), append(c.exact, name)
	}
	c.args = c.args[:1]
	return nil
}

// percentName makes p50 of 0.5, p95 of 0.95, p99_9 of 0.999, p0 of 0 and p100 of 1.
func percentName(text string) string {
	whole, frac, _ := strings.Cut(text, ".")
	frac = strings.TrimRight(frac, "0")
	for len(frac) < 2 {
		frac += "0"
	}
	head := strings.TrimLeft(strings.TrimLeft(whole, "0")+frac[:2], "0")
	if head == "" {
		head = "0"
	}
	if frac = frac[2:]; frac != "" {
		head += "_" + frac
	}
	return "p" + head
}

// goodName: such names need no quotes in any engine, and leave room for ours.
func goodName(name string) error {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r != '_' && (r < '0' || r > '9')) {
			return fmt.Errorf("%q is no name for a column: begin with a letter, and use letters, digits and _ only", name)
		}
	}
	switch {
	case name == "":
		return fmt.Errorf("a name is missing")
	case len(name) > 128:
		return fmt.Errorf("the name %q is longer than 128 characters", name)
	case strings.EqualFold(name, "day"):
		return fmt.Errorf("the name day is taken by the column that holds the day")
	}
	return nil
}
