package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// TestUpToDate fails when a setting was changed and the documents were not written anew.
func TestUpToDate(t *testing.T) {
	files, err := generate("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: go run ./configs/gen", name)
		}
	}
}

func TestRunWritesBoth(t *testing.T) {
	root := t.TempDir()
	if err := run(root); err == nil {
		t.Fatal("there are no sources to read")
	}
	if err := os.Mkdir(filepath.Join(root, "configs"), 0o755); err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "configs", filepath.Base(source)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(root); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"docs/configuration.md", "configs/lakeloader.schema.json"} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Size() < 10_000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// each calls f for every setting of every type that a configuration has.
func each(t reflect.Type, path string, f func(t reflect.Type, s setting.Setting, path string)) {
	for _, s := range setting.Of(t) {
		inner := join(path, s.Name)
		f(t, s, inner)
		if g := group(s.Type); g != nil {
			if s.Type.Kind() == reflect.Slice {
				inner += "[]"
			}
			each(g, inner, f)
		}
	}
}

// TestEverySettingIsDocumented checks that each setting has a comment, a line in the reference, and a default or a word on
// what leaving it out means; and that a default in a comment is the one in the code.
func TestEverySettingIsDocumented(t *testing.T) {
	m, err := newModel("..")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(reference(m))
	each(reflect.TypeFor[configs.Config](), "", func(typ reflect.Type, s setting.Setting, path string) {
		text := m.fields[typ.Name()+"."+s.GoName]
		if text == "" || !strings.HasSuffix(text, ".") {
			t.Errorf("%s: the comment %q is no sentence", path, text)
		}
		if group(s.Type) == nil && !strings.Contains(doc, "| `"+s.Name+"` |") {
			t.Errorf("%s is not in the reference", path)
		}
		lower := strings.ToLower(text)
		switch d, ok := m.defaults[path]; {
		case ok && !says(text, strings.Trim(d, "[]")):
			t.Errorf("%s: the default is %s, but the comment says %q", path, d, text)
		case !ok && m.defaultText(s, path) == "-" && group(s.Type) == nil && !strings.Contains(lower, "left out") && !strings.Contains(lower, "default"):
			t.Errorf("%s: it has no default and is not required, and the comment does not say what it means when left out: %q", path, text)
		}
	})
}

// says reports whether a comment names a default, in whatever unit.
func says(text, value string) bool {
	if !strings.Contains(strings.ToLower(text), "default") {
		return false
	}
	if strings.Contains(text, value) {
		return true
	}
	for word := range strings.FieldsSeq(text) {
		word = strings.Trim(word, ".,;:()")
		if d, err := configs.ParseDuration(word); err == nil && d.String() == value {
			return true
		}
		if b, err := configs.ParseBytes(word); err == nil && b.String() == value {
			return true
		}
	}
	return false
}

// TestDefaultsComeFromCode is on a few of each kind.
func TestDefaultsComeFromCode(t *testing.T) {
	got := defaults()
	for path, want := range map[string]string{
		"shutdown_timeout": "30s", "warehouse.location": "./lake", "catalog.uri": "<warehouse>/catalog.db", "warehouse.s3.part_size": "8MiB",
		"pipelines[].source.group": "lakeloader-<pipeline>", "pipelines[].table.partition_by": "[day(_kafka_timestamp)]", "pipelines[].table.evolve": "true",
		"pipelines[].decode.value.subject": "<topic>-value", "pipelines[].decode.key.subject": "<topic>-key", "pipelines[].decode.key.prefix": "key_",
		"pipelines[].decode.value.unknown_fields": "ignore", "pipelines[].dead_letters.table": "<table>_dead_letters",
		"pipelines[].cleanse[].parse_timestamp.formats": "[iso8601]", "pipelines[].cleanse[].deduplicate.window": "10m",
	} {
		if got[path] != want {
			t.Errorf("%s: got %q, want %q", path, got[path], want)
		}
	}
	for path := range got {
		if strings.HasPrefix(path, "memory") || strings.HasSuffix(path, "].name") {
			t.Errorf("%s is not the same everywhere", path)
		}
	}
}

// TestStepExamples loads the example of every kind of step.
func TestStepExamples(t *testing.T) {
	t.Setenv("LAKELOADER_HASH_KEY", "k")
	for _, s := range setting.Of(reflect.TypeFor[configs.Step]()) {
		if s.Type.Kind() != reflect.Pointer {
			continue
		}
		text := "kafka: {brokers: \"b:9092\"}\npipelines:\n- name: p\n  source: {topics: [t]}\n  decode: {value: {format: json}}\n  table: {name: t}\n  cleanse:\n" +
			"  " + strings.ReplaceAll(strings.TrimSpace(examples[s.Name]), "\n", "\n  ") + "\n"
		c, _, err := configs.Parse("example.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		for _, step := range c.Pipelines[0].Cleanse {
			if k := step.Kinds(); len(k) != 1 || k[0] != s.Name {
				t.Errorf("%s: the example has %v", s.Name, k)
			}
		}
		if len(c.Pipelines[0].Cleanse) == 0 {
			t.Errorf("%s has no example", s.Name)
		}
	}
}

// TestSchemaAgrees checks configurations with the JSON Schema: those that load must pass, and typical mistakes must not.
func TestSchemaAgrees(t *testing.T) {
	schema := compile(t)
	var files []string
	for _, pattern := range []string{"../examples/*.yaml", "../*/lakeloader.yaml", "../testdata/all.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document(t, string(data))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for kind, text := range examples {
		if err := schema.Validate(document(t, inPipeline("cleanse:\n  "+strings.ReplaceAll(text, "\n", "\n  ")))); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, wrong := range []string{"clense: []", "cleanse: [{trim: {colums: [a]}}]", "cleanse: [{trim: a, lower: b}]", "cleanse: [{name: x}]",
		"commit: {interval: 60}", "commit: {size: 1ZB}", "commit: {records: many}", "files: {compression: zip}", "table: {name: t, evolve: maybe}",
		"cleanse: [{default: {columns: [a]}}]", "include: [key]", "cleanse: {trim: [a]}"} {
		if err := schema.Validate(document(t, inPipeline(wrong))); err == nil {
			t.Errorf("%s should not pass", wrong)
		}
	}
	if err := schema.Validate(document(t, inPipeline("commit: {interval: \"${env:X}\", records: \"${env:Y:-5}\"}"))); err != nil {
		t.Errorf("references should pass: %v", err)
	}
}

func inPipeline(text string) string {
	base := "kafka: {brokers: \"b:9092\"}\npipelines:\n- name: p\n  source: {topics: [t]}\n  decode: {value: {format: json}}\n"
	if !strings.HasPrefix(text, "table:") {
		base += "  table: {name: t}\n"
	}
	return base + "  " + text + "\n"
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile("../lakeloader.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("lakeloader.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("lakeloader.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// document reads YAML as an editor does: plain data, by way of JSON.
func document(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
