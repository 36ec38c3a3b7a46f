// Package aggregate recalculates daily aggregates of a table: of just the days whose rows changed, by SQL that an engine
// answers over one snapshot, and replaces those days of the target table in one swap.
package aggregate

import (
	"context"

	"github.com/lakeloader/lakeloader/measures"
	"github.com/lakeloader/lakeloader/table"
)

// Dialect is a way to write SQL. All share one subset; what they write differently is rendered for each.
type Dialect = measures.Dialect

// The dialects. Athena speaks Trino's.
const (
	DuckDB = measures.DuckDB
	Trino  = measures.Trino
	Spark  = measures.Spark
)

// Source is one snapshot of a table, which statements read under the name source.
type Source struct {
	Info     table.Info
	Snapshot int64
	// Files and Deletes are what there is to read of the snapshot: all files that may have rows of the days asked for.
	// An engine that finds the files itself by Info and Snapshot does without.
	Files   []table.File
	Deletes []string
}

// Column is one of a result. It is not nested.
type Column = measures.Column

// Query is a SELECT in the dialect of the engine that is asked. It may use the relation source, and no other table. It does
// not begin with WITH, so that an engine may put one before it.
type Query struct {
	Source  Source
	SQL     string
	Columns []Column // of the result, in their order
}

// Cost is what a query would take, as far as it is known before.
type Cost struct {
	Files int
	Bytes int64 // of those files, of which an engine may read less
	// Fetched are the bytes that would come to this machine.
	Fetched int64
}

// Engine answers queries. It is safe for concurrent use.
type Engine interface {
	Dialect() Dialect
	// Select calls each with every row of the result. A row is good during the call. Its values are of the types of
	// Query.Columns: nil, bool, int64 (int and long), float64 (float and double), string, []byte (binary, fixed, and UUIDs
	// as 16 bytes), time.Time in UTC (date, timestamp, timestamptz), *big.Int (the unscaled value of a decimal). A value that
	// does not fit its column's type, such as a sum beyond 64 bits, is an error that names the column.
	Select(ctx context.Context, q Query, each func(row []any) error) error
	// Cost estimates a query without running it.
	Cost(ctx context.Context, q Query) (Cost, error)
}
