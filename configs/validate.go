package configs

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/lakeloader/lakeloader/configs/internal/setting"
	"github.com/lakeloader/lakeloader/memory"
)

// Validate returns everything that is wrong with a configuration that has its defaults, in the order of the file. It
// looks at the configuration and the files that it names, never at servers. pos may be nil.
func Validate(c *Config, pos *Positions) Problems {
	v := &validator{pos: pos}
	v.declared(reflect.ValueOf(c).Elem(), "")
	v.kafka(&c.Kafka)
	v.registry(&c.Registry)
	v.warehouse(&c.Warehouse)
	v.catalog(c)
	v.http(&c.HTTP)
	v.memory(c)
	v.jobs(&c.Jobs)
	v.engines(c)
	v.unique(c)
	v.lookups(c)
	for i := range c.Pipelines {
		v.pipeline(c, &c.Pipelines[i], item("pipelines", i))
	}
	for i := range c.Aggregates {
		v.aggregate(c, &c.Aggregates[i], item("aggregates", i))
	}
	v.windows(c)
	return v.problems.Sort()
}

// Off is the schedule of a job that runs only when it is asked to, and the name of a table that is not wanted.
const Off = "off"

type validator struct {
	pos      *Positions
	problems Problems
}

// bad notes a problem with a setting, unless its value could not even be read.
func (v *validator) bad(path, hint, format string, args ...any) {
	if !v.pos.unreadable(path, false) {
		v.problems = append(v.problems, v.pos.Problem(path, fmt.Sprintf(format, args...), hint))
	}
}

// missing notes that a setting is not there, unless something in it could not be read.
func (v *validator) missing(path, hint, format string, args ...any) {
	if !v.pos.unreadable(path, true) {
		v.bad(path, hint, format, args...)
	}
}

// declared checks the rules that the types declare.
func (v *validator) declared(root reflect.Value, path string) {
	eachSetting(root, path, func(path string, s setting.Setting, f reflect.Value) {
		switch {
		case s.Required && isEmpty(f):
			v.missing(path, "", "%s needs %s", last(parent(path)), s.Name)
		case isEmpty(f):
		case len(s.Enum) > 0:
			v.enum(path, s, f.String())
		case s.Min != "" || s.Max != "":
			v.inRange(path, s, f)
		case s.File:
			v.file(path, s, f.String())
		}
	})
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

func (v *validator) enum(path string, s setting.Setting, value string) {
	for _, e := range s.Enum {
		if value == e {
			return
		}
	}
	hint := ""
	if c := nearest(value, s.Enum); c != "" {
		hint = "did you mean " + c + "?"
	}
	v.bad(path, hint, "%s is %s; it must be %s", s.Name, v.pos.Quote(path, value), oneOf(s.Enum))
}

func oneOf(words []string) string {
	n := len(words)
	return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
}

func (v *validator) inRange(path string, s setting.Setting, f reflect.Value) {
	if f.Kind() == reflect.Pointer {
		f = f.Elem()
	}
	n, least, most := f.Int(), limit(s.Min, f.Interface()), limit(s.Max, f.Interface())
	switch {
	case s.Min != "" && n < least && s.Max != "":
		v.bad(path, "", "%s is %v; it must be between %s and %s", s.Name, f.Interface(), s.Min, s.Max)
	case s.Min != "" && n < least:
		v.bad(path, "", "%s is %v; it must be at least %s", s.Name, f.Interface(), s.Min)
	case s.Max != "" && n > most:
		v.bad(path, "", "%s is %v; it must be between %s and %s", s.Name, f.Interface(), s.Min, s.Max)
	}
}

// limit reads one end of a range in the setting's own units; a test checks that all of them can be read.
func limit(text string, like any) int64 {
	switch like.(type) {
	case Duration:
		d, _ := ParseDuration(text)
		return int64(d)
	case Bytes:
		b, _ := ParseBytes(text)
		return int64(b)
	case Share:
		s, _ := ParseShare(text)
		return int64(s)
	case Dollars:
		d, _ := ParseDollars(text)
		return int64(d)
	}
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

func (v *validator) file(path string, s setting.Setting, name string) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		v.bad(path, "paths are relative to the configuration file's folder", "%s: cannot read %s: %v", s.Name, v.pos.Quote(path, name), reason(err))
	case info.IsDir():
		v.bad(path, "name a file", "%s: %s is a folder", s.Name, v.pos.Quote(path, name))
	}
}

// MemoryNeeds are those who share the memory ceiling.
func (c *Config) MemoryNeeds() memory.Needs {
	return memory.Needs{Pipelines: len(c.Pipelines), Lookups: int64(c.lookupMemory()), Windows: int64(c.windowMemory()), Current: c.currentInDaemon()}
}

// currentInDaemon: loaders bring tables with present rows up to date.
func (c *Config) currentInDaemon() bool {
	return *c.Jobs.InDaemon && c.Jobs.Current.Schedule != Off &&
		slices.ContainsFunc(c.Pipelines, func(p Pipeline) bool { return p.Table.Current != nil })
}

func (v *validator) memory(c *Config) {
	needs := c.MemoryNeeds()
	least := Bytes(memory.Least(needs))
	if c.Memory.Limit >= least {
		return
	}
	fix, of := "raise it, also that of the container, or run the pipelines in several processes", ""
	if l := Bytes(needs.Lookups); l > 0 {
		fix, of = fix+"; or set a lower memory for lookups, whose other rows go to the disk", fmt.Sprintf(", %v of it for lookups", l)
	}
	if w := Bytes(needs.Windows); w > 0 {
		fix, of = fix+"; or set a lower windows.memory, or run the windows in another process", of+fmt.Sprintf(", %v of it for windows", w)
	}
	if needs.Current {
		others := needs
		others.Current = false
		fix += "; or let lakeloader jobs run the job current (jobs.in_daemon: false)"
		of += fmt.Sprintf(", %v of it for the job current", least-Bytes(memory.Least(others)))
	}
	v.bad("memory.limit", fix, "limit is %v; %d pipelines need at least %v%s", c.Memory.Limit, needs.Pipelines, least, of)
}

func (v *validator) jobs(j *Jobs) {
	v.timeZone("jobs.time_zone", j.TimeZone)
	for path, schedule := range map[string]string{"jobs.expire.schedule": j.Expire.Schedule, "jobs.compact.schedule": j.Compact.Schedule, "jobs.retention.schedule": j.Retention.Schedule, "jobs.fold.schedule": j.Fold.Schedule, "jobs.orphans.schedule": j.Orphans.Schedule,
		"jobs.complete.schedule": j.Complete.Schedule, "jobs.current.schedule": j.Current.Schedule, "jobs.history.schedule": j.History.Schedule} {
		v.schedule(path, schedule)
	}
}

func (v *validator) schedule(path, schedule string) {
	if schedule == Off {
		return
	}
	if _, err := cron.ParseStandard(schedule); err != nil {
		v.bad(path, "give five fields as in cron (minute hour day month weekday), @hourly, @daily, @weekly, @monthly, @every 30m, or off",
			"%q is no schedule: %v", schedule, err)
	}
}

func (v *validator) timeZone(path, zone string) {
	if _, err := time.LoadLocation(zone); err != nil || zone == "Local" {
		v.bad(path, "give a name of the IANA database, such as Europe/Berlin, or UTC", "there is no time zone %q", zone)
	}
}

// unique checks names that must not be shared. A default that follows from a name that is taken is not told again.
func (v *validator) unique(c *Config) {
	names, groups, tables := map[string]string{}, map[string]string{}, map[string]string{}
	for i := range c.Pipelines {
		p, path := &c.Pipelines[i], item("pipelines", i)
		free := v.once(names, p.Name, path+".name", "the pipeline name", "offsets are kept by this name")
		if free || p.Source.Group != groupPrefix+p.Name {
			v.once(groups, p.Source.Group, path+".source.group", "the consumer group", "every pipeline needs its own")
		}
		primary, at := qualified(c, p.Table.Name), ".table.name"
		if p.SQL != nil {
			primary, at = p.SQL.qualified(p.SQL.Table), ".sql.table"
		}
		free = v.once(tables, primary, path+at, "the table", "every pipeline writes a table of its own")
		if free || p.DeadLetters.Table != p.primary()+deadLettersSuffix {
			dead := qualified(c, p.DeadLetters.Table)
			if p.SQL != nil {
				dead = p.SQL.qualified(p.DeadLetters.Table)
			}
			v.once(tables, dead, path+".dead_letters.table", "the table", "every pipeline needs its own dead letters")
		}
	}
	for i := range c.Pipelines {
		if k := c.Pipelines[i].Table.Current; k != nil {
			v.once(tables, qualified(c, k.Table), item("pipelines", i)+".table.current.table", "the table", "present rows need a table of their own")
		}
	}
	if c.Jobs.History.Table != Off {
		v.tableName("jobs.history.table", c.Jobs.History.Table)
		v.once(tables, qualified(c, c.Jobs.History.Table), "jobs.history.table", "the table", "the runs of jobs need a table of their own")
	}
	v.aggregateNames(c, tables)
	v.routedTables(c, tables)
}

func (v *validator) once(seen map[string]string, name, path, what, hint string) bool {
	if name == "" {
		return true
	}
	first, taken := seen[name]
	if !taken {
		seen[name] = path
		return true
	}
	if line, _ := v.pos.Of(first); line > 0 {
		first = fmt.Sprintf("%s, line %d", first, line)
	}
	v.bad(path, hint, "%s %s is taken already by %s", what, v.pos.Quote(path, name), first)
	return false
}

func qualified(c *Config, table string) string {
	if table == "" || strings.Contains(table, ".") {
		return table
	}
	return c.Catalog.Namespace + "." + table
}
