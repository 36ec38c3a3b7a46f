package measures

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// expr writes an expression, with its own brackets.
func (w *writer) expr(o object, s *scope) {
	if w.depth++; w.depth > maxDepth {
		w.fail("expressions nest too deeply")
	}
	defer func() { w.depth-- }()
	if w.err != nil {
		return
	}
	switch class := o.text("class"); class {
	case "COLUMN_REF":
		w.columnRef(o, s)
	case "CONSTANT":
		w.constant(o)
	case "CONJUNCTION":
		w.only(o, "a condition", "write it with AND and OR", "children")
		word := map[string]string{"CONJUNCTION_AND": " AND ", "CONJUNCTION_OR": " OR "}[o.text("type")]
		w.chain(o.nodes("children"), word, s)
	case "COMPARISON":
		w.comparison(o, s)
	case "BETWEEN":
		w.only(o, "BETWEEN", "write x BETWEEN a AND b", "input", "lower", "upper")
		w.put("(")
		w.expr(o.node("input"), s)
		w.put(" BETWEEN ")
		w.expr(o.node("lower"), s)
		w.put(" AND ")
		w.expr(o.node("upper"), s)
		w.put(")")
	case "OPERATOR":
		w.operator(o, s)
	case "CASE":
		w.caseExpr(o, s)
	case "CAST":
		w.castExpr(o, s)
	case "FUNCTION":
		w.function(o, s)
	case "SUBQUERY":
		w.subquery(o, s)
	case "WINDOW":
		w.fail("a window function, OVER (...): group in a subquery and join it")
	default:
		w.fail("%s: it is not among what all engines answer alike", strings.ToLower(strings.ReplaceAll(class, "_", " ")))
	}
}

func (w *writer) chain(children []object, between string, s *scope) {
	w.put("(")
	for i, c := range children {
		if i > 0 {
			w.put(between)
		}
		w.expr(c, s)
	}
	w.put(")")
}

func (w *writer) columnRef(o object, s *scope) {
	path := o.texts("column_names")
	if len(path) > 0 && path[0] == "{{day}}" {
		w.fail("{{day}} must stand in a WHERE, alone or joined by AND")
		return
	}
	if !s.knows(path) {
		w.fail("there is no column %s here; the name of another column of the SELECT must be written out as what it stands for", strings.Join(path, "."))
		return
	}
	for i, p := range path {
		if i > 0 {
			w.put(".")
		}
		w.put(w.d.Ident(p))
	}
}

func (w *writer) constant(o object) {
	v := o.node("value")
	if v["is_null"] == true {
		w.put("NULL")
		return
	}
	switch id := v.node("type").text("id"); id {
	case "VARCHAR":
		text := v.text("value")
		if strings.Contains(text, `\`) {
			w.fail("a backslash in the text %q means another thing in Spark: leave it out", text)
		}
		w.put(w.d.quote(text))
	case "INTEGER", "BIGINT":
		w.put(fmt.Sprint(v["value"]))
	case "DOUBLE":
		w.put("CAST('", fmt.Sprint(v["value"]), "' AS DOUBLE)")
	case "DECIMAL":
		w.decimal(v)
	default:
		w.fail("the value %v of type %s: write it as a text and cast it", v["value"], id)
	}
}

// decimal is given as its digits, without the point.
func (w *writer) decimal(v object) {
	info := v.node("type").node("type_info")
	width, scale := fmt.Sprint(info["width"]), fmt.Sprint(info["scale"])
	var n int
	_, err := fmt.Sscan(scale, &n)
	digits, ok := new(big.Int).SetString(fmt.Sprint(v["value"]), 10)
	if err != nil || !ok {
		w.fail("a decimal of more than 18 digits: write CAST('...' AS DECIMAL(38,s))")
		return
	}
	text := digits.String()
	if pad := n + 1 - len(text); pad > 0 {
		text = strings.Repeat("0", pad) + text
	}
	w.put("CAST('", text[:len(text)-n], ".", text[len(text)-n:], "' AS DECIMAL(", width, ",", scale, "))")
}

func (w *writer) comparison(o object, s *scope) {
	w.only(o, "a comparison", "write it with =, <>, <, <=, > or >=", "left", "right")
	sign, ok := map[string]string{"COMPARE_EQUAL": " = ", "COMPARE_NOTEQUAL": " <> ", "COMPARE_LESSTHAN": " < ", "COMPARE_GREATERTHAN": " > ",
		"COMPARE_LESSTHANOREQUALTO": " <= ", "COMPARE_GREATERTHANOREQUALTO": " >= "}[o.text("type")]
	if !ok {
		w.fail("a comparison by IS [NOT] DISTINCT FROM: write a = b OR a IS NULL AND b IS NULL")
	}
	w.put("(")
	w.expr(o.node("left"), s)
	w.put(sign)
	w.expr(o.node("right"), s)
	w.put(")")
}

func (w *writer) operator(o object, s *scope) {
	c := o.nodes("children")
	w.only(o, "an operator", "leave it out", "children")
	switch t := o.text("type"); t {
	case "OPERATOR_NOT":
		w.put("(NOT ")
		w.expr(c[0], s)
		w.put(")")
	case "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL":
		w.put("(")
		w.expr(c[0], s)
		w.put(map[string]string{"OPERATOR_IS_NULL": " IS NULL)", "OPERATOR_IS_NOT_NULL": " IS NOT NULL)"}[t])
	case "COMPARE_IN", "COMPARE_NOT_IN":
		w.put("(")
		w.expr(c[0], s)
		w.put(map[string]string{"COMPARE_IN": " IN ", "COMPARE_NOT_IN": " NOT IN "}[t])
		w.chain(c[1:], ", ", s)
		w.put(")")
	case "OPERATOR_COALESCE":
		w.put("coalesce")
		w.chain(c, ", ", s)
	case "ARRAY_EXTRACT", "STRUCT_EXTRACT", "ARRAY_SLICE":
		w.fail("an index or a field by []: places in lists are counted from 0 in Spark; name a field as a.b")
	default:
		w.fail("%s: it is not among what all engines answer alike", strings.ToLower(strings.ReplaceAll(t, "_", " ")))
	}
}

func (w *writer) caseExpr(o object, s *scope) {
	w.only(o, "a CASE", "write CASE WHEN ... THEN ... ELSE ... END", "case_checks", "else_expr")
	w.put("CASE")
	for _, c := range o.nodes("case_checks") {
		w.put(" WHEN ")
		w.expr(c.node("when_expr"), s)
		w.put(" THEN ")
		w.expr(c.node("then_expr"), s)
	}
	if e := o.node("else_expr"); e != nil && e.node("value")["is_null"] != true {
		w.put(" ELSE ")
		w.expr(e, s)
	}
	w.put(" END")
}

func (w *writer) castExpr(o object, s *scope) {
	w.only(o, "TRY_CAST", "write CAST and keep away with CASE what cannot be cast", "child", "cast_type")
	child, to := o.node("child"), o.node("cast_type")
	text := child.node("value").text("value")
	name := ""
	switch id := to.text("id"); id {
	case "BOOLEAN":
		if text == "t" || text == "f" {
			w.put(map[string]string{"t": "TRUE", "f": "FALSE"}[text])
			return
		}
		w.fail("a cast to BOOLEAN: write a comparison")
	case "INTEGER", "BIGINT":
		if f := child.text("function_name"); f != "floor" && f != "ceil" && f != "date_part" && f != "length" && f != "count" && f != "count_star" {
			w.fail("a cast to %s rounds in some engines and cuts off in others: write CAST(floor(x) AS %s)", id, id)
		}
		name = id
	case "DOUBLE", "DATE":
		name = id
	case "VARCHAR":
		name = "VARCHAR"
		if w.d == Spark {
			name = "STRING"
		}
	case "DECIMAL":
		info := to.node("type_info")
		if len(info) == 0 {
			w.fail("a cast to DECIMAL: write its digits, as in DECIMAL(38,2)")
		}
		name = fmt.Sprintf("DECIMAL(%v,%v)", info["width"], scaleOf(info))
	default:
		w.fail("a cast to %s, or a value of that type: casts go to INTEGER, BIGINT, DOUBLE, DECIMAL(p,s), VARCHAR and DATE; {{day}} is what compares times", id)
	}
	w.put("CAST(")
	w.expr(child, s)
	w.put(" AS ", name, ")")
}

func scaleOf(info object) any {
	if s, ok := info["scale"]; ok {
		return s
	}
	return 0
}

func (w *writer) subquery(o object, s *scope) {
	w.only(o, "a subquery", "write IN (SELECT ...) or EXISTS (SELECT ...)", "subquery_type", "subquery", "child", "comparison_type")
	switch t := o.text("subquery_type"); t {
	case "ANY":
		if o.text("comparison_type") != "COMPARE_EQUAL" {
			w.fail("a comparison with ANY or ALL: compare with min or max of a subquery")
		}
		w.put("(")
		w.expr(o.node("child"), s)
		w.put(" IN (")
	case "EXISTS":
		w.put("(EXISTS (")
	case "SCALAR":
		w.put("((")
	default:
		w.fail("a subquery of the kind %s: write IN (SELECT ...) or EXISTS (SELECT ...)", strings.ToLower(t))
	}
	w.query(o.node("subquery").node("node"), s)
	w.put("))")
}

// isDouble: an operand that is a double whatever its columns are.
func isDouble(o object) bool {
	switch o.text("class") {
	case "CAST":
		return o.node("cast_type").text("id") == "DOUBLE"
	case "FUNCTION":
		switch o.text("function_name") {
		case "+", "-", "*", "/", "sum", "min", "max", "avg", "abs":
			return slices.ContainsFunc(o.nodes("children"), isDouble)
		}
		return false
	}
	return o.node("value").node("type").text("id") == "DOUBLE"
}

// arity is how many arguments a function takes, from least to most.
var arity = map[string][2]int{
	"sum": {1, 1}, "min": {1, 1}, "max": {1, 1}, "count": {1, 1}, "count_star": {0, 0}, "avg": {1, 1},
	"lower": {1, 1}, "upper": {1, 1}, "trim": {1, 1}, "length": {1, 1}, "substr": {2, 3}, "substring": {2, 3},
	"abs": {1, 1}, "floor": {1, 1}, "ceil": {1, 1}, "ceiling": {1, 1}, "nullif": {2, 2}, "date_trunc": {2, 2}, "date_part": {2, 2}, "concat": {2, 99},
	"+": {1, 2}, "-": {1, 2}, "*": {2, 2}, "/": {2, 2}, "||": {2, 2}, "~~": {2, 2}, "!~~": {2, 2},
}

var aggregates = map[string]bool{"sum": true, "min": true, "max": true, "count": true, "count_star": true, "avg": true}

// instead is what to write for functions that engines answer differently.
var instead = map[string]string{
	"//": "floor(CAST(x AS DOUBLE) / y)", "%": "CASE, as engines disagree on negative numbers", "mod": "CASE, as engines disagree on negative numbers",
	"round": "CAST(x AS DECIMAL(38,2)), which all round alike", "now": "{{day}}: a result must not depend on when it is calculated", "approx_count_distinct": "the short form's approx_distinct(x), or count(DISTINCT x)",
	"median": "the short form's percentile(x, 0.5)", "quantile_cont": "the short form's percentile(x, 0.5)", "approx_quantile": "the short form's percentile(x, 0.5)",
	"first": "the short form's first(x)", "last": "the short form's last(x)", "arg_min": "the short form's first(x)", "arg_max": "the short form's last(x)",
	"min_by": "the short form's first(x)", "max_by": "the short form's last(x)", "~~*": "lower(x) LIKE '...'", "ifnull": "coalesce(x, y)", "if": "CASE WHEN ... THEN ... ELSE ... END",
	"date_diff": "extract(... FROM x)", "strftime": "extract(... FROM x)", "sqrt": "the calculation where the result is read", "current_date": "{{day}}: a result must not depend on when it is calculated",
}

func (w *writer) function(o object, s *scope) {
	name, c := o.text("function_name"), o.nodes("children")
	keys := []string{"function_name", "children", "is_operator", "schema"}
	if aggregates[name] {
		keys = append(keys, "filter", "distinct")
	}
	plain := object{}
	for k, v := range o {
		if m, ok := v.(map[string]any); k != "order_bys" || ok && len(object(m).nodes("orders")) > 0 {
			plain[k] = v
		}
	}
	w.only(plain, name+"(...)", "write it with its arguments alone", keys...)
	n, ok := arity[name]
	if !ok {
		hint := ""
		if instead[name] != "" {
			hint = "; write " + instead[name]
		}
		w.fail("the function %s is not among those that all engines answer alike%s (there are count, sum, min, max, avg, %s)", name, hint, functions)
		return
	}
	if len(c) < n[0] || len(c) > n[1] {
		w.fail("%s with %d arguments: all engines take from %d to %d", name, len(c), n[0], n[1])
		return
	}
	if aggregates[name] {
		w.aggregate(o, name, c, s)
		return
	}
	w.scalar(name, c, s)
}

func (w *writer) aggregate(o object, name string, c []object, s *scope) {
	distinct := o["distinct"] == true
	switch {
	case name == "avg" && !isDouble(c[0]):
		w.fail("avg of whole numbers and decimals is rounded differently: write avg(CAST(x AS DOUBLE)), or sum(x) and count(x), or the short form's avg(x), which is exact")
	case distinct && name != "count":
		w.fail("%s(DISTINCT x): only count takes DISTINCT here", name)
	}
	if name == "count_star" {
		w.put("count(*)")
	} else {
		w.put(name, "(")
		if distinct {
			w.put("DISTINCT ")
		}
		w.expr(c[0], s)
		w.put(")")
	}
	if f := o.node("filter"); f != nil {
		w.put(" FILTER (WHERE ")
		w.expr(f, s)
		w.put(")")
	}
}

func (w *writer) scalar(name string, c []object, s *scope) {
	switch name {
	case "+", "-":
		if len(c) == 1 {
			w.put("(", name)
			w.expr(c[0], s)
			w.put(")")
			return
		}
		w.chain(c, " "+name+" ", s)
	case "*":
		w.chain(c, " * ", s)
	case "||":
		w.chain(c, " || ", s)
	case "concat":
		w.fail("concat treats NULL differently in Spark: write a || b")
	case "/":
		if !isDouble(c[0]) && !isDouble(c[1]) {
			w.fail("engines divide whole numbers and decimals differently: write CAST(x AS DOUBLE) / y")
		}
		w.put("(")
		w.expr(c[0], s)
		w.put(" / nullif(") // a division by zero is an error, infinite or null
		w.expr(c[1], s)
		w.put(", 0))")
	case "~~", "!~~":
		if c[1].text("class") != "CONSTANT" {
			w.fail("LIKE takes a text in quotes here")
		}
		w.chain(c, map[string]string{"~~": " LIKE ", "!~~": " NOT LIKE "}[name], s)
	case "trim":
		w.put("trim(BOTH ' ' FROM ")
		w.expr(c[0], s)
		w.put(")")
	case "substr", "substring":
		if n, ok := c[1].node("value")["value"]; !ok || fmt.Sprint(n) == "0" || c[1].text("class") != "CONSTANT" {
			w.fail("the second argument of substr must be a number from 1: engines disagree on others")
		}
		w.put("substr")
		w.chain(c, ", ", s)
	case "date_part":
		w.datePart(c, s)
	case "date_trunc":
		if unit := c[0].node("value").text("value"); unit != "hour" && unit != "minute" {
			w.fail("date_trunc('%s', x) has another type in each engine: extract(YEAR FROM x) and the like are the same in all; 'hour' and 'minute' may be cut", unit)
		}
		w.put("date_trunc")
		w.chain(c, ", ", s)
	default:
		w.put(strings.Replace(name, "ceiling", "ceil", 1))
		w.chain(c, ", ", s)
	}
}

func (w *writer) datePart(c []object, s *scope) {
	field := strings.ToUpper(c[0].node("value").text("value"))
	switch field {
	case "YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE":
	default:
		w.fail("extract takes YEAR, QUARTER, MONTH, DAY, HOUR or MINUTE, and not %s", field)
	}
	w.put("extract(", field, " FROM ")
	w.expr(c[1], s)
	w.put(")")
}
