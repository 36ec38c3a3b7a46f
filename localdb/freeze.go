package localdb

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// frozenFS is a file system that can be frozen, and is so by the first error in writing. Then nothing is changed any more, and
// whoever tries is told that it was. Each change that was made before is there: so what is left is what was there at one moment,
// but for changes that were under way at once with the one that failed, of which none can rest upon another.
type frozenFS struct {
	vfs.FS
	*disk

	names sync.Mutex
	made  map[string]bool // names that files were given when it was frozen: they can be opened, and are empty
}

func (f *frozenFS) frozen() bool { return f.Err() != nil }

// change does something, unless it is frozen; no: it was not done.
func (f *frozenFS) change(do func() error) (done bool) {
	if f.frozen() {
		return false
	}
	if err := do(); err != nil {
		f.freeze(err)
		return false
	}
	return true
}

// maybe is change for what may well fail, since a file is not there, or is.
func (f *frozenFS) maybe(do func() error) (done bool, err error) {
	done = f.change(func() error {
		if err = do(); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			return nil
		}
		e := err
		err = nil
		return e
	})
	return done, err
}

func (f *frozenFS) pretend(name string) {
	f.names.Lock()
	defer f.names.Unlock()
	f.made[name] = true
}

func (f *frozenFS) pretended(name string) bool {
	f.names.Lock()
	defer f.names.Unlock()
	return f.made[name]
}

// file makes one, or pretends to.
func (f *frozenFS) file(name string, open func() (vfs.File, error)) vfs.File {
	var file vfs.File
	if f.change(func() (err error) { file, err = open(); return err }) {
		return &frozenFile{file, f}
	}
	f.pretend(name)
	return nothing{name}
}

func (f *frozenFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(name, func() (vfs.File, error) { return f.FS.Create(name, category) }), nil
}

func (f *frozenFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.file(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, opts...) }), nil
}

func (f *frozenFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, category) }), nil
}

// brake keeps pebble, which at once tries again to read what it believes to have written, from doing nothing else until it is closed.
const brake = 50 * time.Millisecond

func (f *frozenFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.pretended(name) {
		select {
		case <-f.closing:
		case <-time.After(brake):
		}
		return nothing{name}, nil
	}
	file, err := f.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &frozenFile{file, f}, nil
}

func (f *frozenFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &frozenFile{file, f}, nil
}

func (f *frozenFS) Stat(name string) (vfs.FileInfo, error) {
	if f.pretended(name) {
		return noInfo{f.PathBase(name)}, nil
	}
	return f.FS.Stat(name)
}

func (f *frozenFS) Link(oldname, newname string) error {
	done, err := f.maybe(func() error { return f.FS.Link(oldname, newname) })
	if !done {
		f.pretend(newname)
	}
	return err
}

func (f *frozenFS) Rename(oldname, newname string) error {
	done, err := f.maybe(func() error { return f.FS.Rename(oldname, newname) })
	if !done {
		f.pretend(newname)
	}
	return err
}

func (f *frozenFS) Remove(name string) error {
	_, err := f.maybe(func() error { return f.FS.Remove(name) })
	return err
}

func (f *frozenFS) RemoveAll(name string) error {
	_, err := f.maybe(func() error { return f.FS.RemoveAll(name) })
	return err
}

func (f *frozenFS) MkdirAll(dir string, perm os.FileMode) error {
	f.change(func() error { return f.FS.MkdirAll(dir, perm) })
	return nil
}

// Lock may fail since another process has the folder, which is no error of the disk.
func (f *frozenFS) Lock(name string) (io.Closer, error) {
	c, err := f.FS.Lock(name)
	if errors.Is(err, syscall.ENOSPC) {
		f.freeze(err)
	}
	return c, err
}

func (f *frozenFS) Unwrap() vfs.FS { return f.FS }

// frozenFile is a file of frozenFS.
type frozenFile struct {
	vfs.File
	fs *frozenFS
}

func (f *frozenFile) Write(b []byte) (int, error) {
	f.fs.change(func() error { _, err := f.File.Write(b); return err })
	return len(b), nil
}

func (f *frozenFile) WriteAt(b []byte, at int64) (int, error) {
	f.fs.change(func() error { _, err := f.File.WriteAt(b, at); return err })
	return len(b), nil
}

func (f *frozenFile) Preallocate(offset, length int64) error {
	f.fs.change(func() error { return f.File.Preallocate(offset, length) })
	return nil
}

func (f *frozenFile) Sync() error {
	f.fs.change(f.File.Sync)
	return nil
}

func (f *frozenFile) SyncData() error {
	f.fs.change(f.File.SyncData)
	return nil
}

func (f *frozenFile) SyncTo(length int64) (full bool, _ error) {
	f.fs.change(func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, nil
}

// Close lets go of the file, frozen or not.
func (f *frozenFile) Close() error {
	if err := f.File.Close(); err != nil {
		f.fs.freeze(err)
	}
	return nil
}

// nothing is a file that was made when the file system was frozen.
type nothing struct{ name string }

func (nothing) Close() error                           { return nil }
func (nothing) Read([]byte) (int, error)               { return 0, io.EOF }
func (nothing) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
func (nothing) Write(b []byte) (int, error)            { return len(b), nil }
func (nothing) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (nothing) Preallocate(int64, int64) error         { return nil }
func (n nothing) Stat() (vfs.FileInfo, error)          { return noInfo(n), nil }
func (nothing) Sync() error                            { return nil }
func (nothing) SyncTo(int64) (bool, error)             { return false, nil }
func (nothing) SyncData() error                        { return nil }
func (nothing) Prefetch(int64, int64) error            { return nil }
func (nothing) Fd() uintptr                            { return vfs.InvalidFd }

// noInfo describes it.
type noInfo struct{ name string }

func (i noInfo) Name() string         { return i.name }
func (noInfo) Size() int64            { return 0 }
func (noInfo) Mode() fs.FileMode      { return 0o600 }
func (noInfo) ModTime() time.Time     { return time.Time{} }
func (noInfo) IsDir() bool            { return false }
func (noInfo) Sys() any               { return nil }
func (noInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
