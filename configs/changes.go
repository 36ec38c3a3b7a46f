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
