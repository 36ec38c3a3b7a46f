package enrich

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// compiler holds the row as it is at the current join.
type compiler struct {
	row      *batch.Type
	o        Options
	problems []Problem

	index int
	cfg   *configs.Join
}

func (c *compiler) problem(field, hint, format string, args ...any) {
	c.problems = append(c.problems, Problem{c.index, field, fmt.Sprintf(format, args...), hint})
}

// join compiles the current one; nil: there is a problem.
func (c *compiler) join() *join {
	before := len(c.problems)
	l := c.o.Lookup(c.cfg.Lookup)
	if l == nil {
		c.problem("lookup", "declare it in lookups", "there is no lookup %q", c.cfg.Lookup)
		return nil
	}
	kept := l.Row()
	if kept == nil {
		c.problem("lookup", "", "the columns of the lookup %s are not known yet", c.cfg.Lookup)
		return nil
	}
	j := &join{cfg: c.cfg, lookup: l, at: -1}
	c.on(j, kept)
	c.at(j, kept)
	if c.cfg.Join != "anti" {
		c.added(j, kept)
		c.defaults(j, kept)
	}
	if name := c.cfg.Version; name != "" {
		j.version = true
		c.add(j, "version", batch.Field{Name: name, Type: batch.Prim(batch.String), Doc: "version of the lookup " + l.Name() + " that the row saw"})
	}
	if name := c.cfg.Matched; name != "" {
		j.matched = true
		c.add(j, "matched", batch.Field{Name: name, Type: batch.Prim(batch.Boolean), Doc: "whether the lookup " + l.Name() + " had the row's key"})
	}
	if len(c.problems) > before {
		return nil
	}
	return j
}

// on finds the columns that are compared.
func (c *compiler) on(j *join, kept *batch.Type) {
	columns := map[string]string{} // of the row, by those of the key
	for row, key := range c.cfg.On {
		columns[key] = row
	}
	for _, key := range j.lookup.cfg.Key {
		name, field := columns[key], "on."+columns[key]
		if len(c.cfg.On) == 0 {
			name, field = key, "lookup"
		}
		at := c.row.Index(name)
		if at < 0 {
			c.problem(field, "columns are: "+names(c.row), "there is no column %q to compare with the key's column %s", name, key)
			continue
		}
		if why := comparable(c.row.Fields[at].Type, kept.Fields[kept.Index(key)].Type); why != "" {
			c.problem(field, "cast one of them with cleanse", "column %s and the key's column %s: %s", name, key, why)
			continue
		}
		j.key = append(j.key, at)
	}
}

func (c *compiler) at(j *join, kept *batch.Type) {
	if c.cfg.At == "" {
		return
	}
	by := kept.Fields[kept.Index(j.lookup.cfg.Versions.By)]
	if j.at = c.row.Index(c.cfg.At); j.at < 0 {
		c.problem("at", "columns are: "+names(c.row), "there is no column %q", c.cfg.At)
	} else if f := c.row.Fields[j.at]; f.Type.Kind != by.Type.Kind {
		c.problem("at", "cast one of them with cleanse", "column %s is a %s, but the versions go by %s, a %s", f.Name, f.Type, by.Name, by.Type)
	}
}

// added finds the columns that are added.
func (c *compiler) added(j *join, kept *batch.Type) {
	columns := c.cfg.Columns
	if len(columns) == 0 {
		for _, f := range kept.Fields {
			if !slices.Contains(j.lookup.cfg.Key, f.Name) && f.Name != configs.RecordTime {
				columns = append(columns, f.Name)
			}
		}
	}
	for i, name := range columns {
		at := kept.Index(name)
		if at < 0 {
			c.problem(fmt.Sprintf("columns[%d]", i), "it keeps: "+names(kept), "the lookup %s keeps no column %q", j.cfg.Lookup, name)
			continue
		}
		f := kept.Fields[at]
		j.added = append(j.added, source{column: at, typ: f.Type, fallback: -1})
		f.Name = c.cfg.Prefix + f.Name
		field := "prefix"
		if len(c.cfg.Columns) > 0 {
			field = fmt.Sprintf("columns[%d]", i)
		}
		c.add(j, field, f)
	}
}

func (c *compiler) add(j *join, field string, f batch.Field) {
	if c.row.Index(f.Name) >= 0 {
		c.problem(field, "choose another name or prefix", "there is a column %s already", f.Name)
		return
	}
	f.Required, f.ID = false, 0
	c.row.Fields = append(c.row.Fields, f)
	j.columns = append(j.columns, batch.NewColumn(f.Type, 0))
}

// defaults reads the values for rows without a match.
func (c *compiler) defaults(j *join, kept *batch.Type) {
	var fields []batch.Field
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Defaults)) {
		i := slices.IndexFunc(j.added, func(s source) bool { return kept.Fields[s.column].Name == name })
		if i < 0 {
			c.problem("defaults."+name, "", "the column %s is not added", name)
			continue
		}
		j.added[i].fallback = len(fields)
		fields = append(fields, batch.Field{Name: name, Type: j.added[i].typ})
		texts = append(texts, c.cfg.Defaults[name])
	}
	if len(fields) == 0 {
		return
	}
	var err error
	if j.defaults, err = c.o.Parse(fields, texts); err != nil {
		c.problem("defaults", "", "%v", err)
	}
}
