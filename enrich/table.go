package enrich

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/localdb"
)

// Table is the rows of a lookup: bytes in an arena, found by their key.
//
// Rows with the same key are a list, the newest first, of which a join takes the first one: rows that were put in later are newer.
// In a table with versions the list goes by their times, and a join takes the first that was true at the row's time (versions.go).
//
// With identities (a topic that is re-keyed), a row replaces the one of the same identity, whatever key that had; rows of
// other identities with the same key stay behind it in the list, and come forth again when it goes. Without, a row replaces the one
// of the same key, and in a table with versions that of the same key and time.
//
// It may be read by several goroutines at once, and changed by one alone.
type Table struct {
	layout *layout
	key    []int
	by     int   // column of versions; -1: there are none
	keep   int64 // how long a version is kept that has been replaced, in units of that column; 0: for ever
	newest int64 // time seen in it
	hand   int   // of sweep
	hasher hasher

	store store
	// limit is what the rows may take in memory, before they go to the disk; 0: any amount.
	limit int64
	disk  localdb.Options // of a store on the disk
	space space           // of whoever changes the table
	err   error           // the first in reading or writing what is on the disk
	keys  index           // one slot for each key: the first row of the list
	ids   index
	rows  int

	buf     []byte
	keyCols []*batch.Column
}

// Shape is what a Table is made for.
type Shape struct {
	Row *batch.Type
	Key []string
	// Versions is the column of the rows' times; "": none.
	Versions string
	// Keep is how long a version is kept beyond the newest time after it was replaced; 0: for ever.
	Keep time.Duration
	// Identified: rows have identities.
	Identified bool
	// Memory that the rows may take; beyond it they go to the temporary folder. 0: any amount.
	Memory int64
	// Disk is the file system there and its free space; zero but in tests.
	Disk localdb.Options
}

// NewTable returns an empty table.
func NewTable(s Shape) (*Table, error) {
	l, err := newLayout(s.Row, s.Identified, s.Versions != "")
	if err != nil {
		return nil, err
	}
	t := &Table{layout: l, by: -1, hasher: newHasher(), store: &arena{}, limit: s.Memory, disk: s.Disk}
	for _, k := range s.Key {
		at := s.Row.Index(k)
		if at < 0 {
			return nil, fmt.Errorf("there is no column %q for the key; columns are: %s", k, names(s.Row))
		}
		if why := comparable(s.Row.Fields[at].Type, s.Row.Fields[at].Type); why != "" {
			return nil, fmt.Errorf("column %s: %s", k, why)
		}
		t.key = append(t.key, at)
	}
	if s.Versions == "" {
		return t, nil
	}
	if t.by = s.Row.Index(s.Versions); t.by < 0 {
		return nil, fmt.Errorf("there is no column %q for the versions; columns are: %s", s.Versions, names(s.Row))
	}
	switch f := s.Row.Fields[t.by]; f.Type.Kind {
	case batch.Timestamp, batch.TimestampTZ:
		t.keep, t.newest = s.Keep.Microseconds(), math.MinInt64
	case batch.Date:
		t.keep, t.newest = int64((s.Keep+24*time.Hour-1)/(24*time.Hour)), math.MinInt64
	default:
		return nil, fmt.Errorf("column %s is a %s, not a timestamptz, timestamp or date, by which versions go", f.Name, f.Type)
	}
	return t, nil
}

func names(t *batch.Type) string {
	s := ""
	for i, f := range t.Fields {
		if i > 0 {
			s += ", "
		}
		s += f.Name
	}
	return s
}

// Row is the type of the table's rows.
func (t *Table) Row() *batch.Type { return t.layout.row }

// Rows is how many there are.
func (t *Table) Rows() int { return t.rows }

// Bytes is the memory that the table takes.
func (t *Table) Bytes() int64 { return t.store.bytes() + t.keys.bytes() + t.ids.bytes() }

// ErrNoKey says that a row has no value in a column of its key, so nothing can be joined with it.
var ErrNoKey = errors.New("a column of the key is null")

// Identity makes an identity of what a record's key says.
func (t *Table) Identity(b []byte) [2]uint64 {
	return t.hasher.both(b)
}

// Put takes row r of columns, those of Row in order, whose views point into mem. id is used in a table with identities only. A row
// without a key is not taken (ErrNoKey), but takes the one of its identity away.
func (t *Table) Put(mem []byte, columns []*batch.Column, r int, id [2]uint64) error {
	t.space.reset()
	if t.by >= 0 && columns[t.by].IsNull(r) {
		return fmt.Errorf("%w: column %s, which says from when on the row is true", ErrNoKey, t.layout.row.Fields[t.by].Name)
	}
	if t.layout.identity > 0 && t.by < 0 {
		t.Delete(id)
	}
	t.keyCols = t.keyCols[:0]
	for _, k := range t.key {
		if columns[k].IsNull(r) {
			if t.layout.until > 0 {
				if err := t.End(id, whole(columns[t.by], r)); err != nil {
					return err
				}
			}
			return ErrNoKey
		}
		t.keyCols = append(t.keyCols, columns[k])
	}
	t.buf = t.layout.append(t.buf[:0], mem, columns, r, id)
	if t.layout.until > 0 {
		return t.putVersion(mem, r, id)
	}
	tag := uint32(t.hasher.row(mem, t.keyCols, r) >> 32)
	slot := t.find(tag, mem, t.keyCols, r, &t.space)
	if slot >= 0 && t.layout.identity == 0 {
		t.replaced(slot)
		slot = t.find(tag, mem, t.keyCols, r, &t.space)
	}
	ref, err := t.add()
	if err != nil {
		return err
	}
	t.rows++
	if t.layout.identity > 0 {
		t.ids.add(uint32(id[0]>>32), ref)
	}
	slot = t.link(slot, tag, ref)
	if t.by >= 0 {
		t.newest = max(t.newest, t.time(t.buf))
		t.expireList(slot)
	}
	return t.Err()
}

// add keeps the row in buf.
func (t *Table) add() (ref uint32, err error) {
	if _, here := t.store.(*arena); here && t.limit > 0 && t.store.bytes()+int64(len(t.buf)) > t.limit {
		if err := t.spill(); err != nil {
			return 0, err
		}
	}
	return t.store.add(t.buf)
}

// Room says whether there is room for some more bytes: before a batch is put it can be left, with nothing changed.
func (t *Table) Room(bytes int64) error { return t.store.room(bytes) }

// Broken says why the table is of no use any more; nil: it is. Anybody may ask.
func (t *Table) Broken() error { return t.store.broken() }

// at is a row, for whoever changes the table.
func (t *Table) at(ref uint32) []byte { return t.store.at(ref, &t.space) }

// changed keeps a row that was changed in place.
func (t *Table) changed(ref uint32, row []byte) { t.failed(t.store.changed(ref, row)) }

func (t *Table) failed(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Err is the first error in reading or writing rows that are on the disk: then the table is of no use any more.
func (t *Table) Err() error {
	t.failed(t.space.err)
	t.failed(t.store.broken())
	return t.err
}

// Close lets go of what is on the disk. The table is of no use afterwards.
func (t *Table) Close() error { return t.store.close() }

// find is the slot of a key; -1: there is none.
func (t *Table) find(tag uint32, mem []byte, key []*batch.Column, r int, sp *space) int {
	for i := t.keys.first(tag); i >= 0; i = t.keys.after(i, tag) {
		if t.layout.equal(t.store.at(t.keys.ref(i), sp), t.key, mem, key, r) {
			return i
		}
	}
	return -1
}

// replaced takes away what the row in buf replaces in the list of a slot.
func (t *Table) replaced(slot int) {
	ref, before := t.keys.ref(slot), uint32(0)
	for t.by >= 0 && ref != 0 && t.time(t.at(ref)) != t.time(t.buf) {
		before, ref = ref, next(t.at(ref))
	}
	if ref != 0 {
		t.unlink(slot, before, ref)
	}
}

// link puts a row into the list of a slot, or of a new one for its hash where that is -1, and tells which.
func (t *Table) link(slot int, tag, ref uint32) int {
	if slot < 0 {
		return t.keys.add(tag, ref)
	}
	row := t.at(ref)
	after, before := t.keys.ref(slot), uint32(0)
	for t.by >= 0 && after != 0 && t.time(t.at(after)) > t.time(row) {
		before, after = after, next(t.at(after))
	}
	setNext(row, after)
	t.changed(ref, row)
	if before == 0 {
		t.keys.set(slot, ref)
	} else {
		t.follow(before, ref)
	}
	return slot
}

// unlink takes a row out of the list of a slot, where it is behind another one (0: it is the first), and frees it.
func (t *Table) unlink(slot int, before, ref uint32) {
	row := t.at(ref)
	after := next(row)
	switch {
	case before != 0:
		t.follow(before, after)
	case after != 0:
		t.keys.set(slot, after)
	default:
		t.keys.remove(slot)
	}
	t.failed(t.store.free(ref, row))
	t.rows--
}

// follow puts a row behind another one.
func (t *Table) follow(before, ref uint32) {
	row := t.at(before)
	setNext(row, ref)
	t.changed(before, row)
}

// Delete takes the row of an identity away, if there is one.
func (t *Table) Delete(id [2]uint64) {
	t.space.reset()
	tag := uint32(id[0] >> 32)
	for i := t.ids.first(tag); i >= 0; i = t.ids.after(i, tag) {
		ref := t.ids.ref(i)
		row := t.at(ref)
		if t.layout.id(row) != id {
			continue
		}
		t.ids.remove(i)
		t.remove(ref, row)
		return
	}
}

// remove takes a row away by its own key.
func (t *Table) remove(ref uint32, row []byte) {
	tag := uint32(t.hasher.stored(t.layout, t.key, row) >> 32)
	for i := t.keys.first(tag); i >= 0; i = t.keys.after(i, tag) {
		before := uint32(0)
		for at := t.keys.ref(i); at != 0; before, at = at, next(t.at(at)) {
			if at == ref {
				t.unlink(i, before, ref)
				return
			}
		}
	}
}

// DeleteKey takes the rows of a key away, in a table without identities.
func (t *Table) DeleteKey(mem []byte, key []*batch.Column, r int) {
	t.space.reset()
	tag := uint32(t.hasher.row(mem, key, r) >> 32)
	if slot := t.find(tag, mem, key, r, &t.space); slot >= 0 {
		for ref := t.keys.ref(slot); ref != 0; {
			after := next(t.at(ref))
			t.unlink(slot, 0, ref)
			ref = after
		}
	}
}

// Clear takes all rows away.
func (t *Table) Clear() {
	t.failed(t.store.close())
	t.store, t.keys, t.ids, t.rows, t.hand = &arena{}, index{}, index{}, 0, 0
}

// time is that of a version.
func (t *Table) time(row []byte) int64 { return t.layout.whole(row, t.layout.columns[t.by]) }

func next(row []byte) uint32         { return binary.LittleEndian.Uint32(row) }
func size(row []byte) int            { return int(binary.LittleEndian.Uint32(row[4:])) }
func setNext(row []byte, ref uint32) { binary.LittleEndian.PutUint32(row, ref) }

// probe finds the rows that belong to a batch's rows: found[r] is nil where there is none. key are the columns of the batch,
// hashes those of the key in each row, at the batch's times (nil: the newest version counts). Rows where skip is true are passed over.
//
// It goes over the batch three times, so that the memory of many rows is waited for at once.
func (t *Table) probe(found [][]byte, hashes []uint64, skip []bool, mem []byte, key []*batch.Column, at []int64, sp *space) {
	if t.keys.n == 0 {
		clear(found)
		return
	}
	t.candidates(hashes, skip)
	for r, h := range hashes { // the upper half is the tag still, the lower one is a reference now
		found[r] = nil
		if ref := uint32(h); ref != 0 {
			found[r] = t.store.at(ref, sp)
		}
	}
	t.confirm(found, hashes, mem, key, sp)
	t.versions(found, at, sp)
}

// candidates puts a reference to the first row that may have the key into the lower half of each hash; 0: there is none.
func (t *Table) candidates(hashes []uint64, skip []bool) {
	slots, shift := t.keys.slots, t.keys.shift
	for r, h := range hashes {
		tag := uint32(h >> 32)
		s := slots[tag>>shift]
		switch {
		case skip[r]:
			s = 0
		case s != 0 && uint32(s) != tag:
			if i := t.keys.first(tag); i >= 0 {
				s = slots[i]
			} else {
				s = 0
			}
		}
		hashes[r] = h>>32<<32 | s>>32
	}
}

// confirm compares the keys of rows that were found, and looks on where they are not equal.
func (t *Table) confirm(found [][]byte, hashes []uint64, mem []byte, key []*batch.Column, sp *space) {
	p := t.layout.columns[t.key[0]]
	if len(key) == 1 && p.store == batch.StoreInt64 && key[0].Type.Store() == batch.StoreInt64 {
		for r, v := range key[0].Int64[:len(found)] {
			if row := found[r]; row != nil && int64(binary.LittleEndian.Uint64(row[p.at:])) != v {
				found[r] = t.search(hashes[r], mem, key, r, sp)
			}
		}
		return
	}
	for r, row := range found {
		if row != nil && !t.layout.equal(row, t.key, mem, key, r) {
			found[r] = t.search(hashes[r], mem, key, r, sp)
		}
	}
}

func (t *Table) search(hash uint64, mem []byte, key []*batch.Column, r int, sp *space) []byte {
	if slot := t.find(uint32(hash>>32), mem, key, r, sp); slot >= 0 {
		return t.store.at(t.keys.ref(slot), sp)
	}
	return nil
}
