package window

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/lakeloader/lakeloader/localdb"
)

// Part is a partition of the topic that purchases or the like come from.
type Part struct {
	Topic     string
	Partition int32
}

// State is what one process knows of its slots, in a folder of its own. A slot of it is for one goroutine at a time.
//
// Everything about a slot, the buckets of its keys, the offsets that they have and the day of what is published, changes in one
// batch. Batches are written in order and not synced: after a power failure the state is an older one, and every older state
// is a right one to go on from (Owner).
//
// Below a prefix of two bytes, the slot: 'm' mark; 'n' how many keys have buckets, but while the mark says Compare; 'o' offsets by
// partition; 'k' buckets by key; 'd' keys whose totals are to be published; 'p' what the topic has, while it is compared.
//
// A disk that is full, or fails, makes errors of the window, and of nothing else (localdb): what is on it then is one of the older states.
type State struct {
	db *localdb.DB
}

const (
	kindMark      = 'm'
	kindOffset    = 'o'
	kindKey       = 'k'
	kindCount     = 'n'
	kindDirty     = 'd'
	kindPublished = 'p'
)

// mark says what a slot's state is.
type mark struct {
	// Definition is a hash of all that the buckets depend on: with another one they are made anew.
	Definition string `json:"definition"`
	// Decided is what the table says was decided otherwise since: edits, epochs.
	Decided string `json:"decided"`
	// UUID is the table's; empty: there was none.
	UUID string `json:"uuid,omitempty"`
	// Day is that of the totals which are published.
	Day Day `json:"day"`
	// Compare: what is published is not known, and has to be read.
	Compare bool `json:"compare,omitempty"`
}

// Shares is how a window's memory is divided, bytes.
type Shares struct {
	// Store is for the state's blocks, and for what is not in its files yet, outside of Go's heap.
	Store int64
	// Fetch is for records that are fetched ahead, outside of Go's heap.
	Fetch int64
	// Entries is for the keys that were used last, or for rows from which totals are made anew; on Go's heap, with its garbage.
	Entries int64
}

// Divide divides a window's memory.
func Divide(memory int64) Shares {
	return Shares{Store: memory / 2, Fetch: memory / 4, Entries: memory / 4}
}

// OpenState opens or makes the state in a folder. memory is what it may take, bytes: Shares.Store.
func OpenState(dir string, memory int64) (*State, error) {
	return openState(localdb.Options{Dir: dir}, memory)
}

// firstRoom is asked for at once, so that a window that begins again and again does not fill the disk bit by bit.
const firstRoom = 1 << 20

func openState(o localdb.Options, memory int64) (_ *State, err error) {
	o.What, o.Remedy = "the window's state", "free some, or name a folder on another disk in the window's setting state: what is lost of it is made anew"
	cache := pebble.NewCache(memory)
	defer cache.Unref()
	db, err := localdb.Open(o, &pebble.Options{
		// What is not in files yet is taken from the cache's room.
		Cache: cache, MemTableSize: uint64(min(memory/4, 64<<20)), MemTableStopWritesThreshold: 3, L0CompactionThreshold: 4, L0StopWritesThreshold: 100,
		Merger: &pebble.Merger{Name: "lakeloader.window.1", Merge: newMerger}, FormatMajorVersion: pebble.FormatNewest,
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	})
	if err != nil {
		return nil, fmt.Errorf("%w; one process at a time uses a folder: name another one in state, or remove a damaged one, and it is made anew", err)
	}
	if err := db.Room(firstRoom); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &State{db: db}, nil
}

// Close closes the folder.
func (s *State) Close() error { return s.db.Close() }

// sound says that the disk has taken all, so what was read is right. It is asked before anything is published that follows from it.
func (s *State) sound() error { return s.db.Err() }

// commit writes a batch, or says that there is no room for it.
func (s *State) commit(b *pebble.Batch) error { return s.write(b, pebble.NoSync) }

func (s *State) write(b *pebble.Batch, how *pebble.WriteOptions) error {
	if err := s.db.Room(int64(b.Len())); err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(b.Commit(how), s.db.Err())
}

func prefix(slot int32, kind byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(slot)), kind)
}

func stateKey(b []byte, slot int32, kind byte, key []byte) []byte {
	return append(append(binary.BigEndian.AppendUint16(b[:0], uint16(slot)), kind), key...)
}

func offsetKey(slot int32, p Part) []byte {
	return append(binary.BigEndian.AppendUint32(prefix(slot, kindOffset), uint32(p.Partition)), p.Topic...)
}

// get reads a value into buf; nil: there is none.
func (s *State) get(key, buf []byte) ([]byte, bool, error) {
	v, done, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return buf[:0], false, nil
	}
	if err != nil {
		return nil, false, err
	}
	buf = append(buf[:0], v...)
	return buf, true, done.Close()
}

// mark reads that of a slot; nil: it has none, so nothing of it is of use.
func (s *State) mark(slot int32) (*mark, error) {
	v, ok, err := s.get(prefix(slot, kindMark), nil)
	if err != nil || !ok {
		return nil, err
	}
	m := &mark{}
	if err := json.Unmarshal(v, m); err != nil {
		return nil, nil // of another version: made anew
	}
	return m, nil
}

func setMark(b *pebble.Batch, slot int32, m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return b.Set(prefix(slot, kindMark), text, nil)
}

// position is how far a slot is in a partition.
type position struct {
	next int64
	id   string // of the topic
}

// positions reads how far a slot is.
func (s *State) positions(slot int32) (map[Part]position, error) {
	out := map[Part]position{}
	err := s.each(slot, kindOffset, nil, func(key, value []byte) (bool, error) {
		if len(key) < 4 || len(value) < 8 {
			return false, errors.New("damaged state: an offset cannot be read")
		}
		out[Part{string(key[4:]), int32(binary.BigEndian.Uint32(key))}] = position{int64(binary.BigEndian.Uint64(value)), string(value[8:])}
		return true, nil
	})
	return out, err
}

func setOffset(b *pebble.Batch, slot int32, p Part, next int64, id string) error {
	return b.Set(offsetKey(slot, p), append(binary.BigEndian.AppendUint64(nil, uint64(next)), id...), nil)
}

// each calls f for what a slot has of a kind, ascending by key, from a key on, until it says false. Its arguments are good for the call.
func (s *State) each(slot int32, kind byte, from []byte, f func(key, value []byte) (bool, error)) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: stateKey(nil, slot, kind, from), UpperBound: prefix(slot, kind+1)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := f(it.Key()[3:], v); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// keys is how many keys of a slot have buckets; -1: it was not written.
func (s *State) keys(slot int32) (int64, error) {
	v, ok, err := s.get(prefix(slot, kindCount), nil)
	if err != nil || !ok {
		return -1, err
	}
	n, size := binary.Varint(v)
	if size <= 0 {
		return -1, errors.New("damaged state: the number of keys cannot be read")
	}
	return n, nil
}

func setKeys(b *pebble.Batch, s *slot) error {
	return b.Set(prefix(s.n, kindCount), binary.AppendVarint(nil, s.keys), nil)
}

// clear drops everything that is known of a slot.
func (s *State) clear(slot int32) error {
	end := []byte{0xff, 0xff, 0xff}
	if slot < 0xffff {
		end = prefix(slot+1, 0)
	}
	return errors.Join(s.db.DeleteRange(prefix(slot, 0), end, pebble.NoSync), s.db.Err())
}

func (s *State) clearKind(b *pebble.Batch, slot int32, kind byte) error {
	return b.DeleteRange(prefix(slot, kind), prefix(slot, kind+1), nil)
}

// merger adds up the buckets of a key, which a rebuild writes piece by piece. The order of the pieces does not matter.
type merger struct {
	all buckets
}

func newMerger(_, value []byte) (pebble.ValueMerger, error) {
	m := &merger{}
	return m, m.MergeNewer(value)
}

// MergeNewer is part of pebble.ValueMerger, and so are the following.
func (m *merger) MergeNewer(value []byte) (err error) {
	m.all, err = readBuckets(m.all, value)
	return err
}

func (m *merger) MergeOlder(value []byte) error { return m.MergeNewer(value) }

func (m *merger) Finish(bool) ([]byte, io.Closer, error) {
	out, err := combine(m.all)
	if err != nil {
		return nil, nil, err
	}
	return out.append(nil), nil, nil
}

// combine sorts buckets, and makes one of those of a day.
func combine(all buckets) (buckets, error) {
	slices.SortFunc(all, func(a, b bucket) int { return int(a.day) - int(b.day) })
	n := 0
	for _, b := range all {
		if n > 0 && all[n-1].day == b.day {
			sum, ok := all[n-1].sum.plus(b.sum)
			if !ok {
				return nil, errOverflow
			}
			all[n-1].sum = sum
			continue
		}
		all[n] = b
		n++
	}
	return all[:n], nil
}
