package scan

import (
	"encoding/binary"
	"fmt"
)

// bitsAt gives width bits, up to 64, that begin at a bit. There must be as many.
func bitsAt(src []byte, at, width uint) uint64 {
	i, shift := at/8, at%8
	var lo uint64
	if int(i)+8 <= len(src) {
		lo = binary.LittleEndian.Uint64(src[i:])
	} else {
		for k, b := range src[i:] {
			lo |= uint64(b) << (8 * k)
		}
	}
	lo >>= shift
	if shift+width > 64 {
		lo |= uint64(src[i+8]) << (64 - shift)
	}
	if width < 64 {
		lo &= 1<<width - 1
	}
	return lo
}

// hybrid reads what is encoded in runs of one value and in packed bits: levels, and indexes into a dictionary.
type hybrid struct {
	src    []byte // what was not read
	width  uint   // up to 32
	run    int    // how often the value follows
	value  uint32
	packed int  // how many packed values follow
	bit    uint // where in src
}

func (h *hybrid) open(src []byte, width uint) error {
	*h = hybrid{src: src, width: width}
	if width > 32 {
		return fmt.Errorf("%w: values of %d bits", errDamaged, width)
	}
	return nil
}

// begin reads the header of a run.
func (h *hybrid) begin() error {
	n, size := binary.Uvarint(h.src)
	if size <= 0 || n>>1 > 1<<31 {
		return errShort
	}
	h.src = h.src[size:]
	if n&1 != 0 {
		// Some writers leave away what fills up the last eight.
		h.bit, h.packed = 0, int(n>>1)*8
		if h.width > 0 {
			h.packed = min(h.packed, len(h.src)*8/int(h.width))
		}
		if h.packed == 0 && n > 1 {
			return errShort
		}
		return nil
	}
	size = int(h.width+7) / 8
	if size > len(h.src) {
		return errShort
	}
	h.run, h.value = int(n>>1), uint32(bitsAt(h.src[:size], 0, h.width))
	h.src = h.src[size:]
	return nil
}

// readHybrid fills out.
func readHybrid[T int16 | int32](h *hybrid, out []T) error {
	for len(out) > 0 {
		switch {
		case h.run > 0:
			n := min(h.run, len(out))
			for i := range out[:n] {
				out[i] = T(h.value)
			}
			h.run, out = h.run-n, out[n:]
		case h.packed > 0:
			n := min(h.packed, len(out))
			unpack(h.src, h.bit, h.width, out[:n])
			h.bit += uint(n) * h.width
			if h.packed, out = h.packed-n, out[n:]; h.packed == 0 {
				h.src = h.src[(h.bit+7)/8:]
			}
		default:
			if err := h.begin(); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpack reads numbers of up to 32 bits.
func unpack[T int16 | int32](src []byte, bit, width uint, out []T) {
	mask, i := uint64(1)<<width-1, 0
	for ; i < len(out) && int(bit/8)+8 <= len(src); i++ {
		out[i] = T(binary.LittleEndian.Uint64(src[bit/8:]) >> (bit % 8) & mask)
		bit += width
	}
	for ; i < len(out); i++ {
		out[i] = T(bitsAt(src, bit, width))
		bit += width
	}
}

// deltas reads DELTA_BINARY_PACKED: each number as its difference from the one before.
type deltas struct {
	src    []byte
	left   int  // numbers
	first  bool // the next one is the first
	last   uint64
	size   int    // of a small block
	blocks int    // small blocks in a block
	widths []byte // of the next small blocks of the block
	here   int    // numbers left in the small block
	width  uint
	bit    uint
	least  uint64 // difference in the block
	most   uint   // bits of a difference
}

// open begins a page of numbers of 32 or 64 bits.
func (d *deltas) open(src []byte, most uint) error {
	*d = deltas{src: src, first: true, most: most}
	var head [3]uint64
	for i := range head {
		n, size := binary.Uvarint(d.src)
		if size <= 0 || n > 1<<31 {
			return fmt.Errorf("%w: a page of differences has no header", errDamaged)
		}
		head[i], d.src = n, d.src[size:]
	}
	first, size := binary.Varint(d.src)
	if size <= 0 || head[0] == 0 || head[1] == 0 || head[0]%128 != 0 || head[0]%head[1] != 0 || head[0]/head[1]%32 != 0 {
		return fmt.Errorf("%w: a page of differences has blocks of %d in %d parts", errDamaged, head[0], head[1])
	}
	if err := d.fits(first); err != nil {
		return err
	}
	d.src = d.src[size:]
	d.size, d.blocks, d.left, d.last = int(head[0]/head[1]), int(head[1]), int(head[2]), uint64(first)
	return nil
}

// fits refuses differences between numbers of 32 bits that have more, which the format forbids: readers make different values of them.
func (d *deltas) fits(v int64) error {
	if d.most == 32 && int64(int32(v)) != v {
		return fmt.Errorf("%w: the difference %d exceeds the INT32 range", errDamaged, v)
	}
	return nil
}

// begin begins a small block.
func (d *deltas) begin() error {
	d.src = d.src[min(len(d.src), int(d.bit+7)/8):]
	if len(d.widths) == 0 {
		least, size := binary.Varint(d.src)
		if size <= 0 || len(d.src) < size+d.blocks {
			return errShort
		}
		if err := d.fits(least); err != nil {
			return err
		}
		d.least, d.widths, d.src = uint64(least), d.src[size:size+d.blocks], d.src[size+d.blocks:]
	}
	d.width, d.widths = uint(d.widths[0]), d.widths[1:]
	d.here, d.bit = d.size, 0
	// The last block may be cut short after its last number.
	if d.width > d.most {
		return fmt.Errorf("%w: differences of %d bits exceed the INT%d range", errDamaged, d.width, d.most)
	}
	if min(d.here, d.left)*int(d.width) > len(d.src)*8 {
		return errShort
	}
	return nil
}

// readDeltas fills out.
func readDeltas[T int32 | int64](d *deltas, out []T) error {
	if len(out) > d.left {
		return errShort
	}
	if d.first && len(out) > 0 {
		out[0], out = T(d.last), out[1:]
		d.first = false
		d.left--
	}
	for len(out) > 0 {
		if d.here == 0 {
			if err := d.begin(); err != nil {
				return err
			}
		}
		n := min(d.here, len(out))
		last, bit, width := d.last, d.bit, d.width
		for i := range out[:n] {
			last += d.least
			if width > 0 {
				last += bitsAt(d.src, bit, width)
				bit += width
			}
			out[i] = T(last)
		}
		d.last, d.bit = last, bit
		d.here, d.left, out = d.here-n, d.left-n, out[n:]
	}
	return nil
}
