package configs

// Lookup is a table that rows of pipelines are joined with by key. The process keeps it in memory, and up to date.
type Lookup struct {
	// Name identifies the lookup in pipelines, logs and metrics.
	Name string `yaml:"name" rule:"required"`
	// Key are the columns by which rows are found. Of several rows with the same key, the newest one counts.
	Key []string `yaml:"key" rule:"required;short"`
	// Columns that may be joined to rows. Left out: all but the key, none of which may be nested then.
	Columns []string `yaml:"columns"`
	// File, one of three places where the rows come from: an object that is read whole, and again when it has changed.
	File *LookupFile `yaml:"file"`
	// Topic of kafka as a table: of each record key the latest value. It is followed all the time.
	Topic *LookupTopic `yaml:"topic"`
	// Table of the lake, read whole, and again when it has another snapshot.
	Table *LookupTable `yaml:"table"`
	// Cleanse lists steps that are applied to the rows before they are kept: rows that a step filters are not in the lookup.
	Cleanse []Step `yaml:"cleanse"`
	// Versions keeps several rows for each key, so that rows are joined with what was true at their time. Left out: the newest.
	Versions *Versions `yaml:"versions"`
	// Memory that the rows may take, a part of memory.limit; beyond it they go to the temporary folder. Default 64MiB.
	Memory Bytes `yaml:"memory" rule:"range=1MiB:"`
}

// LookupFile is rows in one object.
type LookupFile struct {
	// Path of a local file, or s3://bucket/key with the settings of warehouse.s3. Replace a local file by renaming another one.
	Path string `yaml:"path" rule:"required"`
	// Format is csv (first line: names of the columns), jsonl (an object in each line) or parquet. Default: by the path's end.
	Format string `yaml:"format" rule:"enum=csv|jsonl|parquet"`
	// Columns declares the columns of csv and jsonl, name and type. Left out for csv: all are strings; for parquet: those of the file.
	Columns []ColumnDef `yaml:"columns"`
	// Separator between the values of csv. Default ",".
	Separator string `yaml:"separator"`
	// Reload is how often it is asked whether the file has changed. Default 1m.
	Reload Duration `yaml:"reload" rule:"range=100ms:7d"`
}

// LookupTopic is a topic whose records have the key of a row as their key, and the row as their value, or null when it is deleted.
type LookupTopic struct {
	// Name of the topic.
	Name string `yaml:"name" rule:"required"`
	// Decode says how keys and values become columns. Without a key, a record's row is known by the bytes of its key. With changes, the
	// rows are those of the database; _op, _source_ts and _position are kept where they are named only.
	Decode Decode `yaml:"decode"`
}

// LookupTable is a table of the lake.
type LookupTable struct {
	// Name of the table, or namespace.name.
	Name string `yaml:"name" rule:"required"`
	// Refresh is how often it is asked whether the table has another snapshot. Default 1m.
	Refresh Duration `yaml:"refresh" rule:"range=100ms:7d"`
}

// Versions says which versions of a row are kept.
type Versions struct {
	// By is a timestamptz, timestamp or date of the lookup, from which on a version is true, until the next one is. Of a topic it may be
	// _kafka_timestamp, the default, which is the time of the record; with changes _source_ts is the time in the database.
	By string `yaml:"by" rule:"required"`
	// Keep is how long a version is kept beyond the newest time seen in By after the next one has replaced it. Left out: for ever.
	Keep Duration `yaml:"keep" rule:"range=1m:36500d"`
}

// Join adds columns of a lookup to rows, or chooses rows by what is in it.
type Join struct {
	// Name shows in counters and dead letters. Default: the lookup with its position, e.g. "enrich[0] customers".
	Name string `yaml:"name"`
	// Lookup is the name of one in lookups.
	Lookup string `yaml:"lookup" rule:"required"`
	// On says which column of the row is equal to which column of the lookup's key: user_id: id. All columns of the key are
	// needed. Left out: those of the same names.
	On map[string]string `yaml:"on"`
	// Join is left (default: rows without a match stay, see miss), inner (they are filtered) or anti (rows with a match are
	// filtered, and no column is added).
	Join string `yaml:"join" rule:"enum=left|inner|anti"`
	// Columns of the lookup that are added. Left out: all that it keeps but its key.
	Columns []string `yaml:"columns"`
	// Prefix of the names of the added columns. Left out: none.
	Prefix string `yaml:"prefix"`
	// At is a time of the row, when it is joined with what was true then; the lookup has versions. Left out: the newest version.
	At string `yaml:"at"`
	// Miss says what becomes of a row without a match: null (default with left: its added columns are null), default (they are
	// what defaults says), dead_letter, filter (default with inner), or wait.
	Miss string `yaml:"miss" rule:"enum=null|default|dead_letter|filter|wait"`
	// Defaults gives values of added columns, by their names in the lookup, for rows without a match. Those not named are null.
	Defaults map[string]string `yaml:"defaults"`
	// Wait is how long, from the time of its record on, a row waits for the lookup to have its key, with miss: wait. All rows of the
	// pipeline behind it wait too. Default 30s.
	Wait Duration `yaml:"wait" rule:"range=100ms:5m"`
	// Waited says what becomes of a row that has waited in vain: null (default with left), default, dead_letter or filter (default
	// with inner).
	Waited string `yaml:"waited" rule:"enum=null|default|dead_letter|filter"`
	// Version is the name of a column that is added (a string), with the version of the lookup that the row saw: the offsets of the
	// topic, the snapshot of the table, or what the file was. lakeloader reenrich needs it. Left out: none.
	Version string `yaml:"version"`
	// Matched is the name of a column that is added (a boolean): whether there was a match. Left out: none.
	Matched string `yaml:"matched"`
}

// lookupMemory is what the rows of all lookups may take that pipelines use.
func (c *Config) lookupMemory() (sum Bytes) {
	used := map[string]bool{}
	for _, p := range c.Pipelines {
		for _, j := range p.Enrich {
			used[j.Lookup] = true
		}
	}
	for _, l := range c.Lookups {
		if used[l.Name] {
			sum += l.Memory
		}
	}
	return sum
}

// RecordTime is the name of a topic's column of versions when it is the time of the record.
const RecordTime = "_kafka_timestamp"

func defaultLookup(l *Lookup) {
	if f := l.File; f != nil {
		for _, format := range []string{"csv", "jsonl", "parquet"} {
			if len(f.Path) > len(format) && f.Path[len(f.Path)-len(format)-1:] == "."+format {
				def(&f.Format, format)
			}
		}
		if f.Format == "csv" {
			def(&f.Separator, ",")
		}
		def(&f.Reload, minute)
	}
	if t := l.Topic; t != nil {
		topics := []string{t.Name}
		defaultFormat(&t.Decode.Value, topics, "-value", "")
		if t.Decode.Key != nil {
			defaultFormat(t.Decode.Key, topics, "-key", "key_")
		}
		defaultUnwrap(t.Decode.Changes)
		if l.Versions != nil {
			def(&l.Versions.By, RecordTime)
		}
	}
	if t := l.Table; t != nil {
		def(&t.Refresh, minute)
	}
	for i := range l.Cleanse {
		defaultStep(&l.Cleanse[i], i)
	}
	def(&l.Memory, 64*mib)
}

func defaultJoin(j *Join, index int) {
	if j.Lookup != "" {
		def(&j.Name, item("enrich", index)+" "+j.Lookup)
	}
	def(&j.Join, "left")
	nothing := map[string]string{"left": "null", "inner": "filter"}[j.Join]
	def(&j.Miss, nothing)
	if j.Miss == "wait" {
		def(&j.Wait, 30*second)
		def(&j.Waited, nothing)
	}
}
