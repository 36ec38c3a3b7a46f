package enrich

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2"
)

// disk keeps rows in a pebble database in a temporary folder, by their references. It is not meant to outlive the process: nothing is
// synced, and the folder goes when it is closed. The index of the table stays in memory.
type disk struct {
	db    *pebble.DB
	dir   string
	cache int64
	next  uint32
	spare []uint32
	blank []byte // stands for rows that cannot be read
}

// DiskPrefix begins the names of the folders that rows are in; one that is left behind by a process that was killed may be removed.
const DiskPrefix = "lakeloader-lookup-"

const (
	memTable   = 8 << 20
	leastCache = 8 << 20
	mostCache  = 64 << 20
)

// spill brings the rows from memory to the disk, where they keep their references.
func (t *Table) spill() error {
	from := t.store.(*arena)
	d, err := openDisk(t.limit, len(from.chunks), t.layout.bytes)
	if err != nil {
		return err
	}
	for _, s := range t.keys.slots {
		for ref := uint32(s >> 32); ref != 0 && err == nil; ref = next(from.at(ref, nil)) {
			row := from.at(ref, nil)
			err = d.changed(ref, row[:size(row)])
		}
	}
	if err != nil {
		return errors.Join(err, d.close())
	}
	t.store = d
	return nil
}

func openDisk(limit int64, chunks, blank int) (*disk, error) {
	dir, err := os.MkdirTemp("", DiskPrefix)
	if err != nil {
		return nil, fmt.Errorf("a lookup needs a temporary folder, as its rows exceed its memory: %w", err)
	}
	d := &disk{dir: dir, cache: min(max(limit/4, leastCache), mostCache), next: uint32(chunks) * chunkUnits, blank: make([]byte, blank)}
	cache := pebble.NewCache(d.cache)
	defer cache.Unref()
	if d.db, err = pebble.Open(dir, &pebble.Options{DisableWAL: true, Cache: cache, MemTableSize: memTable, MaxOpenFiles: 256, Logger: silent{},
		FormatMajorVersion: pebble.FormatNewest}); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), os.RemoveAll(dir))
	}
	return d, nil
}

// silent keeps pebble's log to itself; its errors come back from its calls.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}

// Fatalf is called where pebble cannot go on, as when the disk is full while it compacts.
func (silent) Fatalf(format string, args ...any) { panic("lookup: " + fmt.Sprintf(format, args...)) }

func (d *disk) key(ref uint32) []byte { return binary.BigEndian.AppendUint32(nil, ref) }

func (d *disk) at(ref uint32, s *space) []byte {
	v, c, err := d.db.Get(d.key(ref))
	if err != nil {
		if s.err == nil {
			s.err = fmt.Errorf("reading a row of a lookup from %s: %w", d.dir, err)
		}
		row := s.take(len(d.blank))
		copy(row, d.blank)
		return row
	}
	row := s.take(len(v))
	copy(row, v)
	if err := c.Close(); err != nil && s.err == nil {
		s.err = err
	}
	return row
}

func (d *disk) add(row []byte) (uint32, error) {
	ref := d.next
	if n := len(d.spare); n > 0 {
		ref = d.spare[n-1]
		d.spare = d.spare[:n-1]
	} else if d.next++; d.next == 0 {
		return 0, errFull
	}
	return ref, d.changed(ref, row)
}

func (d *disk) changed(ref uint32, row []byte) error {
	if err := d.db.Set(d.key(ref), row, pebble.NoSync); err != nil {
		return fmt.Errorf("writing a row of a lookup to %s: %w", d.dir, err)
	}
	return nil
}

func (d *disk) free(ref uint32, _ []byte) error {
	d.spare = append(d.spare, ref)
	return d.db.Delete(d.key(ref), pebble.NoSync)
}

func (d *disk) bytes() int64 { return d.cache + 2*memTable + 4*int64(cap(d.spare)) }

func (d *disk) close() error { return errors.Join(d.db.Close(), os.RemoveAll(d.dir)) }
