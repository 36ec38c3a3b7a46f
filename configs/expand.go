package configs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// expander is where values come from that are not in the file itself.
type expander struct {
	dir      string // relative paths begin here
	lookup   func(name string) (string, bool)
	readFile func(path string) ([]byte, error)
}

var (
	reference = regexp.MustCompile(`\$?\$\{([a-z]+):([^}]*)(\}?)`)
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// expand replaces ${env:NAME}, ${env:NAME:-default} and ${file:PATH}; $${env: and $${file: stand for themselves less one $.
// Other ${...} stay: regular expressions use them. No message shows what a reference stands for.
func (d *decoder) expand(text, path string, n ast.Node) (string, bool) {
	if !strings.Contains(text, "${") {
		return text, true
	}
	ok, expanded := true, false
	fail := func(hint, format string, args ...any) string {
		ok = false
		d.wrong(path, n, hint, format, args...)
		return ""
	}
	out := reference.ReplaceAllStringFunc(text, func(match string) string {
		m := reference.FindStringSubmatch(match)
		kind, arg, closed := m[1], m[2], m[3] != ""
		if strings.HasPrefix(match, "$$") {
			if kind == "env" || kind == "file" {
				return match[1:]
			}
			return match
		}
		if !closed {
			return fail("close it with }", "%s: ${%s: has no end", last(path), kind)
		}
		expanded = true
		switch kind {
		case "env":
			return d.variable(arg, fail)
		case "file":
			return d.content(arg, fail)
		}
		return fail("there are ${env:NAME}, ${env:NAME:-default} and ${file:PATH}", "%s: ${%s:...} is not known", last(path), kind)
	})
	if expanded {
		d.pos.raw[path], d.pos.value[path] = text, out
	}
	return out, ok
}

type failure func(hint, format string, args ...any) string

func (d *decoder) variable(arg string, fail failure) string {
	name, fallback, has := strings.Cut(arg, ":-")
	if !envName.MatchString(name) {
		return fail("write ${env:NAME} or ${env:NAME:-default}", "%q is not the name of an environment variable", name)
	}
	value, set := d.lookup(name)
	if has && value == "" {
		return fallback
	}
	if !set {
		return fail("set it, or write ${env:"+name+":-default}", "the environment variable %s is not set", name)
	}
	return value
}

func (d *decoder) content(name string, fail failure) string {
	if name == "" {
		return fail("write ${file:PATH}", "${file:} names no file")
	}
	data, err := d.readFile(d.absolute(name))
	if err != nil {
		return fail("paths are relative to the configuration file's folder", "cannot read the file %s: %v", name, reason(err))
	}
	const most = 1 << 20
	if len(data) > most {
		return fail("a value of at most 1MiB is expected", "the file %s is too long", name)
	}
	return strings.TrimRight(string(data), "\r\n")
}

// absolute resolves a path against the configuration file's folder.
func (e *expander) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(e.dir, path)
}

// reason is an error of the file system without the path, which the message names already.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
