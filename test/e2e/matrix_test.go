//go:build stack

package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// column is one of a record's fields, in the words of a schema language, with values in its encoding.
type column struct {
	name, schema string
	values       []value
}

// value is what a producer sends, and what a reader must print (see test/readers/lake.py).
type value struct {
	raw  string // "" in JSON and Protobuf: the field is not there
	want any
}

// language is a schema language with columns of all its types.
type language struct {
	name, registered string // in the configuration, and in the registry
	columns          []column
	schema           func([]column) string
	encode           func(fields []string, cs []column) []byte // behind the wire format's header
}

var languages = []language{
	{"avro", "AVRO", avroColumns, avroRecord, func(fields []string, _ []column) []byte { return []byte(strings.Join(fields, "")) }},
	{"protobuf", "PROTOBUF", protobufColumns, protobufFile, func(fields []string, _ []column) []byte { return []byte("\x00" + strings.Join(fields, "")) }},
	{"json_schema", "JSON", jsonColumns, jsonSchema, jsonObject},
}

// whole is a floating-point number without decimals, as Python prints it.
func whole(n int) json.Number { return json.Number(fmt.Sprintf("%d.0", n)) }

// records makes records in which every value of every column is there.
func (l language) records(t *testing.T, topic string, schema uint32) []stacktest.Message {
	t.Helper()
	n := 0
	for _, c := range l.columns {
		n = max(n, len(c.values))
	}
	began := time.Now().Truncate(time.Millisecond)
	ms := make([]stacktest.Message, 4*n)
	for i := range ms {
		r, fields := stacktest.Row{}, make([]string, len(l.columns))
		for j, c := range l.columns {
			v := c.values[(i+j*(i/n))%len(c.values)] // each round pairs them anew
			fields[j], r[c.name] = v.raw, v.want
		}
		b := binary.BigEndian.AppendUint32([]byte{0}, schema)
		ms[i] = stacktest.Message{Row: r, Record: &kgo.Record{Topic: topic, Partition: int32(i % 2), Timestamp: began, Value: append(b, l.encode(fields, l.columns)...)}}
	}
	return ms
}

// matrix loads records with all types of every language; each has a table of its own, named like it. drop are columns that
// the tables must not have.
func matrix(t *testing.T, l lake, drop ...string) map[string]*stacktest.Truth {
	t.Helper()
	var pipelines strings.Builder
	truths, kafka := map[string]*stacktest.Truth{}, stacktest.Producer(t)
	for _, lang := range languages {
		topic := stacktest.Topic(t, 2)
		steps, gone := "[]", []string{}
		for _, c := range lang.columns {
			for _, d := range drop {
				if c.name == d {
					gone = append(gone, d)
				}
			}
		}
		if len(gone) > 0 {
			steps = fmt.Sprintf("[{drop: [%s]}]", strings.Join(gone, ", "))
		}
		ms := lang.records(t, topic, stacktest.Register(t, topic+"-value", lang.registered, lang.schema(lang.columns)))
		for _, m := range ms {
			for _, d := range gone {
				delete(m.Row, d)
			}
		}
		truths[lang.name] = stacktest.NewTruth()
		sent(t, kafka, truths[lang.name], ms...)
		fmt.Fprintf(&pipelines, "- name: %[1]s\n  source: {topics: [%[2]s]}\n  decode: {value: {format: %[1]s}}\n  cleanse: %[3]s\n  table: {name: %[1]s}\n  commit: {interval: 1s}\n",
			lang.name, topic, steps)
	}
	config := configure(t, l, pipelines.String())
	d := stacktest.StartDaemon(t, config)
	for name, w := range truths {
		loaded(t, name, w.Reached(), d)
	}
	stopped(t, d)
	verified(t, config)
	return truths
}

// TestEveryType: values of all types of all schema languages are read back as they were produced.
func TestEveryType(t *testing.T) {
	t.Parallel()
	l := restLake(t)
	for name, w := range matrix(t, l) {
		t.Run(name, func(t *testing.T) {
			w.Holds(t, stacktest.PyIceberg(t, l.named(name), stacktest.Read{Rows: true}))
			w.Holds(t, stacktest.DuckDB(t, l.named(name), stacktest.Read{Rows: true}))
		})
	}
}
