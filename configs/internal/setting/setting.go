// Package setting reads the rules that the configuration's types carry in their struct tags, so that decoding,
// validation, the reference and the JSON Schema for editors all follow one declaration.
//
// The tag is rule:"NAME;NAME=VALUE": required (not empty), present (must be written, may be empty), enum=a|b,
// range=FROM:TO (either end may be left out, written as the setting is), secret (never shown), url (of which a password is never
// shown), file (a path, relative to the
// configuration's folder, that must exist), split (text is cut at commas), short (the setting that a step's value is,
// when the step is written without naming its settings).
package setting

import (
	"reflect"
	"strings"
)

// Setting is one field of a configuration type.
type Setting struct {
	Name     string // in YAML
	GoName   string
	Index    int // of the struct field
	Type     reflect.Type
	Required bool
	Present  bool
	Secret   bool
	URL      bool
	File     bool
	Split    bool
	Short    bool
	Enum     []string
	Min, Max string
}

// Of returns the settings of a struct type, in order.
func Of(t reflect.Type) []Setting {
	out := make([]Setting, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		s := Setting{Name: f.Tag.Get("yaml"), GoName: f.Name, Index: i, Type: f.Type}
		for rule := range strings.SplitSeq(f.Tag.Get("rule"), ";") {
			name, value, _ := strings.Cut(rule, "=")
			switch name {
			case "required":
				s.Required = true
			case "present":
				s.Present = true
			case "secret":
				s.Secret = true
			case "url":
				s.URL = true
			case "file":
				s.File = true
			case "split":
				s.Split = true
			case "short":
				s.Short = true
			case "enum":
				s.Enum = strings.Split(value, "|")
			case "range":
				s.Min, s.Max, _ = strings.Cut(value, ":")
			}
		}
		out = append(out, s)
	}
	return out
}

// Short returns the setting of a struct type that stands for the whole, if there is one.
func Short(t reflect.Type) (Setting, bool) {
	for _, s := range Of(t) {
		if s.Short {
			return s, true
		}
	}
	return Setting{}, false
}
