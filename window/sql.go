package window

import (
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
)

// SQL is the rule as a query of DuckDB: the totals on a day of all keys of a table, with the columns key and total.
func (o *Options) SQL(from string, row *batch.Type, day Day) (string, error) {
	if _, err := o.newView(row); err != nil {
		return "", err
	}
	field := row.Fields[row.Index(o.Time)]
	at := quoted(o.Time)
	switch field.Type.Kind {
	case batch.TimestampTZ:
		at = fmt.Sprintf("CAST(timezone('%s', %s) AS DATE)", o.Zone, at)
	case batch.Timestamp:
		at = fmt.Sprintf("CAST(%s AS DATE)", at)
	}
	sum, err := ParseSum(o.Sum, row)
	if err != nil {
		return "", err
	}
	today := fmt.Sprintf("DATE '%s'", day)
	return fmt.Sprintf(`SELECT CAST(%[1]s AS VARCHAR) AS key, CAST(SUM(%[2]s) AS DECIMAL(38,%[3]d)) AS total
FROM %[4]s
WHERE %[1]s IS NOT NULL AND (%[2]s) IS NOT NULL
  AND %[5]s > %[6]s AND %[5]s <= %[7]s
GROUP BY %[1]s`, quoted(o.Key), sum.sql(), o.Decimals, from, at, o.Length.SQL(today), today), nil
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (s *Sum) sql() string { return s.root.sql() }

func (t *term) sql() string {
	switch t.op {
	case 'c':
		return quoted(t.column)
	case 'n':
		return string(t.number.appendText(nil, t.scale))
	case '*':
		return t.left.sql() + " * " + t.right.sql()
	}
	return fmt.Sprintf("(%s %c %s)", t.left.sql(), t.op, t.right.sql())
}
