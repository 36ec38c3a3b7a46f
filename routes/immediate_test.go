package routes_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/routes"
)

func (r *recorder) Dropped(rows int64) { r.note(func() { r.dropped += rows }) }

// A row is sent before it is committed; a receiver that does not keep up holds loading up for a while, and then rows are not sent.
func TestImmediate(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	cfg := pipelinetest.Pipeline(columns, nil, "a") // it commits when it stops
	held := make(chan struct{})
	h := newHook(t, func(n int, _ call) (int, map[string]string) {
		switch n {
		case 1:
			return 503, nil
		case 2:
			<-held
		}
		return 200, nil
	})
	o := outlet(configs.Outlet{Name: "now", When: "id != 1", Columns: []string{"id"}, Mode: "immediate", Webhook: &configs.OutletWebhook{URL: h.URL, DedupeBy: []string{"id"}}})
	rec := newRecorder()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	m := routes.NewImmediate(t.Context(), o, routes.ImmediateDeps{Recorder: rec, Log: log, Now: time.Now, Wait: 50 * time.Millisecond})
	stop, done := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer close(done)
		m.Run(ctx, stop)
	}()
	l := e.Start(t, cfg, func(d *pipeline.Deps) { d.Rows = m.Take })
	e.Produce(t, "a", 0, value(0), value(1))
	rec.until(t, "the first row", func() bool { return rec.rows == 1 })
	if ledger := e.Ledger(t, "p", primary); ledger != nil && ledger.Number > 0 {
		t.Fatal("it was committed already")
	}
	const most = 12_000
	e.Produce(t, "a", 0, append(values(2, most), value(0))...) // 0 is there twice
	rec.until(t, "rows to be given up", func() bool { return rec.dropped > 0 })
	close(held)
	l.Read(most + 1)
	close(stop)
	<-done
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	sent := ids(h.bodies())
	if !slices.Equal(sent[:4], []int{0, 2, 2, 3}) || rec.rows+rec.dropped+rec.suppressed != most || int64(len(sent)-1) != rec.rows {
		t.Errorf("%v..., %d rows, %d dropped, %d suppressed of %d", sent[:4], rec.rows, rec.dropped, rec.suppressed, most)
	}
	if rows := e.Rows(t, primary); len(rows) != most+1 {
		t.Errorf("%d rows in the table: %s", len(rows), fmt.Sprint(rec.errs))
	}
}
