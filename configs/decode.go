package configs

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

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
		if sensitive(e.key) {
			d.pos.secret[inner] = true
		}
		text := reflect.New(v.Type().Elem()).Elem()
		if isNull(e.value) {
			d.problem(inner, e.at, "write \"\" for empty text", "%s has no value", e.key)
			continue
		}
		d.value(e.value, text, setting.Setting{}, inner)
		v.SetMapIndex(reflect.ValueOf(e.key), text)
	}
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
		amount(v, s, text, "write a number with a unit: 500ms, 60s, 10m, 24h, 7d", ParseDuration, complain)
	case Bytes:
		amount(v, s, text, "write 4096, 64KiB, 128MiB or 1GiB", ParseBytes, complain)
	case Share:
		amount(v, s, text, "write 0.05 or 5%", ParseShare, complain)
	case Dollars:
		amount(v, s, text, "write 0.005", ParseDollars, complain)
	case bool:
		if text != "true" && text != "false" {
			complain("write true or false", "is neither true nor false")
			return
		}
		v.SetBool(text == "true")
	default:
		amount(v, s, text, "write digits only", func(text string) (int64, error) {
			i, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
			if err != nil || v.OverflowInt(i) {
				return 0, errors.New("is not a whole number")
			}
			return i, nil
		}, complain)
	}
}

// amount reads a number as the setting writes it. A zero that is too little must be refused here: later it looks like a setting that was left out.
func amount[T ~int64](v reflect.Value, s setting.Setting, text, form string, parse func(string) (T, error), complain func(hint, what string)) {
	n, err := parse(text)
	if err != nil {
		complain(form, err.Error())
		return
	}
	v.SetInt(int64(n))
	if n == 0 && limit(s.Min, n) > 0 {
		complain("leave it out for the default", "is less than "+s.Min)
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
