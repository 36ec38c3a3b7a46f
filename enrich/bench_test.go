package enrich

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
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
	l.Replace(t, "1")
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
	began := cpu()
	for b.Loop() {
		x.Root, x.Mem = root, x.Mem[:mem]
		if err := p.Apply(x); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu()-began)/float64(b.N)/rows, "cpu-ns/row")
	b.ReportMetric(float64(t.Bytes())/float64(n), "table-B/row")
}

// cpu is what the process has used, nanoseconds: other programs on the machine do not count.
func cpu() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
