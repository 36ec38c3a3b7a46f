package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/table"
)

// small describes files of a partition by their sizes, which are old unless they are young.
func small(part string, young bool, sizes ...int64) map[string]table.File {
	out := map[string]table.File{}
	for i, size := range sizes {
		added := began.Add(-2 * time.Hour).Add(time.Duration(i) * time.Minute)
		if young {
			added = began.Add(-time.Minute)
		}
		out[fmt.Sprintf("%s%d-%d", part, i, size)] = table.File{Size: size, Partition: [][]byte{[]byte(part[:1])}, AddedMS: added.UnixMilli()}
	}
	return out
}

func compactor(l *lake) *Compactor {
	r := &Rewriter{Tables: l, Now: func() time.Time { return l.now }, Wait: noWait, OrphanAge: 72 * time.Hour}
	return &Compactor{Tables: l, Commit: r.Commit, Now: r.Now, Target: 100, MinFiles: 3, Quiet: time.Hour, MaxBytes: 1000,
		Merge: func(_ context.Context, _ table.Ident, sources []table.File, _ []string) (Merged, error) {
			name := "m"
			for _, f := range sources {
				name += "+" + f.Path
			}
			return Merged{Files: []table.File{{Path: name, CreatedMS: l.now.UnixMilli()}}, Copied: 1}, l.call("merge")
		}}
}

func TestCompactionChoosesFiles(t *testing.T) {
	for name, c := range map[string]struct {
		files []map[string]table.File
		want  string
	}{
		"small ones of a partition":   {[]map[string]table.File{small("a", false, 10, 20, 30)}, "a0-10 a1-20 a2-30"},
		"too few":                     {[]map[string]table.File{small("a", false, 10, 20), small("b", false, 10)}, ""},
		"each partition by itself":    {[]map[string]table.File{small("a", false, 1, 2, 3), small("b", false, 10, 11, 12)}, "a0-1 a1-2 a2-3, b0-10 b1-11 b2-12"},
		"not those that are young":    {[]map[string]table.File{small("a", false, 1, 2, 3), small("a-young", true, 1, 2, 3)}, "a0-1 a1-2 a2-3"},
		"not those that are large":    {[]map[string]table.File{small("a", false, 1, 2, 3, 75, 200)}, "a0-1 a1-2 a2-3"},
		"as many as the target takes": {[]map[string]table.File{small("a", false, 30, 30, 30, 30, 30, 30, 30)}, "a0-30 a1-30 a2-30, a3-30 a4-30 a5-30"},
		"not one that outweighs them": {[]map[string]table.File{small("a", false, 1, 2, 3, 60)}, "a0-1 a1-2 a2-3"},
		"an empty table":              {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var files []table.File
			for _, part := range c.files {
				for path, f := range part {
					f.Path = path
					files = append(files, f)
				}
			}
			var got []string
			merges, _ := compactor(newLake()).choose(files, nil)
			for _, m := range merges {
				var paths []string
				for _, f := range m.Sources {
					paths = append(paths, f.Path)
				}
				got = append(got, strings.Join(paths, " "))
			}
			if got := strings.Join(got, ", "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestCompaction(t *testing.T) {
	broken := errors.New("a file is damaged")
	for name, c := range map[string]struct {
		before func(l *lake, call string) error
		limit  int64
		want   error
		files  string // of main then
		done   Compaction
	}{
		"lands":             {func(*lake, string) error { return nil }, 1000, nil, "large m+a0-1+a1-2+a2-3 m+b0-10+b1-11+b2-12", Compaction{Merges: 2, Files: 6, Bytes: 39, Output: 2, Copied: 2}},
		"in several runs":   {func(*lake, string) error { return nil }, 20, nil, "b0-10 b1-11 b2-12 large m+a0-1+a1-2+a2-3", Compaction{Merges: 1, Files: 3, Bytes: 6, Output: 1, Copied: 1, Later: 1}},
		"a merge fails":     {failsAt("merge", 2, broken), 1000, broken, "b0-10 b1-11 b2-12 large m+a0-1+a1-2+a2-3", Compaction{Merges: 1, Files: 3, Bytes: 6, Output: 1, Copied: 1}},
		"others are faster": {overtaken(), 1000, nil, "a1-2 a2-3 large m+b0-10+b1-11+b2-12", Compaction{Merges: 1, Files: 3, Bytes: 33, Output: 1, Copied: 1, Stale: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLake()
			l.described = map[string]table.File{"large": {Size: 100, AddedMS: 1}}
			paths := []string{"large"}
			for _, part := range []map[string]table.File{small("a", false, 1, 2, 3), small("b", false, 10, 11, 12)} {
				for path, f := range part {
					l.described[path], paths = f, append(paths, path)
				}
			}
			slices.Sort(paths)
			l.tables[primary].commit(paths, nil)
			l.before = func(call string) error { return c.before(l, call) }
			job := compactor(l)
			job.MaxBytes = c.limit
			done, err := job.Run(t.Context(), primary)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			main := l.tables[primary]
			got := slices.Sorted(slices.Values(main.files[main.main]))
			if strings.Join(got, " ") != c.files {
				t.Errorf("files %q, want %q", got, c.files)
			}
			if c.done.Table = primary; *done != c.done {
				t.Errorf("%+v, want %+v", *done, c.done)
			}
		})
	}
}

// failsAt fails the nth such call.
func failsAt(call string, n int, err error) func(*lake, string) error {
	return func(_ *lake, c string) error {
		if c != call {
			return nil
		}
		if n--; n == 0 {
			return err
		}
		return nil
	}
}

// overtaken has another remove a file while the first merge is written.
func overtaken() func(*lake, string) error {
	return once("merge", func(l *lake) error {
		main := l.tables[primary]
		main.commit(slices.DeleteFunc(slices.Clone(main.files[main.main]), func(f string) bool { return f == "a0-1" }), nil)
		return nil
	})
}

func TestCompactionInDoubt(t *testing.T) {
	l := newLake()
	main := l.tables[primary]
	main.commit([]string{"a"}, nil)
	main.props = table.Applied{UUID: "u", Number: 1, Snapshot: main.commit([]string{"b"}, nil)}.Property("p")
	main.main = 1
	if done, err := compactor(l).Run(t.Context(), primary); !errors.Is(err, ErrRolledBack) || done != nil {
		t.Errorf("rolled back: %+v, %v", done, err)
	}
	if plan, err := compactor(l).Plan(t.Context(), dead); err != nil || *plan != (Compaction{Table: dead}) {
		t.Errorf("a table without snapshots: %+v, %v", plan, err)
	}
}

// ranged is a file whose first sort column goes from lo to hi.
func ranged(path string, size int64, lo, hi byte) table.File {
	return table.File{Path: path, Size: size, AddedMS: 1, LowerBounds: map[int][]byte{1: {lo}}, UpperBounds: map[int][]byte{1: {hi}}}
}

func spanOf(f table.File) (lo, hi uint64, ok bool) {
	if f.LowerBounds == nil {
		return 0, 0, false
	}
	return uint64(f.LowerBounds[1][0]), uint64(f.UpperBounds[1][0]), true
}

func TestCompactionChoosesWhatOverlaps(t *testing.T) {
	young := ranged("young", 100, 0, 9)
	young.AddedMS = began.UnixMilli()
	elsewhere := ranged("elsewhere", 100, 0, 9)
	elsewhere.SpecID = 1
	for name, c := range map[string]struct {
		files    []table.File
		max      int64
		want     string
		tooLarge int
	}{
		"all over":                          {[]table.File{ranged("a", 100, 0, 9), ranged("b", 100, 0, 9), ranged("c", 100, 1, 8)}, 1000, "a b c", 0},
		"one after the other":               {[]table.File{ranged("a", 100, 0, 3), ranged("b", 100, 3, 5), ranged("c", 100, 5, 9)}, 1000, "", 0},
		"one value only":                    {[]table.File{ranged("a", 100, 3, 3), ranged("b", 100, 3, 3), ranged("c", 100, 3, 3)}, 1000, "", 0},
		"a little":                          {[]table.File{ranged("a", 100, 0, 10), ranged("b", 100, 9, 20), ranged("c", 100, 19, 30)}, 1000, "", 0},
		"a small file over large ones":      {[]table.File{ranged("a", 100, 0, 3), ranged("b", 100, 3, 6), ranged("c", 100, 6, 9), ranged("d", 1, 0, 9)}, 1000, "", 0},
		"those apart are left":              {[]table.File{ranged("a", 100, 0, 4), ranged("b", 100, 0, 4), ranged("c", 100, 4, 9)}, 1000, "a b", 0},
		"of other specs, or young":          {[]table.File{ranged("a", 100, 0, 9), elsewhere, young}, 1000, "", 0},
		"more than a run takes":             {[]table.File{ranged("a", 100, 0, 9), ranged("b", 100, 0, 9), ranged("c", 100, 0, 9)}, 250, "", 1},
		"nobody knows of one":               {[]table.File{ranged("a", 100, 0, 9), {Path: "b", Size: 100, AddedMS: 1}}, 1000, "", 0},
		"small ones are in one merge alone": {[]table.File{ranged("a", 60, 0, 9), ranged("b", 60, 0, 9), ranged("c", 60, 0, 9), ranged("d", 20, 20, 29)}, 1000, "a b c", 0},
	} {
		t.Run(name, func(t *testing.T) {
			job := compactor(newLake())
			job.MaxBytes = c.max
			merges, tooLarge := job.choose(c.files, spanOf)
			var got []string
			for _, m := range merges {
				for _, f := range m.Sources {
					got = append(got, f.Path)
				}
			}
			slices.Sort(got)
			if text := strings.Join(got, " "); text != c.want || tooLarge != c.tooLarge {
				t.Errorf("%q and %d too large, want %q", text, tooLarge, c.want)
			}
			if again, _ := job.choose(c.files, nil); name != "small ones are in one merge alone" && len(again) > 0 {
				t.Errorf("of a table that is not sorted: %+v", again)
			}
		})
	}
}

func TestCompactionChoosesWhatLostRows(t *testing.T) {
	job := compactor(newLake())
	few, many := table.File{Path: "few", Size: 100, Rows: 100, DeletedRows: 29, AddedMS: 1}, table.File{Path: "many", Size: 100, Rows: 100, DeletedRows: 30, AddedMS: 1}
	merges, _ := job.choose([]table.File{few, many}, nil)
	if len(merges) != 1 || len(merges[0].Sources) != 1 || merges[0].Sources[0].Path != "many" {
		t.Errorf("%+v", merges)
	}
}

func TestCompactionPlansCopies(t *testing.T) {
	l := newLake()
	l.described = map[string]table.File{
		"a": {Size: 40, SplitOffsets: []int64{4, 24, 34}, AddedMS: 1}, "b": {Size: 30, SplitOffsets: []int64{4}, AddedMS: 1, Rows: 9, DeletedRows: 1},
		"c": {Size: 20, SplitOffsets: []int64{4}, AddedMS: 1}}
	l.tables[primary].commit([]string{"a", "b", "c"}, nil)
	job := compactor(l)
	job.LeastCopied = 16
	if p, err := job.Plan(t.Context(), primary); err != nil || p.Copied != 20+16 || p.Bytes != 90 {
		t.Errorf("%+v, %v", p, err)
	}
}

// clocked is a lake whose merges take a second each, and whose commits take three, with small files in eight partitions.
func clocked() *lake {
	l := newLake()
	l.described = map[string]table.File{}
	var paths []string
	for _, part := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		for path, f := range small(part, false, 1, 2, 3) {
			l.described[path], paths = f, append(paths, path)
		}
	}
	l.tables[primary].commit(paths, nil)
	l.before = func(call string) error {
		switch call {
		case "merge":
			l.now = l.now.Add(time.Second)
		case "load " + primary.Name:
			l.now = l.now.Add(3 * time.Second)
		}
		return nil
	}
	return l
}

func swaps(l *lake) (n int) {
	for _, call := range l.calls {
		if call == "swap "+primary.Name {
			n++
		}
	}
	return n
}

// Merges that take less time than a commit share one: the first tells what it takes, six follow, and the last.
func TestCompactionSharesCommits(t *testing.T) {
	l := clocked()
	done, err := compactor(l).Run(t.Context(), primary)
	if err != nil || done.Merges != 8 || done.Files != 24 || done.Output != 8 || done.Stale != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	if n := swaps(l); n != 3 {
		t.Errorf("%d commits", n)
	}
}

// Others that change what one merge was made from overtake that one only.
func TestCompactionSharesCommitsWithoutWhatIsStale(t *testing.T) {
	l := clocked()
	clock, merges := l.before, 0
	l.before = func(call string) error {
		if call == "merge" {
			if merges++; merges == 4 {
				main := l.tables[primary]
				main.commit(slices.DeleteFunc(slices.Clone(main.files[main.main]), func(f string) bool { return f == "c0-1" }), nil)
			}
		}
		return clock(call)
	}
	done, err := compactor(l).Run(t.Context(), primary)
	if err != nil || done.Merges != 7 || done.Files != 21 || done.Output != 7 || done.Stale != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	main := l.tables[primary]
	if got := main.files[main.main]; len(got) != 7+2 || !slices.Contains(got, "c1-2") {
		t.Errorf("%v", got)
	}
}

// What was merged before one that fails is committed.
func TestCompactionKeepsWhatItDid(t *testing.T) {
	l := clocked()
	clock, broken := l.before, errors.New("a file is damaged")
	fails := failsAt("merge", 5, broken)
	l.before = func(call string) error { return errors.Join(clock(call), fails(l, call)) }
	done, err := compactor(l).Run(t.Context(), primary)
	if !errors.Is(err, broken) || done.Merges != 4 || done.Files != 12 {
		t.Errorf("%+v, %v", done, err)
	}
	if n := swaps(l); n != 2 {
		t.Errorf("%d commits", n)
	}
}

// A merge of very many files would lose too much when it is killed.
func TestCompactionMergesSoManyFilesAtMost(t *testing.T) {
	sizes := make([]int64, 2*mostSources+10)
	for i := range sizes {
		sizes[i] = 1
	}
	var files []table.File
	for path, f := range small("a", false, sizes...) {
		f.Path, f.AddedMS = path, 0
		files = append(files, f)
	}
	c := compactor(newLake())
	c.Target = 1 << 20
	merges, _ := c.choose(files, nil)
	var got []int
	for _, m := range merges {
		got = append(got, len(m.Sources))
	}
	if slices.Sort(got); !slices.Equal(got, []int{10, mostSources, mostSources}) {
		t.Errorf("merges of %d files", got)
	}
}
