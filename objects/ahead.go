package objects

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// aheadRequests is how many objects are fetched at once, aheadBytes what those that are not closed yet may take.
	aheadRequests = 8
	aheadBytes    = 16 << 20
)

// Sized names an object, with its size as metadata tell it.
type Sized struct {
	URI  string
	Size int64
}

// Ahead is a store that fetches small objects before they are opened, several at once, so that a reader of one after the other does
// not wait for each. Each is fetched once, and kept until the reader that Open gives for it is closed. Objects that are opened out of
// their order, a second time, or before their turn are opened as ever. It is safe for concurrent use.
type Ahead struct {
	Store
	cancel context.CancelFunc
	wait   sync.WaitGroup
	room   *semaphore.Weighted

	mu   sync.Mutex
	next map[string]*fetching // what nobody has opened
}

// fetching is an object that is fetched, or will be.
type fetching struct {
	size  int64 // of its room
	begun bool
	done  chan struct{}
	r     Reader
	err   error
}

// NewAhead begins to fetch objects in the order in which they will be opened. The caller must Stop it, after the last read.
func NewAhead(ctx context.Context, s Store, objects []Sized) *Ahead {
	return NewAheadWithin(ctx, s, objects, aheadBytes)
}

// NewAheadWithin is NewAhead where what was fetched and is not closed yet may take no more than so many bytes, if that is less than 16 MiB.
func NewAheadWithin(ctx context.Context, s Store, objects []Sized, most int64) *Ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &Ahead{Store: s, cancel: cancel, room: semaphore.NewWeighted(min(aheadBytes, max(WholeSize, most))), next: map[string]*fetching{}}
	if _, ok := s.(sizedStore); !ok {
		return a
	}
	var all []Sized
	for _, o := range objects {
		if o.Size > 0 && o.Size <= WholeSize && a.next[o.URI] == nil {
			a.next[o.URI] = &fetching{size: o.Size, done: make(chan struct{})}
			all = append(all, o)
		}
	}
	a.wait.Go(func() { a.fetch(ctx, all) })
	return a
}

// Stop ends what is being fetched.
func (a *Ahead) Stop() {
	a.cancel()
	a.wait.Wait()
}

func (a *Ahead) fetch(ctx context.Context, all []Sized) {
	slots := semaphore.NewWeighted(aheadRequests)
	for _, o := range all {
		if errors.Join(slots.Acquire(ctx, 1), a.room.Acquire(ctx, o.Size)) != nil {
			return // it is stopped
		}
		a.mu.Lock()
		f := a.next[o.URI]
		if f != nil {
			f.begun = true
		}
		a.mu.Unlock()
		if f == nil { // somebody was faster
			slots.Release(1)
			a.room.Release(o.Size)
			continue
		}
		a.wait.Go(func() {
			defer slots.Release(1)
			f.r, f.err = OpenSized(ctx, a.Store, o.URI, o.Size)
			close(f.done)
		})
	}
}

// OpenSized implements sizedStore.
func (a *Ahead) OpenSized(ctx context.Context, uri string, size int64) (Reader, error) {
	a.mu.Lock()
	f := a.next[uri]
	delete(a.next, uri)
	begun := f != nil && f.begun
	a.mu.Unlock()
	if !begun {
		return OpenSized(ctx, a.Store, uri, size)
	}
	select {
	case <-ctx.Done():
		a.room.Release(f.size)
		return nil, ctx.Err()
	case <-f.done:
	}
	if f.err != nil {
		a.room.Release(f.size)
		return nil, f.err
	}
	return &fetched{Reader: f.r, release: sync.OnceFunc(func() { a.room.Release(f.size) })}, nil
}

// fetched gives its room back when it is closed.
type fetched struct {
	Reader
	release func()
}

func (f *fetched) Close() error {
	f.release()
	return f.Reader.Close()
}
