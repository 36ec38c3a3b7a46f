package cleanse

import (
	"fmt"
	"sort"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// node is a column while steps are compiled. Unlike a batch.Type it has an identity that survives renames and casts.
type node struct {
	name     string
	doc      string
	id       int
	typ      *batch.Type // replaced, never changed; Fields of nested types are in kids
	required bool
	kids     []*node
	// version counts the steps that changed its values: deduplication must find its keys unchanged in the table.
	version int
	// secret keeps values out of reasons.
	secret bool
	// from are the columns that a derived column was computed from.
	from []*node
}

func newTree(t *batch.Type) *node {
	n := &node{typ: t, required: true}
	for _, f := range t.Fields {
		k := newTree(f.Type)
		k.name, k.doc, k.id, k.required = f.Name, f.Doc, f.ID, f.Required
		n.kids = append(n.kids, k)
	}
	return n
}

// batchType gives the type as it is now.
func (n *node) batchType() *batch.Type {
	if !n.typ.Nested() {
		return n.typ
	}
	t := &batch.Type{Kind: n.typ.Kind}
	for _, k := range n.kids {
		t.Fields = append(t.Fields, batch.Field{Name: k.name, Type: k.batchType(), Required: k.required, Doc: k.doc, ID: k.id})
	}
	return t
}

func (n *node) child(name string) int {
	for i, k := range n.kids {
		if k.name == name {
			return i
		}
	}
	return -1
}

// walk calls f for every column below n with its path.
func (n *node) walk(prefix string, f func(path string, k *node)) {
	for i, k := range n.kids {
		var p string
		switch n.typ.Kind {
		case batch.List:
			p = prefix + "[]"
		case batch.Map:
			if i == 0 {
				continue // keys have no path
			}
			p = prefix + "{}"
		default:
			p = k.name
			if prefix != "" {
				p = prefix + "." + k.name
			}
		}
		f(p, k)
		k.walk(p, f)
	}
}

// path is a resolved path to a column, as of one step.
type path struct {
	text  string
	hops  []hop
	leaf  *node
	chain []*node     // from the top-level column to the leaf
	typ   *batch.Type // of the leaf before the step
}

// hop goes from a column of a kind to one of its children.
type hop struct {
	kind  batch.Kind // of the parent
	child int
	name  string // of the child
}

// resolve finds a path's column. At each struct the longest field name that fits is taken, so names may hold dots.
func (n *node) resolve(text string) (*path, error) {
	p := &path{text: text}
	at, rest, done := n, text, ""
	for first := true; first || rest != ""; first = false {
		var i int
		switch at.typ.Kind {
		case batch.Struct:
			if !first {
				if rest[0] != '.' {
					return nil, fmt.Errorf("%s is a struct: expected .FIELD, found %q", done, rest)
				}
				rest = rest[1:]
			}
			i = at.longest(rest)
			if i < 0 {
				return nil, unknownColumn(n, text, done)
			}
			rest = rest[len(at.kids[i].name):]
		case batch.List:
			if !strings.HasPrefix(rest, "[]") {
				return nil, fmt.Errorf("%s is a list: write %s[] for its elements", done, done)
			}
			i, rest = 0, rest[2:]
		case batch.Map:
			if !strings.HasPrefix(rest, "{}") {
				return nil, fmt.Errorf("%s is a map: write %s{} for its values", done, done)
			}
			i, rest = 1, rest[2:]
		default:
			return nil, fmt.Errorf("%s is a %s and has no members, found %q", done, at.typ, rest)
		}
		p.hops = append(p.hops, hop{at.typ.Kind, i, at.kids[i].name})
		at = at.kids[i]
		p.chain = append(p.chain, at)
		done = text[:len(text)-len(rest)]
	}
	p.leaf, p.typ = at, at.batchType()
	return p, nil
}

// longest returns the field with the longest name that rest starts with, up to its end or a delimiter; or -1.
func (n *node) longest(rest string) int {
	best, size := -1, -1
	for i, k := range n.kids {
		if strings.HasPrefix(rest, k.name) && len(k.name) > size {
			if tail := rest[len(k.name):]; tail == "" || strings.IndexByte(".[{", tail[0]) >= 0 {
				best, size = i, len(k.name)
			}
		}
	}
	return best
}

// noColumn says that a path leads nowhere.
type noColumn struct{ message, hint string }

func (e *noColumn) Error() string { return e.message }

func unknownColumn(root *node, text, done string) error {
	var all []string
	root.walk("", func(p string, _ *node) { all = append(all, p) })
	e := &noColumn{message: fmt.Sprintf("there is no column %q here", text)}
	if best := nearest(text, all); best != "" {
		e.hint = fmt.Sprintf("did you mean %q?", best)
	} else if len(all) > 0 {
		sort.Strings(all)
		if len(all) > 20 {
			all = append(all[:20], "...")
		}
		e.hint = "the columns are " + strings.Join(all, ", ")
	} else if done != "" {
		e.hint = done + " has no fields"
	}
	return e
}

// nearest returns the candidate that looks most like a misspelling of text, or "".
func nearest(text string, candidates []string) string {
	limit := len(text) / 3
	if len(text) == 3 || len(text) == 4 {
		limit = 1
	}
	best, dist := "", limit+1
	low := strings.ToLower(text)
	for _, c := range candidates {
		d := configs.EditDistance(low, strings.ToLower(c))
		if strings.HasSuffix(strings.ToLower(c), "."+low) {
			d = min(d, 1)
		}
		if d < dist {
			best, dist = c, d
		}
	}
	return best
}
