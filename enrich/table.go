package enrich

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// Table is the rows of a lookup: bytes in an arena, found by their key.
//
// Rows with the same key are a list, the newest first, of which a join takes the first one: rows that were put in later are newer.
// In a table with versions the list goes by their times, and a join takes the first that is not later than the row's.
//
// With identities (a topic that is re-keyed), a row replaces the one of the same identity, whatever key that had; rows of
// other identities with the same key stay behind it in the list, and come forth again when it goes. Without, a row replaces the one
// of the same key, and in a table with versions that of the same key and time.
//
// It may be read by several goroutines at once, and changed by one alone.
type Table struct {
	layout *layout
	key    []int
	by     int // column of versions; -1: there are none
	hasher hasher

	arena arena
	keys  index // one slot for each key: the first row of the list
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
	// Identified: rows have identities.
	Identified bool
}

// NewTable returns an empty table.
func NewTable(s Shape) (*Table, error) {
	l, err := newLayout(s.Row, s.Identified)
	if err != nil {
		return nil, err
	}
	t := &Table{layout: l, by: -1, hasher: newHasher()}
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
	case batch.Timestamp, batch.TimestampTZ, batch.Date:
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
func (t *Table) Bytes() int64 { return t.arena.bytes() + t.keys.bytes() + t.ids.bytes() }

// ErrNoKey: a row has no value in a column of its key, so nothing can be joined with it.
var ErrNoKey = errors.New("a column of the key is null")

// Identity makes an identity of what a record's key says.
func (t *Table) Identity(b []byte) [2]uint64 {
	return t.hasher.both(b)
}

// Put takes row r of columns, those of Row in order, whose views point into mem. id is used in a table with identities only. A row
// without a key is not taken (ErrNoKey), but takes the one of its identity away.
func (t *Table) Put(mem []byte, columns []*batch.Column, r int, id [2]uint64) error {
	if t.layout.identity > 0 {
		t.Delete(id)
	}
	t.keyCols = t.keyCols[:0]
	for _, k := range t.key {
		if columns[k].IsNull(r) {
			return ErrNoKey
		}
		t.keyCols = append(t.keyCols, columns[k])
	}
	if t.by >= 0 && columns[t.by].IsNull(r) {
		return fmt.Errorf("%w: column %s, which says from when on the row is true", ErrNoKey, t.layout.row.Fields[t.by].Name)
	}
	tag := uint32(t.hasher.row(mem, t.keyCols, r) >> 32)
	t.buf = t.layout.append(t.buf[:0], mem, columns, r, id)
	slot := t.find(tag, mem, t.keyCols, r)
	if slot >= 0 && t.layout.identity == 0 {
		t.replaced(slot)
		slot = t.find(tag, mem, t.keyCols, r)
	}
	ref, err := t.arena.add(t.buf)
	if err != nil {
		return err
	}
	t.rows++
	if t.layout.identity > 0 {
		t.ids.add(uint32(id[0]>>32), ref)
	}
	if slot < 0 {
		t.keys.add(tag, ref)
		return nil
	}
	t.link(slot, ref)
	return nil
}

// find is the slot of a key; -1: there is none.
func (t *Table) find(tag uint32, mem []byte, key []*batch.Column, r int) int {
	for i := t.keys.first(tag); i >= 0; i = t.keys.after(i, tag) {
		if t.layout.equal(t.arena.at(t.keys.ref(i)), t.key, mem, key, r) {
			return i
		}
	}
	return -1
}

// replaced takes away what the row in buf replaces in the list of a slot.
func (t *Table) replaced(slot int) {
	ref, before := t.keys.ref(slot), uint32(0)
	for t.by >= 0 && ref != 0 && t.time(t.arena.at(ref)) != t.time(t.buf) {
		before, ref = ref, next(t.arena.at(ref))
	}
	if ref != 0 {
		t.unlink(slot, before, ref)
	}
}

// link puts a row into the list of a slot.
func (t *Table) link(slot int, ref uint32) {
	row := t.arena.at(ref)
	after, before := t.keys.ref(slot), uint32(0)
	for t.by >= 0 && after != 0 && t.time(t.arena.at(after)) > t.time(row) {
		before, after = after, next(t.arena.at(after))
	}
	setNext(row, after)
	if before == 0 {
		t.keys.set(slot, ref)
	} else {
		setNext(t.arena.at(before), ref)
	}
}

// unlink takes a row out of the list of a slot, where it is behind another one (0: it is the first), and frees it.
func (t *Table) unlink(slot int, before, ref uint32) {
	after := next(t.arena.at(ref))
	switch {
	case before != 0:
		setNext(t.arena.at(before), after)
	case after != 0:
		t.keys.set(slot, after)
	default:
		t.keys.remove(slot)
	}
	t.arena.free(ref)
	t.rows--
}

// Delete takes the row of an identity away, if there is one.
func (t *Table) Delete(id [2]uint64) {
	tag := uint32(id[0] >> 32)
	for i := t.ids.first(tag); i >= 0; i = t.ids.after(i, tag) {
		ref := t.ids.ref(i)
		row := t.arena.at(ref)
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
		for at := t.keys.ref(i); at != 0; before, at = at, next(t.arena.at(at)) {
			if at == ref {
				t.unlink(i, before, ref)
				return
			}
		}
	}
}

// DeleteKey takes the rows of a key away, in a table without identities.
func (t *Table) DeleteKey(mem []byte, key []*batch.Column, r int) {
	tag := uint32(t.hasher.row(mem, key, r) >> 32)
	if slot := t.find(tag, mem, key, r); slot >= 0 {
		for ref := t.keys.ref(slot); ref != 0; {
			after := next(t.arena.at(ref))
			t.unlink(slot, 0, ref)
			ref = after
		}
	}
}

// Clear takes all rows away.
func (t *Table) Clear() {
	t.arena, t.keys, t.ids, t.rows = arena{}, index{}, index{}, 0
}

// time is that of a version.
func (t *Table) time(row []byte) int64 { return t.layout.whole(row, t.layout.columns[t.by]) }

func next(row []byte) uint32         { return binary.LittleEndian.Uint32(row) }
func setNext(row []byte, ref uint32) { binary.LittleEndian.PutUint32(row, ref) }

// probe finds the rows that belong to a batch's rows: found[r] is nil where there is none. key are the columns of the batch,
// hashes those of the key in each row, at the batch's times (nil: the newest version counts). Rows where skip is true are passed over.
//
// It goes over the batch three times, so that the memory of many rows is waited for at once.
func (t *Table) probe(found [][]byte, hashes []uint64, skip []bool, mem []byte, key []*batch.Column, at []int64) {
	if t.keys.n == 0 {
		clear(found)
		return
	}
	t.candidates(hashes, skip)
	for r, h := range hashes { // the upper half is the tag still, the lower one is a reference now
		found[r] = nil
		if ref := uint32(h); ref != 0 {
			found[r] = t.arena.at(ref)
		}
	}
	t.confirm(found, hashes, mem, key)
	if at == nil || t.by < 0 {
		return
	}
	for r, row := range found {
		for row != nil && t.time(row) > at[r] {
			ref := next(row)
			if row = nil; ref != 0 {
				row = t.arena.at(ref)
			}
		}
		found[r] = row
	}
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
func (t *Table) confirm(found [][]byte, hashes []uint64, mem []byte, key []*batch.Column) {
	p := t.layout.columns[t.key[0]]
	if len(key) == 1 && p.store == batch.StoreInt64 && key[0].Type.Store() == batch.StoreInt64 {
		for r, v := range key[0].Int64[:len(found)] {
			if row := found[r]; row != nil && int64(binary.LittleEndian.Uint64(row[p.at:])) != v {
				found[r] = t.search(hashes[r], mem, key, r)
			}
		}
		return
	}
	for r, row := range found {
		if row != nil && !t.layout.equal(row, t.key, mem, key, r) {
			found[r] = t.search(hashes[r], mem, key, r)
		}
	}
}

func (t *Table) search(hash uint64, mem []byte, key []*batch.Column, r int) []byte {
	if slot := t.find(uint32(hash>>32), mem, key, r); slot >= 0 {
		return t.arena.at(t.keys.ref(slot))
	}
	return nil
}

// arena keeps rows in chunks. A reference is the place of a row in units of 8 bytes; rows that are freed are used again for rows
// of the same size.
type arena struct {
	chunks [][]byte
	spare  map[int]uint32 // by size in units: the first of a list
	size   int64
}

const (
	unit       = 8
	chunkUnits = 1 << 17
	chunkBytes = chunkUnits * unit
)

// errFull: references are too short for more.
var errFull = errors.New("a lookup can hold 32 GiB of rows at most")

// units is how many a row of a size takes: large ones are rounded up more, so that their places fit others.
func units(size int) int {
	n := (size + unit - 1) / unit
	if n > 64 {
		n = (n + 15) / 16 * 16
	}
	return n
}

func (a *arena) at(ref uint32) []byte {
	return a.chunks[ref/chunkUnits][ref%chunkUnits*unit:]
}

func (a *arena) add(row []byte) (uint32, error) {
	n := units(len(row))
	if ref := a.spare[n]; ref != 0 {
		at := a.at(ref)
		if after := next(at); after != 0 {
			a.spare[n] = after
		} else {
			delete(a.spare, n)
		}
		copy(at[:n*unit], row)
		return ref, nil
	}
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last])+n*unit > cap(a.chunks[last]) || len(a.chunks[last]) >= chunkBytes {
		if len(a.chunks) == 1<<32/chunkUnits {
			return 0, errFull
		}
		chunk := make([]byte, 0, max(chunkBytes, n*unit+unit))
		if last < 0 {
			chunk = chunk[:unit] // no row has the reference 0
		}
		a.chunks = append(a.chunks, chunk)
		a.size += int64(cap(chunk))
		last++
	}
	chunk := a.chunks[last]
	at := len(chunk)
	a.chunks[last] = chunk[:at+n*unit]
	copy(a.chunks[last][at:], row)
	return uint32(last*chunkUnits + at/unit), nil
}

func (a *arena) free(ref uint32) {
	row := a.at(ref)
	n := units(int(binary.LittleEndian.Uint32(row[4:])))
	setNext(row, a.spare[n])
	if a.spare == nil {
		a.spare = map[int]uint32{}
	}
	a.spare[n] = ref
}

func (a *arena) bytes() int64 { return a.size }
