// Package configs is the configuration of lakeloader: its types, defaults, loading and validation with
// file, line and column. It holds no behaviour; every other package takes the part it needs from here.
//
// Load and Parse find every problem at once. The struct tag "rule" declares what a setting must be (see
// configs/internal/setting); docs/configuration.md and lakeloader.schema.json are generated from the types, their
// comments, rules and defaults by go run ./configs/gen.
package configs

import "time"

//go:generate go run ./gen ..

// Config is a whole configuration file.
type Config struct {
	// Kafka is the cluster that pipelines read from.
	Kafka Kafka `yaml:"kafka"`
	// Registry is the schema registry; left out: none.
	Registry Registry `yaml:"registry"`
	// Catalog is where Iceberg tables are registered.
	Catalog Catalog `yaml:"catalog"`
	// Warehouse is where table files are stored.
	Warehouse Warehouse `yaml:"warehouse"`
	// HTTP is the endpoint for health, metrics and status.
	HTTP HTTP `yaml:"http"`
	// Log says how much is logged, and how.
	Log Log `yaml:"log"`
	// Memory bounds the process.
	Memory Memory `yaml:"memory"`
	// Shutdown is the time to drain and commit after SIGTERM before the process gives up with exit code 4. Default 30s.
	Shutdown Duration `yaml:"shutdown_timeout" rule:"range=1s:1h"`
	// Jobs keep the tables in shape. A schedule has five fields as in cron (minute hour day month weekday), or is @hourly,
	// @daily, @weekly, @monthly, @every 30m, or off.
	Jobs Jobs `yaml:"jobs"`
	// Engines answer SQL over the lake beside the embedded one: for aggregates, and to compact tables.
	Engines []Engine `yaml:"engines"`
	// Lookups are tables that pipelines join their rows with (enrich). Left out: none.
	Lookups []Lookup `yaml:"lookups"`
	// Pipelines are independent of each other: one consumer group and one primary table each.
	Pipelines []Pipeline `yaml:"pipelines" rule:"required"`
	// Aggregates are tables that say something about each day of a table. Each is a job of its own. They are calculated by
	// lakeloader jobs and lakeloader job run, never in loaders. Left out: none.
	Aggregates []Aggregate `yaml:"aggregates"`
	// Windows are totals over the last days, months or years for each key, in real time. Left out: none.
	Windows []Window `yaml:"windows"`
}

// Kafka is how to reach a cluster.
type Kafka struct {
	// Brokers are host:port pairs to start from.
	Brokers []string `yaml:"brokers" rule:"required;split"`
	// Security protocol: plaintext (default), ssl, sasl_plaintext or sasl_ssl.
	Security string `yaml:"security" rule:"enum=plaintext|ssl|sasl_plaintext|sasl_ssl"`
	// SASL is the login, with security sasl_ssl or sasl_plaintext.
	SASL SASL `yaml:"sasl"`
	// TLS names PEM files.
	TLS TLS `yaml:"tls"`
	// Properties are passed on to librdkafka; those that the exactly-once protocol rests on
	// are refused. Left out: none.
	Properties map[string]string `yaml:"properties"`
}

// SASL is a login to a Kafka cluster.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (with username and password), OAUTHBEARER (with oauth) or
	// AWS_MSK_IAM (with the usual AWS chain, or aws); left out: no login, or what kafka.properties say.
	Mechanism string `yaml:"mechanism" rule:"enum=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512|OAUTHBEARER|AWS_MSK_IAM"`
	// Username to log in with; left out: none.
	Username string `yaml:"username"`
	// Password to log in with; write ${env:NAME} or ${file:PATH} rather than the secret itself. Left out: none.
	Password string `yaml:"password" rule:"secret"`
	// OAuth is where the tokens of OAUTHBEARER come from: token_url, or token_file.
	OAuth *OAuth `yaml:"oauth"`
	// AWS says for AWS_MSK_IAM who logs in; left out: the identity of the usual AWS chain, in its region.
	AWS *Identity `yaml:"aws"`
}

// OAuth is a source of bearer tokens: an OAuth2 server that gives them for client credentials, or a file.
type OAuth struct {
	// TokenURL is the token endpoint of an OAuth2 server, asked with the grant client_credentials; left out: token_file.
	TokenURL string `yaml:"token_url" rule:"url"`
	// ClientID names the client to the OAuth2 server; left out: none, with token_file.
	ClientID string `yaml:"client_id"`
	// ClientSecret goes with client_id. Left out: none, with token_file.
	ClientSecret string `yaml:"client_secret" rule:"secret"`
	// Scope is what is asked for, several with spaces between; left out: none.
	Scope string `yaml:"scope"`
	// Parameters are added to what the OAuth2 server is asked, e.g. audience. Left out: none.
	Parameters map[string]string `yaml:"parameters"`
	// CA is a PEM file of certificate authorities that the OAuth2 server is trusted by; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
	// TokenFile holds a token, a JWT whose exp says how long it is good; it is read again before that. Left out: token_url.
	TokenFile string `yaml:"token_file" rule:"file"`
	// Extensions of the login, e.g. logicalCluster and identityPoolId of Confluent Cloud. Left out: none.
	Extensions map[string]string `yaml:"extensions"`
}

// Identity is who one is to AWS, on the base of the usual AWS chain.
type Identity struct {
	// Region of the service; left out: that of the usual AWS chain.
	Region string `yaml:"region"`
	// RoleARN is a role to assume; left out: none.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is what the role's owner asks for; left out: none.
	ExternalID string `yaml:"external_id"`
	// SessionName names the session of the role in AWS's logs. Default lakeloader.
	SessionName string `yaml:"session_name"`
}

// TLS names PEM files.
type TLS struct {
	// CA is a PEM file of certificate authorities to trust; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
	// Cert is the client's certificate, for mutual TLS; left out: none.
	Cert string `yaml:"cert_file" rule:"file"`
	// Key is the client's private key; left out: none.
	Key string `yaml:"key_file" rule:"file"`
	// SkipVerify accepts any server certificate, of any host: whoever sits between reads along. Default false.
	SkipVerify bool `yaml:"skip_verify"`
}

// Registry is a schema registry with the Confluent REST API.
type Registry struct {
	// URL, e.g. http://registry:8081 (for Apicurio with its path: http://registry:8080/apis/ccompat/v7); left out: there is none.
	URL string `yaml:"url" rule:"url"`
	// Username for basic authentication; left out: none.
	Username string `yaml:"username"`
	// Password for basic authentication; left out: none.
	Password string `yaml:"password" rule:"secret"`
	// Token is a bearer token, instead of username and password; left out: none.
	Token string `yaml:"token" rule:"secret"`
	// TLS names PEM files, for https URLs.
	TLS TLS `yaml:"tls"`
	// Timeout of one request. Default 10s.
	Timeout Duration `yaml:"timeout" rule:"range=100ms:10m"`
	// UnknownIDAfter is how long a schema id that the registry does not know is asked for again before its
	// records become dead letters. Default 30s.
	UnknownIDAfter Duration `yaml:"unknown_id_after" rule:"range=0s:24h"`
}

// Catalog is an Iceberg catalog.
type Catalog struct {
	// Type is sqlite (default), postgres, rest or glue.
	Type string `yaml:"type" rule:"enum=sqlite|postgres|rest|glue"`
	// Name of the catalog in the SQL catalogs' tables. Default lakeloader.
	Name string `yaml:"name"`
	// URI: the file of sqlite (default <warehouse>/catalog.db when that is local), a postgres:// URL, or the REST catalog's URL.
	URI string `yaml:"uri" rule:"secret;url"`
	// Warehouse is the name or location that a REST catalog is asked for; left out: the warehouse's location.
	Warehouse string `yaml:"warehouse"`
	// Credential is client_id:client_secret for OAuth2 of a REST catalog; left out: none.
	Credential string `yaml:"credential" rule:"secret"`
	// Token is a bearer token for a REST catalog; left out: none.
	Token string `yaml:"token" rule:"secret"`
	// TLS names PEM files, for the https URL of a REST catalog and of its OAuth2 server.
	TLS TLS `yaml:"tls"`
	// Namespace is the database of the tables. Default lake.
	Namespace string `yaml:"namespace"`
	// Properties are passed on to the catalog client. Left out: none.
	Properties map[string]string `yaml:"properties"`
}

// Warehouse is where data files go.
type Warehouse struct {
	// Location is a local folder (default ./lake) or s3://bucket/prefix.
	Location string `yaml:"location"`
	// S3 settings, for s3:// locations. Credentials left out come from the usual AWS chain.
	S3 S3 `yaml:"s3"`
}

// S3 is how to reach an S3 service.
type S3 struct {
	// Endpoint is the URL of an S3 compatible service; left out: AWS.
	Endpoint string `yaml:"endpoint" rule:"url"`
	// Region, default us-east-1.
	Region string `yaml:"region"`
	// AccessKey is the access key id; left out: from the usual AWS chain.
	AccessKey string `yaml:"access_key"`
	// SecretKey is the secret access key; left out: from the usual AWS chain.
	SecretKey string `yaml:"secret_key" rule:"secret"`
	// SessionToken goes with temporary keys; left out: none.
	SessionToken string `yaml:"session_token" rule:"secret"`
	// RoleARN is a role to assume with the keys, or with what the usual AWS chain gives; left out: none.
	RoleARN string `yaml:"role_arn"`
	// ExternalID is what the role's owner asks for; left out: none.
	ExternalID string `yaml:"external_id"`
	// SessionName names the session of the role in AWS's logs. Default lakeloader, when there is a role.
	SessionName string `yaml:"session_name"`
	// STSEndpoint is the URL of a service that gives role credentials, beside a service other than AWS; left out: AWS's in the region.
	STSEndpoint string `yaml:"sts_endpoint" rule:"url"`
	// Encryption of what is written: none (default: as the bucket is set up), sse-s3 or sse-kms.
	Encryption string `yaml:"encryption" rule:"enum=none|sse-s3|sse-kms"`
	// KMSKey is the id or ARN of the key for sse-kms; left out: AWS's own for S3.
	KMSKey string `yaml:"kms_key"`
	// CA is a PEM file of certificate authorities to trust; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
	// PathStyle puts the bucket into the path. Default: true with an endpoint, else false.
	PathStyle *bool `yaml:"path_style"`
	// PartSize is the size of the parts of an upload. Default 8MiB.
	PartSize Bytes `yaml:"part_size" rule:"range=5MiB:5GiB"`
}

// HTTP is the daemon's endpoint.
type HTTP struct {
	// Address to listen on, e.g. :8080; default 127.0.0.1:8080; "off": none. One that other machines reach needs a token.
	Address string `yaml:"address"`
	// Token that clients must send (Authorization: Bearer), except to /healthz and /readyz, which tell no more than probes
	// need. Left out: none.
	Token string `yaml:"token" rule:"secret"`
	// AllowUnauthenticated lets other machines in without a token. Default false.
	AllowUnauthenticated bool `yaml:"allow_unauthenticated"`
	// TLS makes the endpoint speak https.
	TLS ServerTLS `yaml:"tls"`
}

// ServerTLS is the certificate of an endpoint of ours.
type ServerTLS struct {
	// Cert is a PEM file of the certificate, and those between it and the authority; left out: plain http.
	Cert string `yaml:"cert_file" rule:"file"`
	// Key is a PEM file of its private key; left out: plain http.
	Key string `yaml:"key_file" rule:"file"`
	// CA is a PEM file by which lakeloader status trusts the certificate; left out: the system's.
	CA string `yaml:"ca_file" rule:"file"`
}

// Log is how the daemon logs.
type Log struct {
	// Level is debug, info (default), warn or error.
	Level string `yaml:"level" rule:"enum=debug|info|warn|error"`
	// Format is text, json, or auto (default: text on a terminal, else json).
	Format string `yaml:"format" rule:"enum=text|json|auto"`
}

// Memory bounds the process.
type Memory struct {
	// Limit of the process's resident memory, for all pipelines together; default: the container's limit, else 512MiB per
	// pipeline and what lookups and windows may take. At the limit files are finished early, then nothing is fetched until there is room.
	Limit Bytes `yaml:"limit"`
}

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

// Duration is a time.Duration, written 60s, 10m, 1h30m.
type Duration time.Duration

// Bytes is a size, written 64MiB, 1GB, 4096.
type Bytes int64

// Share is a part of a whole in millionths, written 0.05 or 5%.
type Share int64

// Dollars is an amount of US$ in millionths, written 0.005.
type Dollars int64
