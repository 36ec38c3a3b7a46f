package obs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
)

// example is a state with two pipelines, one of them in trouble.
func example() (*State, *clock) {
	c := newClock()
	s := NewState("1.2.3", c.now)
	a := s.Pipeline("clicks", "lake.clicks", time.Minute)
	a.Running()
	a.Assigned([]Ownership{{"clicks", 0, 0, 1_000_000, c.ms(time.Second)}, {"clicks", 1, 0, -1, -1}})
	a.HighWatermark("clicks", 0, 1_500_000)
	a.Committed(Commit{ID: "0190-a", Number: 41, Took: 120 * time.Millisecond, Rows: 3_000_000, Bytes: 99 << 20, Files: 3, Filtered: map[string]int64{"cleanse[1] filter": 12}, Routed: map[string]int64{"lake.views": 1_000_000},
		Dead: []DeadStatus{{"cleanse", "cleanse[3] validate", 4}, {"decode", "", 1}}, Offsets: []CommittedOffset{{"clicks", 0, 0, 1_100_000, c.ms(0)}}})
	c.pass(12 * time.Second)
	a.Read(Batch{Records: 390_000, Bytes: 44 << 20, Rejected: 1, Last: RejectStatus{Stage: "cleanse", Step: "cleanse[3] validate", Reason: "stars is 9, more than 5"},
		Partitions: []Progress{{"clicks", 0, 1_490_000, 390_000, c.ms(1500 * time.Millisecond)}}})
	a.Unpublished(389_999, 13<<20)
	a.Memory(MemoryUse{Batches: 9 << 20, Files: 200 << 20, Uploads: 3 << 20, Finished: 4 << 10})
	s.Memory(MemoryStatus{Ceiling: 512 << 20, Fetch: 64 << 20, Go: 300 << 20, Work: 180 << 20})
	b := s.Pipeline("ratings", "silver.ratings", 10*time.Second)
	b.Failing(errors.New("commit to silver.ratings: PUT s3://lake/x: 503 SlowDown\x1b[31m"), c.now().Add(8*time.Second))
	b.Dropped(true)
	c.pass(3 * time.Second)
	return s, c
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func serve(t *testing.T, s *State) *Server {
	t.Helper()
	srv, err := Listen("127.0.0.1:0", nil, NewHandler(s, nil), quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return srv
}

func TestEndpoints(t *testing.T) {
	s, _ := example()
	addr := serve(t, s).Addr()
	for path, want := range map[string]struct {
		code int
		body string
	}{
		"/healthz":                 {200, "ok\n"},
		"/readyz":                  {503, "ratings: failing: commit to silver.ratings: PUT s3://lake/x: 503 SlowDown\x1b[31m\n"},
		"/readyz?pipeline=clicks":  {200, "ready\n"},
		"/readyz?pipeline=ratings": {503, "ratings: failing: commit to silver.ratings: PUT s3://lake/x: 503 SlowDown\x1b[31m\n"},
		"/readyz?pipeline=none":    {404, "there is no such pipeline\n"},
		"/nothing":                 {404, "404 page not found\n"},
	} {
		if code, body := get(t, addr, path); code != want.code || body != want.body {
			t.Errorf("%s: got %d %q", path, code, body)
		}
	}
	if code, body := get(t, serve(t, NewState("", nil)).Addr(), "/readyz"); code != 503 || body != "starting: no pipeline runs yet\n" {
		t.Errorf("without pipelines: %d %q", code, body)
	}
}

// TestStatusTravels checks that a status arrives as it was sent.
func TestStatusTravels(t *testing.T) {
	s, _ := example()
	got, err := Fetch(context.Background(), Daemon{Address: serve(t, s).Addr()})
	if err != nil {
		t.Fatal(err)
	}
	if want := s.Status(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestFetchSaysWhatIsWrong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := Listen("127.0.0.1:0", nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>") }), quiet())
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{closed: "no answer from a daemon at", other.Addr(): "is not lakeloader"} {
		if _, err := Fetch(context.Background(), Daemon{Address: address}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := other.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := Listen("256.0.0.1:0", nil, http.NotFoundHandler(), quiet()); err == nil || !strings.Contains(err.Error(), "http.address") {
		t.Errorf("got %v", err)
	}
}

// TestStop checks that Stop lets a request end within its deadline, and cuts it off after that.
func TestStop(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	srv, err := Listen("127.0.0.1:0", nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
	}), quiet())
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := http.Get("http://" + srv.Addr())
		failed <- err
	}()
	<-arrived
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the request should have been cut off")
	}
	close(release)
	if _, err := net.Dial("tcp", srv.Addr()); err == nil {
		t.Error("it still listens")
	}
}

func TestMetrics(t *testing.T) {
	s, _ := example()
	code, body := get(t, serve(t, s).Addr(), "/metrics")
	var ours []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "lakeloader_") {
			ours = append(ours, line)
		}
	}
	golden(t, "testdata/metrics.txt", strings.Join(ours, ""))
	if code != 200 || !strings.Contains(body, "go_goroutines ") || !strings.Contains(body, "process_resident_memory_bytes ") {
		t.Errorf("code %d, or the process's own metrics are missing", code)
	}
}

func TestRenderStatus(t *testing.T) {
	s, _ := example()
	for _, width := range []int{0, 100, 60, 20} {
		var b bytes.Buffer
		if err := RenderStatusWidth(&b, s.Status(), width); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", "status-"+count(int64(width))+".txt"), b.String())
	}
	var b bytes.Buffer
	if err := RenderStatus(&b, NewState("dev", newClock().now).Status()); err != nil {
		t.Fatal(err)
	}
	if want := "lakeloader dev, up 0s, not ready\n\nno pipelines\n"; b.String() != want {
		t.Errorf("got %q", b.String())
	}
}

// golden compares with a file; UPDATE_GOLDEN=1 writes it anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (UPDATE_GOLDEN=1 writes it anew); got:\n%s", name, got)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for _, c := range [][2]string{
		{count(0), "0"}, {count(999), "999"}, {count(1000), "1,000"}, {count(-1234567), "-1,234,567"},
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1536), "1.5 KiB"}, {size(3 << 40), "3.0 TiB"},
		{age(0), "0s"}, {age(1234 * time.Millisecond), "1.2s"}, {age(59 * time.Second), "59s"}, {age(61 * time.Second), "1m01s"},
		{age(2*time.Hour + 3*time.Minute), "2h03m"}, {age(50 * time.Hour), "2d02h"}, {seconds(0), "0s"}, {seconds(0.25), "300ms"}, {offset(-1), "-"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

func TestNewLogger(t *testing.T) {
	log := func(cfg configs.Log) string {
		f, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		l := NewLogger(cfg, f, nil)
		l.Debug("d")
		l.Info("i", "n", 1)
		l.Warn("w")
		data, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, c := range []struct {
		cfg   configs.Log
		lines int
		want  string
	}{
		{configs.Log{Level: "info", Format: "auto"}, 2, `"msg":"i","n":1}`}, // a file is no terminal
		{configs.Log{Level: "info", Format: "json"}, 2, `"level":"INFO"`},
		{configs.Log{Level: "info", Format: "text"}, 2, `level=INFO msg=i n=1`},
		{configs.Log{Level: "debug", Format: "text"}, 3, `level=DEBUG msg=d`},
		{configs.Log{Level: "warn", Format: "text"}, 1, `level=WARN msg=w`},
		{configs.Log{Level: "error", Format: "text"}, 0, ``},
	} {
		got := log(c.cfg)
		if strings.Count(got, "\n") != c.lines || !strings.Contains(got, c.want) {
			t.Errorf("%+v: got %s", c.cfg, got)
		}
	}
}
