package measures

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// precision: a Distinct has 2^precision registers.
const precision = 11

// DistinctError is the standard error of an estimate, of the number of distinct values.
const DistinctError = 0.023

const registers = 1 << precision

// ranks a register tells apart: 1 to 32.
const ranks = 32

// hash says how the values were hashed. Sketches of different hashes share nothing and are not merged.
type hash byte

const (
	// hashDuckDB is the upper 60 bits of DuckDB's hash(), which is not promised to stay as it is: a test holds its values fast.
	hashDuckDB hash = 1
	// hashMD5 is the first 60 bits of the MD5 of a value's text.
	hashMD5 hash = 2
)

func (h hash) String() string {
	switch h {
	case hashDuckDB:
		return "DuckDB's hash"
	case hashMD5:
		return "MD5"
	}
	return fmt.Sprintf("hash %d", byte(h))
}

// Distinct is a HyperLogLog: an estimate of the number of distinct values, with a standard error of 2.3 %. Null is no value;
// of several columns, a row counts where none is null.
//
// A value's hash has 60 bits: the first 11 choose one of 2,048 registers, and the number of zeros at the end of the last 32,
// plus one, is the rank. A register holds its greatest rank, 0 if it had none.
//
// As bytes: version (1), hash (1: DuckDB's, 2: MD5), precision (11), form, and then by the form
//
//	0, sparse: the registers that are not zero, ascending, each as the uvarint of register*32 + rank-1 less the one before
//	1, dense: a byte for each register
//
// whichever is shorter, so that equal sketches are equal bytes.
type Distinct struct {
	hash hash
	reg  [registers]uint8
}

// add notes a register's rank, both in one number as the engines give it: register*32 + rank-1.
func (s *Distinct) add(at int64) error {
	if at < 0 || at >= registers*ranks {
		return fmt.Errorf("%d is no register and rank of a sketch", at)
	}
	i, rank := at/ranks, uint8(at%ranks)+1
	s.reg[i] = max(s.reg[i], rank)
	return nil
}

// addText reads numbers with commas between them.
func (s *Distinct) addText(text string) error {
	for text != "" {
		var part string
		part, text, _ = strings.Cut(text, ",")
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no register and rank of a sketch", part)
		}
		if err := s.add(n); err != nil {
			return err
		}
	}
	return nil
}

// addBitmap reads a bitmap with a bit for each register and rank, the first bit in the highest place of the first byte.
func (s *Distinct) addBitmap(bits []byte) error {
	if len(bits) != registers*ranks/8 {
		return fmt.Errorf("the bitmap of a sketch has %d bytes, and not %d", len(bits), registers*ranks/8)
	}
	for i := range s.reg {
		for b := ranks/8 - 1; b >= 0; b-- {
			if x := bits[i*ranks/8+b]; x != 0 {
				last := 7
				for x&1 == 0 {
					x >>= 1
					last--
				}
				s.reg[i] = max(s.reg[i], uint8(b*8+last)+1)
				break
			}
		}
	}
	return nil
}

// Merge adds what another sketch has seen.
func (s *Distinct) Merge(o *Distinct) error {
	if s.hash != o.hash {
		return fmt.Errorf("a sketch made by %s and one made by %s cannot be merged: recalculate the days of one of them with the engine of the other", s.hash, o.hash)
	}
	for i, r := range o.reg {
		s.reg[i] = max(s.reg[i], r)
	}
	return nil
}

// Estimate is the number of distinct values, by Ertl's estimator for HyperLogLog (arXiv 1702.01284), which needs no
// correction for small or large numbers.
func (s *Distinct) Estimate() int64 {
	var counts [ranks + 1]float64
	for _, r := range s.reg {
		counts[r]++
	}
	const m = float64(registers)
	z := m * tau((m-counts[ranks])/m)
	for k := ranks - 1; k >= 1; k-- {
		z = 0.5 * (z + counts[k])
	}
	z += m * sigma(counts[0]/m)
	return int64(math.Round(m * m / (2 * math.Ln2 * z)))
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += x * y
		y += y
		if z == before {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == before {
			return z / 3
		}
	}
}

const (
	sparse = 0
	dense  = 1
)

// Bytes writes the sketch.
func (s *Distinct) Bytes() []byte {
	out := []byte{1, byte(s.hash), precision, sparse}
	last := uint64(0)
	for i, r := range s.reg {
		if r == 0 {
			continue
		}
		at := uint64(i*ranks) + uint64(r) - 1
		out = binary.AppendUvarint(out, at-last)
		last = at
		if len(out) >= 4+registers {
			return append([]byte{1, byte(s.hash), precision, dense}, s.reg[:]...)
		}
	}
	return out
}

// ReadDistinct reads what Bytes wrote.
func ReadDistinct(b []byte) (*Distinct, error) {
	if len(b) < 4 || b[0] != 1 || b[2] != precision {
		return nil, fmt.Errorf("this is no sketch of distinct values that this version reads (it begins with %x)", b[:min(4, len(b))])
	}
	s := &Distinct{hash: hash(b[1])}
	body := b[4:]
	if b[3] == dense {
		if len(body) != registers {
			return nil, fmt.Errorf("a sketch of distinct values was cut: %d bytes", len(b))
		}
		copy(s.reg[:], body)
		for _, r := range s.reg {
			if r > ranks {
				return nil, fmt.Errorf("a sketch of distinct values is damaged: a rank of %d", r)
			}
		}
		return s, nil
	}
	at := uint64(0)
	for len(body) > 0 {
		d, n := binary.Uvarint(body)
		if n <= 0 || d >= registers*ranks {
			return nil, fmt.Errorf("a sketch of distinct values is damaged at byte %d", len(b)-len(body))
		}
		at += d
		if err := s.add(int64(at)); err != nil {
			return nil, err
		}
		body = body[n:]
	}
	return s, nil
}
