package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// times returns a fault for the first n requests that match.
func times(n int32, what fault, match func(*http.Request) bool) func(*http.Request) fault {
	var left atomic.Int32
	left.Store(n)
	return func(r *http.Request) fault {
		if match(r) && left.Add(-1) >= 0 {
			return what
		}
		return none
	}
}

func method(m, query string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == m && strings.Contains(r.URL.RawQuery, query) }
}

func openFake(t *testing.T) (*fakeS3, *s3Store) {
	f, cfg := newFakeS3(t)
	s, err := newS3(cfg.S3, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	return f, s
}

func TestS3PassingFaultsAreRetried(t *testing.T) {
	for name, f := range map[string]fault{"503": unavailable, "reset": reset, "lost reply": lose} {
		t.Run(name, func(t *testing.T) {
			fake, s := openFake(t)
			fake.fault = times(2, f, method("PUT", ""))
			if err := s.Put(t.Context(), "s3://bucket/a", []byte("ours")); err != nil {
				t.Fatal(err)
			}
			if n := fake.count("PUT"); n < 2 {
				t.Fatalf("%d attempts", n)
			}
			if got := fake.objects["bucket/a"].data; string(got) != "ours" {
				t.Fatalf("stored %q", got)
			}
		})
	}
}

// The reply to our Put is lost, and before the SDK's next attempt nothing or another writer was there.
func TestS3LostReplyTellsOursFromTheirs(t *testing.T) {
	fake, s := openFake(t)
	fake.objects["bucket/a"] = fakeObject{data: []byte("same"), owner: "another"}
	fake.fault = times(1, lose, method("PUT", "")) // the lost reply is a 412
	if err := s.Put(t.Context(), "s3://bucket/a", []byte("same")); !errors.Is(err, ErrExists) {
		t.Fatalf("the object is another's: %v", err)
	}
	fake.fault = times(1, lose, method("POST", "uploadId"))
	for _, uri := range []string{"s3://bucket/big1", "s3://bucket/big1"} { // the first lands, the second finds it taken
		u, err := s.Create(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write(make([]byte, 9<<20)); err != nil {
			t.Fatal(err)
		}
		err = u.Commit(t.Context())
		if _, done := fake.objects["bucket/big1"]; !done {
			t.Fatal("not stored")
		}
		if fake.fault != nil && err != nil {
			t.Fatalf("lost reply to the completion: %v", err)
		}
		if fake.fault == nil && !errors.Is(err, ErrExists) {
			t.Fatalf("second completion: %v", err)
		}
		fake.fault = nil
	}
}

func TestS3FailsForGood(t *testing.T) {
	for name, c := range map[string]struct {
		fault fault
		want  []string
		retry bool
	}{
		"down":        {unavailable, []string{"s3://bucket/a", "http://"}, true},
		"resets":      {reset, []string{"s3://bucket/a"}, true},
		"credentials": {denied, []string{"credentials", "bucket/a", "access_key"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			fake, s := openFake(t)
			fake.fault = func(*http.Request) fault { return c.fault }
			check := func(op string, err error) {
				t.Helper()
				if err == nil || errors.Is(err, ErrRetry) != c.retry || errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) {
					t.Fatalf("%s: %v", op, err)
				}
			}
			err := s.Put(t.Context(), "s3://bucket/a", nil)
			check("put", err)
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if name != "down" {
				return // each failing call takes the SDK's back-off
			}
			_, err = s.List(t.Context(), "s3://bucket/")
			check("list", err)
		})
	}
}

func TestS3MissingBucket(t *testing.T) {
	_, s := openFake(t)
	ctx := t.Context()
	_, errOpen := s.Open(ctx, "s3://other/a")
	_, errList := s.List(ctx, "s3://other/a/")
	for op, err := range map[string]error{"put": s.Put(ctx, "s3://other/a", nil), "open": errOpen, "list": errList} {
		if err == nil || errors.Is(err, ErrRetry) || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "bucket other does not exist") {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestS3ReadResumesWithinTheBody(t *testing.T) {
	fake, s := openFake(t)
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	fake.objects["bucket/a"] = fakeObject{data: data}
	fake.fault = times(3, midBody, method("GET", ""))
	r, err := s.Open(t.Context(), "s3://bucket/a")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if n, err := r.ReadAt(got, 0); n != len(data) || err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	fake.fault = func(r *http.Request) fault {
		if r.Method == "GET" {
			return midBody
		}
		return none
	}
	if n, err := r.ReadAt(got[:1], 0); n != 0 || !errors.Is(err, ErrRetry) {
		t.Fatalf("one byte that never arrives: %d, %v", n, err)
	}
}

func TestS3SilentServer(t *testing.T) {
	fake, s := openFake(t)
	s.idle = 20 * time.Millisecond
	fake.objects["bucket/a"] = fakeObject{data: []byte("xy")}
	r, err := s.Open(t.Context(), "s3://bucket/a")
	if err != nil {
		t.Fatal(err)
	}
	fake.fault = func(r *http.Request) fault {
		if r.Method == "GET" {
			return stall
		}
		return hang
	}
	if _, err := r.ReadAt(make([]byte, 2), 0); !errors.Is(err, ErrRetry) || !strings.Contains(err.Error(), "silent") {
		t.Fatalf("read: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "s3://bucket/b", nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrRetry) {
		t.Fatalf("the caller's own time limit: %v", err)
	}
}

func TestS3UploadMemoryAndAbort(t *testing.T) {
	fake, s := openFake(t)
	u, err := s.Create(t.Context(), "s3://bucket/big")
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	most := int64(0)
	for range 80 {
		if _, err := u.Write(chunk); err != nil {
			t.Fatal(err)
		}
		most = max(most, u.(*s3Upload).Buffered())
	}
	if most < int64(s.partSize) || most > int64((partsInFlight+1)*s.partSize) {
		t.Errorf("up to %d bytes are in memory", most)
	}
	if c := cap(u.(*s3Upload).buf); c > s.partSize {
		t.Errorf("a buffer of %d bytes for parts of %d", c, s.partSize)
	}
	u.Abort()
	if n := u.(*s3Upload).Buffered(); n != 0 {
		t.Errorf("after the end %d bytes are in memory", n)
	}
	if fake.maxParts > partsInFlight {
		t.Errorf("%d parts at once", fake.maxParts)
	}
	if len(fake.uploads) != 0 || len(fake.objects) != 0 {
		t.Errorf("left behind: %d uploads, %d objects", len(fake.uploads), len(fake.objects))
	}

	fake.fault = times(1, denied, method("PUT", "partNumber=2"))
	u, err = s.Create(t.Context(), "s3://bucket/big")
	if err != nil {
		t.Fatal(err)
	}
	var werr error
	for i := 0; i < 80 && werr == nil; i++ {
		_, werr = u.Write(chunk)
	}
	if werr == nil {
		werr = u.Commit(t.Context())
	}
	if werr == nil || !strings.Contains(werr.Error(), "part 2") {
		t.Fatalf("a refused part: %v", werr)
	}
	u.Abort()
	if len(fake.uploads) != 0 || len(fake.objects) != 0 {
		t.Errorf("left behind: %d uploads, %d objects", len(fake.uploads), len(fake.objects))
	}
}

func TestS3WithoutConditionalCompletion(t *testing.T) {
	fake, s := openFake(t)
	fake.fault = func(r *http.Request) fault {
		if r.Method == "POST" && r.Header.Get("If-None-Match") != "" {
			return notImpl
		}
		return none
	}
	u, err := s.Create(t.Context(), "s3://bucket/big")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(make([]byte, 9<<20)); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(fake.objects["bucket/big"].data); n != 9<<20 {
		t.Fatalf("%d bytes", n)
	}
}

func TestS3Unreachable(t *testing.T) {
	_, cfg := newFakeS3(t)
	cfg.S3.Endpoint = "http://127.0.0.1:1"
	s, err := newS3(cfg.S3, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Put(ctx, "s3://bucket/a", nil); !errors.Is(err, ErrRetry) || !strings.Contains(err.Error(), "http://127.0.0.1:1") {
		t.Fatal(err)
	}
}

// A file is synced before its name appears, its folder after, and every new parent before that.
func TestLocalSyncOrder(t *testing.T) {
	l := NewLocal().(*local)
	root := t.TempDir()
	var synced []string
	next := "obj"
	l.sync = func(f *os.File) error {
		name, _ := filepath.Rel(root, f.Name())
		if isTemp(filepath.Base(name)) {
			name = "file"
			if _, err := os.Stat(filepath.Join(root, "a/b", next)); err == nil {
				t.Error("visible before it was synced")
			}
		}
		if !strings.HasPrefix(name, "..") {
			synced = append(synced, name)
		}
		return nil
	}
	if err := l.Put(t.Context(), root+"/a/b/obj", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(synced, " "); got != ". a file a/b" {
		t.Errorf("synced %q", got)
	}
	synced, next = nil, "obj2"
	if err := l.Put(t.Context(), "file:"+root+"/a/b/obj2", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(synced, " "); got != "file a/b" {
		t.Errorf("known folders: synced %q", got)
	}
	if err := os.RemoveAll(root + "/a"); err != nil {
		t.Fatal(err)
	}
	next = "obj"
	if err := l.Put(t.Context(), root+"/a/b/obj", []byte("x")); err != nil {
		t.Errorf("after the folder was removed: %v", err)
	}
}

func TestLocalFailingDisk(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{{syscall.ENOSPC, "disk is full"}, {syscall.EROFS, "read-only"}, {syscall.EDQUOT, "quota"}, {syscall.EACCES, "permission"}, {syscall.EIO, "input/output"}} {
		l := NewLocal().(*local)
		dir := t.TempDir()
		if err := l.ensureDir(dir); err != nil {
			t.Fatal(err)
		}
		l.sync = func(f *os.File) error { return &fs.PathError{Op: "sync", Path: f.Name(), Err: c.err} }
		err := l.Put(t.Context(), dir+"/x", []byte("x"))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir+"/x") || errors.Is(err, ErrRetry) {
			t.Errorf("%v: %v", c.err, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%v: left behind %v", c.err, left)
		}
	}
	if err := NewLocal().Put(t.Context(), "file:///proc/nowhere/x", nil); err == nil || !strings.Contains(err.Error(), "/proc/nowhere/x") {
		t.Errorf("unwritable folder: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := NewLocal().Put(t.Context(), "file://"+file+"/folder/x", nil); !errors.Is(err, syscall.ENOTDIR) || errors.Is(err, ErrExists) || !strings.Contains(err.Error(), file+" is a file") {
		t.Errorf("a file in place of a folder: %v", err)
	}
}

func TestLocations(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"": "file://" + wd + "/lake", "./x/": "file://" + wd + "/x", "/a/b": "file:///a/b", "file:///a/b/": "file:///a/b",
		"file:/a": "file:///a", "s3://b/p/": "s3://b/p", "s3://b": "s3://b",
	} {
		if got, err := Root(configs.Warehouse{Location: in}); err != nil || got != want {
			t.Errorf("Root(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"gs://b/p", "s3://", "/a b", "/a%20b", "/a#b", "/a?b"} {
		if got, err := Root(configs.Warehouse{Location: in}); err == nil || !strings.Contains(err.Error(), "warehouse.location") {
			t.Errorf("Root(%q) = %q, %v", in, got, err)
		}
	}
	for _, cfg := range []configs.S3{{AccessKey: "a"}, {PartSize: 1 << 20}} {
		if _, err := NewS3(cfg); err == nil || !strings.Contains(err.Error(), "warehouse.s3") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	for _, s := range []Store{NewLocal(), &s3Store{}} {
		for _, uri := range []string{"", "relative", "gs://a/b", "s3://only"} {
			if _, err := s.Create(t.Context(), uri); err == nil {
				t.Errorf("%T took %q", s, uri)
			}
		}
	}
}

func TestS3DeletesInBulk(t *testing.T) {
	f, s := openFake(t)
	var uris []string
	for i := range 2500 {
		f.objects[fmt.Sprint("bucket/", i)] = fakeObject{}
		uris = append(uris, fmt.Sprint("s3://bucket/", i))
	}
	if err := DeleteAll(t.Context(), s, uris); err != nil || len(f.objects) != 0 {
		t.Fatalf("%v, %d objects are left", err, len(f.objects))
	}
	if n := f.count("POST"); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	err := DeleteAll(t.Context(), s, []string{"s3://bucket/a", "s3://bucket/locked"})
	if err == nil || !strings.Contains(err.Error(), "s3://bucket/locked: AccessDenied") {
		t.Errorf("an object that may not be deleted: %v", err)
	}
}
