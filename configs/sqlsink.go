package configs

import (
	"net/url"
	"slices"
	"strings"
)

// SQLSink makes a table of a database the pipeline's primary, instead of a lake table. Rows, dead letters and offsets move in one
// transaction of that database: see docs/sql.md.
type SQLSink struct {
	// URL of the database: postgres://user:password@host:5432/database, mysql://user:password@host:3306/database (MariaDB too),
	// or sqlite:FILE. Write ${env:NAME} or ${file:PATH} rather than a password itself.
	URL string `yaml:"url" rule:"required;secret;url"`
	// Table gets the rows; it is made if it is not there. For PostgreSQL also schema.table.
	Table string `yaml:"table" rule:"required"`
	// Spool is a local folder where the rows of the open round wait, as files, for the transaction. Default: the system's
	// folder for temporary files.
	Spool string `yaml:"spool"`
}

// The kinds of databases.
const (
	Postgres = "postgres"
	MySQL    = "mysql"
	SQLite   = "sqlite"
)

// Kind says which database the URL is of; empty: none that is known.
func (s *SQLSink) Kind() string {
	scheme, _, _ := strings.Cut(s.URL, ":")
	switch strings.ToLower(scheme) {
	case "postgres", "postgresql":
		return Postgres
	case "mysql", "mariadb":
		return MySQL
	case "sqlite", "sqlite3":
		return SQLite
	}
	return ""
}

// Lake is the configuration without the pipelines whose primary is no lake table: jobs have nothing to do there.
func (c *Config) Lake() *Config {
	lake := *c
	lake.Pipelines = nil
	for _, p := range c.Pipelines {
		if p.SQL == nil {
			lake.Pipelines = append(lake.Pipelines, p)
		}
	}
	return &lake
}

// NeedsLake reports whether anything of the configuration is in a lake. Where all pipelines write to databases nothing need be, and neither catalog nor
// warehouse is opened.
func (c *Config) NeedsLake() bool {
	return len(c.Lake().Pipelines) > 0 || len(c.Aggregates) > 0 || len(c.Windows) > 0 ||
		slices.ContainsFunc(c.Lookups, func(l Lookup) bool { return l.Table != nil })
}

// Rounds of a database are small: a transaction should take seconds.
const (
	sqlInterval = 5 * second
	sqlRecords  = 100_000
)

func defaultSQL(p *Pipeline) {
	if p.SQL == nil {
		return
	}
	if p.SQL.Table != "" {
		def(&p.DeadLetters.Table, p.SQL.Table+deadLettersSuffix)
	}
	if p.Table.PartitionBy == nil {
		p.Table.PartitionBy = []string{}
	}
	def(&p.Commit.Interval, sqlInterval)
	def(&p.Commit.Records, sqlRecords)
}

// primary is the name of the table that gets the rows, as the configuration has it.
func (p *Pipeline) primary() string {
	if p.SQL != nil {
		return p.SQL.Table
	}
	return p.Table.Name
}

// qualified tells the tables of several databases, and those of the lake, from one another. It goes into messages, so it has no
// password.
func (s *SQLSink) qualified(table string) string {
	if table == "" {
		return ""
	}
	if u, err := url.Parse(s.URL); err == nil && u.Host != "" {
		return table + " of " + s.Kind() + "://" + u.Host + u.Path
	}
	if file, is := s.file(); is {
		return table + " of " + file
	}
	return table + " of " + s.Kind()
}

// file is the database of SQLite.
func (s *SQLSink) file() (string, bool) {
	_, file, _ := strings.Cut(s.URL, ":")
	return strings.TrimPrefix(file, "//"), s.Kind() == SQLite && file != ""
}
