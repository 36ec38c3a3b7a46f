// Package athena has Amazon Athena answer queries, and compact tables. Athena speaks Trino's dialect, and finds the tables through
// Glue's data catalog, or another one that is registered with it.
//
// Its results come as text. So that every value has just one form, a statement is wrapped in casts; see text.
package athena

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/smithy-go"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/engines"
	"github.com/lakeloader/lakeloader/table"
)

const (
	// pageRows are as many as Athena gives at a time.
	pageRows = 1000
	// firstPoll and longestPoll bound the pause between two questions whether a query has ended.
	firstPoll, longestPoll = 100 * time.Millisecond, 5 * time.Second
	// stopTimeout bounds the request to stop a query whose context has ended.
	stopTimeout = 10 * time.Second
)

// Engine is a workgroup of Athena.
type Engine struct {
	engines.Named
	client    *athena.Client
	catalog   string
	workgroup string
	output    string
	poll      time.Duration
}

// Open takes the settings of an engine whose path in the configuration is given, and asks nothing yet.
func Open(ctx context.Context, path string, e configs.Engine) (*Engine, error) {
	id := access.Identity{Path: path + ".aws"}
	if e.AWS != nil {
		id.Identity = *e.AWS
	}
	c, err := access.AWS(ctx, id)
	if err != nil {
		return nil, err
	}
	if c.Region == "" {
		return nil, fmt.Errorf("%s: Athena needs a region: write %s.aws.region, or set AWS_REGION", path, path)
	}
	where := c.Region
	if e.URL != "" {
		u, err := url.Parse(e.URL)
		if err != nil {
			return nil, fmt.Errorf("%s.url is not a URL", path) // the parser's error may repeat a secret
		}
		where = u.Scheme + "://" + u.Host
	}
	client := athena.NewFromConfig(c, func(o *athena.Options) {
		if e.URL != "" {
			o.BaseEndpoint = aws.String(e.URL)
		}
	})
	return &Engine{Named: engines.Named{Name: e.Name, Type: "athena", Where: where + ", workgroup " + e.Workgroup}, client: client, catalog: e.Catalog, workgroup: e.Workgroup,
		output: e.OutputLocation, poll: firstPoll}, nil
}

// Close has nothing to give back.
func (e *Engine) Close() error { return nil }

// Dialect implements aggregate.Engine.
func (e *Engine) Dialect() aggregate.Dialect { return aggregate.Trino }

// Cost implements aggregate.Engine. Athena bills the bytes that it reads, which are no more.
func (e *Engine) Cost(_ context.Context, q aggregate.Query) (aggregate.Cost, error) {
	return engines.Cost(q), nil
}

// Statement is what Athena is sent for a query: its columns as text. catalog is Athena's name for the lake's.
func Statement(catalog string, q aggregate.Query) string {
	var casts []string
	for _, c := range q.Columns {
		casts = append(casts, text(c)+" AS "+aggregate.Trino.Ident(c.Name))
	}
	id := q.Source.Info.Ident
	name := aggregate.Trino.Ident(catalog) + "." + aggregate.Trino.Ident(id.Namespace) + "." + aggregate.Trino.Ident(id.Name)
	q.SQL = "SELECT " + strings.Join(casts, ", ") + " FROM (" + q.SQL + ") AS result"
	return engines.Over(q, name, "FOR VERSION AS OF %d")
}

// text writes a column as one that Value reads.
func text(c aggregate.Column) string {
	name := aggregate.Trino.Ident(c.Name)
	switch c.Type.Kind {
	case batch.Binary, batch.Fixed:
		return "to_hex(" + name + ")"
	case batch.TimestampTZ:
		return "CAST(" + name + " AT TIME ZONE 'UTC' AS varchar)"
	}
	return "CAST(" + name + " AS varchar)"
}

// Value reads what a column of a Statement gives; nil: null.
func Value(text *string, c aggregate.Column) (any, error) {
	switch {
	case text == nil:
		return nil, nil
	case c.Type.Kind == batch.Binary, c.Type.Kind == batch.Fixed:
		b, err := hex.DecodeString(*text)
		if err != nil {
			return nil, &engines.ValueError{Column: c, Why: fmt.Sprintf("the engine gives %.60q, which is not hexadecimal", *text)}
		}
		return b, nil
	}
	return *text, nil
}

// Select implements aggregate.Engine.
func (e *Engine) Select(ctx context.Context, q aggregate.Query, each func(row []any) error) error {
	statement := Statement(e.catalog, q)
	id, err := e.run(ctx, statement, q.Source.Info.Ident)
	if err != nil {
		return e.failed(ctx, q.SQL, err)
	}
	var own error // of each: it is not the engine's
	err = e.results(ctx, id, q.Columns, func(row []any) error {
		own = each(row)
		return own
	})
	switch {
	case own != nil:
		return own
	case err != nil:
		return e.failed(ctx, q.SQL, fmt.Errorf("reading the results of query %s: %w", id, err))
	}
	return nil
}

// run starts a statement and waits for its end. Starting is safe to repeat, by a token that the client makes.
func (e *Engine) run(ctx context.Context, statement string, id table.Ident) (query string, err error) {
	in := &athena.StartQueryExecutionInput{QueryString: &statement, WorkGroup: &e.workgroup, QueryExecutionContext: &types.QueryExecutionContext{Catalog: &e.catalog, Database: &id.Namespace}}
	if e.output != "" {
		in.ResultConfiguration = &types.ResultConfiguration{OutputLocation: &e.output}
	}
	started, err := e.client.StartQueryExecution(ctx, in)
	if err != nil {
		return "", err
	}
	query = aws.ToString(started.QueryExecutionId)
	if err := e.wait(ctx, query); err != nil {
		if ctx.Err() != nil { // it would go on, and cost
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			if _, serr := e.client.StopQueryExecution(stop, &athena.StopQueryExecutionInput{QueryExecutionId: &query}); serr != nil {
				err = errors.Join(err, fmt.Errorf("query %s may go on: stopping it: %w", query, serr))
			}
		}
		return "", err
	}
	return query, nil
}

// ended is the end of a query other than success.
type ended struct {
	query, state, reason string
}

func (e *ended) Error() string {
	return fmt.Sprintf("query %s ended as %s: %s", e.query, e.state, e.reason)
}

func (e *Engine) wait(ctx context.Context, query string) error {
	for pause := e.poll; ; pause = min(2*pause, longestPoll) {
		out, err := e.client.GetQueryExecution(ctx, &athena.GetQueryExecutionInput{QueryExecutionId: &query})
		if err != nil {
			return err
		}
		if out.QueryExecution == nil || out.QueryExecution.Status == nil {
			return fmt.Errorf("the answer about query %s has no status", query)
		}
		s := out.QueryExecution.Status
		switch s.State {
		case types.QueryExecutionStateSucceeded:
			return nil
		case types.QueryExecutionStateQueued, types.QueryExecutionStateRunning:
		default:
			return &ended{query, string(s.State), aws.ToString(s.StateChangeReason)}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (e *Engine) results(ctx context.Context, query string, columns []aggregate.Column, each func(row []any) error) error {
	pages := athena.NewGetQueryResultsPaginator(e.client, &athena.GetQueryResultsInput{QueryExecutionId: &query, MaxResults: aws.Int32(pageRows)})
	row := make([]any, len(columns))
	for header := true; pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if page.ResultSet == nil {
			return errors.New("a page has no rows")
		}
		for _, r := range page.ResultSet.Rows {
			if len(r.Data) != len(columns) {
				return fmt.Errorf("a row has %d values instead of %d", len(r.Data), len(columns))
			}
			if header { // the first row holds the names
				if header = false; !isHeader(r, columns) {
					return errors.New("the results do not begin with the names of the columns")
				}
				continue
			}
			for i, d := range r.Data {
				if row[i], err = Value(d.VarCharValue, columns[i]); err != nil {
					return err
				}
			}
			if err := engines.Row(row, columns); err != nil {
				return err
			}
			if err := each(row); err != nil {
				return err
			}
		}
	}
	return nil
}

func isHeader(r types.Row, columns []aggregate.Column) bool {
	for i, d := range r.Data {
		if !strings.EqualFold(aws.ToString(d.VarCharValue), columns[i].Name) {
			return false
		}
	}
	return true
}

// moreRuns is in the reason of an OPTIMIZE that did a part of its work.
const moreRuns = "ICEBERG_OPTIMIZE_MORE_RUNS_NEEDED"

// Optimize has Athena put the small files of a table into larger ones. What is small the table's properties say there
// (optimize_rewrite_min_data_file_size_bytes and others).
func (e *Engine) Optimize(ctx context.Context, o engines.Optimize) error {
	statement := fmt.Sprintf("OPTIMIZE %s.%s REWRITE DATA USING BIN_PACK", plain(o.Table.Namespace), plain(o.Table.Name))
	_, err := e.run(ctx, statement, o.Table)
	var end *ended
	if errors.As(err, &end) && strings.Contains(end.reason, moreRuns) {
		return nil // what is left is planned again in the next run
	}
	if err != nil {
		return e.failed(ctx, statement, err)
	}
	return nil
}

// plain writes a name as Athena's documentation does in this statement, which shows no quotation marks there.
func plain(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" && name != "" {
		return name
	}
	return aggregate.Trino.Ident(name)
}

// failed says what to do about an error.
func (e *Engine) failed(ctx context.Context, statement string, err error) error {
	hint := "see the query in Athena's history"
	var api smithy.APIError
	var end *ended
	switch {
	case errors.As(err, &end) && end.state == string(types.QueryExecutionStateCancelled):
		hint = "somebody stopped it, or the workgroup's limit on scanned bytes did"
	case errors.As(err, &end) && (strings.Contains(end.reason, "SYNTAX_ERROR") || strings.Contains(end.reason, "COLUMN_NOT_FOUND")):
		hint = "correct the SQL"
	case errors.As(err, &end) && (strings.Contains(end.reason, "TABLE_NOT_FOUND") || strings.Contains(end.reason, "SCHEMA_NOT_FOUND") || strings.Contains(end.reason, "CATALOG_NOT_FOUND")):
		hint = "check that Athena has the lake's catalog under the name that the engine's setting catalog gives"
	case errors.As(err, &end) && strings.Contains(strings.ToLower(end.reason), "snapshot"):
		hint = "the snapshot may have expired: raise jobs.expire.age"
	case errors.As(err, &end) && strings.Contains(end.reason, "NUMERIC_VALUE_OUT_OF_RANGE"):
		hint = "cast to a wider type in the SQL"
	case errors.As(err, &api) && strings.Contains(api.ErrorCode(), "AccessDenied"):
		hint = "allow athena:StartQueryExecution, GetQueryExecution, GetQueryResults, StopQueryExecution in the workgroup, and reading Glue and the lake's bucket"
	case errors.As(err, &api) && api.ErrorCode() == "InvalidRequestException":
		hint = "check workgroup and output_location of the engine"
	}
	return e.Failed(ctx, statement, err, hint)
}
