package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File string `json:"file,omitempty"`
	// Line and Column count from 1; 0: the configuration was not read from a file, or the file could not be read.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path names the setting, e.g. pipelines[0].cleanse[3].cast.to. A setting that is missing has a path all the same.
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	// Hint says what to do; may be empty.
	Hint string `json:"hint,omitempty"`
}

// String gives the problem as file:line:column: message (hint), and without a line with the path in its place.
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	case p.File != "":
		b.WriteString(p.File + ": ")
	}
	if p.Line == 0 && p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems is everything wrong with a configuration, in the order of the file. It is the error that Load returns.
type Problems []Problem

// Error gives one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns the problems as an error, nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Sort orders problems by file and place, and drops repetitions.
func (ps Problems) Sort() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path))
	})
	return slices.Compact(ps)
}

// Positions maps the path of a setting to its place in the file. The nil Positions belongs to a configuration that was
// made in code and knows no places.
type Positions struct {
	// File as it was given to Load or Parse.
	File string

	at     map[string]place
	raw    map[string]string // text as written, of values with ${...} in them
	value  map[string]string // and what it stands for
	secret map[string]bool
	bad    map[string]bool // values that could not be read: other problems with them would only repeat that
}

type place struct{ line, column int }

func newPositions(file string) *Positions {
	return &Positions{File: file, at: map[string]place{}, raw: map[string]string{}, value: map[string]string{}, secret: map[string]bool{}, bad: map[string]bool{}}
}

// Of returns the line and column of a setting, or of the nearest one around it that is in the file; 0, 0 when there is none.
func (p *Positions) Of(path string) (line, column int) {
	if p == nil {
		return 0, 0
	}
	for ; ; path = parent(path) {
		if at, ok := p.at[path]; ok {
			return at.line, at.column
		}
		if path == "" {
			return 0, 0
		}
	}
}

// Given reports whether the file has the setting.
func (p *Positions) Given(path string) bool {
	if p == nil {
		return false
	}
	_, ok := p.at[path]
	return ok
}

// Problem makes a problem with a setting, at its place. What stood for ${...} in the setting is taken out of the message,
// so that an error of somebody else's, which repeats the value, gives nothing away.
func (p *Positions) Problem(path, message, hint string) Problem {
	out := Problem{Path: path, Message: message, Hint: hint}
	if p == nil {
		return out
	}
	const least = 4 // a shorter value would be found in the middle of words
	if value := p.value[path]; len(value) >= least {
		out.Message = strings.ReplaceAll(message, value, p.raw[path])
	}
	out.File = p.File
	out.Line, out.Column = p.Of(path)
	return out
}

// Quote shows a value in a message: never a secret, and ${...} as it was written instead of what it stands for.
func (p *Positions) Quote(path, value string) string {
	const most = 80
	if p != nil {
		if p.secret[path] {
			return "the value (not shown)"
		}
		if raw, ok := p.raw[path]; ok {
			value = raw
		}
	}
	if r := []rune(value); len(r) > most {
		value = string(r[:most]) + "..."
	}
	return fmt.Sprintf("%q", value)
}

// unreadable reports whether path, or something around it, could not be read; with below also something in it.
func (p *Positions) unreadable(path string, below bool) bool {
	if p == nil || len(p.bad) == 0 {
		return false
	}
	for up := path; ; up = parent(up) {
		if p.bad[up] {
			return true
		}
		if up == "" {
			break
		}
	}
	if below {
		for bad := range p.bad {
			if strings.HasPrefix(bad, path+".") || strings.HasPrefix(bad, path+"[") {
				return true
			}
		}
	}
	return false
}

func join(path, name string) string {
	if path == "" || name == "" {
		return path + name
	}
	return path + "." + name
}

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	if i < 0 {
		return ""
	}
	return path[:i]
}
