package enrich

// index finds rows by hashes. It is a table of open addressing with linear probing, at most three quarters full.
//
// A slot is a reference to a row (upper half) and 32 bits of its hash (lower half), by which all but few other rows are told apart
// without looking at them, and slots moved without their rows. 0 is an empty slot, as no row has the reference 0.
type index struct {
	slots []uint64
	n     int
	shift uint8
}

const leastSlots = 16

func (x *index) home(tag uint32) int { return int(tag >> x.shift) }

// first is the first slot that may be of a hash; -1: there is none.
func (x *index) first(tag uint32) int {
	if x.n == 0 {
		return -1
	}
	return x.from(x.home(tag), tag)
}

// after is the next slot behind i that may be of a hash; -1: there is none.
func (x *index) after(i int, tag uint32) int { return x.from((i+1)&(len(x.slots)-1), tag) }

func (x *index) from(i int, tag uint32) int {
	for mask := len(x.slots) - 1; ; i = (i + 1) & mask {
		switch s := x.slots[i]; {
		case s == 0:
			return -1
		case uint32(s) == tag:
			return i
		}
	}
}

func (x *index) ref(i int) uint32 { return uint32(x.slots[i] >> 32) }

func (x *index) set(i int, ref uint32) { x.slots[i] = uint64(ref)<<32 | x.slots[i]&(1<<32-1) }

func (x *index) add(tag, ref uint32) int {
	if 4*(x.n+1) > 3*len(x.slots) {
		x.grow()
	}
	x.n++
	return x.place(uint64(ref)<<32 | uint64(tag))
}

func (x *index) place(s uint64) int {
	i, mask := x.home(uint32(s)), len(x.slots)-1
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
	return i
}

func (x *index) grow() {
	old := x.slots
	n := max(leastSlots, 2*len(old))
	x.slots, x.shift = make([]uint64, n), 32
	for ; n > 1; n >>= 1 {
		x.shift--
	}
	for _, s := range old {
		if s != 0 {
			x.place(s)
		}
	}
}

// remove empties a slot. Slots behind it move up, so that none is cut off from its home.
func (x *index) remove(i int) {
	mask := len(x.slots) - 1
	x.n--
	for j := i; ; {
		j = (j + 1) & mask
		s := x.slots[j]
		if s == 0 {
			break
		}
		if (j-x.home(uint32(s)))&mask >= (j-i)&mask { // its home is not between the hole and here
			x.slots[i] = s
			i = j
		}
	}
	x.slots[i] = 0
}

func (x *index) bytes() int64 { return 8 * int64(len(x.slots)) }
