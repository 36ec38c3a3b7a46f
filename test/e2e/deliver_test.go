//go:build stack

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// receivers are a webhook that notes the keys of its calls, and a bulk API that keeps documents by id. Each also counts what
// reached it more than once.
type receivers struct {
	*httptest.Server
	mu       sync.Mutex
	calls    map[string]string // the id of the click, by Idempotency-Key
	repeated int
	docs     map[string]string
	again    int
	got      int
}

func newReceivers(t *testing.T) *receivers {
	r := &receivers{calls: map[string]string{}, docs: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hook", func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the loader was killed within the request: it makes it again
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		key := req.Header.Get("Idempotency-Key")
		id := clickOf(t, body)
		if was, twice := r.calls[key]; twice {
			r.repeated++
			if was != id {
				t.Errorf("%s was click %s, and is %s", key, was, id)
			}
		}
		r.calls[key] = id
		r.got++
	})
	mux.HandleFunc("POST /_bulk", func(w http.ResponseWriter, req *http.Request) {
		var items []any
		for d := json.NewDecoder(req.Body); ; {
			var action struct {
				Index struct {
					ID string `json:"_id"`
				} `json:"index"`
			}
			var doc json.RawMessage
			if err := d.Decode(&action); err != nil {
				break // the end, or the loader was killed
			}
			if err := d.Decode(&doc); err != nil {
				return
			}
			r.mu.Lock()
			if r.docs[action.Index.ID] != "" {
				r.again++
			}
			r.docs[action.Index.ID] = clickOf(t, doc)
			r.got++
			r.mu.Unlock()
			items = append(items, map[string]any{"index": map[string]any{"status": 201}})
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"errors": false, "items": items}); err != nil {
			t.Log(err) // it was killed before the answer
		}
	})
	r.Server = httptest.NewServer(mux)
	t.Cleanup(r.Close)
	return r
}

func clickOf(t *testing.T, body []byte) string {
	var v struct{ UUID string }
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%q: %v", body, err)
	}
	return v.UUID
}

func (r *receivers) received() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

// seeded is a source of random moments, whose seed is printed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("LAKELOADER_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("LAKELOADER_TEST_SEED: %v", err)
		}
	}
	t.Logf("LAKELOADER_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Daemons that are killed at random moments while they deliver: for who reads what is committed the topic has every row once; the webhook has each at
// least once, with one key a row; the index has one document a row.
func TestRoutesOfAKilledDaemonReachEverybody(t *testing.T) {
	t.Parallel()
	l, rnd := folderLake(t), seeded(t)
	const partitions, kills = 3, 6
	topic, out := stacktest.Topic(t, partitions), stacktest.Topic(t, 2)
	r := newReceivers(t)
	c := stacktest.NewClicks(t, topic, partitions)
	c.Spoilt = true
	config := configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s], group: %s}
  decode: {value: {format: avro}}
  table: {name: clicks, partition_by: [day(ts)]}
  commit: {interval: 300ms}
%s
  routes:
  - {name: topic, columns: [uuid, campaignId], start: earliest, topic: {name: %s, key: [uuid]}}
  - {name: hook, columns: [uuid], start: earliest, webhook: {url: "%s/hook"}}
  - {name: index, columns: [uuid, ts], start: earliest, search: {url: %q, index: "clicks-%%Y"}}
`, topic, topic, stacktest.ClickSteps, out, r.URL, r.URL))
	f := flow(t, c, 25*time.Millisecond, 12)
	for range kills {
		d := stacktest.StartDaemon(t, config)
		target := r.received() + 1 + rnd.IntN(400)
		until(t, fmt.Sprintf("%d rows were delivered", target), func() (bool, any) { return r.received() >= target, r.received() })
		d.Kill()
	}
	w := f.end(t)
	d := stacktest.StartDaemon(t, config)
	loaded(t, "clicks", w.Reached(), d)
	until(t, "the routes have delivered everything", func() (bool, any) { return delivered(t, config) })
	stopped(t, d)

	want := map[string]string{}
	for at, row := range w.Rows {
		want[fmt.Sprintf("%s-%d-%d", at.Topic, at.Partition, at.Offset)] = fmt.Sprint(row["uuid"])
	}
	inTopic := map[string]string{}
	for _, m := range stacktest.ReadTopic(t, out, "json") {
		id := clickOf(t, m.Value)
		if inTopic[m.Row] != "" {
			t.Errorf("the topic has row %s more than once", m.Row)
		}
		if m.Key == nil || *m.Key != id {
			t.Errorf("row %s of click %s has the key %v", m.Row, id, m.Key)
		}
		inTopic[m.Row] = id
	}
	same(t, "the topic", inTopic, want)
	same(t, "the webhook", r.calls, want)
	same(t, "the index", r.docs, want)
	verified(t, config)
	t.Logf("%d rows, %d kills; %d calls and %d documents were made again", len(want), kills, r.repeated, r.again)
}

func same(t *testing.T, who string, got, want map[string]string) {
	t.Helper()
	missing, other := 0, 0
	for row, id := range want {
		switch got[row] {
		case id:
		case "":
			missing++
		default:
			other++
		}
	}
	if missing > 0 || other > 0 || len(got) != len(want) {
		t.Errorf("%s has %d rows, of %d: %d are missing, %d are other ones", who, len(got), len(want), missing, other)
	}
}

// delivered asks lakeloader routes whether nothing is behind the cursors.
func delivered(t *testing.T, config string) (bool, any) {
	t.Helper()
	stdout, stderr, code := stacktest.Lakeloader(t, "routes", "list", "-c", config, "-o", "json")
	var list []struct {
		Route  string
		Begun  bool
		Behind int64 `json:"offsets_behind"`
	}
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 {
		t.Fatalf("routes list ends with %d: %v\n%s%s", code, err, stdout, stderr)
	}
	for _, x := range list {
		if !x.Begun || x.Behind > 0 {
			return false, stdout
		}
	}
	return len(list) > 0, stdout
}

// What was delivered is not delivered again by a replay of dead letters, a backfill and a rewind below the cursor; reset has it delivered again, on purpose.
func TestWhatARouteHasSentStaysSent(t *testing.T) {
	t.Parallel()
	l := folderLake(t)
	topic, out := stacktest.Topic(t, 1), stacktest.Topic(t, 1)
	c := stacktest.NewClicks(t, topic, 1)
	c.Spoilt = true
	pipeline := func(steps string) string {
		return configure(t, l, fmt.Sprintf(`
- name: clicks
  source: {topics: [%s], group: %s}
  decode: {value: {format: avro}}
  table: {name: clicks}
  commit: {interval: 300ms}
%s
  routes:
  - {name: topic, columns: [uuid], start: earliest, topic: {name: %s}}
`, topic, topic, steps, out))
	}
	strict, lax := pipeline(stacktest.ClickSteps), pipeline("")
	w, kafka := stacktest.NewTruth(), stacktest.Producer(t)
	run := func(config string, do func()) {
		d := stacktest.StartDaemon(t, config)
		loaded(t, "clicks", w.Reached(), d)
		until(t, "the route has delivered everything", func() (bool, any) { return delivered(t, config) })
		if do != nil {
			do()
		}
		stopped(t, d)
	}
	count := func(what string, messages, clicks int) {
		t.Helper()
		ids := map[string]bool{}
		all := stacktest.ReadTopic(t, out, "json")
		for _, m := range all {
			ids[clickOf(t, m.Value)] = true
		}
		if len(all) != messages || len(ids) != clicks {
			t.Errorf("%s: the topic has %d messages of %d clicks; want %d of %d", what, len(all), len(ids), messages, clicks)
		}
	}
	lakeloader := func(args ...string) {
		t.Helper()
		if stdout, stderr, code := stacktest.Lakeloader(t, args...); code != 0 {
			t.Fatalf("%v ends with %d:\n%s%s", args, code, stdout, stderr)
		}
	}
	sent(t, kafka, w, c.Some(500)...)
	run(strict, func() {
		if _, stderr, code := stacktest.Lakeloader(t, "routes", "reset", "-c", strict, "--route", "topic", "--to", "earliest", "--yes"); code == 0 {
			t.Errorf("a cursor was moved under a daemon: %s", stderr)
		}
	})
	count("loaded", len(w.Rows), len(w.Rows))
	lakeloader("dlq", "replay", "-c", lax, "--stage", "cleanse")
	run(lax, nil)
	count("replayed", len(w.Rows), len(w.Rows))
	const back = 50
	lakeloader("backfill", "-c", strict, "--from", "100", "--to", "300", "--yes")
	lakeloader("rewind", "-c", strict, "--to", fmt.Sprint(back), "--yes")
	sent(t, kafka, w, c.Some(100)...)
	run(strict, nil)
	n := len(w.Rows)
	count("backfilled and rewound", n, n)
	verified(t, strict)
	replayed := 0 // rows that the rewind has left there, and that were never sent
	for at, letter := range w.Dead {
		if at.Offset < back && letter["stage"] == "cleanse" {
			replayed++
		}
	}
	lakeloader("routes", "reset", "-c", strict, "--route", "topic", "--to", "earliest", "--yes")
	run(strict, nil)
	count("reset to earliest", 2*n+replayed, n+replayed)
	lakeloader("routes", "reset", "-c", strict, "--route", "topic", "--to", "earliest", "--yes")
	lakeloader("routes", "reset", "-c", strict, "--route", "topic", "--to", "now", "--yes")
	run(strict, nil)
	count("reset to earliest, and then to now", 2*n+replayed, n+replayed)
	if replayed == 0 {
		t.Error("no replayed letter lies before the rewind: the test says little")
	}
}
