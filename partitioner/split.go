package partitioner

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/table"
)

// Part is the rows of one batch that fall into one partition.
type Part struct {
	// Tuple has one value per partition field in Iceberg's single-value serialization; nil is null.
	Tuple [][]byte
	// Path is the Hive-style folder, e.g. ts_day=2026-11-21/country=DE; empty for a table that is not partitioned.
	// Different partitions may share one: null and the text "null" look alike.
	Path string
	// Key is the same for the same Tuple, and only then.
	Key string
	// Rows are indexes of rows, ascending.
	Rows []int32
}

// maxKnown bounds how many partitions and values of a field a Splitter remembers before it starts afresh.
const maxKnown = 1 << 16

// Splitter assigns rows to partitions. It is for one goroutine.
type Splitter struct {
	fields []*field
	kept   []int32
	rows   []int32 // of the current call
	codes  []uint32
	next   []uint32
	// combined[i] numbers the pairs of a combination of fields 0..i and a value of field i+1.
	combined []combination
	parts    []*part // by number of the last combination
	turn     uint64
	met      []uint32 // codes of the parts in out
	out      []Part
}

type combination struct {
	numbers map[uint64]uint32
	pairs   []uint64
}

type part struct {
	Part
	turn uint64
}

// New compiles a partition spec for rows of the given type, a struct (the table's row type).
func New(fields []table.PartitionField, row *batch.Type) (*Splitter, error) {
	s := &Splitter{}
	for _, f := range fields {
		c, err := compile(f, row)
		if err != nil {
			return nil, fmt.Errorf("partition field %s: %w", f.Name, err)
		}
		s.fields = append(s.fields, c)
	}
	s.forget()
	return s, nil
}

func (s *Splitter) forget() {
	for _, f := range s.fields {
		f.reset()
	}
	s.combined = make([]combination, max(0, len(s.fields)-1))
	for i := range s.combined {
		s.combined[i].numbers = map[uint64]uint32{}
	}
	s.parts = nil
}

// Split assigns every row whose fate is Keep, in the order in which partitions first occur. A column that the batch
// lacks counts as null. Refuse must have looked at the batch. The result is good until the next call, except for Tuple, Path and Key, which may be kept but
// not changed. The error is about a column of another type than the table's.
func (s *Splitter) Split(b *batch.Batch) ([]Part, error) {
	s.kept = s.kept[:0]
	for i, f := range b.Fate {
		if f == batch.Keep {
			s.kept = append(s.kept, int32(i))
		}
	}
	return s.SplitRows(b, s.kept)
}

// SplitRows is Split for the rows given, which ascend, whatever their fate. They must stay as they are while the result is
// used.
func (s *Splitter) SplitRows(b *batch.Batch, rows []int32) ([]Part, error) {
	s.rows = rows
	s.out = s.out[:0]
	if len(s.rows) == 0 {
		return s.out, nil
	}
	if len(s.fields) == 0 {
		s.out = append(s.out, Part{Rows: s.rows})
		return s.out, nil
	}
	if s.full() {
		s.forget()
	}
	if cap(s.codes) < len(s.rows) {
		s.codes, s.next = make([]uint32, len(s.rows)), make([]uint32, len(s.rows))
	}
	codes, next := s.codes[:len(s.rows)], s.next[:len(s.rows)]
	for i, f := range s.fields {
		if err := f.bind(b.Root); err != nil {
			return nil, err
		}
		if i == 0 {
			f.codes(b, s.rows, codes)
			continue
		}
		f.codes(b, s.rows, next)
		s.combined[i-1].combine(codes, next)
	}
	s.gather(codes)
	return s.out, nil
}

// Refuse makes dead letters (stage partition, the step being the partition field) of rows that are kept so far but whose
// partition value cannot be computed or encoded. The error is that of Split.
func (s *Splitter) Refuse(b *batch.Batch) error {
	for _, f := range s.fields {
		if f.transform != "hour" && f.transform != "truncate" {
			continue // what goes in always has a value that fits
		}
		if err := f.bind(b.Root); err != nil {
			return err
		}
		if len(f.chain) > 0 {
			f.refuse(b)
		}
	}
	return nil
}

func (s *Splitter) full() bool {
	for _, f := range s.fields {
		if len(f.values) > maxKnown {
			return true
		}
	}
	return len(s.parts) > maxKnown
}

// combine replaces codes by the numbers of the pairs (codes[i], with[i]).
func (c *combination) combine(codes, with []uint32) {
	last, number, known := uint64(0), uint32(0), false
	for i, code := range codes {
		pair := uint64(code)<<32 | uint64(with[i])
		if !known || pair != last {
			last, known = pair, true
			var ok bool
			if number, ok = c.numbers[pair]; !ok {
				number = uint32(len(c.pairs))
				c.pairs = append(c.pairs, pair)
				c.numbers[pair] = number
			}
		}
		codes[i] = number
	}
}

// gather appends each run of rows with the same code to its part.
func (s *Splitter) gather(codes []uint32) {
	s.turn++
	s.met = s.met[:0]
	for i := 0; i < len(codes); {
		code, j := codes[i], i+1
		for j < len(codes) && codes[j] == code {
			j++
		}
		p := s.part(code)
		if p.turn != s.turn {
			p.turn, p.Rows = s.turn, p.Rows[:0]
			s.met, s.out = append(s.met, code), append(s.out, p.Part)
		}
		if j == i+1 {
			p.Rows = append(p.Rows, s.rows[i])
		} else {
			p.Rows = append(p.Rows, s.rows[i:j]...)
		}
		i = j
	}
	for i, code := range s.met {
		s.out[i].Rows = s.parts[code].Rows
	}
}

func (s *Splitter) part(code uint32) *part {
	for int(code) >= len(s.parts) {
		s.parts = append(s.parts, nil)
	}
	if s.parts[code] == nil {
		s.parts[code] = s.newPart(code)
	}
	return s.parts[code]
}

func (s *Splitter) newPart(code uint32) *part {
	n := len(s.fields)
	p := &part{Part: Part{Tuple: make([][]byte, n)}}
	texts := make([]string, n)
	for i := n - 1; i >= 0; i-- {
		of := code
		if i > 0 {
			pair := s.combined[i-1].pairs[code]
			code, of = uint32(pair>>32), uint32(pair)
		}
		p.Tuple[i], texts[i] = s.fields[i].values[of], s.fields[i].texts[of]
	}
	p.Path = strings.Join(texts, "/")
	var key []byte
	for _, v := range p.Tuple {
		if v == nil {
			key = append(key, 0)
			continue
		}
		key = append(binary.AppendUvarint(append(key, 1), uint64(len(v))), v...)
	}
	p.Key = string(key)
	return p
}
