package pipeline

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/rewrite"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// LetterFilter chooses dead letters. What is left empty chooses all.
type LetterFilter struct {
	Stage, Step string
	// Error must be part of the reason.
	Error string
	Topic string
	// Partition and Offset choose one record; a negative number chooses all.
	Partition int32
	Offset    int64
	// Since and Until bound when they failed; Until is not included.
	Since, Until time.Time
	// Replayed: nil chooses both, else those that were replayed, or were not.
	Replayed *bool
}

// AnyLetter chooses all dead letters.
func AnyLetter() LetterFilter { return LetterFilter{Partition: -1, Offset: -1} }

// letterColumns are the columns of a batch of dead letters, by name.
type letterColumns map[string]*batch.Column

// letterReader reads the rows of a dead-letter table. A table of an earlier version lacks columns, which then are null.
type letterReader struct {
	d    Deps
	info table.Info
	row  *batch.Type
}

func newLetterReader(ctx context.Context, d Deps) (*letterReader, error) {
	info, err := d.Catalog.Info(ctx, d.DeadLetters)
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", d.DeadLetters, err)
	}
	r := &letterReader{d: d, info: info, row: batch.StructOf()}
	for _, f := range deadLetterRow().Fields {
		at := info.Row.Index(f.Name)
		if at < 0 {
			f.Required = false
		} else if f = info.Row.Fields[at]; f.Type.Kind != deadLetterRow().Fields[deadLetterRow().Index(f.Name)].Type.Kind {
			return nil, fmt.Errorf("table %s is no dead-letter table: column %s is a %s", d.DeadLetters, f.Name, f.Type)
		}
		r.row.Fields = append(r.row.Fields, f)
	}
	for _, name := range []string{ColumnTopic, ColumnPartition, ColumnOffset, ColumnEpoch} {
		if info.Row.Index(name) < 0 {
			return nil, fmt.Errorf("table %s is no dead-letter table: it has no column %s", d.DeadLetters, name)
		}
	}
	return r, nil
}

// lettersAtOnce is how many rows a batch has at most.
const lettersAtOnce = 4096

// each calls f with batches of the letters of a snapshot (0: the current one) and the rows that are chosen, which are good
// during the call.
func (r *letterReader) each(ctx context.Context, snapshot int64, filter *LetterFilter, f func(c letterColumns, b *batch.Batch, rows []int32) error) error {
	files, deletes, err := r.d.Catalog.Files(ctx, r.info.Ident, snapshot)
	if err != nil {
		return fmt.Errorf("listing the files of table %s: %w", r.info.Ident, err)
	}
	deleted, err := scan.PositionDeletes(ctx, r.d.Objects, deletes)
	if err != nil {
		return fmt.Errorf("table %s: %w", r.info.Ident, err)
	}
	for _, file := range files {
		if filter.Topic != "" && filter.Partition >= 0 && filter.Offset >= 0 &&
			!rewrite.MayHold(r.info.Row, file, batch.Span{Topic: filter.Topic, Partition: filter.Partition, First: filter.Offset, Next: filter.Offset + 1}) {
			continue
		}
		if err := r.file(ctx, file, deleted[file.Path], filter, f); err != nil {
			return fmt.Errorf("table %s: %s: %w", r.info.Ident, file.Path, err)
		}
	}
	return nil
}

func (r *letterReader) file(ctx context.Context, file table.File, deleted *roaring64.Bitmap, filter *LetterFilter, f func(letterColumns, *batch.Batch, []int32) error) error {
	cols, chosen := letterColumns{}, []int32(nil)
	return scan.Each(ctx, r.d.Objects, file.Path, file.Size, r.row, 0, func(b *batch.Batch, at int64) error {
		for i, x := range r.row.Fields {
			cols[x.Name] = b.Root.Children[i]
		}
		chosen = chosen[:0]
		for i := range b.Rows {
			if (deleted == nil || !deleted.Contains(uint64(at)+uint64(i))) && cols.match(b, i, filter) {
				chosen = append(chosen, int32(i))
			}
		}
		if len(chosen) == 0 {
			return nil
		}
		return f(cols, b, chosen)
	})
}

func (c letterColumns) match(b *batch.Batch, i int, f *LetterFilter) bool {
	failed := c.time(letterFailedAt, i)
	return (f.Stage == "" || c.text(b, letterStage, i) == f.Stage) &&
		(f.Step == "" || c.text(b, letterStep, i) == f.Step) &&
		(f.Topic == "" || c.text(b, ColumnTopic, i) == f.Topic) &&
		(f.Partition < 0 || c[ColumnPartition].Int32[i] == f.Partition) &&
		(f.Offset < 0 || c[ColumnOffset].Int64[i] == f.Offset) &&
		(f.Since.IsZero() || !failed.Before(f.Since)) &&
		(f.Until.IsZero() || failed.Before(f.Until)) &&
		(f.Replayed == nil || *f.Replayed != c[ColumnReplayedRound].IsNull(i)) &&
		(f.Error == "" || strings.Contains(c.text(b, letterError, i), f.Error))
}

// text is a text or binary as a string; empty for null.
func (c letterColumns) text(b *batch.Batch, name string, i int) string {
	return string(c.bytes(b, name, i))
}

// bytes is a view of a text or binary; nil for null.
func (c letterColumns) bytes(b *batch.Batch, name string, i int) []byte {
	if c[name].IsNull(i) {
		return nil
	}
	return b.Bytes(c[name].Views[i])
}

// time is the zero time for null.
func (c letterColumns) time(name string, i int) time.Time {
	if c[name].IsNull(i) {
		return time.Time{}
	}
	return time.UnixMicro(c[name].Int64[i]).UTC()
}

func (c letterColumns) id(name string, i int) int32 {
	if c[name].IsNull(i) {
		return 0
	}
	return c[name].Int32[i]
}

func (c letterColumns) key(b *batch.Batch, i int) EpochKey {
	return EpochKey{table.Key{Topic: c.text(b, ColumnTopic, i), Partition: c[ColumnPartition].Int32[i]}, c[ColumnEpoch].Int32[i]}
}

// headers are those of a letter; values are views.
func (c letterColumns) headers(b *batch.Batch, i int) (out []header) {
	list := c[letterHeaders]
	if list.IsNull(i) {
		return nil
	}
	names, values := list.Children[0].Children[0], list.Children[0].Children[1]
	for j := list.Starts[i]; j < list.Starts[i+1]; j++ {
		h := header{name: string(b.Bytes(names.Views[j]))}
		if !values.IsNull(int(j)) {
			h.value = b.Bytes(values.Views[j])
		}
		out = append(out, h)
	}
	return out
}

// record appends the record that a letter was made of to r, byte by byte as it was.
func (c letterColumns) record(b *batch.Batch, i int, r *batch.Records, topic int32) {
	view := func(name string) batch.View {
		if c[name].IsNull(i) {
			return batch.Null
		}
		return r.Append(b.Bytes(c[name].Views[i]))
	}
	r.Topic, r.Partition, r.Offset = append(r.Topic, topic), append(r.Partition, c[ColumnPartition].Int32[i]), append(r.Offset, c[ColumnOffset].Int64[i])
	r.Timestamp = append(r.Timestamp, c.millis(i))
	r.Key, r.Value = append(r.Key, view(letterKey)), append(r.Value, view(letterValue))
	first := len(r.Mem)
	for _, h := range c.headers(b, i) {
		r.Mem = append(binary.AppendUvarint(r.Mem, uint64(len(h.name))), h.name...)
		if h.value == nil {
			r.Mem = append(r.Mem, 0)
			continue
		}
		r.Mem = append(binary.AppendUvarint(r.Mem, uint64(len(h.value))+1), h.value...)
	}
	v := batch.View{}
	if len(r.Mem) > first {
		v = batch.View{Off: uint32(first), Len: uint32(len(r.Mem) - first)}
	}
	r.Headers = append(r.Headers, v)
}

// millis is Kafka's timestamp; -1: none.
func (c letterColumns) millis(i int) int64 {
	if c[ColumnTimestamp].IsNull(i) {
		return -1
	}
	return c[ColumnTimestamp].Int64[i] / 1000
}
