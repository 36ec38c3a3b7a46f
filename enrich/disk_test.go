package enrich

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lakeloader/lakeloader/localdb"
	"github.com/lakeloader/lakeloader/localdb/localdbtest"
)

// TestFullDiskBreaksOneTable: no panic, whatever is done with a table whose disk is full; the error says where and what to do, and another
// table goes on.
func TestFullDiskBreaksOneTable(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	disk := localdbtest.NewDisk(1 << 30)
	broken, other := tableOf(t, Shape{Key: []string{"id"}, Memory: 1}), tableOf(t, Shape{Key: []string{"id"}, Memory: 1})
	broken.disk = disk.Options(vfs.Default)
	long := strings.Repeat("x", 1000)
	put := func(x *Table, from, to int64) error {
		for id := from; id < to; id++ {
			b := batchOf(row{id: id, email: long})
			if err := x.Put(b.Mem, b.Root.Children, 0, [2]uint64{}); err != nil {
				return err
			}
		}
		return x.Err()
	}
	if err := errors.Join(put(broken, 0, 100), put(other, 0, 100)); err != nil {
		t.Fatal(err)
	}
	disk.SetFull(true)
	err := put(broken, 100, 100_000)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "set TMPDIR to a folder with more") || !strings.Contains(err.Error(), DiskPrefix) {
		t.Fatal(err)
	}
	if !errors.Is(broken.Broken(), syscall.ENOSPC) {
		t.Error(broken.Broken())
	}
	b := batchOf(row{id: int64(1)})
	found, hashes := make([][]byte, 1), make([]uint64, 1)
	broken.hasher.hash(hashes, b.Mem, b.Root.Children[:1])
	var sp space
	broken.probe(found, hashes, []bool{false}, b.Mem, b.Root.Children[:1], nil, &sp)
	if !errors.Is(sp.err, syscall.ENOSPC) {
		t.Errorf("a row was read from it: %v", sp.err)
	}
	if err := put(other, 100, 30_000); err != nil {
		t.Error(err)
	}
	if err := errors.Join(broken.Close(), other.Close()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestNoRoom: a table is not begun on a disk that is nearly full, and one that is there refuses before anything is changed.
func TestNoRoom(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	disk := localdbtest.NewDisk(1 << 20)
	x := tableOf(t, Shape{Key: []string{"id"}, Memory: 1})
	x.disk = disk.Options(vfs.Default)
	b := batchOf(row{id: int64(1), email: "e"}, row{id: int64(2), email: "e"})
	if err := x.Put(b.Mem, b.Root.Children, 0, [2]uint64{}); !errors.Is(err, localdb.ErrNoRoom) {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	disk.SetFree(1 << 30)
	if err := x.Put(b.Mem, b.Root.Children, 1, [2]uint64{}); err != nil {
		t.Fatal(err)
	}
	disk.SetFree(1 << 20)
	if err := x.Room(4 << 20); !errors.Is(err, localdb.ErrNoRoom) {
		t.Error(err)
	}
	disk.SetFree(1 << 30)
	if err := errors.Join(x.Room(4<<20), x.Err(), x.Close()); err != nil {
		t.Error(err)
	}
}
