package enrich

import (
	"errors"
	"fmt"
	"math"
	"math/rand"
	"os"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
)

// history is what was said of the rows of identities: a plain model of a table with versions.
type history map[int64]map[int64]said

type said struct {
	key   string // empty: the row is gone
	level int32
	n     int // when it was said
}

// find looks what a key had at a time: of several identities the one whose version began last, or was said last.
func (h history) find(key string, at int64) string {
	best, from, found := said{}, int64(0), "-"
	for id, versions := range h {
		var last said
		since := int64(math.MinInt64)
		for when, v := range versions {
			if when <= at && when >= since {
				last, since = v, when
			}
		}
		if last.key != key {
			continue
		}
		if found == "-" || since > from || since == from && last.n > best.n {
			best, from, found = last, since, fmt.Sprintf("%d %s %d", id, key, last.level)
		}
	}
	return found
}

// TestVersionsOfIdentities: rows that change their key, end, come again, and are told of in any order.
func TestVersionsOfIdentities(t *testing.T) {
	for seed := range int64(24) {
		versionsOfIdentities(t, seed, 0)
	}
}

// TestVersionsOnDisk: the same with rows on the disk.
func TestVersionsOnDisk(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for seed := range int64(4) {
		versionsOfIdentities(t, seed, 200)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func versionsOfIdentities(t *testing.T, seed int64, spillAt int) {
	t.Helper()
	rnd := rand.New(rand.NewSource(seed))
	keep := []int64{0, 100, 1000}[seed%3]
	x := tableOf(t, Shape{Key: []string{"email"}, Versions: "since", Identified: true, Keep: time.Duration(keep) * time.Microsecond})
	h := history{}
	newest := int64(0)
	for n := range 1500 {
		if n == spillAt && n > 0 {
			x.limit = 1
		}
		id, at := rnd.Int63n(12), int64(n)+rnd.Int63n(40)
		r := row{id: id, level: int32(n), since: at, email: fmt.Sprint("key", rnd.Intn(8))}
		v := said{r.email.(string), r.level, n}
		switch rnd.Intn(8) {
		case 0:
			v.key = ""
			if err := x.End(x.Identity(fmt.Append(nil, id)), at); err != nil {
				t.Fatal(err)
			}
		case 1:
			r.email, v.key = nil, ""
			b := batchOf(r)
			if err := x.Put(b.Mem, b.Root.Children, 0, x.Identity(fmt.Append(nil, id))); !errors.Is(err, ErrNoKey) {
				t.Fatal(err)
			}
		default:
			b := batchOf(r)
			if err := x.Put(b.Mem, b.Root.Children, 0, x.Identity(fmt.Append(nil, id))); err != nil {
				t.Fatal(err)
			}
		}
		newest = max(newest, at)
		if h[id] == nil {
			h[id] = map[int64]said{}
		}
		h[id][at] = v
		if n%500 == 499 {
			if err := x.Expire(); err != nil {
				t.Fatal(err)
			}
		}
		if n%307 == 0 || n == 1499 {
			sameHistory(t, seed, x, h, newest, keep)
		}
	}
	if _, spilled := x.store.(*disk); spilled != (spillAt > 0) {
		t.Fatalf("the rows are in a %T", x.store)
	}
	if keep == 100 && x.Rows() > 200 {
		t.Errorf("seed %d: %d versions are kept of some 150 that are needed", seed, x.Rows())
	}
	if err := x.EndAll(5000); err != nil {
		t.Fatal(err)
	}
	b := batchOf(row{email: "key1"})
	if got := find(x, b, b.Root.Children[1:2], nil); got[0] != "-" {
		t.Errorf("seed %d: after the end of all there is %s", seed, got[0])
	}
	if err := errors.Join(x.Err(), x.Close()); err != nil {
		t.Error(err)
	}
}

func sameHistory(t *testing.T, seed int64, x *Table, h history, newest, keep int64) {
	t.Helper()
	from := int64(-1)
	if keep > 0 {
		from = newest - keep
	}
	var rows []row
	var times []int64
	var want []string
	for at := from; at <= newest+1; at += 37 {
		for k := range 8 {
			key := fmt.Sprint("key", k)
			rows, times, want = append(rows, row{email: key}), append(times, at), append(want, h.find(key, at))
		}
	}
	b := batchOf(rows...)
	for i, got := range find(x, b, b.Root.Children[1:2], times) {
		if got != want[i] {
			t.Fatalf("seed %d: %v at %d of %d: %s, want %s", seed, rows[i].email, times[i], newest, got, want[i])
		}
	}
	for i, got := range find(x, b, b.Root.Children[1:2], nil) {
		if still := h.find(rows[i].email.(string), math.MaxInt64); got != still {
			t.Fatalf("seed %d: %v is %s, want %s", seed, rows[i].email, got, still)
		}
	}
}

// TestVersionsAreLetGo: a file's or a table's, whatever the order of its rows.
func TestVersionsAreLetGo(t *testing.T) {
	x := tableOf(t, Shape{Key: []string{"id"}, Versions: "since", Keep: 10 * time.Microsecond})
	put := func(id, since int64) {
		t.Helper()
		b := batchOf(row{id: id, email: "e", level: int32(since), since: since})
		if err := x.Put(b.Mem, b.Root.Children, 0, [2]uint64{}); err != nil {
			t.Fatal(err)
		}
	}
	for since := range int64(100) {
		put(1, since)
	}
	if x.Rows() != 11 {
		t.Errorf("%d rows of the last 10 microseconds", x.Rows())
	}
	put(2, 3)
	put(2, 1)
	put(2, 2)
	put(3, 200)
	if err := x.Expire(); err != nil {
		t.Fatal(err)
	}
	if x.Rows() != 3 {
		t.Errorf("%d rows, want one of each: all are older than what is kept, but for the last one", x.Rows())
	}
	b := batchOf(row{id: int64(1)}, row{id: int64(2)}, row{id: int64(3)})
	if got := fmt.Sprint(find(x, b, b.Root.Children[:1], []int64{195, 195, 195})); got != "[1 e 99 2 e 3 -]" {
		t.Error(got)
	}
}

// TestKeepOfDates: a part of a day keeps the day.
func TestKeepOfDates(t *testing.T) {
	row := batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)}, batch.Field{Name: "from", Type: batch.Prim(batch.Date)})
	x, err := NewTable(Shape{Row: row, Key: []string{"id"}, Versions: "from", Keep: 36 * time.Hour})
	if err != nil || x.keep != 2 {
		t.Fatal(x.keep, err)
	}
}
