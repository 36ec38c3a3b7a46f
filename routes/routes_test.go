package routes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/routes"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

var primary = table.Ident{Namespace: "lake", Name: "t"}

const columns = "id long required, club string, stars int, price decimal(10,2), at timestamptz"

// value is a record's, with the id as number of stars too.
func value(id int) string {
	return fmt.Sprintf(`{"id":%d,"club":%q,"stars":%d,"price":"%d.50","at":"2026-11-21T10:%02d:00Z"}`, id, []string{"gold", "platinum"}[id%2], id%5+1, id, id%60)
}

func values(first, next int) (v []string) {
	for i := first; i < next; i++ {
		v = append(v, value(i))
	}
	return v
}

// outlet gives a route its defaults.
func outlet(o configs.Outlet) *configs.Outlet {
	c := &configs.Config{Pipelines: []configs.Pipeline{{Name: "p", Outlets: []configs.Outlet{o}}}}
	configs.ApplyDefaults(c)
	return &c.Pipelines[0].Outlets[0]
}

// recorder notes what becomes of a route.
type recorder struct {
	mu                                 sync.Mutex
	rows, refused, suppressed, dropped int64
	errs                               []string
	standby                            int
	changed                            chan struct{}
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{}, 1)} }

func (r *recorder) note(f func()) {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *recorder) Delivering() { r.note(func() {}) }
func (r *recorder) Standby()    { r.note(func() { r.standby++ }) }
func (r *recorder) Lag(int64)   {}
func (r *recorder) Failing(err error, _ time.Time) {
	r.note(func() { r.errs = append(r.errs, err.Error()) })
}
func (r *recorder) Delivered(rows, refused, suppressed int64) {
	r.note(func() { r.rows, r.refused, r.suppressed = r.rows+rows, r.refused+refused, r.suppressed+suppressed })
}

// until waits for something that the recorder is told of.
func (r *recorder) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		ok := cond()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.changed:
		case <-limit:
			t.Fatalf("%s: not within 30 s: %d rows, %d refused, %d suppressed, errors %q", what, r.rows, r.refused, r.suppressed, r.errs)
		}
	}
}

// running is a route of a lake's pipeline p.
type running struct {
	*recorder
	deps routes.Deps
	wake chan struct{}
	stop chan struct{}
	kill context.CancelFunc
	done chan struct{}
}

func start(t testing.TB, e *pipelinetest.Env, o *configs.Outlet, change func(*routes.Deps)) *running {
	t.Helper()
	r := &running{recorder: newRecorder(), wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r.deps = routes.Deps{
		Reader:  &follow.Reader{Catalog: e.Catalog, Objects: e.Objects, Root: e.Root, Pipeline: "p", Primary: primary},
		Cursors: &routes.Cursors{Store: e.Objects, Root: e.Root, Pipeline: "p", Route: o.Name},
		Info:    func(ctx context.Context) (table.Info, error) { return e.Catalog.Info(ctx, primary) },
		Lease:   func(ctx context.Context, f func(context.Context) error) error { return f(ctx) },
		NewTopic: func(ctx context.Context) (routes.Topic, error) {
			return source.NewTransactor(ctx, e.Config, o.Topic.Name, "p-"+o.Name, "p-"+o.Name, log)
		},
		Recorder: r.recorder, Log: log, Now: time.Now, Poll: 50 * time.Millisecond, Wake: r.wake, Stop: r.stop,
	}
	if change != nil {
		change(&r.deps)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.kill = cancel
	route := routes.New(o, r.deps)
	go func() {
		defer close(r.done)
		route.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-r.done })
	return r
}

// end has the route send what is committed.
func (r *running) end() {
	close(r.stop)
	<-r.done
}

func load(t testing.TB, e *pipelinetest.Env, cfg *configs.Config, n int64) {
	t.Helper()
	e.Load(t, cfg, n)
}

// hook is a webhook that notes what it gets.
type hook struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []call
	answer func(n int, c call) (status int, header map[string]string)
}

type call struct {
	header http.Header
	body   string
}

func newHook(t *testing.T, answer func(n int, c call) (int, map[string]string)) *hook {
	h := &hook{answer: answer}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		c := call{r.Header, string(body)}
		status, header := 200, map[string]string(nil)
		if h.answer != nil {
			status, header = h.answer(len(h.calls), c)
		}
		h.calls = append(h.calls, c)
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, "answer ", status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) bodies() (out []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		out = append(out, c.body)
	}
	return out
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	e.Produce(t, "a", 0, values(0, 4)...)
	load(t, e, cfg, 4)
	h := newHook(t, nil)
	o := outlet(configs.Outlet{Name: "unhappy", When: `stars < 3 && club == "platinum"`, Columns: []string{"id", "club", "price"}, Start: "earliest",
		Webhook: &configs.OutletWebhook{URL: h.URL + "/hook", Secret: "a secret"}})
	r := start(t, e, o, nil)
	r.until(t, "the first row", func() bool { return r.rows == 1 })
	e.Produce(t, "a", 0, values(4, 8)...)
	load(t, e, cfg, 4)
	r.until(t, "one more", func() bool { return r.rows == 2 }) // 1 and 5
	r.end()
	want := []string{`{"id":1,"club":"platinum","price":"1.50"}`, `{"id":5,"club":"platinum","price":"5.50"}`}
	if got := h.bodies(); !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
	c := h.calls[1]
	if got := c.header.Get("Idempotency-Key"); got != "a-0-5" {
		t.Errorf("idempotency key %s", got)
	}
	if at := c.header.Get("X-Lakeloader-Timestamp"); c.header.Get("X-Lakeloader-Signature") != routes.Sign("a secret", at, []byte(c.body)) {
		t.Errorf("signature of %s: %s", at, c.header.Get("X-Lakeloader-Signature"))
	}
	// Once more from where it was.
	e.Produce(t, "a", 0, values(8, 12)...)
	load(t, e, cfg, 4)
	start(t, e, o, nil).end()
	if got := h.bodies(); len(got) != 3 || !strings.HasPrefix(got[2], `{"id":11,`) {
		t.Fatalf("%q", got)
	}
}

func TestTopic(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	e.Create(t, "out", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a")
	e.Produce(t, "a", 0, values(0, 10)...)
	e.Produce(t, "a", 1, values(10, 20)...)
	load(t, e, cfg, 20)
	o := outlet(configs.Outlet{Name: "even", When: "id % 2 == 0", Columns: []string{"id"}, Start: "earliest", Topic: &configs.OutletTopic{Name: "out", Key: []string{"club"}}})
	r := start(t, e, o, nil)
	r.until(t, "the first rows", func() bool { return r.rows == 10 })
	r.kill()
	<-r.done
	e.Produce(t, "a", 0, values(20, 30)...)
	load(t, e, cfg, 10)
	start(t, e, o, nil).end()
	var ids []int
	for _, rec := range e.Records(t, "out", 15) {
		var v struct{ ID int }
		if err := json.Unmarshal(rec.Value, &v); err != nil || string(rec.Key) != "gold" {
			t.Fatalf("%s %s: %v", rec.Key, rec.Value, err)
		}
		ids = append(ids, v.ID)
	}
	slices.Sort(ids)
	if fmt.Sprint(ids) != "[0 2 4 6 8 10 12 14 16 18 20 22 24 26 28]" {
		t.Errorf("%v", ids)
	}
}
