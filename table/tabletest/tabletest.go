// Package tabletest is the conformance suite of table.Catalog and table.Store: what every adapter must do, written as
// tests over a harness that the adapter brings.
package tabletest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// Harness is an adapter under test, with the hands of another program on the same catalog.
type Harness struct {
	// Catalog opens one more client of the same catalog.
	Catalog func(t *testing.T) table.Catalog
	// Lossy opens a client whose next commit gets no answer: it lands, or never arrives.
	Lossy func(t *testing.T, lands bool) table.Catalog
	// Drop removes the table from the catalog.
	Drop func(t *testing.T, id table.Ident)
	// Rollback sets main to an older snapshot.
	Rollback func(t *testing.T, id table.Ident, snapshot int64)
	// Expire removes all snapshots but main's.
	Expire func(t *testing.T, id table.Ident)
	// Delete commits a delete file for the partition of a data file: of positions of that file, or of equal values.
	Delete func(t *testing.T, id table.Ident, of table.File, equality bool)
	// Repartition adds an identity field to the table's partition spec.
	Repartition func(t *testing.T, id table.Ident, column string)
	// Metadata returns the number and total bytes of the files in the table's metadata folder; nil: not measured.
	Metadata func(t *testing.T, location string) (files int, bytes int64)
	// Commits of the long test; 0: 200.
	Commits int
}

var tables atomic.Int64

// Run runs the whole suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"create race", createRace}, {"types", types}, {"evolve", evolve}, {"evolve refuses", evolveRefuses}, {"evolve race", evolveRace},
		{"append", appendFiles}, {"partition values", partitionValues}, {"stale base", staleBase}, {"racing writers", racingWriters},
		{"unknown outcome", unknownOutcome}, {"empty snapshot", emptySnapshot}, {"ancestors", ancestors},
		{"remove", removeFiles}, {"remove refuses", removeRefuses}, {"remove partitioned", removePartitioned}, {"remove after deletes", removeAfterDeletes},
		{"racing rewrites", racingRewrites}, {"changed", changed}, {"changed in merged manifests", changedMerged}, {"expire", expire}, {"many commits", manyCommits}, {"large ledger", largeLedger},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, h) })
	}
}

// ident returns a table name, in a namespace, that nobody has used.
func ident() table.Ident {
	n := fmt.Sprintf("%x_%d", time.Now().UnixNano(), tables.Add(1))
	return table.Ident{Namespace: "ns" + n, Name: "t" + n}
}

func def(id table.Ident, fields ...batch.Field) table.Def {
	if len(fields) == 0 {
		fields = []batch.Field{{Name: "id", Type: batch.Prim(batch.Long), Required: true}, {Name: "name", Type: batch.Prim(batch.String)}}
	}
	return table.Def{Ident: id, Row: batch.StructOf(fields...)}
}

// ensure makes a table and opens it.
func ensure(t *testing.T, c table.Catalog, d table.Def) (table.Info, table.Store) {
	t.Helper()
	i, err := c.Ensure(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), d.Ident)
	if err != nil {
		t.Fatal(err)
	}
	return i, s
}

func load(t *testing.T, s table.Store) *table.Base {
	t.Helper()
	b, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func swap(t *testing.T, s table.Store, b *table.Base, ch table.Change) *table.Base {
	t.Helper()
	if err := s.Swap(t.Context(), b, ch); err != nil {
		t.Fatal(err)
	}
	return load(t, s)
}

// file makes up a data file; the suite never reads one.
func file(i table.Info, name string, rows int64) table.File {
	return table.File{Path: i.Location + "/data/" + name + ".parquet", Size: 1000, Rows: rows, SpecID: i.SpecID,
		ColumnSizes: map[int]int64{1: 400}, ValueCounts: map[int]int64{1: rows}, NullCounts: map[int]int64{1: 0}, NaNCounts: map[int]int64{},
		LowerBounds: map[int][]byte{1: {1, 0, 0, 0, 0, 0, 0, 0}}, UpperBounds: map[int][]byte{1: {9, 0, 0, 0, 0, 0, 0, 0}}, SplitOffsets: []int64{4}}
}

func props(kv ...string) func(int64) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return func(int64) map[string]string { return maps.Clone(m) }
}

// paths lists the data files of main, in order.
func paths(t *testing.T, c table.Catalog, id table.Ident) []string {
	t.Helper()
	files, deletes, err := c.Files(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(deletes) != 0 {
		t.Fatalf("delete files: %q", deletes)
	}
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.Path
	}
	slices.Sort(out)
	return out
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	for _, other := range []error{table.ErrConflict, table.ErrUnknown, table.ErrRetry, table.ErrNoTable} {
		if other != want && errors.Is(err, other) {
			t.Fatalf("error %v is also %v", err, other)
		}
	}
}

// noWait repeats at once, as long as the test runs.
func noWait(ctx context.Context, _ int) error { return ctx.Err() }
