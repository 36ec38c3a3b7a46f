package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver of PostgreSQL
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Change is what happens to a row of the system's database, where its messages come from.
type Change struct {
	// Op is as in Debezium's envelope: r (the row is there before a connector comes), c, u or d.
	Op byte
	// Row has the values by column: of a delete the key's at least.
	Row map[string]any
}

// DatabaseTable is the table of a system's database whose changes a connector brings to a topic.
type DatabaseTable struct {
	Topic   string   // where its changes go
	Name    string   // as SQL has it
	Columns []string // the first one is the key
	scheme  string   // of the database's URL
	create  []string // statements that make it
}

var tables = map[string]*DatabaseTable{
	"ratings": {
		Topic: customersTopic, Name: "demo.CUSTOMERS", scheme: "mysql",
		Columns: []string{"id", "first_name", "last_name", "email", "gender", "club_status", "comments", "create_ts", "update_ts"},
		create: []string{"CREATE DATABASE IF NOT EXISTS demo", `CREATE TABLE demo.CUSTOMERS (id INT PRIMARY KEY, first_name VARCHAR(50), last_name VARCHAR(50), email VARCHAR(50),
			gender VARCHAR(50), club_status VARCHAR(20), comments VARCHAR(90), create_ts TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
			update_ts TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)`},
	},
	"retail": {
		Topic: ordersTopic, Name: "public.orders", scheme: "postgres",
		Columns: []string{"order_id", "customer_id", "session_id", "sku", "quantity", "unit_price", "status", "created_at", "updated_at"},
		create: []string{`CREATE TABLE public.orders (order_id bigint PRIMARY KEY, customer_id bigint NOT NULL, session_id text NOT NULL, sku text NOT NULL, quantity int NOT NULL,
			unit_price numeric(10,2) NOT NULL, status text NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)`},
	},
}

// Database writes the changes of a system to a real database. It is for one goroutine.
type Database struct {
	DatabaseTable
	db *sql.DB
	// told counts the messages that a connector makes of what was written.
	told int64
}

// connectTimeout bounds one attempt to connect.
const connectTimeout = 10 * time.Second

// OpenDatabase opens the database of a system. Whoever gets one must close it.
func OpenDatabase(system, text string) (*Database, error) {
	t := tables[system]
	if t == nil {
		return nil, fmt.Errorf("the system %s has no database; ratings and retail do", system)
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != t.scheme { // the parser's message has the URL, which has a password
		return nil, fmt.Errorf("the database of the system %s must be given as %s://user:password@host:port/database", system, t.scheme)
	}
	driver, dsn := "pgx", text
	if t.scheme == "mysql" {
		cfg := mysql.NewConfig()
		cfg.User = u.User.Username()
		cfg.Passwd, _ = u.User.Password()
		cfg.Net, cfg.Addr, cfg.Timeout = "tcp", u.Host, connectTimeout
		if u.Port() == "" {
			cfg.Addr += ":3306"
		}
		// Rows that an update leaves as they were are not counted: a connector does not tell of them.
		cfg.ClientFoundRows, cfg.InterpolateParams = false, true
		cfg.Params = map[string]string{"sql_mode": "'TRADITIONAL'", "time_zone": "'+00:00'"}
		driver, dsn = "mysql", cfg.FormatDSN()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, fmt.Errorf("the URL of the database of the system %s cannot be used", system)
	}
	return &Database{DatabaseTable: *t, db: db}, nil
}

// DB is the connection, for queries.
func (d *Database) DB() *sql.DB { return d.db }

// Told is how many messages a connector makes of what was written so far, if it is there from the first row on.
func (d *Database) Told() int64 { return d.told }

// Create makes the table, which must not be there yet.
func (d *Database) Create(ctx context.Context) error {
	for _, statement := range d.create {
		if _, err := d.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("making the table %s: %w; the demo needs one of its own, which is not there yet", d.Name, err)
		}
	}
	return nil
}

// Apply writes a change.
func (d *Database) Apply(ctx context.Context, c *Change) error {
	statement, columns := d.statement(c.Op)
	args := make([]any, len(columns))
	for i, name := range columns {
		args[i] = c.Row[name]
		if text, ok := args[i].(string); ok && strings.HasSuffix(name, "_ts") {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return fmt.Errorf("the column %s: %w", name, err)
			}
			args[i] = at
		}
	}
	res, err := d.db.ExecContext(ctx, statement, args...)
	var changed int64
	if err == nil {
		changed, err = res.RowsAffected()
	}
	if err != nil {
		return fmt.Errorf("writing a row of %s with the %s %v: %w", d.Name, d.Columns[0], c.Row[d.Columns[0]], err)
	}
	if c.Op == 'd' {
		changed *= 2 // the change, and a tombstone
	}
	d.told += changed
	return nil
}

// statement for an operation, and the columns that it takes.
func (d *Database) statement(op byte) (statement string, columns []string) {
	key, rest := d.Columns[0], d.Columns[1:]
	mark := func(i int) string {
		if d.scheme == "postgres" {
			return fmt.Sprintf("$%d", i)
		}
		return "?"
	}
	switch op {
	case 'd':
		return "DELETE FROM " + d.Name + " WHERE " + key + " = " + mark(1), d.Columns[:1]
	case 'u':
		var set []string
		for i, c := range rest {
			set = append(set, c+" = "+mark(i+1))
		}
		return "UPDATE " + d.Name + " SET " + strings.Join(set, ", ") + " WHERE " + key + " = " + mark(len(rest)+1), append(rest[:len(rest):len(rest)], key)
	}
	var marks []string
	for i := range d.Columns {
		marks = append(marks, mark(i+1))
	}
	return "INSERT INTO " + d.Name + " (" + strings.Join(d.Columns, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")", d.Columns
}

// Close ends the connection.
func (d *Database) Close() error { return d.db.Close() }

// connectorPatience is how long a connector may be silent before it is taken for gone.
const connectorPatience = 2 * time.Minute

// Prepare makes the table of the demo's database with its first rows and waits until a connector has brought them to the topic, so that it
// tells every change from then on. Without a database there is nothing to do. say is told what is waited for.
func (d *Demo) Prepare(ctx context.Context, say func(string)) error {
	if d.database == nil {
		return nil
	}
	if err := d.database.Create(ctx); err != nil {
		return err
	}
	for {
		r, err := d.gen.Next()
		if err != nil {
			return err
		}
		if r.Change == nil && d.database.told > 0 {
			d.held = append(d.held, r)
			break
		}
		if err := d.store(ctx, r); err != nil {
			return err
		}
	}
	say(fmt.Sprintf("the table %s has its first %d rows; waiting for a connector that brings them to the topic %s", d.database.Name, d.database.told, d.database.Topic))
	n, err := d.told(ctx, connectorPatience)
	if err == nil && n != d.database.told {
		err = fmt.Errorf("the topic %s has %d messages of the first %d rows: the demo needs a connector of its own", d.database.Topic, n, d.database.told)
	}
	return err
}

// store writes a change to the database. What is none is kept for the producer; tombstones are the connector's.
func (d *Demo) store(ctx context.Context, r Record) error {
	switch {
	case r.Topic != d.database.Topic:
		d.held = append(d.held, r)
		return nil
	case r.Change == nil:
		return nil
	}
	return d.database.Apply(ctx, r.Change)
}

// told waits until the connector has told everything that was written, and returns how many messages there are: more, if it was killed
// meanwhile. It fails when nothing new comes for as long as the patience.
func (d *Demo) told(ctx context.Context, patience time.Duration) (n int64, err error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	changed := time.Now()
	for last := int64(0); ; last = n {
		if n, err = d.end(ctx, d.database.Topic); err != nil || n >= d.database.told {
			return n, err
		}
		if n > last {
			changed = time.Now()
		}
		if time.Since(changed) > patience {
			return n, fmt.Errorf("a connector has brought %d of %d changes of %s to the topic %s, and none for %v: look at its log",
				n, d.database.told, d.database.Name, d.database.Topic, patience)
		}
		select {
		case <-ctx.Done():
			return n, fmt.Errorf("stopped while a connector had brought %d of %d changes of %s to the topic %s: %w", n, d.database.told, d.database.Name, d.database.Topic, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// end is how many records a topic has had, over all partitions.
func (d *Demo) end(ctx context.Context, topic string) (n int64, err error) {
	req := kmsg.NewPtrListOffsetsRequest()
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range Partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = int32(p), -1
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	for _, shard := range d.client.RequestSharded(ctx, req) {
		err = errors.Join(err, shard.Err)
		res, ok := shard.Resp.(*kmsg.ListOffsetsResponse)
		if !ok || shard.Err != nil {
			continue
		}
		for _, t := range res.Topics {
			for _, p := range t.Partitions {
				err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
				n += p.Offset
			}
		}
	}
	if err != nil {
		return 0, fmt.Errorf("asking where the topic %s ends: %w", topic, err)
	}
	return n, nil
}
