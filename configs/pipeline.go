package configs

// Pipeline moves topics into one table.
type Pipeline struct {
	// Name identifies the pipeline in the table's offsets, logs and metrics; it must not change later.
	Name string `yaml:"name" rule:"required"`
	// Source is what is read.
	Source Source `yaml:"source"`
	// Decode says how keys and values become columns.
	Decode Decode `yaml:"decode"`
	// Cleanse lists steps, applied in order.
	Cleanse []Step `yaml:"cleanse"`
	// Enrich joins rows with lookups, in order, after all steps. Left out: none.
	Enrich []Join `yaml:"enrich"`
	// Include adds the original key and headers as columns.
	Include Include `yaml:"include"`
	// Table is what is written. Left out: see sql.
	Table Table `yaml:"table"`
	// SQL writes to a table of a database, instead of table. Left out: to the lake.
	SQL *SQLSink `yaml:"sql"`
	// Files says how Parquet files are written.
	Files Files `yaml:"files"`
	// Commit says when.
	Commit Commit `yaml:"commit"`
	// DeadLetters is where records go that break a rule.
	DeadLetters DeadLetters `yaml:"dead_letters"`
	// Views are what the rows of the last minutes add up to, kept in memory for dashboards. Left out: none.
	Views []View `yaml:"views"`
	// Outlets send rows, besides the lake, to topics, webhooks and search indexes. Left out: none do.
	Outlets []Outlet `yaml:"routes" json:",omitempty"`
}

// Source is the topics of a pipeline.
type Source struct {
	// Topics are read by name. Left out: by pattern.
	Topics []string `yaml:"topics" rule:"split"`
	// Pattern is a regular expression for topic names, instead of topics; new topics that match are taken up. Left
	// out: by name.
	Pattern string `yaml:"pattern"`
	// Group is the consumer group. Default lakeloader-<pipeline>.
	Group string `yaml:"group"`
	// Start is where to begin when the table has no offsets yet: earliest (default), latest, or an RFC 3339 time.
	Start string `yaml:"start"`
	// OnReset says what happens when a topic was deleted and created again or its offsets fell out of retention:
	// fail (default: that topic stops with an explanation), earliest or latest.
	OnReset string `yaml:"on_reset" rule:"enum=fail|earliest|latest"`
	// Consume is batch (default) or poll (slower, plain confluent-kafka-go).
	Consume string `yaml:"consume" rule:"enum=batch|poll"`
}

// Decode is how records become columns.
type Decode struct {
	// Value decodes the value.
	Value Format `yaml:"value"`
	// Key decodes the key; left out: it is not decoded.
	Key *Format `yaml:"key"`
	// Changes says that records are changes of a database's rows. Left out: every record is a row.
	Changes *Changes `yaml:"changes"`
}

// Format is an encoding with its schema.
type Format struct {
	// Format is avro, protobuf or json_schema (Confluent wire format, schema from the registry), or json (plain).
	Format string `yaml:"format" rule:"required;enum=avro|protobuf|json_schema|json"`
	// Schema is a file for json: JSON Schema, or an Avro schema (.avsc). Left out for json: see columns.
	Schema string `yaml:"schema" rule:"file"`
	// Columns declares the columns of json without a schema file, name and type: long, decimal(12,2), list<string>,
	// struct<a: int, b: string> ...; a trailing "required" makes one so. With neither, the text of each value is one column, value.
	Columns []ColumnDef `yaml:"columns"`
	// Unknown says what happens to JSON fields without a column: ignore (default) or dead_letter.
	Unknown string `yaml:"unknown_fields" rule:"enum=ignore|dead_letter"`
	// Subject is the registry subject whose latest schema gives the columns at start. Default <topic>-value (for keys
	// <topic>-key); with several topics each has its own.
	Subject string `yaml:"subject"`
	// Prefix of the columns. Default "key_" for keys, "" for values.
	Prefix *string `yaml:"prefix"`
}

// ColumnDef declares a column.
type ColumnDef struct {
	// Name of the column.
	Name string `yaml:"name" rule:"required"`
	// Type of the column: boolean, int, long, float, double, decimal(P,S), date, time, timestamp, timestamptz, string, uuid,
	// fixed[N], binary, list<T>, map<K, V> or struct<name: T, ...>; "required" behind it makes it so.
	Type string `yaml:"type" rule:"required"`
	// Doc is a comment for the table; left out: none.
	Doc string `yaml:"doc"`
}

// Include adds original parts of records as columns.
type Include struct {
	// Key adds _kafka_key (binary).
	Key bool `yaml:"key"`
	// Headers adds _kafka_headers (list of name and binary value).
	Headers bool `yaml:"headers"`
}

// Table is the primary table of a pipeline.
type Table struct {
	// Name of the table, or namespace.name. Left out: with sql only.
	Name string `yaml:"name"`
	// PartitionBy lists Iceberg transforms: day(ts), hour(ts), month(ts), country (identity), bucket(16, id), truncate(4, sku).
	// Columns include _kafka_timestamp. Default: [day(_kafka_timestamp)]. An empty list: not partitioned.
	PartitionBy []string `yaml:"partition_by"`
	// SortBy sorts rows: column, or "column desc". Loaders sort within each row group, the job compact across whole files. Left
	// out: as they come.
	SortBy []string `yaml:"sort_by"`
	// ZOrder are two to eight columns. By their interleaved values, instead of by sort_by, the job compact sorts rows, so that
	// filters on any of them skip most row groups. Left out: by sort_by.
	ZOrder []string `yaml:"z_order"`
	// Properties are set on the table when it is created. Left out: lakeloader's own.
	Properties map[string]string `yaml:"properties"`
	// Evolve adds columns that a schema has gained. Default true; false: such records become dead letters.
	Evolve *bool `yaml:"evolve"`
	// Retention is how long rows are kept: the job retention drops time partitions (year, month, day or hour, or identity of a
	// date) that ended longer ago, also of tables that rows are routed to. Left out: for ever.
	Retention Duration `yaml:"retention" rule:"range=1h:36500d"`
	// Complete has the job complete say up to when all rows are in the table: see docs/complete.md. Left out: nothing is said.
	Complete *Complete `yaml:"complete"`
	// Route sends rows to other tables than this one, by the value of a column. They have the same columns, partitions,
	// sort order and properties. Left out: all rows go to this table.
	Route *Route `yaml:"route"`
	// Current has a second table kept with the rows as they are now, where the records are changes of them: see docs/change-data.md.
	// Left out: there is none.
	Current *Current `yaml:"current"`
}

// Route says which table a row goes to. The pipeline's own table keeps the offsets, and the rows that no route takes.
type Route struct {
	// By is the column whose value names the table, after all cleansing steps: text, an integer or a boolean, at the
	// top or within structs (address.country). _kafka_topic routes by topic.
	By string `yaml:"by" rule:"required"`
	// Tables gives a table for each value listed; several values may share one. A name without a namespace is in the
	// namespace of the pipeline's own table. Left out: by template.
	Tables map[string]string `yaml:"tables"`
	// Template makes a table's name from a value that tables does not list: events_${value}. In it the value is in lower case,
	// and what is no letter a-z, digit or _ becomes _. Left out: by tables only.
	Template string `yaml:"template"`
	// Allow lists the values that the template may be used for; * stands for any text, ? for one character. Needed with a template. Left out: none.
	Allow []string `yaml:"allow"`
	// Limit is how many tables the template may make, ever. Default 50 with a template.
	Limit int `yaml:"limit" rule:"range=1:200"`
	// Otherwise says what becomes of rows that go to none of these tables (the value is not listed, not allowed, null, beyond
	// the limit, or would share the table of another value): primary (default: the pipeline's own table) or dead_letter.
	Otherwise string `yaml:"otherwise" rule:"enum=primary|dead_letter"`
}

// Complete says when a time partition is complete, and who is told.
type Complete struct {
	// Lateness is how far behind the greatest time that was loaded rows may still come in a partition of a topic, or behind the
	// clock where all of it is loaded. It is 1h by default.
	Lateness Duration `yaml:"lateness" rule:"range=1s:3650d"`
	// Quiet is how long nothing must have changed in a partition that late rows have come into, until it is complete again.
	// It is 10m by default.
	Quiet Duration `yaml:"quiet" rule:"range=1s:7d"`
	// Topic gets a message for every partition that is complete, or no longer; it must exist. Left out: none.
	Topic string `yaml:"topic"`
	// Marker puts an object _SUCCESS into the folder of every partition that is complete. The time must be first in partition_by.
	// Default false.
	Marker bool `yaml:"marker"`
}

// Files is how Parquet files are written.
type Files struct {
	// TargetSize is the size at which a file is finished. Default 128MiB.
	TargetSize Bytes `yaml:"target_size" rule:"range=64KiB:8GiB"`
	// RowGroupSize is the encoded size of a row group. Default 32MiB, but at most the target size.
	RowGroupSize Bytes `yaml:"row_group_size" rule:"range=16KiB:2GiB"`
	// Compression is zstd (default), snappy, gzip, lz4 or none.
	Compression string `yaml:"compression" rule:"enum=zstd|snappy|gzip|lz4|none"`
	// Level of zstd. Default 1.
	Level int `yaml:"compression_level" rule:"range=1:9"`
	// Bloom lists columns with a bloom filter; left out: none.
	Bloom []string `yaml:"bloom_filters"`
	// MaxOpen is the number of time partitions of a table written at once before the oldest files are finished early. One
	// with few rows takes little memory beside them. Default 10000.
	MaxOpen int `yaml:"max_open" rule:"range=1:10000"`
}

// Commit is when a round ends: at whichever threshold comes first.
type Commit struct {
	// Interval between commits. Default 60s.
	Interval Duration `yaml:"interval" rule:"range=100ms:24h"`
	// Records in a round; 0 (default): no limit.
	Records int64 `yaml:"records" rule:"range=0:"`
	// Size of a round's files; default 1GiB.
	Size Bytes `yaml:"size" rule:"range=64KiB:"`
	// IdleInterval is how long a moved position without rows waits for a commit. Default 10m.
	IdleInterval Duration `yaml:"idle_interval" rule:"range=1s:7d"`
	// AlarmAfter is how long commits may make no progress, for whatever reason, before it is an alarm: an error in the log,
	// lakeloader_pipeline_alarm, not ready. Default twice the interval and 30s, so 150s.
	AlarmAfter Duration `yaml:"alarm_after" rule:"range=1s:7d"`
	// StallTimeout gives the partitions up when rows wait and no round ends. Default 10m, but at least twice the interval.
	StallTimeout Duration `yaml:"stall_timeout" rule:"range=1s:24h"`
}

// DeadLetters is the table of records that broke a rule.
type DeadLetters struct {
	// Table name; default <table>_dead_letters.
	Table string `yaml:"table"`
	// Retention is how long dead letters are kept after they failed, replayed or not: the job retention purges older ones. Left
	// out: for ever.
	Retention Duration `yaml:"retention" rule:"range=1h:36500d"`
	// Topic gets every dead letter too, at least once, before the round with it is committed; it must exist. Left out: none.
	Topic string `yaml:"topic"`
	// MaxShare of the records in the window may become dead letters; with more of them, and at least 100 records, the pipeline
	// stops. Left out: any share.
	MaxShare Share `yaml:"max_share" rule:"range=0.000001:1"`
	// MaxCount of dead letters in the window; with more of them the pipeline stops. Left out: any number.
	MaxCount int64 `yaml:"max_count" rule:"range=1:"`
	// Window that max_share and max_count look back over, with the open round whole. Default 10m.
	Window Duration `yaml:"window" rule:"range=1s:7d"`
}
