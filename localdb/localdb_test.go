package localdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// full is a disk that has no room from the n-th change on; 0: it has. A kind restricts it to changes of one kind.
type full struct {
	changes, n atomic.Int64
	kind       errorfs.OpKind
	any        bool
}

func (f *full) String() string { return "a full disk" }

func (f *full) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || !f.any && op.Kind != f.kind || op.Kind == errorfs.OpFileClose {
		return nil
	}
	if i := f.changes.Add(1); f.n.Load() > 0 && i >= f.n.Load() {
		return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
	}
	return nil
}

func options(fs vfs.FS, wal bool) (Options, *pebble.Options) {
	return Options{Dir: "db", What: "the test's rows", Remedy: "mend it", FS: fs, Free: func(string) (int64, error) { return 12345, nil }},
		&pebble.Options{DisableWAL: !wal, MemTableSize: 64 << 10, L0CompactionThreshold: 2, L0CompactionFileThreshold: 2, MaxManifestFileSize: 4 << 10, FormatMajorVersion: pebble.FormatNewest}
}

const batches, perBatch = 300, 10

// work writes batches of rows, each of which has its number in all of its rows, and says how many were taken.
func work(db *DB) (taken int, err error) {
	padding := bytes.Repeat([]byte("x"), 300)
	for n := range uint64(batches) {
		b := db.NewBatch()
		for k := range uint64(perBatch) {
			value := binary.BigEndian.AppendUint64(nil, n)
			if err := b.Set(binary.BigEndian.AppendUint64(nil, k*100+n%17), append(value, padding...), nil); err != nil {
				return taken, err
			}
			if err := b.Set(binary.BigEndian.AppendUint64([]byte("last"), k), value, nil); err != nil {
				return taken, err
			}
		}
		if err := errors.Join(b.Commit(pebble.NoSync), db.Err()); err != nil {
			return taken, err
		}
		taken++
		if n%50 == 49 {
			if _, err := db.AsyncFlush(); err != nil {
				return taken, err
			}
		}
	}
	return taken, errors.Join(db.Flush(), db.Err())
}

// TestFullDisk: wherever the disk runs full, nobody panics or hangs, an error says so, and what is left on it is the state after some batch.
func TestFullDisk(t *testing.T) {
	for _, wal := range []bool{true, false} {
		count := &full{any: true}
		o, p := options(errorfs.Wrap(vfs.NewMem(), count), wal)
		db, err := Open(o, p)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := work(db); n != batches || err != nil {
			t.Fatal(n, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		total := count.changes.Load()
		step := max(1, total/40)
		for n := int64(1); n < total; n += step {
			fullDisk(t, &full{any: true}, n, wal)
		}
		for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpRename, errorfs.OpRemove, errorfs.OpReuseForWrite, errorfs.OpFilePreallocate} {
			for n := int64(1); n < 8; n += 2 {
				fullDisk(t, &full{kind: kind}, n, wal)
			}
		}
	}
}

func fullDisk(t *testing.T, f *full, n int64, wal bool) {
	t.Helper()
	mem := vfs.NewMem()
	told := 0
	f.n.Store(n)
	o, p := options(errorfs.Wrap(mem, f), wal)
	o.Failed = func(error) { told++ }
	db, err := Open(o, p)
	taken := 0
	if err == nil {
		taken, err = work(db)
		if db.Err() != nil && err == nil {
			t.Errorf("change %d: nobody was told of %v", n, db.Err())
		}
		if err := db.Close(); err != nil {
			t.Errorf("change %d: %v", n, err)
		}
	}
	if f.changes.Load() < n {
		return // there were fewer
	}
	if err != nil && (!errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk has 12345 bytes left: mend it") || told != 1) {
		t.Fatalf("change %d: %v, told %d times", n, err, told)
	}
	o, p = options(mem, wal)
	if db, err = Open(o, p); err != nil {
		t.Fatalf("change %d: opening it again: %v", n, err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	last := int64(-1)
	for k := range uint64(perBatch) {
		v, c, err := db.Get(binary.BigEndian.AppendUint64([]byte("last"), k))
		at := int64(-1)
		if err == nil {
			at = int64(binary.BigEndian.Uint64(v))
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, pebble.ErrNotFound) {
			t.Fatal(err)
		}
		if k > 0 && at != last {
			t.Fatalf("change %d: a batch is there by half: %d and %d", n, last, at)
		}
		last = at
	}
	if last >= int64(taken)+1 {
		t.Fatalf("change %d: batch %d is there, of %d", n, last, taken)
	}
	if got, err := work(db); got != batches || err != nil {
		t.Fatalf("change %d: going on: %d, %v", n, got, err)
	}
}

// TestRoom: a disk that is nearly full is told before it is full, and again only while it is.
func TestRoom(t *testing.T) {
	free, asked := int64(100<<20), 0
	o, p := options(vfs.NewMem(), false)
	o.Reserve, o.Free = 64<<20, func(string) (int64, error) { asked++; return free, nil }
	db, err := Open(o, p)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := db.Room(10 << 10); err != nil {
			t.Fatal(err)
		}
	}
	if asked == 0 || asked > 20 {
		t.Errorf("asked %d times for 10 MB", asked)
	}
	free = 64 << 20
	err = db.Room(2 << 20)
	if want := "the test's rows in db: the disk has no room left: it has 64 MiB, of which 64 MiB stay free: mend it"; !errors.Is(err, ErrNoRoom) || err.Error() != want {
		t.Errorf("%v", err)
	}
	if err := db.Room(1); !errors.Is(err, ErrNoRoom) {
		t.Errorf("it was asked only once: %v", err)
	}
	free = 100 << 20
	if err := errors.Join(db.Room(1), db.Err(), db.Close()); err != nil {
		t.Error(err)
	}
}

// TestTemp: folders of a process that lives are left alone, those of one that has ended go.
func TestTemp(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	live, err := NewTemp("some-")
	if err != nil {
		t.Fatal(err)
	}
	dead, err := NewTemp("some-")
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewTemp("other-")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []*Temp{live, dead, other} {
		if err := os.WriteFile(filepath.Join(x.Dir, "rows"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(dead.lock.Close(), other.lock.Close()); err != nil { // as the end of a process does
		t.Fatal(err)
	}
	removed, err := Sweep("some-")
	if err != nil || !slices.Equal(removed, []string{dead.Dir}) {
		t.Errorf("removed %v, %v; want %s", removed, err, dead.Dir)
	}
	if err := live.Remove(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 2 || !strings.HasPrefix(left[0].Name(), "other-") {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestTempWhileOthersSweep: a folder that is being made is not taken for one that was left.
func TestTempWhileOthersSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var wg sync.WaitGroup
	problems := make(chan error, 1000)
	for range 4 {
		wg.Go(func() {
			for range 100 {
				x, err := NewTemp("some-")
				if err != nil {
					problems <- err
					continue
				}
				if _, err := os.Stat(x.Dir); err != nil {
					problems <- fmt.Errorf("it went: %w", err)
				}
				if err := x.Remove(); err != nil {
					problems <- err
				}
			}
		})
		wg.Go(func() {
			for range 100 {
				if _, err := Sweep("some-"); err != nil {
					problems <- err
				}
			}
		})
	}
	wg.Wait()
	close(problems)
	for err := range problems {
		t.Error(err)
	}
}
