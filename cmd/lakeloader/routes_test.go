package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
)

// hooks notes what webhooks are sent, by path.
type hooks struct {
	*httptest.Server
	mu  sync.Mutex
	got map[string][]string
}

func newHooks(t *testing.T) *hooks {
	h := &hooks{got: map[string][]string{}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got[r.URL.Path] = append(h.got[r.URL.Path], string(body))
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) at(path string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got[path])
}

// A daemon sends to a topic and to webhooks, goes on where one that was killed has stopped, and tells of it.
func TestRoutesOfADaemon(t *testing.T) {
	e := pipelinetest.New(t)
	e.Create(t, "ratings", 1)
	e.Create(t, "unhappy", 1)
	h := newHooks(t)
	file := lakeConfig(t, e, fmt.Sprintf(`
http: {address: "127.0.0.1:0"}
pipelines:
- name: p
  source: {topics: [ratings]}
  decode: {value: {format: json, columns: [{name: id, type: long required}, {name: club, type: string}, {name: stars, type: int}]}}
  table: {name: t, partition_by: []}
  commit: {interval: 200ms, alarm_after: 1m}
  routes:
  - {name: topic, when: 'stars < 3 && club == "platinum"', columns: [id, stars], start: earliest, topic: {name: unhappy, key: [club]}}
  - name: slack
    when: 'stars < 3 && club == "platinum"'
    start: earliest
    webhook: {url: "%s/secret-slack", format: slack, template: "{{.id}} gave {{.stars}} <stars>"}
  - {name: now, when: stars == 1, mode: immediate, webhook: {url: "%s/secret-now"}}
`, h.URL, h.URL))
	lakeloader(t, "validate", "-c", file).ends(exitOK, "no problems")
	ratings := func(first, next int) {
		for i := first; i < next; i++ {
			e.Produce(t, "ratings", 0, fmt.Sprintf(`{"id":%d,"club":"platinum","stars":%d}`, i, i%5+1))
		}
	}
	ratings(0, 5)
	r := lakeloader(t, "plan", "-c", file).ends(exitOK, "2  slack: to webhook 127.0.0.1", "1  now: to webhook", "2  topic: to topic unhappy (committed) when stars < 3")
	if strings.Contains(r.stdout, "secret-") {
		t.Errorf("the plan shows a secret:\n%s", r.stdout)
	}
	run := func() (*exec.Cmd, *output) {
		log := &output{}
		d := program(t, "run", "-c", file)
		d.Stdout, d.Stderr = log, log
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		return d, log
	}
	d, log := run()
	address := log.after(t, `"msg":"listening","address":"`)
	slack := func(n int) { until(t, func() bool { return len(h.at("/secret-slack")) == n }) }
	slack(2)
	until(t, func() bool {
		out := lakeloader(t, "status", "--address", address).stdout
		return strings.Contains(out, "route topic: delivering, to topic unhappy: 2 delivered, 0 offsets behind")
	})
	if err := d.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.Wait() // it was killed
	ratings(5, 10)
	d, log = run()
	slack(4)
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.Wait(); err != nil {
		t.Fatalf("%v: %s", err, log)
	}
	if got := h.at("/secret-slack"); got[2] != `{"text":"5 gave 1 <stars>"}` {
		t.Errorf("%q", got)
	}
	if got := h.at("/secret-now"); len(got) < 2 || got[0] != `{"id":0,"club":"platinum","stars":1}` {
		t.Errorf("%q", got)
	}
	var got []string
	for _, r := range e.Records(t, "unhappy", 4) {
		got = append(got, string(r.Key)+string(r.Value))
	}
	if want := `platinum{"id":0,"stars":1} platinum{"id":1,"stars":2} platinum{"id":5,"stars":1} platinum{"id":6,"stars":2}`; strings.Join(got, " ") != want {
		t.Errorf("%s", got)
	}
	lakeloader(t, "verify", "-c", file).ends(exitOK, "OK")
	commandsOfRoutes(t, file)
	d, _ = run()
	slack(8)
	if err := d.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.Wait() // it was killed
	if got := h.at("/secret-slack"); got[4] != `{"text":"0 gave 1 <stars>"}` {
		t.Errorf("%q", got)
	}
}

// commandsOfRoutes moves the cursor of the route slack to the beginning.
func commandsOfRoutes(t *testing.T, file string) {
	t.Helper()
	list := lakeloader(t, "routes", "list", "-c", file).ends(exitOK, "pipeline p, route slack, webhook 127.0.0.1", "(committed): 0 offsets behind", "route now, ", "has no cursor")
	if strings.Contains(list.stdout, "secret-") {
		t.Errorf("the list shows a secret:\n%s", list.stdout)
	}
	lakeloader(t, "routes", "list", "-c", file, "-o", "json").ends(exitOK, `"route": "topic"`, `"next": 10`, `"committed": 10`)
	lakeloader(t, "routes", "list", "-c", file, "--pipeline", "q").ends(exitUsage, `no pipeline "q"`)
	reset := func(route, to string, more ...string) result {
		return lakeloader(t, append([]string{"routes", "reset", "-c", file, "--route", route, "--to", to}, more...)...)
	}
	reset("now", "now").ends(exitUsage, "it has no cursor")
	reset("none", "now").ends(exitUsage, `pipeline p has no route "none"`, "slack")
	reset("slack", "never").ends(exitUsage, "neither now, earliest")
	reset("slack", "snapshot:17").ends(exitFailed, "has no snapshot 17")
	reset("slack", "earliest").ends(exitOK, "10 offsets", "add --yes to do it")
	lakeloader(t, "routes", "list", "-c", file).ends(exitOK, "route slack, webhook 127.0.0.1", "(committed): 0 offsets behind")
	reset("slack", "earliest", "--yes").ends(exitOK, "Done.")
	lakeloader(t, "routes", "list", "-c", file).ends(exitOK, "(committed): 10 offsets behind")
	reset("topic", "2100-01-01", "--yes", "-o", "json").ends(exitOK, `"offsets_behind": 0`, `"done": true`)
}
