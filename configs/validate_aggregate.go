package configs

import (
	"fmt"
	"slices"
	"strings"
)

// builtInJobs are the names of the jobs that every configuration has.
var builtInJobs = []string{"expire", "compact", "retention", "fold", "orphans", "complete", "history"}

// partsOfLedger are the names of the properties of a pipeline. Those of an aggregate lie beside them.
var partsOfLedger = []string{"ledger", "topics", "offsets", "past", "pending", "tables", "applied"}

// DayPlaceholder stands for the condition for one day in an aggregate's SQL.
const DayPlaceholder = "{{day}}"

// aggregateNames checks the names of aggregates, and that nobody else writes their tables. taken are the tables of all
// pipelines, with where they are named.
func (v *validator) aggregateNames(c *Config, taken map[string]string) {
	names := map[string]string{}
	for i := range c.Aggregates {
		a, path := &c.Aggregates[i], item("aggregates", i)
		v.once(names, a.Name, path+".name", "the aggregate name", "it is the name of a job, and what was calculated is kept by it")
		for _, t := range []struct{ at, table string }{{".table", a.Table}, {".rollups.week", a.Rollups.Week}, {".rollups.month", a.Rollups.Month}} {
			v.once(taken, qualified(c, t.table), path+t.at, "the table", "every aggregate writes tables of its own")
		}
	}
}

func (v *validator) aggregate(c *Config, a *Aggregate, path string) {
	switch {
	case a.Name == "":
	case !pipelineName.MatchString(a.Name):
		v.bad(path+".name", "use at most 63 letters, digits, _ and -", "%s cannot be an aggregate's name", v.pos.Quote(path+".name", a.Name))
	case slices.Contains(builtInJobs, a.Name):
		v.bad(path+".name", "choose another name", "%s is a job that every configuration has", v.pos.Quote(path+".name", a.Name))
	case slices.Contains(partsOfLedger, a.Name):
		v.bad(path+".name", "choose another name", "%s is kept for the tables' properties", v.pos.Quote(path+".name", a.Name))
	}
	for at, table := range map[string]string{".source": a.Source, ".table": a.Table, ".rollups.week": a.Rollups.Week, ".rollups.month": a.Rollups.Month} {
		if table != "" {
			v.tableName(path+at, table)
		}
	}
	if a.Source != "" && qualified(c, a.Source) == qualified(c, a.Table) {
		v.bad(path+".table", "choose another table", "the aggregate %s would write the table that it reads", v.pos.Quote(path+".name", a.Name))
	}
	if a.Time != "" {
		if err := checkPath(a.Time); err != nil {
			v.bad(path+".time", "write a column, such as ts or event.ts", "%v", err)
		}
	}
	if a.Engine != Embedded && c.Engine(a.Engine) == nil {
		v.bad(path+".engine", "write embedded, or add it to engines", "there is no engine %s", v.pos.Quote(path+".engine", a.Engine))
	}
	v.timeZone(path+".time_zone", a.TimeZone)
	v.schedule(path+".schedule", a.Schedule)
	v.files(&a.Files, path+".files")
	v.distinct(path+".keys", a.Keys, func(string, string) {})
	v.publish(a, path+".publish")
	switch {
	case a.SQL == "" && len(a.Measures) == 0:
		v.missing(path+".sql", "write sql: SELECT ..., or measures: [...]", "the aggregate %s needs sql or measures", v.pos.Quote(path+".name", a.Name))
	case a.SQL != "" && len(a.Measures) > 0:
		v.bad(path+".measures", "leave out one of them", "the aggregate %s has both sql and measures", v.pos.Quote(path+".name", a.Name))
	case a.SQL != "":
		v.aggregateSQL(a, path)
	default:
		v.measures(a, path)
	}
}

func (v *validator) aggregateSQL(a *Aggregate, path string) {
	if !strings.Contains(a.SQL, DayPlaceholder) {
		v.bad(path+".sql", "write FROM source WHERE {{day}}", "the SQL has no {{day}}, so it would sum up the whole table for each day")
	}
	for at, given := range map[string]bool{".where": a.Where != "", ".group_by": len(a.GroupBy) > 0, ".rollups": a.Rollups != Rollups{}} {
		if given {
			v.bad(path+at, "leave it out, or write measures instead of sql", "%s has no effect with sql", last(path+at))
		}
	}
}

func (v *validator) measures(a *Aggregate, path string) {
	if len(a.Keys) > 0 {
		v.bad(path+".keys", "leave it out", "keys has no effect with measures: the keys are those of group_by")
	}
	seen := map[string]bool{}
	for i, m := range a.Measures {
		at := fmt.Sprintf("%s.name", item(path+".measures", i))
		name := strings.ToLower(m.Name)
		if m.Name != "" && (seen[name] || slices.ContainsFunc(a.GroupBy, func(g string) bool { return strings.ToLower(g) == name })) {
			v.bad(at, "names that differ only in case are the same to most engines", "the column %s is there twice", v.pos.Quote(at, m.Name))
		}
		seen[name] = true
		if m.Name != "" && !identifier.MatchString(m.Name) {
			v.bad(at, "use letters, digits and _", "%s cannot be a column's name", v.pos.Quote(at, m.Name))
		}
	}
	v.distinct(path+".group_by", a.GroupBy, func(at, e string) {
		if e == "" {
			v.bad(at, "", "an empty column")
		}
	})
}

// publish checks what can be told without the columns.
func (v *validator) publish(a *Aggregate, path string) {
	if a.Publish == nil {
		return
	}
	v.distinct(path+".key", a.Publish.Key, func(at, column string) {
		if column == "" {
			v.bad(at, "", "an empty column")
		}
	})
	if len(a.Publish.Key) == 0 && a.SQL != "" && len(a.Keys) == 0 {
		v.missing(path+".key", "name the columns that tell rows apart, here or in keys of the aggregate", "publish needs key")
	}
	if a.Publish.Value != "" && slices.Contains(a.Publish.Key, a.Publish.Value) {
		v.bad(path+".value", "name another column, or leave it out", "%s is in the key already", v.pos.Quote(path+".value", a.Publish.Value))
	}
}
