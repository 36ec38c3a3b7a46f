package cleanse

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

func itoa(i int) string { return strconv.Itoa(i) }

// rename changes only the type; columns keep their place.
func (c *compiler) rename(s *configs.RenameStep) {
	if len(s.Columns) == 0 {
		c.problem("columns", "write old: new", "no columns are named")
	}
	var olds []string
	for old := range s.Columns {
		olds = append(olds, old)
	}
	sort.Strings(olds)
	var ps []*path
	for _, old := range olds {
		p := c.resolve("columns", old)
		switch {
		case p == nil:
			c.missing[s.Columns[old]] = true
		case p.hops[len(p.hops)-1].kind != batch.Struct:
			c.problem("columns", "", "%s is no named field", old)
		case s.Columns[old] == "" || strings.ContainsAny(s.Columns[old], "[]{}"):
			c.problem("columns", "give the new name of the last part only", "%q is no name for a column", s.Columns[old])
		default:
			ps = append(ps, p)
		}
	}
	for _, p := range ps {
		p.leaf.name = s.Columns[p.text]
		p.leaf.id = 0
	}
	for _, p := range ps {
		parent := c.root
		if n := len(p.chain); n > 1 {
			parent = p.chain[n-2]
		}
		for _, k := range parent.kids {
			if k != p.leaf && k.name == p.leaf.name {
				c.problem("columns", "", "%s renamed to %s: there is such a column already", p.text, p.leaf.name)
			}
		}
	}
}

// shapeStep keeps some children.
type shapeStep struct{ keep keep }

// keep says which children of a column stay, in their new order; nil: all, as they are.
type keep []kept

type kept struct {
	child int
	below keep
}

func (s *shapeStep) apply(r *run) error {
	s.keep.apply(r.root)
	return nil
}

func (k keep) apply(c *batch.Column) {
	if k == nil {
		return
	}
	kids := make([]*batch.Column, len(k))
	for i, e := range k {
		kids[i] = c.Children[e.child]
		e.below.apply(kids[i])
	}
	c.Children = kids
}

// prune does to the tree what apply does to columns.
func (k keep) prune(n *node) {
	if k == nil {
		return
	}
	kids := make([]*node, len(k))
	for i, e := range k {
		kids[i] = n.kids[e.child]
		e.below.prune(kids[i])
	}
	n.kids = kids
}

func (c *compiler) drop(s *configs.ColumnsStep) {
	gone := map[*node]bool{}
	for _, p := range c.paths(s.Columns) {
		if p.hops[len(p.hops)-1].kind != batch.Struct {
			c.problem(c.columnField(s.Columns, p), "drop the list or map itself", "%s is no named field", p.text)
			continue
		}
		gone[p.leaf] = true
	}
	if empty := emptied(c.root, "", gone); empty != "" {
		c.problem("columns", "", "%s would have no fields left", empty)
		return
	}
	c.shape(without(c.root, gone))
}

// emptied returns the path of a struct that would lose all its fields, or "".
func emptied(n *node, path string, gone map[*node]bool) string {
	left := 0
	for _, k := range n.kids {
		if gone[k] {
			continue
		}
		left++
		if e := emptied(k, strings.TrimPrefix(path+"."+k.name, "."), gone); e != "" {
			return e
		}
	}
	if left == 0 && n.typ.Kind == batch.Struct {
		if path == "" {
			return "the row"
		}
		return path
	}
	return ""
}

func without(n *node, gone map[*node]bool) keep {
	if len(n.kids) == 0 {
		return nil
	}
	k := keep{}
	for i, kid := range n.kids {
		if !gone[kid] {
			k = append(k, kept{i, without(kid, gone)})
		}
	}
	return k
}

// selectColumns keeps the named columns, at every level in the order in which they are named.
func (c *compiler) selectColumns(s *configs.ColumnsStep) {
	var k keep
	for _, p := range c.paths(s.Columns) {
		level := &k
		for i, h := range p.hops {
			at := slices.IndexFunc(*level, func(e kept) bool { return e.child == h.child })
			if at >= 0 && (i == len(p.hops)-1 || (*level)[at].below == nil) {
				(*level)[at].below = nil // the whole is named as well as a part
				break
			}
			if at < 0 {
				if h.kind == batch.Map && len(*level) == 0 {
					*level = append(*level, kept{child: 0}) // the keys stay
				}
				at = len(*level)
				*level = append(*level, kept{child: h.child})
				if i < len(p.hops)-1 {
					(*level)[at].below = keep{}
				}
			}
			level = &(*level)[at].below
		}
	}
	if len(k) > 0 {
		c.shape(k)
	}
}

func (c *compiler) shape(k keep) {
	k.prune(c.root)
	c.add(&shapeStep{keep: k})
}
