package scan

import (
	"fmt"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// column is a node of a file's schema: a group, or a leaf, which holds values.
type column struct {
	name, path string
	id         int // field id; negative: none
	rep, def   int // greatest levels
	repeated   bool
	leaf       *schema.PrimitiveNode // nil: a group
	index      int                   // of a leaf
	kids       []*column
}

// columnsOf gives the tree of a schema with the levels of its nodes.
func columnsOf(s *schema.Schema) *column {
	leaves := 0
	var walk func(n schema.Node, at column) *column
	children := func(g *schema.GroupNode, c *column) {
		for i := range g.NumFields() {
			c.kids = append(c.kids, walk(g.Field(i), *c))
		}
	}
	walk = func(n schema.Node, at column) *column {
		c := &column{name: n.Name(), path: n.Name(), id: int(n.FieldID()), rep: at.rep, def: at.def}
		if at.path != "" {
			c.path = at.path + "." + c.path
		}
		switch n.RepetitionType() {
		case parquet.Repetitions.Optional:
			c.def++
		case parquet.Repetitions.Repeated:
			c.def, c.rep, c.repeated = c.def+1, c.rep+1, true
		}
		switch n := n.(type) {
		case *schema.PrimitiveNode:
			c.leaf, c.index = n, leaves
			leaves++
		case *schema.GroupNode:
			children(n, c)
		}
		return c
	}
	root := &column{}
	children(s.Root(), root)
	return root
}

func (c *column) String() string {
	switch {
	case c.leaf == nil:
		return fmt.Sprintf("a group of %d", len(c.kids))
	case c.leaf.LogicalType() != nil && !c.leaf.LogicalType().IsNone():
		return fmt.Sprintf("%s %s", c.leaf.PhysicalType(), c.leaf.LogicalType())
	}
	return c.leaf.PhysicalType().String()
}

// hasIDs reports whether any column below c has a field id.
func (c *column) hasIDs() bool {
	for _, k := range c.kids {
		if k.id > 0 || k.hasIDs() {
			return true
		}
	}
	return false
}

// named finds a child by its name; nil: there is none.
func (c *column) named(name string) *column {
	for _, k := range c.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}
