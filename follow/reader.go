package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/pipeline"
	"github.com/lakeloader/lakeloader/rewrite"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
)

// Catalog is what a reader asks of a catalog.
type Catalog interface {
	Info(ctx context.Context, id table.Ident) (table.Info, error)
	Open(ctx context.Context, id table.Ident) (table.Store, error)
	Files(ctx context.Context, id table.Ident, snapshot int64) (files []table.File, deletes []string, err error)
}

// Reader reads committed rows of a pipeline behind a cursor. It is for one goroutine. What holds:
//
//   - The ledger and the snapshot of the primary table are of one moment, so every row of an offset below the ledger's is in it.
//   - A table that rows were routed to is read after that moment. Rows of a round that is pending, and not in that table yet,
//     are left for later, with all behind them in their partition.
//   - Each row of the tables is passed once: it has one epoch and offset, and the cursor moves on behind it. A replay of dead
//     letters, which makes rows of offsets that the cursor has passed already, brings no rows. Nor do a rewind and a backfill,
//     unless Again is set: the offsets of the same topic that were passed in an earlier epoch are left out.
type Reader struct {
	Catalog  Catalog
	Objects  objects.Store
	Root     string // of the warehouse, no trailing slash
	Pipeline string
	Primary  table.Ident
	// Again: rows that a later epoch loads a second time are passed a second time.
	Again bool
	// Limit bounds how many offsets one Read goes over, of all partitions together; 0: nothing does.
	Limit int64
	// Blocks is what is read of a file at once may take, bytes; 0: scan's default.
	Blocks int64
	// Missing is told of a table that rows were routed to and that is gone, with its rows; nil: nobody is.
	Missing func(id table.Ident)

	seen seen
}

// State is what the primary table says at a moment.
type State struct {
	Ledger *table.Ledger // nil: nothing was committed yet
	base   *table.Base   // nil: there is no table
}

// End is the cursor behind all that is committed.
func (s *State) End() Cursor {
	if s.base == nil {
		return Cursor{Partitions: map[table.Key]Position{}}
	}
	return Ends(s.base.UUID, s.Ledger)
}

// State reads the primary table.
func (r *Reader) State(ctx context.Context) (*State, error) {
	base, err := r.base(ctx, r.Primary)
	if err != nil || base == nil {
		return &State{}, err
	}
	l, err := table.ParseLedger(r.Pipeline, base.Props)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", r.Primary, err)
	}
	return &State{Ledger: l, base: base}, nil
}

// base reads a table; nil: there is none.
func (r *Reader) base(ctx context.Context, id table.Ident) (*table.Base, error) {
	s, err := r.Catalog.Open(ctx, id)
	if err == nil {
		var b *table.Base
		if b, err = s.Load(ctx); err == nil {
			return b, nil
		}
	}
	if errors.Is(err, table.ErrNoTable) {
		return nil, nil
	}
	return nil, fmt.Errorf("reading table %s: %w", id, err)
}

// Read calls each with the rows behind a cursor, and says where it is then: unchanged if there is nothing new. Columns names
// columns of the table, which need not all be there (nil: all); _kafka_topic, _kafka_partition, _kafka_offset and _kafka_epoch
// are always among those of a batch. Rows whose fate is not batch.Keep are none of those asked for, and to be passed over. Rows
// come in no order of offsets. The batch is each's during the call. After an error nothing is known of the rows that each was not given.
//
// With a Limit there may be more: then the cursor that is returned is not yet that of State.End.
func (r *Reader) Read(ctx context.Context, from Cursor, columns []string, each func(b *batch.Batch) error) (to Cursor, err error) {
	for {
		s, err := r.State(ctx)
		if err != nil {
			return from, err
		}
		if to, err = r.ReadTo(ctx, s, from, columns, each); !errors.Is(err, errEdited) || ctx.Err() != nil {
			return to, err
		}
	}
}

// ReadTo is Read up to a state that was read before. It fails where rows were taken out of the tables since: read the state again.
func (r *Reader) ReadTo(ctx context.Context, s *State, from Cursor, columns []string, each func(b *batch.Batch) error) (to Cursor, err error) {
	if s.base == nil || s.Ledger == nil {
		return from, nil
	}
	if from.UUID != "" && from.UUID != s.base.UUID {
		return from, fmt.Errorf("%w: the cursor is of the table %s with uuid %s, which now has uuid %s", ErrReplaced, r.Primary, from.UUID, s.base.UUID)
	}
	to = from.Clone()
	to.UUID = s.base.UUID
	works := plan(from, s.Ledger, r.Again)
	if len(works) == 0 {
		return to, nil
	}
	sources := []source{{id: r.Primary, base: s.base}}
	for _, t := range s.Ledger.Tables {
		base, err := r.base(ctx, t.Ident)
		if err != nil {
			return from, err
		}
		if base == nil {
			if r.Missing != nil {
				r.Missing(t.Ident)
			}
			continue
		}
		src := source{id: t.Ident, base: base}
		if src.applied, err = table.ParseApplied(r.Pipeline, base.Props); err != nil {
			return from, fmt.Errorf("table %s: %w", t.Ident, err)
		}
		sources = append(sources, src)
	}
	if err := r.unedited(ctx, s, len(sources) > 1); err != nil {
		return from, err
	}
	if err := r.wait(ctx, s, sources[1:], works); err != nil {
		return from, err
	}
	works = r.cut(works)
	w := wanted(works)
	for _, src := range sources {
		if err := r.table(ctx, src, w, columns, each); err != nil {
			return from, fmt.Errorf("table %s: %w", src.id, err)
		}
	}
	for _, w := range works {
		to.Partitions[w.key] = w.end
	}
	return to, nil
}

// errEdited: rows were taken out of the tables between the moments at which two of them were read.
var errEdited = errors.New("what was decided about rows changed while they were read")

// unedited makes sure that the routed tables, which were read after the primary, had no round with edits that it lacked: what
// such a round takes away is loaded again, and would be passed over then.
func (r *Reader) unedited(ctx context.Context, s *State, routed bool) error {
	if !routed {
		return nil
	}
	now, err := r.State(ctx)
	if err != nil {
		return err
	}
	if now.base == nil || now.Ledger == nil || now.base.UUID != s.base.UUID || now.Ledger.Edit != s.Ledger.Edit {
		return errEdited
	}
	return nil
}

// source is a table that is read.
type source struct {
	id      table.Ident
	base    *table.Base
	applied table.Applied
}

// wait leaves for later what pending rounds have not brought to a table yet.
func (r *Reader) wait(ctx context.Context, s *State, routed []source, works []work) error {
	if len(routed) == 0 {
		return nil
	}
	rounds := &pipeline.RoundObjects{Store: r.Objects, Root: r.Root, Pipeline: r.Pipeline}
	for _, p := range s.Ledger.Pending {
		behind := slices.ContainsFunc(routed, func(t source) bool { return t.applied.UUID != s.base.UUID || t.applied.Number < p.Number })
		if !behind {
			continue
		}
		round, err := rounds.Round(ctx, s.base.UUID, p.ID)
		if err != nil {
			return fmt.Errorf("reading the pending round %d: %w", p.Number, err)
		}
		for i := range works {
			works[i].await(round, func(id string) bool {
				at := slices.IndexFunc(routed, func(t source) bool { return t.id.String() == id })
				return at < 0 || routed[at].applied.UUID == s.base.UUID && routed[at].applied.Number >= p.Number
			})
		}
	}
	return nil
}

// await leaves what a pending round decided for later, where some of it is in a table that does not have the round yet.
func (w *work) await(round *pipeline.Round, has func(table string) bool) {
	for _, m := range round.Moves {
		if m.Key != w.key {
			continue
		}
		for id := range m.Routed {
			if !has(id) {
				w.stop(m.To.Epoch, m.From.Next)
			}
		}
	}
	for _, e := range round.Edits {
		if e.Key != w.key {
			continue
		}
		for _, t := range round.Tables { // any of them may have rows that the round takes away
			if t.Routed && !has(t.Table.String()) {
				w.stop(0, 0)
			}
		}
	}
}

// cut shares the limit among the partitions. What a small one leaves, others get.
func (r *Reader) cut(works []work) []work {
	if r.Limit <= 0 {
		return works
	}
	size := func(w work) (n int64) {
		for _, s := range w.spans {
			n += s.next - s.first
		}
		return n
	}
	slices.SortStableFunc(works, func(a, b work) int {
		switch x, y := size(a), size(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	left := r.Limit
	for i := range works {
		works[i].limit(max(1, left/int64(len(works)-i)))
		left -= size(works[i])
	}
	return works
}

type epochKey struct {
	table.Key
	epoch int32
}

// ranges are the offsets that are read.
type ranges struct {
	byEpoch map[epochKey]span
	spans   []batch.Span
}

func wanted(works []work) *ranges {
	r := &ranges{byEpoch: map[epochKey]span{}}
	for _, w := range works {
		for _, s := range w.spans {
			r.byEpoch[epochKey{w.key, s.epoch}] = s
			r.spans = append(r.spans, batch.Span{Topic: w.key.Topic, Partition: w.key.Partition, First: s.first, Next: s.next})
		}
	}
	return r
}

func (r *ranges) has(k table.Key, epoch int32, offset int64) bool {
	s, ok := r.byEpoch[epochKey{k, epoch}]
	return ok && offset >= s.first && offset < s.next
}

// table reads the rows of a snapshot.
func (r *Reader) table(ctx context.Context, src source, w *ranges, columns []string, each func(b *batch.Batch) error) error {
	if len(w.spans) == 0 || src.base.Snapshot == 0 {
		return nil
	}
	info, err := r.Catalog.Info(ctx, src.id)
	if err != nil {
		return err
	}
	row, err := rowOf(info.Row, columns)
	if err != nil {
		return err
	}
	files, deletes, err := r.Catalog.Files(ctx, src.id, src.base.Snapshot)
	if err != nil {
		return fmt.Errorf("listing the files of snapshot %d: %w", src.base.Snapshot, err)
	}
	var deleted map[string]*roaring64.Bitmap
	for _, f := range files {
		if !rewrite.MayHold(info.Row, f, w.spans...) {
			continue
		}
		if deleted == nil && len(deletes) > 0 {
			if deleted, err = scan.PositionDeletes(ctx, r.Objects, deletes); err != nil {
				return err
			}
		}
		if err := r.file(ctx, f.Path, f.Size, row, deleted[f.Path], w, each); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// rowOf is the part of a table's row type that is read.
func rowOf(row *batch.Type, columns []string) (*batch.Type, error) {
	keys := []string{table.ColumnTopic, table.ColumnPartition, table.ColumnOffset, table.ColumnEpoch}
	for _, k := range keys {
		if row.Index(k) < 0 {
			return nil, fmt.Errorf("it has no column %s", k)
		}
	}
	part := batch.StructOf()
	for _, f := range row.Fields {
		if columns == nil || slices.Contains(columns, f.Name) || slices.Contains(keys, f.Name) {
			part.Fields = append(part.Fields, f)
		}
	}
	return part, nil
}

// rowsAtOnce is how many rows a batch has at most.
const rowsAtOnce = 4096

func (r *Reader) file(ctx context.Context, path string, size int64, row *batch.Type, deleted *roaring64.Bitmap, w *ranges, each func(b *batch.Batch) error) (err error) {
	f, err := scan.Open(ctx, r.Objects, path, size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if r.Blocks > 0 {
		f.Budget(r.Blocks)
	}
	b := batch.New(&batch.Records{}, row)
	for g := range f.Groups() {
		parts, err := r.seen.of(f, path, g)
		if err != nil {
			return err
		}
		from, to := within(parts, w)
		if from == to {
			continue
		}
		if err := r.group(ctx, f, g, from, to, b, deleted, w, each); err != nil {
			return err
		}
	}
	return nil
}

// group reads the rows from one up to another of a row group.
func (r *Reader) group(ctx context.Context, f *scan.File, g int, from, to int64, b *batch.Batch, deleted *roaring64.Bitmap, w *ranges, each func(b *batch.Batch) error) (err error) {
	rows, err := f.GroupBatches(b.Root.Type, g, g+1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	end := rows.Position() + to
	if err := rows.Skip(from); err != nil {
		return err
	}
	for ctx.Err() == nil && rows.Position() < end {
		at := rows.Position()
		if err := rows.Next(b, int(min(rowsAtOnce, end-at))); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if choose(b, at, deleted, w) == 0 {
			continue
		}
		if err := each(b); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// choose marks the rows that are not asked for as filtered, and counts the others.
func choose(b *batch.Batch, at int64, deleted *roaring64.Bitmap, w *ranges) (n int) {
	k := KeysOf(b)
	for i := range b.Rows {
		if deleted != nil && deleted.Contains(uint64(at)+uint64(i)) || !w.has(k.Key(i), k.Epoch(i), k.Offset(i)) {
			b.Fate[i] = batch.Filtered
			continue
		}
		n++
	}
	return n
}

// Keys tells of the rows of a batch which records they are.
type Keys struct {
	b                          *batch.Batch
	topic, part, offset, epoch *batch.Column
	last                       batch.View
	name                       string
}

// KeysOf finds the audit columns of a batch that a reader made.
func KeysOf(b *batch.Batch) *Keys {
	col := func(name string) *batch.Column { return b.Root.Children[b.Root.Type.Index(name)] }
	return &Keys{b: b, topic: col(table.ColumnTopic), part: col(table.ColumnPartition), offset: col(table.ColumnOffset), epoch: col(table.ColumnEpoch)}
}

// Key is the partition of a row.
func (k *Keys) Key(i int) table.Key {
	if v := k.topic.Views[i]; k.name == "" || v != k.last {
		k.last, k.name = v, string(k.b.Bytes(v))
	}
	return table.Key{Topic: k.name, Partition: k.part.Int32[i]}
}

// Offset is that of a row.
func (k *Keys) Offset(i int) int64 { return k.offset.Int64[i] }

// Epoch is that of a row.
func (k *Keys) Epoch(i int) int32 { return k.epoch.Int32[i] }
