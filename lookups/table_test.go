package lookups_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/enrich"
	"github.com/lakeloader/lakeloader/lookups"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

var personSchema = arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "name", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)

// lake is one table as a catalog tells it. It notes which files are read.
type lake struct {
	table.Catalog
	dir string

	mu       sync.Mutex
	snapshot int64
	files    []table.File
	changes  table.Changes // up to the snapshot, since the one before
	read     []string
}

func (l *lake) Info(context.Context, table.Ident) (table.Info, error) {
	return table.Info{Row: batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)}, batch.Field{Name: "name", Type: batch.Prim(batch.String)})}, nil
}

func (l *lake) Open(context.Context, table.Ident) (table.Store, error) { return store{l: l}, nil }

func (l *lake) Files(context.Context, table.Ident, int64) ([]table.File, []string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.files), nil, nil
}

func (l *lake) Changed(_ context.Context, _ table.Ident, since, until int64) (*table.Changes, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since != l.snapshot-1 || until != l.snapshot {
		return nil, fmt.Errorf("asked for what was changed from %d to %d at %d", since, until, l.snapshot)
	}
	c := l.changes
	return &c, nil
}

type store struct {
	table.Store
	l *lake
}

func (s store) Load(context.Context) (*table.Base, error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return &table.Base{Snapshot: s.l.snapshot}, nil
}

type noted struct {
	objects.Store
	l *lake
}

func (n noted) Open(ctx context.Context, uri string) (objects.Reader, error) {
	n.l.mu.Lock()
	n.l.read = append(n.l.read, filepath.Base(uri))
	n.l.mu.Unlock()
	return n.Store.Open(ctx, uri)
}

// change makes another snapshot, with a file more.
func (l *lake) change(t testing.TB, name, rows string, changes func(f table.File) table.Changes) {
	t.Helper()
	path := filepath.Join(l.dir, name)
	writeParquet(t, path, personSchema, rows)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.snapshot++
	f := table.File{Path: "file://" + path, Size: info.Size(), Rows: int64(strings.Count(rows, "{")), Sequence: l.snapshot}
	l.files = append([]table.File{f}, l.files...) // the newest first, as manifests are
	l.changes, l.read = changes(f), nil
}

func added(f table.File) table.Changes {
	return table.Changes{Known: true, Files: []table.FileChange{{File: f}}}
}

// run keeps a lookup until the end of the test.
func run(t testing.TB, l configs.Lookup, d lookups.Deps) *enrich.Lookup {
	t.Helper()
	cfg := &configs.Config{Lookups: []configs.Lookup{l}, Pipelines: []configs.Pipeline{{Enrich: []configs.Join{{Lookup: l.Name}}}}}
	configs.ApplyDefaults(cfg)
	d.Now = time.Now
	s := lookups.New(cfg, cfg.Pipelines, d)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s.Lookup(l.Name)
}

// wait waits until the status of a lookup is as wanted.
func wait(t testing.TB, l *enrich.Lookup, what string, is func(enrich.Status) bool) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		changed, st := l.Changed(), l.Status()
		if is(st) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no %s: the lookup is at %+v", what, st)
		}
	}
}

// follow runs a lookup of the table until the end of the test, and returns how to wait for a snapshot.
func (l *lake) follow(t testing.TB, c configs.Lookup) (*enrich.Lookup, func(snapshot int64) []string) {
	t.Helper()
	c.Table = &configs.LookupTable{Name: "people", Refresh: configs.Duration(5 * time.Millisecond)}
	x := run(t, c, lookups.Deps{Catalog: l, Objects: noted{objects.NewLocal(), l}, Log: slog.New(slog.DiscardHandler)})
	return x, func(snapshot int64) []string {
		t.Helper()
		wait(t, x, fmt.Sprint("snapshot ", snapshot), func(st enrich.Status) bool { return st.Version == fmt.Sprint(snapshot) })
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.read
	}
}

// names are those that a join finds for keys.
func names(t testing.TB, l *enrich.Lookup, ids ...int64) (out []string) {
	t.Helper()
	row := batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)})
	p, problems := enrich.Compile(row, []configs.Join{{Name: "j", Lookup: l.Name(), Join: "left", Miss: "null"}}, enrich.Options{Lookup: func(string) *enrich.Lookup { return l }})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := batch.New(&batch.Records{}, row)
	for i, id := range ids {
		b.Root.Children[0].AppendInt64(id)
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
	}
	if err := p.Apply(b); err != nil {
		t.Fatal(err)
	}
	c := b.Root.Children[1]
	for i := range ids {
		if c.IsNull(i) {
			out = append(out, "-")
		} else {
			out = append(out, string(b.Bytes(c.Views[i])))
		}
	}
	return out
}

// TestTableThatGrows: what was added is read alone, and counts before what was there; anything else has the table read whole.
func TestTableThatGrows(t *testing.T) {
	for name, steps := range map[string][]configs.Step{
		"as it is": nil,
		"cleansed": {{Name: "trim", Trim: &configs.ColumnsStep{Columns: []string{"name"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lake{dir: t.TempDir()}
			says := func(x *enrich.Lookup, want string) {
				t.Helper()
				if got := strings.Join(names(t, x, 1, 2, 3, 4), " "); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
			reads := func(got []string, want ...string) {
				t.Helper()
				if !slices.Equal(got, want) {
					t.Errorf("read were %v, want %v", got, want)
				}
			}
			l.change(t, "a", `[{"id":1,"name":"one"},{"id":2,"name":"two"}]`, added)
			x, until := l.follow(t, configs.Lookup{Name: "people", Key: []string{"id"}, Cleanse: steps})
			reads(until(1), "a")
			says(x, "one two - -")
			l.change(t, "b", `[{"id":2,"name":"zwei"},{"id":3,"name":"drei"},{"name":"nobody"}]`, added)
			reads(until(2), "b")
			says(x, "one zwei drei -")
			if st := x.Status(); st.Skipped != 1 || st.Rows != 3 || !strings.Contains(st.LastSkip, "b: row 2") {
				t.Errorf("%+v", st)
			}
			l.change(t, "c", `[{"id":4,"name":"four"}]`, func(f table.File) table.Changes {
				return table.Changes{Known: true, Files: []table.FileChange{{File: f}, {File: l.files[2], Removed: true}}}
			})
			reads(until(3), "a", "b", "c")
			says(x, "one zwei drei four")
			l.change(t, "d", `[{"id":4,"name":"vier"}]`, func(table.File) table.Changes { return table.Changes{} })
			reads(until(4), "a", "b", "c", "d")
			says(x, "one zwei drei vier")
			l.change(t, "e", `[]`, func(table.File) table.Changes { return table.Changes{Known: true} }) // as compaction does
			reads(until(5))
			says(x, "one zwei drei vier")
		})
	}
}

// BenchmarkTableGrows measures a table of 300,000 rows that gets 1,000 more: added is what is read now, whole what was read before.
func BenchmarkTableGrows(b *testing.B) {
	rows := func(from, n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, `%s{"id":%d,"name":"customer number %d"}`, map[bool]string{true: "[", false: ","}[i == 0], from+i, from+i)
		}
		return s.String() + "]"
	}
	for _, name := range []string{"added", "whole"} {
		b.Run(name, func(b *testing.B) {
			l := &lake{dir: b.TempDir()}
			l.change(b, "all", rows(0, 300_000), added)
			_, until := l.follow(b, configs.Lookup{Name: "people", Key: []string{"id"}})
			until(1)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				l.change(b, fmt.Sprint(i), rows(300_000+1000*i, 1000), func(f table.File) table.Changes {
					c := added(f)
					c.Known = name == "added"
					return c
				})
				b.StartTimer()
				until(int64(i) + 2)
			}
		})
	}
}
