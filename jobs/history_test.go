package jobs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

var runs = table.Ident{Namespace: "lake", Name: "lakeloader_jobs"}

// runWorld is an outbox and a table of runs in memory. Before and after each of their calls, happen is asked what comes in between.
type runWorld struct {
	deleting sync.Mutex // deletes are concurrent
	objects  map[string][]byte
	props    map[string]string
	main     int64
	made     bool
	live     []table.File
	rows     map[string][]Ended // by file
	written  int
	commits  int
	happen   func(call string) error
}

func newRunWorld() *runWorld {
	return &runWorld{objects: map[string][]byte{}, props: map[string]string{}, rows: map[string][]Ended{}, happen: func(string) error { return nil }}
}

func (w *runWorld) around(call string, do func() error) error {
	if err := w.happen("before " + call); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return w.happen("after " + call)
}

func (w *runWorld) Create(context.Context, string) (objects.Upload, error) {
	return nil, errors.New("not used")
}

func (w *runWorld) Put(_ context.Context, uri string, data []byte) error {
	return w.around("put", func() error {
		if _, ok := w.objects[uri]; ok {
			return objects.ErrExists
		}
		w.objects[uri] = data
		return nil
	})
}

type bytesReader struct{ *strings.Reader }

func (bytesReader) Close() error { return nil }

func (w *runWorld) Open(_ context.Context, uri string) (objects.Reader, error) {
	data, ok := w.objects[uri] // reads are concurrent: nothing happens in between
	if !ok {
		return nil, objects.ErrNotFound
	}
	return bytesReader{strings.NewReader(string(data))}, nil
}

func (w *runWorld) List(_ context.Context, prefix string) (list []objects.Info, err error) {
	err = w.around("list", func() error {
		for _, uri := range slices.Sorted(maps.Keys(w.objects)) {
			if strings.HasPrefix(uri, prefix) {
				list = append(list, objects.Info{URI: uri})
			}
		}
		return nil
	})
	return list, err
}

func (w *runWorld) Delete(_ context.Context, uri string) error {
	w.deleting.Lock()
	defer w.deleting.Unlock()
	delete(w.objects, uri)
	return nil
}

// tables is the world as a catalog.
type runTables struct{ *runWorld }

func (w runTables) Info(context.Context, table.Ident) (table.Info, error) {
	row := historyRow()
	for i := range row.Fields {
		row.Fields[i].ID = i + 1
	}
	return table.Info{Ident: runs, Row: row}, nil
}

func (w runTables) Ensure(ctx context.Context, def table.Def) (table.Info, error) {
	w.made = true
	return w.Info(ctx, def.Ident)
}

func (w runTables) Open(context.Context, table.Ident) (table.Store, error) {
	if !w.made {
		return nil, table.ErrNoTable
	}
	return w, nil
}

func (w runTables) Files(context.Context, table.Ident, int64) ([]table.File, []string, error) {
	return slices.Clone(w.live), nil, nil
}

func (w runTables) Load(context.Context) (base *table.Base, err error) {
	err = w.around("load", func() error {
		base = &table.Base{Snapshot: w.main, Props: maps.Clone(w.props), Handle: w.main}
		return nil
	})
	return base, err
}

func (w runTables) Swap(_ context.Context, base *table.Base, ch table.Change) error {
	err := w.around("swap", func() error {
		if base.Handle != w.main {
			return table.ErrConflict
		}
		w.main++
		w.commits++
		for _, key := range ch.Unset {
			delete(w.props, key)
		}
		if ch.Props != nil {
			maps.Copy(w.props, ch.Props(w.main))
		}
		w.live = append(slices.DeleteFunc(w.live, func(f table.File) bool { return slices.Contains(ch.Remove, f.Path) }), ch.Add...)
		return nil
	})
	if errors.Is(err, errCut) {
		return fmt.Errorf("%w: %w", table.ErrUnknown, err)
	}
	return err
}

func (w *runWorld) write(_ context.Context, info table.Info, all []Ended) (files []table.File, err error) {
	err = w.around("write", func() error {
		w.written++
		last := all[0].Started
		for _, r := range all {
			last = later(last, r.Started)
		}
		at := info.Row.Fields[info.Row.Index(runStarted)].ID
		f := table.File{Path: fmt.Sprint("file", w.written), Rows: int64(len(all)), CreatedMS: began.UnixMilli(),
			UpperBounds: map[int][]byte{at: binary.LittleEndian.AppendUint64(nil, uint64(last.UnixMicro()))}}
		w.rows[f.Path] = all
		files = []table.File{f}
		return nil
	})
	return files, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *runWorld) history() *History {
	return &History{Tables: runTables{w}, Table: runs, Store: w, Outbox: "mem://outbox", Write: w.write, Wait: noWait, Now: func() time.Time { return began }, OrphanAge: 72 * time.Hour}
}

func (w *runWorld) end(t *testing.T, n int) {
	l := &Leases{Store: w, Outbox: "mem://outbox", TTL: time.Minute}
	at := began.Add(time.Duration(n) * time.Second)
	if err := l.post(t.Context(), Record{Job: "expire", Target: fmt.Sprint("t", n), Started: at, Ended: at}); err != nil {
		t.Fatal(err)
	}
}

// targets are those of the runs that are in the table, sorted.
func (w *runWorld) targets() (all []string) {
	for _, f := range w.live {
		for _, r := range w.rows[f.Path] {
			all = append(all, r.Target)
		}
	}
	slices.Sort(all)
	return all
}

var errCut = errors.New("the connection was cut")

// Every run is in the table exactly once, wherever processes are killed, replies are lost, and others do the same in between.
func TestHistoryExactlyOnce(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := newRunWorld()
		ended, depth := 0, 0
		w.happen = func(call string) error {
			switch rnd.IntN(12) {
			case 0:
				return errCut
			case 1:
				if depth < 3 && !strings.HasSuffix(call, "put") {
					depth++
					_, err := w.history().Run(t.Context())
					if depth--; err != nil && !errors.Is(err, errCut) && !errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
			case 2:
				if depth < 3 {
					happen := w.happen
					w.happen = func(string) error { return nil }
					w.end(t, ended)
					w.happen = happen
					ended++
				}
			}
			return nil
		}
		for range 5 {
			if _, err := w.history().Run(t.Context()); err != nil && !errors.Is(err, errCut) && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		w.happen = func(string) error { return nil }
		w.end(t, ended)
		if _, err := w.history().Run(t.Context()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		var want []string
		for n := range ended + 1 {
			want = append(want, fmt.Sprint("t", n))
		}
		slices.Sort(want)
		if got := w.targets(); !slices.Equal(got, want) || len(w.objects) != 0 {
			t.Fatalf("seed %d: the table has %v, want %v; %d objects are left", seed, got, want, len(w.objects))
		}
	}
}

// What there is goes in one commit; a run of nothing makes none, and no table.
func TestHistoryBatches(t *testing.T) {
	w := newRunWorld()
	if m, err := w.history().Run(t.Context()); err != nil || m.Runs != 0 || w.made {
		t.Errorf("%+v, %v", m, err)
	}
	for n := range takenAtOnce + 1 {
		w.end(t, n)
	}
	if m, err := w.history().Plan(t.Context()); err != nil || m.Runs != takenAtOnce+1 || w.made {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := w.history().Run(t.Context()); err != nil || m.Runs != takenAtOnce+1 || w.commits != 2 {
		t.Errorf("%+v, %v, %d commits", m, err, w.commits)
	}
	if len(w.props) != 1 { // those of the larger commit are gone
		t.Errorf("properties %v", w.props)
	}
	if m, err := w.history().Run(t.Context()); err != nil || m.Runs != 0 || w.commits != 2 {
		t.Errorf("%+v, %v, %d commits", m, err, w.commits)
	}
	names := make([]string, takenAtOnce)
	for i := range names {
		names[i] = "0123456789abcdef01234"
	}
	for key, value := range takenProps(names) {
		if len(value) > 3400 {
			t.Errorf("%s has %d bytes", key, len(value))
		}
	}
}

// Old runs go by whole months.
func TestHistoryRetention(t *testing.T) {
	w := newRunWorld() // in May 2026
	h := w.history()
	h.Keep = 10 * 24 * time.Hour
	for _, days := range []int{-70, -34, -33, -1} { // February, March 31, April 1, May 3
		w.end(t, days*24*3600)
		if _, err := w.history().Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := h.Plan(t.Context()); err != nil || m.Dropped != 2 || len(w.live) != 4 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := h.Run(t.Context()); err != nil || m.Dropped != 2 || len(w.live) != 2 {
		t.Errorf("%+v, %v, %v", m, err, w.live)
	}
	commits := w.commits
	if m, err := h.Run(t.Context()); err != nil || m.Dropped != 0 || w.commits != commits {
		t.Errorf("%+v, %v", m, err)
	}
}

// An object that is no run is named, and nothing is dropped silently.
func TestHistoryRefusesStrangers(t *testing.T) {
	for uri, data := range map[string]string{"mem://outbox/notes.txt": "", "mem://outbox/00000000-000000000000.json": "{"} {
		w := newRunWorld()
		w.objects[uri] = []byte(data)
		if _, err := w.history().Run(t.Context()); err == nil || !strings.Contains(err.Error(), uri) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// Every end of a run is posted, whether it succeeded, failed or lost its lease; one that was left to another process is none.
func TestEndsArePosted(t *testing.T) {
	w := newRunWorld()
	l := &Leases{Store: objects.NewLocal(), Root: "file://" + t.TempDir(), Owner: "one", Now: func() time.Time { return began }, TTL: 30 * time.Millisecond, Keep: 3}
	l.Outbox = l.Root + "/_ended"
	l.Hide = func(text string) string { return strings.ReplaceAll(text, "hunter2", "***") }
	h := w.history()
	h.Store, h.Outbox = l.Store, l.Outbox
	if _, err := l.Do(t.Context(), "expire", "lake.t", func(ctx context.Context) (*Report, error) {
		if _, err := l.Do(ctx, "expire", "lake.t", did("never")); !errors.Is(err, ErrHeld) {
			t.Errorf("%v", err)
		}
		return &Report{Summary: "7 of 9 snapshots", Numbers: map[string]int64{"expired": 7}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Do(t.Context(), "expire", "lake.u", func(context.Context) (*Report, error) { return nil, errors.New("access denied to hunter2") }); err == nil {
		t.Error("it did not fail")
	}
	if _, err := l.Do(t.Context(), "compact", "lake.v", func(ctx context.Context) (*Report, error) {
		g := l.log("compact", "lake.v")
		if err := g.list(ctx); err != nil {
			t.Fatal(err)
		}
		for err := error(nil); err == nil; { // until a renewal finds its number taken
			if err = g.next(ctx, Record{Until: began.Add(time.Hour)}); errors.Is(err, objects.ErrExists) {
				err = g.list(ctx)
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}); !errors.Is(err, errLost) {
		t.Errorf("%v", err)
	}
	if m, err := h.Run(t.Context()); err != nil || m.Runs != 3 {
		t.Fatalf("%+v, %v", m, err)
	}
	var got []string
	for _, r := range w.rows["file1"] {
		summary := ""
		if r.Done != nil {
			summary = r.Done.Summary
		}
		got = append(got, fmt.Sprintf("%s %s by %s: %s%.41s", r.Job, r.Target, r.Owner, summary, r.Error))
	}
	slices.Sort(got)
	want := []string{"compact lake.v by one: job compact on lake.v: the lease was lost", "expire lake.t by one: 7 of 9 snapshots", "expire lake.u by one: access denied to ***"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	b := HistoryRows(w.rows["file1"])
	if b.Rows != 3 || b.Root.Children[0].Len != 3 || b.Root.Len != 3 {
		t.Errorf("%d rows", b.Rows)
	}
}
