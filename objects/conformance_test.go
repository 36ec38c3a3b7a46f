package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// conformance is what every store must do. root is an empty place of its own.
func conformance(t *testing.T, s Store, root string) {
	ctx := t.Context()
	read := func(t *testing.T, uri string) []byte {
		t.Helper()
		r, err := s.Open(ctx, uri)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b := make([]byte, r.Size())
		if n, err := r.ReadAt(b, 0); n != len(b) || err != nil && err != io.EOF {
			t.Fatalf("read %d of %d bytes: %v", n, len(b), err)
		}
		return b
	}

	t.Run("put", func(t *testing.T) {
		uri := root + "/put/new/folder/a"
		if _, err := s.Open(ctx, uri); !errors.Is(err, ErrNotFound) {
			t.Fatalf("open before: %v", err)
		}
		if err := s.Put(ctx, uri, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{"other", "hello"} {
			if err := s.Put(ctx, uri, []byte(other)); !errors.Is(err, ErrExists) {
				t.Fatalf("put %q over it: %v", other, err)
			}
		}
		if got := read(t, uri); string(got) != "hello" {
			t.Fatalf("read %q", got)
		}
		if err := s.Put(ctx, root+"/put/empty", nil); err != nil {
			t.Fatal(err)
		}
		if got := read(t, root+"/put/empty"); len(got) != 0 {
			t.Fatalf("read %q", got)
		}
	})

	t.Run("put race", func(t *testing.T) {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() { errs[i] = s.Put(ctx, root+"/race", fmt.Append(nil, "writer", i)) })
		}
		wg.Wait()
		won := -1
		for i, err := range errs {
			if err == nil {
				if won >= 0 {
					t.Fatalf("writers %d and %d both won", won, i)
				}
				won = i
			} else if !errors.Is(err, ErrExists) {
				t.Fatalf("writer %d: %v", i, err)
			}
		}
		if won < 0 || string(read(t, root+"/race")) != fmt.Sprint("writer", won) {
			t.Fatalf("winner %d, content %q", won, read(t, root+"/race"))
		}
	})

	t.Run("delete all", func(t *testing.T) {
		var uris []string
		for i := range 30 {
			uris = append(uris, fmt.Sprintf("%s/bulk/k=v %%2F/%d", root, i))
			if err := s.Put(ctx, uris[i], []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if err := DeleteAll(ctx, s, append(uris[1:], root+"/bulk/none")); err != nil {
			t.Fatal(err)
		}
		if left, err := s.List(ctx, root+"/bulk/"); err != nil || len(left) != 1 || left[0].URI != uris[0] {
			t.Fatalf("left %v, %v", left, err)
		}
		if err := DeleteAll(ctx, s, uris[:1]); err != nil {
			t.Fatal(err)
		}
		if err := DeleteAll(ctx, s, []string{"ftp://elsewhere/x"}); err == nil {
			t.Error("a place of another kind")
		}
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		if err := DeleteAll(stopped, s, uris); !errors.Is(err, context.Canceled) {
			t.Errorf("when cancelled: %v", err)
		}
	})

	t.Run("create", func(t *testing.T) {
		for _, size := range []int{0, 1, 100_000, 8 << 20, 8<<20 + 1, 33 << 20} {
			uri := fmt.Sprintf("%s/create/k=v %%2F/%d.parquet", root, size)
			data := make([]byte, size)
			rnd := rand.New(rand.NewPCG(1, uint64(size)))
			for i := range data {
				data[i] = byte(rnd.Uint32())
			}
			u, err := s.Create(ctx, uri)
			if err != nil {
				t.Fatal(err)
			}
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+rnd.IntN(3<<20))
				if m, err := u.Write(rest[:n]); m != n || err != nil {
					t.Fatalf("wrote %d of %d: %v", m, n, err)
				}
				rest = rest[n:]
			}
			if _, err := s.Open(ctx, uri); !errors.Is(err, ErrNotFound) {
				t.Fatalf("visible before Commit: %v", err)
			}
			if err := u.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			u.Abort()
			if got := read(t, uri); !bytes.Equal(got, data) {
				t.Fatalf("size %d: read back %d other bytes", size, len(got))
			}
			again, err := s.Create(ctx, uri)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := again.Write(append(data, 1)); err != nil {
				t.Fatal(err)
			}
			if err := again.Commit(ctx); !errors.Is(err, ErrExists) {
				t.Fatalf("second Commit of the name: %v", err)
			}
			if got := read(t, uri); !bytes.Equal(got, data) {
				t.Fatal("the object was replaced")
			}
		}
	})

	t.Run("abort", func(t *testing.T) {
		u, err := s.Create(ctx, root+"/aborted/x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(make([]byte, 20<<20)); err != nil {
			t.Fatal(err)
		}
		u.Abort()
		u.Abort()
		if err := u.Commit(ctx); err == nil {
			t.Fatal("Commit after Abort succeeded")
		}
		if l, err := s.List(ctx, root+"/aborted/"); err != nil || len(l) != 0 {
			t.Fatalf("left behind: %v %v", l, err)
		}
	})

	t.Run("unfinished", func(t *testing.T) { unfinished(t, s, root) })

	t.Run("ranges", func(t *testing.T) {
		uri := root + "/ranges"
		if err := s.Put(ctx, uri, []byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(ctx, uri)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, c := range []struct {
			off  int64
			n    int
			want string
			eof  bool
		}{{0, 3, "012", false}, {7, 3, "789", false}, {7, 4, "789", true}, {10, 1, "", true}, {50, 1, "", true}} {
			b := make([]byte, c.n)
			n, err := r.ReadAt(b, c.off)
			if string(b[:n]) != c.want || c.eof && err != io.EOF || !c.eof && err != nil && err != io.EOF {
				t.Errorf("ReadAt(%d, %d) = %q, %v", c.off, c.n, b[:n], err)
			}
		}
	})

	t.Run("list and delete", func(t *testing.T) {
		names := []string{"l/a-b", "l/a/1", "l/a/2", "l/a0", "l/ab", "l/b/c/d", "m"}
		for _, n := range names {
			if err := s.Put(ctx, root+"/list/"+n, []byte(n)); err != nil {
				t.Fatal(err)
			}
		}
		for prefix, want := range map[string][]string{
			"l/":   {"l/a-b", "l/a/1", "l/a/2", "l/a0", "l/ab", "l/b/c/d"},
			"l/a":  {"l/a-b", "l/a/1", "l/a/2", "l/a0", "l/ab"},
			"l/a/": {"l/a/1", "l/a/2"},
			"l/b":  {"l/b/c/d"}, "m": {"m"}, "none/": nil, "none": nil,
		} {
			got, err := s.List(ctx, root+"/list/"+prefix)
			if err != nil {
				t.Fatal(err)
			}
			var g []string
			for _, i := range got {
				n := strings.TrimPrefix(i.URI, root+"/list/")
				if i.Size != int64(len(n)) || i.Modified.IsZero() {
					t.Errorf("%+v", i)
				}
				g = append(g, n)
			}
			if !slices.Equal(g, want) {
				t.Errorf("list %q: %q, want %q", prefix, g, want)
			}
		}
		for range 2 {
			if err := s.Delete(ctx, root+"/list/m"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Open(ctx, root+"/list/m"); !errors.Is(err, ErrNotFound) {
			t.Fatalf("after Delete: %v", err)
		}
	})

	t.Run("cancelled", func(t *testing.T) {
		gone, cancel := context.WithCancel(ctx)
		u, err := s.Create(gone, root+"/cancelled")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := u.Commit(gone); !errors.Is(err, context.Canceled) {
			t.Fatalf("Commit: %v", err)
		}
		if _, err := s.Open(ctx, root+"/cancelled"); !errors.Is(err, ErrNotFound) {
			t.Fatalf("visible: %v", err)
		}
	})
}

func TestLocal(t *testing.T) {
	s, err := Open(configs.Warehouse{Location: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	conformance(t, s, "file://"+t.TempDir()+"/new/lake")
}

func TestFakeS3(t *testing.T) {
	_, cfg := newFakeS3(t)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	conformance(t, s, cfg.Location)
}

// unfinished uploads are found and ended, and nothing else is.
func unfinished(t *testing.T, s Store, root string) {
	ctx := t.Context()
	type store interface {
		Unfinished(ctx context.Context, prefix string) ([]Unfinished, error)
		Abandon(ctx context.Context, u Unfinished) error
	}
	up := s.(store)
	if err := s.Put(ctx, root+"/unfinished/whole", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var open []Upload
	for i := range 5 {
		u, err := s.Create(ctx, fmt.Sprintf("%s/unfinished/k=v %%2F/%d", root, i))
		if err == nil {
			_, err = u.Write(make([]byte, 9<<20))
		}
		if err != nil {
			t.Fatal(err)
		}
		defer u.Abort()
		open = append(open, u)
	}
	outside, err := s.Create(ctx, root+"/unfinished2/x")
	if err == nil {
		_, err = outside.Write(make([]byte, 9<<20))
	}
	if err != nil {
		t.Fatal(err)
	}
	list := func(n int) []Unfinished {
		t.Helper()
		all, err := up.Unfinished(ctx, root+"/unfinished/")
		if err != nil || len(all) != n {
			t.Fatalf("%d unfinished uploads, want %d: %v, %v", len(all), n, all, err)
		}
		return all
	}
	for _, u := range list(5) {
		if age := time.Since(u.Begun); age < -time.Minute || age > time.Minute || !strings.HasPrefix(u.URI, root+"/unfinished/k=v %2F/") {
			t.Errorf("%+v", u)
		}
	}
	if err := open[0].Commit(ctx); err != nil {
		t.Fatal(err)
	}
	for _, u := range list(4) {
		for range 2 { // the second one finds it ended
			if err := up.Abandon(ctx, u); err != nil {
				t.Error(err)
			}
		}
	}
	list(0)
	if err := open[1].Commit(ctx); err == nil {
		t.Error("an upload that was ended could be committed")
	}
	if there, err := s.List(ctx, root+"/unfinished/"); err != nil || len(there) != 2 {
		t.Errorf("%v, %v", there, err)
	}
	if err := outside.Commit(ctx); err != nil {
		t.Error(err)
	}
	if none, err := up.Unfinished(ctx, root+"/nowhere/"); err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
}
