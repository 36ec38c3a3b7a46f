package configs

import (
	"slices"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

func tokenPlace(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{1, 1}
	}
	return place{t.Position.Line, t.Position.Column}
}

// nodePlace is where a value begins: that of a block mapping is its first key.
func nodePlace(n ast.Node) place {
	switch n := n.(type) {
	case nil:
		return place{1, 1}
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return nodePlace(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return nodePlace(n.Key)
	case *ast.LiteralNode:
		return tokenPlace(n.Start)
	}
	return tokenPlace(n.GetToken())
}

// collect finds anchors, so that an alias can be followed wherever it stands.
func (d *decoder) collect(root ast.Node) {
	ast.Walk(visitor(func(n ast.Node) {
		if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
			d.anchors[a.Name.GetToken().Value] = a.Value
		}
	}), root)
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}

// resolve follows anchors, aliases and the tag !!str to the value itself; nil: none, or a problem was noted.
func (d *decoder) resolve(n ast.Node, path string) ast.Node {
	for range maxAliases {
		switch t := n.(type) {
		case *ast.AnchorNode:
			n = t.Value
		case *ast.AliasNode:
			name := t.Value.GetToken().Value
			target, ok := d.anchors[name]
			switch {
			case !ok && d.pos.secret[path]: // what was meant as the value itself
				d.wrong(path, n, "quote the value", "a value that begins with * is the name of an anchor, and there is none of that name")
				return nil
			case !ok:
				d.wrong(path, n, "define it with &"+name, "there is no anchor %s", name)
				return nil
			}
			n = target
		case *ast.TagNode:
			tag := t.GetToken().Value
			switch {
			case tag != "!!str" && d.pos.secret[path]:
				d.wrong(path, n, "quote the value", "a value that begins with ! is a tag, which is not supported")
				return nil
			case tag != "!!str":
				d.wrong(path, n, "leave it out", "the tag %s is not supported", tag)
				return nil
			}
			n = t.Value
		default:
			return n
		}
	}
	d.wrong(path, n, "write the value out", "the alias refers to itself")
	return nil
}

// maxAliases is how many aliases may lead to one another before that is taken for a circle.
const maxAliases = 20

// maxMerges bounds what mappings that merge mappings that merge mappings can grow to.
const maxMerges = 1000

type entry struct {
	key   string
	at    place // of the key
	value ast.Node
}

// entries lists a mapping's entries, those of merged mappings (<<) after its own; ok is false when n is no mapping.
// within are the mappings that are being merged into: none may contain itself.
func (d *decoder) entries(n ast.Node, path string, within ...ast.Node) (out []entry, ok bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		return nil, false
	}
	within = append(within, n)
	var merged []entry
	for it := m.MapRange(); it.Next(); {
		key, at := it.Key(), nodePlace(it.Key())
		if key.IsMergeKey() {
			from := d.resolve(it.Value(), path)
			if d.merges++; slices.Contains(within, from) || d.merges > maxMerges {
				d.problem(path, at, "write the settings out", "the mapping merges itself, or there are more than %d merges", maxMerges)
				continue
			}
			more, ok := d.entries(from, path, within...)
			if !ok && from != nil {
				d.problem(path, at, "write <<: *anchor", "<< needs a mapping to merge")
			}
			merged = append(merged, more...)
			continue
		}
		var name ast.Node = key
		if k, ok := key.(*ast.MappingKeyNode); ok {
			name = k.Value
		}
		text, _, isText := scalarText(name)
		if !isText {
			d.problem(path, at, "", "a key must be plain text")
			continue
		}
		out = append(out, entry{text, at, it.Value()})
	}
	for _, e := range merged {
		if !hasKey(out, e.key) {
			out = append(out, e)
		}
	}
	return out, true
}

func hasKey(es []entry, key string) bool {
	for _, e := range es {
		if e.key == key {
			return true
		}
	}
	return false
}

// scalarText gives a scalar as it was written (so that 1.50 and 2018-12-04 stay what they are).
func scalarText(n ast.Node) (text string, null, ok bool) {
	switch n := n.(type) {
	case *ast.NullNode:
		return "null", true, true
	case *ast.StringNode:
		return n.Value, false, true
	case *ast.LiteralNode:
		return n.Value.Value, false, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, false, true
	}
	return "", false, false
}

func isNull(n ast.Node) bool {
	_, null := n.(*ast.NullNode)
	return n == nil || null
}

func describe(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "settings"
	case *ast.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// glued gives text such as b:9092 whole. Within {[ ]} the parser takes it for a mapping, which needs a space after its colon.
func glued(n ast.Node) (string, bool) {
	m, ok := n.(*ast.MappingNode)
	if !ok || len(m.Values) != 1 {
		return "", false
	}
	key, _, keyOK := scalarText(m.Values[0].Key)
	value, _, valueOK := scalarText(m.Values[0].Value)
	colon, at := tokenPlace(m.Values[0].Start), nodePlace(m.Values[0].Value)
	return key + ":" + value, keyOK && valueOK && at == place{colon.line, colon.column + 1}
}
