package enrich

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lakeloader/lakeloader/localdb"
)

// disk keeps rows in a pebble database in a temporary folder, by their references. It is not meant to outlive the process: there is no
// log, nothing is synced, and the folder goes when it is closed. The index of the table stays in memory.
type disk struct {
	db    *localdb.DB
	temp  *localdb.Temp
	cache int64
	next  uint32
	spare []uint32
	blank []byte // stands for rows that cannot be read
}

// DiskPrefix begins the names of the folders that rows are in. Those left behind by a process that was killed go by localdb.Sweep.
const DiskPrefix = "lakeloader-lookup-"

const (
	memTable   = 8 << 20
	leastCache = 8 << 20
	mostCache  = 64 << 20
)

// spill brings the rows from memory to the disk, where they keep their references.
func (t *Table) spill() error {
	from := t.store.(*arena)
	d, err := openDisk(t.limit, len(from.chunks), t.layout.blank(nil), t.disk)
	if err != nil {
		return err
	}
	if err := d.room(from.bytes()); err != nil {
		return errors.Join(err, d.close())
	}
	for ref := range t.refs() {
		row := from.at(ref, nil)
		if err := d.changed(ref, row[:size(row)]); err != nil {
			return errors.Join(err, d.close())
		}
	}
	t.store = d
	return nil
}

func openDisk(limit int64, chunks int, blank []byte, o localdb.Options) (*disk, error) {
	temp, err := localdb.NewTemp(DiskPrefix)
	if err != nil {
		return nil, fmt.Errorf("a lookup needs a temporary folder, as its rows exceed its memory: %w", err)
	}
	d := &disk{temp: temp, cache: min(max(limit/4, leastCache), mostCache), next: uint32(chunks) * chunkUnits, blank: blank}
	cache := pebble.NewCache(d.cache)
	defer cache.Unref()
	o.Dir, o.What, o.Remedy = temp.Dir, "the rows of a lookup", "free some, set TMPDIR to a folder with more, or raise the lookup's memory"
	if d.db, err = localdb.Open(o, &pebble.Options{DisableWAL: true, Cache: cache, MemTableSize: memTable, MaxOpenFiles: 256,
		FormatMajorVersion: pebble.FormatNewest}); err != nil {
		return nil, errors.Join(err, temp.Remove())
	}
	return d, nil
}

func (d *disk) key(ref uint32) []byte { return binary.BigEndian.AppendUint32(nil, ref) }

func (d *disk) at(ref uint32, s *space) []byte {
	v, c, err := d.db.Get(d.key(ref))
	if broken := d.db.Err(); broken != nil { // what was read counts for nothing
		if err == nil {
			err = c.Close()
		}
		err = errors.Join(broken, err)
	}
	if err != nil {
		if s.err == nil {
			s.err = fmt.Errorf("reading a row of a lookup from %s: %w", d.temp.Dir, err)
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
	if err := errors.Join(d.db.Set(d.key(ref), row, pebble.NoSync), d.db.Err()); err != nil {
		return fmt.Errorf("writing a row of a lookup to %s: %w", d.temp.Dir, err)
	}
	return nil
}

func (d *disk) free(ref uint32, _ []byte) error {
	d.spare = append(d.spare, ref)
	return d.db.Delete(d.key(ref), pebble.NoSync)
}

func (d *disk) room(bytes int64) error { return d.db.Room(bytes) }

func (d *disk) broken() error { return d.db.Err() }

func (d *disk) bytes() int64 { return d.cache + 2*memTable + 4*int64(cap(d.spare)) }

func (d *disk) close() error { return errors.Join(d.db.Close(), d.temp.Remove()) }
