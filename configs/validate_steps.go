package configs

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are checked the same way where the system has none

	"github.com/lakeloader/lakeloader/batch"
)

func (v *validator) steps(steps []Step, path string) {
	seen := map[string]int{}
	for i := range steps {
		s, at := &steps[i], item(path, i)
		switch kinds := s.Kinds(); {
		case len(kinds) == 0:
			v.missing(at, "write e.g. - trim: [city]", "the step says nothing to do")
			continue
		case len(kinds) > 1:
			v.bad(join(at, kinds[1]), "begin a step of its own with a dash", "a step has one kind, and this one has %s", strings.Join(kinds, " and "))
		}
		if first, ok := seen[s.Name]; ok && s.Name != "" {
			v.bad(at+".name", "counters and dead letters show this name", "the name %s is taken already by cleanse[%d]", v.pos.Quote(at+".name", s.Name), first)
		} else {
			seen[s.Name] = i
		}
		v.step(s, at)
	}
}

// step checks what the types cannot declare.
func (v *validator) step(s *Step, at string) {
	v.simpleSteps(s, at)
	if r := s.Replace; r != nil {
		v.columns(at+".replace.columns", r.Columns)
		v.regexp(at+".replace.pattern", r.Pattern)
	}
	if m := s.MapValues; m != nil {
		v.mapStep(m, at+".map")
	}
	if c := s.Cast; c != nil {
		v.columns(at+".cast.columns", c.Columns)
		v.stepType(at+".cast.to", c.To)
	}
	if t := s.ParseTimestamp; t != nil {
		v.timestamps(t, at+".parse_timestamp")
	}
	if r := s.Rename; r != nil {
		v.rename(r, at+".rename.columns")
	}
	if d := s.Derive; d != nil && d.Column != "" {
		v.newName(at+".derive.column", d.Column)
		v.stepType(at+".derive.type", d.Type)
	}
	if c := s.Validate; c != nil {
		v.rules(c, at+".validate")
	}
	if d := s.Deduplicate; d != nil {
		v.distinct(at+".deduplicate.key", d.Key, func(at, e string) {
			if strings.ContainsAny(e, ".[]{}") || e == "" {
				v.bad(at, "name a top-level column", "%s cannot be a key", v.pos.Quote(at, e))
			}
		})
	}
}

// stepType checks the form of a type, if there is one; whether a value can have it, the schema decides.
func (v *validator) stepType(path, text string) {
	if text == "" {
		return
	}
	if _, err := batch.ParseType(text); err != nil {
		v.badType(path, text, err)
	}
}

// simpleSteps are those that need nothing but well-formed columns.
func (v *validator) simpleSteps(s *Step, at string) {
	for kind, c := range map[string]*ColumnsStep{"trim": s.Trim, "lower": s.Lower, "upper": s.Upper,
		"normalize_spaces": s.NormalizeSpaces, "drop": s.Drop, "select": s.Select} {
		if c != nil {
			v.columns(at+"."+kind+".columns", c.Columns)
		}
	}
	if u := s.NormalizeUnicode; u != nil {
		v.columns(at+".normalize_unicode.columns", u.Columns)
	}
	if d := s.Default; d != nil {
		v.columns(at+".default.columns", d.Columns)
	}
	if m := s.Mask; m != nil {
		v.columns(at+".mask.columns", m.Columns)
	}
	if h := s.Hash; h != nil {
		v.columns(at+".hash.columns", h.Columns)
	}
}

func (v *validator) columns(path string, columns []string) {
	v.distinct(path, columns, func(at, c string) {
		if err := checkPath(c); err != nil {
			v.bad(at, "", "%v", err)
		}
	})
}

// newName checks a column that a step makes.
func (v *validator) newName(path, name string) {
	switch {
	case strings.ContainsAny(name, ".[]{}") || name != strings.TrimSpace(name) || name == "":
		v.bad(path, "a plain name without dots and brackets", "%s cannot be a column's name", v.pos.Quote(path, name))
	case strings.HasPrefix(name, "_kafka_"):
		v.bad(path, "choose another name", "%s: names that begin with _kafka_ belong to lakeloader", v.pos.Quote(path, name))
	}
}

func (v *validator) mapStep(m *MapStep, at string) {
	v.columns(at+".columns", m.Columns)
	if !m.IgnoreCase {
		return
	}
	folded := map[string]string{}
	for _, old := range slices.Sorted(maps.Keys(m.Values)) {
		first, ok := folded[strings.ToLower(old)]
		if ok && m.Values[first] != m.Values[old] {
			v.bad(join(at+".values", old), "ignore_case makes them the same", "%q and %q are mapped to different values", first, old)
		}
		folded[strings.ToLower(old)] = old
	}
}

var (
	epochFormats = []string{"iso8601", "unix_s", "unix_ms", "unix_us", "unix_ns"}
	goParts      = []string{"2006", "06", "Jan", "01", "02", "15", "03", "04", "05"}
)

func (v *validator) timestamps(t *TimestampStep, at string) {
	v.columns(at+".columns", t.Columns)
	v.distinct(at+".formats", t.Formats, func(at, f string) {
		if slices.Contains(epochFormats, f) || strings.Contains(f, "%") {
			return
		}
		parts := 0
		for _, p := range goParts {
			if strings.Contains(f, p) {
				parts++
			}
		}
		if parts < 2 {
			hint := didYouMean(f, epochFormats)
			if strings.Contains(f, "yy") {
				hint = "write yyyy-MM-dd HH:mm:ss as %Y-%m-%d %H:%M:%S"
			}
			v.bad(at, hint, "%s is not a format: neither a name, nor with %% as strftime, nor a Go layout of 2006-01-02 15:04:05",
				v.pos.Quote(at, f))
		}
	})
	if _, err := time.LoadLocation(t.Zone); err != nil || t.Zone == "Local" {
		v.bad(at+".zone", "write an IANA name such as Europe/Berlin, or UTC", "%s is not a time zone", v.pos.Quote(at+".zone", t.Zone))
	}
}

func (v *validator) rename(r *RenameStep, at string) {
	taken := map[string]string{}
	for _, old := range slices.Sorted(maps.Keys(r.Columns)) {
		path, name := join(at, old), r.Columns[old]
		if err := checkPath(old); err != nil {
			v.bad(path, "", "%v", err)
		}
		v.newName(path, name)
		// The same new name in different structs is fine.
		key := parent(old) + "." + name
		if first, ok := taken[key]; ok {
			v.bad(path, "", "%s and %s would both be named %s", first, old, name)
		}
		taken[key] = old
	}
}

func (v *validator) rules(c *ValidateStep, at string) {
	v.columns(at+".columns", c.Columns)
	v.regexp(at+".pattern", c.Pattern)
	perColumn := c.Required || c.Min != nil || c.Max != nil || c.MinLength != nil || c.MaxLength != nil || c.Pattern != "" || len(c.OneOf) > 0
	switch {
	case !perColumn && c.Expression == "":
		v.missing(at, "add required, min, max, min_length, max_length, pattern, one_of or expression", "validate has no rule")
	case perColumn && len(c.Columns) == 0:
		v.missing(at+".columns", "", "validate needs columns for its rules")
	case !perColumn && len(c.Columns) > 0:
		v.bad(at+".columns", "leave them out", "an expression alone needs no columns")
	}
	if c.MinLength != nil && c.MaxLength != nil && *c.MinLength > *c.MaxLength {
		v.bad(at+".min_length", "", "min_length %d is more than max_length %d", *c.MinLength, *c.MaxLength)
	}
	if c.Min != nil && c.Max != nil {
		low, errLow := strconv.ParseFloat(*c.Min, 64)
		high, errHigh := strconv.ParseFloat(*c.Max, 64)
		if errLow == nil && errHigh == nil && low > high {
			v.bad(at+".min", "", "min %s is more than max %s", v.pos.Quote(at+".min", *c.Min), v.pos.Quote(at+".max", *c.Max))
		}
	}
}
