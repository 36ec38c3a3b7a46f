package configs

// Aggregate is a table that says something about each day of another one.
type Aggregate struct {
	// Name identifies the aggregate; it is the name of its job too: lakeloader job run NAME. It must not change later.
	Name string `yaml:"name" rule:"required"`
	// Source is the table that is summed up, or namespace.table.
	Source string `yaml:"source" rule:"required"`
	// Time is the column of the source whose day counts: a timestamptz, timestamp or date, at the top or within structs.
	// Rows where it is null belong to no day.
	Time string `yaml:"time" rule:"required"`
	// TimeZone of the days, for a timestamptz, e.g. Europe/Berlin. Default UTC.
	TimeZone string `yaml:"time_zone"`
	// Table is what is written, or namespace.table. Its first column is day (a date), and it is partitioned by it.
	Table string `yaml:"table" rule:"required"`
	// Schedule of the job. Default @hourly.
	Schedule string `yaml:"schedule"`
	// Engine that calculates: embedded (default), the DuckDB in the process, or the name of one in engines.
	Engine string `yaml:"engine"`
	// Memory for the embedded engine; beyond it, it spills to the temporary folder. Default 1GiB.
	Memory Bytes `yaml:"memory" rule:"range=64MiB:"`
	// MaxFetch is how much the embedded engine may fetch from S3 in one run, which ends with an error before it begins to if
	// it needed more. Default 10GiB.
	MaxFetch Bytes `yaml:"max_fetch" rule:"range=1MiB:"`
	// SQL is one SELECT over the relation source for one day, for which {{day}} stands as a condition: SELECT country, count(*) AS
	// clicks FROM source WHERE {{day}} GROUP BY country. Left out: measures.
	SQL string `yaml:"sql"`
	// Keys are the columns of the result by which a row is found within its day. Left out: none, or group_by.
	Keys []string `yaml:"keys"`
	// Where is a condition in SQL on the rows that count, with measures. Left out: all.
	Where string `yaml:"where"`
	// GroupBy lists columns of the source, with measures. Left out: one row for each day.
	GroupBy []string `yaml:"group_by"`
	// Measures are the other columns, instead of sql. Left out: sql.
	Measures []Measure `yaml:"measures"`
	// Rollups are tables for weeks and months, made from the days, with measures. Left out: none.
	Rollups Rollups `yaml:"rollups"`
	// Publish sends what changed in the table to a topic of kafka, after the days were replaced. Left out: nothing is sent.
	Publish *Publish `yaml:"publish"`
	// OnVanished says what becomes of days of the table when their rows are gone from the source: remove (default) or keep, for
	// a source with a retention whose aggregates are to stay.
	OnVanished string `yaml:"on_vanished" rule:"enum=remove|keep"`
	// Files says how Parquet files are written.
	Files Files `yaml:"files"`
}

// Measure is a column of an aggregate.
type Measure struct {
	// Name of the column.
	Name string `yaml:"name" rule:"required"`
	// Measure is count(*), count(x), sum(x), min(x), max(x), avg(x), percentile(x, 0.5, 0.95), approx_distinct(x), first(x) or last(x).
	Measure string `yaml:"measure" rule:"required"`
}

// Rollups are tables made from the days of an aggregate.
type Rollups struct {
	// Week is the table of weeks, which begin on Monday; left out: none.
	Week string `yaml:"week"`
	// Month is the table of months; left out: none.
	Month string `yaml:"month"`
}

// Embedded is the engine in the process.
const Embedded = "embedded"

func defaultAggregate(a *Aggregate) {
	def(&a.TimeZone, "UTC")
	def(&a.Schedule, "@hourly")
	def(&a.Engine, Embedded)
	def(&a.Memory, gib)
	def(&a.MaxFetch, 10*gib)
	def(&a.OnVanished, "remove")
	defaultFiles(&a.Files)
	if p := a.Publish; p != nil && len(p.Key) == 0 && (a.SQL == "" || len(a.Keys) > 0) {
		p.Key = append(append([]string{"day"}, a.Keys...), a.GroupBy...)
	}
}

// Publish sends what changed in an aggregate's table to a topic. Every message is about one row: at least once, in the order of its key.
type Publish struct {
	// Topic that is sent to; it must exist, and had better be compacted.
	Topic string `yaml:"topic" rule:"required"`
	// Key are the columns of the message's key: one as plain text, several as a JSON object. Without day among them a key stands for its
	// newest day. Left out: day, and keys or group_by.
	Key []string `yaml:"key"`
	// Value is a column whose plain text is the message's value. Left out: a JSON object of all columns.
	Value string `yaml:"value"`
}
