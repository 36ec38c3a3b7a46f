package follow

import (
	"fmt"
	"math"

	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

const (
	// stretchRows is how many rows of a row group are told of together.
	stretchRows = 4096
	// mostStretches bounds what is remembered, of all files together: about 3 MiB.
	mostStretches = 64 << 10
)

// stretch says which offsets of a partition some rows of a row group have: those between least and greatest. The number of the partition is that of any topic.
type stretch struct {
	from, to        int64 // rows of the group
	partition       int32
	least, greatest int64
}

type groupOf struct {
	path  string
	group int
}

// seen remembers of row groups which offsets are where: a backlog is read in slices, and a file that compaction made has rows of many of them. Files never
// change.
type seen struct {
	groups map[groupOf][]stretch
	size   int
}

// of finds the stretches of a row group, by two small columns.
func (s *seen) of(f *scan.File, path string, group int) ([]stretch, error) {
	key := groupOf{path, group}
	if known, ok := s.groups[key]; ok {
		return known, nil
	}
	parts, err := f.Ints(group, table.ColumnPartition)
	if err != nil {
		return nil, err
	}
	offsets, err := f.Ints(group, table.ColumnOffset)
	if err != nil {
		return nil, err
	}
	if len(parts) != len(offsets) {
		return nil, fmt.Errorf("row group %d has %d partitions and %d offsets", group, len(parts), len(offsets))
	}
	var all []stretch
	for from := 0; from < len(parts); from += stretchRows {
		to := min(from+stretchRows, len(parts))
		begin := len(all)
		at := -1
		for i := from; i < to; i++ {
			p := int32(parts[i])
			if at < 0 || all[at].partition != p {
				if at = find(all[begin:], p); at < 0 {
					all = append(all, stretch{int64(from), int64(to), p, math.MaxInt64, math.MinInt64})
					at = len(all) - 1
				} else {
					at += begin
				}
			}
			all[at].least, all[at].greatest = min(all[at].least, offsets[i]), max(all[at].greatest, offsets[i])
		}
	}
	if s.groups == nil || s.size+len(all) > mostStretches {
		s.groups, s.size = map[groupOf][]stretch{}, 0
	}
	s.groups[key], s.size = all, s.size+len(all)
	return all, nil
}

func find(all []stretch, partition int32) int {
	for i := range all {
		if all[i].partition == partition {
			return i
		}
	}
	return -1
}

// within gives the rows of a row group between which all those lie that are asked for.
func within(all []stretch, w *ranges) (from, to int64) {
	for _, x := range all {
		for _, s := range w.spans {
			if s.Partition != x.partition || x.greatest < s.First || x.least >= s.Next {
				continue
			}
			if to == 0 {
				from = x.from
			}
			to = max(to, x.to)
			break
		}
	}
	return from, to
}
