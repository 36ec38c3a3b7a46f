package writers

import (
	"iter"

	"github.com/lakeloader/lakeloader/batch"
)

// Where time partitions are many, most files get few rows, in small pieces. A Parquet writer of its own would take some 80 KiB
// for each of them before its first row. So the first rows of a file are staged: copied into segments that all files of the
// Writer share. With enough of them, or when the file ends, they are passed on to a Parquet writer, which is made only then.
const (
	// stagedRows and stagedBytes are how much of one file is staged at most.
	stagedRows  = 512
	stagedBytes = 64 << 10
	// smallPiece is the number of rows below which a piece is worth a copy.
	smallPiece = 256
	// segmentRows is the number of rows of a segment, as many as the low bits of a place can name.
	segmentBits  = 11
	segmentRows  = 1 << segmentBits
	segmentBytes = 1 << 20
	// placeBytes is what a file's list of places takes for each, as it grows.
	placeBytes = 6
	// spareSegments are kept for the next rows.
	spareSegments = 4
)

// place is where a staged row is: the segment in the upper bits, the row in the lower ones.
type place uint32

func (p place) segment() int { return int(p >> segmentBits) }
func (p place) row() int32   { return int32(p & (segmentRows - 1)) }

// segment is rows of many files.
type segment struct {
	batch *batch.Batch
	width int64 // bytes of a row without what its views point to, about
	live  int   // rows that a file waits for
	bytes int64 // that the columns and the arena take, once it is sealed
}

func newSegment(row *batch.Type) *segment {
	return &segment{batch: batch.New(&batch.Records{}, row), width: width(row)}
}

func width(t *batch.Type) int64 {
	n := int64(8)
	for _, f := range t.Fields {
		n += width(f.Type)
	}
	return n
}

func (g *segment) memory() int64 { return int64(cap(g.batch.Mem)) + g.batch.Root.Bytes() }

// staging is the segments of a Writer. A segment is let go of when no file waits for its rows any more; where a few rows
// hold many segments, compact copies those together.
type staging struct {
	segments []*segment // nil: free
	open     int        // the segment that takes rows; -1: none
	spare    []*segment
	live     int   // rows that files wait for
	waiting  int64 // what they take
	rows     int   // rows in all segments
	bytes    int64 // of the sealed segments
	run      []int32
}

func newStaging() *staging { return &staging{open: -1} }

// memory is what the segments take, bytes.
func (s *staging) memory() int64 {
	n := s.bytes + int64(s.live)*placeBytes
	if s.open >= 0 {
		n += s.segments[s.open].memory()
	}
	for _, g := range s.spare {
		n += g.bytes
	}
	return n
}

// add copies rows of a batch for a file.
func (s *staging) add(f *file, b *batch.Batch, rows []int32) {
	for len(rows) > 0 {
		g := s.segment(b.Root.Type)
		first, before := g.batch.Rows, len(g.batch.Mem)
		n := min(len(rows), segmentRows-first)
		copyRows(g.batch, b, rows[:n])
		for i := range n {
			f.staged = append(f.staged, place(s.open<<segmentBits|(first+i)))
		}
		size := int64(len(g.batch.Mem)-before) + int64(n)*g.width
		f.stagedBytes, s.waiting = f.stagedBytes+size, s.waiting+size
		g.live += n
		s.live, s.rows = s.live+n, s.rows+n
		if g.batch.Rows == segmentRows || len(g.batch.Mem) >= segmentBytes {
			s.seal()
		}
		rows = rows[n:]
	}
}

// segment gives the one that takes rows of a type; it has room for one at least.
func (s *staging) segment(row *batch.Type) *segment {
	if s.open >= 0 {
		if g := s.segments[s.open]; g.batch.Root.Type == row {
			return g
		}
		s.seal()
	}
	var g *segment
	if n := len(s.spare); n > 0 && s.spare[n-1].batch.Root.Type == row {
		g, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		g, s.spare = newSegment(row), nil // those of another type are of no use
	}
	for i, old := range s.segments {
		if old == nil {
			s.segments[i], s.open = g, i
			return g
		}
	}
	s.segments = append(s.segments, g)
	s.open = len(s.segments) - 1
	return g
}

// seal ends the open segment.
func (s *staging) seal() {
	at := s.open
	g := s.segments[at]
	g.bytes = g.memory()
	s.bytes += g.bytes
	s.open = -1
	s.release(at)
}

// release lets go of a segment if no file waits for it.
func (s *staging) release(at int) {
	g := s.segments[at]
	if at == s.open || g.live > 0 {
		return
	}
	s.rows -= g.batch.Rows
	s.bytes -= g.bytes
	s.segments[at] = nil
	if len(s.spare) < spareSegments && cap(g.batch.Mem) <= 2*segmentBytes {
		g.batch.Records.Reset()
		g.batch.Reset(g.batch.Records)
		s.spare = append(s.spare, g)
	}
}

// pieces gives staged rows in the order in which they came, as runs of rows of one batch. A run is good until the next.
func (s *staging) pieces(places []place) iter.Seq2[*batch.Batch, []int32] {
	return func(yield func(*batch.Batch, []int32) bool) {
		for rest := places; len(rest) > 0; {
			at := rest[0].segment()
			s.run = s.run[:0]
			for len(rest) > 0 && rest[0].segment() == at {
				s.run = append(s.run, rest[0].row())
				rest = rest[1:]
			}
			if !yield(s.segments[at].batch, s.run) {
				return
			}
		}
	}
}

// drop forgets a file's staged rows.
func (s *staging) drop(f *file) {
	for _, p := range f.staged {
		g := s.segments[p.segment()]
		if g.live--; g.live == 0 {
			s.release(p.segment())
		}
	}
	s.live, s.waiting = s.live-len(f.staged), s.waiting-f.stagedBytes
	f.staged, f.stagedBytes = nil, 0
}

// sparse says whether most of what the segments hold is of no use any more.
func (s *staging) sparse() bool { return s.rows > 2*s.live+4*segmentRows }

// compact copies the rows that the files wait for into new segments.
func (s *staging) compact(files map[string]*file) {
	to := newStaging()
	for _, f := range files {
		if len(f.staged) == 0 {
			continue
		}
		from := f.staged
		f.staged, f.stagedBytes = make([]place, 0, len(from)), 0
		for b, rows := range s.pieces(from) {
			to.add(f, b, rows)
		}
	}
	*s = *to
}
