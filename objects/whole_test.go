package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func readAll(t *testing.T, r Reader) []byte {
	t.Helper()
	data := make([]byte, r.Size())
	_, err := io.ReadFull(io.NewSectionReader(r, 0, r.Size()), data)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

// A small object whose size is known takes one request, whatever is read of it; a large one is read by ranges.
func TestS3SmallObjectsTakeOneRequest(t *testing.T) {
	fake, s := openFake(t)
	for size, requests := range map[int]int{1: 1, 1000: 1, WholeSize: 1, WholeSize + 1: 2} {
		want := bytes.Repeat([]byte("x"), size)
		fake.objects["bucket/a"] = fakeObject{data: want}
		fake.requests = nil
		r, err := OpenSized(t.Context(), s, "s3://bucket/a", int64(size))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, r); !bytes.Equal(got, want) {
			t.Errorf("%d bytes instead of %d", len(got), size)
		}
		if n := fake.count(""); n != requests {
			t.Errorf("%d bytes took %d requests instead of %d: %q", size, n, requests, fake.requests)
		}
	}
}

// Metadata may be wrong: the object is what is there.
func TestS3SmallObjectsOfAnotherSize(t *testing.T) {
	fake, s := openFake(t)
	for _, size := range []int{1, 99, 101, 5000} {
		want := bytes.Repeat([]byte("y"), size)
		fake.objects["bucket/a"] = fakeObject{data: want}
		r, err := OpenSized(t.Context(), s, "s3://bucket/a", 100)
		if err != nil {
			t.Fatal(size, err)
		}
		if got := readAll(t, r); !bytes.Equal(got, want) {
			t.Errorf("%d bytes instead of %d", len(got), size)
		}
	}
	if _, err := OpenSized(t.Context(), s, "s3://bucket/none", 100); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := OpenSized(t.Context(), s, "s3://nowhere/a", 100); err == nil || errors.Is(err, ErrNotFound) {
		t.Error(err) // there is no bucket
	}
}

// An answer that breaks off is gone on with.
func TestS3SmallObjectsInPieces(t *testing.T) {
	for name, f := range map[string]fault{"breaks off": midBody, "503": unavailable, "reset": reset} {
		t.Run(name, func(t *testing.T) {
			fake, s := openFake(t)
			want := bytes.Repeat([]byte("abcdefghij"), 1000)
			fake.objects["bucket/a"] = fakeObject{data: want}
			fake.fault = times(2, f, method(http.MethodGet, ""))
			r, err := OpenSized(t.Context(), s, "s3://bucket/a", int64(len(want)))
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, r); !bytes.Equal(got, want) {
				t.Errorf("%d bytes, other ones", len(got))
			}
		})
	}
}

// slow is a store of sized objects that takes its time, and counts.
type slow struct {
	Store
	t         *testing.T
	let       chan struct{} // one for each answer; nil: at once
	mu        sync.Mutex
	asked     map[string]int
	now, most int
}

func (s *slow) OpenSized(ctx context.Context, uri string, size int64) (Reader, error) {
	s.mu.Lock()
	s.asked[uri]++
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	if s.let != nil {
		select {
		case <-s.let:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if uri == "broken" {
		return nil, ErrRetry
	}
	return whole{bytes.NewReader(bytes.Repeat([]byte(uri[:1]), int(size)))}, nil
}

func some(n int, size int64) (all []Sized) {
	for i := range n {
		all = append(all, Sized{URI: fmt.Sprintf("%c%d", 'a'+i%26, i), Size: size})
	}
	return all
}

// Objects are fetched some at once, each once, and in their order.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{t: t, asked: map[string]int{}, let: make(chan struct{})}
		all := some(30, 10)
		a := NewAhead(t.Context(), s, all)
		synctest.Wait()
		if s.now != aheadRequests || s.asked[all[aheadRequests].URI] != 0 {
			t.Errorf("%d at once", s.now)
		}
		close(s.let)
		for _, o := range all {
			r, err := OpenSized(t.Context(), a, o.URI, o.Size)
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, r); !bytes.Equal(got, bytes.Repeat([]byte(o.URI[:1]), 10)) {
				t.Errorf("%s is %q", o.URI, got)
			}
		}
		if a.Stop(); len(s.asked) != 30 || s.most > aheadRequests {
			t.Errorf("%d objects, %d at once", len(s.asked), s.most)
		}
		for uri, n := range s.asked {
			if n != 1 {
				t.Errorf("%s was asked for %d times", uri, n)
			}
		}
	})
}

// What is not closed bounds what is fetched; whoever opens more does not wait for it.
func TestAheadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{t: t, asked: map[string]int{}}
		const room = aheadBytes / WholeSize
		all := some(room+5, WholeSize)
		a := NewAhead(t.Context(), s, all)
		synctest.Wait()
		if len(s.asked) != room {
			t.Errorf("%d were fetched, there is room for %d", len(s.asked), room)
		}
		var open []Reader
		for _, o := range slices.Backward(all) { // in no order that helps
			r, err := OpenSized(t.Context(), a, o.URI, o.Size)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, r)
		}
		for _, r := range open {
			readAll(t, r)
		}
		if a.Stop(); len(s.asked) != len(all) {
			t.Errorf("%d objects", len(s.asked))
		}
	})
}

// Errors are those of whom they concern; who stops it or gives up does not wait.
func TestAheadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{t: t, asked: map[string]int{}}
		a := NewAhead(t.Context(), s, append([]Sized{{"broken", 5}}, some(2, 5)...))
		synctest.Wait()
		if _, err := OpenSized(t.Context(), a, "broken", 5); !errors.Is(err, ErrRetry) {
			t.Error(err)
		}
		r, err := OpenSized(t.Context(), a, "a0", 5)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, r)
		a.Stop()
		s.let = make(chan struct{})
		a = NewAhead(t.Context(), s, some(100, 5))
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := OpenSized(gone, a, "a0", 5); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		a.Stop()
	})
}
