package configs

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

var (
	// A dot would make one pipeline's properties look like those of another in the table.
	pipelineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
	topicName    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)
)

func (v *validator) pipeline(c *Config, p *Pipeline, path string) {
	if p.Name != "" && !pipelineName.MatchString(p.Name) {
		v.bad(path+".name", "use at most 63 letters, digits, _ and -", "%s cannot be a pipeline's name", v.pos.Quote(path+".name", p.Name))
	}
	v.source(&p.Source, path+".source")
	v.format(c, &p.Decode.Value, path+".decode.value")
	if p.Decode.Key != nil {
		v.format(c, p.Decode.Key, path+".decode.key")
	}
	v.target(p, path)
	v.table(&p.Table, path+".table")
	if t := p.DeadLetters.Table; t != "" && t != p.primary()+deadLettersSuffix {
		v.tableName(path+".dead_letters.table", p.DeadLetters.Table)
	}
	v.complete(p, path+".table.complete")
	v.deadLetters(p, path+".dead_letters")
	v.files(&p.Files, path+".files")
	v.commit(&p.Commit, path+".commit")
	v.steps(p.Cleanse, path+".cleanse")
	v.views(p.Views, path+".views")
	v.joins(c, p, path+".enrich")
	v.changes(p, path)
	v.outlets(c, p, path+".routes")
}

func (v *validator) source(s *Source, path string) {
	switch {
	case len(s.Topics) == 0 && s.Pattern == "":
		v.missing(path, "write topics: [name] or pattern: ^name", "source needs topics or pattern")
	case len(s.Topics) > 0 && s.Pattern != "":
		v.bad(path+".pattern", "leave out one of them", "source has both topics and pattern")
	}
	v.distinct(path+".topics", s.Topics, func(at, topic string) {
		if !topicName.MatchString(topic) || topic == "." || topic == ".." {
			v.bad(at, "for a regular expression use pattern", "%s is not a topic's name", v.pos.Quote(at, topic))
		}
	})
	v.regexp(path+".pattern", s.Pattern)
	switch s.Start {
	case "earliest", "latest":
	default:
		if _, err := time.Parse(time.RFC3339, s.Start); err != nil {
			hint := "write earliest, latest or a time such as 2026-11-21T00:00:00Z"
			if near := nearest(s.Start, []string{"earliest", "latest"}); near != "" {
				hint = "did you mean " + near + "?"
			}
			v.bad(path+".start", hint, "start is %s, which is neither earliest, latest nor an RFC 3339 time", v.pos.Quote(path+".start", s.Start))
		}
	}
}

// distinct checks each entry of a list, and that none is there twice.
func (v *validator) distinct(path string, list []string, check func(at, entry string)) {
	seen := map[string]bool{}
	for i, e := range list {
		at := item(path, i)
		if seen[e] {
			v.bad(at, "remove one of them", "%s is there twice in %s", v.pos.Quote(at, e), last(path))
			continue
		}
		seen[e] = true
		check(at, e)
	}
}

func (v *validator) regexp(path, pattern string) *regexp.Regexp {
	if pattern == "" {
		return nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		v.bad(path, "the syntax is RE2's, without look-around and back references", "%s is not a regular expression: %s", last(path),
			strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re
}

func (v *validator) format(c *Config, f *Format, path string) {
	if f.Format == "" {
		return
	}
	if f.Format != "json" {
		v.registered(c, f, path)
		return
	}
	if f.Schema != "" && len(f.Columns) > 0 {
		v.bad(path+".columns", "leave out one of them", "there are columns as well as a schema")
	}
	if f.Subject != "" {
		v.bad(path+".subject", "for values with a schema id choose json_schema", "subject has no effect with plain json")
	}
	if len(f.Columns) == 0 && f.Schema == "" && f.Unknown == "dead_letter" {
		v.bad(path+".unknown_fields", "declare columns or a schema", "unknown_fields has no effect without columns")
	}
	seen := map[string]bool{}
	for i, col := range f.Columns {
		at := item(path+".columns", i)
		switch {
		case col.Name == "":
		case strings.HasPrefix(col.Name, "_kafka_"):
			v.bad(at+".name", "choose another name", "%s: names that begin with _kafka_ belong to lakeloader", v.pos.Quote(at+".name", col.Name))
		case seen[strings.ToLower(col.Name)]:
			v.bad(at+".name", "names that differ only in case are the same to most engines", "the column %s is there twice", v.pos.Quote(at+".name", col.Name))
		}
		seen[strings.ToLower(col.Name)] = true
		if col.Type != "" {
			if _, _, err := batch.ParseColumn(col.Type); err != nil {
				v.badType(at+".type", col.Type, err)
			}
		}
	}
}

// registered checks a format whose schemas come from the registry.
func (v *validator) registered(c *Config, f *Format, path string) {
	if c.Registry.URL == "" {
		v.missing("registry.url", "write registry.url, e.g. http://registry:8081", "%s has the format %s, which needs a registry", path, f.Format)
	}
	if f.Schema != "" {
		v.bad(path+".schema", "leave it out, or choose the format json", "the schema of %s comes from the registry, not from a file", f.Format)
	}
	if len(f.Columns) > 0 {
		v.bad(path+".columns", "leave them out, or choose the format json", "the columns of %s come from the registry", f.Format)
	}
	if f.Unknown != "" && f.Format != "json_schema" {
		v.bad(path+".unknown_fields", "leave it out", "unknown_fields has no effect with %s", f.Format)
	}
}

var scalarTypes = []string{"boolean", "int", "long", "float", "double", "date", "time", "timestamp", "timestamptz", "string", "uuid", "binary"}

// badType notes that a type cannot be read. err is the parser's, which names the place within the text.
func (v *validator) badType(path, text string, err error) {
	word, hint := strings.TrimSuffix(strings.TrimSpace(text), " required"), ""
	if near := nearest(word, scalarTypes); near != "" && !strings.ContainsAny(word, "(<[") && !strings.Contains(err.Error(), "meant?") {
		hint = "did you mean " + near + "?"
	}
	v.bad(path, hint, "%v", err)
}

func (v *validator) table(t *Table, path string) {
	if t.Name != "" {
		v.tableName(path+".name", t.Name)
	}
	v.distinct(path+".partition_by", t.PartitionBy, func(at, e string) {
		if _, err := ParseTransform(e); err != nil {
			v.bad(at, "", "%v", err)
		}
	})
	v.distinct(path+".sort_by", t.SortBy, func(at, e string) {
		if err := checkPath(strings.TrimSuffix(strings.TrimSuffix(e, " desc"), " asc")); err != nil {
			v.bad(at, `write a column, or "column desc"`, "%v", err)
		}
	})
	v.zOrder(t, path+".z_order")
	if t.Route != nil {
		v.route(t.Route, path+".route")
	}
	v.refused(path+".properties", t.Properties, refusedTable)
	for name := range t.Properties {
		if strings.HasPrefix(name, "lakeloader.") {
			v.bad(join(path+".properties", name), "leave it out", "the property %s cannot be set: names that begin with lakeloader. hold the offsets", name)
		}
	}
}

func (v *validator) zOrder(t *Table, path string) {
	if len(t.ZOrder) == 0 {
		return
	}
	if n := len(t.ZOrder); n < 2 || n > 8 {
		v.bad(path, "name two to eight columns; for one there is sort_by", "z_order has %d columns", n)
	}
	v.distinct(path, t.ZOrder, func(at, e string) {
		if err := checkPath(e); err != nil {
			v.bad(at, "write a column", "%v", err)
		}
	})
}

func (v *validator) tableName(path, name string) {
	parts := strings.Split(name, ".")
	ok := len(parts) <= 2
	for _, p := range parts {
		ok = ok && identifier.MatchString(p)
	}
	if !ok {
		v.bad(path, "write name or namespace.name, with letters, digits and _ as all engines read them", "%s is not the name of a table", v.pos.Quote(path, name))
	}
}

func (v *validator) deadLetters(p *Pipeline, path string) {
	d := &p.DeadLetters
	if strings.EqualFold(d.Table, "off") {
		v.bad(path+".table", "leave it out: a topic comes beside it", "the table of dead letters cannot be switched off: it proves that every record was accounted for")
	}
	if d.Topic == "" {
		return
	}
	if !topicName.MatchString(d.Topic) || d.Topic == "." || d.Topic == ".." {
		v.bad(path+".topic", "", "%s is not a topic's name", v.pos.Quote(path+".topic", d.Topic))
	}
	pattern, err := regexp.Compile(p.Source.Pattern)
	if slices.Contains(p.Source.Topics, d.Topic) || p.Source.Pattern != "" && err == nil && pattern.MatchString(d.Topic) {
		v.bad(path+".topic", "choose another topic", "the pipeline reads %s, so dead letters would come back for ever", v.pos.Quote(path+".topic", d.Topic))
	}
}

func (v *validator) files(f *Files, path string) {
	if f.RowGroupSize > f.TargetSize {
		v.bad(path+".row_group_size", "", "row_group_size is %v, more than the target_size of %v", f.RowGroupSize, f.TargetSize)
	}
	if f.Compression != "zstd" && f.Level != 0 {
		v.bad(path+".compression_level", "leave it out", "compression_level has no effect with %s", f.Compression)
	}
	v.distinct(path+".bloom_filters", f.Bloom, func(at, e string) {
		if err := checkPath(e); err != nil {
			v.bad(at, "", "%v", err)
		}
	})
}

func (v *validator) commit(c *Commit, path string) {
	if c.AlarmAfter <= c.Interval {
		v.bad(path+".alarm_after", "", "alarm_after is %v, not more than the interval of %v", c.AlarmAfter, c.Interval)
	}
	if c.StallTimeout <= c.Interval {
		v.bad(path+".stall_timeout", "", "stall_timeout is %v, not more than the interval of %v", c.StallTimeout, c.Interval)
	}
}
