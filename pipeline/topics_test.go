package pipeline_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// Topics with schemas of their own: the table has the union of the columns. A topic whose column has another type than the
// table's makes dead letters that say so, and the others go on.
func TestOneTableFromTopicsOfDifferentSchemas(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	r := newRegistry(t, e)
	ids := map[string]int32{}
	for topic, fields := range map[string]string{
		"a": `{"name":"id","type":"int"},{"name":"city","type":"string"}`,
		"b": `{"name":"id","type":"long"},{"name":"price","type":"double"}`,
	} {
		e.Create(t, topic, 1)
		ids[topic] = r.Register(topic+"-value", `{"type":"record","name":"x","fields":[`+fields+`]}`)
	}
	e.Create(t, "c", 1)
	cfg := avro(func(p *configs.Pipeline) { p.Source.Topics = []string{"a", "b", "c"} })
	record := func(topic string, rest ...byte) string {
		return string(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(ids[topic])), rest...))
	}
	e.Produce(t, "a", 0, record("a", 2, 4, 'R', 'o'), record("a", 4, 0))
	e.Produce(t, "b", 0, record("b", 6, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f))
	load(t, e, cfg, 3)
	ids["c"] = r.Register("c-value", `{"type":"record","name":"x","fields":[{"name":"id","type":"string"},{"name":"city","type":"string"}]}`)
	e.Produce(t, "c", 0, record("c", 2, '7', 0), record("c", 2, '8', 0))
	e.Produce(t, "b", 0, record("b", 8, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f))
	e.Produce(t, "a", 0, record("a", 10, 0))
	load(t, e, cfg, 4)
	whole(t, e, cfg, "a-0 [0, 3) 3 rows", "b-0 [0, 2) 2 rows", "c-0 [0, 2) 0 rows 2 dead")
	var got []string
	for _, row := range e.Rows(t, primary, "id", "city", "price") {
		got = append(got, fmt.Sprint(row.Topic, row.Offset, " ", row.Values))
	}
	if want := []string{"a0 [1 Ro <nil>]", "a1 [2  <nil>]", "a2 [5  <nil>]", "b0 [3 <nil> 1.5]", "b1 [4 <nil> 1.5]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, row := range e.Rows(t, dead, "stage", "error") {
		if reason := fmt.Sprint(row.Values[1]); row.Topic != "c" || row.Values[0] != "evolve" || !strings.Contains(reason, "id") || !strings.Contains(reason, "string") || !strings.Contains(reason, "long") {
			t.Errorf("dead letter %v", row)
		}
	}
}

// Two pipelines read one topic in one process, each into a table of its own, each with every record.
func TestTwoTablesFromOneTopic(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	all := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) { p.Commit.Records = 1 }, "a")
	even := pipelinetest.Pipeline("id long required", func(p *configs.Pipeline) {
		p.Name, p.Table.Name, p.Commit.Records = "even", "evens", 1
		p.Cleanse = []configs.Step{{Filter: &configs.FilterStep{Expression: "id % 2 == 0"}}}
	}, "a")
	ls := []*pipelinetest.Loader{e.Start(t, all, nil), e.Start(t, even, nil)}
	for i := range 5 {
		e.Produce(t, "a", int32(i%2), numbered(10*i, 10*i+10)...)
		if i == 2 { // one of them dies and comes back, which is nothing to the other
			if err := ls[1].Kill(); err == nil {
				t.Fatal("it was not killed")
			}
			ls[1] = e.Start(t, even, nil)
		}
	}
	for _, l := range ls {
		l.Loaded("a", 0, 30)
		l.Loaded("a", 1, 20)
		stop(t, l)
	}
	whole(t, e, all, "a-0 [0, 30) 30 rows", "a-1 [0, 20) 20 rows")
	whole(t, e, even, "a-0 [0, 30) 15 rows 15 filtered", "a-1 [0, 20) 10 rows 10 filtered")
}

// A rewind and a backfill reach the rows that were routed, and route anew what they load.
func TestRewindAndBackfillOfRoutedRows(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	route := configs.Route{Tables: map[string]string{"x": "xs", "y": "ys"}}
	cfg := routed(route, nil)
	e.Produce(t, "a", 0, events(0, "x", "y", "z", "x", "y", "z", "x", "y")...)
	load(t, e, cfg, 8)
	rewind(t, e, cfg, pipeline.RewindOptions{To: at(3)})
	whole(t, e, cfg, "a-0 [0, 8) 3 rows 5 removed", "a-0 epoch 1 [3, 3) 0 rows")
	holds(t, e, "xs", "0")
	holds(t, e, "ys", "1")
	holds(t, e, "t", "2")
	load(t, e, cfg, 5)
	whole(t, e, cfg, "a-0 [0, 8) 3 rows 5 removed", "a-0 epoch 1 [3, 8) 5 rows")
	holds(t, e, "xs", "0 3 6")
	// The range 4 to 6 once more, with a route that sends y to the primary and z to another table.
	route.Tables = map[string]string{"x": "xs", "z": "zs"}
	cfg = routed(route, nil)
	backfill(t, e, cfg, pipeline.BackfillOptions{From: at(4), To: at(7)})
	whole(t, e, cfg, "a-0 [0, 8) 3 rows 5 removed", "a-0 epoch 1 [3, 8) 5 rows")
	for name, want := range map[string]string{"xs": "0 3 6", "ys": "1 7", "zs": "5", "t": "2 4"} {
		holds(t, e, name, want)
	}
	if got := listed(t, e); got != "xs ys zs" {
		t.Errorf("the ledger lists %s", got)
	}
}

// What no table took is replayed when the route allows it: into the table of its value, and marked as replayed.
func TestReplayOfRoutedRows(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	route := configs.Route{Template: "e_${value}", Allow: []string{"x"}, Otherwise: "dead_letter"}
	cfg := routed(route, nil)
	e.Produce(t, "a", 0, events(0, "x", "y", "z", "y", "")...)
	load(t, e, cfg, 5)
	whole(t, e, cfg, "a-0 [0, 5) 1 rows 4 dead")
	route.Allow = []string{"x", "y"}
	cfg = routed(route, nil)
	if rep := replay(t, e, cfg, everything()); rep.Rows != 2 {
		t.Errorf("%+v", rep)
	}
	whole(t, e, cfg, "a-0 [0, 5) 3 rows 2 dead")
	holds(t, e, "e_x", "0")
	holds(t, e, "e_y", "1 3")
	holds(t, e, "t", "")
	if got := listed(t, e); got != "e_x=x e_y=y" {
		t.Errorf("the ledger lists %s", got)
	}
	e.Produce(t, "a", 0, events(5, "y", "x")...)
	load(t, e, cfg, 2)
	whole(t, e, cfg, "a-0 [0, 7) 5 rows 2 dead")
	holds(t, e, "e_y", "1 3 5")
}
