package cleanse

import (
	"encoding/binary"

	"github.com/lakeloader/lakeloader/batch"
)

// memo remembers what a step made of texts in the current batch: columns repeat few values, and equal results then
// share their bytes. A slot holds one text; another one that falls on it takes its place.
type memo struct {
	slots []memoSlot
}

type memoSlot struct {
	batch    uint64 // the views are good in this batch only
	from, to batch.View
	code     int32 // what the step wants to know of the text besides
}

const memoSlots = 256

// slot returns the place for a text; it is found there if ok.
func (m *memo) slot(now uint64, mem []byte, text []byte) (s *memoSlot, ok bool) {
	if m.slots == nil {
		m.slots = make([]memoSlot, memoSlots)
	}
	s = &m.slots[spot(text)%memoSlots]
	if s.batch != now || int(s.from.Len) != len(text) {
		return s, false
	}
	return s, string(mem[s.from.Off:s.from.Off+s.from.Len]) == string(text)
}

// spot is a cheap hash of a text's length and ends; it only decides about hits.
func spot(b []byte) uint64 {
	h := uint64(len(b)) * 0x9E3779B97F4A7C15
	switch n := len(b); {
	case n >= 8:
		h ^= binary.LittleEndian.Uint64(b)*0xff51afd7ed558ccd ^ binary.LittleEndian.Uint64(b[n-8:])*0xc4ceb9fe1a85ec53
	case n >= 4:
		h ^= uint64(binary.LittleEndian.Uint32(b))<<32*0xff51afd7ed558ccd ^ uint64(binary.LittleEndian.Uint32(b[n-4:]))*0xc4ceb9fe1a85ec53
	case n > 0:
		h ^= (uint64(b[0])<<16 | uint64(b[n/2])<<8 | uint64(b[n-1])) * 0xff51afd7ed558ccd
	}
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return h >> 40
}
