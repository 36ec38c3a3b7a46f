package writers

import (
	"context"
	"fmt"
	"sync"
)

// uploading makes finished files durable in the background, a number of them at once.
type uploading struct {
	ctx   context.Context // ends with the round
	stop  context.CancelFunc
	slots chan struct{}
	group sync.WaitGroup

	mu      sync.Mutex
	files   map[*file]struct{}
	err     error         // the first
	changed chan struct{} // closed and made anew whenever a file is done
}

func newUploading() *uploading {
	u := &uploading{slots: make(chan struct{}, uploads), files: map[*file]struct{}{}, changed: make(chan struct{})}
	u.ctx, u.stop = context.WithCancel(context.Background())
	return u
}

// start makes a closed file durable. It does not wait.
func (u *uploading) start(ctx context.Context, f *file) {
	u.mu.Lock()
	u.files[f] = struct{}{}
	u.mu.Unlock()
	u.group.Go(func() {
		err := u.commit(ctx, f)
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.files, f)
		if u.err == nil && err != nil {
			u.err = fmt.Errorf("making %s durable: %w", f.out.uri, err)
		}
		close(u.changed)
		u.changed = make(chan struct{})
	})
}

func (u *uploading) commit(ctx context.Context, f *file) error {
	defer f.out.abort() // does nothing after a Commit that succeeded
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-u.slots }()
	return f.out.upload.Commit(ctx)
}

// state tells how many files are on their way, what they hold, and the first error.
func (u *uploading) state() (n int, held int64, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for f := range u.files {
		held += f.out.held()
	}
	return len(u.files), held, u.err
}

// wait waits until at most n files are on their way, which hold at most so much.
func (u *uploading) wait(ctx context.Context, n int, held int64) error {
	for {
		u.mu.Lock()
		changed := u.changed
		u.mu.Unlock()
		have, holds, err := u.state()
		if err != nil || have <= n && holds <= held {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d files are not durable yet: %w", have, context.Cause(ctx))
		}
	}
}

// abort ends all of it, and returns when nothing is on its way any more.
func (u *uploading) abort() {
	u.stop()
	u.group.Wait()
}
