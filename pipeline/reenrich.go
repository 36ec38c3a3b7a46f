package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/source"
	"github.com/lakeloader/lakeloader/table"
)

// ReenrichOptions says which rows are joined once more.
type ReenrichOptions struct {
	// Join is the name of a join; empty: all that have a column matched.
	Join string
	// DryRun only counts.
	DryRun bool
}

// ReenrichReport is what was joined once more, or would be.
type ReenrichReport struct {
	Pipeline string `json:"pipeline"`
	Table    string `json:"table"`
	Done     bool   `json:"done"`
	Round    int64  `json:"round,omitempty"` // its number, when done
	// Missed are the rows without a match, Gone those of them that Kafka has no longer, or that are of an earlier epoch.
	Missed int64 `json:"missed"`
	Gone   int64 `json:"gone"`
	// Partitions say what the offsets were, and are.
	Partitions []BackfillPartition `json:"partitions"`
}

// Reenrich reads the records of rows that had no match from Kafka again, and puts what they are now in the place of these rows, in one
// swap: an edit of just their offsets, so rows that had a match stay as they are. d's consumer must be of a group of its own.
func Reenrich(ctx context.Context, cfg *configs.Pipeline, d Deps, o ReenrichOptions) (*ReenrichReport, error) {
	var columns []string
	for _, j := range cfg.Enrich {
		if j.Matched != "" && (o.Join == "" || o.Join == j.Name) {
			columns = append(columns, j.Matched)
		}
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("pipeline %s has no join %q with a column that says whether there was a match: set matched", cfg.Name, o.Join)
	}
	a := &amender{cfg: cfg, d: d}
	var rep *ReenrichReport
	err := a.again(ctx, func() (err error) {
		rep, err = a.reenrich(ctx, columns, o)
		return err
	})
	return rep, err
}

func (a *amender) reenrich(ctx context.Context, columns []string, o ReenrichOptions) (*ReenrichReport, error) {
	rep := &ReenrichReport{Pipeline: a.cfg.Name, Table: a.d.Primary.String(), Partitions: []BackfillPartition{}}
	missed, err := a.missed(ctx, columns)
	if err != nil {
		return nil, err
	}
	f, ids, err := a.planReenrich(ctx, missed, rep)
	if err != nil || o.DryRun || len(rep.Partitions) == 0 {
		return rep, err
	}
	tables, err := f.load(ctx)
	if err != nil {
		return nil, err
	}
	r := a.round(tables)
	for i := range rep.Partitions {
		p := &rep.Partitions[i]
		k := table.Key{Topic: p.Topic, Partition: p.Partition}
		e := a.rejoined(f.tracks.m[k], f.want[k])
		is := e.counts()
		p.Is = &is
		r.Edits = append(r.Edits, e)
	}
	now, err := a.d.Topics.TopicIDs(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for topic ids before the commit: %w", err)
	}
	for _, e := range r.Edits {
		if now[e.Key.Topic] != e.TopicID {
			return nil, fmt.Errorf("topic %s was deleted and created again while it was being read: nothing was changed", e.Key.Topic)
		}
	}
	n, err := a.land(ctx, r, "joined the rows once more")
	if n == 0 {
		return nil, err
	}
	rep.Done, rep.Round = true, n
	return rep, err
}

// planReenrich finds what of the rows can be read again. ids are the topics.
func (a *amender) planReenrich(ctx context.Context, missed map[EpochKey]*roaring64.Bitmap, rep *ReenrichReport) (f *refill, topics []string, err error) {
	f = &refill{a: a, end: map[table.Key]int64{}, want: map[table.Key]*roaring64.Bitmap{}}
	ps, ids, err := a.partitions(ctx, "", nil)
	if err != nil {
		return nil, nil, err
	}
	marks, err := a.d.Topics.Watermarks(ctx, ps)
	if err != nil {
		return nil, nil, fmt.Errorf("asking for the first and last offsets: %w", err)
	}
	for k, set := range missed {
		rep.Missed += int64(set.GetCardinality())
		rec, p := a.ledger.Records[k.Key], source.Partition(k.Key)
		if !slices.Contains(ps, p) || rec.Epoch != k.Epoch || rec.TopicID != ids[k.Topic] {
			rep.Gone += int64(set.GetCardinality())
			continue
		}
		before := set.GetCardinality()
		set.RemoveRange(0, uint64(max(0, marks[p].Low)))
		rep.Gone += int64(before - set.GetCardinality())
		if set.IsEmpty() {
			continue
		}
		start := rec
		start.First, start.Next = int64(set.Minimum()), int64(set.Minimum())
		start.Counts, start.MaxTimestamp = table.Counts{}, -1
		f.tracks.add(newTrack(k.Key, true, start))
		f.end[k.Key], f.want[k.Key] = int64(set.Maximum())+1, set
		rep.Partitions = append(rep.Partitions, BackfillPartition{Topic: k.Topic, Partition: k.Partition, Epoch: k.Epoch, From: start.First, To: f.end[k.Key], Was: a.decisions[k].Count(set)})
		if !slices.Contains(topics, k.Topic) {
			topics = append(topics, k.Topic)
		}
	}
	slices.SortFunc(rep.Partitions, func(x, y BackfillPartition) int {
		return cmpKey(table.Key{Topic: x.Topic, Partition: x.Partition}, table.Key{Topic: y.Topic, Partition: y.Partition})
	})
	return f, topics, nil
}

// rejoined makes the edit of the offsets of want that were read. A record that Kafka has compacted away meanwhile keeps its row.
func (a *amender) rejoined(t *track, want *roaring64.Bitmap) Edit {
	rec := a.ledger.Records[t.key]
	if t.gapSet != nil {
		want.AndNot(&t.gapSet.Bitmap)
	}
	e := Edit{Key: t.key, TopicID: rec.TopicID, Epoch: rec.Epoch, First: rec.First, Filtered: t.filteredBy, Dead: t.deadBy, Routed: t.routedTo}
	rows := want.Clone()
	for _, set := range e.sets() {
		rows.AndNot(set)
	}
	e.Rows = &Offsets{Bitmap: *rows}
	e.Was = a.decisions[EpochKey{t.key, rec.Epoch}].Count(want)
	return e
}

// missed finds the offsets of rows of which a column says that there was no match, in all tables of the pipeline.
func (a *amender) missed(ctx context.Context, columns []string) (map[EpochKey]*roaring64.Bitmap, error) {
	out := map[EpochKey]*roaring64.Bitmap{}
	for _, id := range a.tables() {
		info, err := a.d.Catalog.Info(ctx, id)
		if errors.Is(err, table.ErrNoTable) && id != a.d.Primary {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading table %s: %w", id, err)
		}
		row := batch.StructOf()
		for _, name := range append([]string{ColumnTopic, ColumnPartition, ColumnOffset, ColumnEpoch}, columns...) {
			if at := info.Row.Index(name); at >= 0 {
				row.Fields = append(row.Fields, info.Row.Fields[at])
			}
		}
		files, deletes, err := a.d.Catalog.Files(ctx, id, 0)
		if err != nil {
			return nil, fmt.Errorf("reading table %s: %w", id, err)
		}
		deleted, err := scan.PositionDeletes(ctx, a.d.Objects, deletes)
		if err != nil {
			return nil, fmt.Errorf("reading table %s: %w", id, err)
		}
		for _, f := range files {
			if err := a.missedIn(ctx, f, row, deleted[f.Path], out); err != nil {
				return nil, fmt.Errorf("%s: %w", f.Path, err)
			}
		}
	}
	return out, nil
}

func (a *amender) missedIn(ctx context.Context, file table.File, row *batch.Type, deleted *roaring64.Bitmap, out map[EpochKey]*roaring64.Bitmap) error {
	return scan.Each(ctx, a.d.Objects, file.Path, file.Size, row, 0, func(b *batch.Batch, first int64) error {
		c := b.Root.Children
		for i := range b.Rows {
			if deleted != nil && deleted.Contains(uint64(first)+uint64(i)) || !slices.ContainsFunc(c[4:], func(m *batch.Column) bool { return !m.IsNull(i) && !m.Bools[i] }) {
				continue
			}
			addOffset(out, EpochKey{table.Key{Topic: string(b.Bytes(c[0].Views[i])), Partition: c[1].Int32[i]}, c[3].Int32[i]}, c[2].Int64[i])
		}
		return nil
	})
}
