package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// dryCatalog lets stages prepare tables without changing any.
type dryCatalog struct{ table.Catalog }

// Ensure implements table.Catalog: what the table is, with the columns that it would get.
func (c *dryCatalog) Ensure(ctx context.Context, def table.Def) (table.Info, error) {
	info, err := c.Info(ctx, def.Ident)
	if errors.Is(err, table.ErrNoTable) {
		return (&planCatalog{location: "file:///dry-run"}).Ensure(ctx, def)
	}
	next := 1 << 20 // beyond all columns that are there
	info.Row = numberLike(def.Row, info.Row, &next)
	return info, err
}

// numberLike gives fields the ids of those of the same name in like, and others new ones.
func numberLike(t, like *batch.Type, next *int) *batch.Type {
	if len(t.Fields) == 0 {
		return t
	}
	c := *t
	c.Fields = slices.Clone(t.Fields)
	for i := range c.Fields {
		f := &c.Fields[i]
		inner := &batch.Type{}
		if at := like.Index(f.Name); at >= 0 {
			f.ID, inner = like.Fields[at].ID, like.Fields[at].Type
		} else {
			*next++
			f.ID = *next
		}
		f.Type = numberLike(f.Type, inner, next)
	}
	return &c
}

// dryObjects throws away what is written.
type dryObjects struct{ objects.Store }

// Create implements objects.Store.
func (dryObjects) Create(context.Context, string) (objects.Upload, error) { return nowhere{}, nil }

type nowhere struct{}

func (nowhere) Write(b []byte) (int, error)  { return len(b), nil }
func (nowhere) Commit(context.Context) error { return nil }
func (nowhere) Abort()                       {}

// loadedTopics are those that a table has offsets of, so that Kafka need not be asked.
type loadedTopics struct {
	Topics
	ledger *table.Ledger
}

// Partitions implements Topics.
func (t loadedTopics) Partitions(context.Context, configs.Source) (ps []source.Partition, err error) {
	for _, k := range slices.SortedFunc(maps.Keys(t.ledger.Records), cmpKey) {
		ps = append(ps, source.Partition(k))
	}
	return ps, nil
}
