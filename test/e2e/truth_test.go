//go:build stack

package e2e

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

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// row is what a reader prints for a row of a table (see test/readers/lake.py).
type row = map[string]any

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("%s-%d", p.topic, p.partition) }

// coordinate names a record.
type coordinate struct {
	place
	offset int64
	epoch  int32
}

func (c coordinate) String() string {
	return fmt.Sprintf("%v offset %d epoch %d", c.place, c.offset, c.epoch)
}

// message is a record to produce, and what must become of it.
type message struct {
	*kgo.Record
	row  row    // the columns of its row; nil: it has none
	dead string // the stage that refuses it; "": none does
}

// truth is what was produced and committed, and so what a pipeline's tables must hold, once each. It may be used by
// several goroutines.
type truth struct {
	mu       sync.Mutex
	rows     map[coordinate]row
	dead     map[coordinate]row // the columns of the dead-letter table that are known beforehand
	filtered int
	ends     map[place]int64 // behind the last record of each partition
	epoch    int32           // of what is noted from now on
}

func newTruth() *truth {
	return &truth{rows: map[coordinate]row{}, dead: map[coordinate]row{}, ends: map[place]int64{}}
}

// note takes up records that Kafka has acknowledged and committed.
func (w *truth) note(ms ...message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range ms {
		p := place{m.Topic, m.Partition}
		at := coordinate{p, m.Offset, w.epoch}
		w.ends[p] = max(w.ends[p], m.Offset+1)
		own := row{"_kafka_topic": m.Topic, "_kafka_partition": m.Partition, "_kafka_offset": m.Offset,
			"_kafka_timestamp": utc(m.Timestamp), "_kafka_epoch": w.epoch}
		switch {
		case m.row != nil:
			maps.Copy(own, m.row)
			w.rows[at] = own
		case m.dead != "":
			own["key"], own["value"], own["stage"] = base64Of(m.Key), base64Of(m.Value), m.dead
			own["headers"] = headers(m.Headers)
			w.dead[at] = own
		default:
			w.filtered++
		}
	}
}

// base64Of is bytes as readers print them.
func base64Of(b []byte) any {
	if b == nil {
		return nil
	}
	return base64.StdEncoding.EncodeToString(b)
}

func headers(hs []kgo.RecordHeader) []row {
	out := []row{}
	for _, h := range hs {
		out = append(out, row{"name": h.Key, "value": base64Of(h.Value)})
	}
	return out
}

// utc is a timestamp with zone as readers print it.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// reached is where the partitions end now.
func (w *truth) reached() map[place]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.ends)
}

// size is how many records were noted.
func (w *truth) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.rows) + len(w.dead) + w.filtered
}

// holds compares the table with the truth: every row once, with every value, and nothing else.
func (w *truth) holds(t *testing.T, r stacktest.Report) {
	t.Helper()
	compare(t, "the table", w.rows, r, true)
}

// buried compares the dead-letter table with the truth. Of its columns, the reason and the time are not known beforehand;
// there must be a reason.
func (w *truth) buried(t *testing.T, pipeline string, r stacktest.Report) {
	t.Helper()
	compare(t, "the dead-letter table", w.dead, r, false)
	for _, x := range r.Data {
		if x["error"] == "" || x["pipeline"] != pipeline {
			t.Errorf("a dead letter without a reason, or of another pipeline: %v", x)
			return
		}
	}
}

// compare finds rows that are missing, there twice, not wanted, or different; whole: no column may be there beyond those wanted.
func compare(t *testing.T, what string, want map[coordinate]row, r stacktest.Report, whole bool) {
	t.Helper()
	got := map[coordinate][]row{}
	for _, x := range r.Data {
		at := coordinateOf(t, x)
		got[at] = append(got[at], x)
	}
	wrong := map[string][]coordinate{}
	example := ""
	for at, xs := range got {
		w, ok := want[at]
		switch {
		case !ok:
			wrong["not wanted"] = append(wrong["not wanted"], at)
		case len(xs) > 1:
			wrong["there more than once"] = append(wrong["there more than once"], at)
		default:
			if d := differences(t, w, xs[0], whole); d != "" {
				wrong["different"] = append(wrong["different"], at)
				example = fmt.Sprintf("%v: %s", at, d)
			}
		}
	}
	for at := range want {
		if got[at] == nil {
			wrong["missing"] = append(wrong["missing"], at)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(wrong)) {
		at := wrong[kind]
		slices.SortFunc(at, func(a, b coordinate) int {
			return strings.Compare(fmt.Sprintf("%v %d %012d", a.place, a.epoch, a.offset), fmt.Sprintf("%v %d %012d", b.place, b.epoch, b.offset))
		})
		t.Errorf("%s: %d of %d rows are %s, first %v", what, len(at), len(want), kind, at[:min(5, len(at))])
	}
	if example != "" {
		t.Errorf("%s: for example %s", what, example)
	}
}

func coordinateOf(t *testing.T, x row) coordinate {
	t.Helper()
	topic, ok := x["_kafka_topic"].(string)
	number := func(column string) int64 {
		n, is := x[column].(json.Number)
		v, err := n.Int64()
		ok = ok && is && err == nil
		return v
	}
	at := coordinate{place{topic, int32(number("_kafka_partition"))}, number("_kafka_offset"), int32(number("_kafka_epoch"))}
	if !ok {
		t.Fatalf("a row without Kafka's coordinates: %v", x)
	}
	return at
}

func differences(t *testing.T, want, got row, whole bool) string {
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
func plain(t *testing.T, r row) row {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out row
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
