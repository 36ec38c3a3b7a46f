package rewrite

import "testing"

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
