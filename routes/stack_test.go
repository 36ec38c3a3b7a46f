//go:build stack

package routes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// The same with a real broker.
func TestRealTopicIsExactlyOnce(t *testing.T) {
	t.Parallel()
	exactlyOnce(t, &pipelinetest.Env{Kafka: pipelinetest.Real(t, stacktest.Kafka(t)), Lake: pipelinetest.NewLake(t)}, 8)
}

// A real OpenSearch has every row once, and refuses what does not fit its mapping.
func TestOpenSearch(t *testing.T) {
	t.Parallel()
	s := stacktest.StartOpenSearch(t)
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	ask := func(method, path, body string, into any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s: %v", resp.Status, text, err)
		}
		if into != nil {
			if err := json.Unmarshal(text, into); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
	}
	// A byte cannot hold the stars of the last row.
	ask(http.MethodPut, "/ratings-2026.11.21", `{"mappings": {"properties": {"stars": {"type": "byte"}}}}`, nil)
	const n = 6_000
	e.Produce(t, "a", 0, values(0, n)...)
	e.Produce(t, "a", 0, strings.Replace(value(n), `"stars":1`, `"stars":300`, 1))
	load(t, e, cfg, n+1)
	o := outlet(configs.Outlet{Name: "index", Start: "earliest", Search: &configs.OutletSearch{URL: s.URL(), Index: "ratings-%Y.%m.%d", Time: "at", BatchSize: 100 << 10, OnRefused: "keep"}})
	for range 2 { // the second time as one who does not know that it was sent already
		r := start(t, e, o, nil)
		r.until(t, "all rows", func() bool { return r.rows+r.refused == n+1 })
		r.end()
		if r.refused != 1 || len(r.errs) > 0 {
			t.Fatalf("%d refused, %q", r.refused, r.errs)
		}
		o.Name += "-again"
	}
	ask(http.MethodPost, "/ratings-*/_refresh", "", nil)
	var answer struct{ Count int }
	if ask(http.MethodGet, "/ratings-2026.11.21/_count", "", &answer); answer.Count != n {
		t.Errorf("%d documents, of %d", answer.Count, n)
	}
	var doc struct {
		Source struct {
			ID    int
			Price string
		} `json:"_source"`
	}
	if ask(http.MethodGet, "/ratings-2026.11.21/_doc/a-0-4321", "", &doc); fmt.Sprint(doc.Source) != "{4321 4321.50}" {
		t.Errorf("%+v", doc)
	}
}

// What a route registers with the real registry, Confluent's client decodes: every type, and nulls.
func TestRegistryOfOthers(t *testing.T) {
	t.Parallel()
	client, err := schemas.NewRegistryClient(configs.Registry{URL: stacktest.Registry(t)})
	if err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string][2]string{
		"avro": {strings.Replace(full, "30.5", "30.500000", 1), `{"id":0,"flag":null,"n":null,"f":null,"d":null,"price":null,"big":null,"day":null,"hour":null,"at":null,"local":null,"name":null,"u":null,"raw":null,` +
			`"tags":null,"nums":null,"attrs":null,"who":null,"people":null}`},
		// Longs are text in the JSON of Protobuf, and null is not there.
		"protobuf": {strings.NewReplacer(`"id":-7`, `"id":"-7"`, `"k":5`, `"k":"5"`).Replace(full), `{}`},
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			in := stacktest.Topic(t, 1)
			out := stacktest.Topic(t, 1)
			e := &pipelinetest.Env{Kafka: pipelinetest.Real(t, stacktest.Kafka(t)), Lake: pipelinetest.NewLake(t)}
			sendWide(t, e, in, out, format, client.Register)
			got := stacktest.ReadTopic(t, out, format)
			if len(got) != 2 {
				t.Fatalf("%d messages", len(got))
			}
			for i, m := range got {
				if m.Row != fmt.Sprintf("%s-0-%d", in, i) || m.Key == nil || *m.Key != []string{"-7", "0"}[i] {
					t.Errorf("row %s, key %v", m.Row, m.Key)
				}
				if got, want := canonical(t, m.Value), canonical(t, []byte(want[i])); got != want {
					t.Errorf("got %s\nwant %s", got, want)
				}
			}
		})
	}
}

// canonical is JSON with its fields in order.
func canonical(t *testing.T, text []byte) string {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
