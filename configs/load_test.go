package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cockroachdb/datadriven"

	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// from makes an expander with the given variables and files, which sees nothing of the machine.
func from(env map[string]string, files fs.FS) *expander {
	return &expander{
		dir:      "testdata",
		lookup:   func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		readFile: func(path string) ([]byte, error) { return fs.ReadFile(files, path) },
	}
}

var testEnv = map[string]string{"BROKERS": "one:9092, two:9092", "EMPTY": "", "BUCKET": "lake", "COUNT": "12", "NOT_A_NUMBER": "hunter2",
	"SECRET": "tiger-tiger", "URL_WITH_PASSWORD": "ftp://u:swordfish@host/", "BAD_HOST": "kraken99"}

var testFiles = fstest.MapFS{"testdata/key.txt": {Data: []byte("from a file\n")}, "testdata/long.txt": {Data: make([]byte, 1<<20+1)}}

// TestProblems loads the configurations of testdata/problems. A command "load" is a whole configuration, "pipeline" and
// "steps" are put into one that is otherwise complete (its lines come first).
func TestProblems(t *testing.T) {
	datadriven.Walk(t, "testdata/problems", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			text := d.Input
			switch d.Cmd {
			case "load":
			case "pipeline":
				text = "kafka: {brokers: [b:9092]}\nregistry: {url: http://r:8081}\npipelines:\n- " + indent(text)
			case "steps":
				text = "kafka: {brokers: [b:9092]}\npipelines:\n- name: p\n  source: {topics: [t]}\n  decode: {value: {format: json}}\n  table: {name: t}\n  cleanse:\n  " + indent(text)
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			_, pos, err := parse("f.yaml", []byte(text), from(testEnv, testFiles))
			if pos == nil {
				d.Fatalf(t, "no positions")
			}
			if err == nil {
				return "ok"
			}
			for _, secret := range []string{testEnv["SECRET"], testEnv["NOT_A_NUMBER"], "swordfish", "kraken99", "literal-secret"} {
				if strings.Contains(err.Error(), secret) {
					d.Fatalf(t, "a secret is shown: %v", err)
				}
			}
			return err.Error()
		})
	})
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n  ") }

func TestProblemPaths(t *testing.T) {
	_, pos, err := Parse("f.yaml", []byte("kafka: {brokers: [b]}\npipelines:\n- name: p\n  cleanse:\n  - cast: {columns: [a], to: lang}\n"))
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatalf("got %v", err)
	}
	want := []string{"1:19 kafka.brokers[0]", "3:3 pipelines[0].decode.value.format", "3:3 pipelines[0].source", "3:3 pipelines[0].table.name", "5:30 pipelines[0].cleanse[0].cast.to"}
	if got := places(ps); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if p := pos.Problem("pipelines[0].cleanse[0].cast.columns[0]", "no such column", "see plan"); p.String() != "f.yaml:5:22: no such column (see plan)" {
		t.Errorf("got %s", p)
	}
	if p := pos.Problem("pipelines[0].cleanse[0].cast.on_error", "m", ""); p.Line != 5 || p.Column != 5 {
		t.Errorf("a setting that is not there should be at the one around it: %s", p)
	}
	var none *Positions
	if got := none.Problem("pipelines[0].cleanse[7]", "no", "").String(); got != "pipelines[0].cleanse[7]: no" {
		t.Errorf("got %s", got)
	}
}

func places(ps Problems) []string {
	var out []string
	for _, p := range ps {
		out = append(out, strings.TrimSpace(strings.Join([]string{strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column), p.Path}, " ")))
	}
	return out
}

func TestLoadMissingFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none.yaml")
	_, _, err := Load(name)
	if err == nil || err.Error() != name+": cannot read the configuration: no such file or directory (name it with -c FILE)" {
		t.Errorf("got %v", err)
	}
}

// TestLoadResolvesPaths checks that what is relative in a file begins at its folder.
func TestLoadResolvesPaths(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "s.json"), "{}")
	write(t, filepath.Join(dir, "secret"), "k1\n")
	text := minimal + "  cleanse: [{hash: {columns: [ip], key: \"${file:secret}\"}}]\n"
	text = strings.Replace(text, "format: json", "format: json, schema: s.json", 1)
	write(t, filepath.Join(dir, "c.yaml"), text)
	c, _, err := Load(filepath.Join(dir, "c.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p := c.Pipelines[0]
	for _, x := range [][2]string{
		{p.Decode.Value.Schema, dir + "/s.json"},
		{c.Warehouse.Location, dir + "/lake"},
		{c.Catalog.URI, dir + "/lake/catalog.db"},
		{p.Cleanse[0].Hash.Key, "k1"},
		{p.Cleanse[0].Name, "cleanse[0] hash"},
	} {
		if x[0] != x[1] {
			t.Errorf("got %q, want %q", x[0], x[1])
		}
	}
}

// TestOtherEditors checks that the line ends and the mark that Windows editors write do no harm.
func TestOtherEditors(t *testing.T) {
	c, _, err := parse("f.yaml", []byte("\ufeff"+strings.ReplaceAll(minimal, "\n", "\r\n")), from(nil, nil))
	if err != nil || c.Pipelines[0].Table.Name != "t" {
		t.Errorf("got %+v, %v", c, err)
	}
}

const minimal = `
kafka: {brokers: "b:9092"}
pipelines:
- name: p
  source: {topics: [t]}
  decode: {value: {format: json}}
  table: {name: t}
`

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEverySetting loads testdata/all.yaml, in which every setting has a value that is not its default, and checks
// that each arrives; so no setting can be added without being loaded in a test.
func TestEverySetting(t *testing.T) {
	data, err := os.ReadFile("testdata/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, pos, err := parse("testdata/all.yaml", data, from(nil, nil))
	var ps Problems
	if err != nil && !errors.As(err, &ps) {
		t.Fatal(err)
	}
	// The file has settings that exclude each other, on purpose; what cannot be read would be another matter.
	if len(pos.bad) > 0 {
		t.Fatalf("cannot be read: %v", err)
	}
	plain := &Config{Warehouse: Warehouse{S3: S3{Endpoint: "x"}}, Pipelines: []Pipeline{{Decode: Decode{Value: Format{Format: "avro"}, Key: &Format{Format: "avro"}}, Cleanse: make([]Step, len(c.Pipelines[0].Cleanse))}}}
	plain.Lookups = []Lookup{{File: &LookupFile{}, Topic: &LookupTopic{Decode: plain.Pipelines[0].Decode}, Table: &LookupTable{}, Cleanse: plain.Pipelines[0].Cleanse}}
	for i := range plain.Pipelines[0].Cleanse {
		emptyKind(&plain.Pipelines[0].Cleanse[i], c.Pipelines[0].Cleanse[i].Kinds()[0])
	}
	ApplyDefaults(plain)
	defaults := map[string]any{}
	eachSetting(reflect.ValueOf(plain).Elem(), "", func(path string, _ setting.Setting, v reflect.Value) { defaults[path] = show(v) })

	seen := map[string]bool{}
	eachSetting(reflect.ValueOf(c).Elem(), "", func(path string, s setting.Setting, v reflect.Value) {
		if pos.Given(path) && !v.IsZero() && (isGroup(v) || show(v) != defaults[path]) {
			seen[general(path)] = true
		}
	})
	for _, path := range settingPaths(reflect.TypeFor[Config](), "") {
		if !seen[path] {
			t.Errorf("testdata/all.yaml does not set %s, or sets it to its default", path)
		}
	}
}

func emptyKind(s *Step, kind string) {
	v := reflect.ValueOf(s).Elem()
	f, _ := find(setting.Of(v.Type()), kind)
	v.Field(f.Index).Set(reflect.New(f.Type.Elem()))
}

func isGroup(v reflect.Value) bool {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice {
		if v.Kind() == reflect.Slice {
			return v.Type().Elem().Kind() == reflect.Struct
		}
		v = v.Elem()
	}
	return v.Kind() == reflect.Struct
}

func show(v reflect.Value) any {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return fmt.Sprint(v.Interface())
}

// general takes the numbers out of a path.
func general(path string) string {
	var b strings.Builder
	skip := false
	for _, r := range path {
		if r == ']' {
			skip = false
		}
		if !skip {
			b.WriteRune(r)
		}
		if r == '[' {
			skip = true
		}
	}
	return b.String()
}

// settingPaths lists every setting there is.
func settingPaths(t reflect.Type, path string) []string {
	var out []string
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			path += "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for _, s := range setting.Of(t) {
		inner := join(path, s.Name)
		out = append(out, inner)
		out = append(out, settingPaths(s.Type, inner)...)
	}
	return out
}
