// Package trino has Trino answer queries, and compact tables. It must have the lake's catalog: the same REST catalog, or the
// same PostgreSQL database as a JDBC catalog.
package trino

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	trinogo "github.com/trinodb/trino-go-client/trino"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/engines"
	"github.com/lakeloader/lakeloader/table"
)

// Engine is a Trino cluster.
type Engine struct {
	engines.Named
	db      *sql.DB
	catalog string
	tls     string // path of the settings
}

// retries is how long a request that the coordinator does not answer is sent again.
const retries = time.Minute

// Open takes the settings of an engine whose path in the configuration is given, and asks nothing yet. The caller must Close it.
func Open(path string, e configs.Engine) (*Engine, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, fmt.Errorf("%s.url is not a URL", path) // the parser's error repeats it
	}
	where := u.Scheme + "://" + u.Host
	u.User = url.User(e.User)
	if e.Password != "" {
		u.User = url.UserPassword(e.User, e.Password)
	}
	secure, err := access.TLS(path+".tls", e.TLS)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secure
	limit, wait := 365*24*time.Hour, retries // of a query: what calls has a deadline of its own
	c, err := trinogo.NewConnector(&trinogo.Config{ServerURI: u.String(), Source: "lakeloader", Catalog: e.Catalog, TimeZone: "UTC", SessionProperties: e.Session,
		AccessToken: e.Token, HTTPClient: &http.Client{Transport: transport}, DisableExplicitPrepare: true, QueryTimeout: &limit, RequestRetryTimeout: &wait})
	if err != nil {
		return nil, fmt.Errorf("%s: Trino's client refuses the settings: %w", path, err)
	}
	return &Engine{Named: engines.Named{Name: e.Name, Type: "trino", Where: where}, db: sql.OpenDB(c), catalog: e.Catalog, tls: path + ".tls"}, nil
}

// Close gives connections back.
func (e *Engine) Close() error { return e.db.Close() }

// Dialect implements aggregate.Engine.
func (e *Engine) Dialect() aggregate.Dialect { return aggregate.Trino }

// Cost implements aggregate.Engine.
func (e *Engine) Cost(_ context.Context, q aggregate.Query) (aggregate.Cost, error) {
	return engines.Cost(q), nil
}

func (e *Engine) named(id table.Ident) string {
	return aggregate.Trino.Ident(e.catalog) + "." + aggregate.Trino.Ident(id.Namespace) + "." + aggregate.Trino.Ident(id.Name)
}

// Select implements aggregate.Engine.
func (e *Engine) Select(ctx context.Context, q aggregate.Query, each func(row []any) error) error {
	statement := engines.Over(q, e.named(q.Source.Info.Ident), "FOR VERSION AS OF %d")
	return engines.Select(q, func(row func([]any) error) error {
		return e.query(ctx, statement, len(q.Columns), row)
	}, each, func(err error) error { return e.failed(ctx, q.SQL, err) })
}

func (e *Engine) query(ctx context.Context, statement string, columns int, each func(row []any) error) (err error) {
	rows, err := e.db.QueryContext(ctx, statement)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	if len(names) != columns {
		return fmt.Errorf("the result has the columns %s instead of %d", strings.Join(names, ", "), columns)
	}
	row, into := make([]any, columns), make([]any, columns)
	for rows.Next() {
		for i := range into {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Optimize has Trino put the small files of a table into larger ones. It sorts them by itself where the table has a sort order.
func (e *Engine) Optimize(ctx context.Context, o engines.Optimize) error {
	statement := fmt.Sprintf("ALTER TABLE %s EXECUTE optimize(file_size_threshold => '%dB')", e.named(o.Table), o.Target*3/4)
	if _, err := e.db.ExecContext(ctx, statement); err != nil {
		return e.failed(ctx, statement, err)
	}
	return nil
}

// failed says what to do about an error.
func (e *Engine) failed(ctx context.Context, statement string, err error) error {
	hint := "see the query in Trino's web UI"
	var answer *trinogo.ErrQueryFailed
	var trouble *trinogo.ErrTrino
	switch advice := access.Advice(e.tls, err); {
	case advice != "":
		hint = advice
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		hint = "check user, password and token of the engine"
	case errors.As(err, &trouble):
		hint = advise(trouble, hint)
	case errors.As(err, &answer) && answer.StatusCode == 0, strings.Contains(err.Error(), "connection refused"):
		hint = "check the engine's url, and that the coordinator runs"
	}
	return e.Failed(ctx, statement, err, hint)
}

func advise(t *trinogo.ErrTrino, otherwise string) string {
	switch t.ErrorName {
	case "CATALOG_NOT_FOUND", "SCHEMA_NOT_FOUND", "TABLE_NOT_FOUND":
		return "check that Trino has the lake's catalog under the name that the engine's setting catalog gives"
	case "PERMISSION_DENIED":
		return "give the user the right to it"
	case "INVALID_ARGUMENTS", "VERSION_NOT_FOUND":
		return "the snapshot may have expired: raise jobs.expire.age"
	case "NUMERIC_VALUE_OUT_OF_RANGE":
		return "cast to a wider type in the SQL"
	}
	switch t.ErrorType {
	case "USER_ERROR":
		return "correct the SQL"
	case "INSUFFICIENT_RESOURCES":
		return "give Trino more memory or time, or recalculate fewer days at once"
	}
	return otherwise
}
