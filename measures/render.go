package measures

import (
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// quote writes a text of SQL. Spark before 4 takes two texts side by side for one, without the quote. A backslash, which Spark
// takes for an escape, is refused before.
func (d Dialect) quote(s string) string {
	if d == Spark {
		return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// Ident writes a name in the dialect's quotes.
func (d Dialect) Ident(s string) string {
	if d == Spark {
		return "`" + strings.ReplaceAll(s, "`", "``") + "`"
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// typeName is the dialect's name of a type that a cast goes to.
func (d Dialect) typeName(t *batch.Type) string {
	switch t.Kind {
	case batch.Boolean:
		return "BOOLEAN"
	case batch.Int:
		return "INTEGER"
	case batch.Long:
		return "BIGINT"
	case batch.Double, batch.Float:
		return "DOUBLE"
	case batch.Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case batch.Date:
		return "DATE"
	case batch.Timestamp:
		return map[Dialect]string{DuckDB: "TIMESTAMP", Trino: "TIMESTAMP(6)", Spark: "TIMESTAMP_NTZ"}[d]
	case batch.TimestampTZ:
		return map[Dialect]string{DuckDB: "TIMESTAMPTZ", Trino: "TIMESTAMP(6) WITH TIME ZONE", Spark: "TIMESTAMP"}[d]
	}
	if d == Spark {
		return "STRING"
	}
	return "VARCHAR"
}

// as renders e so that the engine takes it for a value of type t.
func (d Dialect) as(e *expr, t *batch.Type) string {
	s := d.render(e)
	if e.typ.Equal(t) && e.op != opLiteral || t.Nested() {
		return s
	}
	return "CAST(" + s + " AS " + d.typeName(t) + ")"
}

// render writes an expression. Where engines would give it different types, it casts to ours.
func (d Dialect) render(e *expr) string {
	switch e.op {
	case opColumn:
		parts := make([]string, len(e.path))
		for i, p := range e.path {
			parts[i] = d.Ident(p)
		}
		return strings.Join(parts, ".")
	case opLiteral:
		return d.literal(e)
	case opAnd:
		return "(" + d.render(e.args[0]) + " AND " + d.render(e.args[1]) + ")"
	case opOr:
		return "(" + d.render(e.args[0]) + " OR " + d.render(e.args[1]) + ")"
	case opNot:
		return "(NOT " + d.render(e.args[0]) + ")"
	case opCompare, opLike:
		o := e.text
		if e.op == opLike {
			o = "LIKE"
		}
		return "(" + d.render(e.args[0]) + " " + o + " " + d.render(e.args[1]) + ")"
	case opIsNull:
		return "(" + d.render(e.args[0]) + " IS NULL)"
	case opNotNull:
		return "(" + d.render(e.args[0]) + " IS NOT NULL)"
	case opIn:
		return "(" + d.render(e.args[0]) + " IN (" + d.list(e.args[1:]) + "))"
	case opArith:
		return d.arithmetic(e)
	case opNeg:
		return "(-" + d.as(e.args[0], e.typ) + ")"
	case opConcat:
		return "(" + d.render(e.args[0]) + " || " + d.render(e.args[1]) + ")"
	case opCase:
		return d.caseWhen(e)
	case opCast:
		return "CAST(" + d.render(e.args[0]) + " AS " + d.typeName(e.typ) + ")"
	}
	return d.call(e)
}

func (d Dialect) list(args []*expr) string {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = d.render(a)
	}
	return strings.Join(parts, ", ")
}

func (d Dialect) literal(e *expr) string {
	switch e.typ.Kind {
	case batch.String:
		return d.quote(e.text)
	case batch.Date:
		return "DATE " + d.quote(e.text)
	case batch.Timestamp:
		if d == Spark {
			return "TIMESTAMP_NTZ " + d.quote(e.text)
		}
		return "TIMESTAMP " + d.quote(e.text)
	case batch.Double:
		return "CAST(" + d.quote(e.text) + " AS DOUBLE)" // what 1e3 is differs
	case batch.Decimal:
		return "CAST(" + d.quote(e.text) + " AS " + d.typeName(e.typ) + ")" // Trino's and DuckDB's digits of 0.5 differ
	}
	return e.text
}

// arithmetic: whole numbers are counted in 64 bits, decimals get the type that holds every result, and a division by zero
// is null.
func (d Dialect) arithmetic(e *expr) string {
	a, b := e.args[0], e.args[1]
	if e.typ.Kind == batch.Decimal {
		return "CAST((" + d.render(a) + " " + e.text + " " + d.render(b) + ") AS " + d.typeName(e.typ) + ")"
	}
	right := d.as(b, e.typ)
	if e.text == "/" {
		right = "nullif(" + right + ", CAST(0 AS DOUBLE))"
	}
	return "(" + d.as(a, e.typ) + " " + e.text + " " + right + ")"
}

func (d Dialect) caseWhen(e *expr) string {
	var b strings.Builder
	b.WriteString("CASE")
	for i := 0; i+1 < len(e.args); i += 2 {
		b.WriteString(" WHEN " + d.render(e.args[i]) + " THEN " + d.as(e.args[i+1], e.typ))
	}
	if len(e.args)%2 == 1 {
		b.WriteString(" ELSE " + d.as(e.args[len(e.args)-1], e.typ))
	}
	b.WriteString(" END")
	return b.String()
}

func (d Dialect) call(e *expr) string {
	cast := func(s string) string { return "CAST(" + s + " AS " + d.typeName(e.typ) + ")" }
	switch e.text {
	case "extract":
		return cast("extract(" + e.path[0] + " FROM " + d.render(e.args[0]) + ")")
	case "length":
		return cast("length(" + d.render(e.args[0]) + ")")
	case "floor", "ceil":
		return cast(e.text + "(" + d.as(e.args[0], e.typ) + ")")
	case "abs":
		return "abs(" + d.as(e.args[0], e.typ) + ")"
	case "trim":
		return "trim(BOTH ' ' FROM " + d.render(e.args[0]) + ")" // Trino's takes all white space
	case "date_trunc":
		return cast("date_trunc(" + d.list(e.args) + ")")
	case "coalesce":
		parts := make([]string, len(e.args))
		for i, a := range e.args {
			parts[i] = d.as(a, e.typ)
		}
		return "coalesce(" + strings.Join(parts, ", ") + ")"
	}
	return e.text + "(" + d.list(e.args) + ")"
}
