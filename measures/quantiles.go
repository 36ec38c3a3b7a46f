package measures

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// QuantileError is by how much a percentile may be off, of its value.
const QuantileError = 0.01

const (
	gamma = (1 + QuantileError) / (1 - QuantileError)
	// leastMagnitude: smaller numbers count as zero.
	leastMagnitude = 1e-9
	// binOffset is added to the buckets of numbers, so that zero's lies between those of the positive and the negative ones.
	binOffset = 100_000
	// binOther is the bucket of NaN and the infinities, as the engines give it.
	binOther = 1_000_000
)

// Quantiles is a sketch of numbers from which percentiles are read, each within 1 % of a value that has the rank asked for
// (a DDSketch). It keeps how many numbers fell into each bucket: the i-th has those of (γ^(i-1), γ^i], γ = 1.01/0.99. Numbers
// nearer to zero than 1e-9 are zero. NaN and the infinities are counted, and left out of the percentiles, as is null.
//
// As bytes: version (1), error in thousandths (10), uvarint of how many were NaN or infinite, and the buckets ascending:
// the varint of the bucket's code less the one before, the uvarint of its count. The code of zero is 0, of a positive
// number i+100000, of a negative one -(i+100000). Equal sketches are equal bytes.
type Quantiles struct {
	bins  []bin // ascending, counts above 0
	other int64
}

type bin struct{ code, n int64 }

// addText reads bucket:count with commas between them, in any order.
func (s *Quantiles) addText(text string) error {
	for text != "" {
		var part string
		part, text, _ = strings.Cut(text, ",")
		a, b, _ := strings.Cut(part, ":")
		code, err1 := strconv.ParseInt(a, 10, 64)
		n, err2 := strconv.ParseInt(b, 10, 64)
		if err1 != nil || err2 != nil || n <= 0 {
			return fmt.Errorf("%q is no bucket and count of a sketch", part)
		}
		if code == binOther {
			s.other += n
			continue
		}
		s.bins = append(s.bins, bin{code, n})
	}
	s.settle()
	return nil
}

// settle sorts the buckets and adds up equal ones.
func (s *Quantiles) settle() {
	slices.SortFunc(s.bins, func(a, b bin) int { return order(a.code, b.code) })
	out := s.bins[:0]
	for _, b := range s.bins {
		if n := len(out); n > 0 && out[n-1].code == b.code {
			out[n-1].n += b.n
		} else {
			out = append(out, b)
		}
	}
	s.bins = out
}

// Merge adds what another sketch has seen.
func (s *Quantiles) Merge(o *Quantiles) {
	s.bins = append(slices.Clone(s.bins), o.bins...)
	s.other += o.other
	s.settle()
}

// Count is how many numbers the percentiles are of.
func (s *Quantiles) Count() (n int64) {
	for _, b := range s.bins {
		n += b.n
	}
	return n
}

// Quantile gives the number below which the part q of all lies, from 0 to 1; false without numbers.
func (s *Quantiles) Quantile(q float64) (float64, bool) {
	n := s.Count()
	if n == 0 {
		return 0, false
	}
	rank := int64(q * float64(n-1))
	for _, b := range s.bins {
		if rank -= b.n; rank < 0 {
			return b.value(), true
		}
	}
	return s.bins[len(s.bins)-1].value(), true
}

// value is the number in a bucket that is nearest to all others, by their part.
func (b bin) value() float64 {
	switch {
	case b.code > 0:
		return magnitude(b.code - binOffset)
	case b.code < 0:
		return -magnitude(-b.code - binOffset)
	}
	return 0
}

// magnitude stays finite in the topmost bucket, whose upper end may be beyond a double.
func magnitude(i int64) float64 {
	return min(2/(gamma+1)*math.Exp(float64(i)*math.Log(gamma)), math.MaxFloat64)
}

// Bytes writes the sketch.
func (s *Quantiles) Bytes() []byte {
	out := binary.AppendUvarint([]byte{1, QuantileError * 1000}, uint64(s.other))
	last := int64(0)
	for _, b := range s.bins {
		out = binary.AppendVarint(out, b.code-last)
		out = binary.AppendUvarint(out, uint64(b.n))
		last = b.code
	}
	return out
}

// ReadQuantiles reads what Bytes wrote.
func ReadQuantiles(b []byte) (*Quantiles, error) {
	if len(b) < 3 || b[0] != 1 || b[1] != QuantileError*1000 {
		return nil, fmt.Errorf("this is no sketch of percentiles that this version reads (it begins with %x)", b[:min(2, len(b))])
	}
	damaged := func(at int) error { return fmt.Errorf("a sketch of percentiles is damaged at byte %d", at) }
	other, n := binary.Uvarint(b[2:])
	if n <= 0 || other > math.MaxInt64 {
		return nil, damaged(2)
	}
	s := &Quantiles{other: int64(other)}
	code, total := int64(0), int64(0)
	for at := 2 + n; at < len(b); {
		d, n := binary.Varint(b[at:])
		if n <= 0 || d <= 0 && len(s.bins) > 0 || d > 2*binOther || d < -2*binOther {
			return nil, damaged(at)
		}
		count, m := binary.Uvarint(b[at+n:])
		if m <= 0 || count == 0 || count > uint64(math.MaxInt64-total) {
			return nil, damaged(at + n)
		}
		total += int64(count)
		code += d
		if code > binOther || code < -binOther {
			return nil, damaged(at)
		}
		s.bins = append(s.bins, bin{code, int64(count)})
		at += n + m
	}
	return s, nil
}
