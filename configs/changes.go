package configs

// Changes says that the records are changes of a database's rows. The rows get the columns _op (c created, u updated, d deleted, r read
// by a snapshot, t the table was truncated), _source_ts and _position, which sorts as the changes happened.
type Changes struct {
	// Form of the values: debezium (the envelope with before, after, op and source), or unwrapped (the row alone, as Debezium's
	// ExtractNewRecordState and compacted topics have it; a null value deletes, so decode.key is needed unless the rows have __deleted).
	Form string `yaml:"form" rule:"required;enum=debezium|unwrapped"`
	// Position says what orders changes of a key: source (default: the position in the database's log, where the records have one), or
	// offset (Kafka's), for a database whose positions begin anew, as after a restore.
	Position string `yaml:"position" rule:"enum=source|offset"`
	// TimeUnit is that of numbers in plain JSON which are a time: milliseconds, microseconds (default) or nanoseconds. Schemas, also
	// those within JSON records, say it themselves.
	TimeUnit string `yaml:"time_unit" rule:"enum=milliseconds|microseconds|nanoseconds"`
	// Decimals says what text is in plain JSON for a decimal column: precise (default: base64 of the unscaled value), or string (the
	// number). Numbers are read in either case.
	Decimals string `yaml:"decimals" rule:"enum=precise|string"`
}

// Current is a table with the rows as they are now, by their key: made of the pipeline's own table, which has all changes.
type Current struct {
	// Table is the name of the table, or namespace.table.
	Table string `yaml:"table" rule:"required"`
	// Key lists the columns that tell one row from another, in the database its primary key.
	Key []string `yaml:"key" rule:"required"`
	// DeletedFor is how long it is known that a row was deleted, and from which change: an earlier change that comes after all
	// cannot bring it back. At least as long as the topic keeps its records. Default 7d.
	DeletedFor Duration `yaml:"deleted_for" rule:"range=1m:36500d"`
}

// CurrentJob is the job that brings tables with the present rows up to date.
type CurrentJob struct {
	// Schedule of the job. Default @every 10s.
	Schedule string `yaml:"schedule"`
}

func defaultUnwrap(c *Changes) {
	if c != nil {
		def(&c.Position, "source")
		def(&c.TimeUnit, "microseconds")
		def(&c.Decimals, "precise")
	}
}

func defaultChanges(p *Pipeline) {
	defaultUnwrap(p.Decode.Changes)
	if c := p.Table.Current; c != nil {
		def(&c.DeletedFor, 7*24*60*minute)
	}
}

func (v *validator) changes(p *Pipeline, path string) {
	c := p.Decode.Changes
	if k := p.Table.Current; k != nil {
		at := path + ".table.current"
		if c == nil {
			v.bad(at, "set decode.changes", "the present rows can be told from changes only")
		}
		if k.Table != "" {
			v.tableName(at+".table", k.Table)
		}
		v.distinct(at+".key", k.Key, func(string, string) {})
	}
	v.unwraps(&p.Decode, path+".decode")
}

// unwraps checks what is decoded for changes.
func (v *validator) unwraps(d *Decode, path string) {
	if d.Changes == nil {
		return
	}
	f := &d.Value
	if f.Format == "json" && len(f.Columns) == 0 && f.Schema == "" {
		v.missing(path+".value", "declare the row's columns, or a schema file", "changes in plain JSON need the columns of the row")
	}
	if f.Unknown == "dead_letter" {
		v.bad(path+".value.unknown_fields", "leave it out", "changes have more fields than the row, so unknown_fields has no effect")
	}
}
