package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

const introduction = `<!-- Written by go run ./configs/gen from the types in configs; do not edit. -->

# Configuration

A configuration is one YAML file. ` + "`lakeloader validate -c FILE`" + ` reads it and names every problem with file, line and
column. For completion and checks in an editor, begin the file with

` + "```yaml" + `
# yaml-language-server: $schema=PATH/configs/lakeloader.schema.json
` + "```" + `

- Unknown settings are errors. Settings of your own, to be merged elsewhere (` + "`<<: *name`" + `), may stand at the top under names
  that begin with ` + "`x-`" + `.
- In values, ` + "`${env:NAME}`" + ` stands for an environment variable, ` + "`${env:NAME:-default}`" + ` for one that may be missing or
  empty, and ` + "`${file:PATH}`" + ` for the content of a file without the newline at its end. A missing variable or file is an error.
  ` + "`$${env:NAME}`" + ` is the text ` + "`${env:NAME}`" + ` itself. Between brackets, quote them: ` + "`[\"${env:NAME}\"]`" + `. What they stand for is
  never shown in messages.
- Relative paths begin at the configuration file's folder.
- A **duration** is written 500ms, 60s, 10m, 1h30m or 7d; a **size** 4096, 64KiB, 128MiB, 1GiB (1024) or 64kB, 1GB (1000).
- Text need not be quoted, also where it looks like a number or a date. A list of texts with one entry may be written without brackets.
`

// reference is docs/configuration.md.
func reference(m *model) []byte {
	var b bytes.Buffer
	b.WriteString(introduction)
	section(&b, m, reflect.TypeFor[configs.Config](), "", "## ")
	b.WriteString("\n## Cleanse steps\n\n" + escape(m.typeDoc(reflect.TypeFor[configs.Step]())) + "\n\n")
	b.WriteString("Every step may have a name: " + escape(lower(m.doc(reflect.TypeFor[configs.Step](), mustFind("Name")))) + "\n")
	for _, s := range setting.Of(reflect.TypeFor[configs.Step]()) {
		if s.Type.Kind() == reflect.Pointer {
			step(&b, m, s)
		}
	}
	return b.Bytes()
}

func mustFind(goName string) setting.Setting {
	for _, s := range setting.Of(reflect.TypeFor[configs.Step]()) {
		if s.GoName == goName {
			return s
		}
	}
	return setting.Setting{}
}

func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// section writes the settings of a struct type, and then a section for each group among them.
func section(b *bytes.Buffer, m *model, t reflect.Type, path, heading string) {
	var groups []setting.Setting
	var rows []setting.Setting
	for _, s := range setting.Of(t) {
		if group(s.Type) != nil {
			groups = append(groups, s)
			continue
		}
		rows = append(rows, s)
	}
	rowsTable(b, m, t, path, rows)
	for _, s := range groups {
		g, inner := group(s.Type), join(path, s.Name)
		if s.Type.Kind() == reflect.Slice {
			inner += "[]"
		}
		if g == reflect.TypeFor[configs.Step]() {
			continue
		}
		fmt.Fprintf(b, "\n%s`%s`\n\n%s\n", heading, inner, escape(m.doc(t, s)))
		if path == "pipelines[].decode" && s.Name == "key" {
			b.WriteString("\nThe settings are those of `pipelines[].decode.value`.\n")
			continue
		}
		deeper := heading
		if len(heading) < len("#### ") {
			deeper = "#" + heading
		}
		section(b, m, g, inner, deeper)
	}
}

// group is the struct type that a setting's value is, or a list of; else nil.
func group(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct {
		return t
	}
	return nil
}

func rowsTable(b *bytes.Buffer, m *model, t reflect.Type, path string, rows []setting.Setting) {
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n| setting | type | default | description |\n|---|---|---|---|\n")
	for _, s := range rows {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", s.Name, typeName(s), m.defaultText(s, join(path, s.Name)), escape(describe(m, t, s)))
	}
}

func describe(m *model, t reflect.Type, s setting.Setting) string {
	text := m.doc(t, s)
	switch {
	case s.Min != "" && s.Max != "":
		text += fmt.Sprintf(" From %s to %s.", s.Min, s.Max)
	case s.Min != "":
		text += fmt.Sprintf(" At least %s.", s.Min)
	}
	switch {
	case s.Secret:
		text += " Never shown."
	case s.URL:
		text += " A password in it is never shown."
	}
	return text
}

func typeName(s setting.Setting) string {
	t := s.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case len(s.Enum) > 0:
		return "`" + strings.Join(s.Enum, "`, `") + "`"
	case t == reflect.TypeFor[configs.Duration]():
		return "duration"
	case t == reflect.TypeFor[configs.Share]():
		return "share"
	case t == reflect.TypeFor[configs.Dollars]():
		return "US$"
	case t == reflect.TypeFor[configs.Bytes]():
		return "size"
	case s.File:
		return "file"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of texts"
	case reflect.Map:
		return "texts by name"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	}
	return "number"
}

func (m *model) defaultText(s setting.Setting, path string) string {
	switch d, ok := m.defaults[path]; {
	case s.Required:
		return "**required**"
	case s.Present:
		return "**required**, may be empty"
	case ok:
		return "`" + d + "`"
	case s.Type.Kind() == reflect.Bool:
		return "`false`"
	case s.Type.Kind() == reflect.Int64 && s.Min == "0":
		return "`0`"
	}
	return "-"
}

func step(b *bytes.Buffer, m *model, s setting.Setting) {
	t := s.Type.Elem()
	fmt.Fprintf(b, "\n### `%s`\n\n%s\n", s.Name, escape(m.doc(reflect.TypeFor[configs.Step](), s)))
	rowsTable(b, m, t, "pipelines[].cleanse[]."+s.Name, setting.Of(t))
	if short, ok := setting.Short(t); ok {
		fmt.Fprintf(b, "\nShort form: `%s:` followed by the value of `%s`.\n", s.Name, short.Name)
	}
	fmt.Fprintf(b, "\n```yaml\n%s```\n", examples[s.Name])
}

// escape keeps Markdown from taking a comment's characters for its own.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "|", "\\|", "*", "\\*").Replace(s)
}
