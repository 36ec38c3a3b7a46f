package current_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/lakeloader/lakeloader/current"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

var errInjected = errors.New("injected")

// faults fail every few calls, before or after they have done what was asked.
type faults struct {
	mu  sync.Mutex // files are uploaded in the background
	rnd *rand.Rand
}

func (f *faults) draw() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rnd.IntN(12)
}

func (f *faults) around(do func() error) error {
	switch f.draw() {
	case 0:
		return errInjected
	case 1:
		return errors.Join(do(), errInjected)
	}
	return do()
}

type faultyCatalog struct {
	current.Catalog
	*faults
}

func (c *faultyCatalog) Open(ctx context.Context, id table.Ident) (table.Store, error) {
	s, err := c.Catalog.Open(ctx, id)
	return &faultySwap{s, c.faults}, err
}

type faultySwap struct {
	table.Store
	*faults
}

func (s *faultySwap) Swap(ctx context.Context, base *table.Base, ch table.Change) error {
	return s.around(func() error { return s.Store.Swap(ctx, base, ch) })
}

type faultyStore struct {
	objects.Store
	*faults
}

func (s *faultyStore) Put(ctx context.Context, uri string, data []byte) error {
	return s.around(func() error { return s.Store.Put(ctx, uri, data) })
}

func (s *faultyStore) Create(ctx context.Context, uri string) (objects.Upload, error) {
	u, err := s.Store.Create(ctx, uri)
	return &faultyUpload{u, s.faults}, err
}

type faultyUpload struct {
	objects.Upload
	*faults
}

func (u *faultyUpload) Commit(ctx context.Context) error {
	return u.around(func() error { return u.Upload.Commit(ctx) })
}

func (s *faultyStore) Delete(ctx context.Context, uri string) error {
	return s.around(func() error { return s.Store.Delete(ctx, uri) })
}
