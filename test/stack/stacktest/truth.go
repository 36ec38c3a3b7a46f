//go:build stack

package stacktest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Row is what a reader prints for a row of a table (see test/readers/lake.py).
type Row = map[string]any

// Place is a partition of a topic.
type Place struct {
	Topic     string
	Partition int32
}

func (p Place) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Partition) }

// Coordinate names a record.
type Coordinate struct {
	Place
	Offset int64
	Epoch  int32
}

func (c Coordinate) String() string {
	return fmt.Sprintf("%v offset %d epoch %d", c.Place, c.Offset, c.Epoch)
}

// Message is a record to produce, and what must become of it.
type Message struct {
	*kgo.Record
	Row  Row    // the columns of its row; nil: it has none
	Dead string // the stage that refuses it; "": none does
}

// Truth is what was produced and committed, and so what a pipeline's tables must hold, once each. It may be used by
// several goroutines; its fields are for when they have ended.
type Truth struct {
	Rows     map[Coordinate]Row
	Dead     map[Coordinate]Row // the columns of the dead-letter table that are known beforehand
	Filtered int
	Epoch    int32 // of what is noted from now on

	mu   sync.Mutex
	ends map[Place]int64 // behind the last record of each partition
}

// NewTruth is that of nothing.
func NewTruth() *Truth {
	return &Truth{Rows: map[Coordinate]Row{}, Dead: map[Coordinate]Row{}, ends: map[Place]int64{}}
}

// Note takes up records that Kafka has acknowledged and committed.
func (w *Truth) Note(ms ...Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range ms {
		p := Place{m.Topic, m.Partition}
		at := Coordinate{p, m.Offset, w.Epoch}
		w.ends[p] = max(w.ends[p], m.Offset+1)
		own := Row{"_kafka_topic": m.Topic, "_kafka_partition": m.Partition, "_kafka_offset": m.Offset,
			"_kafka_timestamp": UTC(m.Timestamp), "_kafka_epoch": w.Epoch}
		switch {
		case m.Row != nil:
			maps.Copy(own, m.Row)
			w.Rows[at] = own
		case m.Dead != "":
			own["key"], own["value"], own["stage"] = Base64(m.Key), Base64(m.Value), m.Dead
			own["headers"] = Headers(m.Headers)
			w.Dead[at] = own
		default:
			w.Filtered++
		}
	}
}

// Again begins a new epoch of a topic: its offsets begin at 0.
func (w *Truth) Again(topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Epoch++
	for p := range w.ends {
		if p.Topic == topic {
			delete(w.ends, p)
		}
	}
}

// Reached is where the partitions end now.
func (w *Truth) Reached() map[Place]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.ends)
}

// Size is how many records were noted.
func (w *Truth) Size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.Rows) + len(w.Dead) + w.Filtered
}

// Base64 is bytes as readers print them.
func Base64(b []byte) any {
	if b == nil {
		return nil
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Headers is a record's headers as readers print them.
func Headers(hs []kgo.RecordHeader) []Row {
	out := []Row{}
	for _, h := range hs {
		out = append(out, Row{"name": h.Key, "value": Base64(h.Value)})
	}
	return out
}

// UTC is a timestamp with zone as readers print it.
func UTC(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// Mistakes is what is wrong with a table, in order of coordinates.
type Mistakes struct {
	Missing, Repeated, Unwanted, Different []Coordinate
	Example                                string // of a row that is different
}

// OK says that there are none.
func (m Mistakes) OK() bool {
	return len(m.Missing)+len(m.Repeated)+len(m.Unwanted)+len(m.Different) == 0
}

func (m Mistakes) String() string {
	var out []string
	for _, k := range []struct {
		kind string
		at   []Coordinate
	}{{"missing", m.Missing}, {"there more than once", m.Repeated}, {"not wanted", m.Unwanted}, {"different", m.Different}} {
		if len(k.at) > 0 {
			out = append(out, fmt.Sprintf("%d rows are %s, first %v", len(k.at), k.kind, k.at[:min(5, len(k.at))]))
		}
	}
	if m.Example != "" {
		out = append(out, "for example "+m.Example)
	}
	return strings.Join(out, "\n")
}

// Holds compares the table with the truth: every row once, with every value, and nothing else.
func (w *Truth) Holds(t testing.TB, r Report) {
	t.Helper()
	if m := w.CompareRows(t, r); !m.OK() {
		t.Errorf("the table, of %d rows: %v", len(w.Rows), m)
	}
}

// Buried compares the dead-letter table with the truth.
func (w *Truth) Buried(t testing.TB, pipeline string, r Report) {
	t.Helper()
	if m := w.CompareDead(t, pipeline, r); !m.OK() {
		t.Errorf("the dead-letter table, of %d rows: %v", len(w.Dead), m)
	}
}

// CompareRows finds what is wrong with the rows of the table.
func (w *Truth) CompareRows(t testing.TB, r Report) Mistakes {
	t.Helper()
	return compare(t, w.Rows, r, true)
}

// CompareDead finds what is wrong with the dead letters. Of their columns, the reason and the time are not known
// beforehand; there must be a reason.
func (w *Truth) CompareDead(t testing.TB, pipeline string, r Report) Mistakes {
	t.Helper()
	m := compare(t, w.Dead, r, false)
	for _, x := range r.Data {
		if x["error"] == "" || x["pipeline"] != pipeline {
			m.Different = append(m.Different, coordinateOf(t, x))
			m.Example = fmt.Sprintf("a dead letter without a reason, or of another pipeline: %v", x)
		}
	}
	return m
}

// compare finds rows that are missing, there twice, not wanted, or different; whole: no column may be there beyond those wanted.
func compare(t testing.TB, want map[Coordinate]Row, r Report, whole bool) (m Mistakes) {
	t.Helper()
	got := map[Coordinate][]Row{}
	for _, x := range r.Data {
		at := coordinateOf(t, x)
		got[at] = append(got[at], x)
	}
	for at, xs := range got {
		w, ok := want[at]
		switch {
		case !ok:
			m.Unwanted = append(m.Unwanted, at)
		case len(xs) > 1:
			m.Repeated = append(m.Repeated, at)
		default:
			if d := differences(t, w, xs[0], whole); d != "" {
				m.Different = append(m.Different, at)
				m.Example = fmt.Sprintf("%v: %s", at, d)
			}
		}
	}
	for at := range want {
		if got[at] == nil {
			m.Missing = append(m.Missing, at)
		}
	}
	for _, at := range [][]Coordinate{m.Missing, m.Repeated, m.Unwanted, m.Different} {
		slices.SortFunc(at, func(a, b Coordinate) int {
			return strings.Compare(fmt.Sprintf("%v %d %012d", a.Place, a.Epoch, a.Offset), fmt.Sprintf("%v %d %012d", b.Place, b.Epoch, b.Offset))
		})
	}
	return m
}

func coordinateOf(t testing.TB, x Row) Coordinate {
	t.Helper()
	topic, ok := x["_kafka_topic"].(string)
	number := func(column string) int64 {
		n, is := x[column].(json.Number)
		v, err := n.Int64()
		ok = ok && is && err == nil
		return v
	}
	at := Coordinate{Place{topic, int32(number("_kafka_partition"))}, number("_kafka_offset"), int32(number("_kafka_epoch"))}
	if !ok {
		t.Fatalf("a row without Kafka's coordinates: %v", x)
	}
	return at
}

func differences(t testing.TB, want, got Row, whole bool) string {
	t.Helper()
	var diffs []string
	for c, v := range plain(t, want) {
		x, ok := got[c]
		if !ok {
			diffs = append(diffs, fmt.Sprintf("column %s is missing", c))
		} else if !reflect.DeepEqual(v, x) {
			diffs = append(diffs, fmt.Sprintf("%s is %v and not %v", c, x, v))
		}
	}
	for c := range got {
		if _, ok := want[c]; whole && !ok {
			diffs = append(diffs, fmt.Sprintf("column %s is not wanted", c))
		}
	}
	slices.Sort(diffs)
	return strings.Join(diffs, "; ")
}

// plain brings values into the form in which a report's are: as read from JSON, numbers as json.Number.
func plain(t testing.TB, r Row) Row {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out Row
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
