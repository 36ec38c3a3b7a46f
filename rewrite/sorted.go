package rewrite

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/scan"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

const (
	// runsBudget is what reading all runs of a merge at once may take; with more of them some are merged to the local disk
	// before. Blocks beyond the least size have a budget of their own.
	runsBudget   = 128 << 20
	blocksBudget = 32 << 20
	// sortBudget is how much memory the rows take that are sorted at once where a file is not sorted.
	sortBudget = 64 << 20
)

// sort puts rows into files that are sorted from the first row to the last. Sources that are not sorted are first sorted in
// runs, which go to the local disk.
func (m *merger) sort(ctx context.Context) error {
	m.RunsBudget, m.SortBudget = cmp.Or(m.RunsBudget, runsBudget), cmp.Or(m.SortBudget, sortBudget)
	distrust := map[string]bool{}
	for {
		err := m.trySort(ctx, distrust)
		u := (*unsortedError)(nil)
		if !errors.As(err, &u) || distrust[u.path] {
			return m.count(err)
		}
		distrust[u.path] = true
		if len(distrust) > 1 { // whoever wrote them may have written the others too
			for _, f := range m.Sources {
				distrust[f.Path] = true
			}
		}
		m.out = Merged{}
	}
}

func (m *merger) trySort(ctx context.Context, distrust map[string]bool) (err error) {
	o, err := newOrder(m.Info.Row, m.SortBy)
	if len(m.ZOrder) > 0 {
		o, err = newCurve(m.Info.Row, m.ZOrder, m.Sources)
	}
	if err != nil {
		return err
	}
	scratch := newScratch()
	defer func() { err = errors.Join(err, scratch.remove()) }()
	s := &sorting{merger: m, order: o, scratch: scratch, read: newRowSum()}
	var loose []groups
	for _, f := range m.Sources {
		if f.Size <= objects.WholeSize { // faster in memory, many at once, than as a run of its own
			loose = append(loose, groups{f, 0, -1})
			continue
		}
		sorted, err := s.runsOf(ctx, f, distrust[f.Path])
		if err != nil {
			return err
		}
		if sorted == nil && f.Rows > 0 {
			loose = append(loose, groups{f, 0, -1})
		}
		s.runs = append(s.runs, sorted...)
	}
	if err := s.sortLoose(ctx, loose); err != nil {
		return err
	}
	if err := s.fewer(ctx); err != nil {
		return err
	}
	options := m.options
	options.Sorted = true
	if m.out.Files, err = s.write(ctx, options); err != nil {
		return err
	}
	return m.compare(ctx, m.Store, s.read, m.out.Files)
}

// sorting is a merge of runs.
type sorting struct {
	*merger
	order   *order
	scratch *scratch
	read    *rowSum // of the rows of the sources
	runs    []run
}

// runsOf gives the runs of a file: its row groups where the footer says that they are sorted, and the whole file where the table's
// metadata says so too; nil: it is not sorted.
func (s *sorting) runsOf(ctx context.Context, source table.File, distrusted bool) (runs []run, err error) {
	f, err := scan.Open(ctx, s.Store, source.Path, source.Size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.Rows() != source.Rows {
		return nil, fmt.Errorf("%s has %d rows, the table's metadata says %d", source.Path, f.Rows(), source.Rows)
	}
	if distrusted || len(s.ZOrder) > 0 {
		return nil, nil
	}
	whole := run{groups: groups{source, 0, f.Groups()}, store: s.Store}
	for g := range f.Groups() {
		whole.weight = max(whole.weight, f.Weight(g))
		if !s.claims(f.Sorted(g)) {
			return nil, nil
		}
		runs = append(runs, run{groups: groups{source, g, g + 1}, store: s.Store, weight: f.Weight(g)})
	}
	if source.SortOrderID != 0 && source.SortOrderID == s.Info.SortOrderID {
		return []run{whole}, nil
	}
	return runs, nil
}

// claims reports whether rows that are sorted by some columns are sorted as is wanted.
func (s *sorting) claims(by []scan.SortColumn) bool {
	if len(by) < len(s.SortBy) {
		return false
	}
	for i, f := range s.SortBy {
		if by[i].Path != f.Source || by[i].Desc != f.Desc || by[i].NullsFirst == f.Desc {
			return false
		}
	}
	return true
}

// sortLoose sorts the rows of files that are not, as many at once as memory allows.
func (s *sorting) sortLoose(ctx context.Context, files []groups) error {
	if len(files) == 0 {
		return nil
	}
	b := batch.New(&batch.Records{}, s.Info.Row)
	held := batch.New(&batch.Records{}, s.Info.Row)
	var rows []int32
	ahead := objects.NewAheadWithin(ctx, s.Store, sized(files), s.BlocksBudget)
	defer ahead.Stop()
	for _, g := range files {
		err := s.eachOf(ctx, ahead, g, b, func(b *batch.Batch, at int64) error {
			rows = s.left(rows[:0], s.Deleted[g.Path], b, at)
			s.read.some(b, rows)
			writers.CopyRows(held, b, rows)
			if int64(len(held.Mem))+held.Root.Bytes() < s.SortBudget {
				return nil
			}
			return s.spill(ctx, held)
		})
		if err != nil {
			return err
		}
	}
	return s.spill(ctx, held)
}

// spill writes rows as a run, and empties the batch.
func (s *sorting) spill(ctx context.Context, held *batch.Batch) error {
	if held.Rows == 0 {
		return nil
	}
	var k keys
	s.order.fill(held, &k)
	rows := make([]int32, held.Rows)
	for i := range rows {
		rows[i] = int32(i)
	}
	slices.SortFunc(rows, func(a, b int32) int {
		if k.heads[a] != k.heads[b] {
			return cmp.Compare(k.heads[a], k.heads[b])
		}
		return cmp.Or(bytes.Compare(k.key(int(a)), k.key(int(b))), cmp.Compare(a, b))
	})
	if err := s.toScratch(ctx, func(pass func(b *batch.Batch, rows []int32) error) error { return pass(held, rows) }); err != nil {
		return err
	}
	held.Records.Reset()
	held.Reset(held.Records)
	return nil
}

// toScratch adds a run of sorted rows on the local disk.
func (s *sorting) toScratch(ctx context.Context, rows func(pass func(b *batch.Batch, rows []int32) error) error) error {
	o, err := s.scratch.options(s.options)
	if err != nil {
		return err
	}
	o.Sorted, o.Prefix, o.Files.Compression, o.Files.Level, o.Files.Bloom = true, "", "none", 0, nil
	files, err := s.writeTo(ctx, o, writers.Part{Key: "run"}, rows)
	if err != nil || len(files) == 0 { // all rows were deleted
		return err
	}
	r := run{groups: groups{files[0], 0, -1}, store: s.scratch.store, scratch: true}
	f, err := scan.Open(ctx, r.store, r.Path, r.Size)
	if err != nil {
		return err
	}
	for g := range f.Groups() {
		r.weight = max(r.weight, f.Weight(g))
	}
	s.runs = append(s.runs, r)
	return f.Close()
}

// fewer merges runs to the local disk until the rest can be read at once.
func (s *sorting) fewer(ctx context.Context) error {
	for {
		n, weight := 0, int64(0)
		for n < len(s.runs) && (n < 2 || weight+s.runs[n].weight <= s.RunsBudget) {
			weight += s.runs[n].weight
			n++
		}
		if n == len(s.runs) {
			return nil
		}
		some := s.runs[:n]
		s.runs = slices.Clone(s.runs[n:])
		err := s.toScratch(ctx, func(pass func(b *batch.Batch, rows []int32) error) error {
			return s.mergeRuns(ctx, some, s.order, s.read, pass)
		})
		if err != nil {
			return err
		}
		for _, r := range some {
			if r.scratch {
				if err := s.scratch.store.Delete(ctx, r.Path); err != nil {
					return err
				}
			}
		}
	}
}

// write merges runs into files.
func (s *sorting) write(ctx context.Context, o writers.Options) ([]table.File, error) {
	return s.writeTo(ctx, o, s.part, func(pass func(b *batch.Batch, rows []int32) error) error {
		return s.mergeRuns(ctx, s.runs, s.order, s.read, pass)
	})
}

// writeTo writes rows that come in order.
func (s *sorting) writeTo(ctx context.Context, o writers.Options, part writers.Part, rows func(pass func(b *batch.Batch, rows []int32) error) error) ([]table.File, error) {
	w, err := writers.New(o)
	if err != nil {
		return nil, err
	}
	defer w.Abort() // of no effect after Finish
	err = rows(func(b *batch.Batch, rows []int32) error {
		part.Rows = rows
		return w.Append(ctx, b, part)
	})
	if err != nil {
		return nil, err
	}
	return w.Finish(ctx)
}
