package scan

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"pgregory.net/rapid"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// pieces reads n numbers, some at a time.
func pieces[T any](rt *rapid.T, n int, read func([]T) error) (out []T, err error) {
	for len(out) < n {
		piece := make([]T, rapid.IntRange(1, n-len(out)).Draw(rt, "piece"))
		if err := read(piece); err != nil {
			return out, err
		}
		out = append(out, piece...)
	}
	return out, nil
}

// What another implementation encodes comes back, read in pieces of any size; and what is cut short is an error.
func TestPackedNumbersComeBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 700).Draw(rt, "n")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		shift, run := rapid.IntRange(0, 63).Draw(rt, "shift"), rapid.IntRange(1, 30).Draw(rt, "run")
		wide := make([]int64, n)
		for i := range wide {
			if wide[i] = int64(rnd.Uint64()) >> shift; i > 0 && rnd.IntN(run) > 0 {
				wide[i] = wide[i-1]
			}
		}
		narrow, codes := make([]int32, n), make([]int32, n)
		for i, v := range wide {
			narrow[i], codes[i] = int32(v), int32(uint32(v)>>1)
		}
		for name, c := range map[string]struct {
			encode func() ([]byte, error)
			same   func(b []byte) (bool, error)
		}{
			"deltas of 64 bits": {func() ([]byte, error) { return new(delta.BinaryPackedEncoding).EncodeInt64(nil, wide) }, func(b []byte) (bool, error) {
				var d deltas
				if err := d.open(b, 64); err != nil {
					return false, err
				}
				got, err := pieces(rt, n, func(out []int64) error { return readDeltas(&d, out) })
				return slices.Equal(got, wide), err
			}},
			"deltas of 32 bits": {func() ([]byte, error) { return new(delta.BinaryPackedEncoding).EncodeInt32(nil, narrow) }, func(b []byte) (bool, error) {
				var d deltas
				if err := d.open(b, 32); err != nil {
					return false, err
				}
				got, err := pieces(rt, n, func(out []int32) error { return readDeltas(&d, out) })
				return slices.Equal(got, narrow), err
			}},
			"codes": {func() ([]byte, error) { return new(rle.DictionaryEncoding).EncodeInt32(nil, codes) }, func(b []byte) (bool, error) {
				var h hybrid
				if len(b) == 0 {
					return false, errShort
				}
				if err := h.open(b[1:], uint(b[0])); err != nil {
					return false, err
				}
				got, err := pieces(rt, n, func(out []int32) error { return readHybrid(&h, out) })
				return slices.Equal(got, codes), err
			}},
		} {
			b, err := c.encode()
			if err != nil {
				rt.Fatal(err)
			}
			if same, err := c.same(slices.Clip(b)); !same || err != nil {
				rt.Fatalf("%s: %v", name, err)
			}
			for range 5 { // nothing that is damaged panics
				broken := slices.Clone(b[:rnd.IntN(len(b)+1)])
				for k := rnd.IntN(3); k > 0 && len(broken) > 0; k-- {
					broken[rnd.IntN(len(broken))] ^= byte(1 << rnd.IntN(8))
				}
				if _, err := c.same(broken); err != nil && !errors.Is(err, errDamaged) {
					rt.Fatalf("%s: %v", name, err)
				}
			}
		}
	})
}

// The Parquet library goes on behind any page where our own decoding ends.
func TestLibraryGoesOn(t *testing.T) {
	m := &maker{Rand: rand.New(rand.NewPCG(5, 5))}
	row := batch.StructOf(m.field("few", batch.Prim(batch.Boolean), false), m.field("text", batch.Prim(batch.String), false), m.field("bytes", batch.Prim(batch.Binary), true),
		m.field("n", batch.Prim(batch.Long), false), m.field("d", batch.Prim(batch.Double), true))
	f, _ := written(t, t.TempDir(), row, configs.Files{}, "", m.batch(row, 40_000))
	handed := 0
	for i, field := range row.Fields {
		want, err := f.Values(0, field.Name, field.Type)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r, err := f.Batches(batch.StructOf(field))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.openGroup(f.p.RowGroup(0)); err != nil {
				t.Fatal(err)
			}
			l, c, rec := r.leaves[0], batch.NewColumn(field.Type, 0), &batch.Records{}
			for {
				if err := l.more(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if err := l.put(l.end-l.next, c, rec); err != nil {
					t.Fatal(err)
				}
				if l.own && l.chunk.entries == 0 && l.chunk.left > 0 && m.IntN(3) == 0 {
					if err := l.handOver(); err != nil {
						t.Fatal(err)
					}
					handed++
				}
			}
			if c.Len != len(want) {
				t.Fatalf("column %d has %d values of %d", i, c.Len, len(want))
			}
			for k := range want {
				if !c.IsNull(k) {
					if got := value(c, rec, k); fmt.Sprint(got) != fmt.Sprint(want[k]) {
						t.Fatalf("value %d of column %d is %v, not %v", k, i, got, want[k])
					}
				} else if want[k] != nil {
					t.Fatalf("value %d of column %d is null", k, i)
				}
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if handed < 3 {
		t.Errorf("handed over %d times", handed)
	}
}
