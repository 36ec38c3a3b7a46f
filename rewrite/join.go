package rewrite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
	"github.com/lakeloader/lakeloader/writers"
)

// join puts rows into fewer files in no particular order. Where row groups are copied, those that are decoded are first
// written to a file of their own on the local disk, whose row groups are then copied too: so one file may have both.
func (m *merger) join(ctx context.Context) (err error) {
	copies, rest, err := m.split(ctx)
	if err != nil {
		return err
	}
	if len(copies) == 0 {
		m.out.Files, err = m.decode(ctx, rest, m.options)
		return m.count(err)
	}
	scratch := newScratch()
	defer func() { err = errors.Join(err, scratch.remove()) }()
	var decoded []table.File
	if len(rest) > 0 {
		options, err := scratch.options(m.options)
		if err != nil {
			return err
		}
		if decoded, err = m.decode(ctx, rest, options); err != nil {
			return err
		}
	}
	return m.count(m.assemble(ctx, copies, decoded, scratch.store))
}

func (m *merger) count(err error) error {
	for _, f := range m.out.Files {
		m.out.Rows += f.Rows
	}
	return err
}

// split tells the row groups that are copied from those that are decoded. Files that are too small are not looked at.
func (m *merger) split(ctx context.Context) (copies, rest []groups, err error) {
	a, err := writers.NewAssembler(m.options)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range m.Sources {
		if f.Size < m.LeastCopied || m.Deleted[f.Path] != nil {
			rest = append(rest, groups{f, 0, -1})
			continue
		}
		if err := m.splitFile(ctx, a, f, &copies, &rest); err != nil {
			return nil, nil, err
		}
	}
	return copies, rest, nil
}

func (m *merger) splitFile(ctx context.Context, a *writers.Assembler, f table.File, copies, rest *[]groups) (err error) {
	s, err := writers.OpenSource(ctx, m.Store, f.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	all := int64(0)
	for i := range s.Groups() {
		rows, size := s.Group(i)
		to := rest
		if size >= m.LeastCopied && a.Fits(s, i) {
			to = copies
		}
		all += rows
		if n := len(*to); n > 0 && (*to)[n-1].Path == f.Path && (*to)[n-1].to == i {
			(*to)[n-1].to++
		} else {
			*to = append(*to, groups{f, i, i + 1})
		}
	}
	if all != f.Rows {
		return fmt.Errorf("%s has %d rows, the table's metadata says %d", f.Path, all, f.Rows)
	}
	return nil
}

// assemble copies row groups, and compares what was written with them.
func (m *merger) assemble(ctx context.Context, copies []groups, decoded []table.File, scratch objects.Store) error {
	a, err := writers.NewAssembler(m.options)
	if err != nil {
		return err
	}
	defer a.Abort() // of no effect after Finish
	for _, g := range copies {
		if err := m.copyGroups(ctx, a, m.Store, g, &m.out.Copied); err != nil {
			return err
		}
	}
	for _, g := range whole(decoded) {
		if err := m.copyGroups(ctx, a, scratch, g, new(int64)); err != nil {
			return err
		}
	}
	files, err := a.Finish(ctx, m.part, m.nan(copies, decoded))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := m.samePages(ctx, a, f); err != nil {
			return fmt.Errorf("reading again what was written: %w", err)
		}
		m.out.Files = append(m.out.Files, f.File)
	}
	return m.sameKeys(ctx, copies, decoded, scratch)
}

func (m *merger) copyGroups(ctx context.Context, a *writers.Assembler, store objects.Store, g groups, copied *int64) (err error) {
	s, err := writers.OpenSource(ctx, store, g.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if g.to < 0 {
		g.to = s.Groups()
	}
	for i := g.from; i < g.to; i++ {
		if !a.Fits(s, i) {
			return fmt.Errorf("row group %d of %s cannot be copied", i, g.Path)
		}
		if err := a.Add(ctx, m.part, s, i); err != nil {
			return err
		}
		_, size := s.Group(i)
		*copied += size
	}
	return nil
}

// nan adds up the counts of NaN of columns for which all files have them. Of a file that was copied in part nobody knows where
// they are, unless there are none.
func (m *merger) nan(copies []groups, decoded []table.File) map[int]int64 {
	files, sum := slices.Clone(decoded), map[int]int64{}
	parts := map[string]int{}
	for _, g := range copies {
		files = append(files, g.File)
		parts[g.Path]++
	}
	first := true
	for _, f := range files {
		if first {
			for id := range f.NaNCounts {
				sum[id] = 0
			}
			first = false
		}
		for id := range sum {
			n, known := f.NaNCounts[id]
			if !known || n > 0 && len(decoded) > 0 || n > 0 && parts[f.Path] > 1 {
				delete(sum, id)
				continue
			}
			sum[id] += n
		}
	}
	return sum
}

// samePages compares the pages in the object store with those that were copied, by their checksums, and counts rows.
func (m *merger) samePages(ctx context.Context, a *writers.Assembler, f writers.Assembled) (err error) {
	s, err := writers.OpenSource(ctx, m.Store, f.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.Groups() != len(f.Pieces) {
		return fmt.Errorf("%s has %d row groups instead of %d: this is a defect of lakeloader, the table is as it was", f.Path, s.Groups(), len(f.Pieces))
	}
	for i, p := range f.Pieces {
		sum, err := a.Sum(s.Section(p.Offset, p.Length))
		if err != nil {
			return fmt.Errorf("row group %d of %s: %w", i, f.Path, err)
		}
		if rows, size := s.Group(i); sum != p.Sum || rows != p.Rows || size != p.Length {
			return fmt.Errorf("row group %d of %s is not the one that was copied: this is a defect of lakeloader, the table is as it was", i, f.Path)
		}
	}
	return nil
}

// sameKeys compares the topics, partitions and offsets of all rows, where the table has them.
func (m *merger) sameKeys(ctx context.Context, copies []groups, decoded []table.File, scratch objects.Store) error {
	row, err := keyColumns(m.Info.Row)
	if err != nil {
		return nil // such a table has none, and equal pages have to do
	}
	read, b := newRowSum(), batch.New(&batch.Records{}, row)
	sum := func(to *rowSum, store objects.Store, files []groups) error {
		for _, g := range files {
			if err := m.eachOf(ctx, store, g, b, func(b *batch.Batch, _ int64) error {
				to.add(b)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}
	wrote := read.like()
	if err := errors.Join(sum(read, m.Store, copies), sum(read, scratch, whole(decoded)), sum(wrote, m.Store, whole(m.out.Files))); err != nil {
		return fmt.Errorf("comparing offsets: %w", err)
	}
	return m.same(read, wrote)
}

// scratch is a folder on the local disk for what is written on the way. It is made when it is needed.
type scratch struct {
	dir   string
	store objects.Store
}

func newScratch() *scratch { return &scratch{store: objects.NewLocal()} }

// options are for files in the folder that are as large as they come.
func (s *scratch) options(o writers.Options) (writers.Options, error) {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "lakeloader-merge-")
		if err != nil {
			return o, fmt.Errorf("making a folder for temporary files (TMPDIR says where): %w", err)
		}
		s.dir = dir
	}
	o.Info.Location, o.Store, o.Files.TargetSize = "file://"+s.dir, s.store, 1<<50
	return o, nil
}

func (s *scratch) remove() error {
	if s.dir == "" {
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing temporary files: %w", err)
	}
	return nil
}
