package objects

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/lakeloader/lakeloader/internal/point"
)

// A file under construction is hidden from List and from readers that glob; a crash may leave one behind.
const (
	tempPrefix = ".lakeloader-"
	tempSuffix = ".tmp"
)

// local keeps objects as files. An object is written to a hidden file beside its final name, synced, and hard-linked
// to the name: link never replaces a file, so the name appears at once, whole, and for one writer only.
type local struct {
	// durable holds the folders whose entry in their parent was synced by this store.
	durable sync.Map
	// sync is fsync of an open file or folder; tests count and break it.
	sync func(*os.File) error
}

// NewLocal returns the store of file:// URIs (file:///path; file:/path and absolute paths are understood too). Paths are
// taken literally: nothing is percent-decoded.
func NewLocal() Store { return &local{sync: (*os.File).Sync} }

func (l *local) Create(_ context.Context, uri string) (Upload, error) {
	path, err := LocalPath(uri)
	if err != nil {
		return nil, err
	}
	return l.create(path)
}

func (l *local) create(path string) (*localUpload, error) {
	dir := filepath.Dir(path)
	for attempt := 0; ; attempt++ {
		if err := l.ensureDir(dir); err != nil {
			return nil, localError("create", path, err)
		}
		var id [8]byte
		rand.Read(id[:])
		tmp := filepath.Join(dir, tempPrefix+hex.EncodeToString(id[:])+tempSuffix)
		f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrNotExist) && attempt == 0 {
			l.durable.Clear() // somebody removed the folder: make it again
			continue
		}
		if err != nil {
			return nil, localError("create", path, err)
		}
		return &localUpload{store: l, f: f, tmp: tmp, path: path}, nil
	}
}

// ensureDir makes a folder and syncs its entry in its parent, and so on upwards: a synced file in a folder whose own
// entry was never synced is lost with it. Another process may have made the folder a moment ago without having synced
// yet, so folders that exist already are synced once too.
func (l *local) ensureDir(dir string) error {
	if _, ok := l.durable.Load(dir); ok {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if err := l.ensureDir(parent); err != nil {
		return err
	}
	made := true
	if err := os.Mkdir(dir, 0o755); err != nil {
		st, serr := os.Stat(dir)
		if serr != nil {
			return err
		}
		if !st.IsDir() { // not fs.ErrExist, which would say that the object is there
			return fmt.Errorf("%s is a file, no folder: %w", dir, syscall.ENOTDIR)
		}
		made = false
	}
	// A folder far up that was there before and that this user may not even read is not ours to sync.
	if err := l.syncDir(parent); err != nil && (made || !errors.Is(err, fs.ErrPermission)) {
		return err
	}
	l.durable.Store(dir, struct{}{})
	return nil
}

func (l *local) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return cmp.Or(l.sync(d), d.Close())
}

func (l *local) Put(ctx context.Context, uri string, data []byte) error {
	u, err := l.Create(ctx, uri)
	if err != nil {
		return err
	}
	defer u.Abort()
	if _, err := u.Write(data); err != nil {
		return err
	}
	return u.Commit(ctx)
}

func (l *local) Open(_ context.Context, uri string) (Reader, error) {
	path, err := LocalPath(uri)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, localError("open", path, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fs.ErrNotExist // a folder is a name prefix, not an object
	}
	if err != nil {
		return nil, errors.Join(localError("open", path, err), f.Close())
	}
	return &localReader{f, st.Size()}, nil
}

func (l *local) List(ctx context.Context, prefix string) ([]Info, error) {
	path, err := LocalPath(prefix)
	if err != nil {
		return nil, err
	}
	root := path
	if !strings.HasSuffix(path, "/") {
		root = filepath.Dir(path)
	}
	var out []Info
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed while we walked, or nothing was ever written here
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if !strings.HasPrefix(p+"/", path) && !strings.HasPrefix(path, strings.TrimSuffix(p, "/")+"/") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasPrefix(p, path) || !d.Type().IsRegular() || isTemp(d.Name()) {
			return nil
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		out = append(out, Info{URI: "file://" + p, Size: st.Size(), Modified: st.ModTime()})
		return nil
	})
	if err != nil {
		return nil, localError("list", path, err)
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.URI, b.URI) })
	return out, nil
}

func (l *local) Delete(_ context.Context, uri string) error {
	path, err := LocalPath(uri)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return localError("delete", path, err)
	}
	return nil
}

func isTemp(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix)
}

type localUpload struct {
	store     *local
	f         *os.File
	tmp, path string
	done      bool
}

func (u *localUpload) Write(p []byte) (int, error) {
	if err := point.Disk(); err != nil {
		return 0, localError("write", u.path, err)
	}
	n, err := u.f.Write(p)
	if err != nil {
		return n, localError("write", u.path, err)
	}
	return n, nil
}

func (u *localUpload) Commit(ctx context.Context) error {
	if u.done {
		return fmt.Errorf("commit %s: it was committed or aborted before", u.path)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit %s: %w", u.path, err)
	}
	defer u.Abort()
	if err := u.store.sync(u.f); err != nil {
		return localError("sync", u.path, err)
	}
	if err := os.Link(u.tmp, u.path); err != nil {
		return localError("create", u.path, err)
	}
	u.discard()
	if err := u.store.syncDir(filepath.Dir(u.path)); err != nil {
		return localError("sync the folder of", u.path, err)
	}
	return nil
}

// Abort drops the hidden file. Its errors are of no use to anybody: at worst a hidden file stays.
func (u *localUpload) Abort() { u.discard() }

func (u *localUpload) discard() {
	if u.done {
		return
	}
	u.done = true
	_ = u.f.Close()
	_ = os.Remove(u.tmp)
}

type localReader struct {
	*os.File
	size int64
}

func (r *localReader) Size() int64 { return r.size }

// localError says what a file system's error means.
func localError(op, path string, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s %s: %w", op, path, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: %w", op, path, ErrNotFound)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s %s: %w", op, path, ErrExists)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%s %s: the disk is full: free some space or move the warehouse: %w", op, path, err)
	case errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s %s: the disk quota is used up: %w", op, path, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s %s: the file system is read-only: %w", op, path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s: permission denied: the user running lakeloader needs write access to the warehouse "+
			"(and the file system must support hard links): %w", op, path, err)
	}
	return fmt.Errorf("%s %s: %w", op, path, err)
}
