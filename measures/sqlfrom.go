package measures

import "strings"

// scope is what names mean within one SELECT.
type scope struct {
	tables []relation
	// aliases of the select list, which ORDER BY may name.
	aliases map[string]bool
	outer   *scope
}

type relation struct {
	alias   string
	columns map[string]bool // in lower case
}

func (s *scope) knows(path []string) bool {
	for ; s != nil; s = s.outer {
		for _, t := range s.tables {
			if t.columns[strings.ToLower(path[0])] || len(path) > 1 && strings.EqualFold(t.alias, path[0]) && t.columns[strings.ToLower(path[1])] {
				return true
			}
		}
	}
	return false
}

// from writes a FROM and says whether it is the source and nothing else.
func (w *writer) from(o object, s *scope) bool {
	switch t := o.text("type"); t {
	case "BASE_TABLE":
		w.only(o, "a table", "write FROM source", "table_name")
		if !strings.EqualFold(o.text("table_name"), "source") {
			w.fail("the table %s: an aggregate reads the relation source only", o.text("table_name"))
			return false
		}
		r := relation{alias: "source", columns: map[string]bool{}}
		for _, f := range w.row.Fields {
			r.columns[strings.ToLower(f.Name)] = true
		}
		w.put("source")
		w.named(o, &r)
		s.tables = append(s.tables, r)
		return true
	case "SUBQUERY":
		w.only(o, "a subquery", "write FROM (SELECT ...) name", "subquery")
		if o.text("alias") == "" {
			w.fail("a subquery without a name: write FROM (SELECT ...) name")
		}
		w.put("(")
		r := relation{columns: map[string]bool{}}
		for _, n := range w.query(o.node("subquery").node("node"), nil) {
			r.columns[strings.ToLower(n)] = true
		}
		w.put(")")
		w.named(o, &r)
		s.tables = append(s.tables, r)
	case "JOIN":
		w.join(o, s)
	case "EMPTY", "":
		w.fail("a SELECT without FROM: write FROM source")
	default:
		w.fail("FROM with a %s: an aggregate reads the relation source only", strings.ToLower(strings.ReplaceAll(t, "_", " ")))
	}
	return false
}

func (w *writer) named(o object, r *relation) {
	alias := o.text("alias")
	if alias == "" {
		return
	}
	if err := goodName(alias); err != nil {
		w.fail("%w", err)
	}
	r.alias = alias
	w.put(" ", w.d.Ident(alias))
}

func (w *writer) join(o object, s *scope) {
	w.only(o, "a join", "write JOIN ... ON ... or LEFT JOIN ... ON ...", "left", "right", "condition", "join_type", "ref_type")
	kind, ok := map[string]string{"INNER": "JOIN", "LEFT": "LEFT JOIN"}[o.text("join_type")]
	cross := o.text("ref_type") == "CROSS"
	if !ok || !cross && o.text("ref_type") != "REGULAR" || !cross && o.node("condition") == nil {
		w.fail("a %s %s join: write JOIN ... ON ... or LEFT JOIN ... ON ...", strings.ToLower(o.text("ref_type")), strings.ToLower(o.text("join_type")))
	}
	w.from(o.node("left"), s)
	if cross {
		kind = "CROSS JOIN"
	}
	w.put(" ", kind, " ")
	if o.node("right").text("type") == "JOIN" {
		w.fail("a join in brackets: write the joins one after another")
	}
	w.from(o.node("right"), s)
	if !cross {
		w.put(" ON ")
		w.expr(o.node("condition"), s)
	}
}
