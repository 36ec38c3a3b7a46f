package configs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// Load reads a configuration file, completes it with the defaults and validates it. Relative paths in it become absolute,
// resolved against the file's folder. The error is of type Problems and holds everything that is wrong; the
// configuration that comes with it is what could be read, and not fit to run. Positions is never nil.
func Load(path string) (*Config, *Positions, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		p := Problem{File: path, Message: "cannot read the configuration: " + reason(err).Error(), Hint: "name it with -c FILE"}
		return &Config{}, newPositions(path), Problems{p}
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		p := Problem{File: path, Message: "cannot find the configuration's folder: " + err.Error()}
		return &Config{}, newPositions(path), Problems{p}
	}
	return parse(path, data, &expander{dir: dir, lookup: os.LookupEnv, readFile: os.ReadFile})
}

// Parse is Load for data that was read already. Relative paths are resolved against the folder of name.
func Parse(name string, data []byte) (*Config, *Positions, error) {
	return parse(name, data, &expander{dir: filepath.Dir(name), lookup: os.LookupEnv, readFile: os.ReadFile})
}

func parse(file string, data []byte, from *expander) (*Config, *Positions, error) {
	c, pos := &Config{}, newPositions(file)
	d := &decoder{expander: from, pos: pos, anchors: map[string]ast.Node{}}
	body := d.tree(data)
	if body == nil {
		return c, pos, d.problems.Sort()
	}
	pos.at[""] = nodePlace(body)
	d.collect(body)
	d.value(body, reflect.ValueOf(c).Elem(), setting.Setting{}, "")
	from.resolvePaths(c)
	ApplyDefaults(c)
	problems := append(d.problems, Validate(c, pos)...)
	return c, pos, problems.Sort().Err()
}

// tree parses YAML into the body of its only document; nil: a problem was noted.
func (d *decoder) tree(data []byte) ast.Node {
	f, err := parseYAML(bytes.TrimPrefix(data, []byte("\ufeff"))) // some editors begin files with this mark
	if err != nil {
		d.syntax(err, data)
		return nil
	}
	var body ast.Node
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			d.problem("", nodePlace(doc.Body), "remove the line --- and what follows", "the file has more than one document")
			return nil
		default:
			body = doc.Body
		}
	}
	if isNull(body) {
		d.problem("", place{1, 1}, "begin with kafka: and pipelines:", "the configuration is empty")
		return nil
	}
	return body
}

// parseYAML keeps a panic of the parser, which is not ours, from ending the process.
func parseYAML(data []byte) (f *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML parser cannot read it: %v", r)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

func (d *decoder) syntax(err error, data []byte) {
	var y yaml.Error
	if !errors.As(err, &y) {
		d.problem("", place{1, 1}, "", "%v", err)
		return
	}
	at := tokenPlace(y.GetToken())
	lines := strings.Split(string(data), "\n")
	line := ""
	if at.line <= len(lines) {
		line = lines[at.line-1]
	}
	message := y.GetMessage()
	var hint string
	switch {
	case strings.Contains(line, "${") && strings.ContainsAny(line, "[{"):
		hint = `between brackets, quote references: ["${env:NAME}"]`
	case strings.Contains(line, "\t"):
		hint = "indent with spaces, not tabs"
	case strings.Contains(message, "end token"), strings.Contains(message, "must be specified"):
		hint = "close every bracket"
	case strings.Contains(message, "end character"):
		hint = "close every quotation mark"
	default:
		hint = "check the indentation; quote text that contains a colon and a space, or begins with a special character"
	}
	d.problem("", at, hint, "this is not YAML: %s", message)
}

// resolvePaths makes relative paths begin at the configuration file's folder.
func (e *expander) resolvePaths(c *Config) {
	eachSetting(reflect.ValueOf(c).Elem(), "", func(_ string, s setting.Setting, v reflect.Value) {
		if s.File {
			v.SetString(e.absolute(v.String()))
		}
	})
	for i := range c.Lookups {
		if f := c.Lookups[i].File; f != nil {
			if local, is := localPath(f.Path); is {
				f.Path = e.absolute(local)
			}
		}
	}
	w := &c.Warehouse
	if w.Location == "" {
		w.Location = defaultLocation
	}
	if local, is := localPath(w.Location); is {
		w.Location = e.absolute(local)
	}
	for i := range c.Pipelines {
		if s := c.Pipelines[i].SQL; s != nil {
			s.Spool = e.absolute(s.Spool)
			if file, is := s.file(); is {
				s.URL = SQLite + ":" + e.absolute(file)
			}
		}
	}
	for i := range c.Windows {
		if w := &c.Windows[i]; w.State != "" || w.Name != "" {
			def(&w.State, defaultState+w.Name)
			w.State = e.absolute(w.State)
		}
	}
	sqlite := c.Catalog.Type == "" || c.Catalog.Type == "sqlite"
	if sqlite && !strings.Contains(c.Catalog.URI, ":") {
		c.Catalog.URI = e.absolute(c.Catalog.URI)
	}
}

// localPath gives the folder that a location is, unless it has another scheme than file.
func localPath(location string) (string, bool) {
	scheme, rest, has := strings.Cut(location, "://")
	if !has {
		return location, true
	}
	return rest, scheme == "file"
}

// eachSetting calls f for every setting below v, those of lists and pointers included where there are any.
func eachSetting(v reflect.Value, path string, f func(path string, s setting.Setting, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachSetting(v.Elem(), path, f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachSetting(v.Index(i), item(path, i), f)
		}
	case reflect.Struct:
		for _, s := range setting.Of(v.Type()) {
			inner, field := join(path, s.Name), v.Field(s.Index)
			f(inner, s, field)
			eachSetting(field, inner, f)
		}
	}
}
