package rewrite

import (
	"testing"

	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/test/usage"
)

// BenchmarkFile drops one row in a thousand of a file, and finds that there is nothing to drop.
func BenchmarkFile(b *testing.B) {
	const rows = 300_000
	l := newLake(b)
	f := l.write("x", "a", 0, 0, rows)
	for name, step := range map[string]int64{"drop": 1000, "nothing": rows + 1} {
		b.Run(name, func(b *testing.B) {
			in := l.input(func(k *Keys, v []Verdict) error {
				for i, off := range k.Offset {
					if (off+1)%step == 0 {
						v[i] = Drop
					}
				}
				return nil
			})
			in.Source = f
			b.ReportAllocs()
			for b.Loop() {
				if r, err := File(b.Context(), in); err != nil || r.Kept+r.Dropped != rows {
					b.Fatal(r, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}

// BenchmarkMerge puts the rows of small files into one. Those of "runs" are too many to be read at once, so that they are merged in two steps.
func BenchmarkMerge(b *testing.B) {
	for name, files := range map[string]int{"unsorted": 30, "sorted": 30, "runs": 40} {
		b.Run(name, func(b *testing.B) {
			c, rows := newClicks(b), 30_000
			if name != "unsorted" {
				c.by = []table.SortField{{Source: "campaignId"}, {Source: "ts"}}
			}
			if name == "runs" {
				rows = 60_000
			}
			var sources []table.File
			for range files {
				sources = append(sources, c.write(rows))
			}
			in := c.input(sources...)
			in.RunsBudget = 24 << 20
			b.ReportAllocs()
			cpu := usage.CPU(b)
			for b.Loop() {
				if m, err := Merge(b.Context(), in); err != nil || m.Rows != int64(files*rows) {
					b.Fatal(m.Rows, err)
				}
			}
			b.ReportMetric((usage.CPU(b)-cpu).Seconds()*1e6/float64(b.N)/float64(files*rows), "cpu-s/M")
		})
	}
}
