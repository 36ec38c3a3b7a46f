package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/lakeloader/lakeloader/objects"
)

// fetchers is how many objects are fetched at once, pieceBytes what one request asks for.
const (
	fetchers   = 4
	pieceBytes = 8 << 20
)

// fetcher brings objects to a folder, each once. It is safe for concurrent use.
type fetcher struct {
	store objects.Store
	dir   string
	max   int64                 // bytes in all
	full  func(max int64) error // the error when they are more
	mu    sync.Mutex            // guards what follows
	known map[string]*fetched   // by URI
	bytes int64                 // of known ones
	named int
}

// fetched is an object that is here, or on its way.
type fetched struct {
	name string
	done chan struct{}
	err  error
}

// remote is what is to be fetched. Size 0: it is not known.
type remote struct {
	uri  string
	size int64
}

// fetch returns the local paths of objects, in their order, when all of them are here.
func (f *fetcher) fetch(ctx context.Context, all []remote) ([]string, error) {
	names := make([]string, len(all))
	errs := make([]error, len(all))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	slots := make(chan struct{}, fetchers)
	for i, o := range all {
		if p, err := objects.LocalPath(o.uri); err == nil {
			names[i] = p
			continue
		}
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			if names[i], errs[i] = f.one(ctx, o); errs[i] != nil {
				cancel()
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	return names, errors.Join(errs...)
}

// one fetches an object, or waits for who does. What failed is tried again by the next who asks.
func (f *fetcher) one(ctx context.Context, o remote) (string, error) {
	f.mu.Lock()
	x := f.known[o.uri]
	if x != nil {
		f.mu.Unlock()
		select {
		case <-x.done:
			return x.name, x.err
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if f.bytes+o.size > f.max {
		f.mu.Unlock()
		return "", f.full(f.max)
	}
	f.bytes, f.named = f.bytes+o.size, f.named+1
	x = &fetched{name: filepath.Join(f.dir, fmt.Sprintf("%d.parquet", f.named)), done: make(chan struct{})}
	f.known[o.uri] = x
	f.mu.Unlock()
	if x.err = f.copy(ctx, o, x.name); x.err != nil {
		f.mu.Lock()
		f.bytes -= o.size
		delete(f.known, o.uri)
		f.mu.Unlock()
	}
	close(x.done)
	return x.name, x.err
}

// has reports whether an object need not be fetched any more.
func (f *fetcher) has(uri string) bool {
	if _, err := objects.LocalPath(uri); err == nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[uri] != nil
}

func (f *fetcher) copy(ctx context.Context, o remote, name string) error {
	r, err := objects.OpenSized(ctx, f.store, o.uri, o.size)
	if err != nil {
		return err
	}
	to, err := os.Create(name)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	// Both are wrapped, so that io does not choose small pieces itself: each is a request.
	from := struct{ io.Reader }{io.NewSectionReader(r, 0, r.Size())}
	_, err = io.CopyBuffer(struct{ io.Writer }{to}, from, make([]byte, min(pieceBytes, max(1, r.Size()))))
	if err := errors.Join(err, to.Close(), r.Close()); err != nil {
		return fmt.Errorf("fetching %s: %w", o.uri, err)
	}
	return nil
}
