package cleanse

// entry is what is remembered of one row. part is a number for its topic partition; -1: forgotten.
type entry struct {
	key    keyHash
	offset int64
	ts     int64
	// prev is the sequence number + 1 of the key's entry before, which this one hides; 0: none.
	prev uint64
	part int32
}

// ring holds entries in the order in which they came. Sequence numbers count all entries ever pushed; those in
// [head, tail) are held, number n at slots[n % len(slots)]. For each key the index has the newest that is not
// forgotten.
type ring struct {
	limit      int
	slots      []entry
	head, tail uint64
	index      hashIndex
}

func (r *ring) at(n uint64) *entry { return &r.slots[n%uint64(len(r.slots))] }

func (r *ring) find(key keyHash) *entry {
	n, ok := r.index.get(key, r)
	if !ok {
		return nil
	}
	return r.at(n)
}

func (r *ring) push(e entry) {
	if int(r.tail-r.head) >= r.limit {
		r.popFront()
	}
	if int(r.tail-r.head) == len(r.slots) {
		r.grow()
	}
	if n, ok := r.index.get(e.key, r); ok {
		e.prev = n + 1
	}
	*r.at(r.tail) = e
	r.index.set(e.key, r.tail, r)
	r.tail++
}

func (r *ring) grow() {
	bigger := make([]entry, min(max(1024, 2*len(r.slots)), r.limit))
	for n := r.head; n < r.tail; n++ {
		bigger[n%uint64(len(bigger))] = *r.at(n)
	}
	r.slots = bigger
}

func (r *ring) popFront() {
	e := r.at(r.head)
	if n, ok := r.index.get(e.key, r); ok && n == r.head {
		r.index.delete(e.key, r)
	}
	r.head++
}

func (r *ring) popWhile(old func(e *entry) bool) {
	for r.head < r.tail && old(r.at(r.head)) {
		r.popFront()
	}
}

// popBack takes back the entries from number n on; what they hid shows again.
func (r *ring) popBack(n uint64) {
	for r.tail > r.head && r.tail > n {
		r.unhide(r.tail - 1)
		r.tail--
	}
}

// unhide makes the entry before number n of the same key the one that the index finds, if n is that now.
func (r *ring) unhide(n uint64) {
	e := r.at(n)
	if at, ok := r.index.get(e.key, r); !ok || at != n {
		return
	}
	for prev := e.prev; prev > r.head; {
		p := r.at(prev - 1)
		if p.part >= 0 {
			r.index.set(e.key, prev-1, r)
			return
		}
		prev = p.prev
	}
	r.index.delete(e.key, r)
}

// remove forgets all entries of a partition.
func (r *ring) remove(part int32) {
	for n := r.head; n < r.tail; n++ {
		if e := r.at(n); e.part == part {
			r.unhide(n)
			e.part = -1
		}
	}
}

// hashIndex maps keys to sequence numbers: open addressing with linear probing; a slot holds the number + 1, keys are
// in the ring.
type hashIndex struct {
	slots []uint64
	n     int
}

func (h *hashIndex) home(key keyHash) int { return int(key[0] & uint64(len(h.slots)-1)) }

func (h *hashIndex) find(key keyHash, r *ring) (slot int, ok bool) {
	for i := h.home(key); ; i = (i + 1) & (len(h.slots) - 1) {
		s := h.slots[i]
		if s == 0 {
			return i, false
		}
		if r.at(s-1).key == key {
			return i, true
		}
	}
}

func (h *hashIndex) get(key keyHash, r *ring) (uint64, bool) {
	if h.n == 0 {
		return 0, false
	}
	i, ok := h.find(key, r)
	if !ok {
		return 0, false
	}
	return h.slots[i] - 1, true
}

func (h *hashIndex) set(key keyHash, n uint64, r *ring) {
	if 4*(h.n+1) > 3*len(h.slots) {
		old := h.slots
		h.slots = make([]uint64, max(1024, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				i, _ := h.find(r.at(s-1).key, r)
				h.slots[i] = s
			}
		}
	}
	i, ok := h.find(key, r)
	if !ok {
		h.n++
	}
	h.slots[i] = n + 1
}

// delete closes the gap with the entries behind it that may move there, so that every probe still ends at one.
func (h *hashIndex) delete(key keyHash, r *ring) {
	mask := len(h.slots) - 1
	gap, ok := h.find(key, r)
	if !ok {
		return
	}
	for i := (gap + 1) & mask; h.slots[i] != 0; i = (i + 1) & mask {
		home := h.home(r.at(h.slots[i] - 1).key)
		if (i-home)&mask >= (i-gap)&mask {
			h.slots[gap], gap = h.slots[i], i
		}
	}
	h.slots[gap] = 0
	h.n--
}
