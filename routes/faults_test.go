package routes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/routes"
	"github.com/lakeloader/lakeloader/source"
)

// ids are those of bodies, in order.
func ids(bodies []string) (out []int) {
	for _, b := range bodies {
		var v struct{ ID int }
		if err := json.Unmarshal([]byte(b), &v); err != nil {
			return nil
		}
		out = append(out, v.ID)
	}
	return out
}

// A webhook that fails, is busy, and refuses: what it does not take is tried again, and nothing goes past it.
func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	e.Produce(t, "a", 0, values(0, 4)...)
	load(t, e, cfg, 4)
	h := newHook(t, func(n int, c call) (int, map[string]string) {
		switch n {
		case 1:
			return 503, nil
		case 2:
			return 429, map[string]string{"Retry-After": "1"}
		case 3:
			return 302, map[string]string{"Location": "http://elsewhere.invalid/"}
		}
		return 204, nil
	})
	o := outlet(configs.Outlet{Name: "all", Columns: []string{"id"}, Start: "earliest", Webhook: &configs.OutletWebhook{URL: h.URL + "/a-secret"}})
	r := start(t, e, o, nil)
	r.until(t, "all rows", func() bool { return r.rows == 4 })
	r.end()
	if got := ids(h.bodies()); fmt.Sprint(got) != "[0 1 1 1 1 2 3]" {
		t.Errorf("%v", got)
	}
	for i, want := range []string{"503 Service Unavailable: answer 503", "429", "302 Found"} {
		if !strings.Contains(r.errs[i], want) || strings.Contains(r.errs[i], "a-secret") {
			t.Errorf("%s", r.errs[i])
		}
	}
}

func TestWebhookThatRefuses(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	e.Produce(t, "a", 0, values(0, 4)...)
	load(t, e, cfg, 4)
	refuse := func(_ int, c call) (int, map[string]string) {
		if strings.Contains(c.body, `"id":2`) {
			return 422, nil
		}
		return 200, nil
	}
	h := newHook(t, refuse)
	o := outlet(configs.Outlet{Name: "stops", Columns: []string{"id"}, Start: "earliest", Webhook: &configs.OutletWebhook{URL: h.URL}})
	r := start(t, e, o, nil)
	r.until(t, "the refusal", func() bool { return len(r.errs) == 1 })
	r.kill()
	<-r.done
	if !strings.Contains(r.errs[0], "a-0 offset 2") || !strings.Contains(r.errs[0], "422") || !strings.Contains(r.errs[0], "on_refused") || r.rows != 2 {
		t.Errorf("%d rows, %s", r.rows, r.errs[0])
	}
	// The same route, which now keeps what is refused, goes on from there.
	o = outlet(configs.Outlet{Name: "stops", Columns: []string{"id"}, Webhook: &configs.OutletWebhook{URL: h.URL, OnRefused: "keep"}})
	r = start(t, e, o, nil)
	r.end()
	if got := ids(h.bodies()); fmt.Sprint(got) != "[0 1 2 2 3]" || r.rows != 1 || r.refused != 1 {
		t.Errorf("%v, %d rows, %d refused", got, r.rows, r.refused)
	}
	data, err := objects.Read(t.Context(), e.Objects, e.Root+"/_lakeloader/p/routes/refused/stops/a-0-2.json")
	if err != nil || !strings.Contains(string(data), `"row":{"id":2}`) || !strings.Contains(string(data), "422") {
		t.Errorf("%s: %v", data, err)
	}
}

// Rows that repeat one another within the window are left out, also after a restart.
func TestWebhookLeavesRepetitionsOut(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	h := newHook(t, nil)
	o := outlet(configs.Outlet{Name: "clubs", Columns: []string{"id"}, Start: "earliest", Webhook: &configs.OutletWebhook{URL: h.URL, DedupeBy: []string{"club"}}})
	for i := range 2 {
		e.Produce(t, "a", 0, values(3*i, 3*i+3)...)
		load(t, e, cfg, 3)
		r := start(t, e, o, nil)
		r.end()
		if r.rows+r.suppressed != 3 {
			t.Errorf("%d rows, %d suppressed", r.rows, r.suppressed)
		}
	}
	if got := ids(h.bodies()); fmt.Sprint(got) != "[0 1]" {
		t.Errorf("%v", got)
	}
}

// A new route begins behind what is there; a rewind and a replay of dead letters bring nothing again.
func TestRouteBeginsNow(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	e.Produce(t, "a", 0, append(values(0, 3), "{{")...)
	load(t, e, cfg, 4)
	h := newHook(t, nil)
	o := outlet(configs.Outlet{Name: "new", Columns: []string{"id"}, Webhook: &configs.OutletWebhook{URL: h.URL}})
	start(t, e, o, nil).end()
	if _, err := pipeline.Rewind(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.RewindOptions{To: pipeline.Position{Offset: 1}}); err != nil {
		t.Fatal(err)
	}
	e.Produce(t, "a", 0, values(4, 6)...)
	load(t, e, cfg, 5)
	start(t, e, o, nil).end()
	if got := ids(h.bodies()); fmt.Sprint(got) != "[4 5]" {
		t.Errorf("%v", got)
	}
}

// flaky is an object store that fails at random, before or after it did what it was asked.
type flaky struct {
	objects.Store
	mu  sync.Mutex
	rnd *rand.Rand
}

var errFlaky = errors.New("the store fails")

func (f *flaky) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rnd.IntN(5) == 0
}

func (f *flaky) Put(ctx context.Context, uri string, data []byte) error {
	if f.fails() {
		return errFlaky
	}
	err := f.Store.Put(ctx, uri, data)
	if err == nil && f.fails() {
		return errFlaky
	}
	return err
}

// Two instances of a route without leases, each killed again and again, over a store that fails: every row arrives, in order but for
// repetitions, and the cursor never passes one.
func TestWebhookLosesNothing(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	h := newHook(t, nil)
	o := outlet(configs.Outlet{Name: "all", Columns: []string{"id"}, Start: "earliest", Webhook: &configs.OutletWebhook{URL: h.URL}})
	rnd := rand.New(rand.NewPCG(1, 2))
	const rounds, each = 12, 10
	for i := range rounds {
		e.Produce(t, "a", int32(i%2), values(i*each, (i+1)*each)...)
		load(t, e, cfg, each)
		var two []*running
		both := newRecorder()
		for range 2 {
			store := &flaky{Store: e.Objects, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 3))}
			two = append(two, start(t, e, o, func(d *routes.Deps) { d.Cursors.Store, d.Recorder = store, both }))
		}
		n := int64(rnd.IntN(each))
		both.until(t, "some rows or a failure", func() bool { return both.rows >= n || len(both.errs) > 0 })
		for _, r := range two {
			r.kill()
			<-r.done
		}
	}
	start(t, e, o, nil).end()
	seen := map[int]bool{}
	for _, id := range ids(h.bodies()) {
		seen[id] = true
	}
	if len(seen) != rounds*each {
		t.Errorf("%d of %d rows arrived", len(seen), rounds*each)
	}
	t.Logf("%d calls for %d rows", len(h.bodies()), len(seen))
}

// bulk is a bulk API that keeps documents by index and id.
type bulk struct {
	*httptest.Server
	mu       sync.Mutex
	docs     map[string]string
	requests int
	// fault answers for the service; 0: it does so itself. status does for one document.
	fault  func(request int) int
	status func(request int, id string) int
}

func newBulk(t *testing.T) *bulk {
	b := &bulk{docs: map[string]string{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.requests++
		if r.URL.Path != "/_bulk" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s %s %s", r.Method, r.URL, r.Header)
		}
		if b.fault != nil {
			if status := b.fault(b.requests); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		var items []any
		failed := false
		for d := json.NewDecoder(r.Body); d.More(); {
			var action struct {
				Index struct {
					Index string `json:"_index"`
					ID    string `json:"_id"`
				} `json:"index"`
			}
			var doc json.RawMessage
			if err := errors.Join(d.Decode(&action), d.Decode(&doc)); err != nil {
				t.Error(err)
				return
			}
			status := 201
			if b.status != nil {
				status = b.status(b.requests, action.Index.ID)
			}
			item := map[string]any{"_index": action.Index.Index, "_id": action.Index.ID, "status": status}
			if status/100 == 2 {
				b.docs[action.Index.Index+"/"+action.Index.ID] = string(doc)
			} else {
				item["error"], failed = map[string]string{"type": "an_exception", "reason": "of a test"}, true
			}
			items = append(items, map[string]any{"index": item})
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"took": 1, "errors": failed, "items": items}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func TestSearch(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	e.Produce(t, "a", 0, values(0, 20)...)
	e.Produce(t, "a", 0, `{"id":20,"at":null}`, `{"id":21,"at":"2025-01-02T03:04:05Z"}`)
	load(t, e, cfg, 22)
	b := newBulk(t)
	b.fault = func(n int) int {
		return map[int]int{1: 502, 2: 413}[n] // the second has too many documents
	}
	b.status = func(n int, id string) int {
		switch {
		case id == "a-0-3":
			return 400
		case id == "a-0-5" && n < 5:
			return 429
		}
		return 201
	}
	o := outlet(configs.Outlet{Name: "index", Columns: []string{"id", "price"}, Start: "earliest", Search: &configs.OutletSearch{URL: b.URL, Index: "ratings-%Y.%m", Time: "at", OnRefused: "keep"}})
	r := start(t, e, o, nil)
	r.until(t, "all rows", func() bool { return r.rows+r.refused == 22 })
	r.end()
	if r.refused != 1 || len(b.docs) != 21 {
		t.Errorf("%d refused, %d documents", r.refused, len(b.docs))
	}
	if got := b.docs["ratings-2026.11/a-0-4"]; got != `{"id":4,"price":"4.50"}` {
		t.Errorf("%s", got)
	}
	if got := b.docs["ratings-2025.01/a-0-21"]; got != `{"id":21,"price":null}` {
		t.Errorf("%s", got)
	}
	if got := b.docs[time.Now().UTC().Format("ratings-2006.01")+"/a-0-20"]; got == "" {
		t.Error("the row without a time is not where Kafka's timestamp says")
	}
	data, err := objects.Read(t.Context(), e.Objects, e.Root+"/_lakeloader/p/routes/refused/index/a-0-3.json")
	if err != nil || !strings.Contains(string(data), "of a test") {
		t.Errorf("%s: %v", data, err)
	}
}

// Producers of a topic that are killed anywhere, and two at once: every row is there once, for those who read what is committed.
func TestTopicIsExactlyOnce(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	exactlyOnce(t, e, 8)
}

// lossy loses what a transaction's sender is told, or the transaction.
type lossy struct {
	routes.Topic
	rnd *rand.Rand
}

func (l lossy) Send(ctx context.Context, records []source.Message, offsets map[source.Partition]source.GroupOffset) error {
	switch l.rnd.IntN(4) {
	case 0:
		return errors.New("the transaction is lost")
	case 1:
		return errors.Join(l.Topic.Send(ctx, records, offsets), errors.New("the reply is lost"))
	}
	return l.Topic.Send(ctx, records, offsets)
}

func exactlyOnce(t *testing.T, e *pipelinetest.Env, rounds int) {
	const each = 50
	in := "in-" + uuid.NewString()
	out := "out-" + in
	e.Create(t, in, 2)
	e.Create(t, out, 2)
	cfg := pipelinetest.Pipeline(columns, func(p *configs.Pipeline) { p.Source.Group = in }, in)
	o := outlet(configs.Outlet{Name: in, Columns: []string{"id"}, Start: "earliest", Topic: &configs.OutletTopic{Name: out, Key: []string{"id"}}})
	rnd := rand.New(rand.NewPCG(7, 7))
	var errs []string
	for i := range rounds {
		e.Produce(t, in, int32(i%2), values(i*each, (i+1)*each)...)
		load(t, e, cfg, each)
		var two []*running
		both := newRecorder()
		for range 2 {
			mine := rand.New(rand.NewPCG(rnd.Uint64(), 5))
			two = append(two, start(t, e, o, func(d *routes.Deps) {
				d.Recorder = both
				open := d.NewTopic
				d.NewTopic = func(ctx context.Context) (routes.Topic, error) {
					k, err := open(ctx)
					return lossy{k, mine}, err
				}
			}))
		}
		if rnd.IntN(2) == 0 {
			both.until(t, "some rows or a failure", func() bool { return both.rows > 0 || len(both.errs) > 0 })
		}
		for _, r := range two {
			r.kill()
			<-r.done
		}
		errs = append(errs, both.errs...)
	}
	start(t, e, o, nil).end()
	var got []int
	for _, rec := range e.Records(t, out, rounds*each) {
		got = append(got, ids([]string{string(rec.Value)})...)
	}
	slices.Sort(got)
	for i, id := range got {
		if id != i {
			t.Fatalf("row %d of the topic has the id %d", i, id)
		}
	}
	n := 0
	for _, err := range errs {
		if strings.Contains(err, "another instance sends") {
			n++
		}
	}
	t.Logf("%d rows, %d times an instance was fenced", len(got), n)
}
