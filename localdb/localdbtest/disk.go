// Package localdbtest has a disk for tests of databases on the local disk.
package localdbtest

import (
	"os"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/lakeloader/lakeloader/localdb"
)

// Disk has as much room as a test says, and can run full all at once, whatever it says.
type Disk struct {
	free atomic.Int64
	full atomic.Bool
}

// NewDisk says that so many bytes are free.
func NewDisk(free int64) *Disk {
	d := &Disk{}
	d.SetFree(free)
	return d
}

// SetFree says how many bytes are free from now on.
func (d *Disk) SetFree(free int64) { d.free.Store(free) }

// SetFull has every write fail as on a full disk, or none.
func (d *Disk) SetFull(full bool) { d.full.Store(full) }

// Options are those of a database on the disk, whose files are in fs.
func (d *Disk) Options(fs vfs.FS) localdb.Options {
	fails := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if d.full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
			return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	})
	return localdb.Options{FS: errorfs.Wrap(fs, fails), Free: func(string) (int64, error) { return d.free.Load(), nil }}
}
