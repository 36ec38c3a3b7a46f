package enrich

import "errors"

// store keeps rows by references, which are never 0.
type store interface {
	// at is a row, which may be changed in place if changed is told. s is where it may lie, until that is reset.
	at(ref uint32, s *space) []byte
	add(row []byte) (uint32, error)
	changed(ref uint32, row []byte) error
	free(ref uint32, row []byte) error
	bytes() int64
	// room says whether there is any for some more bytes, broken why the rows can be used no more.
	room(bytes int64) error
	broken() error
	close() error
}

// space is memory of one goroutine for rows that were read from the disk, and the first error in reading them: then a row of zeros
// stands for the one that could not be read.
type space struct {
	block []byte
	err   error
}

const blockBytes = 256 << 10

func (s *space) reset() { s.block, s.err = s.block[:0], nil }

// take makes room for n bytes. What was taken before stays where it is.
func (s *space) take(n int) []byte {
	if len(s.block)+n > cap(s.block) {
		s.block = make([]byte, 0, max(blockBytes, n))
	}
	at := len(s.block)
	s.block = s.block[:at+n]
	return s.block[at : at+n : at+n]
}

// arena keeps rows in chunks. A reference is the place of a row in units of 8 bytes; rows that are freed are used again for rows
// of the same size.
type arena struct {
	chunks [][]byte
	spare  map[int]uint32 // by size in units: the first of a list
	size   int64
}

const (
	unit       = 8
	chunkUnits = 1 << 17
	chunkBytes = chunkUnits * unit
)

// errFull: references are too short for more.
var errFull = errors.New("a lookup can hold 32 GiB of rows at most")

// units is how many a row of a size takes: large ones are rounded up more, so that their places fit others.
func units(size int) int {
	n := (size + unit - 1) / unit
	if n > 64 {
		n = (n + 15) / 16 * 16
	}
	return n
}

func (a *arena) at(ref uint32, _ *space) []byte {
	return a.chunks[ref/chunkUnits][ref%chunkUnits*unit:]
}

func (a *arena) add(row []byte) (uint32, error) {
	n := units(len(row))
	if ref := a.spare[n]; ref != 0 {
		at := a.at(ref, nil)
		if after := next(at); after != 0 {
			a.spare[n] = after
		} else {
			delete(a.spare, n)
		}
		copy(at[:n*unit], row)
		return ref, nil
	}
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last])+n*unit > cap(a.chunks[last]) || len(a.chunks[last]) >= chunkBytes {
		if len(a.chunks) == 1<<32/chunkUnits {
			return 0, errFull
		}
		chunk := make([]byte, 0, max(chunkBytes, n*unit+unit))
		if last < 0 {
			chunk = chunk[:unit] // no row has the reference 0
		}
		a.chunks = append(a.chunks, chunk)
		a.size += int64(cap(chunk))
		last++
	}
	chunk := a.chunks[last]
	at := len(chunk)
	a.chunks[last] = chunk[:at+n*unit]
	copy(a.chunks[last][at:], row)
	return uint32(last*chunkUnits + at/unit), nil
}

func (a *arena) changed(uint32, []byte) error { return nil } // the row itself was

func (a *arena) free(ref uint32, row []byte) error {
	n := units(size(row))
	setNext(row, a.spare[n])
	if a.spare == nil {
		a.spare = map[int]uint32{}
	}
	a.spare[n] = ref
	return nil
}

func (a *arena) bytes() int64 { return a.size }

func (a *arena) room(int64) error { return nil }

func (a *arena) broken() error { return nil }

func (a *arena) close() error { return nil }
