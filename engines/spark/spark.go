// Package spark has Spark answer queries, and compact tables, through its Thrift server: HiveServer2's protocol, which Kyuubi speaks
// as well. Spark must have the lake's catalog: the same REST catalog, or the same PostgreSQL database as a JDBC catalog.
package spark

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/access"
	"github.com/lakeloader/lakeloader/aggregate"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/engines"
	"github.com/lakeloader/lakeloader/table"
)

// Engine is a Thrift server of Spark.
type Engine struct {
	engines.Named
	address string
	secure  *tls.Config // nil: plain
	login   login
	catalog string
	session []string // statements that a session begins with
	path    string   // of the settings
}

type login struct {
	sasl           bool
	user, password string
}

// ours are the properties of every session. Sums beyond their type must be errors, which they are not in Spark 3 by itself, and
// points in time are written as text in the session's zone. Large results are not to be held by Spark's driver.
var ours = map[string]string{"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC", "spark.sql.thriftServer.incrementalCollect": "true"}

// Open takes the settings of an engine whose path in the configuration is given, and asks nothing yet.
func Open(path string, e configs.Engine) (*Engine, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, fmt.Errorf("%s.url is not a URL", path) // the parser's error may repeat a secret
	}
	if u.Port() == "" {
		u.Host += ":10000"
	}
	s := &Engine{Named: engines.Named{Name: e.Name, Type: "spark", Where: u.Scheme + "://" + u.Host}, address: u.Host, catalog: e.Catalog, path: path,
		login: login{sasl: e.Auth != "nosasl", user: e.User, password: e.Password}}
	if u.Scheme == "thrifts" {
		if s.secure, err = access.TLS(path+".tls", e.TLS); err != nil {
			return nil, err
		}
	}
	for _, p := range []map[string]string{e.Session, ours} {
		for _, name := range slices.Sorted(maps.Keys(p)) {
			s.session = append(s.session, "SET "+name+"="+p[name])
		}
	}
	return s, nil
}

// Close has nothing to give back.
func (e *Engine) Close() error { return nil }

// Dialect implements aggregate.Engine.
func (e *Engine) Dialect() aggregate.Dialect { return aggregate.Spark }

// Cost implements aggregate.Engine.
func (e *Engine) Cost(_ context.Context, q aggregate.Query) (aggregate.Cost, error) {
	return engines.Cost(q), nil
}

// named is a table's name, in parts: a namespace with dots has several.
func (e *Engine) named(id table.Ident) string {
	name := aggregate.Spark.Ident(e.catalog)
	for p := range strings.SplitSeq(id.Namespace, ".") {
		name += "." + aggregate.Spark.Ident(p)
	}
	return name + "." + aggregate.Spark.Ident(id.Name)
}

// Select implements aggregate.Engine.
func (e *Engine) Select(ctx context.Context, q aggregate.Query, each func(row []any) error) error {
	statement := engines.Over(q, e.named(q.Source.Info.Ident), "VERSION AS OF %d")
	return engines.Select(q, func(row func([]any) error) error {
		return e.do(ctx, statement, len(q.Columns), row)
	}, each, func(err error) error { return e.failed(ctx, q.SQL, err) })
}

// do runs a statement in a session of its own.
func (e *Engine) do(ctx context.Context, statement string, columns int, each func(row []any) error) error {
	s, err := open(ctx, e.address, e.secure, e.login)
	if err != nil {
		return err
	}
	defer s.close()
	for _, set := range e.session {
		if err := s.run(ctx, set, 0, nil); err != nil {
			return fmt.Errorf("%s: %w", set, err)
		}
	}
	return s.run(ctx, statement, columns, each)
}

// Optimize has Spark put the small files of a table into larger ones, sorted where the table's rows are.
func (e *Engine) Optimize(ctx context.Context, o engines.Optimize) error {
	quoted := func(text string) string {
		return "'" + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), "'", `\'`) + "'"
	}
	arguments := []string{"table => " + quoted(o.Table.Namespace+"."+o.Table.Name)}
	if len(o.SortBy) > 0 {
		var order []string
		for _, f := range o.SortBy {
			if f.Desc {
				order = append(order, aggregate.Spark.Ident(f.Source)+" DESC NULLS LAST")
			} else {
				order = append(order, aggregate.Spark.Ident(f.Source)+" ASC NULLS FIRST")
			}
		}
		arguments = append(arguments, "strategy => 'sort'", "sort_order => "+quoted(strings.Join(order, ", ")))
	}
	arguments = append(arguments, fmt.Sprintf("options => map('target-file-size-bytes', '%d', 'min-file-size-bytes', '%d', 'max-file-size-bytes', '%d', 'min-input-files', '%d', 'partial-progress.enabled', 'true')",
		o.Target, o.Target*3/4, o.Target*9/5, o.MinFiles))
	statement := fmt.Sprintf("CALL %s.system.rewrite_data_files(%s)", aggregate.Spark.Ident(e.catalog), strings.Join(arguments, ", "))
	if err := e.do(ctx, statement, 0, nil); err != nil {
		return e.failed(ctx, statement, err)
	}
	return nil
}

// failed says what to do about an error. Of a server's error it keeps the first lines, without Java's stack.
func (e *Engine) failed(ctx context.Context, statement string, err error) error {
	var hint string
	var answer *refused
	advice := access.Advice(e.path+".tls", err)
	switch {
	case errors.As(err, &answer):
		short := &refused{brief(answer.message), answer.state}
		hint, err = advise(short), short
	case advice != "":
		hint = advice
	default:
		hint = "check the engine's url and auth, and that Spark's Thrift server runs"
	}
	return e.Failed(ctx, statement, err, hint)
}

// brief is the part of a server's message that people read.
func brief(message string) string {
	message, _, _ = strings.Cut(message, "\n\tat ")
	for _, before := range []string{"Error running query: ", "Error operating ExecuteStatement: "} {
		if _, after, ok := strings.Cut(message, before); ok {
			message = after
		}
	}
	lines := strings.FieldsFunc(message, func(r rune) bool { return r == '\n' })
	return strings.Join(lines[:min(3, len(lines))], " ")
}

func advise(r *refused) string {
	for _, x := range []struct{ text, hint string }{
		{"TABLE_OR_VIEW_NOT_FOUND", "check that Spark has the lake's catalog under the name that the engine's setting catalog gives"},
		{"Cannot find snapshot", "the snapshot may have expired: raise jobs.expire.age"},
		{"Cannot find a snapshot", "the snapshot may have expired: raise jobs.expire.age"},
		{"OVERFLOW", "cast to a wider type in the SQL"},
		{"overflow", "cast to a wider type in the SQL"},
	} {
		if strings.Contains(r.message, x.text) {
			return x.hint
		}
	}
	if strings.HasPrefix(r.state, "42") { // syntax error or access rule violation
		return "correct the SQL"
	}
	return "see the Thrift server's log"
}
