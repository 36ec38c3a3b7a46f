package tabletest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/table"
)

func changed(t *testing.T, h Harness) {
	c := h.Catalog(t)
	i, s := ensure(t, c, def(ident()))
	if got, err := c.Changed(t.Context(), i.Ident, 0, 0); err != nil || !got.Known || got.Until != 0 || len(got.Files) != 0 {
		t.Fatalf("changes of a new table: %+v, %v", got, err)
	}
	compact := map[string]string{table.SummaryJob: table.JobCompact}
	one, two, both, three := file(i, "one", 10), file(i, "two", 7), file(i, "both", 17), file(i, "three", 3)
	b := load(t, s)
	var ids []int64
	for _, ch := range []table.Change{{Add: []table.File{one}}, {Add: []table.File{two}}, {Add: []table.File{both}, Remove: []string{one.Path, two.Path}, Summary: compact},
		{Snapshot: true}, {Add: []table.File{three}}, {Remove: []string{both.Path}}} {
		b = swap(t, s, b, ch)
		ids = append(ids, b.Snapshot)
	}
	const nothing = ""
	check := func(since, until int64, known bool, want string) {
		t.Helper()
		got, err := c.Changed(t.Context(), i.Ident, since, until)
		if err != nil {
			t.Fatal(err)
		}
		if text := changesText(got); text != want || got.Known != known {
			t.Errorf("since %d until %d: known %v, %s; want %v, %s; all are %v", since, until, got.Known, text, known, want, ids)
		}
	}
	check(0, 0, true, "-both +three +two +one")
	check(0, ids[2], true, "+two +one")
	check(ids[0], ids[1], true, "+two")
	check(ids[1], ids[3], true, nothing)
	check(ids[3], 0, true, "-both +three")
	check(ids[5], 0, true, nothing)
	check(ids[4], ids[3], false, "+two +one") // the wrong way round
	if _, err := c.Changed(t.Context(), i.Ident, 0, 1); err == nil {
		t.Error("no error for a snapshot that never was")
	}

	h.Delete(t, i.Ident, three, false)
	check(ids[5], 0, true, "~del")
	swap(t, s, load(t, s), table.Change{Expire: ids[2:4]})
	check(ids[4], 0, true, "~del -both")
	check(ids[1], 0, false, "~del -both +three")
	check(0, 0, false, "~del -both +three")
}

// changedMerged: a merge of manifests does not hide who added what.
func changedMerged(t *testing.T, h Harness) {
	c := h.Catalog(t)
	i, s := ensure(t, c, def(ident()))
	b := load(t, s)
	var ids []int64
	const n = 120 // manifests are merged at 100
	for k := range n {
		b = swap(t, s, b, table.Change{Add: []table.File{file(i, fmt.Sprintf("f%03d", k), 1)}})
		ids = append(ids, b.Snapshot)
	}
	for _, from := range []int{0, 50, 98, 99, 100, 118} {
		got, err := c.Changed(t.Context(), i.Ident, ids[from], 0)
		if err != nil || !got.Known || len(got.Files) != n-1-from {
			t.Fatalf("since commit %d: %d files, known %v, %v", from, len(got.Files), got.Known, err)
		}
		for k, f := range got.Files {
			if want := n - 1 - k; path.Base(f.Path) != fmt.Sprintf("f%03d.parquet", want) || f.Snapshot != ids[want] || f.Removed || f.Sequence == 0 {
				t.Fatalf("since commit %d: %+v is number %d", from, f, k)
			}
		}
	}
	files, _, err := c.Files(t.Context(), i.Ident, 0)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b table.File) int { return strings.Compare(a.Path, b.Path) })
	for k := 1; k < n; k++ {
		if files[k].Sequence <= files[k-1].Sequence {
			t.Fatalf("%s has sequence number %d, the one before %d", files[k].Path, files[k].Sequence, files[k-1].Sequence)
		}
	}
}

func changesText(c *table.Changes) string {
	var out []string
	for _, f := range c.Files {
		name := strings.TrimSuffix(path.Base(f.Path), ".parquet")
		switch {
		case f.Deletes:
			name = "~del"
		case f.Removed:
			name = "-" + name
		default:
			name = "+" + name
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}
