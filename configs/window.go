package configs

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Window keeps a total for each key over the last days, months or years, in real time. See docs/windows.md.
type Window struct {
	// Name identifies the window; transactional ids and the consumer group begin with it. It must not change later.
	Name string `yaml:"name" rule:"required"`
	// Pipeline whose rows count, after all cleansing steps.
	Pipeline string `yaml:"pipeline" rule:"required"`
	// Key is the column that there is a total for each value of: text, an integer or a UUID. It is the key of the messages, as text.
	// Rows where it is null do not count.
	Key string `yaml:"key" rule:"required"`
	// Time is the column whose day counts: a timestamptz, timestamp or date. Rows where it is null do not count.
	Time string `yaml:"time" rule:"required"`
	// Sum is what is added up: sums and products of columns (int, long, decimal) and numbers, such as value * quantity. Rows where it is
	// null do not count.
	Sum string `yaml:"sum" rule:"required"`
	// Window says how far back rows count.
	Window WindowLength `yaml:"window" rule:"required"`
	// TimeZone of the days, for a timestamptz, e.g. Europe/Berlin. Default UTC.
	TimeZone string `yaml:"time_zone"`
	// Topic gets the totals, keyed; it must exist and should be compacted. Its partitions are dealt out to the processes. Nothing else may
	// write to it.
	Topic string `yaml:"topic" rule:"required"`
	// Decimals of the totals behind the point. Default 2.
	Decimals *int `yaml:"decimals" rule:"range=0:38"`
	// State is a local folder for what the process knows, of its own for each process and window; what is lost of it is made anew
	// from the lake. Default ./lakeloader-state/<name>.
	State string `yaml:"state"`
	// Schedule of the job window-<name>, which recalculates all totals with SQL over the lake and fails where one that is published differs. It
	// keeps all keys in memory, so loaders never run it: lakeloader jobs and lakeloader job run do. Default @daily.
	Schedule string `yaml:"schedule"`
	// Memory that the window may take of memory.limit, for its state, keys that were used last, and what is fetched ahead. Default 64MiB.
	Memory Bytes `yaml:"memory" rule:"range=16MiB:"`
}

// WindowLength is calendar months and years, or days.
type WindowLength struct {
	// CalendarMonths that the window reaches back: on 31 May with 3, to the day after the last day of February. Left out: none.
	CalendarMonths int `yaml:"calendar_months" rule:"range=1:1200"`
	// CalendarYears that the window reaches back. Left out: none.
	CalendarYears int `yaml:"calendar_years" rule:"range=1:100"`
	// Days that the window has, today among them. Left out: none.
	Days int `yaml:"days" rule:"range=1:36500"`
}

// windowMemory is what all windows may take.
func (c *Config) windowMemory() (sum Bytes) {
	for i := range c.Windows {
		sum += c.Windows[i].Memory
	}
	return sum
}

// WindowJob is the name of a window's job.
func WindowJob(window string) string { return "window-" + window }

// longest is a number of days that the window never exceeds.
func (l WindowLength) longest() int {
	if l.Days > 0 {
		return l.Days
	}
	months := l.CalendarMonths + 12*l.CalendarYears
	most := 0
	for y := 2000; y < 2008; y++ { // with leap years
		for m := time.January; m <= time.December; m++ {
			to := time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
			most = max(most, int(to.Sub(to.AddDate(0, -months, 0)).Hours()/24))
		}
	}
	return most
}

func defaultWindow(w *Window) {
	def(&w.TimeZone, "UTC")
	defTo(&w.Decimals, 2)
	if w.Name != "" {
		def(&w.State, defaultState+w.Name)
	}
	def(&w.Memory, 64*mib)
	def(&w.Schedule, "@daily")
}

// windows checks what can be told without the columns.
func (v *validator) windows(c *Config) {
	names, topics, states := map[string]string{}, map[string]string{}, map[string]string{}
	for i := range c.Windows {
		w, path := &c.Windows[i], item("windows", i)
		if w.Name != "" && !pipelineName.MatchString(w.Name) {
			v.bad(path+".name", "use at most 63 letters, digits, _ and -", "%s cannot be a window's name", v.pos.Quote(path+".name", w.Name))
		}
		v.once(names, w.Name, path+".name", "the window name", "transactional ids begin with it")
		v.once(topics, w.Topic, path+".topic", "the topic", "every window writes a topic of its own")
		v.once(states, w.State, path+".state", "the folder", "every window needs its own")
		v.window(c, w, path)
	}
}

func (v *validator) window(c *Config, w *Window, path string) {
	set := 0
	for _, n := range []int{w.Window.CalendarMonths, w.Window.CalendarYears, w.Window.Days} {
		if n != 0 {
			set++
		}
	}
	if set > 1 {
		v.bad(path+".window", "write window: {calendar_months: 3}, {calendar_years: 1} or {days: 30}", "the window %s needs one length, here are %d", w.Name, set)
	}
	v.timeZone(path+".time_zone", w.TimeZone)
	v.schedule(path+".schedule", w.Schedule)
	if slices.ContainsFunc(c.Aggregates, func(a Aggregate) bool { return a.Name == WindowJob(w.Name) }) {
		v.bad(path+".name", "", "the aggregate %s has the name of this window's job", WindowJob(w.Name))
	}
	if w.Topic != "" && (!topicName.MatchString(w.Topic) || w.Topic == "." || w.Topic == "..") {
		v.bad(path+".topic", "", "%s is not a topic's name", v.pos.Quote(path+".topic", w.Topic))
	}
	if w.Pipeline == "" {
		return
	}
	i := slices.IndexFunc(c.Pipelines, func(p Pipeline) bool { return p.Name == w.Pipeline })
	if i < 0 {
		v.bad(path+".pipeline", "", "there is no pipeline %s", v.pos.Quote(path+".pipeline", w.Pipeline))
		return
	}
	v.windowOf(c, &c.Pipelines[i], w, path)
}

// windowOf checks a window together with its pipeline.
func (v *validator) windowOf(c *Config, p *Pipeline, w *Window, path string) {
	pattern, err := regexp.Compile(p.Source.Pattern)
	if slices.Contains(p.Source.Topics, w.Topic) || p.Source.Pattern != "" && err == nil && pattern.MatchString(w.Topic) {
		v.bad(path+".topic", "choose another topic", "the pipeline %s reads %s", p.Name, v.pos.Quote(path+".topic", w.Topic))
	}
	if p.SQL != nil {
		v.bad(path+".pipeline", "use a pipeline into the lake", "the pipeline %s goes into a database, and a window is made from a table of the lake", p.Name)
	}
	if p.Table.Route != nil {
		v.bad(path+".pipeline", "use a pipeline without table.route", "the pipeline %s routes rows to other tables, and a window is made from one", p.Name)
	}
	if days := w.Window.longest(); p.Table.Retention > 0 && time.Duration(p.Table.Retention) < time.Duration(days+1)*24*time.Hour {
		v.bad(path+".window", fmt.Sprintf("set pipelines.table.retention to %dd at least, or leave it out", days+1),
			"the window reaches back %d days, and the table keeps rows for %v: totals that are made anew from it would be too small", days, p.Table.Retention)
	}
	hidden := map[string]string{}
	for i := range p.Cleanse {
		s := &p.Cleanse[i]
		if s.Deduplicate != nil {
			v.bad(path+".pipeline", "use a pipeline without deduplicate", "the pipeline %s drops rows by what it remembers (%s), which a window that reads the topic itself cannot follow", p.Name, s.Name)
		}
		hide(s, hidden)
	}
	v.windowJoins(c, p, w, path)
	if by, ok := hidden[w.Key]; ok {
		v.bad(path+".key", "leave that step out, or choose another key; a hash of at least 32 digits keeps keys apart",
			"the key %s is masked (%s), so keys that differ may become one, with one total", v.pos.Quote(path+".key", w.Key), by)
	}
}

// windowJoins refuses joins of which the totals would depend: what a join gives depends on when it is asked, and a window asks at
// another time than the loader.
func (v *validator) windowJoins(c *Config, p *Pipeline, w *Window, path string) {
	used := map[string]string{w.Key: "key", w.Time: "time"}
	for _, name := range word.FindAllString(w.Sum, -1) {
		used[name] = "sum"
	}
	for i := range p.Enrich {
		j := &p.Enrich[i]
		drops := []string{"filter", "dead_letter"}
		if j.Join == "inner" || j.Join == "anti" || slices.Contains(drops, j.Miss) || slices.Contains(drops, j.Waited) {
			v.bad(path+".pipeline", "use a pipeline whose joins keep all rows (join: left, miss: null or default), or look up in another pipeline",
				"%s of the pipeline %s drops rows by what the lookup has at that moment, which a window that reads the topic itself cannot follow", j.Name, p.Name)
			continue
		}
		for _, name := range addedBy(c, j) {
			if setting, ok := used[name]; ok {
				v.bad(path+"."+setting, "use columns that the records have themselves",
					"the column %s is added by %s of the pipeline %s, by what the lookup has at that moment, which a window that reads the topic itself cannot follow", name, j.Name, p.Name)
			}
		}
	}
}

// addedBy are the names of the columns that a join adds, as far as the configuration tells.
func addedBy(c *Config, j *Join) (names []string) {
	columns := j.Columns
	if n := slices.IndexFunc(c.Lookups, func(l Lookup) bool { return l.Name == j.Lookup }); n >= 0 && len(columns) == 0 {
		columns = c.Lookups[n].Columns
	}
	for _, name := range columns {
		names = append(names, j.Prefix+name)
	}
	for _, name := range []string{j.Version, j.Matched} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

var word = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)

// hide notes which columns a step makes such that different values may become the same, by the step's name.
func hide(s *Step, hidden map[string]string) {
	switch {
	case s.Mask != nil:
		for _, c := range s.Mask.Columns {
			hidden[c] = s.Name
		}
	case s.Hash != nil && s.Hash.Length < 32:
		for _, c := range s.Hash.Columns {
			hidden[c] = s.Name
		}
	case s.Rename != nil:
		for from, to := range s.Rename.Columns {
			if by, ok := hidden[from]; ok {
				hidden[to] = by
			}
		}
	case s.Derive != nil:
		made := ""
		for _, c := range word.FindAllString(s.Derive.Expression, -1) {
			made = max(made, hidden[c])
		}
		if delete(hidden, s.Derive.Column); made != "" {
			hidden[s.Derive.Column] = made
		}
	}
}
