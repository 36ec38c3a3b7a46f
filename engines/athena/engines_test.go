//go:build stack && engines

package athena

import (
	"database/sql"
	"errors"
	"testing"

	trinogo "github.com/trinodb/trino-go-client/trino"

	"github.com/lakeloader/lakeloader/test/enginestest"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// TestEnginesStatementsOnTrino: Athena cannot be had here. Its statements, which are in Trino's dialect, are answered by Trino behind
// the fake of Athena's protocol.
func TestEnginesStatementsOnTrino(t *testing.T) {
	c, err := trinogo.NewConnector(&trinogo.Config{ServerURI: "http://test@" + stacktest.TrinoURL(t)[len("http://"):], TimeZone: "UTC"})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	defer db.Close()
	f := &fake{page: 3}
	f.answer = func(statement string) (rows [][]*string, reason string) {
		all, err := db.QueryContext(t.Context(), statement)
		if err != nil {
			return nil, named(err)
		}
		defer all.Close()
		names, err := all.Columns()
		if err != nil {
			return nil, named(err)
		}
		rows = append(rows, row(names...))
		for all.Next() {
			values, into := make([]*string, len(names)), make([]any, len(names))
			for i := range values {
				into[i] = &values[i]
			}
			if err := all.Scan(into...); err != nil {
				return nil, named(err)
			}
			rows = append(rows, values)
		}
		if err := all.Err(); err != nil {
			return nil, named(err)
		}
		return rows, ""
	}
	enginestest.Run(t, enginestest.Case{Engine: open(t, f), ByName: true})
}

// named is how Athena tells an error.
func named(err error) string {
	var trouble *trinogo.ErrTrino
	if errors.As(err, &trouble) {
		return trouble.ErrorName + ": " + trouble.Message
	}
	return err.Error()
}
