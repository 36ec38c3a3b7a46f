//go:build stack

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/internal/point"
	"github.com/lakeloader/lakeloader/test/stack/stacktest"
)

// loader is the place of one `lakeloader run` process, which is started anew after it was killed. Everything that it
// asks over the network, but for Kafka, goes through proxies of its own.
type loader struct {
	t        *testing.T
	number   int
	dir      string
	config   string
	s3       *stacktest.HTTPProxy
	catalog  *stacktest.HTTPProxy // REST; else nil
	postgres *stacktest.Proxy     // PostgreSQL; else nil
	registry *stacktest.HTTPProxy

	process *process // the present one; nil before the first start
	past    []*process
}

// process is one life of a loader.
type process struct {
	*stacktest.Daemon
	*steps
	orders *os.File
	number int
}

// start starts a process, which obeys the orders before anything else.
func (l *loader) start(first ...string) {
	l.t.Helper()
	if l.process != nil {
		l.past = append(l.past, l.process)
	}
	told, tells := pipe(l.t)
	obeys, orders := pipe(l.t)
	text := ""
	for _, o := range first {
		text += o + "\n"
	}
	d := stacktest.StartChaosDaemon(l.t, l.config, tells, obeys, text)
	_ = tells.Close() // the process has its own
	_ = obeys.Close()
	l.process = &process{Daemon: d, steps: follow(told), orders: orders, number: len(l.past)}
	l.t.Cleanup(func() { _ = orders.Close() })
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// order gives an order to the process, which may be gone.
func (p *process) order(format string, args ...any) {
	_, _ = fmt.Fprintf(p.orders, format+"\n", args...)
}

// upright starts the process again if it has ended, as a supervisor does. It must never have stopped for a reason that needs
// a person.
func (l *loader) upright() {
	l.t.Helper()
	if l.process.Running() {
		return
	}
	if code := l.process.Wait(); code == 5 {
		l.t.Errorf("loader %d stopped for good, though nothing was wrong that could not be mended; see its log", l.number)
	}
	l.start()
}

// committed is how far the process's own partitions are in the lake.
func (p *process) committed(ctx context.Context) (map[stacktest.Place]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addr, ok := p.Address()
	if !ok {
		return nil, fmt.Errorf("it does not listen yet")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/status", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var status struct {
		Pipelines []struct {
			Partitions []struct {
				Topic     string
				Partition int32
				Committed int64
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		return nil, err
	}
	at := map[stacktest.Place]int64{}
	for _, l := range status.Pipelines {
		for _, x := range l.Partitions {
			at[stacktest.Place{Topic: x.Topic, Partition: x.Partition}] = x.Committed
		}
	}
	return at, nil
}

// commit waits for a commit after a moment.
func (p *process) commit(ctx context.Context, after time.Time) (step, bool) {
	return p.wait(ctx, func(s step) bool { return s.what == "step" && s.name == point.Committed && s.at.After(after) })
}

// keep writes what the processes said into a folder.
func (l *loader) keep(dir string) error {
	for _, p := range append(l.past, l.process) {
		if p == nil {
			continue // it was never started
		}
		name := filepath.Join(dir, fmt.Sprintf("loader-%d-%d", l.number, p.number))
		if err := os.WriteFile(name+".log", []byte(p.Log()), 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(name+".steps", []byte(p.steps.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
