package window

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lakeloader/lakeloader/localdb"
	"github.com/lakeloader/lakeloader/localdb/localdbtest"
)

// TestFullDisk: a window whose disk has no room says so, changes nothing, and goes on from there when there is room.
func TestFullDisk(t *testing.T) {
	disk := localdbtest.NewDisk(1 << 40)
	options := disk.Options(vfs.NewMem())
	options.Dir = "state"
	open := func() (*State, error) { return openState(options, 4<<20) }
	put := func(s *State, key string, size int) error {
		b := s.db.NewBatch()
		if err := b.Set(stateKey(nil, 1, kindKey, []byte(key)), make([]byte, size), nil); err != nil {
			t.Fatal(err)
		}
		return s.commit(b)
	}
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if err := put(s, "a", 10); err != nil {
		t.Fatal(err)
	}
	disk.SetFree(64 << 20)
	err = put(s, "b", 2<<20)
	if !errors.Is(err, localdb.ErrNoRoom) || !strings.Contains(err.Error(), "the window's state in state") || !strings.Contains(err.Error(), "setting state") {
		t.Errorf("no room left: %v", err)
	}
	if err := s.sound(); err != nil {
		t.Errorf("the state is of no use any more: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = open(); !errors.Is(err, localdb.ErrNoRoom) {
		t.Fatalf("opened without room: %v, %v", s, err)
	}
	disk.SetFree(1 << 40)
	if s, err = open(); err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	err = s.each(1, kindKey, nil, func(key, _ []byte) (bool, error) { keys = append(keys, string(key)); return true, nil })
	if err != nil || len(keys) != 1 || keys[0] != "a" {
		t.Errorf("the state has %q, %v", keys, err)
	}
	if err := errors.Join(put(s, "b", 10), s.Close()); err != nil {
		t.Error(err)
	}
}
