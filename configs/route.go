package configs

import (
	"maps"
	"slices"
	"strings"
)

// placeholder stands for the value in a route's template.
const placeholder = "${value}"

// maxTableName is the length of a table's name that every catalog takes; longer ones are not made from values.
const maxTableName = 128

// Named gives the table that the rows of a value go to. made: by the template, so that it belongs to this value alone.
// An empty name means that the route does not take the value.
func (r *Route) Named(value string) (table string, made bool) {
	if t, ok := r.Tables[value]; ok {
		return t, false
	}
	if value == "" || r.Template == "" || !r.allows(value) {
		return "", false
	}
	return r.fill(value), true
}

func (r *Route) allows(value string) bool {
	for _, pattern := range r.Allow {
		if matches(pattern, value) {
			return true
		}
	}
	return false
}

// fill puts a value into the template; empty: the name would be too long.
func (r *Route) fill(value string) string {
	if len(value) > maxTableName {
		return ""
	}
	name := strings.Replace(r.Template, placeholder, safe(value), 1)
	namespace, table, qualified := strings.Cut(name, ".")
	if !qualified {
		namespace, table = "", name
	}
	if table[0] >= '0' && table[0] <= '9' {
		table = "_" + table
	}
	if len(table) > maxTableName {
		return ""
	}
	if qualified {
		return namespace + "." + table
	}
	return table
}

// safe writes a value with the characters that every engine takes in a table's name.
func safe(value string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_':
			return c
		case c >= 'A' && c <= 'Z':
			return c + ('a' - 'A')
		}
		return '_'
	}, value)
}

// matches reports whether a text is what a pattern stands for: * any text, ? one character.
func matches(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	i, j, star, from := 0, 0, -1, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i, j = i+1, j+1
		case star >= 0: // the last * takes one more character
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// Qualified is a table's name with its namespace, which is the given one where the name has none.
func Qualified(namespace, name string) string {
	if strings.Contains(name, ".") {
		return name
	}
	return namespace + "." + name
}

func (v *validator) route(r *Route, path string) {
	if r.By != "" {
		if err := checkPath(r.By); err != nil || strings.ContainsAny(r.By, "[]{}") {
			v.bad(path+".by", "write a column such as type, address.country or _kafka_topic", "%s is not a column to route by", v.pos.Quote(path+".by", r.By))
		}
	}
	for _, value := range slices.Sorted(maps.Keys(r.Tables)) {
		v.tableName(join(path+".tables", value), r.Tables[value])
	}
	if len(r.Tables) > maxRouted {
		v.bad(path+".tables", "", "there are %d tables; at most %d can be routed to", len(r.Tables), maxRouted)
	}
	if r.Template == "" {
		if len(r.Tables) == 0 {
			v.missing(path, "write tables: {value: table}, or template with allow", "route needs tables or template")
		}
		if len(r.Allow) > 0 {
			v.bad(path+".allow", "write template, or leave it out", "allow has no effect without template")
		}
		if r.Limit > 0 {
			v.bad(path+".limit", "write template, or leave it out", "limit has no effect without template")
		}
		return
	}
	v.template(r, path+".template")
	if len(r.Allow) == 0 {
		v.missing(path+".allow", `list values, such as [click, "buy_*"]; "*" allows all`, "template needs allow")
	}
	v.distinct(path+".allow", r.Allow, func(at, e string) {
		if e == "" {
			v.bad(at, "", "an empty value names no table")
		}
	})
}

// maxRouted bounds the tables of a route that the configuration lists: each is a commit of its own in every round.
const maxRouted = 200

func (v *validator) template(r *Route, path string) {
	const hint = "write events_${value} or namespace.events_${value}"
	if strings.Count(r.Template, placeholder) != 1 {
		v.bad(path, hint, "template must have ${value} once")
		return
	}
	namespace, _, qualified := strings.Cut(r.Template, ".")
	if qualified && strings.Contains(namespace, placeholder) {
		v.bad(path, hint, "the namespace in template must not depend on the value")
		return
	}
	v.tableName(path, strings.Replace(r.Template, placeholder, "x", 1))
}

// routedTables checks that no route leads to a table that another pipeline, or another part of this one, writes. taken
// are the tables of all pipelines, with where they are named.
func (v *validator) routedTables(c *Config, taken map[string]string) {
	for i := range c.Pipelines {
		p := &c.Pipelines[i]
		r, path := p.Table.Route, item("pipelines", i)+".table.route"
		if r == nil || p.Table.Name == "" {
			continue
		}
		namespace, _, _ := strings.Cut(qualified(c, p.Table.Name), ".")
		mine := map[string]bool{}
		for _, value := range slices.Sorted(maps.Keys(r.Tables)) {
			if t := Qualified(namespace, r.Tables[value]); !mine[t] {
				mine[t] = true
				v.once(taken, t, join(path+".tables", value), "the table", "a table is written by one pipeline only, and as one thing")
			}
		}
	}
	for i := range c.Pipelines {
		p := &c.Pipelines[i]
		if r := p.Table.Route; r != nil && r.Template != "" && p.Table.Name != "" {
			namespace, _, _ := strings.Cut(qualified(c, p.Table.Name), ".")
			v.templateTables(r, namespace, item("pipelines", i), taken)
		}
	}
}

// templateTables checks that an allowed value cannot make the name of a table that is written already.
func (v *validator) templateTables(r *Route, namespace, pipeline string, taken map[string]string) {
	path := pipeline + ".table.route"
	before, after, ok := strings.Cut(Qualified(namespace, r.Template), placeholder)
	if !ok {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(taken)) {
		rest, begins := strings.CutPrefix(name, before)
		value, ends := strings.CutSuffix(rest, after)
		if !begins || !ends || value == "" {
			continue
		}
		for j, pattern := range r.Allow {
			if own := strings.HasPrefix(taken[name], pipeline+"."); own && strings.ContainsAny(pattern, "*?") {
				continue // the loader knows them, and routes no rows there
			}
			if matches(safePattern(pattern), value) {
				at := item(path+".allow", j)
				v.bad(at, "choose another template", "%s leads to the table %s, which is that of %s", v.pos.Quote(at, pattern), name, taken[name])
				break
			}
		}
	}
	names := map[string]string{}
	for j, value := range r.Allow {
		if strings.ContainsAny(value, "*?") || value == "" {
			continue
		}
		at, name := item(path+".allow", j), r.fill(value)
		if name == "" {
			v.bad(at, "", "%s is too long for the name of a table", v.pos.Quote(at, value))
		} else if other, twice := names[name]; twice && other != value {
			v.bad(at, "list one of them under tables", "%s and %s both lead to the table %s", v.pos.Quote(at, value), other, name)
		} else {
			names[name] = value
		}
	}
}

// safePattern is safe for a pattern: what it matches is what values of the pattern become.
func safePattern(pattern string) string {
	var b strings.Builder
	for _, c := range pattern {
		if c == '*' || c == '?' {
			b.WriteRune(c)
		} else {
			b.WriteString(safe(string(c)))
		}
	}
	return b.String()
}
