package verify_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/pipeline/pipelinetest"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/verify"
)

var xs, ys = table.Ident{Namespace: "lake", Name: "xs"}, table.Ident{Namespace: "lake", Name: "ys"}

// buildRouted is a lake of one topic whose records go to xs, ys, the primary table, and the dead letters, in turns: offsets
// 0-19 in round 1, 20-39 in round 2, and 40-43 in round 3, which is pending when halfway is set: xs has it, ys does not.
func buildRouted(t *testing.T, halfway bool) *lake {
	t.Helper()
	e := pipelinetest.New(t)
	e.Create(t, "a", 1)
	l := &lake{Lake: e.Lake, cfg: pipelinetest.Pipeline("id long required, kind string", func(p *configs.Pipeline) {
		p.Table.Route = &configs.Route{By: "kind", Tables: map[string]string{"y": "ys"}, Template: "${value}s", Allow: []string{"x"}}
	}, "a")}
	l.primary, l.dead = pipeline.Idents(l.cfg, &l.cfg.Pipelines[0])
	for round, next := range []int{20, 40, 44} {
		first := []int{0, 20, 40}[round]
		for i := first; i < next; i++ {
			e.Produce(t, "a", 0, []string{`{"id":1,"kind":"x"}`, `{"id":1,"kind":"y"}`, `{"id":1,"kind":"z"}`, "{{"}[i%4])
		}
		r := e.Start(t, l.cfg, func(d *pipeline.Deps) {
			if halfway && round == 2 {
				d.Catalog = &pipelinetest.Faults{Catalog: d.Catalog, Swap: func(_ context.Context, id table.Ident, _ table.Change, next func() error) error {
					if id == ys {
						return errHalfway
					}
					return next()
				}}
			}
		})
		r.Read(int64(next - first))
		if err := r.Stop(); err != nil && !errors.Is(err, errHalfway) {
			t.Fatal(err)
		}
	}
	l.restore = l.Backup(t)
	return l
}

var errHalfway = errors.New("halfway")

func every(n, first, next int) string {
	var list []string
	for i := first; i < next; i += n {
		list = append(list, fmt.Sprint(i))
	}
	return strings.Join(list, " ")
}

var routedDamages = []damage{
	{"a lost row", func(t testing.TB, l *lake) string {
		l.edit(t, xs, "a", 0, 4, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
		return "routed to the table by their rounds, but not in it"
	}, []string{"lost lake.xs a-0 4"}},
	{"a duplicated row", func(t testing.TB, l *lake) string {
		return l.add(t, ys, "a", 0, 21, func(*pipelinetest.FileRows) {})
	}, []string{"duplicated lake.ys a-0 21"}},
	{"a row in two routed tables", func(t testing.TB, l *lake) string {
		f, i := l.file(t, xs, "a", 0, 8)
		l.Add(t, ys, f, func(r *pipelinetest.FileRows) { r.Keep(i) })
		return "no round routed to the table"
	}, []string{"uncommitted lake.ys a-0 8"}},
	{"a routed row in the primary too", func(t testing.TB, l *lake) string {
		f, i := l.file(t, xs, "a", 0, 8)
		l.Add(t, l.primary, f, func(r *pipelinetest.FileRows) { r.Keep(i) })
		return "routed to table lake.xs and also a row"
	}, []string{"twice lake.t a-0 8"}},
	{"a row moved to the wrong table", func(t testing.TB, l *lake) string {
		f, i := l.file(t, l.primary, "a", 0, 2)
		l.Add(t, xs, f, func(r *pipelinetest.FileRows) { r.Keep(i) })
		l.edit(t, l.primary, "a", 0, 2, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
		return ""
	}, []string{"uncommitted lake.xs a-0 2"}},
	{"a row beyond what is committed", func(t testing.TB, l *lake) string {
		return l.add(t, xs, "a", 0, 4, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnOffset, int64(99)) })[:0]
	}, []string{"uncommitted lake.xs a-0 99"}},
	{"rows of an unknown partition", func(t testing.TB, l *lake) string {
		return l.add(t, xs, "a", 0, 4, func(r *pipelinetest.FileRows) { r.Set(0, pipeline.ColumnPartition, int32(7)) })[:0]
	}, []string{"uncommitted lake.xs a-7 4"}},
	{"a routed table dropped", func(t testing.TB, l *lake) string {
		l.Drop(t, ys)
		return ""
	}, []string{"lost lake.ys a-0 " + every(4, 1, 44)}},
	{"a routed table rolled back", func(t testing.TB, l *lake) string {
		a, err := table.ParseApplied("p", l.Base(t, xs).Props)
		if err != nil || a.Number != 3 {
			t.Fatal(a, err)
		}
		all := l.Files(t, xs)
		slices.SortFunc(all, func(a, b table.File) int { return int(a.Rows - b.Rows) })
		l.Edit(t, xs, all[0].Path, func(r *pipelinetest.FileRows) { r.Remove(r.Find("a", 0, 40)) }) // the file of round 3 has one row
		return ""
	}, []string{"lost lake.xs a-0 40"}},
	{"a routed table compacted", func(t testing.TB, l *lake) string {
		l.Edit(t, xs, l.Files(t, xs)[0].Path, func(*pipelinetest.FileRows) {})
		return ""
	}, nil},
	{"rows deleted by position", func(t testing.TB, l *lake) string {
		f, i := l.file(t, ys, "a", 0, 25)
		l.DeletePositions(t, ys, f, int64(i))
		return ""
	}, []string{"lost lake.ys a-0 25"}},
	{"a table taken out of the ledger's list", func(t testing.TB, l *lake) string {
		l.ledger(t, func(led *table.Ledger) {
			led.Tables = slices.DeleteFunc(led.Tables, func(r table.Routed) bool { return r.Ident == xs })
		})
		return ""
	}, []string{"lost lake.xs a-0 " + every(4, 0, 44)}},
	{"the object of a round is gone", func(t testing.TB, l *lake) string {
		if err := os.Remove(l.object(t, 2)); err != nil {
			t.Fatal(err)
		}
		return ""
	}, []string{"unreadable lake.t"}},
	{"the object of a round is gone, and a row that it routed", func(t testing.TB, l *lake) string {
		if err := os.Remove(l.object(t, 2)); err != nil {
			t.Fatal(err)
		}
		l.edit(t, xs, "a", 0, 24, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
		return ""
	}, []string{"unreadable lake.t", "lost lake.t a-0 24"}},
	{"counters changed by hand", func(t testing.TB, l *lake) string {
		l.ledger(t, func(led *table.Ledger) {
			for k, r := range led.Records {
				r.Rows, r.Filtered = r.Rows-1, r.Filtered+1
				led.Records[k] = r
			}
		})
		return ""
	}, []string{"counter lake.t a-0 0-43", "counter lake.t a-0 0-43"}},
}

func TestVerifyNamesCorruptionsOfRoutedTables(t *testing.T) {
	t.Parallel()
	l := buildRouted(t, false)
	r := l.verify(t)
	if want := []verify.Routed{{Table: "lake.xs", Value: "x", Rows: 11}, {Table: "lake.ys", Rows: 11}}; !r.OK() || !slices.Equal(r.Routed, want) {
		t.Fatalf("a healthy lake: %v, %+v", r.Err(), r.Routed)
	}
	for _, d := range routedDamages {
		t.Run(d.name, func(t *testing.T) { d.named(t, l) })
	}
}

// The rows of a pending round need not be in every table yet. Those that are there already are looked at.
func TestVerifyKnowsHalfAppliedRounds(t *testing.T) {
	t.Parallel()
	l := buildRouted(t, true)
	if p := l.Ledger(t, "p", l.primary).Pending; len(p) != 1 || p[0].Number != 3 {
		t.Fatalf("pending: %v", p)
	}
	if r := l.verify(t); !r.OK() || r.Partitions[0].Rows != 33 || r.Pending != 1 {
		t.Fatalf("halfway: %v, %+v", r.Err(), r.Partitions)
	}
	l.edit(t, xs, "a", 0, 40, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
	l.edit(t, ys, "a", 0, 37, func(r *pipelinetest.FileRows, i int) { r.Remove(i) })
	if got, want := say(l.verify(t)), []string{"lost lake.xs a-0 40", "lost lake.ys a-0 37"}; !slices.Equal(got, want) {
		t.Errorf("verify says %q, want %q", got, want)
	}
}
