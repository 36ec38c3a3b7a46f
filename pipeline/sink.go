package pipeline

import (
	"context"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/partitioner"
	"github.com/lakeloader/lakeloader/schemas"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// sink is the open files of one table in the open round.
type sink struct {
	info     table.Info
	splitter *partitioner.Splitter
	w        *writers.Writer
	// done are files of the round that a change of the row type finished early.
	done []table.File
	// used: it has rows of the open round.
	used bool
}

// ensure makes the table have the columns, and the sink write them. Columns that only the table has stay, and are null.
func (s *stages) ensure(ctx context.Context, k *sink, def table.Def, sort []table.SortField) error {
	wanted := def
	var err error
	if wanted.Row, err = schemas.Merge(def.Row, k.info.Row); err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrStop, def.Ident, err)
	}
	info, err := s.d.Catalog.Ensure(ctx, wanted)
	if err != nil {
		return fmt.Errorf("preparing table %s: %w", def.Ident, err)
	}
	splitter, err := partitioner.New(info.PartitionBy, def.Row)
	if err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrStop, def.Ident, err)
	}
	if k.w != nil {
		files, err := k.w.Finish(ctx)
		if err != nil {
			return err
		}
		k.done = append(k.done, files...)
	}
	w, err := writers.New(writers.Options{Info: info, Store: s.d.Objects, Files: s.cfg.Files, SortBy: sort, Now: s.d.Now})
	if err != nil {
		return fmt.Errorf("%w: table %s: %w", ErrStop, def.Ident, err)
	}
	k.info, k.splitter, k.w = info, splitter, w
	return nil
}

// refuse makes dead letters of rows that cannot be written. It comes before any table gets rows of the batch.
func (k *sink) refuse(b *batch.Batch) error {
	err := k.splitter.Refuse(b)
	if err == nil {
		err = k.w.Refuse(b)
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", k.info.Ident, err)
	}
	return nil
}

func (k *sink) append(ctx context.Context, b *batch.Batch) error {
	parts, err := k.splitter.Split(b)
	return k.write(ctx, b, parts, err)
}

// appendRows is append for some rows.
func (k *sink) appendRows(ctx context.Context, b *batch.Batch, rows []int32) error {
	parts, err := k.splitter.SplitRows(b, rows)
	return k.write(ctx, b, parts, err)
}

func (k *sink) write(ctx context.Context, b *batch.Batch, parts []partitioner.Part, err error) error {
	k.used = k.used || len(parts) > 0
	for i := 0; err == nil && i < len(parts); i++ {
		err = k.w.Append(ctx, b, writers.Part(parts[i]))
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", k.info.Ident, err)
	}
	return nil
}

func (k *sink) finish(ctx context.Context) ([]table.File, error) {
	files, err := k.w.Finish(ctx)
	if err != nil {
		return nil, fmt.Errorf("finishing files of table %s: %w", k.info.Ident, err)
	}
	files = append(k.done, files...)
	k.done, k.used = nil, false
	return files, nil
}

// sinks are the open tables: the primary first, then routed ones by name, and the dead letters last.
func (s *stages) sinks() []*sink {
	all := []*sink{&s.primary}
	if s.routes != nil {
		all = append(all, s.routes.sinks...)
	}
	return append(all, &s.dead)
}

// finish ends the files of the round; they are durable when it returns, and the topic has its dead letters. Routed tables without files are left out.
func (s *stages) finish(ctx context.Context) ([]RoundFile, error) {
	var tables []RoundFile
	for _, k := range s.sinks() {
		files, err := k.finish(ctx)
		if err != nil {
			return nil, err
		}
		t := RoundFile{Table: k.info.Ident, Files: files}
		if k != &s.primary {
			t.UUID = k.info.UUID
		}
		if routed := k != &s.primary && k != &s.dead; routed {
			if len(files) == 0 {
				continue
			}
			t.Routed, t.Value = true, s.routes.value(k.info.Ident)
		}
		tables = append(tables, t)
	}
	return tables, s.flush(ctx)
}

// abort drops the open round's files. Durable ones stay behind as orphans: a commit of them may be on its way.
func (s *stages) abort() {
	if s.chain != nil {
		s.chain.forget()
	}
	for _, k := range s.sinks() {
		k.w.Abort()
		k.done, k.used = nil, false
	}
	s.d.limit.dropped()
	if s.d.Database != nil {
		s.d.Database.Dropped()
	}
}

// size is the bytes of the round's files so far, as they would be if they ended now.
func (s *stages) size() (size int64) {
	for _, k := range s.sinks() {
		size += k.w.Size()
		for _, f := range k.done {
			size += f.Size
		}
	}
	return size
}
