// Package iceberg makes Apache Iceberg tables what package table expects: it creates and evolves them, and swaps their
// state in one commit of an Iceberg catalog (SQL, REST or Glue).
//
// # The swap
//
// iceberg-go repeats a commit that lost a race by replaying it on the new base, which for a move of Kafka offsets would
// mean rows twice. So its transactions are used to stage a change (manifests, manifest list, snapshot), and its own Commit
// never: the staged updates go to the catalog once, with requirements that hold only on the very base that the caller saw:
//
//   - the table's UUID and main's snapshot (every catalog);
//   - in the SQL and Glue catalogs, whose commit is checked by this process and then made with a compare-and-swap on the
//     metadata's location or version: every property with table.Prefix is what it was;
//   - a REST server checks on its side and knows no such requirement. There, every change of such properties comes with a
//     snapshot (an empty one if need be), and moves the tag lakeloader-move to it; the tag is required to be where it was.
//     The tag catches what main alone cannot: a rollback that brings an old main back. Properties that another program
//     changes without a snapshot go unnoticed there.
//
// A commit whose outcome is unknown leaves its files in place, and a lost race leaves the metadata files that it wrote:
// both are orphans for a later clean-up.
package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	icebergo "github.com/apache/iceberg-go"
	icecat "github.com/apache/iceberg-go/catalog"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/apache/iceberg-go/utils"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lakeloader/lakeloader/table"
)

// moveTag follows the last change of the protocol's properties in REST catalogs.
const moveTag = "lakeloader-move"

// ensureAttempts bounds the races that Ensure may lose.
const ensureAttempts = 20

// loadAttempts bounds the metadata files that load may find removed.
const loadAttempts = 3

// backend is what is used of an iceberg-go catalog.
type backend interface {
	LoadTable(ctx context.Context, id icetable.Identifier) (*icetable.Table, error)
	CommitTable(ctx context.Context, id icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error)
	CreateTable(ctx context.Context, id icetable.Identifier, sc *icebergo.Schema, opts ...icecat.CreateTableOpt) (*icetable.Table, error)
	CreateNamespace(ctx context.Context, ns icetable.Identifier, props icebergo.Properties) error
	CheckNamespaceExists(ctx context.Context, ns icetable.Identifier) (bool, error)
}

// lake is a table.Catalog. It is safe for concurrent use.
type lake struct {
	backend backend
	kind    kind
	where   string // for messages, e.g. "catalog sqlite /lake/catalog.db"
	aws     *aws.Config
	close   func() error

	manifestsRead manifestCache
}

// kind is the family of a catalog, which decides what its commits can require and what its errors mean.
type kind uint8

const (
	sqlite kind = iota + 1
	postgres
	rest
	glue
)

func (l *lake) Close() error { return l.close() }

// context hands the shared AWS settings to iceberg-go's file access.
func (l *lake) context(ctx context.Context) context.Context {
	if l.aws == nil {
		return ctx
	}
	return utils.WithAwsConfig(ctx, l.aws)
}

func identifier(id table.Ident) icetable.Identifier {
	return append(strings.Split(id.Namespace, "."), id.Name)
}

// load reads a table; its errors are classified. While it is on its way from the catalog to the metadata file, other
// programs' commits may have pushed that file out of the table's log: then there is a newer one to look for.
func (l *lake) load(ctx context.Context, id table.Ident) (*icetable.Table, error) {
	tbl, err := l.backend.LoadTable(l.context(ctx), identifier(id))
	for n := 1; n < loadAttempts && errors.Is(err, fs.ErrNotExist); n++ {
		tbl, err = l.backend.LoadTable(l.context(ctx), identifier(id))
	}
	if err != nil {
		return nil, l.readError("load table "+id.String(), err)
	}
	return l.cached(tbl), nil
}

func (l *lake) Info(ctx context.Context, id table.Ident) (table.Info, error) {
	tbl, err := l.load(ctx, id)
	if err != nil {
		return table.Info{}, err
	}
	return info(id, tbl)
}

func (l *lake) Open(ctx context.Context, id table.Ident) (table.Store, error) {
	if _, err := l.load(ctx, id); err != nil {
		return nil, err
	}
	return &store{lake: l, id: id}, nil
}

func (l *lake) Ensure(ctx context.Context, def table.Def) (table.Info, error) {
	var last error
	for range ensureAttempts {
		tbl, err := l.load(ctx, def.Ident)
		if errors.Is(err, table.ErrNoTable) {
			tbl, err = l.create(ctx, def)
		} else if err == nil {
			err = l.evolve(ctx, tbl, def)
		}
		if err == nil {
			return info(def.Ident, tbl)
		}
		if !table.Passing(err) {
			return table.Info{}, err
		}
		if ctx.Err() != nil {
			return table.Info{}, fmt.Errorf("ensure table %s: %w", def.Ident, ctx.Err())
		}
		last = err
	}
	return table.Info{}, fmt.Errorf("ensure table %s: gave up after %d attempts: %w", def.Ident, ensureAttempts, last)
}

// errEvolved asks for another look at a table that was just changed.
var errEvolved = fmt.Errorf("%w: it was just evolved", table.ErrConflict)

// create makes namespace and table. Whoever loses the race finds the winner's table: a passing error.
func (l *lake) create(ctx context.Context, def table.Def) (*icetable.Table, error) {
	sc, spec, order, err := layout(def)
	if err != nil {
		return nil, fmt.Errorf("create table %s: %w", def.Ident, err)
	}
	id := identifier(def.Ident)
	if err := l.createNamespace(ctx, id[:len(id)-1]); err != nil {
		return nil, err
	}
	opts := []icecat.CreateTableOpt{icecat.WithPartitionSpec(spec), icecat.WithSortOrder(order), icecat.WithProperties(properties(def.Properties))}
	if def.Location != "" {
		opts = append(opts, icecat.WithLocation(strings.TrimRight(def.Location, "/")))
	}
	tbl, err := l.backend.CreateTable(l.context(ctx), id, sc, opts...)
	if errors.Is(err, icecat.ErrTableAlreadyExists) {
		return nil, fmt.Errorf("create table %s: %w: another program created it", def.Ident, table.ErrConflict)
	}
	if err != nil {
		return nil, l.readError("create table "+def.Ident.String(), err)
	}
	return tbl, nil
}

func (l *lake) createNamespace(ctx context.Context, ns icetable.Identifier) error {
	ok, err := l.backend.CheckNamespaceExists(l.context(ctx), ns)
	if err == nil && !ok {
		if err = l.backend.CreateNamespace(l.context(ctx), ns, nil); errors.Is(err, icecat.ErrNamespaceAlreadyExists) {
			return nil
		}
	}
	if err == nil {
		return nil
	}
	// SQL catalogs report a lost race as a violated key: look again before believing it.
	if ok, again := l.backend.CheckNamespaceExists(l.context(ctx), ns); again == nil && ok {
		return nil
	}
	return l.readError("create namespace "+strings.Join(ns, "."), err)
}

// properties are what a new table starts with: those that keep metadata small under frequent commits, then the user's.
func properties(user map[string]string) icebergo.Properties {
	p := icebergo.Properties{
		icetable.PropertyFormatVersion:               "2",
		icetable.ManifestMergeEnabledKey:             "true",
		icetable.MetadataDeleteAfterCommitEnabledKey: "true",
		icetable.MetadataPreviousVersionsMaxKey:      "20",
	}
	maps.Copy(p, user)
	return p
}

// evolve gives the table what def has and it lacks. After a change it returns errEvolved, a conflict.
func (l *lake) evolve(ctx context.Context, tbl *icetable.Table, def table.Def) error {
	meta := tbl.Metadata()
	sc, changed, err := merge(meta, def.Row)
	if err != nil {
		return fmt.Errorf("table %s: %w", def.Ident, err)
	}
	if !changed {
		return nil
	}
	_, err = l.commit(ctx, tbl, []icetable.Requirement{
		icetable.AssertTableUUID(meta.TableUUID()),
		icetable.AssertCurrentSchemaID(meta.CurrentSchema().ID),
		icetable.AssertLastAssignedFieldID(meta.LastColumnID()),
	}, []icetable.Update{icetable.NewAddSchemaUpdate(sc), icetable.NewSetCurrentSchemaUpdate(-1)})
	if err != nil {
		return fmt.Errorf("evolve table %s: %w", def.Ident, err)
	}
	return errEvolved
}

// info describes a table in this project's types.
func info(id table.Ident, tbl *icetable.Table) (table.Info, error) {
	meta := tbl.Metadata()
	sc := meta.CurrentSchema()
	row, err := rowType(sc)
	if err != nil {
		return table.Info{}, fmt.Errorf("table %s: %w", id, err)
	}
	out := table.Info{
		Ident: id, UUID: meta.TableUUID().String(), Location: strings.TrimRight(meta.Location(), "/"), Row: row,
		SpecID: meta.DefaultPartitionSpec(), SortOrderID: meta.DefaultSortOrder(), SchemaID: sc.ID, Properties: maps.Clone(meta.Properties()),
	}
	spec := meta.PartitionSpec()
	for _, f := range spec.Fields() {
		name, ok := sc.FindColumnName(f.SourceID())
		if !ok {
			return table.Info{}, fmt.Errorf("table %s: the source column (id %d) of partition field %s is gone: remove the field from the table's partition spec", id, f.SourceID(), f.Name)
		}
		out.PartitionBy = append(out.PartitionBy, table.PartitionField{Source: name, Transform: f.Transform.String(), Name: f.Name, SourceID: f.SourceID(), FieldID: f.FieldID})
	}
	return out, nil
}

// currentSnapshot returns main's snapshot, or nil.
func currentSnapshot(meta icetable.Metadata) *icetable.Snapshot {
	return meta.SnapshotByName(icetable.MainBranch)
}

// protocol returns the properties that belong to the protocol.
func protocol(props map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range props {
		if strings.HasPrefix(k, table.Prefix) {
			out[k] = v
		}
	}
	return out
}

func anyProtocol(keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, table.Prefix) })
}
