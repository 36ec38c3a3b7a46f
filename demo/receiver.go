package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// Receiver stands in for what a system sends to besides the lake: a webhook as of Slack, and the bulk API of Elasticsearch and
// OpenSearch. It keeps what it was sent, as these do.
type Receiver struct {
	mu       sync.Mutex
	messages []string
	hooks    map[string]bool // idempotency keys seen
	repeated int
	indexes  map[string]map[string]json.RawMessage // documents by index and id
	server   *http.Server
	url      string
}

// Received is what has arrived.
type Received struct {
	Messages []string       // of the webhook, in order
	Repeated int            // messages that came with the idempotency key of an earlier one
	Indexed  map[string]int // documents by index
}

// StartReceiver serves on a free loopback port until Close.
func StartReceiver() (*Receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the embedded webhook: %w", err)
	}
	r := &Receiver{hooks: map[string]bool{}, indexes: map[string]map[string]json.RawMessage{}, url: "http://" + l.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhook", r.webhook)
	mux.HandleFunc("POST /search/_bulk", r.bulk)
	r.server = &http.Server{Handler: mux}
	go func() { _ = r.server.Serve(l) }() // ends with Close
	return r, nil
}

// WebhookURL takes messages.
func (r *Receiver) WebhookURL() string { return r.url + "/webhook" }

// SearchURL is where the bulk API is.
func (r *Receiver) SearchURL() string { return r.url + "/search" }

// Close ends it.
func (r *Receiver) Close() error { return r.server.Close() }

// Received returns a copy of what has arrived.
func (r *Receiver) Received() Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := Received{Messages: append([]string(nil), r.messages...), Repeated: r.repeated, Indexed: map[string]int{}}
	for name, docs := range r.indexes {
		out.Indexed[name] = len(docs)
	}
	return out
}

// Document of an index, nil: there is none.
func (r *Receiver) Document(index, id string) json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.indexes[index][id]
}

func (r *Receiver) webhook(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text := string(body)
	var slack struct{ Text string }
	if json.Unmarshal(body, &slack) == nil && slack.Text != "" {
		text = slack.Text
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := q.Header.Get("Idempotency-Key"); key != "" {
		if r.hooks[key] {
			r.repeated++
			return
		}
		r.hooks[key] = true
	}
	r.messages = append(r.messages, text)
}

// bulk takes index actions, each with its document in the next line; an id that is there is replaced.
func (r *Receiver) bulk(w http.ResponseWriter, q *http.Request) {
	type result struct {
		Index  string `json:"_index"`
		ID     string `json:"_id"`
		Status int    `json:"status"`
	}
	items := []map[string]result{}
	lines := bufio.NewScanner(http.MaxBytesReader(w, q.Body, 64<<20))
	lines.Buffer(nil, 16<<20)
	r.mu.Lock()
	defer r.mu.Unlock()
	for lines.Scan() {
		var action map[string]struct {
			Index string `json:"_index"`
			ID    string `json:"_id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil || len(action) != 1 || !lines.Scan() {
			http.Error(w, fmt.Sprintf("not an action with its document: %v", err), http.StatusBadRequest)
			return
		}
		for verb, a := range action {
			docs := r.indexes[a.Index]
			if docs == nil {
				docs = map[string]json.RawMessage{}
				r.indexes[a.Index] = docs
			}
			status := http.StatusCreated
			if docs[a.ID] != nil {
				status = http.StatusOK
			}
			docs[a.ID] = append(json.RawMessage(nil), lines.Bytes()...)
			items = append(items, map[string]result{verb: {a.Index, a.ID, status}})
		}
	}
	if err := lines.Err(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"took": 1, "errors": false, "items": items}) // the client is gone: nothing to do
}
