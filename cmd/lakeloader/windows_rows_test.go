package main

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// TestWindowRows: a window has the rows that the loader writes: changes without their envelope, cleansed, and with a join that keeps all
// rows left out.
func TestWindowRows(t *testing.T) {
	cfg, _, err := configs.Parse("lakeloader.yaml", []byte(`
kafka: {brokers: ["127.0.0.1:9092"]}
lookups:
- {name: countries, key: [country], columns: [vat], file: {path: countries.csv}}
pipelines:
- name: orders
  source: {topics: [orders]}
  decode:
    value: {format: json, columns: [{name: id, type: long}, {name: buyer, type: string}, {name: amount, type: "decimal(10,2)"}, {name: at, type: timestamptz}, {name: country, type: string}]}
    key: {format: json, columns: [{name: id, type: long}]}
    changes: {form: debezium}
  cleanse:
  - filter: '_op == "c"'
  - trim: [buyer]
  enrich:
  - {lookup: countries}
  table: {name: orders}
windows:
- {name: spend, pipeline: orders, key: buyer, time: at, sum: amount, window: {days: 30}, topic: spend}
`))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := newWindowRows(cfg, &cfg.Pipelines[0], slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := &batch.Records{Topics: []string{"orders"}}
	add := func(value string) {
		n := int64(r.Len())
		r.Topic, r.Partition, r.Offset, r.Timestamp = append(r.Topic, 0), append(r.Partition, 0), append(r.Offset, n), append(r.Timestamp, 0)
		r.Key, r.Headers = append(r.Key, r.AppendString(`{"id": 1}`)), append(r.Headers, batch.View{})
		if v := batch.Null; value == "" {
			r.Value = append(r.Value, v)
			return
		}
		r.Value = append(r.Value, r.AppendString(value))
	}
	row := func(buyer string, amount int) string {
		return fmt.Sprintf(`{"id": 1, "buyer": %q, "amount": %d.50, "at": "2026-11-01T00:00:00Z", "country": "DE"}`, buyer, amount)
	}
	add("") // a tombstone: no columns are lost by it
	add(`{"op": "c", "before": null, "after": ` + row(" ann ", 3) + `, "source": {"ts_ms": 1, "lsn": 7}, "ts_ms": 1}`)
	add(`{"op": "u", "before": null, "after": ` + row("ann", 4) + `, "source": {"ts_ms": 2, "lsn": 8}, "ts_ms": 2}`)
	add(`{"op": "d", "before": ` + row("ann", 4) + `, "after": null, "source": {"ts_ms": 3, "lsn": 9}, "ts_ms": 3}`)
	add(`{"op": "c", "before": null, "after": ` + row("bob", 5) + `, "source": {"ts_ms": 4, "lsn": 10}, "ts_ms": 4}`)
	add(`no change`)
	for range 2 { // the second time with what the first has left in memory
		if err := rows.Prepare(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		b, err := rows.Apply(r)
		if err != nil {
			t.Fatal(err)
		}
		if rows.Row().Index("vat") >= 0 {
			t.Error("the rows are joined")
		}
		key, sum := b.Root.Children[rows.Row().Index("buyer")], b.Root.Children[rows.Row().Index("amount")]
		var got []string
		for i := range b.Rows {
			if b.Fate[i] == batch.Keep {
				got = append(got, fmt.Sprint(string(b.Bytes(key.Views[i])), " ", sum.Int64[i]))
			}
		}
		if want := []string{"ann 350", "bob 550"}; !slices.Equal(got, want) {
			t.Errorf("the rows are %q, want %q", got, want)
		}
	}
}
