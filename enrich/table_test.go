package enrich

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
)

var customerRow = batch.StructOf(batch.Field{Name: "id", Type: batch.Prim(batch.Long)}, batch.Field{Name: "email", Type: batch.Prim(batch.String)},
	batch.Field{Name: "level", Type: batch.Prim(batch.Int)}, batch.Field{Name: "since", Type: batch.Prim(batch.Timestamp)}, batch.Field{Name: "vip", Type: batch.Prim(batch.Boolean)})

// row is a customer; nil is null.
type row struct {
	id    any // int64
	email any // string
	level int32
	since int64
}

func fill(b *batch.Batch, rows ...row) *batch.Batch {
	for i, r := range rows {
		c := b.Root.Children
		if id, ok := r.id.(int64); ok {
			c[0].AppendInt64(id)
		} else {
			c[0].AppendNull()
		}
		if email, ok := r.email.(string); ok {
			c[1].AppendView(b.AppendString(email))
		} else {
			c[1].AppendNull()
		}
		c[2].AppendInt32(r.level)
		c[3].AppendInt64(r.since)
		c[4].AppendBool(r.level > 5)
		b.Root.AppendStruct()
		b.AppendRow(i, 0)
		b.Records.Timestamp, b.Records.Offset = append(b.Records.Timestamp, -1), append(b.Records.Offset, int64(i))
	}
	return b
}

func batchOf(rows ...row) *batch.Batch {
	return fill(batch.New(&batch.Records{}, customerRow), rows...)
}

func tableOf(t testing.TB, s Shape) *Table {
	t.Helper()
	s.Row = customerRow
	x, err := NewTable(s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// find reads the row of each key, "-" where there is none.
func find(t *Table, b *batch.Batch, key []*batch.Column, at []int64) (out []string) {
	n := b.Rows
	found, hashes, skip := make([][]byte, n), make([]uint64, n), make([]bool, n)
	t.hasher.hash(hashes, b.Mem, key)
	var sp space
	t.probe(found, hashes, skip, b.Mem, key, at, &sp)
	if sp.err != nil {
		panic(sp.err)
	}
	for _, row := range found {
		if row == nil {
			out = append(out, "-")
			continue
		}
		l := t.layout
		email := "null"
		if !l.null(row, 1) {
			email = string(l.view(row, l.columns[1].at))
		}
		out = append(out, fmt.Sprintf("%d %s %d", l.whole(row, l.columns[0]), email, l.whole(row, l.columns[2])))
	}
	return out
}

// TestTableIsAMap puts and deletes at random, and compares with maps: in a table by record key, and in one that is re-keyed.
func TestTableIsAMap(t *testing.T) {
	for seed := range int64(30) {
		tableIsAMap(t, seed, 0)
	}
}

// TestTableOnDiskIsAMap: the same with rows on the disk, but for the first ones.
func TestTableOnDiskIsAMap(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for seed := range int64(3) {
		tableIsAMap(t, seed, 1<<30)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func tableIsAMap(t *testing.T, seed, memory int64) {
	rnd := rand.New(rand.NewSource(seed))
	plain, rekeyed := tableOf(t, Shape{Key: []string{"id"}, Memory: memory}), tableOf(t, Shape{Key: []string{"email", "level"}, Identified: true, Memory: memory})
	defer func() {
		if err := errors.Join(plain.Err(), rekeyed.Err(), plain.Close(), rekeyed.Close()); err != nil {
			t.Error(err)
		}
	}()
	type put struct {
		row
		n int
	}
	truth := map[int64]put{}
	for n := range 3000 {
		if memory > 0 && n == 500 {
			plain.limit, rekeyed.limit = 1, 1
		}
		r := row{id: rnd.Int63n(200), level: int32(rnd.Intn(3)), since: rnd.Int63n(1000)}
		if rnd.Intn(10) > 0 {
			r.email = fmt.Sprintf("%*d", 1+rnd.Intn(1+rnd.Intn(700)), rnd.Intn(20))
		}
		id := r.id.(int64)
		b := batchOf(r)
		identity := rekeyed.Identity(fmt.Append(nil, id))
		if rnd.Intn(3) == 0 {
			plain.DeleteKey(b.Mem, b.Root.Children[:1], 0)
			rekeyed.Delete(identity)
			delete(truth, id)
			continue
		}
		if err := plain.Put(b.Mem, b.Root.Children, 0, [2]uint64{}); err != nil {
			t.Fatal(err)
		}
		err := rekeyed.Put(b.Mem, b.Root.Children, 0, identity)
		if (r.email == nil) != errors.Is(err, ErrNoKey) || err != nil && r.email != nil {
			t.Fatal(err)
		}
		truth[id] = put{r, n}
	}
	for _, x := range []*Table{plain, rekeyed} {
		if _, spilled := x.store.(*disk); spilled != (memory > 0) {
			t.Fatalf("the rows are in a %T", x.store)
		}
	}
	var all []row
	var want []string
	byKey := map[string]put{}
	keyed := 0
	for id := range int64(200) {
		p, ok := truth[id]
		all = append(all, row{id: id, email: p.email, level: p.level})
		switch {
		case !ok:
			want = append(want, "-")
			continue
		case p.email == nil:
			want = append(want, fmt.Sprintf("%d null %d", id, p.level))
			continue
		}
		keyed++
		want = append(want, fmt.Sprintf("%d %s %d", id, p.email, p.level))
		if key := fmt.Sprint(p.email, "/", p.level); byKey[key].n <= p.n {
			byKey[key] = p
		}
	}
	b := batchOf(all...)
	if got := find(plain, b, b.Root.Children[:1], nil); !slices.Equal(got, want) {
		t.Fatalf("seed %d: %v, want %v", seed, got, want)
	}
	if plain.Rows() != len(truth) || rekeyed.Rows() != keyed {
		t.Fatalf("seed %d: %d and %d rows, want %d and %d", seed, plain.Rows(), rekeyed.Rows(), len(truth), keyed)
	}
	want = want[:0]
	for _, r := range all {
		if p, ok := byKey[fmt.Sprint(r.email, "/", r.level)]; ok && r.email != nil {
			want = append(want, fmt.Sprintf("%d %s %d", p.id, p.email, p.level))
		} else {
			want = append(want, "-")
		}
	}
	got := find(rekeyed, b, b.Root.Children[1:3], nil)
	for i := range got {
		if all[i].email != nil && got[i] != want[i] {
			t.Fatalf("seed %d: key %v: %s, want %s", seed, all[i], got[i], want[i])
		}
	}
}

// TestTableUsesMemoryAgain: rows that are replaced over and over do not make the table grow.
func TestTableUsesMemoryAgain(t *testing.T) {
	x := tableOf(t, Shape{Key: []string{"id"}, Identified: true})
	rnd := rand.New(rand.NewSource(1))
	bytes := int64(0)
	for n := range 400_000 {
		id := rnd.Int63n(1000)
		b := batchOf(row{id: id, email: fmt.Sprintf("%*d", 100+rnd.Intn(100), id)})
		if err := x.Put(b.Mem, b.Root.Children, 0, x.Identity(fmt.Append(nil, id))); err != nil {
			t.Fatal(err)
		}
		if n == 20_000 {
			bytes = x.Bytes()
		}
	}
	if x.Bytes() > bytes || x.Rows() != 1000 {
		t.Errorf("%d bytes after 20,000 puts, %d after 400,000; %d rows", bytes, x.Bytes(), x.Rows())
	}
}

// TestLongRows: rows longer than a chunk have chunks of their own.
func TestLongRows(t *testing.T) {
	x := tableOf(t, Shape{Key: []string{"id"}})
	var rows []row
	var want []string
	for id := range int64(9) {
		n := 10
		if id%3 > 0 {
			n = int(id) * 700_000
		}
		email := fmt.Sprintf("%*d", n, id)
		rows = append(rows, row{id: id, email: email})
		want = append(want, fmt.Sprintf("%d %s 0", id, email))
	}
	b := batchOf(rows...)
	for i := range rows {
		if err := x.Put(b.Mem, b.Root.Children, i, [2]uint64{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := find(x, b, b.Root.Children[:1], nil); !slices.Equal(got, want) {
		t.Error("long rows are not what was put in")
	}
}

// TestVersions: what was true at a time is found, whatever the order in which versions came.
func TestVersions(t *testing.T) {
	for seed := range int64(20) {
		rnd := rand.New(rand.NewSource(seed))
		x := tableOf(t, Shape{Key: []string{"id"}, Versions: "since"})
		truth := map[int64]map[int64]int32{}
		for range 500 {
			r := row{id: rnd.Int63n(10), email: "e", level: rnd.Int31n(1000), since: rnd.Int63n(100)}
			b := batchOf(r)
			if err := x.Put(b.Mem, b.Root.Children, 0, [2]uint64{}); err != nil {
				t.Fatal(err)
			}
			if truth[r.id.(int64)] == nil {
				truth[r.id.(int64)] = map[int64]int32{}
			}
			truth[r.id.(int64)][r.since] = r.level
		}
		for at := range int64(100) {
			for id := range int64(10) {
				want := "-"
				for when := at; when >= 0 && want == "-"; when-- {
					if level, ok := truth[id][when]; ok {
						want = fmt.Sprintf("%d e %d", id, level)
					}
				}
				b := batchOf(row{id: id})
				if got := find(x, b, b.Root.Children[:1], []int64{at}); got[0] != want {
					t.Fatalf("seed %d: id %d at %d: %s, want %s", seed, id, at, got[0], want)
				}
			}
		}
	}
}
