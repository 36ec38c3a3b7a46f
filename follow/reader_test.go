package follow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
)

var primary = table.Ident{Namespace: "lake", Name: "t"}

func reader(e *pipelinetest.Env) *follow.Reader {
	return &follow.Reader{Catalog: e.Catalog, Objects: e.Objects, Root: e.Root, Pipeline: "p", Primary: primary}
}

// next reads until there is no more, and gives the rows as partition:offset/epoch in order.
func next(t *testing.T, r *follow.Reader, c *follow.Cursor) string {
	t.Helper()
	var got []string
	for {
		to, err := r.Read(t.Context(), *c, []string{"id"}, func(b *batch.Batch) error {
			k, id := follow.KeysOf(b), b.Root.Children[b.Root.Type.Index("id")]
			for i := range b.Rows {
				if b.Fate[i] != batch.Keep {
					continue
				}
				if id.Int64[i] != k.Offset(i) {
					return fmt.Errorf("offset %d has id %d", k.Offset(i), id.Int64[i])
				}
				got = append(got, fmt.Sprintf("%d:%03d/%d", k.Key(i).Partition, k.Offset(i), k.Epoch(i)))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		done := to.Equal(*c)
		*c = to
		if done {
			break
		}
	}
	slices.Sort(got)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back follow.Cursor
	if err := json.Unmarshal(text, &back); err != nil || !back.Equal(*c) {
		t.Fatalf("the cursor %s is read as %+v: %v", text, back, err)
	}
	return strings.NewReplacer(":00", ":", ":0", ":", "/0", "").Replace(strings.Join(got, " "))
}

// load runs a loader until it has read n records and is told to stop.
func load(t *testing.T, e *pipelinetest.Env, cfg *configs.Config, n int64) {
	t.Helper()
	e.Load(t, cfg, n)
}

func numbered(first, next int) (v []string) {
	for i := first; i < next; i++ {
		v = append(v, fmt.Sprintf(`{"id":%d,"kind":%q}`, i, []string{"x", "y"}[i%2]))
	}
	return v
}

func TestRowsBehindACursor(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	cfg := pipelinetest.Pipeline("id long required, kind string", nil, "a")
	r, c := reader(e), follow.Cursor{}
	if got := next(t, r, &c); got != "" || c.UUID != "" {
		t.Fatalf("before there is a table: %q, %+v", got, c)
	}
	e.Create(t, "a", 2)
	e.Produce(t, "a", 0, numbered(0, 4)...)
	load(t, e, cfg, 4)
	if got := next(t, r, &c); got != "0:0 0:1 0:2 0:3" {
		t.Fatalf("first: %s", got)
	}
	end, err := r.State(t.Context())
	if err != nil || !end.End().Equal(c) {
		t.Fatalf("the end is %+v, and the cursor %+v: %v", end.End(), c, err)
	}
	e.Produce(t, "a", 0, numbered(4, 6)...)
	e.Produce(t, "a", 1, numbered(0, 2)...)
	load(t, e, cfg, 4)
	r.Limit = 1
	if got := next(t, r, &c); got != "0:4 0:5 1:0 1:1" {
		t.Fatalf("then: %s", got)
	}
	if got := next(t, r, &c); got != "" {
		t.Fatalf("once more: %s", got)
	}
	e.Drop(t, primary)
	load(t, e, cfg, 8)
	if _, err := r.Read(t.Context(), c, nil, func(*batch.Batch) error { return nil }); !errors.Is(err, follow.ErrReplaced) {
		t.Fatalf("a table that took the other's place: %v", err)
	}
}

// A rewind loads offsets again. Those that were passed before are no news; those that were not come once.
func TestRewindsBringNothingAgain(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		e := pipelinetest.New(t)
		cfg := pipelinetest.Pipeline("id long required, kind string", nil, "a")
		e.Create(t, "a", 1)
		e.Produce(t, "a", 0, numbered(0, 6)...)
		load(t, e, cfg, 6)
		r, c := reader(e), follow.Cursor{}
		r.Limit, r.Again = 1, again
		next(t, r, &c)
		e.Produce(t, "a", 0, numbered(6, 9)...)
		load(t, e, cfg, 3)
		late := c.Clone() // has 6 offsets, of an epoch that has 9
		if got := next(t, r, &c); got != "0:6 0:7 0:8" {
			t.Fatalf("%s", got)
		}
		rewind := func(to int64) {
			t.Helper()
			if _, err := pipeline.Rewind(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.RewindOptions{To: pipeline.Position{Offset: to}}); err != nil {
				t.Fatal(err)
			}
		}
		rewind(3)
		early := late.Clone()
		if got := next(t, r, &early); got != "" {
			t.Fatalf("what the rewind has taken away came: %s", got)
		}
		e.Produce(t, "a", 0, numbered(9, 10)...)
		load(t, e, cfg, 7)
		all, some := "0:9/1", "0:6/1 0:7/1 0:8/1 0:9/1"
		if again {
			all = "0:3/1 0:4/1 0:5/1 0:6/1 0:7/1 0:8/1 0:9/1"
			some = all
		}
		if got := next(t, r, &c); got != all {
			t.Errorf("again %v, to one that had all: %s, want %s", again, got, all)
		}
		for _, x := range []*follow.Cursor{&late, &early} {
			if got := next(t, r, x); got != some {
				t.Errorf("again %v, to one that had 6: %s, want %s", again, got, some)
			}
		}
	}
}

func TestRowsOfSeveralTables(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	cfg := pipelinetest.Pipeline("id long required, kind string", func(p *configs.Pipeline) {
		p.Table.Route = &configs.Route{By: "kind", Tables: map[string]string{"x": "xs"}}
	}, "a")
	e.Create(t, "a", 1)
	e.Produce(t, "a", 0, numbered(0, 6)...)
	load(t, e, cfg, 6)
	r, c := reader(e), follow.Cursor{}
	if got := next(t, r, &c); got != "0:0 0:1 0:2 0:3 0:4 0:5" {
		t.Fatalf("%s", got)
	}
}

// A cursor is found by a time, by a snapshot, before and behind all: what is read from there on is what is not older, or came after it.
func TestSeek(t *testing.T) {
	t.Parallel()
	e := pipelinetest.New(t)
	e.Create(t, "a", 2)
	cfg := pipelinetest.Pipeline("id long required", nil, "a")
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	send := func(partition int32, first, n int) {
		for i := first; i < n; i++ {
			e.Send(t, "a", partition, &kgo.Record{Value: []byte(fmt.Sprintf(`{"id":%d}`, i)), Timestamp: at.Add(time.Duration(i) * time.Minute)})
		}
	}
	r := reader(e)
	state := func() *follow.State {
		s, err := r.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	from := func(c follow.Cursor, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return next(t, r, &c)
	}
	if got := from(r.Since(t.Context(), state(), at)); got != "" {
		t.Errorf("of no table: %s", got)
	}
	send(0, 0, 3)
	load(t, e, cfg, 3)
	store, err := e.Catalog.Open(t.Context(), primary)
	if err != nil {
		t.Fatal(err)
	}
	base, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.Rewind(t.Context(), &cfg.Pipelines[0], e.Deps(t, cfg), pipeline.RewindOptions{Partitions: []int32{0}, To: pipeline.Position{Offset: 2}}); err != nil {
		t.Fatal(err)
	}
	send(0, 3, 5)
	send(1, 0, 2)
	load(t, e, cfg, 5)
	s := state()
	for _, c := range []struct{ what, got, want string }{
		{"the end", from(s.End(), nil), ""},
		{"the beginning", from(s.Begin(), nil), "0:0 0:1 0:2/1 0:3/1 0:4/1 1:0 1:1"},
		{"10:01", from(r.Since(t.Context(), s, at.Add(time.Minute))), "0:1 0:2/1 0:3/1 0:4/1 1:1"},
		{"10:03", from(r.Since(t.Context(), s, at.Add(3*time.Minute))), "0:3/1 0:4/1"},
		{"11:00", from(r.Since(t.Context(), s, at.Add(time.Hour))), ""},
		// What the rewind has taken away was in the snapshot, and comes again with the new epoch.
		{"the first snapshot", from(r.Behind(t.Context(), s, base.Snapshot)), "0:3/1 0:4/1 1:0 1:1"},
	} {
		if c.got != c.want {
			t.Errorf("from %s on: %s, want %s", c.what, c.got, c.want)
		}
	}
	if _, err := r.Behind(t.Context(), s, 17); !errors.Is(err, follow.ErrNoSnapshot) {
		t.Errorf("a snapshot that is not there: %v", err)
	}
}
