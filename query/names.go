package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

// name is a table as a statement names it.
type name struct{ schema, table string }

var explain = regexp.MustCompile(`(?is)^\s*explain\s+(analyze\s+)?`)

// names finds the tables that a statement reads: in its syntax tree, as DuckDB gives it for queries. The names of common
// table expressions are among them; a view of the same name does them no harm. Other statements are asked for with
// DuckDB's own function, which binds them and so misses tables that do not exist yet behind USING and PIVOT.
func names(ctx context.Context, conn *sql.Conn, statement string) ([]name, error) {
	listed, err := duckdb.GetTableNames(conn, statement, true)
	if err != nil {
		return nil, fmt.Errorf("the statement cannot be read: %w", err)
	}
	var tree any
	if err := conn.QueryRowContext(ctx, "SELECT json_serialize_sql("+quote(explain.ReplaceAllString(statement, ""))+", skip_default := true)").Scan(&tree); err != nil {
		return nil, fmt.Errorf("the statement cannot be read: %w", err)
	}
	top, ok := tree.(map[string]any)
	if !ok {
		return nil, errors.New("the statement cannot be read: DuckDB gave no syntax tree")
	}
	found := &found{seen: map[name]bool{}}
	if top["error"] == true {
		for _, text := range listed {
			found.add(parseName(text))
		}
		return found.names, nil
	}
	found.walk(top["statements"])
	return found.names, nil
}

// found collects names, each once.
type found struct {
	names []name
	seen  map[name]bool
}

func (f *found) add(n name) {
	if n.table != "" && !f.seen[n] {
		f.seen[n] = true
		f.names = append(f.names, n)
	}
}

func (f *found) walk(node any) {
	switch n := node.(type) {
	case []any:
		for _, e := range n {
			f.walk(e)
		}
	case map[string]any:
		if n["type"] == "BASE_TABLE" {
			table, _ := n["table_name"].(string)
			schema, _ := n["schema_name"].(string)
			f.add(name{schema, table})
		}
		for _, e := range n {
			f.walk(e)
		}
	}
}

// parseName reads a name as DuckDB lists it: parts with dots, quoted where need be, perhaps with an alias.
func parseName(text string) name {
	parts := []string{""}
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' && quoted && i+1 < len(text) && text[i+1] == '"':
			parts[len(parts)-1] += `"`
			i++
		case c == '"':
			quoted = !quoted
		case c == '.' && !quoted:
			parts = append(parts, "")
		case !quoted && strings.HasPrefix(text[i:], " AS "):
			i = len(text)
		default:
			parts[len(parts)-1] += string(c)
		}
	}
	n := name{table: parts[len(parts)-1]}
	if len(parts) > 1 {
		n.schema = parts[len(parts)-2]
	}
	return n
}
