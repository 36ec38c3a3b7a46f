package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/lakeloader/lakeloader/cleanse"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// seed rebuilds the memory of deduplicate steps for partitions from the table: what is remembered is exactly what the
// table holds, so it is right after every assignment, fence and unknown outcome.
func (s *stages) seed(ctx context.Context, owned map[table.Key]bool, l *table.Ledger) error {
	for _, d := range s.chain.Dedups() {
		for k := range owned {
			d.Forget(k.Topic, k.Partition)
		}
		if err := s.seedOne(ctx, d, owned, l); err != nil {
			return fmt.Errorf("rebuilding the memory of step %s from table %s: %w", d.Step(), s.primaryTable, err)
		}
		d.Mark()
	}
	return nil
}

// remembers reports whether what is decided about a record depends on rows that are in the table.
func (s *stages) remembers() bool { return len(s.chain.Dedups()) > 0 }

func (s *stages) seedOne(ctx context.Context, d *cleanse.Dedup, owned map[table.Key]bool, l *table.Ledger) error {
	slowest := int64(math.MaxInt64) // of the partitions' newest timestamps: the window reaches back from there
	for k := range owned {
		if r, ok := l.Records[k]; ok && r.Rows > 0 && r.MaxTimestamp >= 0 {
			slowest = min(slowest, r.MaxTimestamp)
		}
	}
	if slowest == math.MaxInt64 {
		return nil // there are no rows
	}
	oldest := slowest - d.Window().Milliseconds()
	if err := s.seedTable(ctx, d, owned, s.primary.info, oldest); err != nil {
		return err
	}
	for _, t := range l.Tables {
		info, err := s.d.Catalog.Info(ctx, t.Ident)
		if errors.Is(err, table.ErrNoTable) {
			continue // dropped with its rows, after the route was taken out of the configuration
		}
		if err == nil {
			err = s.seedTable(ctx, d, owned, info, oldest)
		}
		if err != nil {
			return fmt.Errorf("table %s, which rows were routed to: %w", t.Ident, err)
		}
	}
	return nil
}

// seedTable reads the rows of a table that are not all older than a time, Unix milliseconds.
func (s *stages) seedTable(ctx context.Context, d *cleanse.Dedup, owned map[table.Key]bool, info table.Info, oldest int64) error {
	files, deletes, err := s.d.Catalog.Files(ctx, info.Ident, 0)
	if err != nil {
		return err
	}
	if len(deletes) > 0 {
		return errors.New("rows were deleted from it by position; compact the table first")
	}
	at := info.Row.Index(ColumnTimestamp)
	if at < 0 {
		return fmt.Errorf("it has no column %s", ColumnTimestamp)
	}
	for _, f := range files {
		if b := f.UpperBounds[info.Row.Fields[at].ID]; len(b) == 8 && int64(binary.LittleEndian.Uint64(b))/1000 < oldest {
			continue
		}
		if err := s.seedFile(ctx, d, owned, f); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

func (s *stages) seedFile(ctx context.Context, d *cleanse.Dedup, owned map[table.Key]bool, file table.File) (err error) {
	f, err := scan.Open(ctx, s.d.Objects, file.Path, file.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	row := s.primary.info.Row
	for g := range f.Groups() {
		topics, err := f.Strings(g, ColumnTopic)
		if err != nil {
			return err
		}
		parts, err := f.Ints(g, ColumnPartition)
		if err != nil {
			return err
		}
		offsets, err := f.Ints(g, ColumnOffset)
		if err != nil {
			return err
		}
		times, err := f.Values(g, ColumnTimestamp, row.Fields[row.Index(ColumnTimestamp)].Type)
		if err != nil {
			return err
		}
		keys := make([][]any, len(d.Columns()))
		for i, name := range d.Columns() {
			if keys[i], err = f.Values(g, name, row.Fields[row.Index(name)].Type); err != nil {
				return err
			}
		}
		key := make([]any, len(keys))
		for i := range topics {
			if !owned[table.Key{Topic: topics[i], Partition: int32(parts[i])}] {
				continue
			}
			for j := range keys {
				key[j] = keys[j][i]
			}
			ms := int64(-1)
			if us, ok := times[i].(int64); ok {
				ms = us / 1000
			}
			if err := d.Seed(key, topics[i], int32(parts[i]), offsets[i], ms); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget drops what is remembered of a partition that was given up.
func (s *stages) forget(topic string, partition int32) {
	for _, d := range s.chain.Dedups() {
		d.Forget(topic, partition)
	}
}

// committed tells the steps that the rows of the round are in the table.
func (s *stages) committed() {
	for _, d := range s.chain.Dedups() {
		d.Mark()
	}
	s.d.limit.committed(s.d.Now())
}
