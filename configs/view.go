package configs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// View is a table in memory of what was read in the last minutes, for dashboards.
type View struct {
	// Name of the view.
	Name string `yaml:"name" rule:"required"`
	// Window is how far back it looks, by Kafka's timestamps of the records. It moves in twentieths. Default 5m.
	Window Duration `yaml:"window" rule:"range=10s:24h"`
	// GroupBy lists columns after all steps: text, integers or booleans, also within structs (address.country). Left out: one row.
	GroupBy []string `yaml:"group_by"`
	// Measures are the other columns.
	Measures []ViewMeasure `yaml:"measures" rule:"required"`
	// Groups that are kept; the rows of further ones are in one group with the name (other). Default 200.
	Groups int `yaml:"groups" rule:"range=1:10000"`
}

// ViewMeasure is a column of a view.
type ViewMeasure struct {
	// Name of the column.
	Name string `yaml:"name" rule:"required"`
	// Measure is count(*), count(x), sum(x), avg(x), min(x), max(x), median(x), percentile(x, 0.95), approx_distinct(x) or top(x, 5).
	Measure string `yaml:"measure" rule:"required"`
}

// ViewFunc is a measure of a view taken apart.
type ViewFunc struct {
	Func     string  // count, sum, avg, min, max, percentile, approx_distinct or top
	Column   string  // empty: count(*)
	Quantile float64 // of percentile, above 0 and below 1
	Top      int     // of top, 1 to 100
}

var viewCall = regexp.MustCompile(`^\s*([a-z_]+)\s*\(\s*([^,()\s]+)\s*(?:,\s*([^,()\s]+)\s*)?\)\s*$`)

// maxTop is how many values top may list.
const maxTop = 100

// Parse takes a measure apart.
func (m *ViewMeasure) Parse() (f ViewFunc, err error) {
	x := viewCall.FindStringSubmatch(m.Measure)
	if x == nil {
		return f, fmt.Errorf("%q is no measure: write for example count(*), median(stars) or top(sku, 5)", m.Measure)
	}
	f = ViewFunc{Func: x[1], Column: x[2]}
	if f.Func == "median" {
		if x[3] != "" {
			return f, fmt.Errorf("median takes a column only; percentile(%s, 0.95) another share", f.Column)
		}
		f.Func, x[3] = "percentile", "0.5"
	}
	switch f.Func {
	case "count":
		if f.Column == "*" {
			f.Column = ""
		}
	case "sum", "avg", "min", "max", "approx_distinct":
	case "percentile":
		if f.Quantile, err = strconv.ParseFloat(x[3], 64); err != nil || !(f.Quantile > 0 && f.Quantile < 1) {
			return f, fmt.Errorf("percentile needs a share between 0 and 1, as in percentile(%s, 0.95)", f.Column)
		}
		x[3] = ""
	case "top":
		if f.Top, err = strconv.Atoi(x[3]); err != nil || f.Top < 1 || f.Top > maxTop {
			return f, fmt.Errorf("top needs a number from 1 to %d, as in top(%s, 5)", maxTop, f.Column)
		}
		x[3] = ""
	default:
		return f, fmt.Errorf("%s is no measure of a view: there are count, sum, avg, min, max, median, percentile, approx_distinct and top", f.Func)
	}
	if x[3] != "" {
		return f, fmt.Errorf("%s takes one column and nothing else", f.Func)
	}
	if f.Column == "*" {
		return f, fmt.Errorf("%s needs a column", f.Func)
	}
	return f, nil
}

func defaultView(v *View) {
	def(&v.Window, 5*minute)
	def(&v.Groups, 200)
}

func (v *validator) views(list []View, path string) {
	names := map[string]string{}
	for i := range list {
		x, at := &list[i], item(path, i)
		v.once(names, x.Name, at+".name", "the view's name", "the endpoint serves it by its name")
		if x.Name != "" && !pipelineName.MatchString(x.Name) {
			v.bad(at+".name", "use at most 63 letters, digits, _ and -", "%s cannot be a view's name", v.pos.Quote(at+".name", x.Name))
		}
		columns := map[string]string{}
		v.distinct(at+".group_by", x.GroupBy, func(at, column string) {
			v.viewColumn(at, column)
			v.once(columns, column, at, "the column", "each column of a view has a name of its own")
		})
		for j := range x.Measures {
			m, at := &x.Measures[j], item(at+".measures", j)
			v.once(columns, m.Name, at+".name", "the column", "each column of a view has a name of its own")
			if m.Measure == "" {
				continue
			}
			if f, err := m.Parse(); err != nil {
				v.bad(at+".measure", "", "%v", err)
			} else if f.Column != "" {
				v.viewColumn(at+".measure", f.Column)
			}
		}
	}
}

func (v *validator) viewColumn(at, column string) {
	if err := checkPath(column); err != nil || strings.ContainsAny(column, "[]{}") {
		v.bad(at, "write a column such as stars or address.country", "%s is not a column", v.pos.Quote(at, column))
	}
}
