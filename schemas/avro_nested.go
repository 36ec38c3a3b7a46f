package schemas

import (
	"fmt"
	"math"

	"github.com/hamba/avro/v2"
	"github.com/lakeloader/lakeloader/batch"
)

// nested appends one slot to a struct, list or map column.
func (p *avroPlan) nested(o *avroOp, c *batch.Column, pos int) int {
	switch o.code {
	case opRecord:
		if pos = p.run(o.sub, c.Children, pos, 1); pos >= 0 {
			c.AppendStruct()
		}
		return pos
	case opUnion:
		return p.union(o, c, pos)
	}
	return p.blocks(o, c, pos)
}

// union appends a struct in which only the type that the value has is present.
func (p *avroPlan) union(o *avroOp, c *batch.Column, pos int) int {
	k, pos := p.varint(pos)
	if pos < 0 {
		return pos
	}
	if k < 0 || k >= int64(len(o.sub)) {
		return p.fail(fmt.Errorf("the union has no type %d", k))
	}
	if k == o.null {
		c.AppendNull()
		return pos
	}
	dst := o.sub[k].dst
	for i, child := range c.Children {
		if int32(i) != dst {
			child.AppendNull()
		}
	}
	if pos = p.run(o.sub[k:k+1], c.Children, pos, 1); pos >= 0 {
		c.AppendStruct()
	}
	return pos
}

// count reads the head of a block: how many entries follow, 0 at the end. A negative count is followed by the block's
// size in bytes, which only those need who skip it.
func (p *avroPlan) count(pos, min int) (int, int) {
	n, pos := p.varint(pos)
	if pos < 0 {
		return 0, pos
	}
	if n < 0 {
		if n == math.MinInt64 {
			return 0, p.fail(errNegative)
		}
		n = -n
		if _, pos = p.length(pos); pos < 0 {
			return 0, pos
		}
	}
	if min > 0 && n > int64((len(p.buf)-pos)/min) {
		return 0, p.fail(fmt.Errorf("a block of %d entries is longer than the payload: %w", n, errEnds))
	}
	if n > math.MaxInt32 {
		n = math.MaxInt32 // only what takes no bytes can be so many, and nobody visits it
	}
	return int(n), pos
}

// blocks appends a list or map.
func (p *avroPlan) blocks(o *avroOp, c *batch.Column, pos int) int {
	for {
		n, next := p.count(pos, o.min)
		if next < 0 {
			return next
		}
		if pos = next; n == 0 {
			c.AppendList()
			return pos
		}
		if p.budget -= n * o.width; p.budget < 0 {
			return p.fail(errExpands)
		}
		if c.Children[0].Len > math.MaxInt32-n {
			return p.fail(errTooMany)
		}
		if pos = p.run(o.sub, c.Children, pos, n); pos < 0 {
			return pos
		}
	}
}

// skip reads what holds no data: nulls, empty records, and lists and unions of these.
func (p *avroPlan) skip(n *avroNode, pos int) int {
	switch n.kind {
	case avro.Record:
		for _, m := range n.members {
			if pos = p.skip(m.node, pos); pos < 0 {
				return pos
			}
		}
	case avro.Union:
		k, next := p.varint(pos)
		if next < 0 {
			return next
		}
		if k < 0 || k >= int64(len(n.members)) {
			return p.fail(fmt.Errorf("the union has no type %d", k))
		}
		return p.skip(n.members[k].node, next)
	case avro.Array, avro.Map:
		return p.skipBlocks(n, pos)
	}
	return pos
}

func (p *avroPlan) skipBlocks(n *avroNode, pos int) int {
	item, min := n.members[0].node, n.members[0].node.min
	if n.kind == avro.Map {
		min++
	}
	for {
		count, next := p.count(pos, min)
		if next < 0 {
			return next
		}
		if pos = next; count == 0 {
			return pos
		}
		if min == 0 {
			continue
		}
		for ; count > 0; count-- {
			if n.kind == avro.Map {
				size, next := p.length(pos)
				if next < 0 {
					return next
				}
				pos = next + size
			}
			if pos = p.skip(item, pos); pos < 0 {
				return pos
			}
		}
	}
}
