package cleanse

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// Problem is something wrong with a step.
type Problem struct {
	Step    int    // index into the steps
	Field   string // within the step, as written: cast.to, trim.columns[1]; empty: the step as a whole
	Message string
	Hint    string // what to do; may be empty
}

func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cleanse[%d]", p.Step)
	if p.Field != "" {
		b.WriteString("." + p.Field)
	}
	b.WriteString(": " + p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Program is compiled steps. It keeps memory and deduplication state between batches, so it belongs to one
// goroutine and one pipeline.
type Program struct {
	in, row *batch.Type
	steps   []step
	dedups  []*Dedup
	explain []Explained
	run     run
}

type step struct {
	name string
	op   op
}

// op does one step to a whole batch.
type op interface{ apply(r *run) error }

// Explained says how an expression runs.
type Explained struct {
	Step       string // its name
	Expression string
	Kernels    bool   // true: over whole columns; false: in cel-go, row by row
	Why        string // what kept it from running as kernels
}

// Explain lists the expressions of the program in order.
func (p *Program) Explain() []Explained { return slices.Clone(p.explain) }

// Row is the row type after all steps.
func (p *Program) Row() *batch.Type { return p.row }

// Dedups are the states of the deduplicate steps, in order. The pipeline tells each of them of commits, dropped
// rounds and partitions.
func (p *Program) Dedups() []*Dedup { return p.dedups }

// Compile checks the steps against the row type that they start from. The error joins all Problems.
func Compile(in *batch.Type, steps []configs.Step) (*Program, error) {
	p, problems := CompileAll(in, steps)
	var errs []error
	for _, pr := range problems {
		errs = append(errs, pr)
	}
	return p, errors.Join(errs...)
}

// CompileAll is Compile with every problem found; the program is nil if there is one.
func CompileAll(in *batch.Type, steps []configs.Step) (*Program, []Problem) {
	c := &compiler{root: newTree(in), missing: map[string]bool{}, prog: &Program{in: in}}
	for i := range steps {
		c.step(i, &steps[i])
	}
	c.spreadSecrets()
	c.checkDedups()
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return cmp.Compare(a.Step, b.Step) })
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	c.prog.row = c.root.batchType()
	return c.prog, nil
}

// compiler holds the row as it is at the current step.
type compiler struct {
	root     *node
	derived  []*node
	missing  map[string]bool // columns that a broken step would have made: not reported again
	prog     *Program
	problems []Problem

	index int    // of the current step
	name  string // of the current step
	kind  string // key of the current step in the configuration
}

func (c *compiler) problem(field, hint, format string, args ...any) {
	if field != "" {
		field = c.kind + "." + field
	} else {
		field = c.kind
	}
	c.problems = append(c.problems, Problem{c.index, field, fmt.Sprintf(format, args...), hint})
}

func (c *compiler) add(o op) { c.prog.steps = append(c.prog.steps, step{c.name, o}) }

func (c *compiler) step(i int, s *configs.Step) {
	c.index, c.kind = i, ""
	var compile func()
	n := 0
	found := func(set bool, kind string, f func()) {
		if set {
			n++
			c.kind, compile = kind, f
		}
	}
	found(s.Trim != nil, "trim", func() { c.text(s.Trim.Columns, trim) })
	found(s.Lower != nil, "lower", func() { c.text(s.Lower.Columns, lower) })
	found(s.Upper != nil, "upper", func() { c.text(s.Upper.Columns, upper) })
	found(s.NormalizeSpaces != nil, "normalize_spaces", func() { c.text(s.NormalizeSpaces.Columns, normalizeSpaces) })
	found(s.NormalizeUnicode != nil, "normalize_unicode", func() { c.unicode(s.NormalizeUnicode) })
	found(s.Replace != nil, "replace", func() { c.replace(s.Replace) })
	found(s.MapValues != nil, "map", func() { c.mapValues(s.MapValues) })
	found(s.Default != nil, "default", func() { c.fill(s.Default) })
	found(s.Cast != nil, "cast", func() { c.cast(s.Cast) })
	found(s.ParseTimestamp != nil, "parse_timestamp", func() { c.parseTimestamp(s.ParseTimestamp) })
	found(s.Rename != nil, "rename", func() { c.rename(s.Rename) })
	found(s.Drop != nil, "drop", func() { c.drop(s.Drop) })
	found(s.Select != nil, "select", func() { c.selectColumns(s.Select) })
	found(s.Derive != nil, "derive", func() { c.derive(s.Derive) })
	found(s.Mask != nil, "mask", func() { c.mask(s.Mask) })
	found(s.Hash != nil, "hash", func() { c.hash(s.Hash) })
	found(s.Validate != nil, "validate", func() { c.validate(s.Validate) })
	found(s.Filter != nil, "filter", func() { c.filter(s.Filter) })
	found(s.Deduplicate != nil, "deduplicate", func() { c.deduplicate(s.Deduplicate) })
	if n != 1 {
		c.kind = ""
		c.problem("", "a step is a list entry with one of trim, lower, upper, normalize_spaces, normalize_unicode, replace, map, default, cast, "+
			"parse_timestamp, rename, drop, select, derive, mask, hash, validate, filter, deduplicate", "a step does exactly one thing, here are %d", n)
		return
	}
	c.name = s.Name
	if c.name == "" {
		c.name = fmt.Sprintf("cleanse[%d] %s", i, c.kind)
	}
	compile()
}

// paths resolves the columns of a step, those that can be.
func (c *compiler) paths(columns []string) []*path {
	if len(columns) == 0 {
		c.problem("columns", "", "no columns are named")
	}
	var ps []*path
	for i, text := range columns {
		if slices.Index(columns, text) < i {
			c.problem(fmt.Sprintf("columns[%d]", i), "", "column %q is named twice", text)
			continue
		}
		if p := c.resolve(fmt.Sprintf("columns[%d]", i), text); p != nil {
			ps = append(ps, p)
		}
	}
	return ps
}

func (c *compiler) resolve(field, text string) *path {
	p, err := c.root.resolve(text)
	if err == nil {
		return p
	}
	first, _, _ := strings.Cut(strings.NewReplacer("[", ".", "{", ".").Replace(text), ".")
	if c.missing[first] {
		return nil
	}
	hint := ""
	var none *noColumn
	if errors.As(err, &none) {
		hint = none.hint
	}
	c.problem(field, hint, "%s", err)
	return nil
}

// typed resolves columns and keeps those of the given kinds.
func (c *compiler) typed(columns []string, hint string, kinds ...batch.Kind) []*path {
	var ps []*path
	for _, p := range c.paths(columns) {
		if !slices.Contains(kinds, p.typ.Kind) {
			c.problem(c.columnField(columns, p), c.kindHint(p, hint), "column %s is a %s", p.text, p.typ)
			continue
		}
		ps = append(ps, p)
	}
	return ps
}

func (c *compiler) columnField(columns []string, p *path) string {
	return fmt.Sprintf("columns[%d]", slices.Index(columns, p.text))
}

func (c *compiler) kindHint(p *path, hint string) string {
	switch p.typ.Kind {
	case batch.List:
		return "write " + p.text + "[] for its elements"
	case batch.Map:
		return "write " + p.text + "{} for its values"
	case batch.Struct:
		return "name one of its fields, " + p.text + "." + p.leaf.kids[0].name
	}
	return hint
}

// onError reads dead_letter or null.
func (c *compiler) onError(value string) (null bool) {
	switch value {
	case "", "dead_letter":
	case "null":
		return true
	default:
		c.problem("on_error", "", "%q is neither dead_letter nor null", value)
	}
	return false
}

// spreadSecrets keeps values out of reasons also where they were computed from a secret, or a secret from them.
func (c *compiler) spreadSecrets() {
	for changed := true; changed; {
		changed = false
		for _, d := range c.derived {
			any := d.secret
			for _, f := range d.from {
				any = any || f.secret
			}
			if any {
				for _, n := range append([]*node{d}, d.from...) {
					if !n.secret {
						n.secret, changed = true, true
					}
				}
			}
		}
	}
}
