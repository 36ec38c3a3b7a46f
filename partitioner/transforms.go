package partitioner

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"
	"time"
	"unicode/utf8"
)

const (
	microsPerHour = int64(time.Hour / time.Microsecond)
	microsPerDay  = 24 * microsPerHour
)

// floorDiv rounds towards negative infinity, so that 1969-12-31T23:00 lies in hour -1 and day -1.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// monthOf gives the months since January 1970 of a day since 1970-01-01.
func monthOf(day int64) int64 {
	t := time.Unix(day*86400, 0).UTC()
	return int64(t.Year()-1970)*12 + int64(t.Month()) - 1
}

// murmur3 is the 32 bit x86 variant with seed 0, as the Iceberg specification asks for.
func murmur3(b []byte) uint32 {
	n := len(b)
	h := uint32(0)
	for ; len(b) >= 4; b = b[4:] {
		h = mix(h, binary.LittleEndian.Uint32(b))
	}
	k := uint32(0)
	for i := len(b) - 1; i >= 0; i-- {
		k = k<<8 | uint32(b[i])
	}
	return finish(h^scramble(k), uint32(n))
}

func murmur3Long(v int64) uint32 {
	return finish(mix(mix(0, uint32(v)), uint32(uint64(v)>>32)), 8)
}

func scramble(k uint32) uint32 { return bits.RotateLeft32(k*0xcc9e2d51, 15) * 0x1b873593 }

func mix(h, k uint32) uint32 { return bits.RotateLeft32(h^scramble(k), 13)*5 + 0xe6546b64 }

func finish(h, n uint32) uint32 {
	h ^= n
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

func bucketOf(hash uint32, n int64) int64 { return int64(hash&math.MaxInt32) % n }

// truncInt rounds down to a multiple of w.
func truncInt(v, w int64) int64 { return v - ((v%w)+w)%w }

// truncText keeps the first w characters.
func truncText(b []byte, w int64) []byte {
	if int64(len(b)) <= w {
		return b
	}
	at := 0
	for ; w > 0 && at < len(b); w-- {
		_, n := utf8.DecodeRune(b[at:])
		at += n
	}
	return b[:at]
}

// truncDecimal rounds a big-endian two's-complement number down to a multiple of w, in place.
func truncDecimal(b []byte, w int64) {
	v := bigOf(b)
	m := new(big.Int).Mod(v, big.NewInt(w))
	v.Sub(v, m)
	if v.Sign() < 0 {
		v.Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	v.FillBytes(b)
}

// bigOf reads a big-endian two's-complement number.
func bigOf(b []byte) *big.Int {
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

// shortest drops the leading bytes of a big-endian two's-complement number that only repeat its sign.
func shortest(b []byte) []byte {
	for len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
		b = b[1:]
	}
	return b
}

func bigEndian(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
