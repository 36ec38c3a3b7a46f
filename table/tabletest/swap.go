package tabletest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

func appendFiles(t *testing.T, h Harness) {
	c := h.Catalog(t)
	d := def(ident())
	d.SortBy = []table.SortField{{Source: "id"}}
	i, s := ensure(t, c, d)
	b := load(t, s)
	if b.Snapshot != 0 || b.Rows != 0 || b.UUID != i.UUID || b.IsAncestor(1) || b.Has(1) {
		t.Fatalf("new table: %+v", b)
	}
	one, two := file(i, "one", 10), file(i, "two", 7)
	two.SortOrderID = i.SortOrderID
	var told int64
	b = swap(t, s, b, table.Change{Add: []table.File{one}, Summary: map[string]string{"lakeloader.round": "7"}, Props: func(snapshot int64) map[string]string {
		told = snapshot
		return map[string]string{table.Prefix + "move": strconv.FormatInt(snapshot, 10), "other": "x"}
	}})
	if told == 0 || b.Snapshot != told || b.Rows != 10 || b.Props[table.Prefix+"move"] != strconv.FormatInt(told, 10) || b.Props["other"] != "x" {
		t.Fatalf("after the first append, told %d: %+v", told, b)
	}
	first := b.Snapshot
	b = swap(t, s, b, table.Change{Add: []table.File{two}, Unset: []string{table.Prefix + "move", "no.such"}})
	if b.Rows != 17 || b.Snapshot == first {
		t.Fatalf("after the second append: %+v", b)
	}
	if _, ok := b.Props[table.Prefix+"move"]; ok {
		t.Fatalf("not unset: %v", b.Props)
	}
	got, _, err := c.Files(t.Context(), i.Ident, 0)
	if err != nil || len(got) != 2 {
		t.Fatalf("files %v, %v", got, err)
	}
	slices.SortFunc(got, func(a, b table.File) int { return strings.Compare(a.Path, b.Path) })
	for n, want := range []table.File{one, two} {
		if len(got[n].NaNCounts) == 0 {
			got[n].NaNCounts = map[int]int64{}
		}
		if got[n].AddedMS == 0 || got[n].Sequence != int64(n)+1 {
			t.Errorf("file %d was added at %d, with sequence number %d", n, got[n].AddedMS, got[n].Sequence)
		}
		if got[n].AddedMS, got[n].Sequence = 0, 0; !reflect.DeepEqual(got[n], want) {
			t.Errorf("file %d\n%+v, want\n%+v", n, got[n], want)
		}
	}
	if old, _, err := c.Files(t.Context(), i.Ident, first); err != nil || len(old) != 1 || old[0].Path != one.Path {
		t.Errorf("files of snapshot %d: %v, %v", first, old, err)
	}
	if _, _, err := c.Files(t.Context(), i.Ident, 12345); err == nil {
		t.Error("files of a snapshot that never was")
	}
	bad := one
	bad.Path += "2"
	bad.Partition = [][]byte{{1}}
	if err := s.Swap(t.Context(), b, table.Change{Add: []table.File{bad}}); err == nil || table.Passing(err) || !strings.Contains(err.Error(), bad.Path) {
		t.Errorf("a partition value too many: %v", err)
	}
	if err := s.Swap(t.Context(), &table.Base{}, table.Change{}); err == nil || table.Passing(err) {
		t.Errorf("a base from nowhere: %v", err)
	}
}

type partitionValue struct {
	kind      *batch.Type
	transform string
	value     []byte
}

func partitionValues(t *testing.T, h Harness) {
	c := h.Catalog(t)
	i32 := func(v int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }
	i64 := func(v int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }
	for n, cases := range [][]partitionValue{{
		{batch.Prim(batch.TimestampTZ), "hour", i32(490_000)}, {batch.Prim(batch.TimestampTZ), "day", i32(20_000)}, {batch.Prim(batch.Timestamp), "day", i32(-1)},
		{batch.Prim(batch.Date), "month", i32(670)}, {batch.Prim(batch.Date), "year", i32(-1)},
		{batch.Prim(batch.String), "identity", []byte("Zürich a/b=c%")}, {batch.Prim(batch.String), "truncate[4]", []byte("Züri")}, {batch.Prim(batch.String), "identity", []byte{}},
		{batch.Prim(batch.Long), "identity", i64(-5)}, {batch.Prim(batch.Int), "identity", i32(5)}, {batch.Prim(batch.Long), "bucket[16]", i32(15)}, {batch.Prim(batch.Long), "truncate[10]", i64(-10)},
		{batch.Prim(batch.Boolean), "identity", []byte{1}}, {batch.Prim(batch.Date), "identity", i32(-400)}, {batch.Prim(batch.Time), "identity", i64(86_399_999_999)},
		{batch.Prim(batch.Timestamp), "identity", i64(-1)}, {batch.Prim(batch.TimestampTZ), "identity", i64(1_700_000_000_123_456)},
		{batch.Prim(batch.UUID), "identity", []byte("0123456789abcdef")}, {batch.Prim(batch.Binary), "identity", []byte{0, 255}},
	},
		{{batch.DecimalOf(9, 2), "identity", []byte{0xff, 0x7f}}, {batch.DecimalOf(9, 2), "bucket[8]", i32(3)}},
		{{batch.DecimalOf(9, 2), "truncate[10]", []byte{0}}},
		{{batch.DecimalOf(38, 0), "identity", []byte{1, 0, 0, 0, 0, 0, 0, 0, 0}}},
		{{batch.FixedOf(3), "identity", []byte{0, 1, 255}}},
	} {
		t.Run(strconv.Itoa(n), func(t *testing.T) { partitionTuple(t, c, cases) })
	}
}

func partitionTuple(t *testing.T, c table.Catalog, cases []partitionValue) {
	d := table.Def{Ident: ident()}
	var fields []batch.Field
	values := make([][]byte, len(cases))
	for n, k := range cases {
		name := fmt.Sprintf("c%d", n)
		fields = append(fields, batch.Field{Name: name, Type: k.kind})
		d.PartitionBy = append(d.PartitionBy, table.PartitionField{Source: name, Transform: k.transform, Name: "p_" + name})
		values[n] = k.value
	}
	d.Row = batch.StructOf(fields...)
	i, s := ensure(t, c, d)
	full, null := file(i, "full", 1), file(i, "null", 1)
	full.Partition, null.Partition = values, make([][]byte, len(cases))
	b := swap(t, s, load(t, s), table.Change{Add: []table.File{full, null}})
	swap(t, s, b, table.Change{Snapshot: true})
	got, _, err := c.Files(t.Context(), i.Ident, 0)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d files, %v", len(got), err)
	}
	for _, f := range got {
		want := values
		if f.Path == null.Path {
			want = null.Partition
		}
		for n := range cases {
			if !slices.Equal(f.Partition[n], want[n]) || (f.Partition[n] == nil) != (want[n] == nil) {
				t.Errorf("%s: %s(%s) = %x (nil: %t), want %x", f.Path, cases[n].transform, cases[n].kind, f.Partition[n], f.Partition[n] == nil, want[n])
			}
		}
	}
	if cases[0].transform != "hour" {
		return
	}
	full.Partition = slices.Clone(values)
	full.Partition[0] = []byte{1}
	if err := s.Swap(t.Context(), load(t, s), table.Change{Add: []table.File{full}}); err == nil || table.Passing(err) || !strings.Contains(err.Error(), "p_c0") {
		t.Errorf("one byte for an int: %v", err)
	}
}

// Every way in which a base can be stale, against every kind of change: a conflict, and nothing landed.
func staleBase(t *testing.T, h Harness) {
	key := table.Prefix + "offsets"
	moves := map[string]func(t *testing.T, i table.Info, c table.Catalog, s table.Store){
		"main moved": func(t *testing.T, i table.Info, _ table.Catalog, s table.Store) {
			swap(t, s, load(t, s), table.Change{Add: []table.File{file(i, "winner", 1)}})
		},
		"property changed": func(t *testing.T, _ table.Info, _ table.Catalog, s table.Store) {
			swap(t, s, load(t, s), table.Change{Props: props(key, "2")})
		},
		"property added": func(t *testing.T, _ table.Info, _ table.Catalog, s table.Store) {
			swap(t, s, load(t, s), table.Change{Props: props(table.Prefix+"more", "1")})
		},
		"property removed": func(t *testing.T, _ table.Info, _ table.Catalog, s table.Store) {
			swap(t, s, load(t, s), table.Change{Unset: []string{key}})
		},
		"moved and rolled back": func(t *testing.T, i table.Info, _ table.Catalog, s table.Store) {
			old := load(t, s)
			swap(t, s, old, table.Change{Add: []table.File{file(i, "winner", 1)}, Props: props(key, "2")})
			h.Rollback(t, i.Ident, old.Snapshot)
		},
		"dropped and made again": func(t *testing.T, i table.Info, c table.Catalog, _ table.Store) {
			h.Drop(t, i.Ident)
			ensure(t, c, def(i.Ident))
		},
	}
	changes := map[string]func(i table.Info) table.Change{
		"append": func(i table.Info) table.Change {
			return table.Change{Add: []table.File{file(i, "loser", 5)}, Props: props(key, "3")}
		},
		"property": func(table.Info) table.Change { return table.Change{Props: props(key, "3")} },
		"empty":    func(table.Info) table.Change { return table.Change{Snapshot: true, Props: props(key, "3")} },
		"remove": func(i table.Info) table.Change {
			return table.Change{Add: []table.File{file(i, "loser", 5)}, Remove: []string{file(i, "start", 3).Path}, Props: props(key, "3")}
		},
		"unset":   func(table.Info) table.Change { return table.Change{Unset: []string{key}} },
		"nothing": func(table.Info) table.Change { return table.Change{Props: props(key, "1")} },
	}
	for _, move := range slices.Sorted(maps.Keys(moves)) {
		t.Run(move, func(t *testing.T) {
			for name, change := range changes {
				c := h.Catalog(t)
				i, s := ensure(t, c, def(ident()))
				base := swap(t, s, load(t, s), table.Change{Add: []table.File{file(i, "start", 3)}, Props: props(key, "1", "free", "1")})
				moves[move](t, i, h.Catalog(t), s)
				before := load(t, s)
				files := paths(t, c, i.Ident)
				err := s.Swap(t.Context(), base, change(i))
				t.Log(name+":", err)
				wantErr(t, err, table.ErrConflict)
				after := load(t, s)
				if after.Snapshot != before.Snapshot || !maps.Equal(after.Props, before.Props) || !slices.Equal(paths(t, c, i.Ident), files) {
					t.Errorf("%s landed: %v -> %v", name, before, after)
				}
			}
		})
	}
	t.Run("other property changed", func(t *testing.T) {
		c := h.Catalog(t)
		i, s := ensure(t, c, def(ident()))
		base := swap(t, s, load(t, s), table.Change{Props: props(key, "1")})
		ensure(t, c, def(i.Ident, batch.Field{Name: "id", Type: batch.Prim(batch.Long), Required: true}, batch.Field{Name: "added", Type: batch.Prim(batch.Date)}))
		if b := swap(t, s, base, table.Change{Add: []table.File{file(i, "a", 1)}, Props: props(key, "2")}); b.Props[key] != "2" || b.Rows != 1 {
			t.Errorf("a new column must not stop a commit: %+v", b)
		}
	})
	t.Run("dropped", func(t *testing.T) {
		i, s := ensure(t, h.Catalog(t), def(ident()))
		base := load(t, s)
		h.Drop(t, i.Ident)
		_, err := s.Load(t.Context())
		wantErr(t, err, table.ErrNoTable)
		if err := s.Swap(t.Context(), base, table.Change{Snapshot: true}); err == nil {
			t.Error("a commit to a dropped table")
		}
	})
}

// Four writers move disjoint offsets of one table at once; each change lands exactly once.
func racingWriters(t *testing.T, h Harness) {
	const writers, moves = 4, 8
	i, s := ensure(t, h.Catalog(t), def(ident()))
	var wg sync.WaitGroup
	for w := range writers {
		c := h.Catalog(t)
		key := fmt.Sprintf("%soffsets.%d", table.Prefix, w)
		wg.Go(func() {
			mine, err := c.Open(t.Context(), i.Ident)
			for n := 0; n < moves && err == nil; n++ {
				f := file(i, fmt.Sprintf("w%d-%d", w, n), int64(n+1))
				err = table.Commit(t.Context(), mine, noWait, func(b *table.Base) (table.Change, bool, error) {
					at, _ := strconv.Atoi(b.Props[key])
					if at == n+1 {
						return table.Change{}, true, nil // landed before
					}
					if at != n {
						return table.Change{}, false, fmt.Errorf("offset %d, expected %d", at, n)
					}
					return table.Change{Add: []table.File{f}, Props: props(key, strconv.Itoa(n+1))}, false, nil
				})
			}
			if err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	wg.Wait()
	b := load(t, s)
	var want []string
	for w := range writers {
		if got := b.Props[fmt.Sprintf("%soffsets.%d", table.Prefix, w)]; got != strconv.Itoa(moves) {
			t.Errorf("writer %d is at %s", w, got)
		}
		for n := range moves {
			want = append(want, file(i, fmt.Sprintf("w%d-%d", w, n), 0).Path)
		}
	}
	slices.Sort(want)
	if got := paths(t, h.Catalog(t), i.Ident); !slices.Equal(got, want) {
		t.Errorf("%d files, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	if b.Rows != writers*moves*(moves+1)/2 {
		t.Errorf("%d rows", b.Rows)
	}
}

func unknownOutcome(t *testing.T, h Harness) {
	for _, lands := range []bool{true, false} {
		t.Run(fmt.Sprint("lands ", lands), func(t *testing.T) {
			key := table.Prefix + "offsets"
			i, s := ensure(t, h.Catalog(t), def(ident()))
			lossy, err := h.Lossy(t, lands).Open(t.Context(), i.Ident)
			if err != nil {
				t.Fatal(err)
			}
			ch := table.Change{Add: []table.File{file(i, "a", 4)}, Props: props(key, "1")}
			base, err := lossy.Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = lossy.Swap(t.Context(), base, ch)
			t.Log(err)
			wantErr(t, err, table.ErrUnknown)
			after := load(t, s)
			if landed := after.Props[key] == "1"; landed != lands || landed != (after.Rows == 4) {
				t.Fatalf("landed: %t, %+v", landed, after)
			}
			// Found by loading, or made again: once in any case.
			lossy, err = h.Lossy(t, lands).Open(t.Context(), i.Ident)
			if err != nil {
				t.Fatal(err)
			}
			next := table.Change{Add: []table.File{file(i, "b", 5)}, Props: props(key, "2")}
			err = table.Commit(t.Context(), lossy, noWait, func(b *table.Base) (table.Change, bool, error) { return next, b.Props[key] == "2", nil })
			if err != nil {
				t.Fatal(err)
			}
			if after = load(t, s); after.Rows != map[bool]int64{true: 9, false: 5}[lands] {
				t.Fatalf("%d rows", after.Rows)
			}
		})
	}
}

func emptySnapshot(t *testing.T, h Harness) {
	c := h.Catalog(t)
	i, s := ensure(t, c, def(ident()))
	var ids []int64
	b := load(t, s)
	for range 2 {
		b = swap(t, s, b, table.Change{Snapshot: true, Props: func(id int64) map[string]string {
			ids = append(ids, id)
			return map[string]string{table.Prefix + "move": strconv.FormatInt(id, 10)}
		}})
		if id := ids[len(ids)-1]; b.Snapshot != id || id == 0 || b.Rows != 0 {
			t.Fatalf("told %d: %+v", id, b)
		}
	}
	if ids[0] == ids[1] || !b.IsAncestor(ids[0]) {
		t.Fatalf("snapshots %v", ids)
	}
	b = swap(t, s, b, table.Change{Add: []table.File{file(i, "a", 2)}})
	b = swap(t, s, b, table.Change{Snapshot: true})
	if got := paths(t, c, i.Ident); len(got) != 1 || b.Rows != 2 {
		t.Fatalf("files %q, %d rows", got, b.Rows)
	}
	for k := range b.Props {
		if strings.HasPrefix(k, "schema.") {
			t.Errorf("property %s came along", k)
		}
	}
}

func ancestors(t *testing.T, h Harness) {
	i, s := ensure(t, h.Catalog(t), def(ident()))
	b := load(t, s)
	var ids []int64
	for n := range 4 {
		b = swap(t, s, b, table.Change{Add: []table.File{file(i, strconv.Itoa(n), 1)}})
		ids = append(ids, b.Snapshot)
	}
	for _, id := range ids {
		if !b.IsAncestor(id) || !b.Has(id) || b.LeftBehind(id) {
			t.Errorf("snapshot %d of %v", id, ids)
		}
	}
	h.Rollback(t, i.Ident, ids[1])
	b = load(t, s)
	for n, id := range ids {
		if b.IsAncestor(id) != (n <= 1) || !b.Has(id) || b.LeftBehind(id) != (n > 1) {
			t.Errorf("after rollback: snapshot %d: ancestor %t, there %t, left behind %t", n, b.IsAncestor(id), b.Has(id), b.LeftBehind(id))
		}
	}
	if b.Rows != 2 {
		t.Errorf("after rollback: %d rows", b.Rows)
	}
	b = swap(t, s, b, table.Change{Snapshot: true})
	if !b.LeftBehind(ids[2]) || b.LeftBehind(ids[1]) || b.LeftBehind(1) {
		t.Error("after a commit to what was rolled back")
	}
	h.Expire(t, i.Ident)
	b = load(t, s)
	for n, id := range ids {
		if b.Has(id) || b.LeftBehind(id) {
			t.Errorf("after expiry: snapshot %d is there", n)
		}
	}
	if b.IsAncestor(ids[2]) || b.IsAncestor(ids[0]) || !b.IsAncestor(b.Snapshot) {
		t.Error("after expiry")
	}
}

func manyCommits(t *testing.T, h Harness) {
	commits := h.Commits
	if commits == 0 {
		commits = 200
	}
	i, s := ensure(t, h.Catalog(t), def(ident()))
	took := make([]time.Duration, commits)
	for n := range commits {
		start := time.Now()
		err := s.Swap(t.Context(), load(t, s), table.Change{Add: []table.File{file(i, strconv.Itoa(n), 1)}, Props: props(table.Prefix+"n", strconv.Itoa(n))})
		if err != nil {
			t.Fatal(err)
		}
		took[n] = time.Since(start)
	}
	var all, tail time.Duration
	for n, d := range took {
		if all += d; n >= commits-20 {
			tail += d
		}
	}
	b := load(t, s)
	if b.Rows != int64(commits) || len(paths(t, h.Catalog(t), i.Ident)) != commits {
		t.Fatalf("%d rows", b.Rows)
	}
	t.Logf("%d commits: %.1f ms each (load and swap), %.1f ms over the last 20", commits, float64(all.Microseconds())/float64(commits)/1000, float64(tail.Microseconds())/20000)
	if h.Metadata == nil {
		return
	}
	files, bytes := h.Metadata(t, i.Location)
	t.Logf("metadata: %d files, %d bytes", files, bytes)
	if want := int64(commits) * 50_000; bytes > want {
		t.Errorf("%d bytes of metadata after %d commits", bytes, commits)
	}
}

// The offsets of 10,000 partitions, packed 64 to a property of under 3,500 bytes.
func largeLedger(t *testing.T, h Harness) {
	i, s := ensure(t, h.Catalog(t), def(ident()))
	value := func(move int) string {
		return strings.Repeat(fmt.Sprintf("%010d,cluster,topic-id,3,1,2,3;", move), 100)[:3400]
	}
	ledger := map[string]string{}
	for n := range 10_000/64 + 1 {
		ledger[fmt.Sprintf("%soffsets.%03d", table.Prefix, n)] = value(0)
	}
	b := swap(t, s, load(t, s), table.Change{Snapshot: true, Props: func(int64) map[string]string { return ledger }})
	start := time.Now()
	const commits = 10
	for n := range commits {
		k := fmt.Sprintf("%soffsets.%03d", table.Prefix, n)
		ledger[k] = value(n + 1)
		if err := s.Swap(t.Context(), b, table.Change{Add: []table.File{file(i, strconv.Itoa(n), 1)}, Props: props(k, ledger[k])}); err != nil {
			t.Fatal(err)
		}
		b = load(t, s)
	}
	t.Logf("%d bytes of offsets: %.1f ms a commit and load", len(ledger)*3400, float64(time.Since(start).Microseconds())/commits/1000)
	for k, v := range ledger {
		if b.Props[k] != v {
			t.Fatalf("%s was lost", k)
		}
	}
}
