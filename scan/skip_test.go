package scan

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// Whatever is skipped, the rows after it are those that are there: of any types, in pages and row groups of any size.
func TestSkip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		m := &maker{Rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))}
		row := m.structType(2, 1+m.IntN(4))
		files := configs.Files{RowGroupSize: rapid.SampledFrom([]configs.Bytes{1, 5000, 0}).Draw(rt, "group"),
			Compression: rapid.SampledFrom([]string{"zstd", "snappy", "gzip", "lz4", "none"}).Draw(rt, "codec")}
		first, second := m.batch(row, 1500), m.batch(row, 1+m.IntN(700))
		f, _ := written(t, dir, row, files, rapid.SampledFrom([]string{"", "v1"}).Draw(rt, "pages"), first, second)
		want, err := readAll(t, f, row, 1000)
		if err != nil {
			rt.Fatal(err)
		}
		r, err := f.Batches(row)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() {
			if err := r.Close(); err != nil {
				rt.Error(err)
			}
		}()
		b := batch.New(&batch.Records{}, row)
		for {
			if err := r.Skip(int64(rapid.IntRange(0, 900).Draw(rt, "skip"))); err != nil {
				rt.Fatal(err)
			}
			at := int(r.Position())
			err := r.Next(b, rapid.IntRange(1, 600).Draw(rt, "read"))
			if errors.Is(err, io.EOF) {
				if at != len(want) {
					rt.Fatalf("it ends at row %d, of %d", at, len(want))
				}
				return
			}
			if err != nil {
				rt.Fatal(err)
			}
			if got := texts(b); !slices.Equal(got, want[at:at+len(got)]) {
				rt.Fatalf("rows %d to %d are other ones", at, at+len(got))
			}
		}
	})
}
