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

// Duration is a time.Duration, written 60s, 10m, 1h30m.
type Duration time.Duration

// Bytes is a size, written 64MiB, 1GB, 4096.
type Bytes int64

// Share is a part of a whole in millionths, written 0.05 or 5%.
type Share int64

// Dollars is an amount of US$ in millionths, written 0.005.
type Dollars int64
