package enrich

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// join is one compiled join.
type join struct {
	cfg    *configs.Join
	lookup *Lookup
	key    []int    // columns of the row, in the order of the lookup's key
	at     int      // column of the row's time; -1: the newest version counts
	added  []source // columns that are added from the lookup
	// version and matched: those columns are added too, behind the others.
	version, matched bool
	columns          []*batch.Column // that are added, used again for each batch
	defaults         *batch.Batch    // one row, by added; nil: none

	count, batch Counts
}

// source is a column of the lookup that is added.
type source struct {
	column int // of the lookup's rows
	typ    *batch.Type
	// fallback is a column of the defaults; -1: null.
	fallback int
	valid    []bool // used again for each batch
}

// apply joins the rows of a batch, and adds columns to root.
func (j *join) apply(p *Program, b *batch.Batch, root *batch.Column) error {
	t := j.lookup.table
	if t == nil {
		return ErrNotReady
	}
	s := &p.mem
	j.prepare(s, b, root)
	t.hasher.hash(s.hashes, b.Mem, s.key)
	s.space.reset()
	t.probe(s.found, s.hashes, s.skip, b.Mem, s.key, s.at, &s.space)
	if s.space.err != nil {
		return fmt.Errorf("%w: %w", ErrRows, s.space.err)
	}
	if err := j.decide(p, b); err != nil {
		return err
	}
	if j.cfg.Join == "anti" {
		return nil
	}
	n := 0
	add := func() *batch.Column {
		c := j.columns[n]
		c.Reset()
		n++
		root.Children = append(root.Children, c)
		return c
	}
	for i := range j.added {
		j.gather(add(), t.layout, &j.added[i], s.found, b)
	}
	if j.version {
		c, v := add(), b.AppendString(j.lookup.version)
		c.Len, c.Views = len(s.found), resize(c.Views, len(s.found))
		for i := range c.Views {
			c.Views[i] = v
		}
	}
	if j.matched {
		c := add()
		c.Len, c.Bools = len(s.found), resize(c.Bools, len(s.found))
		for i, row := range s.found {
			c.Bools[i] = row != nil
		}
	}
	return nil
}

// prepare finds the key's columns and the rows that have a key and are still wanted.
func (j *join) prepare(s *scratch, b *batch.Batch, root *batch.Column) {
	n := b.Rows
	s.skip, s.hashes, s.found = resize(s.skip, n), resize(s.hashes, n), resize(s.found, n)
	for i, fate := range b.Fate {
		s.skip[i] = fate != batch.Keep
	}
	s.key, s.at = s.key[:0], nil
	for _, k := range j.key {
		c := root.Children[k]
		s.key = append(s.key, c)
		s.without(c)
	}
	if j.at >= 0 {
		c := root.Children[j.at]
		s.without(c)
		if s.at = c.Int64; c.Type.Store() == batch.StoreInt32 {
			s.at = make([]int64, n)
			for i, v := range c.Int32 {
				s.at[i] = int64(v)
			}
		}
	}
}

// without leaves rows out whose column is null.
func (s *scratch) without(c *batch.Column) {
	for i, ok := range c.Valid {
		s.skip[i] = s.skip[i] || !ok
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// decide says what becomes of the rows, by whether they have a match.
func (j *join) decide(p *Program, b *batch.Batch) error {
	found := p.mem.found
	j.batch = Counts{}
	for i, row := range found {
		if b.Fate[i] != batch.Keep {
			continue
		}
		j.batch.Rows++
		if row == nil {
			j.batch.Misses++
		}
	}
	what := j.cfg.Miss
	if what == "wait" {
		if err := j.wait(p, b); err != nil {
			return err
		}
		what = j.cfg.Waited
	}
	switch {
	case j.cfg.Join == "anti":
		for i, row := range found {
			if row != nil {
				b.Filter(i, j.cfg.Name)
			}
		}
	case j.batch.Misses == 0:
	case what == "filter":
		for i, row := range found {
			if row == nil {
				b.Filter(i, j.cfg.Name)
			}
		}
	case what == "dead_letter":
		for i, row := range found {
			if row == nil {
				b.Reject(i, stage, j.cfg.Name, "the lookup "+j.lookup.Name()+" has no row with this key (version "+j.lookup.version+")")
			}
		}
	}
	return nil
}

// wait lets rows wait whose time has not come: each has its own, from the time of its record on, but none is waited for longer
// than that from when it was seen first, whatever the record's clock said.
func (j *join) wait(p *Program, b *batch.Batch) error {
	if !p.first.IsZero() {
		j.batch.Waited, j.batch.Batches = j.batch.Misses, 1
	}
	if j.batch.Misses == 0 || p.now == nil {
		return nil
	}
	now := p.now()
	if p.first.IsZero() {
		p.first = now
	}
	patience := time.Duration(j.cfg.Wait)
	w := &Wait{Join: j.cfg.Name, Lookup: j.lookup}
	for i, row := range p.mem.found {
		if row != nil || p.mem.skip[i] { // rows without a key wait for nothing
			continue
		}
		until := p.first.Add(patience)
		if ms := b.Timestamp[b.Record[i]]; ms >= 0 {
			if own := time.UnixMilli(ms).Add(patience); own.Before(until) {
				until = own
			}
		}
		if until.After(now) {
			w.Rows++
			if until.After(w.Until) {
				w.Until = until
			}
		}
	}
	if w.Rows == 0 {
		return nil
	}
	return w
}

// gather fills a column with values of the rows that were found.
func (j *join) gather(c *batch.Column, l *layout, src *source, found [][]byte, b *batch.Batch) {
	p, n := l.columns[src.column], len(found)
	c.Len, c.Valid = n, src.present(found, l)
	switch p.store {
	case batch.StoreBool:
		c.Bools = resize(c.Bools, n)
		for i, ok := range c.Valid {
			c.Bools[i] = ok && found[i][p.at] == 1
		}
	case batch.StoreInt32:
		c.Int32 = resize(c.Int32, n)
		for i, ok := range c.Valid {
			if c.Int32[i] = 0; ok {
				c.Int32[i] = int32(binary.LittleEndian.Uint32(found[i][p.at:]))
			}
		}
	case batch.StoreInt64:
		c.Int64 = resize(c.Int64, n)
		for i, ok := range c.Valid {
			if c.Int64[i] = 0; ok {
				c.Int64[i] = int64(binary.LittleEndian.Uint64(found[i][p.at:]))
			}
		}
	case batch.StoreFloat32:
		c.Float32 = resize(c.Float32, n)
		for i, ok := range c.Valid {
			if c.Float32[i] = 0; ok {
				c.Float32[i] = math.Float32frombits(binary.LittleEndian.Uint32(found[i][p.at:]))
			}
		}
	case batch.StoreFloat64:
		c.Float64 = resize(c.Float64, n)
		for i, ok := range c.Valid {
			if c.Float64[i] = 0; ok {
				c.Float64[i] = math.Float64frombits(binary.LittleEndian.Uint64(found[i][p.at:]))
			}
		}
	case batch.StoreView:
		c.Views = resize(c.Views, n)
		for i, ok := range c.Valid {
			if c.Views[i] = (batch.View{}); ok {
				c.Views[i] = b.Append(l.view(found[i], p.at))
			}
		}
	}
	if src.fallback >= 0 {
		j.fill(c, src.fallback, found, b)
	}
	if !slices.Contains(c.Valid, false) {
		c.Valid = nil
	}
}

// present says which of the rows that were found have a value in the column.
func (src *source) present(found [][]byte, l *layout) []bool {
	src.valid = resize(src.valid, len(found))
	at, bit := l.nulls+src.column>>3, byte(1)<<(src.column&7)
	for i, row := range found {
		src.valid[i] = row != nil && row[at]&bit == 0
	}
	return src.valid
}

// fill puts the default into rows without a match.
func (j *join) fill(c *batch.Column, fallback int, found [][]byte, b *batch.Batch) {
	d := j.defaults.Root.Children[fallback]
	if d.IsNull(0) {
		return
	}
	var view batch.View
	if d.Type.Store() == batch.StoreView {
		view = b.Append(j.defaults.Bytes(d.Views[0]))
	}
	for i, row := range found {
		if row != nil {
			continue
		}
		c.Valid[i] = true
		switch d.Type.Store() {
		case batch.StoreBool:
			c.Bools[i] = d.Bools[0]
		case batch.StoreInt32:
			c.Int32[i] = d.Int32[0]
		case batch.StoreInt64:
			c.Int64[i] = d.Int64[0]
		case batch.StoreFloat32:
			c.Float32[i] = d.Float32[0]
		case batch.StoreFloat64:
			c.Float64[i] = d.Float64[0]
		case batch.StoreView:
			c.Views[i] = view
		}
	}
}
