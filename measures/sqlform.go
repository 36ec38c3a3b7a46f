package measures

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// dayMark is what {{day}} becomes for DuckDB's parser: a column of that name.
const dayMark = `"{{day}}"`

// Mark makes SQL that DuckDB's parser takes of an aggregate's SQL, by quoting {{day}}.
func Mark(sql string) (string, error) {
	tokens, err := lex(sql)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	at, days := 0, 0
	for _, t := range tokens {
		if t.kind == tokQuoted && t.text == "{{day}}" {
			return "", fmt.Errorf("position %d: {{day}} must stand without quotes", t.pos+1)
		}
		if t.kind == tokSymbol && t.text == "{{day}}" {
			b.WriteString(sql[at:t.pos] + dayMark)
			at = t.end
			days++
		}
		if t.is(";") {
			return "", fmt.Errorf("position %d: a semicolon: write one SELECT, without one", t.pos+1)
		}
	}
	if days == 0 {
		return "", fmt.Errorf("{{day}} is missing: write it where the condition for one day belongs, as in SELECT count(*) AS n FROM source WHERE {{day}}")
	}
	b.WriteString(sql[at:])
	return b.String(), nil
}

// SQL is an aggregate's SQL that was found to mean the same for every engine.
type SQL struct {
	node object
	row  *batch.Type
	// Names of the result's columns.
	Names []string
}

// ParseSQL reads the syntax tree that DuckDB's json_serialize_sql gives for Mark's text, over the row type of source. It refuses
// what engines would not answer alike, and says what to write instead.
func ParseSQL(tree []byte, row *batch.Type) (*SQL, error) {
	var top struct {
		Error        bool   `json:"error"`
		ErrorMessage string `json:"error_message"`
		Statements   []struct {
			Node object `json:"node"`
		} `json:"statements"`
	}
	dec := json.NewDecoder(strings.NewReader(string(tree)))
	dec.UseNumber()
	if err := dec.Decode(&top); err != nil {
		return nil, fmt.Errorf("the syntax tree cannot be read: %w", err)
	}
	switch {
	case top.Error:
		return nil, fmt.Errorf("it cannot be read: %s; write one SELECT", top.ErrorMessage)
	case len(top.Statements) != 1:
		return nil, fmt.Errorf("there are %d statements: write one SELECT", len(top.Statements))
	}
	s := &SQL{node: top.Statements[0].Node, row: row}
	for _, d := range []Dialect{DuckDB, Trino, Spark} {
		w := &writer{d: d, row: row, day: "TRUE"}
		names := w.query(s.node, nil)
		if w.err != nil {
			return nil, w.err
		}
		if w.days == 0 {
			return nil, fmt.Errorf("{{day}} is missing in the WHERE of a SELECT that reads source")
		}
		s.Names = names
	}
	return s, nil
}

// Check reports why ParseSQL refuses a tree.
func Check(tree []byte, row *batch.Type) error {
	_, err := ParseSQL(tree, row)
	return err
}

// Render writes the statement in a dialect, with a condition of DayCondition for {{day}}.
func (s *SQL) Render(d Dialect, day string) (string, error) {
	w := &writer{d: d, row: s.row, day: day}
	w.query(s.node, nil)
	return w.b.String(), w.err
}

// object is a node of the tree.
type object map[string]any

func (o object) text(key string) string {
	s, _ := o[key].(string)
	return s
}

func (o object) node(key string) object {
	m, _ := o[key].(map[string]any)
	return m
}

func (o object) nodes(key string) []object {
	list, _ := o[key].([]any)
	out := make([]object, 0, len(list))
	for _, e := range list {
		m, _ := e.(map[string]any)
		out = append(out, m)
	}
	return out
}

func (o object) texts(key string) (out []string) {
	list, _ := o[key].([]any)
	for _, e := range list {
		s, _ := e.(string)
		out = append(out, s)
	}
	return out
}

// blank reports whether a value of the tree says nothing.
func blank(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case bool:
		return !x
	case string:
		return x == ""
	case []any:
		return len(x) == 0
	case map[string]any:
		for _, e := range x {
			if !blank(e) {
				return false
			}
		}
		return true
	}
	return false
}

// writer writes a tree in a dialect. What it does not know is an error: the tree says more than was written.
type writer struct {
	d     Dialect
	row   *batch.Type
	day   string
	b     strings.Builder
	err   error
	days  int
	depth int
}

func (w *writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *writer) put(parts ...string) {
	for _, p := range parts {
		w.b.WriteString(p)
	}
}

// only refuses a node that says more than the keys given.
func (w *writer) only(o object, what, instead string, keys ...string) {
	known := map[string]bool{"class": true, "type": true, "query_location": true, "alias": true}
	for _, k := range keys {
		known[k] = true
	}
	for k, v := range o {
		if !known[k] && !blank(v) {
			w.fail("%s with %s: %s", what, strings.ReplaceAll(k, "_", " "), instead)
		}
	}
}

// query writes a SELECT and gives the names of its columns.
func (w *writer) query(o object, outer *scope) []string {
	if w.depth++; w.depth > maxDepth {
		w.fail("queries nest too deeply")
	}
	defer func() { w.depth-- }()
	if t := o.text("type"); t != "SELECT_NODE" {
		w.fail("a %s: write one SELECT; for a UNION make two aggregates, or group by a CASE", strings.ToLower(strings.TrimSuffix(t, "_NODE")))
	}
	if w.err != nil {
		return nil
	}
	if !blank(o["cte_map"]) {
		w.fail("WITH: write a subquery, FROM (SELECT ...) name, since lakeloader puts a WITH of its own before the statement for some engines")
	}
	w.only(o, "a SELECT", "write it with SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY and LIMIT alone",
		"modifiers", "cte_map", "select_list", "from_table", "where_clause", "group_expressions", "group_sets", "aggregate_handling", "having")
	s := &scope{outer: outer, aliases: map[string]bool{}}
	w.put("SELECT ")
	if w.distinct(o) {
		w.put("DISTINCT ")
	}
	// what FROM has must be known before the list that stands in front of it is written
	body := w.b.String()
	w.b.Reset()
	source := w.from(o.node("from_table"), s)
	from := w.b.String()
	w.b.Reset()
	w.put(body)
	names := w.selectList(o, s)
	w.put(" FROM ", from)
	if where := o.node("where_clause"); where != nil {
		w.put(" WHERE ")
		w.condition(where, s, source)
	}
	w.grouping(o, s)
	if having := o.node("having"); having != nil {
		w.put(" HAVING ")
		w.expr(having, s)
	}
	w.modifiers(o, s)
	return names
}

func (w *writer) distinct(o object) bool {
	for _, m := range o.nodes("modifiers") {
		if m.text("type") == "DISTINCT_MODIFIER" {
			w.only(m, "DISTINCT ON", "use GROUP BY with min and max")
			return true
		}
	}
	return false
}

func (w *writer) selectList(o object, s *scope) (names []string) {
	seen := map[string]bool{}
	for i, e := range o.nodes("select_list") {
		if i > 0 {
			w.put(", ")
		}
		name := e.text("alias")
		if path := e.texts("column_names"); name == "" && len(path) > 0 {
			name = path[len(path)-1]
		}
		if e.text("class") == "STAR" {
			w.fail("SELECT *: name the columns, since a new column of the source would change the target")
			return nil
		}
		w.expr(e, s)
		if name == "" {
			w.fail("column %d of the SELECT has no name: write AS name behind it", i+1)
		} else if err := goodName(name); err != nil && w.err == nil {
			w.fail("%w: write AS name behind column %d of the SELECT", err, i+1)
		}
		if seen[strings.ToLower(name)] {
			w.fail("two columns of the SELECT are named %s: write AS behind one", name)
		}
		seen[strings.ToLower(name)] = true
		w.put(" AS ", w.d.Ident(name))
		names = append(names, name)
	}
	s.aliases = seen
	return names
}

// condition writes a WHERE, which alone may have {{day}}: as the whole of it, or joined by AND.
func (w *writer) condition(o object, s *scope, source bool) {
	if path := o.texts("column_names"); len(path) == 1 && path[0] == "{{day}}" {
		if !source {
			w.fail("{{day}} must stand in the WHERE of a SELECT that reads source and nothing else: join its result as a subquery")
		}
		w.days++
		w.put(w.day)
		return
	}
	if o.text("type") != "CONJUNCTION_AND" {
		w.expr(o, s)
		return
	}
	w.put("(")
	for i, c := range o.nodes("children") {
		if i > 0 {
			w.put(" AND ")
		}
		w.condition(c, s, source)
	}
	w.put(")")
}

func (w *writer) grouping(o object, s *scope) {
	if h := o.text("aggregate_handling"); h != "" && h != "STANDARD_HANDLING" {
		w.fail("GROUP BY ALL: name the columns to group by")
	}
	groups := o.nodes("group_expressions")
	if sets, _ := o["group_sets"].([]any); len(sets) > 1 || len(sets) == 1 && len(sets[0].([]any)) != len(groups) {
		w.fail("GROUPING SETS, ROLLUP or CUBE: make an aggregate for each set")
	}
	list := o.nodes("select_list")
	for i, g := range groups {
		if i == 0 {
			w.put(" GROUP BY ")
		} else {
			w.put(", ")
		}
		if path := g.texts("column_names"); len(path) == 1 && !s.knows(path) {
			g = aliased(list, path[0], g)
		}
		if g.text("type") == "VALUE_CONSTANT" {
			w.put(fmt.Sprint(g.node("value")["value"]))
			continue
		}
		w.expr(g, s)
	}
}

// aliased gives the expression that an alias of the select list stands for, which GROUP BY may name in some engines only.
func aliased(list []object, name string, g object) object {
	for _, e := range list {
		if strings.EqualFold(e.text("alias"), name) {
			return e
		}
	}
	return g
}

func (w *writer) modifiers(o object, s *scope) {
	ordered := false
	for _, m := range o.nodes("modifiers") {
		switch t := m.text("type"); t {
		case "DISTINCT_MODIFIER":
		case "ORDER_MODIFIER":
			ordered = true
			w.orders(m, s)
		case "LIMIT_MODIFIER":
			n := m.node("limit")
			w.only(m, "a LIMIT", "write LIMIT and a number", "limit")
			if !ordered {
				w.fail("LIMIT without ORDER BY: which rows are left would be chance; order by columns that tell all rows apart")
			}
			if n.text("type") != "VALUE_CONSTANT" {
				w.fail("LIMIT takes a number here")
				return
			}
			w.put(" LIMIT ", fmt.Sprint(n.node("value")["value"]))
		default:
			w.fail("a %s: leave it out", strings.ToLower(strings.ReplaceAll(t, "_", " ")))
		}
	}
}

// orders says where nulls go, as each engine has its own idea of it.
func (w *writer) orders(m object, s *scope) {
	for i, e := range m.nodes("orders") {
		if i == 0 {
			w.put(" ORDER BY ")
		} else {
			w.put(", ")
		}
		x := e.node("expression")
		switch path := x.texts("column_names"); {
		case x.text("type") == "VALUE_CONSTANT":
			w.put(fmt.Sprint(x.node("value")["value"]))
		case len(path) == 1 && s.aliases[strings.ToLower(path[0])]:
			w.put(w.d.Ident(path[0]))
		default:
			w.expr(x, s)
		}
		if e.text("type") == "DESCENDING" {
			w.put(" DESC")
		}
		if e.text("null_order") == "NULLS FIRST" || e.text("null_order") == "NULLS_FIRST" {
			w.put(" NULLS FIRST")
		} else {
			w.put(" NULLS LAST")
		}
	}
}
