package current

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/changes"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/rewrite"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

const (
	// fewSmall is how many files below a quarter of the target size there may be before they are merged.
	fewSmall      = 8
	defaultTarget = 32 << 20
)

// applied is what one swap does.
type applied struct {
	remove []string
	add    []table.File
	state  *state
	mark   mark
	made   time.Time
}

// apply brings the changes of a window into the target, in one swap.
func (a *Applier) apply(ctx context.Context, p *plan, w *window, r *Report) error {
	st := &state{Key: a.Key, Cursor: w.to, Edit: p.edit, Truncated: p.state.Truncated}
	was := p.state
	if p.rebuild {
		was, st.Truncated = &state{}, ""
	}
	truncated := w.truncated > st.Truncated
	st.Truncated = max(st.Truncated, w.truncated)
	late := int64(0)
	drop := func(key string) {
		late++
		delete(w.winners, key)
	}
	for key, c := range w.winners {
		if c.position < st.Truncated {
			drop(key)
		}
	}
	if err := a.states().outdated(ctx, was, w, a.share().part(), drop); err != nil {
		return err
	}
	d := &applied{state: st, made: a.Now()}
	found, err := a.find(ctx, p, w, st.Truncated, truncated, drop)
	if err != nil {
		return err
	}
	deleted := w.deletions()
	rows := int64(len(w.winners) - len(deleted))
	if err := a.write(ctx, p, w, found, d); err != nil {
		return err
	}
	if st.Deleted, err = a.states().keep(ctx, was, deleted, a.share().part(), a.Now().Add(-a.DeletedFor)); err != nil {
		return err
	}
	if err := a.swap(ctx, p, d, r); err != nil {
		return err
	}
	r.Swaps++
	r.Changes += w.changes
	r.Written += rows
	r.Removed += found.rows
	r.Late += late
	r.Files += len(d.remove)
	r.Bytes += found.bytes
	r.Keyless += w.keyless
	if r.First == "" {
		r.First = w.first
	}
	return nil
}

// found is what there is in the target of the keys that changed.
type found struct {
	files   []table.File                 // whose rows change
	small   []table.File                 // that are better merged
	deleted map[string]*roaring64.Bitmap // rows that are gone, by file
	rows    int64
	bytes   int64
}

// find looks for the rows of the keys in the target. late is told of those whose row is as new as the change.
func (a *Applier) find(ctx context.Context, p *plan, w *window, truncated string, all bool, late func(key string)) (*found, error) {
	f := &found{deleted: map[string]*roaring64.Bitmap{}}
	if p.base.Snapshot == 0 {
		return f, nil
	}
	files, deletes, err := a.Catalog.Files(ctx, a.Target, p.base.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("listing the files of snapshot %d: %w", p.base.Snapshot, err)
	}
	if p.rebuild {
		f.files = files
		for _, x := range files {
			f.deleted[x.Path] = roaring64.New()
			f.deleted[x.Path].AddRange(0, uint64(x.Rows))
			f.rows += x.Rows
			f.bytes += x.Size
		}
		return f, nil
	}
	if len(deletes) > 0 { // of other engines
		if f.deleted, err = scan.PositionDeletes(ctx, a.Objects, deletes); err != nil {
			return nil, err
		}
	}
	l := leadOf(p.target.Row, a.Key, w.winners)
	for _, x := range files {
		touched := false
		if all || l.mayBeIn(&x) {
			if touched, err = a.findIn(ctx, p, x, w, truncated, f, late); err != nil {
				return nil, fmt.Errorf("%s: %w", x.Path, err)
			}
		}
		if touched {
			f.files = append(f.files, x)
			f.bytes += x.Size
		} else if x.Size < a.target()/4 {
			f.small = append(f.small, x)
		}
	}
	return f, nil
}

func (a *Applier) target() int64 {
	if a.Files.TargetSize > 0 {
		return min(int64(a.Files.TargetSize), defaultTarget)
	}
	return defaultTarget
}

// findIn looks for rows in one file.
func (a *Applier) findIn(ctx context.Context, p *plan, x table.File, w *window, truncated string, f *found, late func(key string)) (touched bool, err error) {
	part := batch.StructOf()
	for _, c := range p.target.Row.Fields {
		if slices.Contains(a.Key, c.Name) || c.Name == changes.ColumnPosition || c.Name == table.ColumnEpoch || c.Name == table.ColumnOffset {
			part.Fields = append(part.Fields, c)
		}
	}
	gone, scratch := f.deleted[x.Path], []byte(nil)
	err = scan.Each(ctx, a.Objects, x.Path, x.Size, part, a.share().part(), func(b *batch.Batch, first int64) error {
		at, k := uint64(first), keysOf(b, a.Key)
		position, epoch, offset := b.Root.Children[part.Index(changes.ColumnPosition)], b.Root.Children[part.Index(table.ColumnEpoch)], b.Root.Children[part.Index(table.ColumnOffset)]
		for i := range b.Rows {
			if gone != nil && gone.Contains(at+uint64(i)) {
				continue
			}
			var ok bool
			if scratch, ok = k.append(scratch[:0], i); !ok {
				return fmt.Errorf("row %d has no key: another program has changed the table; make it anew with --rebuild", at+uint64(i))
			}
			pos := b.Bytes(position.Views[i])
			c := w.winners[string(scratch)]
			switch {
			case c != nil && c.compare(place{string(pos), epoch.Int32[i], offset.Int64[i]}) <= 0:
				late(string(scratch))
				continue
			case c == nil && (truncated == "" || string(pos) >= truncated):
				continue
			}
			if gone == nil {
				gone = roaring64.New()
				f.deleted[x.Path] = gone
			}
			gone.Add(at + uint64(i))
			f.rows++
			touched = true
		}
		return nil
	})
	if touched {
		gone.RunOptimize() // a truncate takes whole files
	}
	return touched, err
}

// write makes the files of the swap: those whose rows changed are merged with the new rows, in the order of the key.
func (a *Applier) write(ctx context.Context, p *plan, w *window, f *found, d *applied) error {
	files := a.files()
	fresh, err := a.fresh(ctx, p, w, files)
	if err != nil {
		return err
	}
	changed := len(w.winners)
	w.release()
	sources := f.files
	if len(f.small) >= fewSmall && len(sources)+len(fresh) > 0 {
		sources = append(sources, f.small...)
	}
	for _, x := range sources {
		d.remove = append(d.remove, x.Path)
	}
	if len(sources) == 0 || p.rebuild {
		d.add = fresh
		return nil
	}
	files.TargetSize = configs.Bytes(a.target())
	part := a.share().part()
	m, err := rewrite.Merge(ctx, rewrite.MergeInput{Info: p.target, Store: a.Objects, Files: files, SortBy: a.sortBy(), Sources: append(slices.Clone(sources), fresh...),
		Deleted: f.deleted, Now: a.Now, RunsBudget: part, SortBudget: part, BlocksBudget: part})
	if err != nil {
		return fmt.Errorf("merging %d files with the rows of %d keys: %w", len(sources), changed, err)
	}
	d.add = m.Files
	for _, x := range fresh {
		if err := a.Objects.Delete(ctx, x.Path); err != nil {
			return fmt.Errorf("removing %s, whose rows were merged: %w", x.Path, err)
		}
	}
	return nil
}

// files are the settings of what is written: a row group is in memory until it ends.
func (a *Applier) files() configs.Files {
	f := a.Files
	f.RowGroupSize = configs.Bytes(min(cmp.Or(int64(f.RowGroupSize), math.MaxInt64), a.share().part()))
	return f
}

// fresh writes the rows that changes left, by themselves. They are sorted here, which takes no copy of them.
func (a *Applier) fresh(ctx context.Context, p *plan, w *window, files configs.Files) ([]table.File, error) {
	type keyed struct {
		key string
		row int32
	}
	var list []keyed
	for key, c := range w.winners {
		if !c.isDelete() {
			list = append(list, keyed{key, int32(c.row)})
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	slices.SortFunc(list, func(a, b keyed) int { return compareKeys(a.key, b.key) })
	out, err := writers.New(writers.Options{Info: p.target, Store: a.Objects, Files: files, SortBy: a.sortBy(), Sorted: true, Now: a.Now})
	if err != nil {
		return nil, err
	}
	defer out.Abort() // of no effect after Finish
	b := *w.Batch
	root := *w.Root
	row := batch.StructOf()
	root.Children = nil
	for i, f := range w.Root.Type.Fields {
		if f.Name != changes.ColumnOp {
			row.Fields, root.Children = append(row.Fields, f), append(root.Children, w.Root.Children[i])
		}
	}
	root.Type, b.Root = row, &root
	var part writers.Part
	for _, k := range list {
		part.Rows = append(part.Rows, k.row)
	}
	if err := out.Append(ctx, &b, part); err != nil {
		return nil, err
	}
	return out.Finish(ctx)
}

// swap lands what was made.
func (a *Applier) swap(ctx context.Context, p *plan, d *applied, r *Report) error {
	data, err := json.Marshal(d.state)
	if err != nil {
		return err
	}
	id, err := a.states().put(ctx, data)
	if err != nil {
		return err
	}
	d.mark = mark{Source: a.Source.String(), State: id}
	store, err := a.Catalog.Open(ctx, a.Target)
	if err != nil {
		return err
	}
	if err := table.Commit(ctx, store, a.Wait, func(base *table.Base) (table.Change, bool, error) { return a.change(p, d, base) }); err != nil {
		return err
	}
	r.Snapshot = p.base.Snapshot
	a.tidy(ctx, p, d, r)
	return nil
}

// change is the swap against a base.
func (a *Applier) change(p *plan, d *applied, base *table.Base) (ch table.Change, done bool, err error) {
	have, err := parseMark(a.Pipeline, base.Props)
	switch {
	case err != nil:
		return ch, false, err
	case have == d.mark: // landed, and the reply was lost
		return ch, true, nil
	case have != p.mark, base.UUID != p.base.UUID, base.Snapshot != p.base.Snapshot:
		return ch, false, fmt.Errorf("%w: another run, or another program, was faster", ErrStale)
	}
	if age := a.Now().Sub(d.made); age > a.OrphanAge/2 {
		return ch, false, fmt.Errorf("the swap was made %v ago, more than half the orphan age %v", age.Round(time.Second), a.OrphanAge)
	}
	text, err := json.Marshal(d.mark)
	if err != nil {
		return ch, false, err
	}
	ch = table.Change{Add: d.add, Remove: d.remove, Seen: base.Snapshot}
	ch.Snapshot = len(ch.Add)+len(ch.Remove) > 0
	ch.Props = func(int64) map[string]string { return map[string]string{Property(a.Pipeline): string(text)} }
	ch.Summary = map[string]string{table.SummaryJob: "current", table.Prefix + "offsets": strconv.Itoa(len(d.state.Cursor.Partitions))}
	return ch, false, nil
}

// tidy removes the objects that the state before led to, and this one does not.
func (a *Applier) tidy(ctx context.Context, p *plan, d *applied, r *Report) {
	var old []string
	if p.mark.State != "" {
		old = append(old, p.mark.State)
	}
	for _, x := range p.state.Deleted {
		if !slices.Contains(d.state.Deleted, x) {
			old = append(old, x.ID)
		}
	}
	for _, id := range old {
		if err := a.Objects.Delete(ctx, a.states().uri(id)); err != nil {
			r.Left = append(r.Left, fmt.Sprintf("%s: %v", a.states().uri(id), err))
		}
	}
}
