package demo

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
)

// The change events tell the same story as the customers that the generator keeps: applied in order they give the table.
func TestCustomersAreTheirChanges(t *testing.T) {
	schemas := map[int32]avro.Schema{2: avro.MustParse(CustomersKeySchema), 3: avro.MustParse(CustomersSchema)}
	g, err := NewRatings(5, start, func(subject string) int32 {
		return map[string]int32{"ratings-value": 1, customersTopic + "-key": 2, customersTopic + "-value": 3}[subject]
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(b []byte) map[string]any {
		var v map[string]any
		if err := avro.Unmarshal(schemas[int32(binary.BigEndian.Uint32(b[1:]))], b[5:], &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	table, ops := map[int]map[string]any{}, map[string]int{}
	value := func(v any) map[string]any {
		m, _ := v.(map[string]any)
		row, _ := m["asgard.demo.CUSTOMERS.Value"].(map[string]any)
		return row
	}
	last := int64(0)
	for range 40000 {
		r := next(t, g)
		if r.Topic != customersTopic {
			continue
		}
		id := read(r.Key)["id"].(int)
		if r.Value == nil {
			if ops["tombstone"]++; table[id] != nil {
				t.Fatalf("a tombstone of customer %d, who is there", id)
			}
			continue
		}
		e := read(r.Value)
		op := e["op"].(string)
		ops[op]++
		if before := value(e["before"]); op != "r" && op != "c" && fmt.Sprint(before) != fmt.Sprint(table[id]) {
			t.Fatalf("before %s of %d: %v, and it is %v", op, id, before, table[id])
		}
		if table[id] = value(e["after"]); (table[id] == nil) != (op == "d") {
			t.Fatalf("%s of %d: %v", op, id, e)
		}
		pos := e["source"].(map[string]any)["pos"].(int64)
		if pos <= last {
			t.Fatalf("position %d after %d", pos, last)
		}
		last = pos
	}
	if ops["r"] != customers || ops["u"] < 300 || ops["d"] < 20 || ops["c"] < 10 || ops["tombstone"] != ops["d"] {
		t.Errorf("%v", ops)
	}
	for i, p := range g.people {
		if (table[i+1] == nil) != p.gone {
			t.Errorf("customer %d: %v, gone %v", i+1, table[i+1], p.gone)
		}
	}
}

// A change that does not fit the schema ends the demo with the customer whose it is.
func TestChangesThatDoNotFitTheirSchema(t *testing.T) {
	g := ratings(t, 1)
	g.value = avro.MustParse(`"int"`)
	var err error
	for i := 0; i < 2000 && err == nil; i++ {
		_, err = g.Next()
	}
	if err == nil || !strings.Contains(err.Error(), "of the demo's customer") {
		t.Error(err)
	}
}

func TestReceiver(t *testing.T) {
	r, err := StartReceiver()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	post := func(url, key, body string, want int) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			q.Header.Set("Idempotency-Key", key)
		}
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(res.Body); err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != want {
			t.Errorf("%s: %d %s", body, res.StatusCode, &got)
		}
	}
	post(r.WebhookURL(), "a", `{"text":"one"}`, 200)
	post(r.WebhookURL(), "a", `{"text":"one"}`, 200)
	post(r.WebhookURL(), "", `{"stars":1}`, 200)
	doc := `{"index":{"_index":"ratings","_id":"r-0-%d"}}` + "\n" + `{"stars":%d}` + "\n"
	post(r.SearchURL()+"/_bulk", "", fmt.Sprintf(doc+doc, 1, 1, 2, 2), 200)
	post(r.SearchURL()+"/_bulk", "", fmt.Sprintf(doc, 2, 5), 200)
	post(r.SearchURL()+"/_bulk", "", `{"index":{}}`, 400)
	got := r.Received()
	if strings.Join(got.Messages, "|") != `one|{"stars":1}` || got.Repeated != 1 || got.Indexed["ratings"] != 2 {
		t.Errorf("%+v", got)
	}
	var d struct{ Stars int }
	if err := json.Unmarshal(r.Document("ratings", "r-0-2"), &d); err != nil || d.Stars != 5 {
		t.Errorf("%+v, %v", d, err)
	}
}
