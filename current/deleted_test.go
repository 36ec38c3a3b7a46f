package current

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/objects"
)

const someAhead = 1 << 20

func newStates(t *testing.T) *states {
	return &states{store: objects.NewLocal(), root: "file://" + t.TempDir(), pipeline: "p"}
}

func deleteOf(key string, position int, at int64) deletion {
	return deletion{key, &change{place: place{position: fmt.Sprintf("%08d", position)}, op: changes.Delete, at: at}}
}

// all reads what a state remembers: of each key the last delete.
func all(t *testing.T, s *states, st *state) map[string]tombstone {
	t.Helper()
	last := map[string]tombstone{}
	err := s.readDeleted(t.Context(), st, someAhead, func(d *deletedReader) error {
		key, err := d.key()
		if err != nil {
			return err
		}
		got, err := d.tombstone()
		if string(got.Key) != string(key) {
			t.Errorf("%q was cut out of %s", key, d.line)
		}
		if have, ok := last[string(key)]; !ok || got.place().compare(have.place()) > 0 {
			last[string(key)] = got
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// TestDeletesAreRemembered: whatever keys are deleted, again and again, when objects are put into one and some are dropped, a delete is
// remembered for as long as it is to be, and those of a window are found whose change was before. Objects of an older version, which are
// in no order, are understood.
func TestDeletesAreRemembered(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			s, st, model := newStates(t), &state{}, map[string]deletion{}
			now, position, most := int64(1_000_000), 0, 0
			const kept = 30_000
			for range 150 {
				now += rnd.Int64N(2_000)
				some := map[string]deletion{}
				for range rnd.IntN(12) {
					position++
					d := deleteOf(fmt.Sprintf("key<&>%d", rnd.IntN(60)), position, now-rnd.Int64N(2*kept)/(1+rnd.Int64N(4)))
					some[d.key], model[d.key] = d, d
				}
				var list []deletion
				for _, d := range some {
					list = append(list, d)
				}
				if rnd.IntN(10) == 0 {
					st.Deleted = append(st.Deleted, unordered(t, s, list))
				} else {
					slices.SortFunc(list, func(a, b deletion) int { return strings.Compare(a.key, b.key) })
					parts, err := s.keep(t.Context(), st, list, someAhead, time.UnixMilli(now-kept))
					if err != nil {
						t.Fatal(err)
					}
					st = &state{Deleted: parts}
				}
				most = max(most, len(st.Deleted))
				got := all(t, s, st)
				for key, d := range model {
					if have := got[key]; d.at >= now-kept && have.place() != d.place {
						t.Fatalf("%s was deleted at %+v, %d ms ago; remembered is %+v", key, d.place, now-d.at, have)
					}
				}
				finds(t, s, st, got, rnd, position)
			}
			if most > maxParts+10 || most < maxParts {
				t.Errorf("there were %d objects", most)
			}
		})
	}
}

// unordered writes deletes in any order, and one of them twice.
func unordered(t *testing.T, s *states, list []deletion) deletedPart {
	t.Helper()
	w := &deletedWriter{states: s}
	list = append(list, deleteOf("another", 0, 0), deleteOf("another", 0, 0))
	for x := range tombstones(list) {
		if err := w.add(t.Context(), &x); err != nil {
			t.Fatal(err)
		}
	}
	p, err := w.commit(t.Context())
	if err != nil || p.Rows != len(list) {
		t.Fatal(p, err)
	}
	return p
}

// finds checks outdated with a window of random changes.
func finds(t *testing.T, s *states, st *state, remembered map[string]tombstone, rnd *rand.Rand, position int) {
	t.Helper()
	w, want := &window{winners: map[string]*change{}}, map[string]bool{}
	for range 10 {
		key := fmt.Sprintf("key<&>%d", rnd.IntN(80))
		c := &change{place: place{position: fmt.Sprintf("%08d", rnd.IntN(position+2))}}
		w.winners[key] = c
		last, ok := remembered[key]
		want[key] = ok && last.place().compare(c.place) >= 0
	}
	err := s.outdated(t.Context(), st, w, someAhead, func(key string) {
		if !want[key] {
			t.Errorf("%s was not deleted after %+v: %+v", key, w.winners[key], remembered[key])
		}
		delete(want, key)
		delete(w.winners, key)
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, late := range want {
		if late {
			t.Errorf("%s was deleted after %+v, at %+v", key, w.winners[key], remembered[key])
		}
	}
}

// TestManyDeletesTakeLittleMemory: what is remembered passes through memory, when it is looked at and when it is written anew.
func TestManyDeletesTakeLittleMemory(t *testing.T) { // alone, as it measures
	const n, parts = 200_000, maxParts
	s, st := newStates(t), &state{}
	for p := range parts {
		var list []deletion
		for i := range n / parts {
			list = append(list, deleteOf(fmt.Sprintf("a key of some length %08d", i*parts+p), i, 1000))
		}
		got, err := s.keep(t.Context(), &state{}, list, someAhead, time.UnixMilli(0))
		if err != nil {
			t.Fatal(err)
		}
		st.Deleted = append(st.Deleted, got...)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	found := 0
	w := &window{winners: map[string]*change{"a key of some length 00012345": {}}}
	if err := s.outdated(t.Context(), st, w, someAhead, func(string) { found++ }); err != nil || found != 1 {
		t.Fatal(found, err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 10<<20 {
		t.Errorf("looking one key up among %d took %d bytes", n, took)
	}
	i := 0
	merged, err := s.mergeDeleted(t.Context(), st.Deleted, nil, someAhead, func(*tombstone) bool {
		if i++; i%(n/8) == 0 {
			runtime.GC()
			runtime.ReadMemStats(&after)
			if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 10<<20 {
				t.Errorf("after %d of %d keys %d bytes are in memory", i, n, held)
			}
		}
		return true
	})
	if err != nil || merged.Rows != n {
		t.Fatal(merged, err)
	}
}

// TestDeletesThatAreGone: another run has moved on and removed what it replaced; that is told from an error, and what was begun is not left.
func TestDeletesThatAreGone(t *testing.T) {
	t.Parallel()
	s := newStates(t)
	p := unordered(t, s, []deletion{deleteOf("a", 1, 1)})
	st := &state{Deleted: []deletedPart{p, {ID: "0" + deletedSuffix, Rows: 1}}}
	if err := s.outdated(t.Context(), st, &window{winners: map[string]*change{"x": {}}}, someAhead, func(string) {}); !errors.Is(err, errGone) {
		t.Errorf("%v", err)
	}
	if _, err := s.mergeDeleted(t.Context(), st.Deleted, nil, someAhead, func(*tombstone) bool { return true }); !errors.Is(err, errGone) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.mergeDeleted(ctx, st.Deleted[:1], nil, someAhead, func(*tombstone) bool {
		cancel()
		return true
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	left, err := StateObjects(t.Context(), s.store, s.root)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if none, err := s.mergeDeleted(t.Context(), st.Deleted[:1], nil, someAhead, func(*tombstone) bool { return false }); err != nil || none.Rows != 0 || none.ID != "" {
		t.Errorf("%v, %v", none, err)
	}
}

// TestKeysAreInTheOrderOfTheirColumns: as the rows of files are sorted.
func TestKeysAreInTheOrderOfTheirColumns(t *testing.T) {
	t.Parallel()
	key := func(values ...string) (out string) {
		for _, v := range values {
			out += string([]byte{0, 0, 0, byte(len(v))}) + v
		}
		return out
	}
	inOrder := []string{key("", ""), key("", "b"), key("a", "z"), key("aa", ""), key("aa", "a"), key("aa", "aa"), key("b", "")}
	for i, a := range inOrder {
		for k, b := range inOrder {
			if got, want := compareKeys(a, b), i-k; got*want < 0 || (got == 0) != (want == 0) {
				t.Errorf("%q and %q: %d", a, b, got)
			}
		}
	}
}
