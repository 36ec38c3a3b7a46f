package measures

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

func numeric(t *batch.Type) bool {
	return t.Kind >= batch.Int && t.Kind <= batch.Decimal
}

func floating(t *batch.Type) bool { return t.Kind == batch.Float || t.Kind == batch.Double }

func whole(t *batch.Type) bool { return t.Kind == batch.Int || t.Kind == batch.Long }

// digits are a number's before and behind the point, with those that Spark reckons for a long.
func digits(t *batch.Type) (before, behind int) {
	switch t.Kind {
	case batch.Int:
		return 10, 0
	case batch.Long:
		return 20, 0
	}
	return t.Precision - t.Scale, t.Scale
}

// common is the type that holds the values of both.
func common(a, b *batch.Type) (*batch.Type, error) {
	switch {
	case a.Equal(b):
		return a, nil
	case numeric(a) && numeric(b):
		if floating(a) || floating(b) {
			return batch.Prim(batch.Double), nil
		}
		if whole(a) && whole(b) {
			return batch.Prim(batch.Long), nil
		}
		ab, as := digits(a)
		bb, bs := digits(b)
		if max(ab, bb)+max(as, bs) > 38 {
			return nil, fmt.Errorf("%s and %s together need more than 38 digits: cast one to fewer", a, b)
		}
		return batch.DecimalOf(max(ab, bb)+max(as, bs), max(as, bs)), nil
	}
	return nil, fmt.Errorf("%s and %s do not go together: cast one, as in CAST(x AS VARCHAR), or write DATE '2026-01-31' for a date", a, b)
}

// typeOf gives a node's type from its arguments'.
func typeOf(e *expr) (*batch.Type, error) {
	boolean := batch.Prim(batch.Boolean)
	switch e.op {
	case opAnd, opOr, opNot:
		for _, a := range e.args {
			if a.typ.Kind != batch.Boolean {
				return nil, fmt.Errorf("AND, OR and NOT need conditions, and not a %s", a.typ)
			}
		}
		return boolean, nil
	case opIsNull, opNotNull:
		return boolean, nil
	case opCompare, opIn:
		return boolean, comparable(e.args)
	case opLike:
		return boolean, texts("LIKE", e.args)
	case opConcat:
		return batch.Prim(batch.String), texts("||", e.args)
	case opArith:
		return arithmetic(e.text, e.args[0].typ, e.args[1].typ)
	case opNeg:
		return negative(e.args[0].typ)
	case opCase:
		return caseType(e.args)
	}
	return callType(e)
}

func comparable(args []*expr) error {
	for _, a := range args {
		switch k := a.typ.Kind; k {
		case batch.Struct, batch.List, batch.Map, batch.Binary, batch.Fixed:
			return fmt.Errorf("a %s cannot be compared", a.typ)
		case batch.UUID:
			return fmt.Errorf("engines compare UUIDs differently: compare CAST(x AS VARCHAR) with a text in lower case")
		case batch.Time:
			return fmt.Errorf("a time of day cannot be compared: Spark has none")
		}
		if a.typ.Kind == batch.TimestampTZ && args[0].typ.Kind == batch.Timestamp || a.typ.Kind == batch.Timestamp && args[0].typ.Kind == batch.TimestampTZ {
			return fmt.Errorf("a timestamp with a zone cannot be compared with one without: compare CAST(x AS DATE) (its day in UTC), or extract(HOUR FROM x)")
		}
		if _, err := common(args[0].typ, a.typ); err != nil {
			return err
		}
	}
	return nil
}

func texts(what string, args []*expr) error {
	for _, a := range args {
		if a.typ.Kind != batch.String {
			return fmt.Errorf("%s needs a string, and not a %s: write CAST(x AS VARCHAR)", what, a.typ)
		}
	}
	return nil
}

func arithmetic(o string, a, b *batch.Type) (*batch.Type, error) {
	if !numeric(a) || !numeric(b) {
		return nil, fmt.Errorf("%s needs numbers, and not %s and %s", o, a, b)
	}
	if floating(a) || floating(b) {
		return batch.Prim(batch.Double), nil
	}
	if o == "/" {
		return nil, fmt.Errorf("engines divide %s by %s differently: write CAST(x AS DOUBLE) / y, or take avg(x), which is exact", a, b)
	}
	if whole(a) && whole(b) {
		return batch.Prim(batch.Long), nil
	}
	ab, as := digits(a)
	bb, bs := digits(b)
	before, behind := max(ab, bb)+1, max(as, bs)
	if o == "*" {
		before, behind = ab+bb+1, as+bs // Spark reckons one more than it needs
	}
	if before+behind > 38 {
		return nil, fmt.Errorf("%s %s %s may need %d digits, and there are 38: cast to fewer, as in CAST(x AS INTEGER) or CAST(x AS DECIMAL(12,2))",
			a, o, b, before+behind)
	}
	return batch.DecimalOf(before+behind, behind), nil
}

func negative(t *batch.Type) (*batch.Type, error) {
	switch {
	case !numeric(t):
		return nil, fmt.Errorf("- needs a number, and not a %s", t)
	case t.Kind == batch.Int:
		return batch.Prim(batch.Long), nil
	case t.Kind == batch.Float:
		return batch.Prim(batch.Double), nil
	}
	return t, nil
}

func caseType(args []*expr) (*batch.Type, error) {
	var t *batch.Type
	for i, a := range args {
		if i%2 == 0 && i < len(args)-1 {
			if a.typ.Kind != batch.Boolean {
				return nil, fmt.Errorf("WHEN needs a condition, and not a %s", a.typ)
			}
			continue
		}
		if t == nil {
			t = a.typ
		}
		var err error
		if t, err = common(t, a.typ); err != nil {
			return nil, err
		}
	}
	return t, nil
}

const functions = "abs, ceil, coalesce, date_trunc, extract, floor, length, lower, nullif, substr, trim, upper"

func callType(e *expr) (*batch.Type, error) {
	want := map[string]int{"abs": 1, "ceil": 1, "date_trunc": 2, "extract": 1, "floor": 1, "length": 1, "lower": 1, "nullif": 2, "trim": 1, "upper": 1}
	if n, ok := want[e.text]; ok && n != len(e.args) {
		return nil, fmt.Errorf("%s takes %d arguments, not %d", e.text, n, len(e.args))
	}
	t := e.args[0].typ
	switch e.text {
	case "lower", "upper", "trim":
		return t, texts(e.text, e.args)
	case "length":
		return batch.Prim(batch.Long), texts(e.text, e.args)
	case "substr":
		return t, substr(e.args)
	case "abs":
		return negative(t)
	case "floor", "ceil":
		if !floating(t) {
			return nil, fmt.Errorf("%s needs a double, and not a %s: write %s(CAST(x AS DOUBLE))", e.text, t, e.text)
		}
		return batch.Prim(batch.Double), nil
	case "coalesce", "nullif":
		if err := comparable(e.args); err != nil {
			return nil, err
		}
		if e.text == "nullif" {
			return t, nil
		}
		for _, a := range e.args {
			var err error
			if t, err = common(t, a.typ); err != nil {
				return nil, err
			}
		}
		return t, nil
	case "extract":
		if clock := e.path[0] == "HOUR" || e.path[0] == "MINUTE"; !moment(t) || clock && t.Kind == batch.Date {
			return nil, fmt.Errorf("extract(%s FROM x) cannot be taken of a %s", e.path[0], t)
		}
		return batch.Prim(batch.Long), nil
	case "date_trunc":
		return dateTrunc(e.args)
	}
	return nil, fmt.Errorf("the function %s is not among those that all engines answer alike: %s", e.text, functions)
}

func moment(t *batch.Type) bool {
	return t.Kind == batch.Date || t.Kind == batch.Timestamp || t.Kind == batch.TimestampTZ
}

func dateTrunc(args []*expr) (*batch.Type, error) {
	unit, t := args[0], args[1].typ
	switch {
	case !moment(t):
		return nil, fmt.Errorf("date_trunc needs a date or a timestamp, and not a %s", t)
	case unit.op == opLiteral:
		switch unit.text {
		case "year", "quarter", "month", "week", "day":
			return t, nil
		case "hour", "minute":
			if t.Kind != batch.Date {
				return t, nil
			}
		}
	}
	return nil, fmt.Errorf("date_trunc of a %s takes 'year', 'quarter', 'month', 'week' or 'day' (a timestamp 'hour' and 'minute' too), in lower case", t)
}

func substr(args []*expr) error {
	if len(args) != 2 && len(args) != 3 {
		return fmt.Errorf("substr takes a text, the first place (from 1) and perhaps a length")
	}
	if args[1].op != opLiteral || args[1].typ.Kind != batch.Int || args[1].text == "0" {
		return fmt.Errorf("the second argument of substr must be a number from 1: engines disagree on others")
	}
	if len(args) == 3 && (args[2].op != opLiteral || args[2].typ.Kind != batch.Int) {
		return fmt.Errorf("the third argument of substr must be a number")
	}
	return texts("substr", args[:1])
}

// castable refuses the casts that engines do differently.
func castable(from, to *batch.Type) error {
	f := from.Kind
	ok, hint := false, ""
	switch to.Kind {
	case batch.String:
		ok = f == batch.String || f == batch.Boolean || whole(from) || f == batch.Date || f == batch.UUID || f == batch.Decimal && from.Scale <= 6
		hint = "engines write other types differently"
	case batch.Int, batch.Long:
		ok = whole(from) || f == batch.String
		hint = "some engines round, others cut off: floor(CAST(x AS DOUBLE)) says which is meant"
	case batch.Double:
		ok = numeric(from) || f == batch.String
	case batch.Decimal:
		ok = numeric(from) || f == batch.String
	case batch.Date:
		ok = moment(from) || f == batch.String
	}
	if ok {
		return nil
	}
	if hint != "" {
		hint = ": " + hint
	}
	return fmt.Errorf("a %s cannot be cast to %s%s", from, to, hint)
}

// hashable are the types whose values all engines write alike.
func hashable(t *batch.Type) error {
	switch t.Kind {
	case batch.String, batch.Int, batch.Long, batch.Boolean, batch.Date, batch.UUID:
		return nil
	case batch.Decimal:
		if t.Scale <= 6 {
			return nil
		}
	case batch.Timestamp, batch.TimestampTZ:
		return fmt.Errorf("approx_distinct of a %s: engines write times differently; take approx_distinct(CAST(x AS DATE)), or parts by extract", t)
	}
	return fmt.Errorf("approx_distinct of a %s is not supported: engines write it differently; strings, int, long, decimals of up to 6 digits behind the point, "+
		"boolean, date and uuid are", t)
}
