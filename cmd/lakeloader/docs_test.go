package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the project's folder, seen from this package.
const root = "../.."

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// manuals are the files that people read.
func manuals(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	names := []string{"README.md", "CONTRIBUTING.md", "DESIGN.md", "CHANGELOG.md"}
	for _, f := range files {
		names = append(names, "docs/"+filepath.Base(f))
	}
	return names
}

// block is a fenced block of a manual.
type block struct {
	language, text string
	line           int
	comment        string // in an HTML comment on the line before it
}

var fence = regexp.MustCompile("(?m)^(?:<!-- (.*) -->\n)?```([a-z]*)\n((?s:.*?))^```$")

func blocks(text string) []block {
	var out []block
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		b := block{language: text[m[4]:m[5]], text: text[m[6]:m[7]], line: strings.Count(text[:m[6]], "\n") + 1}
		if m[2] >= 0 {
			b.comment = text[m[2]:m[3]]
		}
		out = append(out, b)
	}
	return out
}

// The sh blocks after <!-- test --> work as they stand, those of one manual one after the other in the same folder. The
// lines of a text block after <!-- output --> must be among what the block before it printed; "..." stands for anything.
func TestManualsCommands(t *testing.T) {
	for _, name := range manuals(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			dir, bin := t.TempDir(), t.TempDir()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf("#!/bin/sh\n%s exec '%s' \"$@\"\n", asProgram, self)
			if err := os.WriteFile(filepath.Join(bin, "lakeloader"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			printed := ""
			for _, b := range blocks(readDoc(t, name)) {
				switch {
				case b.language == "sh" && b.comment == "test":
					cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", b.text)
					cmd.Dir = dir
					cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
					out, err := cmd.CombinedOutput()
					if err != nil {
						t.Fatalf("%s:%d: %v\n%s", name, b.line, err, out)
					}
					printed = string(out)
				case b.comment == "output":
					checkOutputBlock(t, name, b, printed)
				case strings.HasPrefix(b.comment, "test"), strings.HasPrefix(b.comment, "output"):
					t.Errorf("%s:%d: a %s block after <!-- %s -->", name, b.line, b.language, b.comment)
				}
			}
		})
	}
}

func checkOutputBlock(t *testing.T, name string, b block, printed string) {
	t.Helper()
	for line := range strings.Lines(b.text) {
		pattern := regexp.QuoteMeta(strings.TrimSpace(line))
		pattern = strings.ReplaceAll(pattern, `\.\.\.`, `.*`)
		pattern = regexp.MustCompile(` +`).ReplaceAllString(pattern, ` +`)
		if !regexp.MustCompile(`(?m)^\s*` + pattern + `\s*$`).MatchString(printed) {
			t.Errorf("%s:%d: %q is not in what was printed:\n%s", name, b.line, line, printed)
		}
	}
}

// Every configuration in the manuals, and every part of one, is valid.
func TestManualsConfigurations(t *testing.T) {
	n := 0
	for _, name := range manuals(t) {
		for _, b := range blocks(readDoc(t, name)) {
			if b.language != "yaml" {
				continue
			}
			n++
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(name), b.line), func(t *testing.T) {
				t.Parallel()
				secrets := regexp.MustCompile(`\$\{file:([^}]*)\}`)
				text := strings.ReplaceAll(secrets.ReplaceAllString(whole(b.text), "$${file:secret}"), "/etc/lakeloader/", "")
				path := write(t, "lakeloader.yaml", text)
				for _, file := range append(regexp.MustCompile(`[a-z-]+\.pem`).FindAllString(text, -1), "secret") {
					if err := os.WriteFile(filepath.Join(filepath.Dir(path), file), []byte("a-secret-of-the-test"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				cmd := program(t, "validate", "--offline", "-c", path)
				for _, variable := range regexp.MustCompile(`\$\{env:([A-Z0-9_]+)\}`).FindAllStringSubmatch(b.text, -1) {
					cmd.Env = append(cmd.Env, variable[1]+"=host:9092")
				}
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s:%d: %v\n%s\n%s", name, b.line, err, whole(b.text), out)
				}
			})
		}
	}
	if n < 20 {
		t.Errorf("only %d configurations were found", n)
	}
}

// whole makes a configuration of a part of one: cleanse steps, settings of a pipeline, or sections.
func whole(part string) string {
	const pipeline = "pipelines:\n- name: events\n  source: {topics: [events]}\n"
	const decode, table = "  decode: {value: {format: avro}}\n", "  table: {name: events}\n"
	has := func(setting string) bool { return regexp.MustCompile(`(?m)^` + setting + `:`).MatchString(part) }
	indent := func(text string) string {
		return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
	}
	switch {
	case strings.HasPrefix(part, "- name:"): // pipelines
		part = "pipelines:\n" + part
	case strings.HasPrefix(part, "- "): // steps
		part = pipeline + decode + table + "  cleanse:\n" + indent(part)
	case has("(decode|source|table|commit|files|cleanse|include|dead_letters)"): // settings of a pipeline
		rest := ""
		for setting, text := range map[string]string{"source": "  source: {topics: [events]}\n", "decode": decode, "table": table} {
			if !has(setting) {
				rest += text
			}
		}
		part = "pipelines:\n- name: events\n" + rest + indent(part)
	}
	has = func(setting string) bool { return regexp.MustCompile(`(?m)^` + setting + `:`).MatchString(part) }
	if !has("pipelines") {
		part += pipeline + decode + table
	}
	if !has("kafka") {
		part += "kafka: {brokers: [127.0.0.1:9092]}\n"
	}
	if !has("registry") {
		part += "registry: {url: http://127.0.0.1:8081}\n"
	}
	return part
}

// Links to files lead somewhere, and those to a section of a manual too.
func TestManualsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	for _, name := range manuals(t) {
		text := readDoc(t, name)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := name
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(name), m[1])
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %s leads nowhere", name, m[0])
				continue
			}
			if m[2] != "" && !hasSection(readDoc(t, target), m[2]) {
				t.Errorf("%s: %s has no section #%s", name, target, m[2])
			}
		}
	}
}

func hasSection(text, anchor string) bool {
	drop := regexp.MustCompile("[^a-z0-9 _-]")
	for line := range strings.Lines(text) {
		title := strings.TrimLeft(line, "#")
		if title == line {
			continue
		}
		title = drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
		if strings.ReplaceAll(title, " ", "-") == anchor {
			return true
		}
	}
	return false
}
