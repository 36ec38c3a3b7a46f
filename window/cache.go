package window

import "slices"

// entry is a key whose buckets are in memory.
type entry struct {
	slot    *slot
	key     []byte
	buckets buckets
	total   Amount
	// turn is the one in which it was used last; what follows is about that.
	turn    uint64
	stored  bool // the state has it
	changed bool
	dirty   bool
	told    bool // its total is published, or it is dirty
}

// weight is about the memory that an entry takes.
func (e *entry) weight() int { return 250 + 2*len(e.key) + 32*cap(e.buckets) }

// cache keeps the keys that were used last: those of this stretch of time, and of the one before. It is good for one day, and for as
// long as the slots are the same ones.
type cache struct {
	young, old map[string]*entry
	size       int // of the young ones, bytes
	limit      int
	turn       uint64
	used       []*entry // in this turn
}

func newCache(limit int) *cache {
	return &cache{young: map[string]*entry{}, limit: limit}
}

// clear forgets everything.
func (c *cache) clear() {
	c.young, c.old, c.size = map[string]*entry{}, nil, 0
}

// drop forgets a key that the state does not have any more.
func (c *cache) drop(key []byte) {
	if e := c.young[string(key)]; e != nil {
		c.size -= e.weight()
	}
	delete(c.young, string(key))
	delete(c.old, string(key))
}

// next begins a turn.
func (c *cache) next() {
	c.turn++
	clear(c.used)
	c.used = c.used[:0]
	if c.size > c.limit/2 {
		c.old, c.young, c.size = c.young, make(map[string]*entry, len(c.young)), 0
	}
}

// find gives a key's entry; nil: it has to be read.
func (c *cache) find(key []byte) *entry {
	e := c.young[string(key)]
	if e == nil {
		if e = c.old[string(key)]; e == nil {
			return nil
		}
		delete(c.old, string(key))
		c.keep(e)
	}
	c.use(e)
	return e
}

func (c *cache) keep(e *entry) {
	c.young[string(e.key)] = e
	c.size += e.weight()
}

func (c *cache) use(e *entry) {
	if e.turn != c.turn {
		e.turn, e.changed, e.dirty, e.told = c.turn, false, false, false
		c.used = append(c.used, e)
	}
}

// add takes in one that was read.
func (c *cache) add(e *entry) {
	c.keep(e)
	c.use(e)
}

// entry finds a key's, and reads it where it is not in memory.
func (o *Owner) entry(s *slot, key []byte, floor Day) (*entry, error) {
	if e := o.cache.find(key); e != nil {
		return e, nil
	}
	e := &entry{slot: s, key: slices.Clone(key)}
	if e.key == nil {
		e.key = []byte{} // an empty one, not null
	}
	var err error
	if e.buckets, err = o.d.State.buckets(s.n, key, nil); err != nil {
		return nil, err
	}
	e.stored = len(e.buckets) > 0
	if e.total, err = e.buckets.total(floor, o.today); err != nil {
		return nil, err
	}
	o.cache.add(e)
	return e, nil
}
