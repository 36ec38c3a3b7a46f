package enrich

import (
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/test/usage"
)

// BenchmarkJoin joins batches of 4,096 rows with tables of several sizes: three columns are added, one of them text.
func BenchmarkJoin(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		for _, key := range []string{"id", "email"} {
			b.Run(fmt.Sprintf("%d/%s", n, key), func(b *testing.B) { benchmarkJoin(b, n, key) })
		}
	}
}

func benchmarkJoin(b *testing.B, n int, key string) {
	l := New(&configs.Lookup{Name: "customers", Key: []string{key}}, time.Now)
	if err := l.Define(customerRow); err != nil {
		b.Fatal(err)
	}
	t, err := l.Empty(false)
	if err != nil {
		b.Fatal(err)
	}
	for id := range int64(n) {
		x := batchOf(row{id: id, email: fmt.Sprintf("customer%d@example.org", id), level: 3, since: id})
		columns := x.Root.Children
		if key == "email" {
			columns = []*batch.Column{columns[1], columns[0], columns[2], columns[3], columns[4]}
		}
		if err := t.Put(x.Mem, columns, 0, [2]uint64{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Replace(t, "1"); err != nil {
		b.Fatal(err)
	}
	join := configs.Join{Name: "j", Lookup: "customers", On: map[string]string{key: key}, Join: "left", Columns: []string{"level", "since", "email"}, Prefix: "c_", Miss: "null", Version: "v"}
	p, problems := Compile(customerRow, []configs.Join{join}, Options{Lookup: func(string) *Lookup { return l }})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	const rows = 4096
	rnd := rand.New(rand.NewSource(1))
	var in []row
	for range rows {
		id := rnd.Int63n(int64(n) * 11 / 10) // some are missing
		in = append(in, row{id: id, email: fmt.Sprintf("customer%d@example.org", id)})
	}
	x := batchOf(in...)
	root, mem := x.Root, len(x.Mem)
	b.ReportAllocs()
	began := usage.CPU(b)
	for b.Loop() {
		x.Root, x.Mem = root, x.Mem[:mem]
		if err := p.Apply(x); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(usage.CPU(b)-began)/float64(b.N)/rows, "cpu-ns/row")
	b.ReportMetric(float64(t.Bytes())/float64(n), "table-B/row")
}

// BenchmarkJoinOnDisk joins with a table whose rows do not fit into its memory, 64 MiB: batches of 4,096 rows with any keys, and with keys of
// which a thousand are asked for again and again. ROWS says how large it is.
func BenchmarkJoinOnDisk(b *testing.B) {
	n := 1_000_000
	if text := os.Getenv("ROWS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	l := New(&configs.Lookup{Name: "customers", Key: []string{"id"}, Memory: 64 << 20}, time.Now)
	if err := l.Define(customerRow); err != nil {
		b.Fatal(err)
	}
	t, err := l.Empty(false)
	if err != nil {
		b.Fatal(err)
	}
	began := usage.CPU(b)
	x := batch.New(&batch.Records{}, customerRow)
	for id := range int64(n) {
		x.Mem = x.Mem[:0]
		x.Reset(x.Records)
		fill(x, row{id: id, email: fmt.Sprintf("customer%d@example.org", id), level: 3, since: id})
		if err := t.Put(x.Mem, x.Root.Children, 0, [2]uint64{}); err != nil {
			b.Fatal(err)
		}
	}
	build := float64(usage.CPU(b)-began) / float64(n)
	if err := l.Replace(t, "1"); err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	join := configs.Join{Name: "j", Lookup: "customers", Join: "left", Columns: []string{"level", "since", "email"}, Prefix: "c_", Miss: "null"}
	p, problems := Compile(customerRow, []configs.Join{join}, Options{Lookup: func(string) *Lookup { return l }})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	for name, keys := range map[string]int{"any": n, "thousand": 1000} {
		b.Run(name, func(b *testing.B) {
			const rows = 4096
			rnd := rand.New(rand.NewSource(1))
			var batches []*batch.Batch
			for range 64 {
				var in []row
				for range rows {
					in = append(in, row{id: rnd.Int63n(int64(keys)), email: ""})
				}
				batches = append(batches, batchOf(in...))
			}
			began, i := usage.CPU(b), 0
			for b.Loop() {
				x := batches[i%len(batches)]
				i++
				root, mem := x.Root, len(x.Mem)
				if err := p.Apply(x); err != nil {
					b.Fatal(err)
				}
				x.Root, x.Mem = root, x.Mem[:mem]
			}
			b.ReportMetric(float64(usage.CPU(b)-began)/float64(b.N)/rows, "cpu-ns/row")
			b.ReportMetric(build, "build-cpu-ns/row")
			b.ReportMetric(float64(usage.Memory(b, usage.Anonymous))/(1<<20), "resident-MiB")
		})
	}
}
