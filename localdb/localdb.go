// Package localdb opens pebble databases on the local disk such that a disk which is full, or fails, ends nobody's process: whoever
// uses the database is told, and all others go on.
package localdb

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of Open.
type Options struct {
	// Dir is the folder.
	Dir string
	// What is in it and Remedy, what to do when the disk is full, are parts of errors: "the rows of lookups", "set TMPDIR to …".
	What, Remedy string
	// Reserve is how much of the disk is left free (Room), bytes, as what was written already is moved about and takes more for a
	// while, and others need the disk, too. Default 64 MiB.
	Reserve int64
	// Failed is told of the error that has ended all writing, once; nil: nobody is. It must not use the database.
	Failed func(error)
	// FS is the file system; nil: the one of the machine.
	FS vfs.FS
	// Free is how much a folder's disk has left, bytes; nil: FS says it.
	Free func(dir string) (int64, error)
}

const defaultReserve = 64 << 20

// DB is a database, with pebble's own methods. What pebble says of its disk it says to Err: pebble itself has no way to go on after
// an error in writing its log or manifest, and none to tell of one in the background, so it is never shown any.
//
// With the first error the database freezes: nothing reaches the disk any more, as if the process had been killed at that moment,
// and pebble is told that everything went well. So what is on the disk is what a crash would have left, and opening it again, with
// room on the disk, goes on from there. What is read meanwhile may be wrong. So two things are asked of users:
//
//   - Err is asked after reading and after a commit, and what was read or committed counts only if it is nil; a frozen database is closed.
//   - Room is asked before each batch. It refuses before the disk is full, with nothing frozen, and may be asked again.
type DB struct {
	*pebble.DB
	*disk
}

// ErrNoRoom is what errors of a disk that is nearly full are.
var ErrNoRoom = errors.New("the disk has no room left")

// Open opens or makes a database. The file system, the logger and the events of p are set by it; p may be used once.
func Open(o Options, p *pebble.Options) (*DB, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	d := &disk{o: o, closing: make(chan struct{}), written: askEvery}
	if o.Free == nil {
		d.o.Free = func(dir string) (int64, error) {
			u, err := o.FS.GetDiskUsage(dir)
			return int64(u.AvailBytes), err
		}
	}
	p.FS = &frozenFS{FS: o.FS, disk: d, made: map[string]bool{}}
	p.Logger, p.LoggerAndTracer = quiet{d}, nil
	p.EventListener = &pebble.EventListener{
		BackgroundError: func(error) {}, // what it means for the disk, the file system knows; for users, their calls tell
		DataCorruption:  func(i pebble.DataCorruptionInfo) { d.freeze(fmt.Errorf("%s", i)) },
	}
	db, err := pebble.Open(o.Dir, p)
	if frozen := d.Err(); frozen != nil {
		if db != nil {
			close(d.closing)
			_ = db.Close() // it is as good as killed
		}
		return nil, frozen
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s in %s: %w", o.What, o.Dir, err)
	}
	return &DB{db, d}, nil
}

// Close closes the database. Of one that is frozen it says nothing more than Err.
func (d *DB) Close() error {
	close(d.closing)
	err := d.DB.Close()
	if d.Err() != nil {
		return nil
	}
	return err
}

// disk is what is known of the disk that a database is on. It is safe for concurrent use.
type disk struct {
	o       Options
	closing chan struct{} // closed by Close

	mu      sync.Mutex
	err     error // that has frozen it
	written int64 // since free space was asked for
	full    error // it was refused by then
}

// Err says why the database is frozen; nil: it is not.
func (d *disk) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// freeze ends all writing.
func (d *disk) freeze(err error) {
	d.mu.Lock()
	first := d.err == nil
	if first {
		d.err = d.wrap(err)
	}
	err = d.err
	d.mu.Unlock()
	if first && d.o.Failed != nil {
		d.o.Failed(err)
	}
}

// wrap says where it was, and how full the disk is.
func (d *disk) wrap(err error) error {
	free := ""
	if n, err := d.o.Free(d.o.Dir); err == nil {
		free = fmt.Sprintf("; the disk has %s left: %s", size(n), d.o.Remedy)
	}
	return fmt.Errorf("%s in %s cannot be written any more: %w%s", d.o.What, d.o.Dir, err, free)
}

// askEvery is how much is written before the disk is asked again how much it has left.
const askEvery = 1 << 20

// Room asks whether there is room for some more bytes. Nothing should be written if there is none, and Room be asked again later.
func (d *disk) Room(bytes int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	d.written += bytes
	if d.full == nil && d.written < askEvery {
		return nil
	}
	free, err := d.o.Free(d.o.Dir)
	if err != nil {
		return fmt.Errorf("asking how much the disk of %s has left: %w", d.o.Dir, err)
	}
	d.full = nil
	if free-bytes < d.o.Reserve {
		d.full = fmt.Errorf("%s in %s: %w: it has %s, of which %s stay free: %s", d.o.What, d.o.Dir, ErrNoRoom, size(free), size(d.o.Reserve), d.o.Remedy)
		return d.full
	}
	d.written = 0
	return nil
}

func size(n int64) string {
	if n >= 10<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// quiet keeps pebble's chatter to itself.
type quiet struct{ d *disk }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf is called where pebble cannot go on; not for an error of the disk, of which it does not learn. It returns, against what
// pebble asks for: whatever it goes on to do reaches neither the disk nor anybody who asks Err.
func (q quiet) Fatalf(format string, args ...any) { q.d.freeze(fmt.Errorf(format, args...)) }
