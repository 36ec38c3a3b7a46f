package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// decoder fills a configuration from a syntax tree, led by the Go types. It goes on after a problem, so that one run
// finds all of them, and notes the place of every setting.
type decoder struct {
	*expander
	pos      *Positions
	problems Problems
	anchors  map[string]ast.Node
	merges   int // so far
}

func (d *decoder) problem(path string, at place, hint, format string, args ...any) {
	d.pos.bad[path] = true
	d.problems = append(d.problems, Problem{File: d.pos.File, Line: at.line, Column: at.column, Path: path,
		Message: fmt.Sprintf(format, args...), Hint: hint})
}

// wrong is a problem with the value that a setting has.
func (d *decoder) wrong(path string, n ast.Node, hint, format string, args ...any) {
	d.problem(path, nodePlace(n), hint, format, args...)
}

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
			if !ok {
				d.wrong(path, n, "define it with &"+name, "there is no anchor %s", name)
				return nil
			}
			n = target
		case *ast.TagNode:
			if tag := t.GetToken().Value; tag != "!!str" {
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

// value decodes n into v, which has the rules of s. Null leaves v as it is.
func (d *decoder) value(n ast.Node, v reflect.Value, s setting.Setting, path string) {
	if n = d.resolve(n, path); isNull(n) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), s, path)
		v.Set(p)
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Slice:
		d.list(n, v, s, path)
	case reflect.Map:
		d.textMap(n, v, path)
	default:
		d.scalar(n, v, s, path)
	}
}

// structure decodes a mapping into a struct, or, for a struct with a short form, what stands for its main setting.
func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	settings := setting.Of(v.Type())
	es, isMap := d.entries(n, path)
	if short, ok := setting.Short(v.Type()); ok && isShort(es, isMap, short) {
		inner := join(path, short.Name)
		d.pos.at[inner] = nodePlace(n)
		d.value(n, v.Field(short.Index), short, inner)
		return
	}
	if !isMap {
		d.wrong(path, n, "known here: "+strings.Join(names(settings), ", "), "%s needs settings (name: value), not %s", last(path), describe(n))
		return
	}
	seen := map[string]place{}
	for _, e := range es {
		inner := join(path, e.key)
		if first, ok := seen[e.key]; ok {
			d.problem(inner, e.at, "remove one of them", "%s is there twice, first on line %d", e.key, first.line)
			continue
		}
		seen[e.key] = e.at
		s, ok := find(settings, e.key)
		if !ok {
			if path != "" || !strings.HasPrefix(e.key, "x-") {
				d.problem(inner, e.at, didYouMean(e.key, names(settings)), "unknown setting %s", e.key)
			}
			continue
		}
		d.field(e, v.Field(s.Index), s, inner)
	}
	for _, s := range settings {
		if _, ok := seen[s.Name]; !ok && s.Present {
			d.problem(join(path, s.Name), d.near(path, n), "", "%s needs %s", last(path), s.Name)
		}
	}
}

func (d *decoder) field(e entry, v reflect.Value, s setting.Setting, path string) {
	d.pos.at[path] = e.at
	if _, _, ok := scalarText(e.value); ok && !isNull(e.value) {
		d.pos.at[path] = nodePlace(e.value)
	}
	if s.Secret {
		d.pos.secret[path] = true
	}
	// "- trim:" without a value is a step all the same: what it lacks can then be said.
	if isNull(e.value) && v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct && strings.Contains(path, ".cleanse[") {
		v.Set(reflect.New(v.Type().Elem()))
		return
	}
	d.value(e.value, v, s, path)
}

// isShort says whether a value is a struct's short form: text or a list where settings are expected, and for a main
// setting that is itself a mapping, any mapping that is not {name of the setting: mapping}.
func isShort(es []entry, isMap bool, short setting.Setting) bool {
	if !isMap {
		return true
	}
	if short.Type.Kind() != reflect.Map {
		return false
	}
	if len(es) == 1 && es[0].key == short.Name {
		_, nested := es[0].value.(ast.MapNode)
		return !nested
	}
	return true
}

func (d *decoder) near(path string, n ast.Node) place {
	if at, ok := d.pos.at[path]; ok {
		return at
	}
	return nodePlace(n)
}

// list decodes a sequence; a single text stands for a list of one.
func (d *decoder) list(n ast.Node, v reflect.Value, s setting.Setting, path string) {
	seq, isList := n.(*ast.SequenceNode)
	nodes := []ast.Node{n}
	if isList {
		nodes = seq.Values
	} else if _, _, scalar := scalarText(n); !scalar || v.Type().Elem().Kind() != reflect.String {
		d.wrong(path, n, "begin each entry with a dash", "%s needs a list, not %s", last(path), describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(nodes)))
	for _, n := range nodes {
		inner := item(path, v.Len())
		d.pos.at[inner] = nodePlace(n)
		e := reflect.New(v.Type().Elem()).Elem()
		if isNull(n) {
			d.wrong(inner, n, "remove it, or quote it if text is meant", "%s has an empty entry", last(path))
			v.Set(reflect.Append(v, e))
			continue
		}
		d.value(n, e, setting.Setting{}, inner)
		if s.Split {
			d.split(v, e.String(), path, inner)
			continue
		}
		v.Set(reflect.Append(v, e))
	}
}

// split appends the parts of a text with commas, all at the place of the whole.
func (d *decoder) split(v reflect.Value, text, path, inner string) {
	at, raw, expanded := d.pos.at[inner], d.pos.raw[inner], d.pos.raw[inner] != ""
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" && expanded {
			continue
		}
		p := item(path, v.Len())
		d.pos.at[p] = at
		if expanded {
			d.pos.raw[p], d.pos.value[p] = raw, part
		}
		v.Set(reflect.Append(v, reflect.ValueOf(part)))
	}
}

func (d *decoder) textMap(n ast.Node, v reflect.Value, path string) {
	es, ok := d.entries(n, path)
	if !ok {
		d.wrong(path, n, "write name: value", "%s needs names with values, not %s", last(path), describe(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	seen := map[string]place{}
	for _, e := range es {
		inner := join(path, e.key)
		if first, ok := seen[e.key]; ok {
			d.problem(inner, e.at, "remove one of them", "%s is there twice, first on line %d", e.key, first.line)
			continue
		}
		seen[e.key] = e.at
		d.pos.at[inner] = nodePlace(e.value)
		text := reflect.New(v.Type().Elem()).Elem()
		if isNull(e.value) {
			d.problem(inner, e.at, "write \"\" for empty text", "%s has no value", e.key)
			continue
		}
		d.value(e.value, text, setting.Setting{}, inner)
		v.SetMapIndex(reflect.ValueOf(e.key), text)
	}
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

func (d *decoder) scalar(n ast.Node, v reflect.Value, s setting.Setting, path string) {
	text, _, ok := scalarText(n)
	if !ok {
		text, ok = glued(n)
	}
	if !ok {
		d.wrong(path, n, "", "%s needs a single value, not %s", last(path), describe(n))
		return
	}
	text, ok = d.expand(text, path, n)
	if !ok {
		return
	}
	complain := func(hint, what string) {
		d.wrong(path, n, hint, "%s is %s, which %s", last(path), d.pos.Quote(path, text), what)
	}
	switch v.Interface().(type) {
	case string:
		v.SetString(text)
	case Duration:
		dur, err := ParseDuration(text)
		if err != nil {
			complain("write a number with a unit: 500ms, 60s, 10m, 24h, 7d", err.Error())
			return
		}
		v.SetInt(int64(dur))
		if dur == 0 && limit(s.Min, dur) > 0 {
			complain("leave it out for the default", "is less than "+s.Min)
		}
	case Bytes:
		b, err := ParseBytes(text)
		if err != nil {
			complain("write 4096, 64KiB, 128MiB or 1GiB", err.Error())
			return
		}
		v.SetInt(int64(b))
		if b == 0 && limit(s.Min, b) > 0 {
			complain("leave it out for the default", "is less than "+s.Min)
		}
	case bool:
		if text != "true" && text != "false" {
			complain("write true or false", "is neither true nor false")
			return
		}
		v.SetBool(text == "true")
	default:
		i, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
		if err != nil || v.OverflowInt(i) {
			complain("write digits only", "is not a whole number")
			return
		}
		v.SetInt(i)
		if i == 0 && limit(s.Min, i) > 0 {
			complain("leave it out for the default", "is less than "+s.Min)
		}
	}
}

// last is the name that a path ends with, for messages.
func last(path string) string {
	if path == "" {
		return "the configuration"
	}
	if strings.HasSuffix(path, "]") {
		i := strings.LastIndexByte(path, '[')
		return last(path[:i]) + path[i:]
	}
	return path[strings.LastIndexByte(path, '.')+1:]
}

func names(ss []setting.Setting) []string {
	out := make([]string, len(ss))
	for i, s := range ss {
		out[i] = s.Name
	}
	return out
}

func find(ss []setting.Setting, name string) (setting.Setting, bool) {
	for _, s := range ss {
		if s.Name == name {
			return s, true
		}
	}
	return setting.Setting{}, false
}
