package pipelinetest

import (
	"context"

	"github.com/lakeloader/lakeloader/table"
)

// Faults is a catalog between a pipeline and the real one, for what goes wrong.
type Faults struct {
	table.Catalog
	// Load and Swap, if set, stand for the calls of every table's store. next does what the real one does.
	Load func(ctx context.Context, id table.Ident, next func() (*table.Base, error)) (*table.Base, error)
	Swap func(ctx context.Context, id table.Ident, ch table.Change, next func() error) error
}

type faultyStore struct {
	table.Store
	f  *Faults
	id table.Ident
}

// Open implements table.Catalog.
func (f *Faults) Open(ctx context.Context, id table.Ident) (table.Store, error) {
	s, err := f.Catalog.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return &faultyStore{s, f, id}, nil
}

// Load implements table.Store.
func (s *faultyStore) Load(ctx context.Context) (*table.Base, error) {
	if s.f.Load == nil {
		return s.Store.Load(ctx)
	}
	return s.f.Load(ctx, s.id, func() (*table.Base, error) { return s.Store.Load(ctx) })
}

// Swap implements table.Store.
func (s *faultyStore) Swap(ctx context.Context, b *table.Base, ch table.Change) error {
	if s.f.Swap == nil {
		return s.Store.Swap(ctx, b, ch)
	}
	return s.f.Swap(ctx, s.id, ch, func() error { return s.Store.Swap(ctx, b, ch) })
}
