package tabletest

import (
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/table"
)

func expire(t *testing.T, h Harness) {
	c := h.Catalog(t)
	i, s := ensure(t, c, def(ident()))
	if got := load(t, s).Snapshots(); len(got) != 0 {
		t.Fatalf("snapshots of a new table: %+v", got)
	}
	one, two, both := file(i, "one", 10), file(i, "two", 7), file(i, "both", 17)
	var ids []int64
	b := load(t, s)
	for _, ch := range []table.Change{{Add: []table.File{one}}, {Add: []table.File{two}}, {Add: []table.File{both}, Remove: []string{one.Path, two.Path}}, {Snapshot: true, Props: props(table.Prefix+"x", "1")}} {
		b = swap(t, s, b, ch)
		ids = append(ids, b.Snapshot)
	}
	parents := map[int64]int64{}
	for _, x := range b.Snapshots() {
		if parents[x.ID] = x.Parent; x.At.IsZero() {
			t.Errorf("snapshot %+v", x)
		}
	}
	for n, id := range ids {
		if parent, ok := parents[id]; !ok || n > 0 && parent != ids[n-1] || n == 0 && parent != 0 {
			t.Errorf("snapshot %d has the parent %d; all are %v", id, parent, ids)
		}
	}
	before := references(t, c, i.Ident)
	for _, f := range []table.File{one, two, both} {
		if _, ok := before.Content[f.Path]; !ok {
			t.Errorf("%s is not referred to by %v", f.Path, before.Content)
		}
	}

	old := b
	b = swap(t, s, b, table.Change{Expire: ids[:2]})
	if b.Has(ids[0]) || b.Has(ids[1]) || !b.Has(ids[2]) || b.Snapshot != ids[3] || b.Rows != 17 || b.Props[table.Prefix+"x"] != "1" || len(b.Snapshots()) != 2 {
		t.Fatalf("after the expiry: %+v, snapshots %+v", b, b.Snapshots())
	}
	wantErr(t, s.Swap(t.Context(), swapped(t, s, old), table.Change{Expire: ids[2:3]}), table.ErrConflict)
	if b = load(t, s); s.Swap(t.Context(), b, table.Change{Expire: []int64{b.Snapshot}}) == nil {
		t.Error("main expired")
	}
	for _, x := range b.Snapshots() { // a tag of the adapter's own, as for REST catalogs
		if !x.Named {
			continue
		}
		if err := s.Swap(t.Context(), b, table.Change{Expire: []int64{x.ID}}); err == nil || table.Passing(err) {
			t.Errorf("the expiry of snapshot %d, which something names: %v", x.ID, err)
		}
	}
	after := references(t, c, i.Ident)
	released, err := c.Released(t.Context(), old, b)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	gone := map[string]int{}
	for uri := range before.Content {
		if _, ok := after.Content[uri]; !ok {
			want = append(want, uri)
			gone[uri[strings.LastIndex(uri, "."):]]++
		}
	}
	if slices.Sort(want); !slices.Equal(released, want) {
		t.Errorf("released\n%v, want\n%v", released, want)
	}
	if none, err := c.Released(t.Context(), b, b); err != nil || len(none) != 0 {
		t.Errorf("released by nothing: %v, %v", none, err)
	}
	// the data files one and two, two manifest lists, and their two manifests
	if gone[".parquet"] != 2 || gone[".avro"] < 2 {
		t.Errorf("%v are referred to no more, of %v", gone, before.Content)
	}
	if _, ok := after.Content[both.Path]; !ok {
		t.Error("a live file is referred to no more")
	}
}

// swapped gives old back when the table has moved on from it.
func swapped(t *testing.T, s table.Store, old *table.Base) *table.Base {
	t.Helper()
	swap(t, s, load(t, s), table.Change{Snapshot: true})
	return old
}

// references also sees that the current metadata file is among them, where the catalog tells.
func references(t *testing.T, c table.Catalog, id table.Ident) *table.References {
	t.Helper()
	r, err := c.References(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Metadata) == 0 {
		t.Error("no metadata file")
	}
	for _, set := range []map[string]struct{}{r.Content, r.Metadata} {
		for uri := range set {
			if !strings.HasPrefix(uri, "file:///") && !strings.HasPrefix(uri, "s3://") {
				t.Errorf("%q is not in the form of a listing", uri)
			}
		}
	}
	return r
}
