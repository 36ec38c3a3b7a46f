package measures

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestDistinctError: the estimate's error over many random sets, small and large.
func TestDistinctError(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 10, 100, 1000, 5000, 20_000, 200_000} {
		trials, squares := max(12, min(60, 1_000_000/(n+1))), 0.0
		for range trials {
			s := &Distinct{hash: hashMD5}
			for range n {
				note(t, s, r.Uint64()>>4)
			}
			e := float64(s.Estimate()-int64(n)) / math.Max(1, float64(n))
			squares += e * e
		}
		if rms := math.Sqrt(squares / float64(trials)); rms > DistinctError*1.25 {
			t.Errorf("%d values: the error is %.4f", n, rms)
		}
	}
}

// TestDistinctMerges: a sketch of parts is the sketch of the whole, byte for byte, in any order.
func TestDistinctMerges(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 5, 900, 1100, 50_000} {
		whole := &Distinct{hash: hashDuckDB}
		parts := make([]*Distinct, 5)
		for i := range parts {
			parts[i] = &Distinct{hash: hashDuckDB}
		}
		for range n {
			h := r.Uint64() >> 4
			note(t, whole, h)
			note(t, parts[r.IntN(len(parts))], h)
			note(t, parts[r.IntN(len(parts))], h)
		}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		all := &Distinct{hash: hashDuckDB}
		for _, p := range parts {
			back, err := ReadDistinct(p.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if err := all.Merge(back); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(all.Bytes(), whole.Bytes()) || len(all.Bytes()) > 4+registers {
			t.Errorf("%d values: the parts give another sketch than the whole", n)
		}
	}
	if err := (&Distinct{hash: hashDuckDB}).Merge(&Distinct{hash: hashMD5}); err == nil || !strings.Contains(err.Error(), "recalculate") {
		t.Errorf("sketches of two hashes were merged: %v", err)
	}
}

// code is the bucket of a number, as the engines calculate it.
func code(x float64) int64 {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return binOther
	case math.Abs(x) < leastMagnitude:
		return 0
	}
	i := int64(math.Ceil(math.Log(math.Abs(x))/math.Log(gamma))) + binOffset
	if x < 0 {
		return -i
	}
	return i
}

func sketched(t *testing.T, xs []float64) *Quantiles {
	t.Helper()
	var parts []string
	for _, x := range xs {
		parts = append(parts, fmt.Sprintf("%d:1", code(x)))
	}
	s := &Quantiles{}
	if err := s.addText(strings.Join(parts, ",")); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestQuantilesError(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	kinds := map[string]func() float64{
		"log-normal": func() float64 { return math.Exp(3 * r.NormFloat64()) },
		"normal":     func() float64 { return 100 * r.NormFloat64() },
		"whole":      func() float64 { return float64(r.IntN(5) - 2) },
		"huge":       func() float64 { return math.Ldexp(r.Float64()-0.5, r.IntN(2000)-1000) },
		"edge": func() float64 {
			return []float64{math.MaxFloat64, -math.MaxFloat64, 5e-324, 0, leastMagnitude}[r.IntN(5)]
		},
	}
	for name, make := range kinds {
		var xs []float64
		for range 3000 {
			xs = append(xs, make())
		}
		s := sketched(t, append([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}, xs...))
		a, b := sketched(t, xs[:1000]), sketched(t, xs[1000:])
		b.Merge(a)
		b.other = s.other
		if !bytes.Equal(b.Bytes(), s.Bytes()) {
			t.Errorf("%s: the parts give another sketch than the whole", name)
		}
		back, err := ReadQuantiles(s.Bytes())
		if err != nil || !bytes.Equal(back.Bytes(), s.Bytes()) || back.other != 3 || back.Count() != 3000 {
			t.Errorf("%s: read back: %v", name, err)
		}
		slices.Sort(xs)
		for _, q := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.99, 1} {
			got, _ := back.Quantile(q)
			want := xs[int(q*float64(len(xs)-1))]
			if math.Abs(got-want) > QuantileError*math.Abs(want)*(1+1e-9)+leastMagnitude || math.IsInf(got, 0) {
				t.Errorf("%s: the percentile %v is %v, and not %v", name, q, got, want)
			}
		}
	}
	if _, ok := (&Quantiles{}).Quantile(0.5); ok {
		t.Error("a percentile of nothing")
	}
}

func FuzzReadSketches(f *testing.F) {
	f.Add((&Distinct{hash: hashMD5}).Bytes())
	f.Add([]byte{1, 2, precision, sparse, 3, 200, 1})
	f.Add([]byte{1, 10, 0, 2, 1, 4, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ReadDistinct(b); err == nil {
			if back, err := ReadDistinct(s.Bytes()); err != nil || back.Estimate() != s.Estimate() || s.Estimate() < 0 {
				t.Errorf("%x: %v", b, err)
			}
		}
		if s, err := ReadQuantiles(b); err == nil {
			if back, err := ReadQuantiles(s.Bytes()); err != nil || !bytes.Equal(back.Bytes(), s.Bytes()) {
				t.Errorf("%x: %v", b, err)
			}
			s.Quantile(0.5)
		}
	})
}
