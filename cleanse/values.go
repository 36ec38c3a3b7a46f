package cleanse

import (
	"sort"
	"strconv"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// mapStep replaces whole texts.
type mapStep struct {
	paths      []*path
	scratch    []colScratch
	index      map[string]int32 // of old texts, in lower case if fold
	to         []string
	views      []batch.View // of to in the current batch
	batch      []uint64     // in which the view was made
	fold       bool
	otherwise  string
	memo       memo
	lowerBytes []byte
}

func (c *compiler) mapValues(s *configs.MapStep) {
	ps := c.typed(s.Columns, "cast it to string first", batch.String)
	m := &mapStep{paths: ps, scratch: make([]colScratch, len(ps)), index: map[string]int32{}, fold: s.IgnoreCase, otherwise: s.Otherwise}
	switch s.Otherwise {
	case "", "keep", "null", "dead_letter":
	default:
		c.problem("otherwise", "", "%q is none of keep, null, dead_letter", s.Otherwise)
	}
	if len(s.Values) == 0 {
		c.problem("values", "write old: new", "no values are given")
	}
	var olds []string
	for old := range s.Values {
		olds = append(olds, old)
	}
	sort.Strings(olds)
	for _, old := range olds {
		key := old
		if m.fold {
			b, _ := appendLower(nil, []byte(old))
			key = string(b)
		}
		if at, ok := m.index[key]; ok && m.to[at] != s.Values[old] {
			c.problem("values", "", "%q is given twice, as case is ignored", old)
		}
		m.index[key] = int32(len(m.to))
		m.to = append(m.to, s.Values[old])
	}
	m.views, m.batch = make([]batch.View, len(m.to)), make([]uint64, len(m.to))
	for _, p := range ps {
		p.leaf.version++
		if s.Otherwise == "null" {
			p.leaf.required = false
		}
	}
	c.add(m)
}

func (m *mapStep) apply(r *run) error {
	for k, p := range m.paths {
		col := r.column(p, &m.scratch[k])
		present := col.present(&m.scratch[k])
		for i, v := range col.Views {
			if present != nil && !present[i] {
				continue
			}
			slot, ok := m.memo.slot(r.batch, r.b.Mem, r.b.Mem[v.Off:v.Off+v.Len])
			if !ok {
				*slot = memoSlot{batch: r.batch, from: v}
				slot.to, slot.code = m.find(r, v)
			}
			if slot.code != mapNone {
				col.Views[i] = slot.to
				continue
			}
			switch m.otherwise {
			case "null":
				col.null(i)
			case "dead_letter":
				col.reject(i, func() string { return col.value(i) + " is not among the values to map" })
			}
		}
	}
	return nil
}

const (
	mapFound = iota
	mapNone
)

func (m *mapStep) find(r *run, v batch.View) (batch.View, int32) {
	key := r.b.Mem[v.Off : v.Off+v.Len]
	if m.fold {
		m.lowerBytes, _ = appendLower(m.lowerBytes[:0], key)
		key = m.lowerBytes
	}
	at, ok := m.index[string(key)]
	if !ok {
		return v, mapNone
	}
	if m.batch[at] != r.batch {
		m.batch[at], m.views[at] = r.batch, r.b.AppendString(m.to[at])
	}
	return m.views[at], mapFound
}

// defaultStep fills nulls.
type defaultStep struct {
	paths   []*path
	scratch []colScratch
	values  []scalar // by path
}

func (c *compiler) fill(s *configs.DefaultStep) {
	d := &defaultStep{}
	for _, p := range c.paths(s.Columns) {
		if p.typ.Nested() {
			c.problem(c.columnField(s.Columns, p), c.kindHint(p, ""), "column %s is a %s", p.text, p.typ.Kind)
			continue
		}
		v, why := parseScalar(p.typ, []byte(s.Value), nil)
		if why != "" {
			c.problem("value", "", "%s, the default of column %s, %s", strconv.Quote(s.Value), p.text, why)
			continue
		}
		if !p.leaf.required {
			p.leaf.version++
		}
		p.leaf.required = true
		d.paths, d.values = append(d.paths, p), append(d.values, v)
	}
	d.scratch = make([]colScratch, len(d.paths))
	c.add(d)
}

func (d *defaultStep) apply(r *run) error {
	for k, p := range d.paths {
		col := r.column(p, &d.scratch[k])
		if col.Valid == nil {
			continue
		}
		var shared batch.View
		stored := false
		for i, ok := range col.Valid {
			if ok || col.live != nil && !col.live[i] {
				continue
			}
			if col.Views != nil && stored {
				col.Views[i] = shared
				continue
			}
			r.b.Mem = setScalar(p.typ, col.Column, i, d.values[k], r.b.Mem)
			if col.Views != nil {
				shared, stored = col.Views[i], true
			}
		}
		col.Valid = nil
	}
	return nil
}
