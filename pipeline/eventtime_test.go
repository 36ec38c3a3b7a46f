package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

var eventRow = batch.StructOf(
	batch.Field{Name: "id", Type: batch.Prim(batch.Long)},
	batch.Field{Name: "ts", Type: batch.Prim(batch.TimestampTZ)},
	batch.Field{Name: "s", Type: batch.StructOf(batch.Field{Name: "d", Type: batch.Prim(batch.Date)})})

// by is a table that is partitioned by a transform of a column of eventRow.
func by(transform, column string) table.Info {
	return table.Info{Ident: table.Ident{Namespace: "lake", Name: "t"}, Row: eventRow, PartitionBy: []table.PartitionField{{Source: column, Transform: transform}}}
}

// event is a row, its times in milliseconds: of the event (0: null), and of Kafka.
type event struct {
	ts, kafka int64
	fate      batch.Fate
}

func events(list ...event) *batch.Batch {
	b := batch.New(&batch.Records{}, eventRow)
	for i, e := range list {
		b.Timestamp = append(b.Timestamp, e.kafka)
		id, ts, s := b.Root.Children[0], b.Root.Children[1], b.Root.Children[2]
		id.AppendInt64(int64(i))
		if e.ts == 0 {
			ts.AppendNull()
			s.Children[0].AppendNull()
		} else {
			ts.AppendInt64(e.ts * 1000)
			s.Children[0].AppendInt32(int32(e.ts / (24 * 3600 * 1000)))
		}
		s.AppendStruct()
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
		b.Fate[i] = e.fate
	}
	return b
}

const dayMS = 24 * 3600 * 1000

func TestEventTimes(t *testing.T) {
	for name, c := range map[string]struct {
		column string
		rows   []event
		was    int64
		want   int64
	}{
		"none":                           {"ts", nil, 0, 0},
		"the greatest":                   {"ts", []event{{ts: 5000, kafka: 9000}, {ts: 7000, kafka: 9000}, {ts: 6000, kafka: 9000}}, 0, 7000},
		"less than before":               {"ts", []event{{ts: 5000, kafka: 9000}}, 6000, 6000},
		"filtered and dead do not count": {"ts", []event{{ts: 5000, kafka: 9000}, {ts: 7000, kafka: 9000, fate: batch.Filtered}, {ts: 8000, kafka: 9000, fate: batch.Dead}}, 0, 5000},
		"nulls do not count":             {"ts", []event{{kafka: 9000}, {ts: 5000, kafka: 9000}, {kafka: 9000}}, 0, 5000},
		"later than Kafka had it":        {"ts", []event{{ts: 500000, kafka: 5500}, {ts: 6000, kafka: 6500}, {ts: 6100, kafka: 6050}}, 0, 6050},
		"a wrong clock comes first":      {"ts", []event{{ts: 500000, kafka: 5500}, {ts: 5700, kafka: 5800}}, 0, 5700},
		"no time in Kafka: the clock":    {"ts", []event{{ts: 40 * dayMS, kafka: -1}}, 0, 30 * dayMS},
		"Kafka's is wrong: the clock":    {"ts", []event{{ts: 40 * dayMS, kafka: 41 * dayMS}}, 0, 30 * dayMS},
		"dates":                          {"s.d", []event{{ts: 3 * dayMS, kafka: 9 * dayMS}, {ts: 5 * dayMS, kafka: 9 * dayMS}, {}, {ts: 4*dayMS + 7, kafka: 9 * dayMS}}, 0, 5 * dayMS},
		"a date later than Kafka":        {"s.d", []event{{ts: 3 * dayMS, kafka: 2*dayMS + 1}, {ts: 4 * dayMS, kafka: 3 * dayMS}}, 0, 3 * dayMS},
		"before 1970":                    {"ts", []event{{ts: -5000, kafka: 9000}}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			transform := "day"
			if c.column == "s.d" {
				transform = "identity"
			}
			e, err := newEventTimes(by(transform, c.column), eventRow)
			if err != nil {
				t.Fatal(err)
			}
			b := events(c.rows...)
			x := &track{event: c.was}
			e.observe(b, []run{{x, 0, b.Rows}}, time.UnixMilli(30*dayMS))
			if x.event != c.want {
				t.Errorf("it is %d, want %d", x.event, c.want)
			}
		})
	}
}

// Each partition has its own, records without rows belong to none, and what is stopped does not move.
func TestEventTimesOfPartitions(t *testing.T) {
	e, err := newEventTimes(by("hour", "ts"), eventRow)
	if err != nil {
		t.Fatal(err)
	}
	b := events(event{ts: 1000, kafka: 9000}, event{ts: 3000, kafka: 9000}, event{ts: 2000, kafka: 9000}, event{ts: 4000, kafka: 9000})
	b.Timestamp = []int64{9000, 9000, 9000, 9000, 9000, 9000}
	b.Record = []int32{0, 2, 3, 5} // records 1 and 4 could not be decoded
	one, none, stopped, last := &track{}, &track{}, &track{stopped: ErrStop}, &track{}
	e.observe(b, []run{{one, 0, 2}, {none, 2, 2}, {stopped, 2, 4}, {last, 4, 6}}, time.UnixMilli(30*dayMS))
	if one.event != 1000 || none.event != 0 || stopped.event != 0 || last.event != 4000 {
		t.Errorf("they are %d, %d, %d, %d", one.event, none.event, stopped.event, last.event)
	}
	if m := last.move(); m.To.Event != 4000 {
		t.Errorf("it moves to %+v", m.To)
	}
	last.begin(table.Record{Event: 4000})
	if m := last.move(); m.To.Event != 4000 {
		t.Errorf("it forgets its time: %+v", m.To)
	}
}

func TestEventTimesNeedATimePartition(t *testing.T) {
	for _, info := range []table.Info{by("bucket[4]", "id"), by("identity", "id"), by("day", "gone")} {
		if _, err := newEventTimes(info, eventRow); err == nil || !strings.Contains(err.Error(), "lake.t") {
			t.Errorf("%v: %v", info.PartitionBy, err)
		}
	}
}

func TestCompleteIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		fields []table.PartitionField
		marker bool
		want   string
	}{
		"no date":               {[]table.PartitionField{{Source: "id", Transform: "identity"}}, false, "no time partitions"},
		"a date":                {[]table.PartitionField{{Source: "id", Transform: "identity"}, {Source: "s.d", Transform: "identity"}}, false, ""},
		"a marker":              {[]table.PartitionField{{Source: "ts", Transform: "hour"}, {Source: "id", Transform: "identity"}}, true, ""},
		"a marker, not in time": {[]table.PartitionField{{Source: "id", Transform: "identity"}, {Source: "ts", Transform: "hour"}}, true, "ts, to be first"},
	} {
		_, err := checkComplete(&configs.Complete{Marker: c.marker}, table.Info{Row: eventRow, PartitionBy: c.fields})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkEventTimes is of 4,096 rows of one fetch, in and out of order.
func BenchmarkEventTimes(b *testing.B) {
	for name, step := range map[string]int64{"ascending": 1, "descending": -1} {
		b.Run(name, func(b *testing.B) {
			rows := make([]event, 4096)
			for i := range rows {
				rows[i] = event{ts: 1_700_000_000_000 + step*int64(i), kafka: 1_800_000_000_000}
			}
			x := events(rows...)
			e, err := newEventTimes(by("day", "ts"), eventRow)
			if err != nil {
				b.Fatal(err)
			}
			now := time.UnixMilli(1_900_000_000_000)
			for b.Loop() {
				e.observe(x, []run{{&track{}, 0, len(rows)}}, now)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
		})
	}
}
