package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/obs"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

// said is a log that tells when something was written.
type said struct{ lines chan string }

func (s *said) Write(b []byte) (int, error) { s.lines <- string(b); return len(b), nil }

// ask asks an endpoint of the daemon.
func ask(t *testing.T, d *daemon, path string) (int, string) {
	t.Helper()
	return get(t, d.server.Addr(), path)
}

// Of four pipelines in a process one has no topic, one a table that is not its own, and one a topic that was made again: the
// fourth loads, and each says what is wrong with it.
func TestPipelinesInTroubleLeaveTheOthersAlone(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	for _, topic := range []string{"a", "b", "again", "fine"} {
		e.Create(t, topic, 1)
		for i := range 5 {
			e.Produce(t, topic, 0, fmt.Sprintf(`{"id":%d}`, i))
		}
	}
	pipe := func(name string, topics ...string) string {
		return fmt.Sprintf(`
  - name: %s
    source: {topics: [%s], group: %[1]s}
    decode: {value: {format: json, columns: [{name: id, type: long}]}}
    table: {name: %[1]s, partition_by: []}
    commit: {interval: 100ms, alarm_after: 1s}`, name, strings.Join(topics, ", "))
	}
	text := fmt.Sprintf("kafka: {brokers: [%q]}\nwarehouse: {location: %q}\nhttp: {address: 127.0.0.1:0}\npipelines:",
		strings.Join(e.Config.Brokers, ","), filepath.Join(e.Dir, "lake"))
	run := func(pipes ...string) (*daemon, *said, func()) {
		t.Helper()
		cfg, _, err := configs.Load(write(t, "lakeloader.yaml", text+strings.Join(pipes, "")))
		if err != nil {
			t.Fatal(err)
		}
		log := &said{make(chan string, 1<<16)}
		stop := make(chan struct{})
		d, err := startDaemon(context.Background(), stop, cfg, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return d, log, func() {
			close(stop)
			<-d.done
			if err := d.close(); err != nil {
				t.Error(err)
			}
		}
	}
	until := func(log *said, what string, cond func() bool) {
		t.Helper()
		limit := time.NewTimer(pipelinetest.Patience)
		defer limit.Stop()
		for !cond() {
			select {
			case <-log.lines:
			case <-limit.C:
				t.Fatalf("gave up waiting for %s", what)
			}
		}
	}
	state := func(d *daemon, name string) obs.PipelineStatus {
		all := d.state.Status().Pipelines
		return all[slices.IndexFunc(all, func(p obs.PipelineStatus) bool { return p.Name == name })]
	}

	d, log, end := run(pipe("mixed", "again", "b"), pipe("other", "a"))
	until(log, "the first load", func() bool { return state(d, "mixed").Rows == 10 && state(d, "other").Rows == 5 })
	end()
	e.Delete(t, "again")
	e.Create(t, "again", 1)
	e.Produce(t, "again", 0, `{"id":100}`)
	e.Produce(t, "b", 0, `{"id":5}`)
	e.Swap(t, table.Ident{Namespace: "lake", Name: "other"}, table.Change{Unset: []string{"lakeloader.other.ledger", "lakeloader.other.offsets.0", "lakeloader.other.topics.0"}})

	d, log, end = run(pipe("mixed", "again", "b"), pipe("other", "a"), pipe("lost", "nowhere"), pipe("fine", "fine"))
	defer end()
	until(log, "what can be loaded", func() bool { return state(d, "fine").Rows == 5 && state(d, "mixed").Rows == 1 })
	until(log, "the alarms", func() bool {
		return state(d, "mixed").Alarm && state(d, "other").Phase == obs.Stopped && state(d, "lost").Alarm
	})
	for name, want := range map[string]string{"mixed": "topic again is not the one", "other": "has 5 rows but no offsets", "lost": "nowhere"} {
		code, body := ask(t, d, "/readyz?pipeline="+name)
		p := state(d, name)
		if code != http.StatusServiceUnavailable || p.LastError == nil || !strings.Contains(p.LastError.Message, want) || p.LastError.Since.IsZero() {
			t.Errorf("%s: %d %s; %+v", name, code, body, p.LastError)
		}
	}
	if code, body := ask(t, d, "/readyz?pipeline=fine"); code != http.StatusOK {
		t.Errorf("fine: %d %s", code, body)
	}
	if code, body := ask(t, d, "/readyz"); code != http.StatusServiceUnavailable || strings.Contains(body, "fine:") {
		t.Errorf("all: %d %s", code, body)
	}
	_, metrics := ask(t, d, "/metrics")
	for _, m := range []string{`lakeloader_pipeline_alarm{pipeline="mixed"} 1`, `lakeloader_pipeline_alarm{pipeline="fine"} 0`,
		`lakeloader_pipeline_state{pipeline="mixed",state="failing"} 1`, `lakeloader_pipeline_state{pipeline="fine",state="running"} 1`} {
		if !strings.Contains(metrics, m) {
			t.Errorf("metrics lack %s", m)
		}
	}
	_, body := ask(t, d, "/api/status")
	var s obs.Status
	if err := json.Unmarshal([]byte(body), &s); err != nil || !strings.Contains(body, `"stopped": "topic again is not the one`) {
		t.Errorf("%v\n%s", err, body)
	}
}
