package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// model is all that both documents are made from.
type model struct {
	types    map[string]string // comment of a type, by its name
	fields   map[string]string // comment of a field, by "Type.Field"
	defaults map[string]string // by path, as in pipelines[].files.target_size
}

func newModel(sources string) (*model, error) {
	m := &model{types: map[string]string{}, fields: map[string]string{}, defaults: defaults()}
	names, err := filepath.Glob(filepath.Join(sources, "*.go"))
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	if err == nil && len(names) == 0 {
		err = errors.New("there are no Go files")
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings in %s: %w", sources, err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("read the comments: %w", err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.TYPE {
				m.comments(d)
			}
			return true
		})
	}
	return m, nil
}

func (m *model) comments(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		m.types[t.Name.Name] = oneLine(d.Doc.Text())
		s, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				m.fields[t.Name.Name+"."+name.Name] = oneLine(f.Doc.Text())
			}
		}
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// typeDoc is the comment of a type without its name: "Step is one step" becomes "One step".
func (m *model) typeDoc(t reflect.Type) string { return sentence(m.types[t.Name()], t.Name(), nil) }

var (
	defaultSentence = regexp.MustCompile(`(^|\s)Default:? \S+\.(\s|$)`)
	defaultClause   = regexp.MustCompile(`[,;] default \S+\.$`)
)

// doc is the comment of a field, likewise, without a sentence that only says the default.
func (m *model) doc(t reflect.Type, s setting.Setting) string {
	text := sentence(m.fields[t.Name()+"."+s.GoName], s.GoName, s.Enum)
	if !s.Required {
		text = defaultSentence.ReplaceAllString(defaultClause.ReplaceAllString(text, "."), "$1")
	}
	return strings.TrimSpace(text)
}

// sentence takes the name away from the beginning where a whole sentence remains: after "is" or "are", and before a verb.
func sentence(text, name string, words []string) string {
	rest, ok := strings.CutPrefix(text, name+" ")
	if !ok {
		return text
	}
	first, more, _ := strings.Cut(rest, " ")
	switch {
	case first == "is" || first == "are":
		rest = more
	case !strings.HasSuffix(first, "s") || first == "settings":
		return text
	}
	if first, _, _ = strings.Cut(rest, " "); slices.Contains(words, strings.Trim(first, ",.")) || strings.ContainsAny(first, "_:") {
		return rest // a word that is written so
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

// defaults fills configurations that have nothing but what defaults follow from, and notes what was added.
func defaults() map[string]string {
	out := map[string]string{}
	for _, format := range []string{"avro", "json"} {
		named := sample(format)
		named.Warehouse.Location = "<warehouse>"
		named.Pipelines[0].Name = "<pipeline>"
		named.Pipelines[0].Source.Topics = []string{"<topic>"}
		named.Pipelines[0].Table.Name = "<table>"
		addDefaults(out, named)
		addDefaults(out, sample(format))
	}
	return out
}

func sample(format string) *configs.Config {
	c := &configs.Config{Aggregates: make([]configs.Aggregate, 1),
		Pipelines: []configs.Pipeline{{Decode: configs.Decode{Value: configs.Format{Format: format}, Key: &configs.Format{Format: format}}}}}
	step := reflect.TypeFor[configs.Step]()
	for _, s := range setting.Of(step) {
		if s.Type.Kind() == reflect.Pointer {
			one := reflect.New(step).Elem()
			one.Field(s.Index).Set(reflect.New(s.Type.Elem()))
			c.Pipelines[0].Cleanse = append(c.Pipelines[0].Cleanse, one.Interface().(configs.Step))
		}
	}
	// These two are not the same everywhere: their comments tell.
	c.Memory.Limit = 1
	for i := range c.Pipelines[0].Cleanse {
		c.Pipelines[0].Cleanse[i].Name = "named"
	}
	return c
}

func addDefaults(out map[string]string, c *configs.Config) {
	before := values(c)
	configs.ApplyDefaults(c)
	for path, v := range values(c) {
		if _, was := before[path]; !was {
			if _, have := out[path]; !have {
				out[path] = v
			}
		}
	}
}

// values lists every setting that is not zero, as it is written.
func values(c *configs.Config) map[string]string {
	out := map[string]string{}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch {
		case v.IsZero():
		case v.Kind() == reflect.Pointer:
			walk(v.Elem(), path)
			if _, ok := out[path]; !ok && v.Elem().Kind() != reflect.Struct {
				out[path] = written(v.Elem())
			}
		case v.Kind() == reflect.Struct:
			for _, s := range setting.Of(v.Type()) {
				walk(v.Field(s.Index), join(path, s.Name))
			}
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
			for i := range v.Len() {
				walk(v.Index(i), path+"[]")
			}
		default:
			out[path] = written(v)
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
	return out
}

func written(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case string:
		if x == "" {
			return `""`
		}
		return x
	case []string:
		return "[" + strings.Join(x, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
