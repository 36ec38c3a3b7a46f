package tabletest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// names lists the data files of main without their folders, and checks the number of rows.
func names(t *testing.T, c table.Catalog, s table.Store, i table.Info, rows int64) string {
	t.Helper()
	got := paths(t, c, i.Ident)
	for n, p := range got {
		got[n] = strings.TrimSuffix(p[strings.LastIndexByte(p, '/')+1:], ".parquet")
	}
	if b := load(t, s); b.Rows != rows {
		t.Errorf("%d rows, want %d", b.Rows, rows)
	}
	return strings.Join(got, " ")
}

func removeFiles(t *testing.T, h Harness) {
	c := h.Catalog(t)
	i, s := ensure(t, c, def(ident()))
	one, two, three, four := file(i, "one", 10), file(i, "two", 7), file(i, "three", 5), file(i, "four", 3)
	b := swap(t, s, load(t, s), table.Change{Add: []table.File{one, two}})
	b = swap(t, s, b, table.Change{Add: []table.File{three}})
	before := b.Snapshot
	var told int64
	b = swap(t, s, b, table.Change{Add: []table.File{four}, Remove: []string{two.Path, three.Path}, Summary: map[string]string{"lakeloader.job": "purge"},
		Props: func(snapshot int64) map[string]string {
			told = snapshot
			return map[string]string{table.Prefix + "move": strconv.FormatInt(snapshot, 10)}
		}})
	if told == 0 || b.Snapshot != told || b.Props[table.Prefix+"move"] != strconv.FormatInt(told, 10) || !b.IsAncestor(before) {
		t.Fatalf("told %d: %+v", told, b)
	}
	if got := names(t, c, s, i, 13); got != "four one" {
		t.Fatalf("files %s", got)
	}
	if old, _, err := c.Files(t.Context(), i.Ident, before); err != nil || len(old) != 3 {
		t.Errorf("files of the snapshot before: %v, %v", old, err)
	}
	// Files that were written into one manifest go one by one, and then there are none.
	b = swap(t, s, b, table.Change{Remove: []string{one.Path}})
	if got := names(t, c, s, i, 3); got != "four" {
		t.Fatalf("files %s", got)
	}
	b = swap(t, s, b, table.Change{Remove: []string{four.Path}})
	if got := names(t, c, s, i, 0); got != "" {
		t.Fatalf("files %s", got)
	}
	b = swap(t, s, b, table.Change{Snapshot: true})
	five := file(i, "five", 2)
	swap(t, s, b, table.Change{Add: []table.File{five}})
	if got := names(t, c, s, i, 2); got != "five" {
		t.Fatalf("files %s", got)
	}
	h.Rollback(t, i.Ident, before)
	if got := names(t, c, s, i, 22); got != "one three two" {
		t.Fatalf("after a rollback: files %s", got)
	}
}

// What a swap cannot take out of the table stops it, and nothing lands.
func removeRefuses(t *testing.T, h Harness) {
	c := h.Catalog(t)
	i, s := ensure(t, c, def(ident()))
	one, two, gone, later := file(i, "one", 10), file(i, "two", 7), file(i, "gone", 5), file(i, "later", 1)
	refuse := func(name string, b *table.Base, ch table.Change, conflict bool, says string) {
		t.Helper()
		before, files := load(t, s), paths(t, c, i.Ident)
		ch.Props = props(table.Prefix+"offsets", "9")
		err := s.Swap(t.Context(), b, ch)
		t.Log(name+":", err)
		switch {
		case err == nil || !strings.Contains(err.Error(), says):
			t.Errorf("%s: %v does not say %s", name, err, says)
		case conflict:
			wantErr(t, err, table.ErrConflict)
		case table.Passing(err):
			t.Errorf("%s would be tried again: %v", name, err)
		}
		if after := load(t, s); after.Snapshot != before.Snapshot || !maps.Equal(after.Props, before.Props) || !slices.Equal(paths(t, c, i.Ident), files) {
			t.Errorf("%s landed", name)
		}
	}
	refuse("an empty table", load(t, s), table.Change{Remove: []string{one.Path}}, true, one.Path)
	b := swap(t, s, load(t, s), table.Change{Add: []table.File{one, gone}})
	b = swap(t, s, b, table.Change{Add: []table.File{two}, Remove: []string{gone.Path}})
	replace := func(paths ...string) table.Change {
		return table.Change{Add: []table.File{later}, Remove: paths}
	}
	refuse("removed before", b, replace(one.Path, gone.Path), true, gone.Path)
	refuse("never there", b, replace(later.Path+"x"), true, later.Path+"x")
	refuse("twice", b, replace(one.Path, one.Path), false, one.Path)
	refuse("added again", b, table.Change{Add: []table.File{two}, Remove: []string{one.Path}}, false, two.Path)
	seen := b.Snapshot
	b = swap(t, s, b, table.Change{Add: []table.File{later}})
	last := b.Snapshot
	h.Rollback(t, i.Ident, seen)
	refuse("of a snapshot that was rolled back", load(t, s), table.Change{Remove: []string{later.Path}}, true, later.Path)
	refuse("seen in a snapshot that was rolled back", load(t, s), table.Change{Remove: []string{one.Path}, Seen: last}, true, strconv.FormatInt(last, 10))
	b = swap(t, s, load(t, s), table.Change{Snapshot: true})
	h.Expire(t, i.Ident)
	refuse("seen in a snapshot that has expired", load(t, s), table.Change{Remove: []string{one.Path}, Seen: seen}, true, strconv.FormatInt(seen, 10))
	swap(t, s, load(t, s), table.Change{Remove: []string{one.Path}, Seen: b.Snapshot})
	if got := names(t, c, s, i, 7); got != "two" {
		t.Errorf("files %s", got)
	}
}

// Files of several partition specs are replaced by files of the same specs.
func removePartitioned(t *testing.T, h Harness) {
	c := h.Catalog(t)
	d := def(ident())
	d.PartitionBy = []table.PartitionField{{Source: "id", Transform: "truncate[10]", Name: "id_trunc"}}
	old, s := ensure(t, c, d)
	add := func(i table.Info, name string, rows int64, tuple ...[]byte) table.File {
		f := file(i, name, rows)
		f.Partition = tuple
		return f
	}
	ten, twenty := []byte{10, 0, 0, 0, 0, 0, 0, 0}, []byte{20, 0, 0, 0, 0, 0, 0, 0}
	one, two := add(old, "one", 10, ten), add(old, "two", 20, twenty)
	swap(t, s, load(t, s), table.Change{Add: []table.File{one, two}})
	h.Repartition(t, old.Ident, "name")
	now, err := c.Info(t.Context(), old.Ident)
	if err != nil || now.SpecID == old.SpecID {
		t.Fatalf("spec %d, %v", now.SpecID, err)
	}
	three, four := add(now, "three", 30, ten, []byte("a")), add(now, "four", 40, nil, nil)
	b := swap(t, s, load(t, s), table.Change{Add: []table.File{three, four}})
	less, null := add(old, "less", 9, ten), add(now, "null", 39, nil, nil)
	swap(t, s, b, table.Change{Add: []table.File{less, null}, Remove: []string{one.Path, four.Path}})
	if got := names(t, c, s, old, 98); got != "less null three two" {
		t.Fatalf("files %s", got)
	}
	got, _, err := c.Files(t.Context(), old.Ident, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got {
		want := map[string]table.File{less.Path: less, null.Path: null, three.Path: three, two.Path: two}[f.Path]
		if f.SpecID != want.SpecID || !slices.EqualFunc(f.Partition, want.Partition, slices.Equal) {
			t.Errorf("%s: spec %d, %x; want spec %d, %x", f.Path, f.SpecID, f.Partition, want.SpecID, want.Partition)
		}
	}
	swap(t, s, load(t, s), table.Change{Remove: []string{two.Path, three.Path, less.Path, null.Path}})
	if got := names(t, c, s, old, 0); got != "" {
		t.Fatalf("files %s", got)
	}
}

// Rows that another program has deleted since a file was read would come back with what replaces it.
func removeAfterDeletes(t *testing.T, h Harness) {
	for _, equality := range []bool{false, true} {
		t.Run(fmt.Sprint("equality ", equality), func(t *testing.T) {
			c := h.Catalog(t)
			d := def(ident(), batch.Field{Name: "id", Type: batch.Prim(batch.Long), Required: true}, batch.Field{Name: "name", Type: batch.Prim(batch.String)})
			d.PartitionBy = []table.PartitionField{{Source: "name", Transform: "identity", Name: "name"}}
			i, s := ensure(t, c, d)
			hit, other := file(i, "hit", 10), file(i, "other", 7)
			hit.Partition, other.Partition = [][]byte{[]byte("a")}, [][]byte{nil}
			seen := swap(t, s, load(t, s), table.Change{Add: []table.File{hit, other}})
			h.Delete(t, i.Ident, hit, equality)
			err := s.Swap(t.Context(), seen, table.Change{Remove: []string{hit.Path}})
			wantErr(t, err, table.ErrConflict)
			b := load(t, s)
			err = s.Swap(t.Context(), b, table.Change{Remove: []string{hit.Path}, Seen: seen.Snapshot})
			t.Log(err)
			wantErr(t, err, table.ErrConflict)
			if !strings.Contains(err.Error(), hit.Path) {
				t.Errorf("%v does not name the file", err)
			}
			swap(t, s, load(t, s), table.Change{Remove: []string{other.Path}, Seen: seen.Snapshot}) // nothing of it was deleted
			less := hit
			less.Path, less.Rows = hit.Path+"-less", 9
			swap(t, s, load(t, s), table.Change{Add: []table.File{less}, Remove: []string{hit.Path}, Seen: b.Snapshot}) // it has seen the delete file
			got, deletes, err := c.Files(t.Context(), i.Ident, 0)
			if err != nil || len(got) != 1 || got[0].Path != less.Path || len(deletes) != 1 {
				t.Errorf("files %v, deletes %q, %v", got, deletes, err)
			}
		})
	}
}

// Writers replace the same file by one with one row more, while another one adds files: no row is lost or doubled.
func racingRewrites(t *testing.T, h Harness) {
	const writers, moves = 3, 5
	i, s := ensure(t, h.Catalog(t), def(ident()))
	swap(t, s, load(t, s), table.Change{Add: []table.File{file(i, "count-0", 1)}})
	var wg sync.WaitGroup
	for w := range writers + 1 {
		c := h.Catalog(t)
		wg.Go(func() {
			mine, err := c.Open(t.Context(), i.Ident)
			for n := 0; n < moves && err == nil; n++ {
				err = table.Commit(t.Context(), mine, noWait, func(b *table.Base) (table.Change, bool, error) {
					if w == writers {
						return table.Change{Add: []table.File{file(i, fmt.Sprint("other-", n), 100)}}, false, nil
					}
					files, _, err := c.Files(t.Context(), i.Ident, 0) // of a later snapshot than b's, perhaps
					at := slices.IndexFunc(files, func(f table.File) bool { return strings.Contains(f.Path, "/count-") })
					if err != nil || at < 0 {
						return table.Change{}, false, fmt.Errorf("no file to replace: %w", err)
					}
					next := file(i, fmt.Sprintf("count-%d-%d-%d", w, n, b.Snapshot), files[at].Rows+1)
					return table.Change{Add: []table.File{next}, Remove: []string{files[at].Path}}, false, nil
				})
			}
			if err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	wg.Wait()
	if got := load(t, s).Rows; got != 1+writers*moves+100*moves {
		t.Errorf("%d rows", got)
	}
	if got := paths(t, h.Catalog(t), i.Ident); len(got) != 1+moves {
		t.Errorf("files:\n%s", strings.Join(got, "\n"))
	}
}
