//go:build stack

package e2e

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// versions makes records of the versions of one schema, in turns.
type versions struct {
	topic           string
	old, new, other uint32 // schema ids
	made            int
	began           time.Time
}

const (
	oldVersion = `{"type":"record","name":"Reading","fields":[{"name":"id","type":"int"},{"name":"place","type":"string"}]}`
	// newVersion widens id, and gains a field.
	newVersion = `{"type":"record","name":"Reading","fields":[{"name":"id","type":"long"},{"name":"place","type":"string"},
{"name":"note","type":["null","string"],"default":null}]}`
	// otherVersion has text where the others have a number.
	otherVersion = `{"type":"record","name":"Reading","fields":[{"name":"id","type":"string"},{"name":"place","type":"string"}]}`
)

func (v *versions) next(schema uint32) stacktest.Message {
	i := v.made
	v.made++
	m := stacktest.Message{Record: &kgo.Record{Topic: v.topic, Partition: int32(i % 2), Timestamp: v.began.Add(time.Duration(i) * time.Millisecond)}}
	b := binary.BigEndian.AppendUint32([]byte{0}, schema)
	place := fmt.Sprintf("place %d", i)
	switch schema {
	case v.old:
		m.Value = stacktest.AvroText(binary.AppendVarint(b, int64(i)), place)
		m.Row = stacktest.Row{"id": i, "place": place, "note": nil}
	case v.new:
		id, note := int64(i)+1<<40, any(nil)
		m.Value = stacktest.AvroText(binary.AppendVarint(b, id), place)
		if i%3 == 0 {
			m.Value = append(m.Value, 0)
		} else {
			note = fmt.Sprintf("note %d", i)
			m.Value = stacktest.AvroText(append(m.Value, 2), note.(string))
		}
		m.Row = stacktest.Row{"id": id, "place": place, "note": note}
	default:
		m.Value, m.Dead = stacktest.AvroText(stacktest.AvroText(b, "text"), place), "evolve"
	}
	return m
}

// some makes n records of the versions, in turns.
func (v *versions) some(n int, ids ...uint32) []stacktest.Message {
	ms := make([]stacktest.Message, n)
	for i := range ms {
		ms[i] = v.next(ids[i%len(ids)])
	}
	return ms
}

// frozen is what becomes of messages where the table keeps its columns: only the old version fits.
func frozen(old uint32, ms []stacktest.Message) []stacktest.Message {
	out := make([]stacktest.Message, len(ms))
	for i, m := range ms {
		out[i] = stacktest.Message{Record: m.Record, Dead: "evolve"}
		if binary.BigEndian.Uint32(m.Value[1:]) == old {
			out[i] = stacktest.Message{Record: m.Record, Row: stacktest.Row{"id": m.Row["id"], "place": m.Row["place"]}}
		}
	}
	return out
}

// evolved loads records of several versions of a schema, which appear while the loader runs, into two tables: open, which
// follows them, and frozen, which keeps its columns. It returns what each must hold.
func evolved(t *testing.T, l lake) (open, closed *stacktest.Truth) {
	t.Helper()
	topic := stacktest.Topic(t, 2)
	v := &versions{topic: topic, began: time.Now().Truncate(time.Millisecond)}
	v.old = stacktest.Register(t, topic+"-value", "AVRO", oldVersion)
	config := configure(t, l, fmt.Sprintf(`
- name: frozen
  source: {topics: [%[1]s]}
  decode: {value: {format: avro}}
  table: {name: frozen, evolve: false, partition_by: []}
  commit: {interval: 1s}
- name: open
  source: {topics: [%[1]s]}
  decode: {value: {format: avro}}
  table: {name: open, partition_by: []}
  commit: {interval: 1s}
`, topic))
	open, closed = stacktest.NewTruth(), stacktest.NewTruth()
	kafka, d := stacktest.Producer(t), stacktest.StartDaemon(t, config)
	step := func(ms []stacktest.Message) {
		t.Helper()
		sent(t, kafka, open, ms...)
		closed.Note(frozen(v.old, ms)...)
		loaded(t, "open", open.Reached(), d)
		loaded(t, "frozen", closed.Reached(), d)
	}
	step(v.some(100, v.old))
	v.new = stacktest.Register(t, topic+"-value", "AVRO", newVersion)
	v.other = stacktest.Register(t, topic+"-value", "AVRO", otherVersion) // the newest version of the subject from now on
	step(v.some(300, v.old, v.new, v.other))
	step(v.some(300, v.new, v.other, v.old))
	p, err := ask(d)
	if err != nil {
		t.Fatal(err)
	}
	stopped(t, d)
	// one more for the files that were open when the columns changed
	most, files := p.Pipelines[1].Rounds+1, len(stacktest.PyIceberg(t, l.named("open"), stacktest.Read{}).Files)
	if p.Pipelines[1].Name != "open" || int64(files) > most {
		t.Errorf("%d files after %d rounds of %s", files, p.Pipelines[1].Rounds, p.Pipelines[1].Name)
	}

	d = stacktest.StartDaemon(t, config) // what fits is decided by the tables, not by the newest version
	step(v.some(90, v.old, v.new, v.other))
	d.Kill()
	d = stacktest.StartDaemon(t, config)
	step(v.some(90, v.old))
	stopped(t, d)
	verified(t, config)
	return open, closed
}

// TestSchemaEvolvesWhileRunning: a new version of a schema adds a column and widens another one; one that cannot be merged
// makes dead letters; records of all versions come in turns and do not cut files into pieces.
func TestSchemaEvolvesWhileRunning(t *testing.T) {
	t.Parallel()
	l := restLake(t)
	open, closed := evolved(t, l)
	for table, w := range map[string]*stacktest.Truth{"open": open, "frozen": closed} {
		r := stacktest.PyIceberg(t, l.named(table), stacktest.Read{Sums: []string{"id"}, Rows: true})
		w.Holds(t, r)
		if diff := r.Differences(stacktest.DuckDB(t, l.named(table), stacktest.Read{Sums: []string{"id"}, Rows: true})); diff != nil {
			t.Errorf("DuckDB on %s: %v", table, diff)
		}
		w.Buried(t, table, stacktest.PyIceberg(t, l.named(table+"_dead_letters"), stacktest.Read{Rows: true}))
	}
}
