package cleanse_test

import (
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/configs"
)

// The interpreter does every step to one row at a time, on plain Go values, in the plainest way, and shares no code
// with the package: text by package strings, numbers by math/big, times by package time, expressions by cel-go over
// maps of values without any types declared.

// verdict is what becomes of a row.
type verdict struct {
	row  any
	fate batch.Fate
	step int // that decided, if not kept
}

// interpreter remembers what deduplication has seen, per step.
type interpreter struct {
	steps []configs.Step
	types []*batch.Type // before each step, and after the last
	seen  []map[string]origin
}

func newInterpreter(t tester, row *batch.Type, steps []configs.Step) *interpreter {
	t.Helper()
	in := &interpreter{steps: steps, types: []*batch.Type{row}}
	for i := range steps {
		// Keys of deduplication may be changed by the prefix's last step only if a later one may not.
		p, problems := cleanse.CompileAll(row, withoutDedup(steps[:i+1]))
		if len(problems) > 0 {
			t.Fatalf("the first %d steps do not compile: %v", i+1, problems)
		}
		in.types = append(in.types, p.Row())
		in.seen = append(in.seen, map[string]origin{})
	}
	return in
}

func withoutDedup(steps []configs.Step) []configs.Step {
	var out []configs.Step
	for _, s := range steps {
		if s.Deduplicate == nil {
			out = append(out, s)
		}
	}
	return out
}

type rejected struct{}
type filtered struct{}

func (in *interpreter) row(row any, from origin) (v verdict) {
	v.row = row
	defer func() {
		switch p := recover(); p.(type) {
		case nil:
		case rejected:
			v.fate = batch.Dead
		case filtered:
			v.fate = batch.Filtered
		default:
			panic(p)
		}
	}()
	for v.step = range in.steps {
		v.row = in.step(v.step, v.row, from)
	}
	return v
}

// compare interprets the rows and fails if the batch differs.
func compare(t tester, row *batch.Type, steps []configs.Step, rows []any, from []origin, b *batch.Batch) {
	t.Helper()
	in := newInterpreter(t, row, steps)
	in.compare(t, rows, from, b)
}

func (in *interpreter) compare(t tester, rows []any, from []origin, b *batch.Batch) {
	t.Helper()
	after := in.types[len(in.types)-1]
	for i, r := range rows {
		o := origin{0, int64(i), int64(i) * 1000}
		if from != nil {
			o = from[i]
		}
		want := in.row(r, o)
		where := fmt.Sprintf("row %d %s", i, toJSON(in.types[0], r))
		if b.Fate[i] != want.fate {
			t.Fatalf("%s\nfate %d, the interpreter says %d by step %d; rejects %v", where, b.Fate[i], want.fate, want.step, b.Rejects)
		}
		switch want.fate {
		case batch.Keep:
			got := toJSON(after, readValue(b.Records, after, b.Root, i))
			if w := toJSON(after, want.row); got != w {
				t.Fatalf("%s\nbecomes    %s\nshould be  %s", where, got, w)
			}
		case batch.Dead:
			for _, rej := range b.Rejects {
				if rej.Record == int32(i) && !strings.HasPrefix(rej.Step, fmt.Sprintf("cleanse[%d] ", want.step)) {
					t.Fatalf("%s\nrejected by %s, the interpreter says step %d", where, rej.Step, want.step)
				}
			}
		}
	}
}

func (in *interpreter) step(n int, row any, from origin) any {
	s, t, after := &in.steps[n], in.types[n], in.types[n+1]
	text := func(columns []string, f func(string) string) any {
		return each(t, row, columns, func(_ *batch.Type, v any) any {
			if v == nil {
				return nil
			}
			return f(v.(string))
		})
	}
	switch {
	case s.Trim != nil:
		return text(s.Trim.Columns, strings.TrimSpace)
	case s.Lower != nil:
		return text(s.Lower.Columns, strings.ToLower)
	case s.Upper != nil:
		return text(s.Upper.Columns, strings.ToUpper)
	case s.NormalizeSpaces != nil:
		return text(s.NormalizeSpaces.Columns, func(v string) string { return strings.Join(strings.Fields(v), " ") })
	case s.NormalizeUnicode != nil:
		form := map[string]norm.Form{"": norm.NFC, "NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}[s.NormalizeUnicode.Form]
		return text(s.NormalizeUnicode.Columns, form.String)
	case s.Replace != nil:
		re := regexp.MustCompile(s.Replace.Pattern)
		return text(s.Replace.Columns, func(v string) string { return re.ReplaceAllString(v, s.Replace.With) })
	case s.MapValues != nil:
		return each(t, row, s.MapValues.Columns, func(_ *batch.Type, v any) any { return mapValue(s.MapValues, v) })
	case s.Default != nil:
		return each(t, row, s.Default.Columns, func(ct *batch.Type, v any) any {
			if v != nil {
				return v
			}
			return convert(batch.Prim(batch.String), ct, s.Default.Value, "")
		})
	case s.Cast != nil:
		to, _ := batch.ParseType(s.Cast.To)
		return each(t, row, s.Cast.Columns, func(ct *batch.Type, v any) any { return convert(ct, to, v, s.Cast.OnError) })
	case s.ParseTimestamp != nil:
		return each(t, row, s.ParseTimestamp.Columns, func(_ *batch.Type, v any) any { return parseTime(s.ParseTimestamp, v) })
	case s.Rename != nil:
		return rename(t, row, s.Rename.Columns)
	case s.Drop != nil:
		return project(t, after, row, "")
	case s.Select != nil:
		return project(t, after, row, "")
	case s.Derive != nil:
		return derive(s.Derive, t, after, row)
	case s.Mask != nil:
		return each(t, row, s.Mask.Columns, func(_ *batch.Type, v any) any {
			if v == nil || s.Mask.Style == "null" {
				return nil
			}
			return maskText(s.Mask.Style, v.(string))
		})
	case s.Hash != nil:
		return each(t, row, s.Hash.Columns, func(ct *batch.Type, v any) any { return hashValue(s.Hash, ct, v) })
	case s.Validate != nil:
		validate(s.Validate, t, row)
	case s.Filter != nil:
		truth, _ := evaluate(s.Filter.Expression, t, row)
		if (truth == true) == s.Filter.Drop {
			panic(filtered{})
		}
	case s.Deduplicate != nil:
		in.deduplicate(n, row, from)
	}
	return row
}

// each replaces every value at the paths, one path after the other.
func each(t *batch.Type, row any, columns []string, f func(t *batch.Type, v any) any) any {
	for _, c := range columns {
		row = at(t, row, c, f)
	}
	return row
}

// at rebuilds v with f applied at the path.
func at(t *batch.Type, v any, path string, f func(t *batch.Type, v any) any) any {
	if path == "" {
		return f(t, v)
	}
	if v == nil {
		return nil
	}
	switch t.Kind {
	case batch.List:
		out := []any{}
		for _, e := range v.([]any) {
			out = append(out, at(t.Fields[0].Type, e, path[2:], f))
		}
		return out
	case batch.Map:
		out := entries{}
		for _, e := range v.(entries) {
			out = append(out, pair{e.key, at(t.Fields[1].Type, e.value, path[2:], f)})
		}
		return out
	}
	path = strings.TrimPrefix(path, ".")
	name := ""
	for _, f := range t.Fields {
		rest, ok := strings.CutPrefix(path, f.Name)
		if ok && len(f.Name) > len(name) && (rest == "" || strings.Contains(".[{", rest[:1])) {
			name = f.Name
		}
	}
	end := len(name)
	out := fields{}
	for k, x := range v.(fields) {
		out[k] = x
	}
	out[name] = at(t.Fields[t.Index(name)].Type, out[name], path[end:], f)
	return out
}

func mapValue(s *configs.MapStep, v any) any {
	if v == nil {
		return nil
	}
	for from, to := range s.Values {
		if from == v || s.IgnoreCase && strings.EqualFold(from, v.(string)) {
			return to
		}
	}
	switch s.Otherwise {
	case "null":
		return nil
	case "dead_letter":
		panic(rejected{})
	}
	return v
}

func rename(t *batch.Type, row any, columns map[string]string) any {
	// Innermost first, all under their old names.
	out := row
	var in func(t *batch.Type, v any, prefix string) any
	in = func(t *batch.Type, v any, prefix string) any {
		if v == nil {
			return nil
		}
		switch t.Kind {
		case batch.Struct:
			o := fields{}
			for _, f := range t.Fields {
				p := f.Name
				if prefix != "" {
					p = prefix + "." + f.Name
				}
				name := f.Name
				if to, ok := columns[p]; ok {
					name = to
				}
				o[name] = in(f.Type, v.(fields)[f.Name], p)
			}
			return o
		case batch.List:
			o := []any{}
			for _, e := range v.([]any) {
				o = append(o, in(t.Fields[0].Type, e, prefix+"[]"))
			}
			return o
		case batch.Map:
			o := entries{}
			for _, e := range v.(entries) {
				o = append(o, pair{e.key, in(t.Fields[1].Type, e.value, prefix+"{}")})
			}
			return o
		}
		return v
	}
	return in(t, out, "")
}

// project keeps the fields that the type after the step has.
func project(t, after *batch.Type, v any, path string) any {
	if v == nil {
		return nil
	}
	switch t.Kind {
	case batch.Struct:
		out := fields{}
		for _, f := range after.Fields {
			out[f.Name] = project(t.Fields[t.Index(f.Name)].Type, f.Type, v.(fields)[f.Name], path+"."+f.Name)
		}
		return out
	case batch.List:
		out := []any{}
		for _, e := range v.([]any) {
			out = append(out, project(t.Fields[0].Type, after.Fields[0].Type, e, path))
		}
		return out
	case batch.Map:
		out := entries{}
		for _, e := range v.(entries) {
			out = append(out, pair{e.key, project(t.Fields[1].Type, after.Fields[1].Type, e.value, path)})
		}
		return out
	}
	return v
}
