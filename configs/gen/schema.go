package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// object is a JSON object. Its keys are written in order of name.
type object map[string]any

// reference forms, which may stand for any value.
var expansion = object{"type": "string", "pattern": `\$\{(env|file):`}

// jsonSchema is configs/lakeloader.schema.json: draft 7, which editors' YAML support understands best.
func jsonSchema(m *model) ([]byte, error) {
	g := &schemaMaker{model: m, definitions: object{}}
	root := g.structure(reflect.TypeFor[configs.Config](), "")
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "lakeloader configuration"
	root["patternProperties"] = object{"^x-": object{"description": "Settings of your own, to be merged elsewhere."}}
	root["definitions"] = g.definitions
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the JSON Schema: %w", err)
	}
	return append(data, '\n'), nil
}

type schemaMaker struct {
	*model
	definitions object
}

// structure is the schema of a struct type without its short form.
func (g *schemaMaker) structure(t reflect.Type, path string) object {
	properties, required := object{}, []string{}
	for _, s := range setting.Of(t) {
		if s.Required || s.Present {
			required = append(required, s.Name)
		}
		p := g.value(s, s.Type, join(path, s.Name))
		p["description"] = describe(g.model, t, s)
		if d, ok := g.defaults[join(path, s.Name)]; ok && !s.Required {
			p["default"] = typed(d, s.Type)
		}
		properties[s.Name] = p
	}
	out := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	if t == reflect.TypeFor[configs.Step]() {
		out["oneOf"] = kinds(t)
	}
	return out
}

// typed is a default in JSON's own type, so that an editor inserts true and not "true".
func typed(text string, t reflect.Type) any {
	if t.Kind() == reflect.Slice {
		return strings.Split(strings.Trim(text, "[]"), ", ")
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return text // it is text
	}
	return v
}

// kinds says that a step has exactly one kind.
func kinds(t reflect.Type) []any {
	var out []any
	for _, s := range setting.Of(t) {
		if s.Type.Kind() == reflect.Pointer {
			out = append(out, object{"required": []string{s.Name}})
		}
	}
	return out
}

func (g *schemaMaker) value(s setting.Setting, t reflect.Type, path string) object {
	switch {
	case len(s.Enum) > 0:
		return either(object{"enum": s.Enum}, expansion)
	case t == reflect.TypeFor[configs.Duration]():
		return object{"type": "string", "pattern": `^([0-9.]+(ns|us|ms|s|m|h|d))+$|\$\{(env|file):`}
	case t == reflect.TypeFor[configs.Share]():
		return either(object{"type": "number", "minimum": 0, "maximum": 1}, object{"type": "string", "pattern": `^[0-9.]+ ?%?$|\$\{(env|file):`})
	case t == reflect.TypeFor[configs.Dollars]():
		return either(object{"type": "number", "minimum": 0}, object{"type": "string", "pattern": `^[0-9.]+$|\$\{(env|file):`})
	case t == reflect.TypeFor[configs.Bytes]():
		return either(object{"type": "integer", "minimum": 0}, object{"type": "string", "pattern": `^[0-9.]+ ?([kKMGT]i?)?B?$|\$\{(env|file):`})
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.value(s, t.Elem(), path)
	case reflect.Struct:
		return object{"allOf": []any{g.define(t, path)}}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return object{"type": "array", "items": g.define(t.Elem(), path+"[]")}
		}
		return either(object{"type": "array", "items": text()}, text())
	case reflect.Map:
		return object{"type": "object", "additionalProperties": text()}
	case reflect.Bool:
		return either(object{"type": "boolean"}, expansion)
	case reflect.String:
		return text()
	}
	return either(object{"type": "integer"}, expansion)
}

// text is what may be written where text is expected: numbers and truth values need no quotes.
func text() object { return object{"type": []string{"string", "number", "boolean"}} }

func either(options ...any) object { return object{"anyOf": options} }

// define puts a struct type among the definitions, and refers to it.
func (g *schemaMaker) define(t reflect.Type, path string) object {
	if _, ok := g.definitions[t.Name()]; !ok {
		g.definitions[t.Name()] = true // in work: no type contains itself, but several have the same members
		long := g.structure(t, path)
		if short, ok := setting.Short(t); ok {
			long = either(long, g.value(short, short.Type, join(path, short.Name)))
		}
		long["description"] = g.typeDoc(t)
		g.definitions[t.Name()] = long
	}
	return object{"$ref": "#/definitions/" + t.Name()}
}
