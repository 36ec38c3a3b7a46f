package demo

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// Registry is a schema registry in memory with the part of the Confluent REST API that consumers and producers use.
type Registry struct {
	mu       sync.Mutex
	schemas  []registered // id is the index + 1
	subjects map[string][]int
	server   *http.Server
	url      string
}

type registered struct {
	Schema string `json:"schema"`
	Type   string `json:"schemaType,omitempty"`
}

// StartRegistry serves on a free loopback port until Close.
func StartRegistry() (*Registry, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the embedded registry: %w", err)
	}
	r := &Registry{subjects: map[string][]int{}, url: "http://" + l.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /subjects/{subject}/versions", r.register)
	mux.HandleFunc("GET /subjects/{subject}/versions/{version}", r.version)
	mux.HandleFunc("GET /schemas/ids/{id}", r.byID)
	mux.HandleFunc("GET /subjects", r.list)
	r.server = &http.Server{Handler: mux}
	go func() { _ = r.server.Serve(l) }() // ends with Close
	return r, nil
}

// URL to reach it.
func (r *Registry) URL() string { return r.url }

// Close ends it.
func (r *Registry) Close() error { return r.server.Close() }

// Register adds an Avro schema to a subject and returns its id.
func (r *Registry) Register(subject, schema string) int32 {
	return int32(r.add(subject, registered{Schema: schema}))
}

func (r *Registry) add(subject string, s registered) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := 0
	for i := range r.schemas {
		if r.schemas[i] == s {
			id = i + 1
		}
	}
	if id == 0 {
		r.schemas = append(r.schemas, s)
		id = len(r.schemas)
	}
	for _, v := range r.subjects[subject] {
		if v == id {
			return id
		}
	}
	r.subjects[subject] = append(r.subjects[subject], id)
	return id
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nothing to do
}

func notFound(w http.ResponseWriter, code int, what string) {
	reply(w, http.StatusNotFound, map[string]any{"error_code": code, "message": what + " not found"})
}

func (r *Registry) register(w http.ResponseWriter, q *http.Request) {
	var s registered
	if err := json.NewDecoder(http.MaxBytesReader(w, q.Body, 1<<20)).Decode(&s); err != nil {
		reply(w, http.StatusUnprocessableEntity, map[string]any{"error_code": 42201, "message": err.Error()})
		return
	}
	if s.Type == "AVRO" {
		s.Type = ""
	}
	reply(w, http.StatusOK, map[string]int{"id": r.add(q.PathValue("subject"), s)})
}

func (r *Registry) version(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := r.subjects[q.PathValue("subject")]
	if len(ids) == 0 {
		notFound(w, 40401, "Subject")
		return
	}
	n := len(ids)
	if v := q.PathValue("version"); v != "latest" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 || n > len(ids) {
			notFound(w, 40402, "Version")
			return
		}
	}
	s := r.schemas[ids[n-1]-1]
	reply(w, http.StatusOK, map[string]any{"subject": q.PathValue("subject"), "id": ids[n-1], "version": n, "schema": s.Schema, "schemaType": s.Type})
}

func (r *Registry) byID(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, err := strconv.Atoi(q.PathValue("id"))
	if err != nil || id < 1 || id > len(r.schemas) {
		notFound(w, 40403, "Schema")
		return
	}
	reply(w, http.StatusOK, r.schemas[id-1])
}

func (r *Registry) list(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := []string{}
	for s := range r.subjects {
		names = append(names, s)
	}
	reply(w, http.StatusOK, names)
}
