package writers

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// heapOf tells by how much f makes the live heap grow, bytes.
func heapOf(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// TestOpenPartitionsCostLittle: ten thousand partitions with eight rows each.
func TestOpenPartitionsCostLittle(t *testing.T) {
	const partitions, perPartition = 10_000, 8
	row := clicksRow(false)
	store := newMemory()
	store.discard = true
	w := newWriter(t, Options{Info: info(row), Store: store, Files: configs.Files{MaxOpen: partitions}})
	b := clicks(row, rand.New(rand.NewPCG(1, 2)), 0, partitions, partitions)
	raw := int64(len(b.Mem)) + columnBytes(b.Root)
	parts := make([]Part, partitions)
	for i := range parts {
		parts[i] = in(fmt.Sprint(i), int32(i))
	}
	grown := heapOf(func() {
		for range perPartition {
			for _, p := range parts {
				if err := w.Append(t.Context(), b, p); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	said := w.Held().Open
	each, values := grown/partitions, perPartition*raw/partitions
	t.Logf("an open partition with %d rows takes %d bytes, %d of them values; Held says %d", perPartition, each, values, said/partitions)
	if each > 2*values+1500 {
		t.Errorf("an open partition takes %d bytes, with values of %d", each, values)
	}
	if said < grown*3/4 || said > grown*5/4 {
		t.Errorf("Held says %d, the heap grew by %d", said, grown)
	}
	rows := int64(0)
	for _, f := range finish(t, w) {
		rows += f.Rows
	}
	if rows != partitions*perPartition {
		t.Errorf("%d rows", rows)
	}
	runtime.KeepAlive(parts)
}

// TestStagedRowsKeepTheirOrder: rows of skewed partitions are staged, copied together and passed on; each file has its own,
// in the order in which they came, whatever the row types of the batches and the sort order.
func TestStagedRowsKeepTheirOrder(t *testing.T) {
	long := number(batch.StructOf(required("n", batch.Long)))
	narrow := number(batch.StructOf(required("n", batch.Int)))
	for _, sorted := range []bool{false, true} {
		store := newMemory()
		opts := Options{Info: info(long), Store: store}
		if sorted {
			opts.SortBy = []table.SortField{{Source: "n", Desc: true}}
		}
		w := newWriter(t, opts)
		r := rand.New(rand.NewPCG(5, 6))
		want := map[string][]any{}
		for n := range 3000 {
			row := long
			if n/100%2 == 1 && !sorted { // a change of the type ends a sorted run
				row = narrow
			}
			key := fmt.Sprint(r.IntN(1 + r.IntN(60)))
			var values []any
			for range 1 + r.IntN(30) {
				values = append(values, []any{int64(n)})
				want[key] = append(want[key], []any{int64(n)})
			}
			if err := w.Append(t.Context(), batchOf(row, values), in(key, all(len(values)).Rows...)); err != nil {
				t.Fatal(err)
			}
			if w.staged.rows > 2*w.staged.live+5*segmentRows {
				t.Fatalf("%d rows are kept for %d", w.staged.rows, w.staged.live)
			}
		}
		files := finish(t, w)
		if len(files) != len(want) || len(files) < 50 {
			t.Fatalf("%d files for %d partitions", len(files), len(want))
		}
		for _, f := range files {
			rows := want[string(f.Partition[0])]
			if sorted {
				for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
					rows[i], rows[j] = rows[j], rows[i]
				}
			}
			if got := text(readFile(t, store, f, long)); got != text(rows) {
				t.Fatalf("sorted %v, partition %s: other rows came back", sorted, f.Partition[0])
			}
		}
	}
}
