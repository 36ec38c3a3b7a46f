package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/table"
)

// routes are the tables that rows are routed to. One is made when its first row comes, before the round that uses it.
type routes struct {
	router *router
	sinks  []*sink // of this loader's rows, by name
	// known are the tables of the ledger that rows may go to, as they were when the loader began.
	known map[table.Ident]table.Info
}

// newRoutes reads from the ledger which tables there are. A table that is gone stops the loader before it reads anything:
// the rows that it had are lost with it, and someone must know.
func newRoutes(ctx context.Context, cfg *configs.Pipeline, d Deps) (*routes, error) {
	s := &routes{known: map[table.Ident]table.Info{}}
	s.router = newRouter(cfg.Table.Route, d.Primary, d.DeadLetters, func(why string) {
		d.Log.Warn("rows have no table of their own", "reason", why, "otherwise", cfg.Table.Route.Otherwise)
	})
	l, err := LedgerOf(ctx, d.Catalog, cfg.Name, d.Primary)
	if err != nil || l == nil {
		return s, err
	}
	s.router.listed(l.Tables)
	for _, t := range l.Tables {
		if !s.router.reaches(t) {
			continue
		}
		if s.known[t.Ident], err = d.Catalog.Info(ctx, t.Ident); errors.Is(err, table.ErrNoTable) {
			return nil, gone(t.Ident, cfg.Name, err)
		} else if err != nil {
			return nil, fmt.Errorf("reading table %s: %w", t.Ident, err)
		}
	}
	return s, nil
}

// gone says that a table of the ledger is not there. It is not made again: that its rows are lost, a person decides.
func gone(id table.Ident, pipeline string, err error) error {
	return fmt.Errorf("table %s is gone (%w): rows of pipeline %s were routed to it; register it again from its last metadata file, "+
		"or, if its rows may be lost, make an empty table of that name (lakeloader adds the columns)", id, err, pipeline)
}

// LedgerOf reads the ledger of a pipeline from its primary table; nil: there is none yet.
func LedgerOf(ctx context.Context, catalog table.Catalog, pipeline string, primary table.Ident) (*table.Ledger, error) {
	store, err := catalog.Open(ctx, primary)
	if errors.Is(err, table.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening table %s: %w", primary, err)
	}
	base, err := store.Load(ctx)
	if errors.Is(err, table.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", primary, err)
	}
	l, err := table.ParseLedger(pipeline, base.Props)
	if err != nil {
		return nil, fmt.Errorf("%w: table %s: %w", ErrStop, primary, err)
	}
	return l, nil
}

// accept refuses a row type that a table known so far cannot take.
func (s *routes) accept(full *batch.Type) error {
	if err := s.router.bind(full); err != nil {
		return fmt.Errorf("table.route.by: %w", err)
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.known), compareIdents) {
		if _, err := schemas.Merge(s.known[id].Row, full); err != nil {
			return fmt.Errorf("table %s: %w", id, err)
		}
	}
	return nil
}

func compareIdents(a, b table.Ident) int { return strings.Compare(a.String(), b.String()) }

// rebuild brings the tables in use up to the row type of the primary. Others are when they get rows.
func (s *routes) rebuild(ctx context.Context, all *stages) error {
	if err := s.router.bind(all.def.Row); err != nil {
		return fmt.Errorf("%w: pipeline %s: table.route.by: %w", ErrStop, all.cfg.Name, err)
	}
	for _, k := range s.sinks {
		if err := s.ensure(ctx, all, k); err != nil {
			return err
		}
	}
	return nil
}

func (s *routes) ensure(ctx context.Context, all *stages, k *sink) error {
	def := all.def
	def.Ident = k.info.Ident
	if err := all.ensure(ctx, k, def, def.SortBy); err != nil {
		return err
	}
	s.known[def.Ident] = k.info
	return nil
}

// append writes the rows of a batch to the files of their tables.
func (s *routes) append(ctx context.Context, all *stages, b *batch.Batch, ts *tracks) error {
	targets := s.router.split(b)
	for _, t := range targets { // before any table gets rows of the batch
		if t.id == all.primaryTable {
			continue
		}
		k, err := s.sink(ctx, all, t.id)
		if err == nil && !k.like(&all.primary) {
			t.rows, err = k.refuseRows(b, t.rows)
		}
		if err != nil {
			return err
		}
		ts.route(b, t.id.String(), t.rows)
	}
	for _, t := range targets {
		k := &all.primary
		if t.id != all.primaryTable {
			var err error
			if k, err = s.sink(ctx, all, t.id); err != nil {
				return err
			}
		}
		if err := k.appendRows(ctx, b, t.rows); err != nil {
			return err
		}
	}
	return nil
}

// like reports whether a table takes just the rows that another one takes.
func (k *sink) like(o *sink) bool {
	same := func(a, b table.PartitionField) bool { return a.Source == b.Source && a.Transform == b.Transform }
	return slices.EqualFunc(k.info.PartitionBy, o.info.PartitionBy, same) && k.info.Row.Equal(o.info.Row)
}

// refuseRows makes dead letters of those rows that the table cannot take, though the primary could, and returns the rest.
func (k *sink) refuseRows(b *batch.Batch, rows []int32) ([]int32, error) {
	masked := *b // with the other rows out of sight
	masked.Rejects, masked.Fate = nil, make([]batch.Fate, len(b.Fate))
	for i := range masked.Fate {
		masked.Fate[i] = batch.Filtered
	}
	for _, row := range rows {
		masked.Fate[row] = batch.Keep
	}
	if err := k.refuse(&masked); err != nil || len(masked.Rejects) == 0 {
		return rows, err
	}
	b.Rejects = append(b.Rejects, masked.Rejects...)
	kept := rows[:0]
	for _, row := range rows {
		if b.Fate[row] = masked.Fate[row]; masked.Fate[row] == batch.Keep {
			kept = append(kept, row)
		}
	}
	return kept, nil
}

// sink opens a table, which is made if it is not there.
func (s *routes) sink(ctx context.Context, all *stages, id table.Ident) (*sink, error) {
	at, ok := slices.BinarySearchFunc(s.sinks, id, func(k *sink, id table.Ident) int { return compareIdents(k.info.Ident, id) })
	if ok {
		return s.sinks[at], nil
	}
	k := &sink{}
	info, err := all.d.Catalog.Info(ctx, id)
	switch {
	case err == nil:
		if err := s.ours(ctx, all, id); err != nil {
			return nil, err
		}
		k.info = info
	case !errors.Is(err, table.ErrNoTable):
		return nil, fmt.Errorf("reading table %s: %w", id, err)
	case slices.ContainsFunc(s.router.ledger, func(t table.Routed) bool { return t.Ident == id }):
		return nil, gone(id, all.cfg.Name, err)
	}
	k.info.Ident = id
	if err := s.ensure(ctx, all, k); err != nil {
		return nil, err
	}
	s.sinks = slices.Insert(s.sinks, at, k)
	return k, nil
}

// ours refuses a table that another pipeline or program has filled: nobody could tell its rows from ours.
func (s *routes) ours(ctx context.Context, all *stages, id table.Ident) error {
	store, err := all.d.Catalog.Open(ctx, id)
	if err != nil {
		return fmt.Errorf("opening table %s: %w", id, err)
	}
	base, err := store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading table %s: %w", id, err)
	}
	a, err := table.ParseApplied(all.cfg.Name, base.Props)
	if err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrStop, id, err)
	}
	for _, prefix := range []string{markerKey(""), table.Prefix + "applied."} {
		for key := range base.Props {
			if other, ok := strings.CutPrefix(key, prefix); ok && (other != all.cfg.Name || prefix == markerKey("")) {
				return fmt.Errorf("%w: rows of pipeline %s are routed to table %s, but pipeline %s writes it: route them to another table", ErrStop, all.cfg.Name, id, other)
			}
		}
	}
	if base.Rows > 0 && a.UUID != all.primary.info.UUID {
		return fmt.Errorf("%w: rows of pipeline %s are routed to table %s, but it has %d rows that the offsets in table %s do not cover: it was filled by something else, "+
			"or that table was dropped and created again; route them to another table, or drop this one", ErrStop, all.cfg.Name, id, base.Rows, all.primaryTable)
	}
	return nil
}

// reached names the tables of the ledger that rows still go to.
func (s *routes) reached(tables []table.Routed) (ids []string) {
	for _, t := range tables {
		if s.router.reaches(t) {
			ids = append(ids, t.Ident.String())
		}
	}
	return ids
}

// value is what a table was named after.
func (s *routes) value(id table.Ident) string {
	if t := s.router.tables[strings.ToLower(id.String())]; t != nil {
		return t.value
	}
	return ""
}
