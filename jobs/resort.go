package jobs

import (
	"cmp"
	"slices"

	"github.com/lakeloader/lakeloader/table"
)

// Span gives the least and the greatest value of the first column that a table is sorted by, as numbers of the same order; not
// ok: the metadata does not tell. Values may share a number.
type Span func(f table.File) (lo, hi uint64, ok bool)

const (
	// deletedShare is the part of a file's rows that must be deleted for it to be written anew.
	deletedShare = 0.3
	// overlapGain is by how much fewer bytes have a value of the first sort column, on average, if files that overlap are sorted
	// together.
	overlapGain = 2
)

// deleted are the files that have lost many of their rows. What is written instead has lost none.
func (c *Compactor) deleted(files []table.File) (out []Merge) {
	for _, f := range files {
		if f.Rows > 0 && float64(f.DeletedRows) >= deletedShare*float64(f.Rows) {
			out = append(out, Merge{Sources: []table.File{f}, Bytes: f.Size})
		}
	}
	return out
}

// overlaps are sets of files of a partition whose ranges overlap so much that sorting them together pays. Files that were sorted
// together have at most ends in common, which does not count, and so are never chosen again.
func (c *Compactor) overlaps(files []table.File, span Span) (out []Merge) {
	if span == nil {
		return nil
	}
	type ranged struct {
		table.File
		lo, hi uint64
	}
	var all []ranged
	for _, f := range files {
		if lo, hi, ok := span(f); ok && lo <= hi {
			all = append(all, ranged{f, lo, hi})
		}
	}
	slices.SortFunc(all, func(a, b ranged) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi), cmp.Compare(a.Path, b.Path))
	})
	for len(all) > 0 {
		n, hi := 1, all[0].hi
		for n < len(all) && all[n].lo < hi {
			hi = max(hi, all[n].hi)
			n++
		}
		group, width := all[:n], float64(hi-all[0].lo)
		all = all[n:]
		var m Merge
		read := 0.0 // bytes that have some value, on average
		for _, f := range group {
			m.Sources, m.Bytes = append(m.Sources, f.File), m.Bytes+f.Size
			read += float64(f.Size) * float64(f.hi-f.lo) / width
		}
		after := float64(m.Bytes) / float64((m.Bytes+c.Target-1)/c.Target)
		if n > 1 && read >= overlapGain*after {
			out = append(out, m)
		}
	}
	return out
}

// mayCopy is how many bytes of a file lie in row groups that are large enough to be copied, as far as metadata tells.
func mayCopy(f table.File, least int64) (n int64) {
	if f.DeletedRows > 0 {
		return 0
	}
	for i, at := range f.SplitOffsets {
		end := f.Size
		if i+1 < len(f.SplitOffsets) {
			end = f.SplitOffsets[i+1]
		}
		if end-at >= least {
			n += end - at
		}
	}
	return n
}
