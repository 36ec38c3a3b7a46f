package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/measures"
)

// ParseSQL reads an aggregate's SQL over the row type of its source. It refuses what engines would not answer alike, and says
// what to write instead.
func ParseSQL(ctx context.Context, text string, row *batch.Type) (s *measures.SQL, err error) {
	marked, err := measures.Mark(text)
	if err != nil {
		return nil, fmt.Errorf("sql: %w", err)
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var tree string
	if err := db.QueryRowContext(ctx, "SELECT CAST(json_serialize_sql("+quote(marked)+") AS VARCHAR)").Scan(&tree); err != nil {
		return nil, fmt.Errorf("sql: it cannot be read: %w", err)
	}
	if s, err = measures.ParseSQL([]byte(tree), row); err != nil {
		return nil, fmt.Errorf("sql: %w", err)
	}
	return s, nil
}
