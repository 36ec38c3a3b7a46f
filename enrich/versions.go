package enrich

import (
	"encoding/binary"
	"iter"
	"math"

	"github.com/lakeloader/lakeloader/batch"
)

// Versions of rows without identities are all in the list of their key: each is true from its time on until that of the next one.
//
// With identities the next version may have another key, or there may be none, as the row is gone. So the versions of an identity
// are a list of their own, the newest first, which ids finds: each says until when it is true. The end of a row is a version without
// values and key, which is true at no time. A version may come at any time, before or after those that it lies between.
//
// What is kept: a version that was replaced is let go when the newest time seen is later by more than keep. Those of a key or an
// identity go when another one comes; the others by and by, as each put looks at one more identity (sweep), or by Expire.

// ended is until of the end of a row.
const ended = math.MinInt64

// endOfTime is until of a version that is true still, as times are compared.
const endOfTime = math.MaxInt64

func (t *Table) until(row []byte) int64 {
	return int64(binary.LittleEndian.Uint64(row[t.layout.until:]))
}

func (t *Table) setUntil(row []byte, at int64) {
	binary.LittleEndian.PutUint64(row[t.layout.until:], uint64(at))
}

func (t *Table) older(row []byte) uint32 {
	return binary.LittleEndian.Uint32(row[t.layout.until+8:])
}

func (t *Table) setOlder(row []byte, ref uint32) {
	binary.LittleEndian.PutUint32(row[t.layout.until+8:], ref)
}

// versions takes the version that was true at the time of each row; without times the one that is true still.
func (t *Table) versions(found [][]byte, at []int64, sp *space) {
	if t.by < 0 || at == nil && t.layout.until == 0 {
		return
	}
	when := int64(endOfTime - 1)
	for r, row := range found {
		if at != nil {
			when = at[r]
		}
		for row != nil && (t.time(row) > when || t.layout.until > 0 && when >= t.until(row)) {
			ref := next(row)
			if row = nil; ref != 0 {
				row = t.store.at(ref, sp)
			}
		}
		found[r] = row
	}
}

// putVersion takes the row in buf, row r of the key's columns.
func (t *Table) putVersion(mem []byte, r int, id [2]uint64) error {
	t.setUntil(t.buf, endOfTime)
	tag := uint32(t.hasher.row(mem, t.keyCols, r) >> 32)
	ref, err := t.add()
	if err != nil {
		return err
	}
	t.rows++
	at := t.time(t.buf)
	t.chain(ref, id, at) // before the list: it may empty that of the key
	t.link(t.find(tag, mem, t.keyCols, r, &t.space), tag, ref)
	t.passed(id, at)
	return t.Err()
}

// End says that the row of an identity is gone from a time on, in a table with versions and identities.
func (t *Table) End(id [2]uint64, at int64) error {
	t.space.reset()
	if err := t.end(id, at); err != nil {
		return err
	}
	t.passed(id, at)
	return t.Err()
}

func (t *Table) end(id [2]uint64, at int64) error {
	t.buf = t.layout.blank(t.buf[:0])
	binary.LittleEndian.PutUint64(t.buf[t.layout.identity:], id[0])
	binary.LittleEndian.PutUint64(t.buf[t.layout.identity+8:], id[1])
	t.setUntil(t.buf, ended)
	if p := t.layout.columns[t.by]; p.store == batch.StoreInt32 {
		binary.LittleEndian.PutUint32(t.buf[p.at:], uint32(int32(at)))
	} else {
		binary.LittleEndian.PutUint64(t.buf[p.at:], uint64(at))
	}
	ref, err := t.add()
	if err != nil {
		return err
	}
	t.chain(ref, id, at)
	return t.Err()
}

// EndAll says that all rows are gone from a time on, or from behind their newest versions, if these are later.
func (t *Table) EndAll(at int64) error {
	for i := range t.ids.slots {
		if t.ids.slots[i] == 0 {
			continue
		}
		t.space.reset()
		if head := t.at(t.ids.ref(i)); t.until(head) != ended {
			if err := t.end(t.layout.id(head), max(at, t.time(head)+1)); err != nil {
				return err
			}
		}
	}
	t.newest = max(t.newest, at)
	return t.Expire()
}

// Last is the time of the newest version of an identity, and whether it is the end of the row. ok: there is one.
func (t *Table) Last(id [2]uint64) (at int64, gone, ok bool) {
	t.space.reset()
	slot, head := t.head(id)
	if slot < 0 {
		return 0, false, false
	}
	return t.time(head), t.until(head) == ended, true
}

// head finds the newest version of an identity; the slot is -1 where there is none.
func (t *Table) head(id [2]uint64) (slot int, row []byte) {
	tag := uint32(id[0] >> 32)
	for i := t.ids.first(tag); i >= 0; i = t.ids.after(i, tag) {
		if row := t.at(t.ids.ref(i)); t.layout.id(row) == id {
			return i, row
		}
	}
	return -1, nil
}

// chain puts a version among those of its identity. One of the same time is replaced by it.
func (t *Table) chain(ref uint32, id [2]uint64, at int64) {
	slot, _ := t.head(id)
	if slot < 0 {
		t.ids.add(uint32(id[0]>>32), ref)
		return
	}
	newer, older, until := uint32(0), t.ids.ref(slot), int64(endOfTime)
	var row []byte
	for older != 0 {
		row = t.at(older)
		if t.time(row) <= at {
			break
		}
		newer, older, until = older, t.older(row), t.time(row)
	}
	if older != 0 && t.time(row) == at {
		same := older
		older = t.older(row)
		t.drop(same, row)
	}
	if older != 0 {
		if row = t.at(older); t.until(row) != ended {
			t.setUntil(row, at)
			t.changed(older, row)
		}
	}
	row = t.at(ref)
	t.setOlder(row, older)
	if t.until(row) != ended {
		t.setUntil(row, until)
	}
	t.changed(ref, row)
	t.precede(slot, newer, ref)
}

// precede puts a version behind the next newer one of the identity, or before all others where that is 0.
func (t *Table) precede(slot int, newer, ref uint32) {
	if newer == 0 {
		t.ids.set(slot, ref)
		return
	}
	row := t.at(newer)
	t.setOlder(row, ref)
	t.changed(newer, row)
}

// drop frees a version, which is in its identity's list no more.
func (t *Table) drop(ref uint32, row []byte) {
	if t.until(row) == ended {
		t.failed(t.store.free(ref, row))
		return
	}
	t.remove(ref, row)
}

// passed notes a time, and lets go of versions: of the identity, and of one more.
func (t *Table) passed(id [2]uint64, at int64) {
	t.newest = max(t.newest, at)
	if t.keep == 0 {
		return
	}
	if slot, _ := t.head(id); slot >= 0 {
		t.expireChain(slot)
	}
	t.sweep()
}

// sweep looks at one more slot, round and round.
func (t *Table) sweep() {
	if t.hand >= len(t.ids.slots) {
		t.hand = 0
	}
	if t.ids.slots[t.hand] != 0 {
		t.expireChain(t.hand)
	}
	t.hand++
}

// needed is the time of which versions that were true then are kept.
func (t *Table) needed() int64 {
	if t.newest < math.MinInt64+t.keep {
		return math.MinInt64
	}
	return t.newest - t.keep
}

// Expire lets go of all versions that need not be kept.
func (t *Table) Expire() error {
	if t.by < 0 || t.keep == 0 {
		return nil
	}
	for i := len(t.keys.slots) - 1; t.layout.until == 0 && i >= 0; i-- {
		t.space.reset()
		if t.keys.slots[i] != 0 {
			t.expireList(i)
		}
	}
	// Slots move down when one is emptied: none is passed over from the end, but for those that move around it.
	for i := len(t.ids.slots) - 1; t.layout.until > 0 && i >= 0; i-- {
		t.space.reset()
		if t.ids.slots[i] != 0 {
			t.expireChain(i)
		}
	}
	return t.Err()
}

// expireList is for rows without identities: behind the first version that is older than what is kept, none is needed.
func (t *Table) expireList(slot int) {
	if t.keep == 0 {
		return
	}
	for ref := t.keys.ref(slot); ref != 0; {
		row := t.at(ref)
		after := next(row)
		if t.time(row) > t.needed() {
			ref = after
			continue
		}
		for after != 0 {
			t.unlink(slot, ref, after)
			after = next(t.at(ref))
		}
		return
	}
}

// expireChain is for those of an identity; the end of a row that is old enough goes, too.
func (t *Table) expireChain(slot int) {
	newer, ref := uint32(0), t.ids.ref(slot)
	var row []byte
	for ref != 0 {
		row = t.at(ref)
		if t.time(row) <= t.needed() {
			break
		}
		newer, ref = ref, t.older(row)
	}
	if ref == 0 {
		return
	}
	last, before := ref, t.older(row)
	if t.until(row) == ended {
		last, before = newer, ref
	}
	switch {
	case before == 0:
		return
	case last == 0:
		t.ids.remove(slot)
	default:
		row = t.at(last)
		t.setOlder(row, 0)
		t.changed(last, row)
	}
	for before != 0 {
		row = t.at(before)
		ref = before
		before = t.older(row)
		t.drop(ref, row)
	}
}

// refs are all rows.
func (t *Table) refs() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, s := range t.keys.slots {
			for ref := uint32(s >> 32); ref != 0; ref = next(t.at(ref)) {
				if !yield(ref) {
					return
				}
			}
		}
		for _, s := range t.ids.slots {
			for ref := uint32(s >> 32); t.layout.until > 0 && ref != 0; {
				row := t.at(ref)
				if t.until(row) == ended && !yield(ref) {
					return
				}
				ref = t.older(row)
			}
		}
	}
}
