package scan

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// BenchmarkBatches reads rows like those of a click stream with their audit columns, and rows with lists of structs.
func BenchmarkBatches(b *testing.B) {
	m := &maker{Rand: rand.New(rand.NewPCG(1, 1))}
	req := func(name string, k batch.Kind) batch.Field { return m.field(name, batch.Prim(k), true) }
	flat := batch.StructOf(req("uuid", batch.String), req("campaign", batch.Int), req("ts", batch.TimestampTZ), req("ip", batch.String), req("city", batch.String),
		m.field("country", batch.Prim(batch.String), false), m.field("price", batch.Prim(batch.Double), false), req("topic", batch.String), req("partition", batch.Int),
		req("offset", batch.Long), req("epoch", batch.Int))
	nested := batch.StructOf(req("id", batch.Long), m.field("items", &batch.Type{Kind: batch.List, Fields: []batch.Field{m.field("element",
		batch.StructOf(req("sku", batch.String), m.field("n", batch.Prim(batch.Int), false)), true)}}, false))
	for name, row := range map[string]*batch.Type{"flat": flat, "nested": nested} {
		b.Run(name, func(b *testing.B) {
			const rows = 200_000
			f, file := written(b, b.TempDir(), row, configs.Files{}, "", m.batch(row, rows))
			got := batch.New(&batch.Records{}, row)
			b.SetBytes(file.Size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := f.Batches(row)
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for err = r.Next(got, 4096); err == nil; err = r.Next(got, 4096) {
					n += got.Rows
				}
				if !errors.Is(err, io.EOF) || n != rows {
					b.Fatal(fmt.Errorf("%d rows: %w", n, err))
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}
