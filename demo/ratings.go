package demo

import (
	"encoding/binary"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/hamba/avro/v2"
)

// RatingsSchema is the Avro schema of Ratings.
const RatingsSchema = `{"type":"record","name":"ratings","namespace":"ksql","fields":[
 {"name":"rating_id","type":"long"},{"name":"user_id","type":"int"},{"name":"stars","type":"int"},{"name":"route_id","type":"int"},
 {"name":"rating_time","type":"long"},{"name":"channel","type":"string"},{"name":"message","type":"string"}]}`

var (
	channels = []string{"web", "iOS", "ios", "iOS-test", "android"}
	messages = []string{"worst. flight. ever. #neveragain", "Surprisingly good, maybe you are getting your mojo back at long last!",
		"Exceeded all my expectations. Thank you !", "meh", "(expletive deleted)", "is this as good as it gets? really ?",
		"airport refurb looks great, will fly outta here more!", "why is it so difficult to keep the bathrooms clean ?",
		"thank you for the most friendly, helpful experience today at your new lounge", "more peanuts please", "your team here rocks!"}
)

// Topics of the system.
const (
	ratingsTopic   = "ratings"
	customersTopic = "asgard.demo.CUSTOMERS"
)

// CustomersKeySchema and CustomersSchema are what a Debezium connector for MySQL registers for the table CUSTOMERS.
const (
	CustomersKeySchema = `{"type":"record","name":"Key","namespace":"asgard.demo.CUSTOMERS","fields":[{"name":"id","type":"int"}]}`
	CustomersSchema    = `{"type":"record","name":"Envelope","namespace":"asgard.demo.CUSTOMERS","fields":[
 {"name":"before","type":["null",{"type":"record","name":"Value","fields":[{"name":"id","type":"int"},
  {"name":"first_name","type":["null","string"],"default":null},{"name":"last_name","type":["null","string"],"default":null},
  {"name":"email","type":["null","string"],"default":null},{"name":"gender","type":["null","string"],"default":null},
  {"name":"club_status","type":["null","string"],"default":null},{"name":"comments","type":["null","string"],"default":null},
  {"name":"create_ts","type":{"type":"string","connect.version":1,"connect.name":"io.debezium.time.ZonedTimestamp"}},
  {"name":"update_ts","type":{"type":"string","connect.version":1,"connect.name":"io.debezium.time.ZonedTimestamp"}}],
  "connect.name":"asgard.demo.CUSTOMERS.Value"}],"default":null},
 {"name":"after","type":["null","Value"],"default":null},
 {"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium.connector.mysql","fields":[
  {"name":"version","type":"string"},{"name":"connector","type":"string"},{"name":"name","type":"string"},{"name":"ts_ms","type":"long"},
  {"name":"snapshot","type":["null",{"type":"string","connect.name":"io.debezium.data.Enum"}],"default":null},{"name":"db","type":"string"},
  {"name":"table","type":["null","string"],"default":null},{"name":"server_id","type":"long"},{"name":"gtid","type":["null","string"],"default":null},
  {"name":"file","type":"string"},{"name":"pos","type":"long"},{"name":"row","type":"int"},{"name":"thread","type":["null","long"],"default":null},
  {"name":"query","type":["null","string"],"default":null}],"connect.name":"io.debezium.connector.mysql.Source"}},
 {"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"],"default":null},
 {"name":"messagetopic","type":["null","string"],"default":null},{"name":"messagesource","type":["null","string"],"default":null}],
 "connect.name":"asgard.demo.CUSTOMERS.Envelope"}`
)

var (
	clubs      = []string{"bronze", "silver", "gold", "platinum"}
	firstNames = []string{"Rica", "Ruthie", "Mariejeanne", "Hashim", "Hansiain", "Robinet", "Fay", "Patti", "Clair", "Josiah", "Agnola", "Modestia"}
	lastNames  = []string{"Blaisdell", "Brockherst", "Cocci", "Rumke", "Coda", "Leheude", "Huc", "Rosten", "Vardy", "Spada", "Keats", "Coltart"}
)

const (
	customers = 20 // ids from 1
	// changesEvery ratings a customer changes in the database.
	changesEvery = 50
	// binlog is the binary log that the changes come from.
	binlog = "binlog.000001"
)

// customer is a row of the database.
type customer struct {
	fields map[string]any
	gone   bool
}

// Ratings is the stream of flight ratings, and the change events of the customers that they are by: first a snapshot of the table, then
// now and then a change. Avro in the registry's wire format.
type Ratings struct {
	r        random
	schemaID int32
	n        int64
	at       time.Time

	key, value     avro.Schema
	keyID, valueID int32
	people         []customer
	pos            int64    // in the binary log
	due            []Record // changes before the next rating
}

// NewRatings starts at a time; a rating comes every 12 milliseconds. id tells the id of the schema of a subject.
func NewRatings(seed uint64, at time.Time, id func(subject string) int32) (*Ratings, error) {
	key, err := avro.Parse(CustomersKeySchema)
	if err != nil {
		return nil, fmt.Errorf("the schema of the demo's keys of customers: %w", err)
	}
	value, err := avro.Parse(CustomersSchema)
	if err != nil {
		return nil, fmt.Errorf("the schema of the demo's changes of customers: %w", err)
	}
	g := &Ratings{r: newRandom(seed), at: at, schemaID: id(ratingsTopic + "-value"), keyID: id(customersTopic + "-key"), valueID: id(customersTopic + "-value"),
		key: key, value: value, people: make([]customer, customers)}
	for i := range g.people {
		g.create(i)
		if err := g.event(i, "r", nil); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// create makes a customer with an id of i+1.
func (g *Ratings) create(i int) {
	first, last := pick(g.r, firstNames), pick(g.r, lastNames)
	now := g.at.UTC().Format("2006-01-02T15:04:05Z")
	g.people[i] = customer{fields: map[string]any{"id": i + 1, "first_name": first, "last_name": last, "email": fmt.Sprintf("%s%d@example.org", first, i+1),
		"gender": pick(g.r, []string{"Female", "Male"}), "club_status": pick(g.r, clubs), "comments": "since " + now[:4], "create_ts": now, "update_ts": now}}
}

// change changes a customer in the database: mostly the club, sometimes the whole row goes, or comes back.
func (g *Ratings) change() error {
	i := g.r.IntN(customers)
	p := &g.people[i]
	before := p.fields
	switch {
	case p.gone:
		g.create(i)
		return g.event(i, "c", nil)
	case g.r.IntN(10) == 0:
		p.gone, p.fields = true, nil
		return g.event(i, "d", before)
	}
	p.fields = maps.Clone(before)
	p.fields["club_status"], p.fields["update_ts"] = pick(g.r, clubs), g.at.UTC().Format("2006-01-02T15:04:05Z")
	return g.event(i, "u", before)
}

// event makes the records that the connector sends for a change: the envelope, and after a deletion a tombstone.
func (g *Ratings) event(i int, op string, before map[string]any) error {
	g.pos += 97
	row := func(m map[string]any) any {
		if m == nil {
			return nil
		}
		out := map[string]any{}
		for k, v := range m {
			out[k] = v
			if k != "id" && k != "create_ts" && k != "update_ts" {
				out[k] = map[string]any{"string": v}
			}
		}
		return map[string]any{"asgard.demo.CUSTOMERS.Value": out}
	}
	ms, snapshot := g.at.UnixMilli(), "false"
	if op == "r" {
		snapshot = "true"
	}
	envelope := map[string]any{"before": row(before), "after": row(g.people[i].fields), "op": op, "ts_ms": map[string]any{"long": ms},
		"messagetopic": map[string]any{"string": customersTopic}, "messagesource": map[string]any{"string": "Debezium CDC from MySQL on asgard"},
		"source": map[string]any{"version": "3.0.0.Final", "connector": "mysql", "name": "asgard", "ts_ms": ms, "snapshot": map[string]any{"string": snapshot}, "db": "demo",
			"table": map[string]any{"string": "CUSTOMERS"}, "server_id": int64(42), "gtid": nil, "file": binlog, "pos": g.pos, "row": 0, "thread": nil, "query": nil}}
	key, err := wire(g.key, g.keyID, map[string]any{"id": i + 1})
	if err != nil {
		return fmt.Errorf("the key of the demo's customer %d: %w", i+1, err)
	}
	value, err := wire(g.value, g.valueID, envelope)
	if err != nil {
		return fmt.Errorf("the change %q of the demo's customer %d: %w", op, i+1, err)
	}
	change := &Change{Op: op[0], Row: g.people[i].fields}
	if op == "d" {
		change.Row = before
	}
	g.due = append(g.due, Record{Topic: customersTopic, Key: key, Value: value, Change: change})
	if op == "d" {
		g.due = append(g.due, Record{Topic: customersTopic, Key: key})
	}
	return nil
}

// wire is a value in the registry's wire format.
func wire(s avro.Schema, id int32, v any) ([]byte, error) {
	b, err := avro.Marshal(s, v)
	if err != nil {
		return nil, fmt.Errorf("it does not fit its schema: %w", err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), b...), nil
}

// Topics implements Generator.
func (g *Ratings) Topics() []Topic {
	return []Topic{{Name: ratingsTopic}, {Name: customersTopic, Table: true}}
}

// Next implements Generator: ratings are keyed by their id as text.
func (g *Ratings) Next() (Record, error) {
	if len(g.due) > 0 {
		r := g.due[0]
		g.due = g.due[1:]
		return r, nil
	}
	g.n++
	if g.n%changesEvery == 0 {
		if err := g.change(); err != nil {
			return Record{}, err
		}
	}
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(g.schemaID))
	b = binary.AppendVarint(b, g.n)
	b = binary.AppendVarint(b, int64(g.r.IntN(22)-1)) // -1: no user
	b = binary.AppendVarint(b, int64(1+g.r.IntN(5)))
	b = binary.AppendVarint(b, int64(1+g.r.IntN(9999)))
	b = binary.AppendVarint(b, g.at.UnixMilli())
	for _, s := range [...]string{pick(g.r, channels), pick(g.r, messages)} {
		b = append(binary.AppendVarint(b, int64(len(s))), s...)
	}
	g.at = g.at.Add(12 * time.Millisecond)
	return Record{Topic: ratingsTopic, Key: strconv.AppendInt(nil, g.n, 10), Value: b}, nil
}
