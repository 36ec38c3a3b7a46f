package configs

import (
	"maps"
	"slices"
	"strings"
)

func (v *validator) lookups(c *Config) {
	seen := map[string]string{}
	for i := range c.Lookups {
		l, path := &c.Lookups[i], item("lookups", i)
		v.once(seen, l.Name, path+".name", "the lookup", "pipelines name lookups by it")
		v.lookup(c, l, path)
	}
}

func (v *validator) lookup(c *Config, l *Lookup, path string) {
	if l.Name != "" && !pipelineName.MatchString(l.Name) {
		v.bad(path+".name", "use at most 63 letters, digits, _ and -", "%s cannot be a lookup's name", v.pos.Quote(path+".name", l.Name))
	}
	var kinds []string
	for kind, is := range map[string]bool{"file": l.File != nil, "topic": l.Topic != nil, "table": l.Table != nil} {
		if is {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	switch {
	case len(kinds) == 0:
		v.missing(path, "write file, topic or table", "the lookup has no rows")
	case len(kinds) > 1:
		v.bad(path+"."+kinds[1], "leave out all but one", "the rows of a lookup come from one place, not from %s", strings.Join(kinds, " and "))
	}
	v.distinct(path+".key", l.Key, func(string, string) {})
	v.distinct(path+".columns", l.Columns, func(string, string) {})
	if l.File != nil {
		v.lookupFile(l.File, path+".file")
	}
	if t := l.Topic; t != nil {
		if t.Name != "" && !topicName.MatchString(t.Name) {
			v.bad(path+".topic.name", "", "%s is not a topic's name", v.pos.Quote(path+".topic.name", t.Name))
		}
		v.format(c, &t.Decode.Value, path+".topic.decode.value")
		if t.Decode.Key != nil {
			v.format(c, t.Decode.Key, path+".topic.decode.key")
		}
		v.unwraps(&t.Decode, path+".topic.decode")
	}
	if t := l.Table; t != nil && t.Name != "" {
		v.tableName(path+".table.name", t.Name)
	}
	v.steps(l.Cleanse, path+".cleanse")
	for i, s := range l.Cleanse {
		if s.Deduplicate != nil {
			v.bad(item(path+".cleanse", i)+".deduplicate", "leave it out", "a lookup has one row for each key in any case")
		}
	}
}

func (v *validator) lookupFile(f *LookupFile, path string) {
	if scheme, _, has := strings.Cut(f.Path, "://"); has && scheme != "s3" && scheme != "file" {
		v.bad(path+".path", "write a path, or s3://bucket/key", "%s is neither a local file nor an object in S3", v.pos.Quote(path+".path", f.Path))
	}
	if f.Format == "" && f.Path != "" {
		v.missing(path+".format", "write csv, jsonl or parquet", "the path does not tell the file's format")
	}
	if f.Format == "jsonl" && len(f.Columns) == 0 {
		v.missing(path+".columns", "write columns: [{name: id, type: long}]", "the columns of jsonl are not known")
	}
	if f.Format == "parquet" && len(f.Columns) > 0 {
		v.bad(path+".columns", "leave them out", "a Parquet file says itself what its columns are")
	}
	if f.Separator != "" && f.Format != "csv" {
		v.bad(path+".separator", "leave it out", "separator has no effect with %s", f.Format)
	}
	if len([]rune(f.Separator)) > 1 || strings.ContainsAny(f.Separator, "\"\r\n") {
		v.bad(path+".separator", `such as "," or ";" or "\t"`, "separator is one character")
	}
	v.format(nil, &Format{Format: "json", Columns: f.Columns}, path)
}

func (v *validator) joins(c *Config, p *Pipeline, path string) {
	names := map[string]string{}
	for i := range p.Enrich {
		j, at := &p.Enrich[i], item(path, i)
		v.once(names, j.Name, at+".name", "the name", "rows without a match are counted by it")
		n := slices.IndexFunc(c.Lookups, func(l Lookup) bool { return l.Name == j.Lookup })
		if n < 0 {
			if j.Lookup != "" {
				v.bad(at+".lookup", "declare it in lookups", "there is no lookup %s", v.pos.Quote(at+".lookup", j.Lookup))
			}
			continue
		}
		v.join(j, &c.Lookups[n], at)
	}
}

func (v *validator) join(j *Join, l *Lookup, at string) {
	if len(j.On) > 0 {
		keys := slices.Sorted(maps.Values(j.On))
		for _, k := range l.Key {
			if !slices.Contains(keys, k) {
				v.bad(at+".on", "the key of the lookup "+l.Name+" is "+strings.Join(l.Key, ", "), "on has no column for the key's column %s", k)
			}
		}
		for row, k := range j.On {
			if !slices.Contains(l.Key, k) {
				v.bad(at+".on."+row, "the key of the lookup "+l.Name+" is "+strings.Join(l.Key, ", "), "%s is no column of the key", k)
			}
		}
		if len(slices.Compact(keys)) < len(j.On) {
			v.bad(at+".on", "", "two columns are compared with the same column of the key")
		}
	}
	if j.Join == "anti" {
		for name, set := range map[string]bool{"columns": len(j.Columns) > 0, "prefix": j.Prefix != "", "miss": j.Miss != "", "defaults": len(j.Defaults) > 0, "version": j.Version != "", "matched": j.Matched != ""} {
			if set {
				v.bad(at+"."+name, "leave it out", "%s has no effect with an anti join, which keeps the rows without a match as they are", name)
			}
		}
		return
	}
	if j.Join == "inner" && (j.Miss == "null" || j.Miss == "default" || j.Waited == "null" || j.Waited == "default") {
		v.bad(at+".miss", "write join: left", "an inner join has no rows without a match")
	}
	if j.Miss != "wait" && (j.Wait != 0 || j.Waited != "") {
		v.bad(at+".wait", "write miss: wait", "wait and waited have no effect without it")
	}
	if defaults := j.Miss == "default" || j.Waited == "default"; defaults != (len(j.Defaults) > 0) {
		if defaults {
			v.missing(at+".defaults", "write defaults: {column: value}", "there are no defaults")
		} else {
			v.bad(at+".defaults", "write miss: default", "defaults have no effect without it")
		}
	}
	v.distinct(at+".columns", j.Columns, func(string, string) {})
	if j.At != "" && l.Versions == nil {
		v.bad(at+".at", "give the lookup versions", "the lookup %s keeps the newest rows only", l.Name)
	}
}
