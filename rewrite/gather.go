package rewrite

import "github.com/lakeloader/lakeloader/batch"

// pick is a row of one of several batches.
type pick struct{ from, row int32 }

// gatherer puts rows of several batches of one row type into one, column by column.
type gatherer struct {
	from []*batch.Batch
}

// gather empties to, and appends the picked rows.
func (g *gatherer) gather(to *batch.Batch, picks []pick) {
	to.Records.Reset()
	to.Reset(to.Records)
	roots := make([]*batch.Column, len(g.from))
	for i, b := range g.from {
		roots[i] = b.Root
	}
	g.column(to, to.Root, roots, picks)
	for range picks {
		to.AppendRow(to.Rows, 0)
	}
}

func (g *gatherer) column(to *batch.Batch, c *batch.Column, from []*batch.Column, picks []pick) {
	switch c.Type.Store() {
	case batch.StoreBool:
		for _, p := range picks {
			c.Bools = append(c.Bools, from[p.from].Bools[p.row])
		}
	case batch.StoreInt32:
		for _, p := range picks {
			c.Int32 = append(c.Int32, from[p.from].Int32[p.row])
		}
	case batch.StoreInt64:
		for _, p := range picks {
			c.Int64 = append(c.Int64, from[p.from].Int64[p.row])
		}
	case batch.StoreFloat32:
		for _, p := range picks {
			c.Float32 = append(c.Float32, from[p.from].Float32[p.row])
		}
	case batch.StoreFloat64:
		for _, p := range picks {
			c.Float64 = append(c.Float64, from[p.from].Float64[p.row])
		}
	case batch.StoreView:
		g.views(to, c, from, picks)
	case batch.StoreStruct:
		g.children(to, c, from, picks)
	case batch.StoreList:
		g.lists(to, c, from, picks)
	}
	g.valid(c, from, picks)
	c.Len += len(picks)
}

// views copies texts, those that were met shortly before once: where they lie tells most of them. Columns whose texts differ all
// are not looked at.
func (g *gatherer) views(to *batch.Batch, c *batch.Column, from []*batch.Column, picks []pick) {
	const sample = 64
	var known [128]struct {
		from     int32
		was, now batch.View
	}
	var recent batch.Recent
	mem, distinct := to.Mem, 0
	for i, p := range picks {
		w := from[p.from].Views[p.row]
		text := g.from[p.from].Mem[w.Off : w.Off+w.Len]
		if distinct == sample {
			c.Views = append(c.Views, batch.View{Off: uint32(len(mem)), Len: w.Len})
			mem = append(mem, text...)
			continue
		}
		k := &known[(w.Off*31>>4^w.Off^uint32(p.from)*7)%uint32(len(known))]
		if k.was != w || k.from != p.from {
			end := len(mem)
			k.from, k.was = p.from, w
			if mem, k.now = recent.Append(mem, text); len(mem) > end && distinct == i {
				distinct++
			}
		}
		c.Views = append(c.Views, k.now)
	}
	to.Mem = mem
}

func (g *gatherer) children(to *batch.Batch, c *batch.Column, from []*batch.Column, picks []pick) {
	child := make([]*batch.Column, len(from))
	for i, k := range c.Children {
		for j, f := range from {
			child[j] = f.Children[i]
		}
		g.column(to, k, child, picks)
	}
}

func (g *gatherer) lists(to *batch.Batch, c *batch.Column, from []*batch.Column, picks []pick) {
	var elements []pick
	end := c.Starts[len(c.Starts)-1]
	for _, p := range picks {
		s := from[p.from].Starts
		for at := s[p.row]; at < s[p.row+1]; at++ {
			elements = append(elements, pick{p.from, at})
		}
		end += s[p.row+1] - s[p.row]
		c.Starts = append(c.Starts, end)
	}
	g.children(to, c, from, elements)
}

func (g *gatherer) valid(c *batch.Column, from []*batch.Column, picks []pick) {
	some := c.Valid != nil
	for _, f := range from {
		some = some || f.Valid != nil
	}
	if !some {
		return
	}
	if c.Valid == nil {
		c.Valid = make([]bool, c.Len, c.Len+len(picks))
		for i := range c.Valid {
			c.Valid[i] = true
		}
	}
	for _, p := range picks {
		f := from[p.from]
		c.Valid = append(c.Valid, f.Valid == nil || f.Valid[p.row])
	}
}
